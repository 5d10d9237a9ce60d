"""The Pareto front of a study: score against cost of every comparable architecture."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from plotly import graph_objects as go

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.report.axes import Bounds, Range, axis_limits, cost_axis, on_axis, score_axis
from spach_nas.report.theme import LIGHT, VERMILLION, layout, plain
from spach_nas.report.view import StudyView, Trained
from spach_nas.study.pareto import front, value, within

# Points lower than this many heights of the front below it would squeeze it; a note counts them.
_LOWEST = 1.0
# More points than this are drawn small.
_MANY = 400
# A bar keeps names away like so many points.
_BAR_BOXES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One architecture in the picture.

    Attributes:
        trained: Its trainings, at whose mean the point stands.
        low: The lowest score of its seeds; on the front and for paper models at most the lower end
            of the interval of its images.
        high: The highest, likewise.
        name: `best`, `knee` or the paper model's name, where there is one.
        within: Whether the target keeps to the limits.
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
        others: Everything else within the limits that is no paper model.
        beyond: What breaks a limit.
        references: The paper's models.
        marks: The best and the knee.
    """

    x: Objective
    y: Objective
    front: tuple[Point, ...]
    others: tuple[Point, ...]
    beyond: tuple[Point, ...]
    references: tuple[Point, ...]
    marks: tuple[Point, ...]
    limits: Bounds

    @property
    def points(self) -> tuple[Point, ...]:
        """All of them, those of the front first."""
        return (*self.front, *self.references, *self.others, *self.beyond)


def pareto_data(view: StudyView, axis: Objective = OBJECTIVES["macs"]) -> ParetoData:
    """The front in the two figures shown, whatever else the study optimised.

    Args:
        view: Of the study; its paper models over the limits are shown, off the front.
        axis: The horizontal axis, one of `study_axes`.
    """
    y = view.score
    scored = {one.record.trial: one for one in on_axis(view.trained, axis) if one.values(y)}
    allowed = {trial for trial, one in scored.items() if within(one.record, view.limits)}
    members = front([scored[trial].record for trial in scored if trial in allowed], (y, axis))
    on_front = {record.trial for record in members}
    paper = [trial for trial, one in scored.items() if one.record.reference is not None]
    # Intervals on all points would hide them.
    apart = {*on_front, *paper}

    def points(chosen: Iterable[int], *, named: bool = False) -> tuple[Point, ...]:
        return tuple(
            point_of(
                scored[trial],
                axes=(axis, y),
                name=", ".join(view.marks.get(trial, ())) if named else "",
                bar=trial in apart,
                within=trial in allowed,
            )
            for trial in chosen
        )

    rest = points(trial for trial in scored if trial not in apart)
    return ParetoData(
        x=axis,
        y=y,
        front=tuple(sorted(points(on_front), key=lambda point: (point.x, point.trial))),
        others=tuple(point for point in rest if point.within),
        beyond=tuple(point for point in rest if not point.within),
        references=points(paper),
        marks=points((trial for trial in view.marks if trial in scored), named=True),
        limits=axis_limits(view.limits, axis),
    )


def point_of(
    one: Trained,
    *,
    axes: tuple[Objective, Objective],
    name: str = "",
    bar: bool = True,
    within: bool = True,
) -> Point:
    """An architecture that has a value on both axes; `bar` widens its ends to the interval."""
    scores, interval = one.values(axes[1]), one.interval(axes[1]) if bar else None
    x, y = (value(one.record, axis) for axis in axes)
    assert x is not None
    assert y is not None
    return Point(
        trained=one,
        x=x,
        y=y,
        low=interval.low if interval else min(scores),
        high=interval.high if interval else max(scores),
        name=name or one.record.reference or "",
        within=within,
    )


def pareto_figure(data: ParetoData) -> go.Figure:
    """Points, the front's staircase, paper models as stars, limits as lines; log x."""
    figure = go.Figure(layout=layout())
    small = len(data.others) >= _MANY
    ring = {"size": 8, "symbol": "circle-open", "color": LIGHT.faded}
    dot = {"size": 5 if small else 8, "color": LIGHT.faded, "opacity": 0.75}
    star = {
        "size": 14,
        # Hollow where a limit forbids it.
        "symbol": ["star" if point.within else "star-open" for point in data.references],
        "color": VERMILLION,
        "line": {"width": 1, "color": VERMILLION},
    }
    figure.add_traces(
        [
            *_points(data.beyond, "over a limit", rank=4, marker=ring),
            *_points(data.others, "dominated", rank=2, marker=dot),
            *_bars(data),
            *_staircase(data),
            *_points(data.references, "paper models, same protocol", rank=3, marker=star),
            *_marks(data.marks),
        ]
    )
    x = cost_axis(
        figure, data.x, values=[point.x for point in data.points] or [1e9, 1e10], limits=data.limits
    )
    y = score_axis(figure, data.y, values=_shown_scores(data))
    _name_points(figure, data, x=x, y=y)
    _count_hidden(figure, data, y=y)
    return figure


def _points(
    points: Sequence[Point], name: str, *, rank: int, marker: Mapping[str, Any]
) -> list[go.Scatter]:
    """One trace, or none without points."""
    trace = go.Scatter(
        x=[point.x for point in points],
        y=[point.y for point in points],
        customdata=[point.trial for point in points],
        # The page shows a card of its own.
        hoverinfo="none",
        mode="markers",
        marker=marker,
        name=name,
        legendrank=rank,
    )
    return [trace] if points else []


def _staircase(data: ParetoData) -> list[go.Scatter]:
    # Between two members of a staircase, the one on the better side is the best available.
    steps = "hv" if data.x.direction == "min" else "vh"
    marker = {"size": 10, "color": LIGHT.accent, "line": {"width": 1.5, "color": LIGHT.surface}}
    line = {"shape": steps, "width": 2, "color": LIGHT.text}
    traces = _points(data.front, "Pareto front", rank=1, marker=marker)
    return [trace.update(mode="lines+markers", line=line) for trace in traces]


def _marks(points: Sequence[Point]) -> list[go.Scatter]:
    line = {"width": 2, "color": LIGHT.accent}
    ring = {"size": 18, "symbol": "circle-open", "color": LIGHT.accent, "line": line}
    trace = go.Scatter(
        x=[point.x for point in points],
        y=[point.y for point in points],
        mode="markers",
        hoverinfo="skip",
        marker=ring,
        showlegend=False,
        cliponaxis=False,
    )
    return [trace] if points else []


def _bars(data: ParetoData) -> list[go.Scatter]:
    """Intervals of the front and of paper models, ranges over seeds of the others."""
    shown = (*data.front, *data.references, *data.others)
    points = [point for point in shown if point.low < point.high]
    trace = go.Scatter(
        x=[point.x for point in points],
        y=[point.y for point in points],
        mode="markers",
        marker={"size": 1, "color": LIGHT.muted},
        error_y=error_bars(points, colour=LIGHT.muted, thickness=1.3),
        hoverinfo="skip",
        name="interval",
        showlegend=False,
    )
    return [trace] if points else []


def error_bars(points: Sequence[Point], *, colour: str, thickness: float = 1) -> dict[str, Any]:
    """Vertical bars from the low to the high end of each point."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [point.high - point.y for point in points],
        "arrayminus": [point.y - point.low for point in points],
        "color": colour,
        "thickness": thickness,
        "width": 4,
    }


def _shown_scores(data: ParetoData) -> list[float]:
    """Front and paper models in full; of the rest, what lies far on the worse side is left out.

    That is at most one point in ten, and none where there are fewer than ten.
    """
    best = (*data.front, *data.references)
    shown = [end for point in best for end in (point.low, point.high)]
    sign = 1 if data.y.direction == "max" else -1
    worst_first = sorted(
        (point.y for point in (*data.others, *data.beyond)), key=lambda y: sign * y
    )
    if not shown:
        return worst_first
    reach = _LOWEST * max(max(shown) - min(shown), 0.01 * abs(max(shown)))
    far = [y for y in worst_first if sign * y < min(sign * end for end in shown) - reach]
    return [*shown, *worst_first[min(len(far), len(data.points) // 10) :]]


def _count_hidden(figure: go.Figure, data: ParetoData, *, y: Range) -> None:
    hidden = sum(not y.low <= point.y <= y.high for point in (*data.others, *data.beyond))
    if hidden:
        bottom = data.y.direction == "max"
        figure.add_annotation(
            text=f"{hidden} worse {'point' if hidden == 1 else 'points'} outside; "
            "double-click for all",
            font={"size": 12, "color": LIGHT.muted},
            x=0.995,
            xref="paper",
            xanchor="right",
            y=0.01 if bottom else 0.99,
            yref="paper",
            yanchor="bottom" if bottom else "top",
            showarrow=False,
        )


def _name_points(figure: go.Figure, data: ParetoData, *, x: Range, y: Range) -> None:
    """Names of the marks and the paper models, next to their points and off each other."""
    named = [point for point in (*data.marks, *data.references) if point.name]

    def box(point: Point, at: float | None = None) -> Box:
        return Box.around(x.share(point.x), y.share(point.y if at is None else at))

    steps = [box(point) for point in data.front]
    obstacles = [*steps, *(box(point) for point in (*data.references, *data.others))]
    for first, second in itertools.pairwise(steps):
        obstacles += Box.between(first, second)
    bars = [
        box(point, at)
        for point in (*data.front, *data.references)
        for at in np.linspace(point.low, point.high, _BAR_BOXES if point.low < point.high else 0)
    ]
    sides = place_labels(
        [box(point) for point in named],
        [point.name for point in named],
        obstacles=obstacles,
        lines=bars,
    )
    for point, side in zip(named, sides, strict=True):
        bold = point in data.marks
        figure.add_annotation(
            text=f"<b>{plain(point.name)}</b>" if bold else plain(point.name),
            font={"size": 13 if bold else 12, "color": LIGHT.text if bold else VERMILLION},
            x=x.place(point.x),
            y=point.y,
            showarrow=False,
            **side._asdict(),
            # Among thousands of points a name needs a background to be read.
            bgcolor=LIGHT.surface if len(data.points) > _MANY else None,
            name="mark" if bold else "paper",
        )


# Where names go: next to each point, on the side with the most room. Sizes are shares of a figure
# about 900 px wide and 430 px high: a letter and a line of 12 px, half a marker, a line.
_LETTER, _LINE = 0.0082, 0.042
_POINT = (0.010, 0.018)
_LINE_WIDTH = 0.012
# Covering a line is this much less bad than covering a marker.
_LINE_SHARE = 0.1


class Box(NamedTuple):
    """A rectangle in shares of the figure, (0, 0) at the lower left."""

    left: float
    bottom: float
    right: float
    top: float

    @staticmethod
    def around(x: float, y: float) -> "Box":
        """The marker of a point."""
        wide, high = _POINT
        return Box(x - wide, y - high, x + wide, y + high)

    @staticmethod
    def between(first: "Box", second: "Box") -> tuple["Box", "Box"]:
        """The step of a staircase from one marker to the next: to the side, then up or down."""
        (x0, y0), (x1, y1) = first.centre, second.centre
        thin = _LINE_WIDTH / 2
        across = Box(min(x0, x1), y0 - thin, max(x0, x1), y0 + thin)
        return across, Box(x1 - thin, min(y0, y1), x1 + thin, max(y0, y1))

    @property
    def centre(self) -> tuple[float, float]:
        """The middle."""
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2

    @property
    def outside(self) -> float:
        """How far it leaves the figure."""
        return max(0.0, -self.left, -self.bottom, self.right - 1, self.top - 1)

    def overlap(self, other: "Box") -> float:
        """The area that both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, wide) * max(0.0, high)


class Side(NamedTuple):
    """A side of a point, as plotly's anchors and shifts in pixels."""

    xanchor: str
    yanchor: str
    xshift: int
    yshift: int


_SIDES = (
    Side("right", "bottom", -6, 6),
    Side("left", "middle", 12, 0),
    Side("right", "middle", -12, 0),
    Side("center", "top", 0, -10),
    Side("center", "bottom", 0, 10),
    Side("left", "top", 6, -6),
)


def place_labels(
    points: Sequence[Box],
    names: Sequence[str],
    *,
    obstacles: Sequence[Box],
    lines: Sequence[Box] = (),
) -> list[Side]:
    """A side for each name: greedily the one that covers least; ties to the upper left.

    Args:
        points: Markers to name, the most important first.
        names: In the same order.
        obstacles: Markers to keep free.
        lines: What a name may cover sooner than a marker.
    """
    taken: list[Box] = []
    chosen = []
    for point, name in zip(points, names, strict=True):
        labels = [_label(point, side, name) for side in _SIDES]
        ends = list(zip(*labels, strict=True))
        near = Box(min(ends[0]), min(ends[1]), max(ends[2]), max(ends[3]))
        blocked = [*taken, *(box for box in obstacles if box != point and near.overlap(box))]
        thin = [box for box in lines if near.overlap(box)]
        costs = [
            sum(map(label.overlap, blocked))
            + _LINE_SHARE * sum(map(label.overlap, thin))
            + label.outside
            for label in labels
        ]
        place = costs.index(min(costs))
        taken.append(labels[place])
        chosen.append(_SIDES[place])
    return chosen


def _label(point: Box, side: Side, name: str) -> Box:
    wide, high = _LETTER * len(name), _LINE
    left = {
        "left": point.right,
        "right": point.left - wide,
        "center": (point.left + point.right - wide) / 2,
    }[side.xanchor]
    bottom = {
        "bottom": point.top,
        "top": point.bottom - high,
        "middle": (point.bottom + point.top - high) / 2,
    }[side.yanchor]
    return Box(left, bottom, left + wide, bottom + high)
