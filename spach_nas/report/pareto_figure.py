"""The Pareto front as a picture."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from plotly import graph_objects as go

from spach_nas.report.axes import is_logarithmic
from spach_nas.report.cost_axis import add_limit, log_ticks
from spach_nas.report.labels import Box, place_labels
from spach_nas.report.pareto_data import ParetoData, Point
from spach_nas.report.theme import LIGHT, VERMILLION, layout, plain

# A limit farther from the points than this factor would squeeze them; it is left out.
_FARTHEST_LIMIT = 2.0
_PADDING = 0.05
# Points lower than this many heights of the front below it would squeeze it; a note counts them.
_LOWEST = 1.0
# More points than this are drawn small.
_MANY = 400
# A bar keeps names away as so many points.
_BAR_BOXES = 5


def pareto_figure(data: ParetoData) -> go.Figure:
    """Points, the front's staircase, paper models as stars, limits as lines; log x.

    Bars are intervals, see `Point.low`.
    """
    figure = go.Figure(layout=layout())
    x_range, y_range = _x_range(data), _y_range(data)
    makers = (_beyond, _others, _bars, _front, _references, _marks)
    figure.add_traces([trace for make in makers if (trace := make(data)) is not None])
    _name_points(figure, data, x_range=x_range, y_range=y_range)
    figure.update_xaxes(_x_axis(data, x_range))
    figure.update_yaxes(
        title_text=data.y.label,
        range=y_range,
        tickformat=data.y.ticks,
    )
    for name, bound in data.limits:
        if x_range[0] <= bound <= x_range[1]:
            add_limit(figure, name=name, bound=bound, log=_is_log(data))
    _count_hidden(figure, data, bottom=y_range[0], top=y_range[1])
    return figure


def _x_axis(data: ParetoData, x_range: tuple[float, float]) -> dict[str, Any]:
    low, high = x_range
    better = "less is better" if data.x.direction == "min" else "more is better"
    log = _is_log(data)
    return {
        "type": "log" if log else "linear",
        "range": _ends(data, x_range),
        "title_text": f"{data.x.label}{', log scale' if log else ''} ({better})",
        "tickformat": "~s" if data.x.source == "target_cost" or low > 1e4 else "~g",
        **log_ticks(high / low if log else 1.0),
    }


def _is_log(data: ParetoData) -> bool:
    return is_logarithmic([point.x for point in data.points])


def _ends(data: ParetoData, x_range: tuple[float, float]) -> tuple[float, float]:
    low, high = x_range
    return (math.log10(low), math.log10(high)) if _is_log(data) else (low, high)


def _trace(points: Sequence[Point]) -> go.Scatter:
    return go.Scatter(
        x=[point.x for point in points],
        y=[point.y for point in points],
        text=[point.label for point in points],
        customdata=[point.trial for point in points],
        hovertemplate="%{text}<extra></extra>",
    )


def _bars(data: ParetoData) -> go.Scatter | None:
    """Intervals of the front and of paper models, ranges over seeds of the others."""
    shown = (*data.front, *data.references, *data.others)
    points = [point for point in shown if point.low < point.high]
    if not points:
        return None
    return go.Scatter(
        x=[point.x for point in points],
        y=[point.y for point in points],
        mode="markers",
        marker={"size": 1, "color": LIGHT.muted},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [point.high - point.y for point in points],
            "arrayminus": [point.y - point.low for point in points],
            "color": LIGHT.muted,
            "thickness": 1.3,
            "width": 4,
        },
        hoverinfo="skip",
        name="interval",
        showlegend=False,
    )


def _others(data: ParetoData) -> go.Scatter | None:
    if not data.others:
        return None
    size = 8 if len(data.others) < _MANY else 5
    marker = {"size": size, "color": LIGHT.faded, "opacity": 0.75}
    return _trace(data.others).update(mode="markers", marker=marker, name="dominated", legendrank=2)


def _beyond(data: ParetoData) -> go.Scatter | None:
    if not data.beyond:
        return None
    marker = {"size": 8, "symbol": "circle-open", "color": LIGHT.faded}
    return _trace(data.beyond).update(
        mode="markers", marker=marker, name="over a limit", legendrank=4
    )


def _front(data: ParetoData) -> go.Scatter | None:
    if not data.front:
        return None
    return _trace(data.front).update(
        mode="lines+markers",
        line={"shape": _steps(data), "width": 2, "color": LIGHT.text},
        marker={
            "size": 10,
            "color": LIGHT.accent,
            "line": {"width": 1.5, "color": LIGHT.surface},
        },
        name="Pareto front",
        legendrank=1,
    )


def _steps(data: ParetoData) -> Literal["hv", "vh"]:
    # A staircase: between two members, the one on the better side is the best to be had.
    return "hv" if data.x.direction == "min" else "vh"


def _marks(data: ParetoData) -> go.Scatter | None:
    if not data.marks:
        return None
    return go.Scatter(
        x=[point.x for point in data.marks],
        y=[point.y for point in data.marks],
        mode="markers",
        hoverinfo="skip",
        marker={
            "size": 18,
            "symbol": "circle-open",
            "color": LIGHT.accent,
            "line": {"width": 2, "color": LIGHT.accent},
        },
        showlegend=False,
        cliponaxis=False,
    )


def _references(data: ParetoData) -> go.Scatter | None:
    if not data.references:
        return None
    return _trace(data.references).update(
        mode="markers",
        marker={
            "size": 14,
            # Hollow where a limit forbids it.
            "symbol": ["star" if point.within else "star-open" for point in data.references],
            "color": VERMILLION,
            "line": {"width": 1, "color": VERMILLION},
        },
        name="paper models, same protocol",
        legendrank=3,
    )


def _x_range(data: ParetoData) -> tuple[float, float]:
    values = [point.x for point in data.points] or [1e9, 1e10]
    low, high = min(values), max(values)
    if not _is_log(data):
        margin = _PADDING * (high - low) or 0.05 * abs(high) or 1.0
        return low - margin, high + margin
    near = [
        bound
        for _, bound in data.limits
        if low / _FARTHEST_LIMIT <= bound <= high * _FARTHEST_LIMIT
    ]
    low, high = min(low, *near, low), max(high, *near, high)
    factor = max((high / low) ** _PADDING, 1.02)
    return low / factor, high * factor


def _y_range(data: ParetoData) -> tuple[float, float]:
    """Front and paper models in full; of the rest what lies far on the worse side is left out.

    That is at most one point of ten, and of fewer than ten none.
    """
    best = (*data.front, *data.references)
    shown = [end for point in best for end in (point.low, point.high)]
    sign = 1 if data.y.direction == "max" else -1
    # Worst first.
    rest = sorted((point.y for point in (*data.others, *data.beyond)), key=lambda y: sign * y)
    if shown:
        reach = _LOWEST * max(max(shown) - min(shown), 0.01 * abs(max(shown)))
        far = [y for y in rest if sign * y < min(sign * end for end in shown) - reach]
        rest = rest[min(len(far), len(data.points) // 10) :]
    values = [*shown, *rest]
    return _padded(min(values), max(values)) if values else (0.0, 1.0)


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = _PADDING * 1.4 * (high - low) or 0.01 * abs(high) or 0.01
    return low - margin, high + margin


def _count_hidden(figure: go.Figure, data: ParetoData, *, bottom: float, top: float) -> None:
    hidden = sum(not bottom <= point.y <= top for point in (*data.others, *data.beyond))
    if hidden:
        figure.add_annotation(
            text=f"{hidden} worse {'point' if hidden == 1 else 'points'} outside; "
            "double-click for all",
            font={"size": 12, "color": LIGHT.muted},
            x=0.995,
            xref="paper",
            xanchor="right",
            y=0.01 if data.y.direction == "max" else 0.99,
            yref="paper",
            yanchor="bottom" if data.y.direction == "max" else "top",
            showarrow=False,
        )


def _name_points(
    figure: go.Figure,
    data: ParetoData,
    *,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> None:
    """Names of the marks and the paper models, beside their points and off each other."""
    named = [point for point in (*data.marks, *data.references) if point.name]

    def boxes(points: Sequence[Point]) -> list[Box]:
        return [Box.around(point.x, point.y, x_range=x_range, y_range=y_range) for point in points]

    steps = boxes(data.front)
    obstacles = boxes((*data.front, *data.references, *data.others))
    bars = [
        boxes([replace(point, y=y)])[0]
        for point in (*data.front, *data.references)
        for y in np.linspace(point.low, point.high, _BAR_BOXES if point.low < point.high else 0)
    ]
    for first, second in itertools.pairwise(steps):
        obstacles += Box.between(first, second)
    names = [point.name for point in named]
    sides = place_labels(boxes(named), names, obstacles=obstacles, lines=bars)
    for point, side in zip(named, sides, strict=True):
        bold = point in data.marks
        figure.add_annotation(
            text=f"<b>{plain(point.name)}</b>" if bold else plain(point.name),
            font={"size": 13 if bold else 12, "color": LIGHT.text if bold else VERMILLION},
            x=math.log10(point.x) if _is_log(data) else point.x,
            y=point.y,
            showarrow=False,
            xanchor=side.xanchor,
            yanchor=side.yanchor,
            xshift=side.xshift,
            yshift=side.yshift,
            # Among thousands of points a name is lost without a ground of its own.
            bgcolor=LIGHT.surface if len(data.points) > _MANY else None,
            name="mark" if bold else "paper",
        )
