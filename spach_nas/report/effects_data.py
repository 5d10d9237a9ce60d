"""What each choice did to the score at equal MACs.

Two values of a parameter are compared at a time, on the range of MACs that trials of both cover:
there the score is a parabola in log MACs, and one value is as much higher as the other everywhere.
Leading and trailing mixer of a stage are judged each with the other held equal: they depend on each
other, since a stage of one mixer is counted once. All else is as these trials happen to have it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spach_nas.config.objectives import Objective
from spach_nas.cost.limits import Limits
from spach_nas.report.choices import Choice, Choices, Floats, Indices, choices_table
from spach_nas.report.estimate import Difference, difference
from spach_nas.study.records import Record

# Of either value, on the common range of MACs: fewer trials tell an effect from nothing only when
# it is huge.
FEWEST = 5
_PARTNERS = {"leading": "trailing", "trailing": "leading"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """A value of a parameter beside the reference value.

    Attributes:
        level: The value in words.
        trials: Architectures that have it.
        compared: Those on the range of MACs that it shares with the reference value.
        against: Those of the reference value on this range.
        change: Of the score, in its units; None where too few trials are behind it.
    """

    level: str
    trials: int
    compared: int
    against: int
    change: Difference | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceEffects:
    """A parameter of the encoding.

    Attributes:
        name: As in the YAML.
        reference: The value that most trials have, the first of them; others are compared with it.
        place: Of the reference value among all, from 0.
        trials: Architectures that have it.
        effects: The other values, in their order.
    """

    name: str
    reference: str
    place: int
    trials: int
    effects: tuple[Effect, ...]

    @property
    def shown(self) -> tuple[Effect, ...]:
        """Those with enough trials."""
        return tuple(effect for effect in self.effects if effect.change is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class EffectsData:
    """Every parameter, in the order of the encoding.

    Attributes:
        score: What changes.
        trials: Architectures that were compared.
        choices: Those that took more than one value.
        left_out: Trials without a known choice.
    """

    score: Objective
    trials: int
    choices: tuple[ChoiceEffects, ...]
    left_out: int

    @property
    def intervals(self) -> int:
        """How many were estimated; one of twenty misses the truth."""
        return sum(len(choice.shown) for choice in self.choices)


def effects_data(
    records: Sequence[Record], objectives: Sequence[Objective], *, limits: Limits | None = None
) -> EffectsData:
    """The effect of each choice over a search's own complete trials of the highest rung.

    Args:
        records: Of one study.
        objectives: Of the study; the first score among them is what changes.
        limits: Bounds on the target's cost; what breaks them is left out.
    """
    table = choices_table(records, objectives, limits=limits)
    return EffectsData(
        score=table.score,
        trials=len(table.scores),
        choices=tuple(_effects(choice, table) for choice in table.choices),
        left_out=table.left_out,
    )


def _effects(choice: Choice, table: Choices) -> ChoiceEffects:
    numbers = np.bincount(choice.level[choice.level >= 0], minlength=len(choice.levels))
    reference = int(np.argmax(numbers))
    return ChoiceEffects(
        name=choice.name,
        reference=choice.levels[reference],
        place=reference,
        trials=int(numbers[reference]),
        effects=tuple(
            _effect(choice, table, level=level, reference=reference)
            for level in range(len(choice.levels))
            if level != reference
        ),
    )


def _effect(choice: Choice, table: Choices, *, level: int, reference: int) -> Effect:
    company = _company(choice, table)
    first = _observations(table, choice.level == reference, company)
    second = _observations(table, choice.level == level, company)
    low = max(first[1].min(), second[1].min())
    high = min(first[1].max(), second[1].max())
    scores, log_macs, kinds = np.concatenate([first, second], axis=1)
    is_second = np.arange(len(scores)) >= first.shape[1]
    common = (log_macs >= low) & (log_macs <= high)
    compared, against = int((common & is_second).sum()), int((common & ~is_second).sum())
    change = None
    if min(compared, against) >= FEWEST:
        change = difference(
            scores[common],
            log_macs[common],
            second=is_second[common],
            company=kinds[common].astype(np.intp),
        )
    return Effect(
        level=choice.levels[level],
        trials=int((choice.level == level).sum()),
        compared=compared,
        against=against,
        change=change,
    )


def _company(choice: Choice, table: Choices) -> Indices:
    """The other mixer of the stage, where the choice is one of the two."""
    prefix, _, key = choice.name.rpartition(".")
    other = f"{prefix}.{_PARTNERS.get(key, '')}"
    found = [item.level for item in table.choices if item.name == other]
    return found[0] if found else np.zeros(len(table.scores), dtype=np.intp)


def _observations(table: Choices, rows: NDArray[np.bool_], company: Indices) -> Floats:
    """Score, log MACs and company, (3, N); architectures that share one training are one of N."""
    keys = table.proxies[rows] * (company.max() + 2) + company[rows]
    _, place, number = np.unique(keys, return_inverse=True, return_counts=True)
    figures = (table.scores[rows], table.log_macs[rows], company[rows])
    return np.stack([np.bincount(place, weights=figure) / number for figure in figures])
