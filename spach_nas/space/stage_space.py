"""Choices for one stage of a search space."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import BeforeValidator, Discriminator, Field, PlainSerializer, Tag, TypeAdapter

from spach_nas.errors import ArchitectureError, SearchSpaceError, SpachNasError, one_of
from spach_nas.space.architecture import Stage
from spach_nas.space.choices import Counts, Depths, Flags, Names, OptionChoices, Ratios
from spach_nas.space.layouts import Layout, MixerCounts, Mixers, PerBlock, Value
from spach_nas.space.mixers import OptionValue, get_mixer, legal_option
from spach_nas.units import Whole
from spach_nas.validation import Settings, Written

Encoding = dict[str, Value]
# What the whole space gives for all stages, and a stage may replace.
PER_STAGE = ("expansion_ratio", "token_ratio", "heads", "shared")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadsRule(Settings):
    """Heads that follow from a width."""

    error: ClassVar[type[SpachNasError]] = SearchSpaceError

    width_per_head: Annotated[Whole, Field(ge=1)]
    """Channels for each head."""
    of: Literal["stage1", "stage"] = "stage1"
    """`stage1` takes the width of the first stage for all stages, as the paper does; `stage` takes
    the stage's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Times(Settings):
    """A width as a multiple of the width of the stage before."""

    error: ClassVar[type[SpachNasError]] = SearchSpaceError

    times: Ratios
    """Choices for the factor."""


class StageSizes(NamedTuple):
    """A stage without its mixers; the fields are those of `Stage`."""

    width: int
    heads: int
    expansion_ratio: float
    token_ratio: float
    shared: bool
    options: tuple[tuple[str, OptionValue], ...]

    def with_mixers(self, mixers: Mixers) -> Stage:
        """The stage of these sizes and mixers."""
        return Stage(mixers=mixers, **self._asdict())


def _is_mapping(value: Any) -> str:
    if isinstance(value, dict):  # {from: 2, to: 6} is short for a list
        return "choices" if {"from", "to"} & set(value) else "mapping"
    return "mapping" if isinstance(value, HeadsRule | Times | Layout) else "choices"


def _as_per_block(value: Any) -> Any:
    return value if isinstance(value, PerBlock) else {"choices": value}


_Mapping, _Choices = Tag("mapping"), Tag("choices")
Heads = Annotated[
    Annotated[Counts, _Choices] | Annotated[HeadsRule, _Mapping], Discriminator(_is_mapping)
]
Width = Annotated[
    Annotated[Counts, _Choices] | Annotated[Times, _Mapping], Discriminator(_is_mapping)
]
Arrangement = Annotated[
    Annotated[
        PerBlock,
        BeforeValidator(_as_per_block),
        PlainSerializer(lambda value: list(value.choices), when_used="json"),
        Written(lambda: TypeAdapter(Names).json_schema()),
        _Choices,
    ]
    | Annotated[Layout, _Mapping],
    Discriminator(_is_mapping),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSpace(Settings):
    """Choices for one stage; a ratio, heads or sharing given here replaces the global one."""

    error: ClassVar[type[SpachNasError]] = SearchSpaceError

    depth: Depths
    """Number of blocks."""
    width: Width
    """Channels, or `times` the width of the stage before."""
    mixers: Arrangement
    """A layout, a list (a free choice for each block) or a name."""
    expansion_ratio: Ratios | None = None
    """Hidden over input width of the channel MLP."""
    token_ratio: Ratios | None = None
    """Hidden over input width of a token-MLP."""
    heads: Heads | None = None
    """Attention heads."""
    shared: Flags | None = None
    """Whether blocks of one mixer share one mixer function."""
    options: OptionChoices = ()
    """Choices for what mixers of your own read in addition, by name."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        object.__setattr__(self, "options", legal_choices(self.options))


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
    """The stage's own choices (or rule) for what all stages share; None where it has none."""
    return {name: getattr(stage, name) for name in PER_STAGE} | dict(stage.options)


def value_of(name: str, stage: Stage) -> Value:
    """The value of a parameter of `PER_STAGE`, or of an option, in a stage."""
    value: Value = getattr(stage, name) if name in PER_STAGE else dict(stage.options)[name]
    return value


def stage_choices(stage: StageSpace) -> dict[str, tuple[Value, ...]]:
    """Name and choices of every parameter of a stage, including those with a single choice."""
    return {
        "depth": stage.depth,
        "width": _width_values(stage),
        **stage.mixers.parameters(stage.depth),
        **{name: item for name, item in own_choices(stage).items() if isinstance(item, tuple)},
    }


def stage_width(stage: StageSpace, value: Value, before: int | None) -> int:
    """Channels for a value of the parameter `width`, after a stage of width `before`."""
    if isinstance(stage.width, Times) and before is not None:
        return round(before * float(value))
    return int(value)


def stage_heads(rule: HeadsRule | Value, first_width: int, width: int) -> int:
    """Heads of a stage from a rule or a plain count."""
    if isinstance(rule, HeadsRule):
        return (first_width if rule.of == "stage1" else width) // rule.width_per_head
    return int(rule)


def head_mistakes(
    i: int, rule: HeadsRule | Counts, reachable: set[tuple[int, int]]
) -> Iterator[str]:
    """What is wrong with the heads of stage `i`.

    Args:
        i: Index of the stage.
        rule: A rule, or the choices.
        reachable: Widths that the first stage and this one can have together.
    """
    for first, width in sorted(reachable):
        for heads in (rule,) if isinstance(rule, HeadsRule) else rule:
            if isinstance(heads, HeadsRule):
                source = first if heads.of == "stage1" else width
                if source % heads.width_per_head:
                    yield (
                        f"stages[{i}].width: {source} with {heads.width_per_head} channels a head; "
                        f"expected a multiple of {heads.width_per_head}"
                    )
                    continue
            count = stage_heads(heads, first, width)
            if width % count:
                yield (
                    f"stages[{i}].width: {width} with {count} heads; expected a multiple of {count}"
                )


def describe_stage(space: StageSpace, stage: Stage, before: int | None) -> Encoding | str:
    """The canonical values of `stage` after a stage of width `before`, or why there are none."""
    if stage.depth not in space.depth:
        return f"depth: {stage.depth}; expected {one_of(map(str, space.depth))}"
    arrangement = space.mixers.describe(stage.mixers, space.depth)
    if arrangement is None:
        return f"mixers: {stage}; expected an arrangement of {one_of(space.mixers.names)}"
    width: Value = stage.width
    # Looked up among the choices, since width / before may differ from the factor by rounding.
    if isinstance(space.width, Times) and before is not None:
        width = next(
            (times for times in space.width.times if round(before * times) == stage.width),
            stage.width / before,
        )
    found: Encoding = {"depth": stage.depth, "width": width, **arrangement}
    for name, choices in own_choices(space).items():
        if isinstance(choices, tuple):
            # Canonical: a parameter without effect has its first choice.
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
    """Which of `token_ratio`, `shared` and the options affect a stage with these counts."""
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
    """Number of distinct stages, by the global parameters that affect them."""
    given = own_choices(stage)
    own = {name: len(given[name] or ()) for name in ("token_ratio", "shared", *dict(stage.options))}
    plain = len(_width_values(stage)) * len(stage.expansion_ratio or (1,))
    if isinstance(stage.heads, tuple):
        plain *= len(stage.heads)
    numbers: dict[frozenset[str], int] = {}
    for mixers in stage.mixers.classes(stage.depth):
        relevant = effects(mixers)
        number = mixers.number * plain
        for name, values in own.items():
            number *= values if values and name in relevant else 1
        # What the stage chooses itself is counted above; the rest depends on the whole space.
        key = frozenset(name for name in relevant if not own.get(name))
        numbers[key] = numbers.get(key, 0) + number
    return numbers


def sample_stage(stage: StageSpace, rng: np.random.Generator) -> Encoding:
    """Values for a stage, uniform over arrangements and over every other parameter."""
    classes = stage.mixers.classes(stage.depth)
    counts = classes[pick([mixers.number for mixers in classes], rng)]
    mixers = stage.mixers.draw(counts, stage.depth, rng)
    found: Encoding = {"depth": counts.depth, **(stage.mixers.describe(mixers, stage.depth) or {})}
    for name, values in stage_choices(stage).items():
        # Depth and mixers come with the arrangement.
        if name not in found:
            found[name] = values[rng.integers(len(values))]
    return found


def pick(numbers: list[int], rng: np.random.Generator) -> int:
    """An index with a probability in proportion to its number."""
    total = sum(numbers)  # may exceed a float, unlike the shares
    weights = np.array([number / total for number in numbers])
    return int(rng.choice(len(weights), p=weights / weights.sum()))
