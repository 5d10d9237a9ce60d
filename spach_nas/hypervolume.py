"""How a front grows: its hypervolume over trials and over time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from spach_nas.errors import StudyError
from spach_nas.limits import Limits
from spach_nas.objectives import LATENCY, Objective
from spach_nas.pareto import GrowingFront, hypervolume, value
from spach_nas.records import Record
from spach_nas.units import format_count

# The worst and the best value of each objective, by name.
Corners = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class HypervolumeData:
    """Share of the box between the reference point and the ideal one that is dominated.

    Attributes:
        objectives: What spans the box.
        reference: The worst value of each objective over all comparable trials, by name.
        ideal: The best value of each, by name.
        trials: Trials done, failed ones too, at each step.
        seconds: Of the search by the clock, at each step.
        training: Seconds that all trainings so far took together, those of lower rungs and of
            failed trials too, those of paper models and of an earlier study not.
        shares: Of the box, in [0, 1], at each step; higher is better.
        paper: Share of the paper's models alone; None when there are none.
        baseline: The growth of a study to compare with, in the same box.
    """

    objectives: tuple[Objective, ...]
    reference: Mapping[str, float]
    ideal: Mapping[str, float]
    trials: tuple[int, ...]
    seconds: tuple[float, ...]
    shares: tuple[float, ...]
    paper: float | None
    training: tuple[float, ...] = ()
    baseline: "HypervolumeData | None" = None


class GrowingHypervolume:
    """The growth of a front whose records come one by one.

    The curve is that of the search alone: the paper's models, which no search found, are the line
    to compare it with. Only the highest rung is compared, as in `pareto.comparable`.

    Adding a record costs one comparison with the front. Volumes are computed when they are asked
    for: one for each record that has entered the front since, or all of them when the reference
    point has moved, which is rare.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        *,
        limits: Limits | None = None,
        corners: Corners | None = None,
    ) -> None:
        """Nothing yet.

        Args:
            objectives: At least one.
            limits: Bounds on the target's cost.
            corners: A box that several studies share; it grows where a record lies outside.
        """
        self._objectives = tuple(objectives)
        self._limits = limits
        self._shared = dict(corners or {})
        self._trials: set[int] = set()
        self._steps, self._seconds, self._training = [0], [0.0], [0.0]
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
            spent = record.seconds if record.origin is None else 0.0
            self._training.append(self._training[-1] + spent)
            if usable and self._found.add(record):
                self._fronts.append(self._found.members)
            self._front_of_step.append(len(self._fronts) - 1)
        elif usable:
            self._paper.add(record)
        self._changed = True

    def data(self) -> HypervolumeData | None:
        """The growth so far; None when fewer than two points span no box."""
        if self._changed:
            self._data, self._changed = self._compute(self._corners), False
        return self._data

    def data_beside(self, baseline: "GrowingHypervolume") -> HypervolumeData | None:
        """The growth so far beside that of another study, in the box that holds both."""
        corners = self._corners
        for name, ends in baseline._corners.items():
            corners = {**corners, name: self._wider(name, *corners.get(name, ends), *ends)}
        own, other = self._compute(corners), baseline._compute(corners)
        # A study without a comparable trial says nothing, not even that it found nothing.
        return replace(own, baseline=other) if own and baseline._corners else own

    def _begin(self) -> None:
        """Nothing of the rung that is compared is known."""
        self._found = GrowingFront(self._objectives)
        self._paper = GrowingFront(self._objectives)
        self._corners = dict(self._shared)
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
            ends = self._corners.get(item.name, (figure, figure))
            self._corners[item.name] = self._wider(item.name, *ends, figure, figure)
        return True

    def _wider(
        self, name: str, worst: float, ideal: float, other_worst: float, other_ideal: float
    ) -> tuple[float, float]:
        directions = {item.name: item.direction for item in self._objectives}
        low, high = (min, max) if directions[name] == "max" else (max, min)
        return low(worst, other_worst), high(ideal, other_ideal)

    def _compute(self, corners: Mapping[str, tuple[float, float]]) -> HypervolumeData | None:
        box = math.prod(abs(ideal - worst) for worst, ideal in corners.values())
        if not corners or not box:
            return None
        reference = {name: worst for name, (worst, _) in corners.items()}
        if reference != self._reference:
            self._reference, self._volumes = reference, []
        self._volumes += [self._volume(front) for front in self._fronts[len(self._volumes) :]]
        shares = [volume / box for volume in self._volumes]
        paper = self._paper.members
        return HypervolumeData(
            objectives=self._objectives,
            reference=reference,
            ideal={name: ideal for name, (_, ideal) in corners.items()},
            trials=tuple(self._steps),
            seconds=tuple(self._seconds),
            training=tuple(self._training),
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
    corners: Corners | None = None,
    baseline: Sequence[Record] | None = None,
) -> HypervolumeData | None:
    """The growth over a study; None when fewer than two points span no box.

    Args:
        records: Of the study, in the order in which they finished.
        objectives: What spans the box.
        limits: Bounds on the target's cost, for the baseline too.
        corners: A box that several studies share; it grows where a record lies outside.
        baseline: Records of another study of the same space and protocol, such as one by uniform
            random search. Its paper models are not counted again.

    Raises:
        StudyError: The baseline was scored otherwise, so that its scores mean something else.
    """
    growing = _grown(records, objectives, limits=limits, corners=corners)
    if baseline is None:
        return growing.data()
    own, other = _protocol(records), _protocol(baseline)
    if own and other and own != other:
        raise StudyError(f"baseline: {other}; expected {own}, as in the study")
    found = [record for record in baseline if record.reference is None]
    return growing.data_beside(_grown(found, objectives, limits=limits))


def _grown(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None,
    corners: Corners | None = None,
) -> GrowingHypervolume:
    growing = GrowingHypervolume(objectives, limits=limits, corners=corners)
    for record in records:
        growing.add(record)
    return growing


def _protocol(records: Sequence[Record]) -> str:
    """How the compared trials were scored, as far as records say; empty without one."""
    complete = [record for record in records if record.state == "complete"]
    if not complete:
        return ""
    last = max(complete, key=lambda record: record.fidelity.rung)
    effort, (height, width) = last.fidelity, last.fidelity.image_size
    return (
        f"{effort.epochs} epochs at {height}x{width} px on {effort.data_share:.4g} of the images "
        f"by {last.evaluator}"
    )


def finished_after(record: Record) -> float:
    """Seconds of the search when a record was finished; 0 for one of an earlier study."""
    return 0.0 if record.origin is not None else record.started + record.seconds


def figure_words(objective: Objective, number: float) -> str:
    """A value of an objective, for the eye: `81.25%`, `12.18G`, `0.5312`."""
    if objective.name == "accuracy":
        return f"{number:.2%}"
    if objective.source == "target_cost":
        return format_count(number)
    if objective == LATENCY:
        return f"{number:.4g} ms"
    return f"{number:.4g}"
