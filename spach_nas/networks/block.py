"""A block and a stage of the SPACH framework, on (B, H, W, C) throughout.

Letters: B batch, H and W resolution, C width. Features stay contiguous as (B, H, W, C), so that
linear layers need no copy and a permuted view of them is `channels_last` for a convolution.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spach_nas.networks.mixers import load_mixer
from spach_nas.space.architecture import Stage
from spach_nas.space.mixers import MixerSite, get_mixer

NORM_EPS = 1e-6
GAMMA_INIT = 1e-4  # at the start of a training, a mixer contributes almost nothing


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
        site = MixerSite(stage.width, resolution, stage.heads, stage.token_ratio, stage.options)
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
