"""The network of an architecture, with the interface of a timm model.

Letters: B batch, H and W resolution, C width, K classes. The input is (B, 3, H, W), as in timm;
features are (B, H, W, C). Source: Zhao et al. 2021, arXiv:2108.13002, section 3.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.fx import Proxy

from spach_nas.errors import ArchitectureError
from spach_nas.networks.block import NORM_EPS, Block, SpachStage, build_stem
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import get_mixer
from spach_nas.space.read_architecture import Source, as_architecture


class Spach(nn.Module):
    """A SPACH network, (B, 3, H, W) -> (B, K).

    A new network has a zero head: its logits are exactly 0 until it is trained.

    Attributes:
        architecture: The current architecture; `reset_classifier` and pruning update it.
        num_classes: Outputs of the head, or 0 without a head.
        in_chans: Channels of the input.
        num_features: Channels of the output of `forward_features`.
        head_hidden_size: Channels of the output of `forward_head` with `pre_logits`.
        output_fmt: Layout of the output of `forward_features`, for timm.
        feature_info: Channels, stride and module of each stage, for timm.
    """

    output_fmt = "NHWC"

    def __init__(
        self,
        architecture: Architecture,
        *,
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
        global_pool: str = "avg",
        make_block: Callable[..., Block] | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.num_classes, self.in_chans = architecture.num_classes, architecture.in_channels
        self.global_pool = _known_pool(global_pool)
        widths = [stage.width for stage in architecture.stages]
        self.num_features = self.head_hidden_size = widths[-1]
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": width, "reduction": architecture.patch_size * 2**i, "module": f"stages.{i}"}
            for i, width in enumerate(widths)
        ]
        self.stem = build_stem(architecture)
        self.norm = nn.LayerNorm(widths[0], eps=NORM_EPS)
        rates = iter(drop_path_rates(architecture, drop_path_rate))
        self.stages = nn.ModuleList(
            SpachStage(
                stage,
                resolution,
                before=before,
                drop_path=[next(rates) for _ in stage.mixers],
                make_block=make_block or Block,
            )
            for stage, resolution, before in zip(
                architecture.stages, architecture.resolutions, [None, *widths[:-1]], strict=True
            )
        )
        self.head_norm: nn.Module = nn.LayerNorm(widths[-1], eps=NORM_EPS)
        self.head_drop = nn.Dropout(drop_rate) if drop_rate else nn.Identity()
        self.head: nn.Module = nn.Linear(widths[-1], architecture.num_classes)
        if make_block is None:  # blocks that are given have their weights
            self.init_weights()

    def init_weights(self) -> None:
        """Initialise as `init_weights` does, with a zero head."""
        init_weights(self)
        # Logits of 0 make all classes equally likely: every training starts at a loss of log(K).
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised features of the last stage, (B, 3, H, W) -> (B, H', W', C).

        Raises:
            ArchitectureError: The network does not work at this image size.
        """
        x = self._embed(x)
        for stage in self.stages:
            x = stage(x)
        features: Tensor = self.head_norm(x)
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Mean over positions, then the head, (B, H', W', C) -> (B, K); (B, C) if `pre_logits`."""
        if self.global_pool == "avg":
            x = x.mean((1, 2))
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, 3, H, W) -> (B, K)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        *,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: Literal["NCHW", "NHWC"] = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Features after the stages, (B, 3, H, W) -> (B, C_i, H_i, W_i) each.

        Args:
            x: Images, (B, 3, H, W).
            indices: Which stages: None for all, a number for the last ones, or a list.
            norm: Apply the last norm to the last stage's features.
            stop_early: Do not run the stages after the last one requested.
            output_fmt: Layout of the features.
            intermediates_only: Do not return the result of `forward_features` as well.
        """
        wanted, last = feature_take_indices(len(self.stages), indices)
        found = []
        x = self._embed(x)
        for i, stage in enumerate(self.stages[: last + 1] if stop_early else self.stages):
            x = stage(x)
            if i in wanted:
                at_end = norm and i == len(self.stages) - 1
                feature = self.head_norm(x) if at_end else x
                found.append(feature.permute(0, 3, 1, 2) if output_fmt == "NCHW" else feature)
        if intermediates_only:
            return found
        # The last norm has the width of the last stage and does not fit an earlier one.
        whole = not stop_early or last == len(self.stages) - 1
        return (self.head_norm(x) if whole else x), found

    def prune_intermediate_layers(
        self,
        indices: int | list[int] | None = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove what the features after the stages `indices` do not need; returns those stages."""
        wanted, last = feature_take_indices(len(self.stages), indices)
        cut = last < len(self.stages) - 1
        if prune_norm or cut:
            self.head_norm = nn.Identity()
        if cut:
            self.stages = self.stages[: last + 1]
            kept = self.architecture.stages[: last + 1]
            self.architecture = replace(self.architecture, stages=kept)
            self.num_features = self.head_hidden_size = kept[-1].width
        # Without the last stage, the head would get features of another width.
        if prune_head or cut:
            self.reset_classifier(0)
        return list(wanted)

    def get_classifier(self) -> nn.Module:
        """The head."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head by a new zero head.

        Args:
            num_classes: Outputs of the new head; 0 removes the head.
            global_pool: `avg`, or an empty string to keep the positions; None changes nothing.
        """
        if global_pool is not None:
            self.global_pool = _known_pool(global_pool)
        self.num_classes = num_classes
        if num_classes == 0:
            self.head = nn.Identity()
            return
        self.architecture = replace(self.architecture, num_classes=num_classes)
        like = self.norm.weight
        self.head = nn.Linear(self.num_features, num_classes, device=like.device, dtype=like.dtype)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass, to save memory for about a third more time."""
        for module in self.modules():
            if isinstance(module, SpachStage):
                module.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameter names from input to output, for timm's layer-wise decay."""
        fine = [
            (r"^stages\.(\d+)\.(?:downsample|shared)", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^head_norm", (99999,)),
        ]
        return {"stem": r"^stem|^norm", "blocks": r"^stages\.(\d+)" if coarse else fine}

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay: gamma_1.

        Norms and biases are exempt by their shape.
        """
        return {name for name, _ in self.named_parameters() if name.endswith("gamma_1")}

    def _embed(self, x: Tensor) -> Tensor:
        # In `torch.fx.symbolic_trace`, sizes are unknown.
        if not isinstance(x, Proxy):
            size = (x.shape[-2], x.shape[-1])
            if size != self.architecture.image_size:
                _check_size(self.architecture, size)
        embedded: Tensor = self.norm(self.stem(x))
        return embedded


@torch.no_grad()
def init_weights(network: nn.Module) -> None:
    """Initialise linear layers Xavier-uniform, convolutions Kaiming-normal, and biases 0.

    The same scheme and modes as in the paper's code, so that trainings are comparable.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)


def _check_size(architecture: Architecture, size: tuple[int, int]) -> None:
    expected = "x".join(str(side) for side in architecture.image_size)
    for name in dict.fromkeys(name for stage in architecture.stages for name in stage.mixers):
        if get_mixer(name).fixed_resolution:
            raise ArchitectureError(
                f"image: {size[0]}x{size[1]}; expected {expected}, the only size of {name} mixers"
            )
    step = architecture.patch_size * 2 ** (len(architecture.stages) - 1)
    if size[0] % step or size[1] % step:
        raise ArchitectureError(
            f"image: {size[0]}x{size[1]}; expected multiples of {step}, such as {expected}"
        )


def _known_pool(name: str) -> str:
    if name not in ("avg", ""):
        raise ArchitectureError(f"global_pool: {name!r}; expected 'avg', or '' for none")
    return name


def drop_path_rates(architecture: Architecture, rate: float) -> Sequence[float]:
    """Drop path rate of each block: rising linearly from 0 in several stages, constant in one."""
    blocks = sum(stage.depth for stage in architecture.stages)
    if len(architecture.stages) == 1:
        return [rate] * blocks
    # There are at least two stages here, and so two blocks: no division by zero.
    return [rate * i / (blocks - 1) for i in range(blocks)]


def build(source: Source, *, drop_path_rate: float = 0.0) -> Spach:
    """The network of an architecture, initialised as in the paper's code.

    Args:
        source: An architecture, a record (its target), the name of a paper's model, an architecture
            file or a bundle, whose weights `load_model` loads.
        drop_path_rate: Highest probability that a branch is dropped for an image (stochastic depth,
            Huang et al. 2016, arXiv:1603.09382).

    Raises:
        ArchitectureError: The source is none of these, or a mixer's module cannot be imported.
    """
    return Spach(as_architecture(source), drop_path_rate=drop_path_rate)
