"""From the target to its proxy: the small copy that a search trains.

The order and share of the mixers are kept; only sizes change. A rule with scale 1 and the target's
image and patch size gives the target itself, except for the channels and classes of the data.
"""

import math
from dataclasses import dataclass, replace

from pydantic import ConfigDict

from spach_nas.errors import ConfigError
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.units import Real, Size, Whole

_MIN_WIDTH_PER_HEAD = 4
_MIN_STEM_WIDTH = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyRule:
    """How a target becomes a proxy.

    Attributes:
        image_size: Height and width of the proxy's input in pixels. None keeps the target's.
        patch_size: Patch size of the proxy in pixels. None keeps the target's.
        width_scale: Factor on every width. The result is rounded to the nearest multiple of the
            heads, and has at least 4 channels for each head unless the target has fewer. The width
            inside a `conv4` stem is also multiplied by the factor by which patches shrink, so that
            the stem keeps its share of the cost.
        depth_scale: Factor in (0, 1] on each run of equal mixers, at least one block. Below 1, many
            targets share one proxy, and the cheapest of them always dominates.

    Raises:
        ConfigError: A number is out of range; one line for each.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    image_size: Size | None = None
    patch_size: Whole | None = None
    width_scale: Real = 1.0
    depth_scale: Real = 1.0

    def __post_init__(self) -> None:
        mistakes = []
        if self.patch_size is not None and self.patch_size < 1:
            mistakes.append(f"patch_size: {self.patch_size}; expected at least 1")
        if not 0 < self.width_scale < math.inf:
            mistakes.append(f"width_scale: {self.width_scale}; expected more than 0")
        if not 0 < self.depth_scale <= 1:
            mistakes.append(f"depth_scale: {self.depth_scale}; expected in (0, 1]")
        if mistakes:
            raise ConfigError("\n".join(mistakes))


@dataclass(frozen=True, kw_only=True, slots=True)
class DataShape:
    """The shape that a data set requires of a network's input and output."""

    in_channels: int
    num_classes: int

    def __str__(self) -> str:
        """`3 channels and 4 classes`."""
        channels = f"{self.in_channels} channel{'' if self.in_channels == 1 else 's'}"
        return f"{channels} and {self.num_classes:,} classes"


def shape_of(architecture: Architecture) -> DataShape:
    """Channels and classes of an architecture."""
    return DataShape(in_channels=architecture.in_channels, num_classes=architecture.num_classes)


def scale(architecture: Architecture, rule: ProxyRule, data: DataShape) -> Architecture:
    """The proxy of a target.

    Raises:
        ArchitectureError: No network has the scaled sizes, for example because the stages cannot
            halve the image.
    """
    patch_size = rule.patch_size or architecture.patch_size
    # A stem works at half the resolution of the image, the stages at that of the patches. Without
    # this factor, smaller patches would make the stem the bottleneck of the network.
    stem_scale = rule.width_scale * architecture.patch_size / patch_size
    return replace(
        architecture,
        stem_width=_scale_width(architecture.stem_width, stem_scale, step=1, least=_MIN_STEM_WIDTH),
        patch_size=patch_size,
        image_size=rule.image_size or architecture.image_size,
        stages=tuple(scale_stage(stage, rule) for stage in architecture.stages),
        in_channels=data.in_channels,
        num_classes=data.num_classes,
    )


def scale_stage(stage: Stage, rule: ProxyRule) -> Stage:
    """A stage of the proxy, which depends only on the same stage of the target."""
    width = _scale_width(
        stage.width, rule.width_scale, step=stage.heads, least=_MIN_WIDTH_PER_HEAD * stage.heads
    )
    mixers: tuple[str, ...] = ()
    for name, count in stage.runs:
        mixers += (name,) * max(1, _nearest(count * rule.depth_scale, step=1))
    return replace(stage, width=width, mixers=mixers)


def _scale_width(width: int, factor: float, *, step: int, least: int) -> int:
    # A target that is already narrower keeps its width, so that scale 1 changes nothing.
    return max(min(least, width), _nearest(width * factor, step=step))


def _nearest(value: float, *, step: int) -> int:
    # Halves are rounded up, unlike in round(), so that neighbouring widths never swap their order.
    return math.floor(value / step + 0.5) * step
