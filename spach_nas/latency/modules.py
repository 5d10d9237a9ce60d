"""Parts of a network as modules that can be timed.

Blocks are timed in a short chain of blocks with weights of their own, as they stand in a network:
the features are still in the caches, the weights are not.
"""

import copy

import torch
from torch import Tensor, nn

from spach_nas.latency.parts import BlockPart, DownsamplePart, HeadPart, Part, StemPart
from spach_nas.networks.block import NORM_EPS, Block, Downsample
from spach_nas.networks.stem import build_stem
from spach_nas.space.architecture import Architecture, Stage

CHAIN = 4


class _Chain(nn.Module):
    """Equal blocks one after another, (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, part: BlockPart, length: int) -> None:
        super().__init__()
        block = Block(
            part.mixer, part.site, expansion_ratio=part.expansion_ratio, shared=False, drop_path=0.0
        )
        # Copied, since drawing the weights anew would take longer than timing them.
        self.blocks = nn.ModuleList([block, *(copy.deepcopy(block) for _ in range(length - 1))])
        self.shared = part.shared

    def forward(self, x: Tensor) -> Tensor:
        """Run all of them, (B, H, W, C) -> (B, H, W, C)."""
        for block in self.blocks:
            x = block(x, self.blocks[0].mixer if self.shared else None)
        return x


class _Head(nn.Module):
    """Norm, mean and linear head, (B, H, W, C) -> (B, K)."""

    def __init__(self, part: HeadPart) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(part.width, eps=NORM_EPS)
        self.head = nn.Linear(part.width, part.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify, (B, H, W, C) -> (B, K)."""
        logits: Tensor = self.head(self.norm(x).mean((1, 2)))
        return logits


def part_module(
    part: Part, *, batch_size: int, chain: int = CHAIN
) -> tuple[nn.Module, Tensor, int]:
    """A module to time, an input for it, and how often the part is in it."""
    if isinstance(part, BlockPart):
        return _Chain(part, chain), torch.randn(batch_size, *part.resolution, part.width), chain
    if isinstance(part, StemPart):
        image = torch.randn(batch_size, part.in_channels, *part.image_size)
        norm = nn.LayerNorm(part.width, eps=NORM_EPS)
        return nn.Sequential(build_stem(_smallest(part)), norm), image, 1
    if isinstance(part, DownsamplePart):
        height, width = part.resolution
        features = torch.randn(batch_size, 2 * height, 2 * width, part.before)
        return Downsample(part.before, part.after), features, 1
    return _Head(part), torch.randn(batch_size, *part.resolution, part.width), 1


def _smallest(part: StemPart) -> Architecture:
    """Some architecture with this stem."""
    stage = Stage(mixers=("conv",), width=part.width, heads=1, expansion_ratio=1.0)
    return Architecture(
        stem=part.stem,  # type: ignore[arg-type]
        stem_width=part.stem_width,
        patch_size=part.patch_size,
        stages=(stage,),
        image_size=part.image_size,
        in_channels=part.in_channels,
        num_classes=1,
    )
