"""Decides which trials are promoted to the next rung, without waiting for a whole rung.

Successive halving as in ASHA (Li et al. 2020, arXiv:1810.05934), but never more than one in
`reduction` is promoted, and candidates are ranked by non-domination and crowding, so that cheap
ones are promoted as well as accurate ones, as in MO-ASHA (Schmucker et al. 2021, arXiv:2106.12639).
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.config.search_settings import Rungs
from spach_nas.samplers.ranking import rank_by_front
from spach_nas.study.pareto import value
from spach_nas.study.records import Record

# A trial at a rung.
Step = tuple[int, int]


def places(trials: int, *, reduction: int, rungs: int) -> list[int]:
    """Number of trials that reach each rung, lowest first, if `trials` begin; at least one."""
    found = [trials]
    for _ in range(rungs - 1):
        found.append(max(1, found[-1] // reduction))
    return found


class Ladder:
    """An index over the records of a study: `add` changes it, `next` and `may_go_on` only read.

    The paper's models are always promoted, without taking the place of other trials.
    """

    def __init__(
        self,
        rungs: Rungs,
        *,
        objectives: Sequence[Objective],
        trials: int,
        stand_ins: Sequence[Mapping[str, Objective]] = (),
    ) -> None:
        """An empty ladder.

        Args:
            rungs: Levels, reduction and rank.
            objectives: Of the study.
            trials: Number that the lowest rung will hold in the end.
            stand_ins: For each level, what stands for the objectives there, by their names. Empty:
                they themselves.
        """
        self.top = len(rungs.levels)
        self._reduction = rungs.reduction
        self._places = places(trials, reduction=rungs.reduction, rungs=self.top + 1)
        chosen = objectives if rungs.rank == "front" else (OBJECTIVES[rungs.rank],)
        known = stand_ins or [{item.name: item for item in chosen}] * self.top
        self._rungs = [
            _Rung(tuple(dict.fromkeys(known[level][item.name] for item in chosen)))
            for level in range(self.top)
        ]
        self._gone_on: set[Step] = set()
        self._references: list[Record] = []

    def add(self, record: Record) -> list[Record]:
        """Add a finished record; return the records that can no longer be promoted."""
        rung = record.fidelity.rung
        ended = self._go_on(record.trial, rung - 1) if rung else []
        if record.state != "complete" or rung == self.top:
            return ended
        if record.reference is not None:
            self._references.append(record)
            return ended
        return ended + self._rungs[rung].add(record, places=self._places[rung + 1])

    def _go_on(self, trial: int, rung: int) -> list[Record]:
        """Note that a trial has been promoted, and return its record at this rung."""
        if (trial, rung) in self._gone_on:
            return []
        self._gone_on.add((trial, rung))
        references = [
            record
            for record in self._references
            if (record.trial, record.fidelity.rung) == (trial, rung)
        ]
        return references + self._rungs[rung].leave(trial)

    def next(self, running: Collection[Step], *, closing: bool) -> Record | None:
        """The record whose trial is promoted now, if any.

        Args:
            running: Trials with the rungs at which they are running.
            closing: Whether no other trial will begin: then at least one of each rung is promoted.
        """
        taken = {(trial, rung - 1) for trial, rung in running} - self._gone_on
        for record in self._references:
            step = record.trial, record.fidelity.rung
            if step not in self._gone_on and step not in taken:
                return record
        for number in reversed(range(self.top)):
            rung = self._rungs[number]
            most = len(rung.records) // self._reduction
            if closing and rung.records:
                most = max(most, 1)
            # Ranks change with every record: otherwise more than `most` would be promoted.
            on_way = {trial for trial, below in taken if below == number}
            if most <= rung.left + rung.count(on_way):
                continue
            for record in rung.best(most):
                step = record.trial, number
                if step not in self._gone_on and step not in taken:
                    return record
        return None

    def may_go_on(self, record: Record) -> bool:
        """Whether the record's trial may still be promoted."""
        rung = record.fidelity.rung
        if record.state != "complete" or rung == self.top:
            return False
        if (record.trial, rung) in self._gone_on:
            return False
        if record.reference is not None:
            return True
        # Candidates that dominate it will always rank before it.
        return self._rungs[rung].ahead(record) < self._places[rung + 1]


class _Rung:
    """The candidates of one rung."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.records: list[Record] = []
        self.left = 0  # number that have been at the rung above
        self._objectives = objectives
        # For each candidate its objectives, higher is better, and how many others dominate it. The
        # arrays double when full, so that adding a candidate costs one comparison with all.
        self._gains = np.empty((64, len(objectives)))
        self._ahead = np.zeros(64, dtype=np.int64)
        self._index: dict[int, int] = {}
        self._ranked: tuple[int, NDArray[np.intp]] = (0, np.empty(0, dtype=np.intp))

    def add(self, record: Record, *, places: int) -> list[Record]:
        """Add a candidate; return those that `places` others now dominate."""
        gains = []
        for item in self._objectives:
            figure = value(record, item)
            assert figure is not None, "a complete record has all objectives"
            gains.append(figure if item.direction == "max" else -figure)
        count = len(self.records)
        if count == len(self._ahead):
            self._gains = np.concatenate([self._gains, np.empty_like(self._gains)])
            self._ahead = np.concatenate([self._ahead, np.zeros_like(self._ahead)])
        own, others = np.array(gains), self._gains[:count]
        dominated = (own >= others).all(1) & (own > others).any(1)
        self._ahead[:count] += dominated
        self._ahead[count] = ((others >= own).all(1) & (others > own).any(1)).sum()
        self._gains[count] = own
        self._index[record.trial] = count
        self.records.append(record)
        behind = np.flatnonzero(dominated & (self._ahead[:count] == places))
        return [self.records[i] for i in behind]

    def leave(self, trial: int) -> list[Record]:
        """Note that a trial has been at the rung above; return its record if it is a candidate."""
        place = self._index.get(trial)
        if place is None:
            return []
        self.left += 1
        return [self.records[place]]

    def count(self, trials: Collection[int]) -> int:
        """Number of these trials that are candidates."""
        return sum(trial in self._index for trial in trials)

    def ahead(self, record: Record) -> int:
        """Number of candidates that dominate a record."""
        return int(self._ahead[self._index[record.trial]])

    def best(self, count: int) -> list[Record]:
        """The best candidates, best first."""
        if not count:
            return []
        seen, order = self._ranked
        if seen != len(self.records):
            points = self._gains[: len(self.records)]
            order = rank_by_front(points, maximise=[True] * points.shape[1])
            self._ranked = (len(self.records), order)
        return [self.records[i] for i in order[:count]]
