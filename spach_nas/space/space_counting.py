"""How many distinct architectures a search space has.

The number of arrangements does not depend on widths and ratios, so that it factors over the stages
once the global values are fixed. What breaks the product are parameters without effect:
`token_ratio` where nothing reads it, `shared` where nothing is shared.
"""

import itertools
from collections.abc import Iterator
from functools import cache

from spach_nas.space.space_choices import SpaceChoices, all_choices, numbered_stages
from spach_nas.space.stage_space import Encoding, own_choices, stage_choices, stage_numbers


@cache
def globals_with_numbers(space: SpaceChoices) -> tuple[tuple[Encoding, int], ...]:
    """Values that all stages share, and how many distinct architectures have them."""
    return tuple((values, _number(space, values)) for values in _global_values(space))


def contexts(space: SpaceChoices) -> Iterator[Encoding]:
    """Every combination of values but for depths and mixers, without those that have no effect."""
    free = {
        f"{prefix}.{name}": stage_choices(stage)[name]
        for prefix, stage in numbered_stages(space)
        for name in ("width", *own_choices(stage))
        if name in stage_choices(stage)
    }
    for shared in _global_values(space):
        for values in itertools.product(*free.values()):
            yield {**shared, **dict(zip(free, values, strict=True))}


def _global_values(space: SpaceChoices) -> Iterator[Encoding]:
    """Every combination of the choices that all stages share, without those that have no effect."""
    choices = {name: values for name, values in all_choices(space).items() if "." not in name}
    for values in itertools.product(*choices.values()):
        encoding = dict(zip(choices, values, strict=True))
        if encoding["stem"] != "conv1" or encoding["stem_width"] == space.stem_width[0]:
            yield encoding


def effect_names(space: SpaceChoices) -> tuple[str, ...]:
    """Parameters that a stage may not feel: `token_ratio`, `shared` and the options."""
    choices = (space.options, *(stage.options for stage in space.stages))
    options = {name for given in choices for name, _ in given}
    return ("token_ratio", "shared", *sorted(options))


def required_effects(space: SpaceChoices, encoding: Encoding, prefix: str = "") -> frozenset[str]:
    """Parameters off their first choice, which must be felt for an architecture to be no copy.

    Args:
        space: The space.
        encoding: Its values.
        prefix: `stage2.` for what stage 2 chooses itself; empty for what all stages share, which
            some stage must feel.
    """
    return frozenset(
        name
        for name in effect_names(space)
        if encoding.get(prefix + name, None)
        not in (None, *all_choices(space).get(prefix + name, ())[:1])
    )


def _number(space: SpaceChoices, encoding: Encoding) -> int:
    """Distinct architectures with these global values."""
    required = required_effects(space, encoding)
    numbers: dict[frozenset[str], int] = {frozenset(): 1}
    for stage in space.stages:
        following: dict[frozenset[str], int] = {}
        for felt, number in stage_numbers(stage).items():
            for before, total in numbers.items():
                key = before | (felt & required)
                following[key] = following.get(key, 0) + total * number
        numbers = following
    return numbers.get(required, 0)
