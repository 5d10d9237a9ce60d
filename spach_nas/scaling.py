"""From the target to its proxy: the small copy that a search trains.

The order and share of the mixers are kept; only sizes change. A rule of scale 1 at the target's
image and patch size gives the target itself, but for the channels and classes of the data.
"""

import math
from dataclasses import dataclass, replace

from spach_nas.architecture import Architecture, Stage
from spach_nas.errors import ConfigError
from spach_nas.units import Size

_MIN_WIDTH_PER_HEAD = 4
_MIN_STEM_WIDTH = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyRule:
    """How a target becomes a proxy.

    Attributes:
        image_size: Height and width of the proxy's input; None keeps the target's.
        patch_size: Patch size of the proxy; None keeps the target's.
        width_scale: Factor on every width, the stem's too; rounded to the nearest multiple of the
            heads and at least 4 for each head.
        depth_scale: Factor on each run of equal mixers, at least one block. Below 1, many targets
            share one proxy, and the cheapest of them always dominates.

    Raises:
        ConfigError: A number out of range.
    """

    image_size: Size | None = None
    patch_size: int | None = None
    width_scale: float = 1.0
    depth_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("patch_size", "width_scale", "depth_scale"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name}: {value}; expected more than 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataShape:
    """What a data set asks of a network.

    Attributes:
        in_channels: Channels of an image.
        num_classes: Number of classes.
    """

    in_channels: int
    num_classes: int


def scale(architecture: Architecture, rule: ProxyRule, data: DataShape) -> Architecture:
    """The proxy of a target.

    Raises:
        ArchitectureError: No network has the scaled sizes, as when the stages cannot halve the
            image.
    """
    stem_width = _nearest(architecture.stem_width * rule.width_scale, step=1)
    return replace(
        architecture,
        stem_width=max(_MIN_STEM_WIDTH, stem_width),
        patch_size=rule.patch_size or architecture.patch_size,
        image_size=rule.image_size or architecture.image_size,
        stages=tuple(_scale_stage(stage, rule) for stage in architecture.stages),
        in_channels=data.in_channels,
        num_classes=data.num_classes,
    )


def _scale_stage(stage: Stage, rule: ProxyRule) -> Stage:
    width = _nearest(stage.width * rule.width_scale, step=stage.heads)
    mixers: tuple[str, ...] = ()
    for name, count in stage.runs:
        mixers += (name,) * max(1, _nearest(count * rule.depth_scale, step=1))
    return replace(stage, width=max(_MIN_WIDTH_PER_HEAD * stage.heads, width), mixers=mixers)


def _nearest(value: float, *, step: int) -> int:
    # Halves go up, unlike round(), so that neighbouring widths never swap their order.
    return math.floor(value / step + 0.5) * step
