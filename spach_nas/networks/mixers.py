"""The mixer functions of the package: each maps (B, H, W, C) to (B, H, W, C).

Letters: B batch, H and W resolution, N = H * W positions, C width, T hidden positions.
Source: Zhao et al. 2021, arXiv:2108.13002, section 3.2. `load_mixer` finds a class by the string
in its `MixerSpec`, so that a registered mixer needs no import here.
"""

import importlib

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.errors import ArchitectureError, one_line
from spach_nas.space.mixers import LARGEST_WRITTEN_OUT, MixerSite, MixerSpec


class Attention(nn.Module):
    """Global multi-head self-attention without a position term, (B, H, W, C) -> (B, H, W, C).

    Position comes only from the depthwise convolution of the block.
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
        # are said, since -1 stands for nothing in an empty batch.
        q, k, v = self.qkv(x).view(B, H * W, 3, self.heads, C // self.heads).unbind(2)
        mixed = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        # The fused kernels lay their result out as (B, N, heads, C / heads): no copy here.
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(B, H, W, C))
        return out


class TokenMlp(nn.Module):
    """MLP over the positions, the same for all channels, (B, H, W, C) -> (B, H, W, C).

    Its weights depend on N: the resolution is fixed.
    """

    def __init__(self, site: MixerSite) -> None:
        super().__init__()
        hidden = int(site.token_ratio * site.tokens)
        self.fc1 = nn.Linear(site.tokens, hidden)
        self.fc2 = nn.Linear(hidden, site.tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Mix all positions, (B, H, W, C) -> (B, H, W, C)."""
        B, H, W, C = x.shape
        # Positions first, as the rows of one matrix: channels stay together, which moves whole
        # runs of C instead of transposing single numbers, as a linear layer over N would need.
        columns = x.permute(1, 2, 0, 3).reshape(H * W, B * C)
        hidden = F.gelu(torch.addmm(self.fc1.bias[:, None], self.fc1.weight, columns))
        mixed = torch.addmm(self.fc2.bias[:, None], self.fc2.weight, hidden)
        return mixed.view(H, W, B, C).permute(2, 0, 1, 3)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention by the fastest way of the device and the number format, (B, heads, N, D) each.

    In bfloat16 on a CPU, the three steps written out: 1.7 to 9 times as fast, forward and backward,
    as torch's fused kernel, which gains nothing from bfloat16 there, and 1.7 to 4 times as torch's
    own three steps, which compute in float32. Measured for N from 49 to 784 and D from 8 to 256.
    The softmax sums in float32 and rounds its result. In float32 and on other devices, the fused
    kernel.
    """
    bf16_on_cpu = q.dtype == torch.bfloat16 and q.device.type == "cpu"
    if not bf16_on_cpu or q.shape[-2] > LARGEST_WRITTEN_OUT:
        return F.scaled_dot_product_attention(q, k, v)
    # Autocast would have the softmax return float32: three times the memory, and slower.
    with torch.autocast("cpu", enabled=False):
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        mixed: Tensor = scores.softmax(-1) @ v
    return mixed


# `torch.fx.symbolic_trace` sees neither formats nor devices: it takes `attend` as one operator.
torch.fx.wrap("attend")


def load_mixer(spec: MixerSpec, site: MixerSite) -> nn.Module:
    """The module of a mixer at `site`, imported when first needed.

    Raises:
        ArchitectureError: `spec.module` names nothing that can be imported, or no module.
    """
    package, _, name = (spec.module or "").partition(":")
    try:
        factory = getattr(importlib.import_module(package), name)
    # SystemExit: a script that ends by itself.
    except (Exception, SystemExit) as problem:
        raise ArchitectureError(
            f"mixer {spec.name!r}: module {spec.module!r} cannot be imported "
            f"({one_line(problem)}); expected 'package.module:Class'"
        ) from problem
    module = factory(site)
    if not isinstance(module, nn.Module):
        raise ArchitectureError(
            f"mixer {spec.name!r}: {spec.module} makes a {type(module).__name__}; expected a "
            "torch.nn.Module"
        )
    return module
