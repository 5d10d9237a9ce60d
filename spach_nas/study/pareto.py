"""Which trials are best: the Pareto front, its best and knee points, and its hypervolume.

Only complete records of the highest rung are compared: scores after one epoch and after ten are not
comparable. Records outside the limits, as some of the paper's models are, stay out when the
limits are given.
"""

import math
from collections.abc import Mapping, Sequence

import moocore
import numpy as np

from spach_nas.config.objectives import LATENCY, USUAL, Objective, cost_of, score_of
from spach_nas.cost.limits import Limits
from spach_nas.errors import StudyError
from spach_nas.study.records import Record


def value(record: Record, objective: Objective) -> float | None:
    """The record's figure for an objective; None when it has none or it is not finite."""
    return objective.of(record)


def within(record: Record, limits: Limits) -> bool:
    """Whether the target of a record is inside the limits, that on its latency included."""
    latency_ms = value(record, LATENCY)
    latency_ns = None if latency_ms is None else round(latency_ms * 1e6)
    return limits.allow(record.target_cost, latency_ns=latency_ns)


def comparable(records: Sequence[Record], *, limits: Limits | None = None) -> tuple[Record, ...]:
    """Complete records of the highest rung that keep to the limits, by trial."""
    complete = [record for record in records if record.state == "complete"]
    top = max((record.fidelity.rung for record in complete), default=0)
    kept = [
        record
        for record in complete
        if record.fidelity.rung == top and (limits is None or within(record, limits))
    ]
    return tuple(sorted(kept, key=lambda record: (record.trial, record.seed)))


def dominates(first: Record, second: Record, *, objectives: Sequence[Objective]) -> bool:
    """Whether `first` is nowhere worse than `second` and better somewhere."""
    pairs = [(value(first, item), value(second, item)) for item in objectives]
    signs = [1 if item.direction == "max" else -1 for item in objectives]
    gains = [
        sign * (a - b)
        for sign, (a, b) in zip(signs, pairs, strict=True)
        if a is not None and b is not None
    ]
    return len(gains) == len(pairs) and min(gains) >= 0 and max(gains) > 0


def front(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
) -> tuple[Record, ...]:
    """Records that no other dominates, cheapest target first; of equal ones the earliest trial."""
    candidates = [
        record
        for record in comparable(records, limits=limits)
        if all(value(record, item) is not None for item in objectives)
    ]
    if not candidates:
        return ()
    # moocore keeps the first of equal points, and the candidates are sorted by trial.
    mask = moocore.is_nondominated(
        _points(candidates, objectives), maximise=_maximised(objectives), keep_weakly=False
    )
    members = [record for record, kept in zip(candidates, mask, strict=True) if kept]
    return tuple(sorted(members, key=lambda record: (record.target_cost.macs, record.trial)))


class GrowingFront:
    """The front of records that come one by one, equal to `front` of all of them.

    Attributes:
        objectives: At least one.
        rung: The highest so far; lower ones are no longer compared.
        left: Members that the last record has driven out.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.objectives = tuple(objectives)
        self.rung = 0
        self.left: tuple[Record, ...] = ()
        self._members: list[tuple[tuple[float, ...], Record]] = []

    @property
    def members(self) -> tuple[Record, ...]:
        """Records that no other dominates, cheapest target first."""
        records = [record for _, record in self._members]
        return tuple(sorted(records, key=lambda record: (record.target_cost.macs, record.trial)))

    def __contains__(self, record: Record) -> bool:
        # A trial's number tells most of them apart at once.
        return any(
            member is record or (member.trial == record.trial and member == record)
            for _, member in self._members
        )

    def add(self, record: Record) -> bool:
        """Take a record; whether it is on the front now."""
        gains = tuple(
            figure if item.direction == "max" else -figure
            for item in self.objectives
            if (figure := value(record, item)) is not None
        )
        self.left = ()
        rung = record.fidelity.rung
        if record.state != "complete" or rung < self.rung or len(gains) < len(self.objectives):
            return False
        if rung > self.rung:
            self.left = tuple(member for _, member in self._members)
            self.rung, self._members = rung, []
        order = (record.trial, record.seed)
        for other, member in self._members:
            if other == gains and (member.trial, member.seed) < order:
                return False
            if other != gains and all(a >= b for a, b in zip(other, gains, strict=True)):
                return False
        kept: list[tuple[tuple[float, ...], Record]] = []
        left: list[tuple[tuple[float, ...], Record]] = []
        for item in self._members:
            behind = all(a >= b for a, b in zip(gains, item[0], strict=True))
            (left if behind else kept).append(item)
        self.left += tuple(member for _, member in left)
        self._members = [*kept, (gains, record)]
        return True


def best(
    records: Sequence[Record],
    objectives: Sequence[Objective] = USUAL,
    *,
    limits: Limits | None = None,
) -> Record | None:
    """The record with the best score, the first trained objective; None when none has one.

    Of equal scores the best in the other objectives, in their order, then the earliest trial: so
    it is on the front, whose weights a search keeps.
    """
    score = score_of(objectives)
    order = (score, *(item for item in objectives if item != score))
    scored = [
        record for record in comparable(records, limits=limits) if value(record, score) is not None
    ]
    # `min` keeps the first of equal ones, and they are sorted by trial.
    return min(scored, key=lambda record: [_loss(record, item) for item in order], default=None)


def knee(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
) -> Record | None:
    """The front's point farthest above its chord in (log cost, score).

    They are the first trained objective and the first cost of the study. Both axes are scaled to
    [0, 1] over the front; the chord joins the cheapest member to the dearest. A point below the
    chord is a bad trade, however far; where all are, the cheapest is the knee. Ties go to lower
    cost. None when there is no front. After Das 1999, "On characterizing the knee of the Pareto
    curve", who measures from the same chord.
    """
    score, price = score_of(objectives), cost_of(objectives)
    members = [
        record
        for record in front(records, objectives, limits=limits)
        if value(record, score) is not None and value(record, price) is not None
    ]
    if not members:
        return None
    members.sort(key=lambda record: (_loss(record, price), record.trial))
    # A count of 0 or a latency below 1 ms has a logarithm, too.
    log_cost = np.log([max(1e-9, _loss(record, price)) for record in members])
    gains = np.array([-_loss(record, score) for record in members], float)
    x, y = _to_unit(log_cost), _to_unit(gains)
    # Twice the area of the triangle with the chord, which is proportional to the distance.
    distance = (x[-1] - x[0]) * (y - y[0]) - (y[-1] - y[0]) * (x - x[0])
    return members[int(np.argmax(np.round(distance, 12)))]


def hypervolume(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    reference: Mapping[str, float],
) -> float:
    """Volume dominated by the records, up to the reference point; higher is better.

    Args:
        records: Complete ones; those without a figure for each objective count nothing.
        objectives: At least one.
        reference: The worst point, a value for each objective by name, in its units.

    Raises:
        StudyError: The reference point lacks an objective.
    """
    missing = [item.name for item in objectives if item.name not in reference]
    if missing:
        raise StudyError(
            f"reference point: no value for {missing[0]!r}; expected one for each objective"
        )
    usable = [
        record for record in records if all(value(record, item) is not None for item in objectives)
    ]
    if not usable:
        return 0.0
    return float(
        moocore.hypervolume(
            _points(usable, objectives),
            ref=[reference[item.name] for item in objectives],
            maximise=_maximised(objectives),
        )
    )


def _loss(record: Record, objective: Objective) -> float:
    """Its value, lower is better; without one it is worse than any."""
    figure = value(record, objective)
    if figure is None:
        return math.inf
    return -figure if objective.direction == "max" else figure


def _points(records: Sequence[Record], objectives: Sequence[Objective]) -> np.ndarray:
    return np.array([[value(record, item) for item in objectives] for record in records], float)


def _maximised(objectives: Sequence[Objective]) -> list[bool]:
    return [item.direction == "max" for item in objectives]


def _to_unit(values: np.ndarray) -> np.ndarray:
    spread = np.ptp(values)
    return (values - values.min()) / spread if spread > 0 else np.zeros_like(values)
