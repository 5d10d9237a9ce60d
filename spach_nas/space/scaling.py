"""From the target to its proxy: the small copy that a search trains.

The order and share of the mixers are kept; only sizes change. A rule with scale 1 and the target's
image and patch size gives the target itself, except for the channels and classes of the data.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from spach_nas.space.architecture import Architecture, Stage
from spach_nas.units import Real, Size, Whole
from spach_nas.validation import Settings

_MIN_WIDTH_PER_HEAD = 4
_MIN_STEM_WIDTH = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyRule(Settings):
    """How a target becomes a proxy."""

    image_size: Size | None = None
    """Height and width of the proxy's input. Left out: the target's."""
    patch_size: Annotated[Whole, Field(ge=1)] | None = None
    """Patch size of the proxy. Left out: the target's."""
    width_scale: Annotated[Real, Field(gt=0)] = 1.0
    """Factor on every width; rounded to the nearest multiple of the heads, and at least 4 for each
    head unless the target has fewer. The width inside a `conv4` stem is multiplied by what patches
    shrink by, too: it keeps its share of the cost."""
    depth_scale: Annotated[Real, Field(gt=0, le=1)] = 1.0
    """Factor on each run of equal mixers, at least one block. Below 1, many targets share one
    proxy, and the cheapest of them always dominates."""


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
    # Runs shrink, not the stage as a whole, so that order and shares of the mixers survive.
    for name, count in stage.runs:
        mixers += (name,) * max(1, _nearest(count * rule.depth_scale, step=1))
    return replace(stage, width=width, mixers=mixers)


def _scale_width(width: int, factor: float, *, step: int, least: int) -> int:
    # A target that is already narrower keeps its width, so that scale 1 changes nothing.
    return max(min(least, width), _nearest(width * factor, step=step))


def _nearest(value: float, *, step: int) -> int:
    # Halves are rounded up, unlike in round(), so that neighbouring widths never swap their order.
    return math.floor(value / step + 0.5) * step
