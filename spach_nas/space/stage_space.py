"""Choices for one stage of a search space."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Discriminator, Tag

from spach_nas.errors import ArchitectureError, SearchSpaceError, one_of
from spach_nas.space.architecture import Stage
from spach_nas.space.choices import Counts, Flags, OptionChoices, Ratios
from spach_nas.space.layouts import Layout, MixerCounts, PerBlock, Value
from spach_nas.space.mixers import OptionValue, get_mixer, legal_option
from spach_nas.units import Whole

Encoding = dict[str, Value]
# The arrangements of a layout are tabulated, the square of the depth of them.
_MOST_BLOCKS = 200
# What the whole space gives for all stages, and a stage may replace.
PER_STAGE = ("expansion_ratio", "token_ratio", "heads", "shared")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadsRule:
    """Heads from a width.

    Attributes:
        width_per_head: Channels for each head.
        of: `stage1` takes the width of the first stage for all stages, as the paper does; `stage`
            takes the stage's own.

    Raises:
        SearchSpaceError: No channel for a head.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    width_per_head: Whole
    of: Literal["stage1", "stage"] = "stage1"

    def __post_init__(self) -> None:
        if self.width_per_head < 1:
            raise SearchSpaceError(f"width_per_head: {self.width_per_head}; expected at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """A width as a multiple of the stage before.

    Attributes:
        times: Choices for the factor.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    times: Ratios


class StageSizes(NamedTuple):
    """What a stage is but for its mixers; the fields are those of `Stage`."""

    width: int
    heads: int
    expansion_ratio: float
    token_ratio: float
    shared: bool
    options: tuple[tuple[str, OptionValue], ...]


def _is_mapping(value: Any) -> str:
    if isinstance(value, dict):  # {from: 2, to: 6} is a list written short
        return "choices" if {"from", "to"} & set(value) else "mapping"
    return "mapping" if isinstance(value, HeadsRule | Times | Layout) else "choices"


def _as_per_block(value: Any) -> Any:
    return value if isinstance(value, PerBlock) else {"choices": value}


_Mapping, _Choices = Tag("mapping"), Tag("choices")
Heads = Annotated[
    Annotated[HeadsRule, _Mapping] | Annotated[Counts, _Choices], Discriminator(_is_mapping)
]
Width = Annotated[
    Annotated[Times, _Mapping] | Annotated[Counts, _Choices], Discriminator(_is_mapping)
]
Arrangement = Annotated[
    Annotated[Layout, _Mapping] | Annotated[PerBlock, BeforeValidator(_as_per_block), _Choices],
    Discriminator(_is_mapping),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSpace:
    """Choices for one stage; a ratio, heads or sharing given here replaces the global one.

    Attributes:
        depth: Number of blocks.
        width: Channels, or `times` the stage before.
        mixers: A layout, a list (a free choice for each block) or a name.
        expansion_ratio: Hidden over input width of the channel MLP.
        token_ratio: Hidden over input width of a token-MLP.
        heads: Attention heads.
        shared: Whether blocks of one mixer share one mixer function.
        options: Choices for what mixers of the user's read besides, by name.

    Raises:
        SearchSpaceError: A depth beyond all use, or an option that no mixer reads.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    depth: Counts
    width: Width
    mixers: Arrangement
    expansion_ratio: Ratios | None = None
    token_ratio: Ratios | None = None
    heads: Heads | None = None
    shared: Flags | None = None
    options: OptionChoices = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", legal_choices(self.options))
        if max(self.depth) > _MOST_BLOCKS:
            raise SearchSpaceError(f"depth: {max(self.depth)}; expected at most {_MOST_BLOCKS}")


def legal_choices(options: OptionChoices) -> OptionChoices:
    """Choices of options as their mixers declare the values.

    Raises:
        SearchSpaceError: An unknown option, or a value that is not legal; a line for each.
    """
    mistakes, found = [], []
    for name, values in options:
        legal = []
        for value in values:
            try:
                legal.append(legal_option(name, value))
            except ArchitectureError as error:
                mistakes.append(str(error))
        found.append((name, tuple(legal)))
    if mistakes:
        raise SearchSpaceError("\n".join(dict.fromkeys(mistakes)))
    return tuple(found)


def own_choices(stage: StageSpace) -> dict[str, Any]:
    """What a stage gives in place of what all stages share: choices, a rule, or None."""
    return {name: getattr(stage, name) for name in PER_STAGE} | dict(stage.options)


def value_of(name: str, stage: Stage) -> Value:
    """The value of a parameter of `PER_STAGE`, or of an option, that a stage has."""
    value: Value = getattr(stage, name) if name in PER_STAGE else dict(stage.options)[name]
    return value


def stage_choices(stage: StageSpace) -> dict[str, tuple[Value, ...]]:
    """Name and choices of every parameter of a stage, those without a choice too."""
    return {
        "depth": stage.depth,
        "width": _width_values(stage),
        **stage.mixers.parameters(stage.depth),
        **{name: item for name, item in own_choices(stage).items() if isinstance(item, tuple)},
    }


def stage_width(stage: StageSpace, value: Value, before: int | None) -> int:
    """Channels that a value of the parameter `width` stands for, after a stage `before`."""
    if isinstance(stage.width, Times) and before is not None:
        return round(before * float(value))
    return int(value)


def stage_heads(rule: HeadsRule | Value, first_width: int, width: int) -> int:
    """Heads of a stage from a rule or a plain count."""
    if isinstance(rule, HeadsRule):
        return (first_width if rule.of == "stage1" else width) // rule.width_per_head
    return int(rule)


def describe_stage(space: StageSpace, stage: Stage, before: int | None) -> Encoding | str:
    """The canonical values that give `stage` after a stage of width `before`, or what hinders."""
    if stage.depth not in space.depth:
        return f"depth: {stage.depth}; expected {one_of(map(str, space.depth))}"
    arrangement = space.mixers.describe(stage.mixers, space.depth)
    if arrangement is None:
        return f"mixers: {stage}; expected an arrangement of {one_of(space.mixers.names)}"
    width: Value = stage.width
    if isinstance(space.width, Times) and before is not None:
        width = next(
            (times for times in space.width.times if round(before * times) == stage.width),
            stage.width / before,
        )
    found: Encoding = {"depth": stage.depth, "width": width, **arrangement}
    for name, choices in own_choices(space).items():
        if isinstance(choices, tuple):
            found[name] = value_of(name, stage) if has_effect(name, stage) else choices[0]
    return found


def has_effect(name: str, stage: Stage) -> bool:
    """Whether a stage would differ with another value of this parameter."""
    if name == "token_ratio":
        return any(name in get_mixer(mixer).parameters for mixer in stage.mixers)
    if name == "shared":
        return any(
            get_mixer(mixer).is_branch and stage.mixers.count(mixer) > 1 for mixer in stage.mixers
        )
    return name in PER_STAGE or name in dict(stage.options)


def effects(mixers: MixerCounts) -> frozenset[str]:
    """Which of `token_ratio`, `shared` and the options a stage with these counts feels."""
    found = set()
    for name, count in mixers.counts:
        spec = get_mixer(name)
        found |= {"token_ratio"} & spec.parameters | spec.options.keys()
        if spec.is_branch and count > 1:
            found.add("shared")
    return frozenset(found)


def _width_values(stage: StageSpace) -> tuple[Value, ...]:
    return stage.width.times if isinstance(stage.width, Times) else stage.width


@cache
def stage_numbers(stage: StageSpace) -> dict[frozenset[str], int]:
    """Distinct choices for a stage, by the global parameters that they feel."""
    given = own_choices(stage)
    own = {name: len(given[name] or ()) for name in ("token_ratio", "shared", *dict(stage.options))}
    plain = len(_width_values(stage)) * len(stage.expansion_ratio or (1,))
    if isinstance(stage.heads, tuple):
        plain *= len(stage.heads)
    numbers: dict[frozenset[str], int] = {}
    for mixers in stage.mixers.classes(stage.depth):
        felt = effects(mixers)
        number = mixers.number * plain
        for name, values in own.items():
            number *= values if values and name in felt else 1
        key = frozenset(name for name in felt if not own.get(name))
        numbers[key] = numbers.get(key, 0) + number
    return numbers


def sample_stage(stage: StageSpace, rng: np.random.Generator) -> Encoding:
    """Values for a stage, uniformly over arrangements and over each other parameter."""
    classes = stage.mixers.classes(stage.depth)
    counts = classes[pick([mixers.number for mixers in classes], rng)]
    mixers = stage.mixers.draw(counts, stage.depth, rng)
    found: Encoding = {"depth": counts.depth, **(stage.mixers.describe(mixers, stage.depth) or {})}
    for name, values in stage_choices(stage).items():
        if name not in found:
            found[name] = values[rng.integers(len(values))]
    return found


def pick(numbers: list[int], rng: np.random.Generator) -> int:
    """An index with a probability in proportion to its number."""
    total = sum(numbers)  # numbers of architectures may outgrow a float, their shares do not
    weights = np.array([number / total for number in numbers])
    return int(rng.choice(len(weights), p=weights / weights.sum()))
