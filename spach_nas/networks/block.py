"""Stems, blocks and stages of the SPACH framework.

Letters: B batch, H and W resolution, C width, P patch size. A stem maps an image (B, 3, H, W) to
features (B, H / P, W / P, C). These stay contiguous as (B, H, W, C) throughout, so that linear
layers need no copy and a permuted view of them is `channels_last` for a convolution.

`conv4` is the deep patch embedding of LV-ViT (Jiang et al. 2021, arXiv:2104.10858), which Zhao et
al. 2021, arXiv:2108.13002, section 4.5, use in their "+" models.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spach_nas.networks.mixer_modules import load_mixer
from spach_nas.space.architecture import Architecture, Stage, stem_kernel
from spach_nas.space.mixers import MixerSite, get_mixer

NORM_EPS = 1e-6
GAMMA_INIT = 1e-4  # at the start of a training, a mixer contributes almost nothing


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


class ChannelMlp(nn.Module):
    """Two-layer MLP over the channels, (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the channels of each position, (B, H, W, C) -> (B, H, W, C)."""
        mixed: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return mixed


class Block(nn.Module):
    """Depthwise convolution and mixer in parallel, then channel MLP, (B, H, W, C) -> (B, H, W, C).

    Both read the block's input. The convolution is a conv block's only spatial mixing. In a sharing
    stage the mixer function is not part of the block but an argument of `forward`.
    """

    def __init__(
        self, mixer: str, site: MixerSite, *, expansion_ratio: float, shared: bool, drop_path: float
    ) -> None:
        super().__init__()
        C = site.width
        spec = get_mixer(mixer)
        self.dwconv = nn.Conv2d(C, C, 3, padding=1, groups=C)
        if spec.is_branch:
            self.norm1 = nn.LayerNorm(C, eps=NORM_EPS)
            self.gamma_1 = nn.Parameter(torch.full((C,), GAMMA_INIT))
        self.is_branch = spec.is_branch
        self.mixer = load_mixer(spec, site) if spec.is_branch and not shared else None
        self.norm2 = nn.LayerNorm(C, eps=NORM_EPS)
        # Rounded down, as the closed form of the cost does.
        self.mlp = ChannelMlp(C, int(expansion_ratio * C))
        self.drop_path = DropPath(drop_path) if drop_path else None

    def forward(self, x: Tensor, mixer: nn.Module | None = None) -> Tensor:
        """Run the block, (B, H, W, C) -> (B, H, W, C).

        Args:
            x: Features, (B, H, W, C).
            mixer: The stage's mixer function, if the block has none of its own.
        """
        # In evaluation drop path does nothing, and the faster `addcmul` can be used.
        drop_path = self.drop_path if self.training else None
        y = x + self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if self.is_branch:
            mixer = self.mixer if mixer is None else mixer
            assert mixer is not None, "a sharing block needs the mixer function of its stage"
            mixed = mixer(self.norm1(x))
            if drop_path is None:
                # Scaling and adding in one pass over memory.
                y = torch.addcmul(y, mixed, self.gamma_1)
            else:
                y = y + drop_path(mixed * self.gamma_1)
        mixed = self.mlp(self.norm2(y))
        out: Tensor = y + (mixed if drop_path is None else drop_path(mixed))
        return out


class Downsample(nn.Module):
    """Halve the resolution, (B, H, W, C) -> (B, H / 2, W / 2, C')."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 2, stride=2, bias=False)
        self.norm = nn.GroupNorm(1, after)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise, (B, H, W, C) -> (B, H / 2, W / 2, C')."""
        halved: Tensor = self.norm(self.conv(x.permute(0, 3, 1, 2)))
        return halved.permute(0, 2, 3, 1)


class SpachStage(nn.Module):
    """Downsampling, except in the first stage, and blocks.

    If the stage shares, `shared` holds one mixer function for each mixer and passes it to every
    block of that mixer, so that no tensor in the state dict is an alias of another.
    """

    def __init__(
        self,
        stage: Stage,
        resolution: tuple[int, int],
        *,
        before: int | None,
        drop_path: Sequence[float],
        make_block: Callable[..., Block] = Block,
    ) -> None:
        super().__init__()
        site = stage.site(resolution)
        self.downsample = None if before is None else Downsample(before, stage.width)
        self.mixers = stage.mixers
        self.shared = nn.ModuleDict()
        if stage.shared:
            for name in dict.fromkeys(stage.mixers):
                if get_mixer(name).is_branch:
                    self.shared[name] = load_mixer(get_mixer(name), site)
        self.blocks = nn.ModuleList(
            make_block(
                name,
                site,
                expansion_ratio=stage.expansion_ratio,
                shared=stage.shared,
                drop_path=rate,
            )
            for name, rate in zip(stage.mixers, drop_path, strict=True)
        )
        self.grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        """Run the stage, (B, H, W, C) -> (B, H', W', C')."""
        if self.downsample is not None:
            x = self.downsample(x)
        for name, block in zip(self.mixers, self.blocks, strict=True):
            mixer = self.shared[name] if name in self.shared else None  # noqa: SIM401 (has no get)
            if self.grad_checkpointing and self.training:
                x = checkpoint(block, x, mixer, use_reentrant=False)
            else:
                x = block(x, mixer)
        return x
