"""Stems: image (B, 3, H, W) to features (B, H / P, W / P, C), P the patch size.

`conv4` is the deep patch embedding of LV-ViT (Jiang et al. 2021, arXiv:2104.10858), which Zhao et
al. 2021, arXiv:2108.13002, section 4.5, use in their "+" models.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spach_nas.space.architecture import Architecture, stem_kernel


class Conv1Stem(nn.Module):
    """One patch convolution, (B, 3, H, W) -> (B, H / P, W / P, C)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        P = architecture.patch_size
        width = architecture.stages[0].width
        self.conv = nn.Conv2d(architecture.in_channels, width, P, stride=P)

    def forward(self, image: Tensor) -> Tensor:
        """Embed patches, (B, 3, H, W) -> (B, H / P, W / P, C)."""
        return _patch_linear(image, self.conv)


class Conv4Stem(nn.Module):
    """Three convolutions with BatchNorm, then patches, (B, 3, H, W) -> (B, H / P, W / P, C)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        S, P = architecture.stem_width, architecture.patch_size
        width = architecture.stages[0].width
        K = stem_kernel(P)
        self.conv1 = nn.Conv2d(architecture.in_channels, S, K, stride=2, padding=K // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(S)
        self.conv2 = nn.Conv2d(S, S, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(S)
        self.conv3 = nn.Conv2d(S, S, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(S)
        self.conv = nn.Conv2d(S, width, P // 2, stride=P // 2)

    def forward(self, image: Tensor) -> Tensor:
        """Embed patches, (B, 3, H, W) -> (B, H / P, W / P, C)."""
        x = image.contiguous(memory_format=torch.channels_last)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = F.relu(self.bn3(self.conv3(x)), inplace=True)
        patches: Tensor = self.conv(x)
        return patches.permute(0, 2, 3, 1)


def build_stem(architecture: Architecture) -> nn.Module:
    """The stem of an architecture."""
    return {"conv1": Conv1Stem, "conv4": Conv4Stem}[architecture.stem](architecture)


def _patch_linear(image: Tensor, conv: nn.Conv2d) -> Tensor:
    # A convolution without overlap is a matrix product over patches. Computed like this, its result
    # is contiguous as (B, H, W, C) for any number of input channels.
    B, c, H, W = image.shape
    P = conv.stride[0]
    patches = image.reshape(B, c, H // P, P, W // P, P).permute(0, 2, 4, 1, 3, 5)
    return F.linear(
        patches.reshape(B, H // P, W // P, c * P * P), conv.weight.flatten(1), conv.bias
    )
