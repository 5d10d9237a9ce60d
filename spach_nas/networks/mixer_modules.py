"""The mixer functions of this package: each maps (B, H, W, C) to (B, H, W, C).

Letters: B batch, H and W resolution, N = H * W positions, C width, T hidden positions.
Source: Zhao et al. 2021, arXiv:2108.13002, section 3.2. `load_mixer` finds a class by the string
in its `MixerSpec`, so that a registered mixer needs no import here. `check_mixers` tries those of
users before anything is trained.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.errors import ArchitectureError, one_line
from spach_nas.registry import import_named
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import LARGEST_WRITTEN_OUT, MixerSite, MixerSpec


class Attention(nn.Module):
    """Global multi-head self-attention without position embedding, (B, H, W, C) -> (B, H, W, C).

    Only the depthwise convolution of the block depends on position.
    """

    def __init__(self, site: MixerSite) -> None:
        super().__init__()
        self.heads = site.heads
        self.qkv = nn.Linear(site.width, 3 * site.width)
        self.proj = nn.Linear(site.width, site.width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix all positions, (B, H, W, C) -> (B, H, W, C)."""
        B, H, W, C = x.shape
        # Each part is a view, and the backward pass joins the three gradients in place. All sizes
        # are explicit, because -1 is ambiguous in an empty batch.
        q, k, v = self.qkv(x).view(B, H * W, 3, self.heads, C // self.heads).unbind(2)
        mixed = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        # The fused kernels store their result as (B, N, heads, C / heads), so this needs no copy.
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(B, H, W, C))
        return out


class TokenMlp(nn.Module):
    """MLP over the positions, the same for all channels, (B, H, W, C) -> (B, H, W, C).

    The size of its weights depends on N, so the resolution is fixed.
    """

    def __init__(self, site: MixerSite) -> None:
        super().__init__()
        hidden = int(site.token_ratio * site.tokens)
        self.fc1 = nn.Linear(site.tokens, hidden)
        self.fc2 = nn.Linear(hidden, site.tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Mix all positions, (B, H, W, C) -> (B, H, W, C)."""
        B, H, W, C = x.shape
        # Positions become the rows of one matrix and channels stay together: this copies whole runs
        # of C values, while a linear layer over N would need a transposition of single values.
        columns = x.permute(1, 2, 0, 3).reshape(H * W, B * C)
        hidden = F.gelu(torch.addmm(self.fc1.bias[:, None], self.fc1.weight, columns))
        mixed = torch.addmm(self.fc2.bias[:, None], self.fc2.weight, hidden)
        return mixed.view(H, W, B, C).permute(2, 0, 1, 3)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention in the fastest way for the device and the number format, (B, heads, N, D) each.

    In float32 and on other devices than CPUs, this is torch's fused kernel. In bfloat16 on a CPU,
    the three steps are written out: 1.7 to 9 times as fast, forward and backward, as the fused
    kernel, which gains nothing from bfloat16 there, and 1.7 to 4 times as fast as torch's own three
    steps, which compute in float32. Measured for N from 49 to 784 and D from 8 to 256. The softmax
    sums in float32 and rounds its result.
    """
    bf16_on_cpu = q.dtype == torch.bfloat16 and q.device.type == "cpu"
    if not bf16_on_cpu or q.shape[-2] > LARGEST_WRITTEN_OUT:
        return F.scaled_dot_product_attention(q, k, v)
    # Autocast would make the softmax return float32: three times the memory, and slower.
    with torch.autocast("cpu", enabled=False):
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        mixed: Tensor = scores.softmax(-1) @ v
    return mixed


# `torch.fx.symbolic_trace` knows neither formats nor devices, so `attend` is one operator for it.
torch.fx.wrap("attend")


def load_mixer(spec: MixerSpec, site: MixerSite) -> nn.Module:
    """The module of a mixer at `site`, imported on first use.

    Raises:
        ArchitectureError: `spec.module` cannot be imported, or does not build a torch module.
    """
    where = f"mixer {spec.name!r}"
    module = import_named(spec.module or "", what=where, error=ArchitectureError)(site)
    if not isinstance(module, nn.Module):
        raise ArchitectureError(
            f"{where}: {spec.module} makes a {type(module).__name__}; expected a torch.nn.Module"
        )
    return module


# More than one image, because a batch norm refuses a single one at a resolution of 1 x 1.
_BATCH = 2


def check_mixers(architectures: Iterable[Architecture], specs: Sequence[MixerSpec]) -> None:
    """Run each mixer once at every resolution at which these architectures use it.

    Without this check, a result of another shape could be broadcast and trained without an error.

    Raises:
        ArchitectureError: A mixer cannot be imported, built or run, or does not keep the shape of
            its features; the message names it.
    """
    known = {spec.name: spec for spec in specs if spec.is_branch}
    sites: dict[tuple[str, tuple[int, int]], MixerSite] = {}
    for item in architectures:
        for stage, resolution in zip(item.stages, item.resolutions, strict=True):
            site = stage.site(resolution)
            for name in stage.mixers:
                if name in known:
                    sites.setdefault((name, resolution), site)
    for (name, _), site in sites.items():
        _try(known[name], site)


def _try(spec: MixerSpec, site: MixerSite) -> None:
    shape = (_BATCH, *site.resolution, site.width)
    where = f"mixer {spec.name!r}: {spec.module}"
    # Building it draws random weights, which must not change the random numbers of the search.
    with torch.random.fork_rng(devices=()), torch.no_grad():
        try:
            found = load_mixer(spec, site)(torch.randn(shape))
        except ArchitectureError:
            raise
        except Exception as problem:  # a user's code can raise anything
            raise ArchitectureError(
                f"{where} cannot run on features (B, H, W, C) of {shape}: "
                f"{one_line(problem, named=True)}; expected a module Class(site) that maps "
                "(B, H, W, C) to (B, H, W, C)"
            ) from problem
    got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    if got != shape:
        raise ArchitectureError(
            f"{where} maps features of {shape} to {got}; expected the same shape (B, H, W, C)"
        )
