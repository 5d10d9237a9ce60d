"""What a picture of the Pareto front shows: score and cost of every comparable architecture."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from spach_nas.config.objectives import OBJECTIVES, Objective, score_of
from spach_nas.cost.limits import Limits
from spach_nas.report.axes import COSTS, MEMORY, with_memory
from spach_nas.report.seeds import Trained, group_seeds
from spach_nas.report.trials import hover_text, marked
from spach_nas.study.pareto import comparable, front, value, within
from spach_nas.study.records import Record

AXES = tuple(item.name for item in COSTS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One architecture in the picture.

    Attributes:
        trial: Its number; the earliest of several.
        x: What stands on the horizontal axis; a count for costs.
        y: The score, the mean over its seeds.
        low: The lowest score of its seeds; on the front and of paper models at least the end of
            the interval of its images.
        high: The highest, likewise.
        label: Hover text in plotly's mark-up.
        name: `best`, `knee` or the paper model's name, where there is one.
        within: Whether the target keeps to the limits.
    """

    trial: int
    x: float
    y: float
    low: float
    high: float
    label: str
    name: str = ""
    within: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ParetoData:
    """What the picture shows.

    Attributes:
        x: The figure on the horizontal axis.
        y: The score on the vertical axis.
        front: No other is better in both figures; lowest `x` first.
        others: Everything else within the limits that is no paper model.
        beyond: What breaks a limit.
        references: The paper's models, trained by the same protocol.
        marks: What `--pick best` and `--pick knee` take.
        limits: Bounds on this cost, lower before upper, by name.
    """

    x: Objective
    y: Objective
    front: tuple[Point, ...]
    others: tuple[Point, ...]
    beyond: tuple[Point, ...]
    references: tuple[Point, ...]
    marks: tuple[Point, ...]
    limits: tuple[tuple[str, int], ...]

    @property
    def points(self) -> tuple[Point, ...]:
        """All of them, those of the front first."""
        return (*self.front, *self.references, *self.others, *self.beyond)


def pareto_data(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    axis: str | Objective = "macs",
    limits: Limits | None = None,
) -> ParetoData:
    """The front in the two figures shown, whatever else the study optimised.

    Where an architecture was trained with several seeds, its point is their mean (`seeds.py`).

    Args:
        records: Of one study; those of lower rungs are left out.
        objectives: Of the study; they decide about the score shown, and about the knee.
        axis: What stands on the horizontal axis: one of `study_axes`, or its name.
        limits: Bounds on the target's cost; paper models beyond them are shown, off the front.
    """
    return pareto_views(records, objectives, axes=[axis], limits=limits)[0]


def pareto_views(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    axes: Iterable[str | Objective],
    limits: Limits | None = None,
) -> tuple[ParetoData, ...]:
    """`pareto_data` for several axes at the price of little more than one."""
    allowed, y = limits or Limits(), score_of(objectives)
    shown = [_axis(axis, objectives) for axis in axes]
    usable = comparable(records)
    groups = group_seeds(with_memory(usable) if MEMORY in shown else usable)
    marks = marked(usable, objectives, limits=limits)
    candidates = {
        group.record.trial: _Candidate(
            group=group,
            label=hover_text(group.record, seeds=group.seeds),
            within=within(group.record, allowed),
        )
        for group in groups
        if group.values(y)
    }
    return tuple(
        _view(candidates, axes=(x, y), marks=marks, limits=_bounds(allowed, x.name)) for x in shown
    )


class _Candidate(NamedTuple):
    group: Trained
    label: str
    within: bool


def _view(
    candidates: Mapping[int, _Candidate],
    *,
    axes: tuple[Objective, Objective],
    marks: Mapping[int, Sequence[str]],
    limits: tuple[tuple[str, int], ...],
) -> ParetoData:
    x, y = axes
    scored = {trial: item for trial, item in candidates.items() if item.group.values(x)}
    members = front([item.group.record for item in scored.values() if item.within], (y, x))
    on_front = {record.trial for record in members}

    paper = [trial for trial, item in scored.items() if item.group.record.reference is not None]
    # Bars on all points would hide them.
    apart = {*on_front, *paper}

    def points(chosen: Iterable[int], names: Mapping[int, Sequence[str]]) -> tuple[Point, ...]:
        return tuple(
            _point(
                scored[trial], axes=axes, name=", ".join(names.get(trial, ())), bar=trial in apart
            )
            for trial in chosen
        )

    rest = points((trial for trial in scored if trial not in apart), {})
    return ParetoData(
        x=x,
        y=y,
        front=tuple(sorted(points(on_front, {}), key=lambda point: (point.x, point.trial))),
        others=tuple(point for point in rest if point.within),
        beyond=tuple(point for point in rest if not point.within),
        references=points(paper, {}),
        marks=points([trial for trial in marks if trial in scored], marks),
        limits=limits,
    )


def _axis(axis: str | Objective, objectives: Sequence[Objective]) -> Objective:
    if isinstance(axis, Objective):
        return axis
    return {item.name: item for item in (*OBJECTIVES.values(), MEMORY, *objectives)}[axis]


def _point(
    candidate: _Candidate, *, axes: tuple[Objective, Objective], name: str, bar: bool
) -> Point:
    record, scores = candidate.group.record, candidate.group.values(axes[1])
    interval = candidate.group.interval(axes[1]) if bar else None
    x, y = value(record, axes[0]), value(record, axes[1])
    assert x is not None
    assert y is not None
    return Point(
        trial=record.trial,
        x=x,
        y=y,
        low=interval.low if interval else min(scores),
        high=interval.high if interval else max(scores),
        label=candidate.label,
        name=name or record.reference or "",
        within=candidate.within,
    )


def _bounds(limits: Limits, axis: str) -> tuple[tuple[str, int], ...]:
    low, high = next((ends for name, *ends in limits.bounds if name == axis), (None, None))
    named = ((f"min_{axis}", low), (f"max_{axis}", high))
    return tuple((name, bound) for name, bound in named if bound is not None)
