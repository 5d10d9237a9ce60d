"""The mixer functions of this package: each maps (B, H, W, C) to (B, H, W, C).

Letters: B batch, H and W resolution, N = H * W positions, C width, T hidden positions.
Source: Zhao et al. 2021, arXiv:2108.13002, section 3.2. `load_mixer` finds a class by the string
in its `MixerSpec`, so that a registered mixer needs no import here.
"""

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.errors import ArchitectureError
from spach_nas.registry import import_named
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
