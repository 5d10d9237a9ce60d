"""What may be chosen in a search space, by name, and what a stage is under some choices."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated

from pydantic import ConfigDict

from spach_nas.space.architecture import DEFAULT_STEM_WIDTH, DEFAULT_TOKEN_RATIO, StemName
from spach_nas.space.choices import Counts, Flags, OptionChoices, Ratios, listed
from spach_nas.space.layouts import Value
from spach_nas.space.mixers import resolve_options
from spach_nas.space.scaling import DataShape
from spach_nas.space.stage_space import (
    PER_STAGE,
    Heads,
    HeadsRule,
    StageSizes,
    StageSpace,
    own_choices,
    stage_choices,
    stage_heads,
    stage_width,
)
from spach_nas.units import Whole

IMAGENET = DataShape(in_channels=3, num_classes=1000)


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceChoices:
    """The fields of a search space. Every one is a choice; one value means no choice.

    Attributes:
        image_size: Side of the square input of the target.
        in_channels: Channels of the input of the target; None: those of the data. A number fixes
            it, whatever the data have.
        num_classes: Classes of the target; None: those of the data.
        patch_size: Stride of the stem.
        stem: `conv1` or `conv4`.
        stem_width: Channels inside a `conv4` stem.
        expansion_ratio: Hidden over input width of the channel MLP, for all stages.
        token_ratio: Hidden over input width of a token-MLP, for all stages.
        heads: Attention heads, for all stages.
        shared: Whether blocks of one mixer in a stage share one mixer function, for all stages.
        options: What mixers of the user's read besides, by name, for all stages.
        stages: Choices for each stage.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    image_size: Counts = (224,)
    in_channels: Whole | None = None
    num_classes: Whole | None = None
    patch_size: Counts
    stem: Annotated[tuple[StemName, ...], *listed] = ("conv1",)
    stem_width: Counts = (DEFAULT_STEM_WIDTH,)
    expansion_ratio: Ratios | None = None
    token_ratio: Ratios = (DEFAULT_TOKEN_RATIO,)
    heads: Heads = field(default_factory=lambda: HeadsRule(width_per_head=32))
    shared: Flags = (False,)
    options: OptionChoices = ()
    stages: tuple[StageSpace, ...]

    @property
    def shape(self) -> DataShape:
        """Channels and classes of the targets: ImageNet's where neither space nor data say them."""
        return DataShape(
            in_channels=IMAGENET.in_channels if self.in_channels is None else self.in_channels,
            num_classes=IMAGENET.num_classes if self.num_classes is None else self.num_classes,
        )

    @property
    def is_open(self) -> bool:
        """Whether channels or classes are still to be those of some data."""
        return self.in_channels is None or self.num_classes is None


def numbered_stages(space: SpaceChoices) -> Iterator[tuple[str, StageSpace]]:
    """`stage1`, `stage2` ... with the choices of each."""
    return ((f"stage{i}", stage) for i, stage in enumerate(space.stages, 1))


def without_prefix(values: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """The values of one stage: `depth` where the space has `stage1.depth`."""
    start = f"{prefix}."
    return {
        key.removeprefix(start): value for key, value in values.items() if key.startswith(start)
    }


@cache
def all_choices(space: SpaceChoices) -> dict[str, tuple[Value, ...]]:
    """Name and choices of every parameter, those without a choice too."""
    choices: dict[str, tuple[Value, ...]] = {
        name: getattr(space, name) for name in ("image_size", "patch_size", "stem", "stem_width")
    }
    shared = {name: getattr(space, name) for name in PER_STAGE} | dict(space.options)
    for name, values in shared.items():
        own = all(own_choices(stage).get(name) is not None for stage in space.stages)
        if isinstance(values, tuple) and not own:
            choices[name] = values
    for prefix, stage in numbered_stages(space):
        choices |= {f"{prefix}.{name}": values for name, values in stage_choices(stage).items()}
    return choices


def stage_sizes(space: SpaceChoices, values: Mapping[str, Value]) -> list[StageSizes]:
    """What every stage is but for its mixers, under values for all other parameters."""
    sizes: list[StageSizes] = []
    for prefix, stage in numbered_stages(space):
        # What a stage does not choose itself, all stages share.
        own = {**values, **without_prefix(values, prefix)}
        width = stage_width(stage, own["width"], sizes[-1].width if sizes else None)
        rule = stage.heads or space.heads
        heads = rule if isinstance(rule, HeadsRule) else own["heads"]
        sizes.append(
            StageSizes(
                width=width,
                heads=stage_heads(heads, sizes[0].width if sizes else width, width),
                expansion_ratio=float(own["expansion_ratio"]),
                token_ratio=float(own["token_ratio"]),
                shared=bool(own["shared"]),
                options=resolve_options(
                    {name: own[name] for name in dict(space.options + stage.options)},
                    stage.mixers.names,
                ),
            )
        )
    return sizes
