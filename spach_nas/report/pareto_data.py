"""What a picture of the Pareto front shows: score and cost of every comparable trial."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spach_nas.limits import Limits
from spach_nas.objectives import OBJECTIVES, Objective
from spach_nas.pareto import comparable, front, value
from spach_nas.records import Record
from spach_nas.report.trials import hover_text, marked

AXES = ("macs", "params", "activations")


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One trial in the picture.

    Attributes:
        trial: Its number.
        x: Cost of the target, a count.
        y: The score.
        label: Hover text in plotly's mark-up.
        name: `best`, `knee` or the paper model's name, where there is one.
        within: Whether the target keeps to the limits.
    """

    trial: int
    x: float
    y: float
    label: str
    name: str = ""
    within: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ParetoData:
    """What the picture shows.

    Attributes:
        x: The cost on the horizontal axis; lower is better.
        y: The score on the vertical axis.
        front: Nobody is both cheaper and better; cheapest first.
        others: Everything else within the limits that is no paper model.
        beyond: Trials that break a limit.
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


def score_of(objectives: Sequence[Objective]) -> Objective:
    """The first score among a study's objectives; accuracy when there is none."""
    scores = [item for item in objectives if item.source == "score"]
    return scores[0] if scores else OBJECTIVES["accuracy"]


def pareto_data(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    axis: str = "macs",
    limits: Limits | None = None,
) -> ParetoData:
    """The front in the two figures shown, whatever else the study optimised.

    Args:
        records: Of one study; those of lower rungs are left out.
        objectives: Of the study; they decide about the score shown, and about the knee.
        axis: Which cost stands on the horizontal axis: one of `AXES`.
        limits: Bounds on the target's cost; paper models beyond them are shown, off the front.
    """
    allowed = limits or Limits()
    x, y = OBJECTIVES[axis], score_of(objectives)
    scored = {
        record.trial: record for record in comparable(records) if value(record, y) is not None
    }
    members = front(tuple(scored.values()), (y, x), limits=limits)
    on_front = {record.trial for record in members}
    words = marked(records, objectives, limits=limits)

    def points(chosen: Iterable[Record], names: Mapping[int, Sequence[str]]) -> tuple[Point, ...]:
        return tuple(
            Point(
                trial=record.trial,
                x=value(record, x) or 0.0,
                y=value(record, y) or 0.0,
                label=hover_text(record),
                name=", ".join(names.get(record.trial, ())) or record.reference or "",
                within=allowed.allow(record.target_cost),
            )
            for record in chosen
        )

    found = [record for record in scored.values() if record.reference is None]
    rest = points((record for record in found if record.trial not in on_front), {})
    return ParetoData(
        x=x,
        y=y,
        front=points(sorted(members, key=lambda record: value(record, x) or 0.0), {}),
        others=tuple(point for point in rest if point.within),
        beyond=tuple(point for point in rest if not point.within),
        references=points((item for item in scored.values() if item.reference is not None), {}),
        marks=points((scored[trial] for trial in words if trial in scored), words),
        limits=_bounds(allowed, axis),
    )


def _bounds(limits: Limits, axis: str) -> tuple[tuple[str, int], ...]:
    low, high = next(ends for name, *ends in limits.bounds if name == axis)
    named = ((f"min_{axis}", low), (f"max_{axis}", high))
    return tuple((name, bound) for name, bound in named if bound is not None)
