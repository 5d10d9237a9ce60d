"""Several trainings of one architecture as one point: their mean, and how far they lie apart.

Where an architecture was trained with several seeds, a picture and a front of single trainings
would favour the luckiest one. So it stands at the mean, and the front is one of means. Bars show
the range, from the lowest to the highest, and at least the interval of the validation images. How
far trainings lie apart is pooled over all architectures that have several.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.study.intervals import Interval, image_interval, surely_better
from spach_nas.study.pareto import comparable, value
from spach_nas.study.records import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """An architecture with all its comparable trainings.

    Attributes:
        record: That of the earliest trial, with the mean of each score and measurement.
        trainings: One for each seed, by trial.
    """

    record: Record
    trainings: tuple[Record, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the trainings."""
        return tuple(record.seed for record in self.trainings)

    def values(self, objective: Objective) -> tuple[float, ...]:
        """Of the trainings that have a finite one."""
        found = (value(record, objective) for record in self.trainings)
        return tuple(figure for figure in found if figure is not None)

    def interval(self, objective: Objective) -> Interval | None:
        """Of its images, reaching over all its seeds; None where the images were not counted."""
        ends = image_interval(self.record, objective)
        if ends is None:
            return None
        scores = self.values(objective)
        return Interval(min(ends.low, *scores), max(ends.high, *scores))


class Spread(NamedTuple):
    """Of single trainings around the mean of their architecture.

    Attributes:
        deviation: Standard deviation, pooled over all architectures with several seeds.
        freedom: Seeds less one, over these architectures.
    """

    deviation: float
    freedom: int

    def reach(self, first: int, second: int) -> float:
        """What two means of so many seeds of one architecture differ by at most, in 95 of 100."""
        two = math.sqrt(1 / first + 1 / second)
        # Late: what is wrong with a study is told before scipy is imported.
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, 0.975)) * self.deviation * two


def pooled_spread(scores: Sequence[Sequence[float]]) -> Spread | None:
    """Of the trainings of several architectures; None where each was trained once."""
    several = [found for found in scores if len(found) > 1]
    freedom = sum(len(found) - 1 for found in several)
    if not freedom:
        return None
    means = [math.fsum(found) / len(found) for found in several]
    squares = math.fsum(
        (score - mean) ** 2 for found, mean in zip(several, means, strict=True) for score in found
    )
    return Spread(math.sqrt(squares / freedom), freedom)


def beyond_chance(
    first: Trained, second: Trained, objective: Objective, *, spread: Spread | None
) -> bool | None:
    """Whether the first score is better by more than images and trainings explain.

    Args:
        first: The one that should be better.
        second: The other.
        objective: The score.
        spread: Of trainings, where it is known.

    Returns:
        None where neither images nor the spread are known.
    """
    by_images = surely_better(first.record, second.record, objective)
    if spread is None:
        return by_images
    ours, theirs = (value(item.record, objective) or 0.0 for item in (first, second))
    gain = ours - theirs if objective.direction == "max" else theirs - ours
    by_training = gain > spread.reach(len(first.trainings), len(second.trainings))
    return by_training if by_images is None else by_images and by_training


def group_seeds(records: Sequence[Record]) -> tuple[Trained, ...]:
    """The comparable records by architecture, in the order of their earliest trials.

    The same seed twice is no repetition: such trainings stay apart.
    """
    groups: dict[tuple[str, str | None], list[Record]] = {}
    for record in comparable(records):
        groups.setdefault((record.arch_id, record.reference), []).append(record)
    found: list[tuple[Record, ...]] = []
    for group in groups.values():
        distinct = len({record.seed for record in group}) == len(group)
        found += [tuple(group)] if distinct else [(record,) for record in group]
    found.sort(key=lambda group: (group[0].trial, group[0].seed))
    return tuple(Trained(record=_mean(group), trainings=group) for group in found)


def average_seeds(records: Sequence[Record]) -> tuple[Record, ...]:
    """The records, with one, the mean, in place of the comparable trainings of an architecture."""
    groups = [group for group in group_seeds(records) if len(group.trainings) > 1]
    first = {id(group.trainings[0]): group.record for group in groups}
    rest = {id(record) for group in groups for record in group.trainings[1:]}
    return tuple(first.get(id(record), record) for record in records if id(record) not in rest)


def _mean(group: tuple[Record, ...]) -> Record:
    if len(group) == 1:
        return group[0]
    names = {name for record in group for name in record.objectives} | {"accuracy", "loss"}
    means = {}
    for name in sorted(names & set(OBJECTIVES)):
        found = [value(record, OBJECTIVES[name]) for record in group]
        figures = [figure for figure in found if figure is not None]
        if figures:
            means[name] = math.fsum(figures) / len(figures)
    return replace(group[0], objectives={**group[0].objectives, **means})
