"""How a front grows: its hypervolume over trials and over time, in a fixed box.

The box is fixed before the first trial: its worst corner is the score of guessing and the highest
cost that a target may have, its ideal corner a perfect score at the lowest cost. So the share that
is dominated never decreases, and is the same in all views of a study.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from spach_nas.config.objectives import LATENCY, Objective
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.space.search_space import SearchSpace
from spach_nas.study.pareto import GrowingFront, comparable, hypervolume, value, within
from spach_nas.study.records import Record

# The worst and the ideal value of each objective, by name.
Corners = Mapping[str, tuple[float, float]]
_ROUNDS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class HypervolumeData:
    """The dominated share of the box between the reference point and the ideal point.

    Attributes:
        objectives: Axes of the box.
        reference: The reference point: the worst value of each objective, by name.
        ideal: The best value of each objective.
        trials: Number of finished trials at each step, including failed ones.
        seconds: Seconds of the search at each step, by the clock.
        shares: Share of the box at each step, in [0, 1]; higher is better.
        paper: Share of the paper's models alone; None if there are none.
        training: Sum of the seconds of all trainings so far, including lower rungs and failed
            trials, without the paper's models and an earlier study.
        fixed: Whether the box was known before the first trial; else the records span it.
    """

    objectives: tuple[Objective, ...]
    reference: Mapping[str, float]
    ideal: Mapping[str, float]
    trials: tuple[int, ...]
    seconds: tuple[float, ...]
    shares: tuple[float, ...]
    paper: float | None
    training: tuple[float, ...] = ()
    fixed: bool = True


def study_corners(config: SearchConfig, *, classes: int | None) -> Corners:
    """The box of a study, from what is known before its first trial.

    A cost without a limit is bounded by the most expensive architecture of the space. A latency
    without a limit has no bound here.

    Args:
        config: The search YAML.
        classes: Number of classes; None: unknown, and guessing counts as always wrong.
    """
    corners: dict[str, tuple[float, float]] = {}
    bounds = {name: (low, high) for name, low, high in config.limits.bounds}
    for item in config.objective_list:
        if item.is_share:
            corners[item.name] = (1 / classes if classes else 0.0), 1.0
        elif item.name == "loss" and classes:
            corners[item.name] = math.log(classes), 0.0
        elif item.source == "target_cost":
            low, high = bounds.get(item.name, (None, None))
            most = _highest_cost(config.space, item.name) if high is None else high
            corners[item.name] = float(most), float(low or 0)
        elif item == LATENCY and config.limits.max_latency is not None:
            corners[item.name] = config.limits.max_latency / 1e6, 0.0
    return {name: ends for name, ends in corners.items() if ends[0] != ends[1]}


def record_corners(
    records: Sequence[Record], objectives: Sequence[Objective], *, limits: Limits | None = None
) -> Corners:
    """The worst and the best value of each objective over all comparable records."""
    corners: dict[str, tuple[float, float]] = {}
    for record in comparable(records, limits=limits):
        figures = [value(record, item) for item in objectives]
        for item, figure in zip(objectives, figures, strict=True):
            if figure is not None and None not in figures:
                ends = corners.get(item.name, (figure, figure))
                corners[item.name] = wider(item, ends, (figure, figure))
    return corners


def wider(
    objective: Objective, first: tuple[float, float], second: tuple[float, float]
) -> tuple[float, float]:
    """The corner of a box that holds two boxes."""
    low, high = (min, max) if objective.direction == "max" else (max, min)
    return low(first[0], second[0]), high(first[1], second[1])


class GrowingHypervolume:
    """The growth of a front whose records come one by one.

    Only the highest rung counts, as in `pareto.comparable`. The paper's models have a front apart,
    since no search found them.

    Adding a record costs one comparison with the front. Volumes are computed on request, one for
    each record that has entered the front since.

    Args:
        objectives: At least one objective.
        corners: The box.
        limits: Bounds on the target's cost.
    """

    def __init__(
        self, objectives: Sequence[Objective], *, corners: Corners, limits: Limits | None = None
    ) -> None:
        self._objectives = tuple(objectives)
        self._limits = limits
        self._corners = corners
        self._reference = {name: worst for name, (worst, _) in corners.items()}
        self._trials: set[int] = set()
        self._steps, self._seconds, self._training = [0], [0.0], [0.0]
        self._rung = 0
        self._data: HypervolumeData | None = None
        self._changed = False
        self._begin()

    def add(self, record: Record) -> None:
        """Add a finished record; records come in the order of their ends."""
        # Scores of different rungs are not comparable, so the curve starts over at a higher rung.
        if record.state == "complete" and record.fidelity.rung > self._rung:
            self._rung = record.fidelity.rung
            self._begin()
        allowed = record.fidelity.rung == self._rung and (
            self._limits is None or within(record, self._limits)
        )
        if record.reference is None:
            self._trials.add(record.trial)
            self._steps.append(len(self._trials))
            self._seconds.append(max(self._seconds[-1], finished_after(record)))
            spent = record.seconds if record.origin is None else 0.0
            self._training.append(self._training[-1] + spent)
            if allowed and self._found.add(record):
                self._fronts.append(self._found.members)
            self._front_of_step.append(len(self._fronts) - 1)
        elif allowed:
            self._paper.add(record)
        self._changed = True

    def data(self) -> HypervolumeData | None:
        """The growth so far; None without comparable records, or without a corner per objective."""
        if self._changed:
            self._data, self._changed = self._compute(), False
        return self._data

    def _begin(self) -> None:
        """Start over, at a rung without records."""
        self._found = GrowingFront(self._objectives)
        self._paper = GrowingFront(self._objectives)
        self._fronts: list[tuple[Record, ...]] = [()]
        self._front_of_step = [0] * len(self._steps)
        self._volumes: list[float] = []

    def _compute(self) -> HypervolumeData | None:
        found, paper = self._found.members, self._paper.members
        known = all(item.name in self._corners for item in self._objectives)
        if not known or not (found or paper):
            return None
        self._volumes += [self._share(front) for front in self._fronts[len(self._volumes) :]]
        return HypervolumeData(
            objectives=self._objectives,
            reference=self._reference,
            ideal={name: ideal for name, (_, ideal) in self._corners.items()},
            trials=tuple(self._steps),
            seconds=tuple(self._seconds),
            training=tuple(self._training),
            shares=tuple(self._volumes[front] for front in self._front_of_step),
            paper=self._share(paper) if paper else None,
        )

    def _share(self, members: Sequence[Record]) -> float:
        box = math.prod(
            abs(ideal - worst)
            for worst, ideal in (self._corners[item.name] for item in self._objectives)
        )
        volume = hypervolume(members, self._objectives, reference=self._reference)
        return volume / box


def hypervolume_data(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
    corners: Corners | None = None,
) -> HypervolumeData | None:
    """The growth over a study; None if there is no box.

    Args:
        records: Records of the study, in the order of their ends.
        objectives: Axes of the box.
        limits: Bounds on the target's cost.
        corners: The box; missing corners are taken from the records.
    """
    given = dict(corners or {})
    fixed = all(item.name in given for item in objectives)
    if not fixed:
        given = {**record_corners(records, objectives, limits=limits), **given}
    if any(worst == ideal for worst, ideal in given.values()):
        return None
    growing = GrowingHypervolume(objectives, limits=limits, corners=given)
    for record in records:
        growing.add(record)
    growth = growing.data()
    return None if growth is None else replace(growth, fixed=fixed)


def _highest_cost(space: SearchSpace, name: str) -> int:
    """The highest cost in a space, found by local search from its largest choices."""

    def price(encoding: Mapping[str, str | int | float | bool]) -> int:
        return int(getattr(cost(space.decode(encoding)), name))

    # Costs grow with nearly every choice, so coordinate ascent finds the maximum in a round or two.
    chosen = {parameter: values[-1] for parameter, values in space.parameters.items()}
    for _ in range(_ROUNDS):
        for parameter, values in space.parameters.items():
            tried = [{**chosen, parameter: given} for given in values]
            chosen = max(tried, key=price)
    return price(chosen)


def finished_after(record: Record) -> float:
    """Seconds of the search at the end of a record; 0 for a record of an earlier study."""
    return 0.0 if record.origin is not None else record.started + record.seconds
