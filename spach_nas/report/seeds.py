"""Several trainings of one architecture as one point: their mean, and how far they lie apart.

Where an architecture was trained with several seeds, a picture and a front of single trainings
would favour the luckiest one. So it stands at the mean, and the front is one of means. Bars show
the range, from the lowest to the highest: of the two to five seeds that people train, a standard
error would be a guess.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from spach_nas.objectives import OBJECTIVES, Objective
from spach_nas.pareto import comparable, value
from spach_nas.records import Record


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
