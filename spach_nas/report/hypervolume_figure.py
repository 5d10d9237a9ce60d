"""How the front grew: hypervolume against the number of trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plotly import graph_objects as go

from spach_nas.limits import Limits
from spach_nas.objectives import Objective
from spach_nas.pareto import comparable, dominates, hypervolume, value
from spach_nas.records import Record
from spach_nas.report.theme import LIGHT, VERMILLION, layout
from spach_nas.units import format_count


@dataclass(frozen=True, kw_only=True, slots=True)
class HypervolumeData:
    """Share of the box between the reference point and the ideal one that is dominated.

    Attributes:
        objectives: What spans the box.
        reference: The worst value of each objective over all comparable trials, by name.
        ideal: The best value of each, by name.
        trials: Trials done, failed ones too, at each step.
        shares: Of the box, in [0, 1]; higher is better.
        paper: Share of the paper's models alone; None when there are none.
    """

    objectives: tuple[Objective, ...]
    reference: Mapping[str, float]
    ideal: Mapping[str, float]
    trials: tuple[int, ...]
    shares: tuple[float, ...]
    paper: float | None


def hypervolume_data(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
) -> HypervolumeData | None:
    """The growth over a study; None when fewer than two points span no box.

    The curve is that of the search alone: the paper's models, which no search found, are the line
    to compare it with.
    """
    usable = [
        record
        for record in comparable(records, limits=limits)
        if all(value(record, item) is not None for item in objectives)
    ]
    corners = {item.name: _corners(usable, item) for item in objectives} if usable else {}
    if not usable or any(worst == ideal for worst, ideal in corners.values()):
        return None
    reference = {name: worst for name, (worst, _) in corners.items()}
    ideal = {name: best for name, (_, best) in corners.items()}
    box = 1.0
    for worst, best in corners.values():
        box *= abs(best - worst)
    found = [record for record in usable if record.reference is None]
    paper = [record for record in usable if record.reference is not None]
    trials, volumes = _growth(records, found, objectives=objectives, reference=reference)
    return HypervolumeData(
        objectives=tuple(objectives),
        reference=reference,
        ideal=ideal,
        trials=trials,
        shares=tuple(volume / box for volume in volumes),
        paper=hypervolume(paper, objectives, reference=reference) / box if paper else None,
    )


def _corners(records: Sequence[Record], objective: Objective) -> tuple[float, float]:
    values = [figure for record in records if (figure := value(record, objective)) is not None]
    low, high = min(values), max(values)
    return (low, high) if objective.direction == "max" else (high, low)


def _growth(
    records: Sequence[Record],
    found: Sequence[Record],
    *,
    objectives: Sequence[Objective],
    reference: Mapping[str, float],
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    usable = {(record.trial, record.seed, record.fidelity.rung) for record in found}
    seen: set[int] = set()
    members: list[Record] = []
    trials, volumes = [0], [0.0]
    for record in records:
        if record.reference is not None:
            continue
        seen.add(record.trial)
        key = (record.trial, record.seed, record.fidelity.rung)
        # Most trials leave the front as it is: only those that enter cost a new volume.
        if key in usable and not any(
            dominates(member, record, objectives=objectives) for member in members
        ):
            members = [
                member for member in members if not dominates(record, member, objectives=objectives)
            ] + [record]
            volume = hypervolume(members, objectives, reference=reference)
        else:
            volume = volumes[-1]
        trials.append(len(seen))
        volumes.append(volume)
    return tuple(trials), tuple(volumes)


def hypervolume_figure(data: HypervolumeData) -> go.Figure:
    """A staircase, and the paper's models as a line."""
    figure = go.Figure(layout=layout())
    figure.add_trace(
        go.Scatter(
            x=list(data.trials),
            y=list(data.shares),
            mode="lines",
            line={"shape": "hv", "width": 2.5, "color": LIGHT.accent},
            name="found by the search",
            hovertemplate="%{x} trials: %{y:.1%}<extra></extra>",
        )
    )
    if data.paper is not None:
        figure.add_trace(
            go.Scatter(
                x=[0, max(1, data.trials[-1])],
                y=[data.paper, data.paper],
                mode="lines",
                line={"width": 2, "dash": "dash", "color": VERMILLION},
                name="paper models alone",
                hovertemplate="paper models: %{y:.1%}<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="trials done", rangemode="tozero")
    figure.update_yaxes(title_text="hypervolume (share of the box)", tickformat=".0%")
    figure.update_yaxes(range=[0, 1.03])
    return figure


def reference_words(data: HypervolumeData) -> str:
    """The reference point and the ideal one in words."""
    ends = [
        ", ".join(f"{item.label} {_figure(item, point[item.name])}" for item in data.objectives)
        for point in (data.reference, data.ideal)
    ]
    return f"Reference point: {ends[0]} (the worst of this study). Ideal: {ends[1]} (the best)."


def _figure(objective: Objective, number: float) -> str:
    if objective.name == "accuracy":
        return f"{number:.2%}"
    if objective.source == "target_cost":
        return format_count(number)
    return f"{number:.4g}"
