"""How a front grows: its hypervolume over trials and over time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spach_nas.limits import Limits
from spach_nas.objectives import Objective
from spach_nas.pareto import GrowingFront, hypervolume, value
from spach_nas.records import Record
from spach_nas.units import format_count


@dataclass(frozen=True, kw_only=True, slots=True)
class HypervolumeData:
    """Share of the box between the reference point and the ideal one that is dominated.

    Attributes:
        objectives: What spans the box.
        reference: The worst value of each objective over all comparable trials, by name.
        ideal: The best value of each, by name.
        trials: Trials done, failed ones too, at each step.
        seconds: Of the search, at each step.
        shares: Of the box, in [0, 1], at each step; higher is better.
        paper: Share of the paper's models alone; None when there are none.
    """

    objectives: tuple[Objective, ...]
    reference: Mapping[str, float]
    ideal: Mapping[str, float]
    trials: tuple[int, ...]
    seconds: tuple[float, ...]
    shares: tuple[float, ...]
    paper: float | None


class GrowingHypervolume:
    """The growth of a front whose records come one by one.

    The curve is that of the search alone: the paper's models, which no search found, are the line
    to compare it with. Only the highest rung is compared, as in `pareto.comparable`.

    Adding a record costs one comparison with the front. Volumes are computed when they are asked
    for: one for each record that has entered the front since, or all of them when the reference
    point has moved, which is rare.
    """

    def __init__(self, objectives: Sequence[Objective], *, limits: Limits | None = None) -> None:
        self._objectives = tuple(objectives)
        self._limits = limits
        self._trials: set[int] = set()
        self._steps, self._seconds = [0], [0.0]
        self._rung = 0
        self._data: HypervolumeData | None = None
        self._changed = False
        self._begin()

    def add(self, record: Record) -> None:
        """Take a finished record, in their order."""
        if record.state == "complete" and record.fidelity.rung > self._rung:
            self._rung = record.fidelity.rung
            self._begin()
        usable = self._take(record)
        if record.reference is None:
            self._trials.add(record.trial)
            self._steps.append(len(self._trials))
            self._seconds.append(max(self._seconds[-1], finished_after(record)))
            if usable and self._found.add(record):
                self._fronts.append(self._found.members)
            self._front_of_step.append(len(self._fronts) - 1)
        elif usable:
            self._paper.add(record)
        self._changed = True

    def data(self) -> HypervolumeData | None:
        """The growth so far; None when fewer than two points span no box."""
        if self._changed:
            self._data, self._changed = self._compute(), False
        return self._data

    def _begin(self) -> None:
        """Nothing of the rung that is compared is known."""
        self._found = GrowingFront(self._objectives)
        self._paper = GrowingFront(self._objectives)
        self._corners: dict[str, tuple[float, float]] = {}
        self._fronts: list[tuple[Record, ...]] = [()]
        self._front_of_step = [0] * len(self._steps)
        self._reference: Mapping[str, float] = {}
        self._volumes: list[float] = []

    def _take(self, record: Record) -> bool:
        """Whether a record is compared; then the box grows to hold it."""
        if record.state != "complete" or record.fidelity.rung != self._rung:
            return False
        if self._limits is not None and not self._limits.allow(record.target_cost):
            return False
        figures = [(item, value(record, item)) for item in self._objectives]
        if any(figure is None for _, figure in figures):
            return False
        for item, figure in figures:
            assert figure is not None
            worst, ideal = self._corners.get(item.name, (figure, figure))
            low, high = (min, max) if item.direction == "max" else (max, min)
            self._corners[item.name] = (low(worst, figure), high(ideal, figure))
        return True

    def _compute(self) -> HypervolumeData | None:
        box = math.prod(abs(ideal - worst) for worst, ideal in self._corners.values())
        if not self._corners or not box:
            return None
        reference = {name: worst for name, (worst, _) in self._corners.items()}
        if reference != self._reference:
            self._reference, self._volumes = reference, []
        self._volumes += [self._volume(front) for front in self._fronts[len(self._volumes) :]]
        shares = [volume / box for volume in self._volumes]
        paper = self._paper.members
        return HypervolumeData(
            objectives=self._objectives,
            reference=reference,
            ideal={name: ideal for name, (_, ideal) in self._corners.items()},
            trials=tuple(self._steps),
            seconds=tuple(self._seconds),
            shares=tuple(shares[front] for front in self._front_of_step),
            paper=self._volume(paper) / box if paper else None,
        )

    def _volume(self, members: Sequence[Record]) -> float:
        return hypervolume(members, self._objectives, reference=self._reference)


def hypervolume_data(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
) -> HypervolumeData | None:
    """The growth over a study; None when fewer than two points span no box."""
    growing = GrowingHypervolume(objectives, limits=limits)
    for record in records:
        growing.add(record)
    return growing.data()


def finished_after(record: Record) -> float:
    """Seconds of the search when a record was finished; 0 for one of an earlier study."""
    return 0.0 if record.origin is not None else record.started + record.seconds


def figure_words(objective: Objective, number: float) -> str:
    """A value of an objective, for the eye: `81.25%`, `12.18G`, `0.5312`."""
    if objective.name == "accuracy":
        return f"{number:.2%}"
    if objective.source == "target_cost":
        return format_count(number)
    return f"{number:.4g}"
