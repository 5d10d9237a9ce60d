"""The Pareto front of a study: score against cost of every comparable architecture.

The axes, traces and labels here also draw the fronts of a comparison.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from plotly import graph_objects as go

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.cost.limits import Limits
from spach_nas.report.theme import LIGHT, VERMILLION, layout, plain
from spach_nas.report.view import StudyView, Trained
from spach_nas.space.timm_reference import TIMM
from spach_nas.study.pareto import front, value, within
from spach_nas.units import format_count

COSTS = tuple(item for item in OBJECTIVES.values() if item.source == "target_cost")
_WORDS = {"macs": "MACs", "params": "Parameters", "activations": "Activations"}
# A limit farther from the points than this factor would squeeze them; it is left out.
_FARTHEST_LIMIT = 2.0
# So is a model of timm, which the table still holds.
_FARTHEST_TIMM = 1.5
_PADDING, _SCORE_PADDING = 0.05, 0.07
# More points than this are drawn small.
_MANY = 400

Bounds = tuple[tuple[str, int], ...]
Places = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One architecture in the picture.

    Attributes:
        trained: Its trainings; the point is at their mean.
        low: The lowest score of its seeds; on the front and for paper models at most the lower end
            of the interval of its images.
        high: The highest, likewise.
        name: `best`, `knee` or the name of the paper's model, where there is one.
        within: Whether the target is inside the limits.
    """

    trained: Trained
    x: float
    y: float
    low: float
    high: float
    name: str = ""
    within: bool = True

    @property
    def trial(self) -> int:
        """The earliest of its trials."""
        return self.trained.record.trial


@dataclass(frozen=True, kw_only=True, slots=True)
class ParetoData:
    """What the picture shows.

    Attributes:
        front: No other is better in both figures; lowest `x` first.
        others: Everything else inside the limits that is no paper model.
        beyond: What breaks a limit.
        references: The paper's models.
        marks: The best and the knee.
        timm: Names and figures of timm's models near the points; they have no score.
    """

    x: Objective
    y: Objective
    front: tuple[Point, ...]
    others: tuple[Point, ...]
    beyond: tuple[Point, ...]
    references: tuple[Point, ...]
    marks: tuple[Point, ...]
    limits: Bounds
    timm: tuple[tuple[str, float], ...] = ()

    @property
    def points(self) -> tuple[Point, ...]:
        """All of them, those of the front first."""
        return (*self.front, *self.references, *self.others, *self.beyond)


def study_axes(
    trained: Sequence[Trained], objectives: Sequence[Objective]
) -> Mapping[str, Objective]:
    """The horizontal axes of a front by the words of their switch; optimised ones come first."""
    known = {item.name: item for item in (*OBJECTIVES.values(), *objectives)}
    measured = [
        item
        for item in known.values()
        if item.source == "measured" and any(one.values(item) for one in trained)
    ]
    axes = sorted((*COSTS, *measured), key=lambda item: item not in objectives)
    return {_WORDS.get(item.name, item.label.capitalize()): item for item in axes}


def axis_limits(limits: Limits, axis: Objective) -> Bounds:
    """The limits on one cost by name, the lower one first."""
    low, high = next((ends for name, *ends in limits.bounds if name == axis.name), (None, None))
    named = ((f"min_{axis.name}", low), (f"max_{axis.name}", high))
    return tuple((name, bound) for name, bound in named if bound is not None)


def pareto_data(view: StudyView, axis: Objective = OBJECTIVES["macs"]) -> ParetoData:
    """The front in the two figures shown, whatever else the study optimised.

    Args:
        view: Of the study; its paper models over the limits are shown, off the front.
        axis: The horizontal axis, one of `study_axes`.
    """
    y = view.score
    scored = {one.record.trial: one for one in view.trained if one.values(y) and one.values(axis)}
    allowed = {trial for trial, one in scored.items() if within(one.record, view.limits)}
    members = front([scored[trial].record for trial in scored if trial in allowed], (y, axis))
    on_front = {record.trial for record in members}
    paper = [trial for trial, one in scored.items() if one.record.reference is not None]

    def points(chosen: Iterable[int], *, marked: bool = False) -> tuple[Point, ...]:
        return tuple(point(trial, marked=marked) for trial in chosen)

    def point(trial: int, *, marked: bool) -> Point:
        one, marks = scored[trial], view.marks.get(trial, ())
        scores, interval = one.values(y), one.interval(y)
        # Intervals on all points would hide them.
        barred = trial in on_front or one.record.reference is not None
        low, high = interval if interval and barred else (min(scores), max(scores))
        return Point(
            trained=one,
            x=value(one.record, axis) or 0.0,
            y=value(one.record, y) or 0.0,
            low=low,
            high=high,
            name=", ".join(marks) if marked else one.record.reference or "",
            within=trial in allowed,
        )

    places = [value(one.record, axis) or 0.0 for one in scored.values()]
    rest = points(trial for trial in scored if trial not in on_front and trial not in paper)
    return ParetoData(
        x=axis,
        y=y,
        front=tuple(sorted(points(on_front), key=lambda point: (point.x, point.trial))),
        others=tuple(point for point in rest if point.within),
        beyond=tuple(point for point in rest if not point.within),
        references=points(paper),
        marks=points((trial for trial in view.marks if trial in scored), marked=True),
        limits=axis_limits(view.limits, axis),
        timm=tuple(
            (model.name, figure)
            for model in view.facts.timm
            if (figure := model.on(axis.name)) is not None
            and places
            and min(places) / _FARTHEST_TIMM <= figure <= max(places) * _FARTHEST_TIMM
        ),
    )


def pareto_figure(data: ParetoData) -> go.Figure:
    """Points, the front's staircase, paper models as stars, limits as lines; log x."""
    figure = go.Figure(layout=layout())
    member = {"size": 10, "color": LIGHT.accent, "line": {"width": 1.5, "color": LIGHT.surface}}
    steps = {"shape": stairs(data.x), "width": 2, "color": LIGHT.text}
    dot = {"size": 5 if len(data.others) >= _MANY else 8, "color": LIGHT.faded, "opacity": 0.75}
    star = {
        "size": 14,
        # Hollow where a limit forbids it.
        "symbol": ["star" if point.within else "star-open" for point in data.references],
        "color": VERMILLION,
        "line": {"width": 1, "color": VERMILLION},
    }
    hollow = {"size": 8, "symbol": "circle-open", "color": LIGHT.faded}
    ring = {**hollow, "size": 18, "color": LIGHT.accent, "line": {"width": 2}}
    bars = LIGHT.muted
    traces = [
        scatter(data.beyond, "over a limit", rank=4, marker=hollow),
        scatter(data.others, "dominated", rank=2, marker=dot, bars=bars),
        scatter(data.front, "Pareto front", rank=1, marker=member, line=steps, bars=bars),
        scatter(data.references, "paper models, same protocol", rank=3, marker=star, bars=bars),
        scatter(data.marks, "", marker=ring).update(
            hoverinfo="skip", showlegend=False, cliponaxis=False
        ),
    ]
    figure.add_traces([trace for trace in traces if trace.x])
    values = [*(point.x for point in data.points), *(place for _, place in data.timm)]
    values = values or [1e9, 1e10]
    x = cost_axis(figure, data.x, values=values, limits=data.limits)
    y = score_axis(figure, data.y, values=_shown_scores(data))
    _name_points(figure, data, x=x, y=y)
    _count_hidden(figure, data, y=y)
    mark_timm(figure, data.timm, score=data.y, x=x, y=y)
    return figure


def mark_timm(
    figure: go.Figure,
    models: Sequence[tuple[str, float]],
    *,
    score: Objective,
    x: "Range",
    y: "Range",
) -> None:
    """Models of timm on the horizontal axis alone: scores of proxies say nothing about them.

    Args:
        figure: With both axes.
        models: Name and figure of each.
        score: The vertical axis.
        x: The horizontal axis.
        y: The vertical axis.
    """
    if not models:
        return
    ordered = sorted(models, key=lambda item: item[1])
    bottom = y.low if score.direction == "max" else y.high
    figure.add_trace(
        go.Scatter(
            x=[place for _, place in ordered],
            y=[bottom] * len(ordered),
            mode="markers",
            marker={"symbol": "line-ns", "size": 16, "line": {"width": 2, "color": LIGHT.muted}},
            name="models of timm, not trained here",
            legendrank=5,
            cliponaxis=False,
            hoverinfo="skip",
        )
    )
    shares = spread_out([x.share(place) for _, place in ordered], gap=_LABEL_GAP)
    for (name, place), share in zip(ordered, shares, strict=True):
        figure.add_annotation(
            text=plain(name.removeprefix(TIMM)),
            font={"size": 10, "color": LIGHT.muted},
            textangle=-90,
            x=x.place(place),
            y=bottom,
            showarrow=False,
            yanchor="bottom",
            yshift=10,
            xshift=(share - x.share(place)) * _WIDE,
            name="timm",
        )


def spread_out(places: Sequence[float], *, gap: float) -> list[float]:
    """The ascending places, moved to the right as little as keeps them a gap apart."""
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + gap) if found else place)
    return found


def stairs(axis: Objective) -> str:
    """Plotly's shape of a front: between two members, the one on the better side is the best."""
    return "hv" if axis.direction == "min" else "vh"


def scatter(
    points: Sequence[Point],
    name: str,
    *,
    marker: Mapping[str, Any],
    line: Mapping[str, Any] | None = None,
    rank: int = 1000,
    bars: str = "",
    hover: Callable[[Point], str] | None = None,
) -> go.Scatter:
    """Points as one trace, joined where there is a `line`.

    Args:
        points: In the order of the line.
        name: In the legend.
        marker: Of each point.
        line: Joins the points.
        rank: In the legend, ascending; equal ones are in the order of the traces.
        bars: Colour of the bars from the low to the high end; empty: no bars.
        hover: Label of a point in plotly's mark-up; without it the page shows a card of its own.
    """
    trace = go.Scatter(
        x=[point.x for point in points],
        y=[point.y for point in points],
        customdata=[point.trial for point in points],
        mode="lines+markers" if line else "markers",
        marker=marker,
        line=line,
        name=name,
        legendrank=rank,
    )
    if hover is None:
        trace.update(hoverinfo="none")
    else:
        label = "%{text}<extra></extra>"
        trace.update(text=[hover(point) for point in points], hovertemplate=label)
    if bars and any(point.low < point.high for point in points):
        # Without a length there is no bar, not even its caps.
        ends = [(point.y - point.low, point.high - point.y) for point in points]
        trace.error_y = {
            "type": "data",
            "symmetric": False,
            "arrayminus": [below if below or above else None for below, above in ends],
            "array": [above if below or above else None for below, above in ends],
            "color": bars,
            "thickness": 1.3,
            "width": 4,
        }
    return trace


def _shown_scores(data: ParetoData) -> list[float]:
    """Front and paper models in full; of the rest, what lies far on the worse side is left out.

    That is at most one point in ten, and none where there are fewer than ten.
    """
    sign = 1 if data.y.direction == "max" else -1
    best = [end for point in (*data.front, *data.references) for end in (point.low, point.high)]
    rest = sorted((point.y for point in (*data.others, *data.beyond)), key=lambda y: sign * y)
    if not best:
        return rest
    # Points lower than the height of the front below it would squeeze it; a note counts them.
    reach = max(max(best) - min(best), 0.01 * abs(max(best)))
    far = sum(sign * y < min(sign * end for end in best) - reach for y in rest)
    return [*best, *rest[min(far, len(data.points) // 10) :]]


def _count_hidden(figure: go.Figure, data: ParetoData, *, y: "Range") -> None:
    hidden = sum(not y.low <= point.y <= y.high for point in (*data.others, *data.beyond))
    if hidden:
        bottom = data.y.direction == "max"
        words = f"{hidden} worse {'point' if hidden == 1 else 'points'} outside; "
        place = {"x": 0.995, "xref": "paper", "y": 0.01 if bottom else 0.99, "yref": "paper"}
        _remark(
            figure,
            f"{words}double-click for all",
            {**place, "xanchor": "right", "yanchor": "bottom" if bottom else "top"},
        )


def _remark(figure: go.Figure, text: str, place: Mapping[str, Any]) -> None:
    small = {"size": 12, "color": LIGHT.muted}
    figure.add_annotation(text=plain(text), font=small, showarrow=False, **place)


class Range(NamedTuple):
    """The ends of an axis, in its own units; `log` where its scale is logarithmic."""

    low: float
    high: float
    log: bool = False

    def place(self, figure: float) -> float:
        """Where a value is drawn: plotly takes logarithms for ranges and annotations."""
        return math.log10(figure) if self.log else figure

    def share(self, figure: float) -> float:
        """The same, as a share of the axis."""
        low, high = self.place(self.low), self.place(self.high)
        return (self.place(max(figure, self.low) if self.log else figure) - low) / (high - low)


def cost_axis(
    figure: go.Figure, axis: Objective, *, values: Sequence[float], limits: Bounds = ()
) -> Range:
    """Set the horizontal axis, logarithmic where it can be, and draw the limits nearby."""
    log = all(math.isfinite(number) and number > 0 for number in values)
    low, high = min(values), max(values)
    near = [
        (name, bound)
        for name, bound in limits
        if low / _FARTHEST_LIMIT <= bound <= high * _FARTHEST_LIMIT
    ]
    low, high = (end([end(values), *(bound for _, bound in near)]) for end in (min, max))
    if log:
        factor = max((high / low) ** _PADDING, 1.02)
        found = Range(low / factor, high * factor, log)
    else:
        margin = _PADDING * (high - low) or 0.05 * abs(high) or 1.0
        found = Range(low - margin, high + margin)
    ratio = found.high / found.low if log else 1.0
    ticks = {"dtick": "D1" if ratio < 6 else "D2"} if ratio > 2 else {"nticks": 8}
    better = "less is better" if axis.direction == "min" else "more is better"
    figure.update_xaxes(
        type="log" if log else "linear",
        range=[found.place(found.low), found.place(found.high)],
        title_text=f"{axis.label}{', log scale' if log else ''} ({better})",
        tickformat="~s" if axis.source == "target_cost" or found.low > 1e4 else "~g",
        **ticks,
    )
    for name, bound in near:
        figure.add_vline(
            x=bound,
            layer="below",
            line={"dash": "dash", "width": 1.5, "color": LIGHT.muted},
        )
        place = {"x": found.place(bound), "y": 0.12, "yref": "paper", "textangle": -90}
        text = f"{name} {format_count(bound)}"
        _remark(figure, text, {**place, "xanchor": "right", "yanchor": "bottom"})
    return found


def score_axis(figure: go.Figure, score: Objective, *, values: Sequence[float]) -> Range:
    """Set the vertical axis so that it holds all values."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = _SCORE_PADDING * (high - low) or 0.01 * abs(high) or 0.01
    found = Range(low - margin, high + margin)
    figure.update_yaxes(
        title_text=score.label, range=[found.low, found.high], tickformat=score.ticks
    )
    return found


# Names are next to their points, on the side with the most room. Sizes are shares of a figure about
# 900 px wide and 430 px high: a letter, a line of 12 px, and half a marker.
_LETTER, _LINE = 0.0082, 0.042
_HALF = np.array([0.010, 0.018])
# Covering a line is this much less bad than covering a marker.
_LINE_SHARE = 0.1


# Between names along the axis, as a share of it, and its length in px.
_LABEL_GAP, _WIDE = 0.016, 850


# Sides of a point as directions to the right and up, the best first where all are free.
_SIDES = ((-1, 1), (1, 0), (-1, 0), (0, -1), (0, 1), (1, -1))
_X_ANCHORS, _Y_ANCHORS = (
    {-1: "right", 0: "center", 1: "left"},
    {-1: "top", 0: "middle", 1: "bottom"},
)


def place_labels(
    points: Places, names: Sequence[str], *, markers: Places, lines: Places = _HALF[:0]
) -> list[tuple[int, int]]:
    """A side for each name: greedily the one that covers least; ties to the upper left.

    Args:
        points: (N, 2), shares of the figure, (0, 0) at the lower left; the most important first.
        names: N texts.
        markers: (M, 2), what must stay free.
        lines: (L, 2), places along lines, which a name may cover sooner than a marker.

    Returns:
        Directions from the points to their names, to the right and up, each -1, 0 or 1.
    """
    taken, along = np.reshape(markers, (-1, 2)), np.reshape(lines, (-1, 2))
    chosen = []
    for point, name in zip(points, names, strict=True):
        others = taken[(taken != point).any(axis=1)]
        size = np.array([_LETTER * len(name), _LINE])
        corners, costs = [], []
        for side in np.array(_SIDES):
            low = point + side * _HALF - (1 - side) / 2 * size
            outside = max(0.0, *-low, *(low + size - 1))
            covered, crossed = (
                ((low - edge < some) & (some < low + size + edge)).all(axis=1).sum()
                for some, edge in ((others, _HALF), (along, 0.0))
            )
            corners.append(low)
            costs.append(covered + _LINE_SHARE * crossed + 100 * outside)
        place = int(np.argmin(costs))
        chosen.append(_SIDES[place])
        # The names that follow keep off this one.
        text = corners[place] + size * np.array([[x, 0.5] for x in np.linspace(0, 1, len(name))])
        taken = np.vstack([taken, text])
    return chosen


def _name_points(figure: go.Figure, data: ParetoData, *, x: Range, y: Range) -> None:
    """Names of the marks and the paper models, next to their points and off each other."""
    named = [point for point in (*data.marks, *data.references) if point.name]
    barred = (*data.front, *data.references)

    def place(at_x: float, at_y: float) -> tuple[float, float]:
        return x.share(at_x), y.share(at_y)

    lines = [(place(point.x, point.low), place(point.x, point.high)) for point in barred]
    for first, second in itertools.pairwise(data.front):
        corner = place(second.x, first.y)
        lines += [(place(first.x, first.y), corner), (corner, place(second.x, second.y))]
    sides = place_labels(
        np.array([place(point.x, point.y) for point in named]),
        [point.name for point in named],
        markers=np.array([place(point.x, point.y) for point in (*barred, *data.others)]),
        lines=np.array([np.linspace(start, end, 25) for start, end in lines]),
    )
    for point, (right, up) in zip(named, sides, strict=True):
        bold = point in data.marks
        figure.add_annotation(
            text=f"<b>{plain(point.name)}</b>" if bold else plain(point.name),
            font={"size": 13 if bold else 12, "color": LIGHT.text if bold else VERMILLION},
            x=x.place(point.x),
            y=point.y,
            showarrow=False,
            xanchor=_X_ANCHORS[right],
            yanchor=_Y_ANCHORS[up],
            xshift=right * (6 if up else 12),
            yshift=up * (6 if right else 10),
            # Among thousands of points a name needs a background to be read.
            bgcolor=LIGHT.surface if len(data.points) > _MANY else None,
            name="mark" if bold else "paper",
        )
