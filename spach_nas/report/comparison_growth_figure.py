"""Hypervolume of several studies against trials or training time: median and band of each group."""

from collections.abc import Sequence

from plotly import graph_objects as go

from spach_nas.report.comparison_growth import Axis, Band, Growth, GrowthData, bands
from spach_nas.report.comparison_style import Style, band_trace, legend_order, make_room, styles
from spach_nas.report.theme import layout, plain
from spach_nas.study.hypervolume import figure_words

_UNITS = ((7200, "h", 3600), (300, "min", 60), (0, "s", 1))
_EARLY = 0.06
# A band of more corners than this would be drawn finer than a screen.
_MOST_CORNERS = 400


def growth_figure(data: GrowthData, *, axis: Axis = "trials") -> go.Figure:
    """Each study thin, the median of each group of seeds thick in its band."""
    figure, looks = go.Figure(layout=layout()), styles(data.groups)
    unit, factor = _unit(data) if axis == "seconds" else ("", 1)
    known = {band.group: band for band in bands(data, axis=axis)}
    for band in known.values():
        figure.add_trace(_band(band, looks[band.group].colour, factor=factor))
    ranks = legend_order(data.groups)
    for curve in data.curves:
        alone = curve.group not in known
        trace = _line(curve, looks[curve.group], axis=axis, factor=factor, unit=unit)
        if not alone:
            trace.update(line_width=1, opacity=0.45, showlegend=False)
        figure.add_trace(trace.update(legendrank=ranks[curve.group]))
    for band in known.values():
        trace = _median(band, looks[band.group], factor=factor, unit=unit)
        figure.add_trace(trace.update(legendrank=ranks[band.group]))
    title = f"training time ({unit})" if axis == "seconds" else "trials done"
    figure.update_xaxes(title_text=title, rangemode="tozero")
    figure.update_yaxes(title_text="hypervolume (share of the box)", tickformat=".0%")
    figure.update_yaxes(range=_range(data, axis=axis))
    return make_room(figure, data.groups)


def box_words(data: GrowthData) -> str:
    """The reference point and the ideal one of the shared box in words."""
    ends = [
        ", ".join(
            f"{item.label} {figure_words(item, point[item.name])}" for item in data.objectives
        )
        for point in (data.reference, data.ideal)
    ]
    why = "(guessing, and the limits or the space)" if data.fixed else "(the worst of any)"
    return f"Reference point, one for all studies: {ends[0]} {why}. Ideal: {ends[1]}."


def _range(data: GrowthData, *, axis: Axis) -> list[float]:
    """Without the first steep rise, which says little and would flatten the rest."""
    early = [curve.at(_EARLY * curve.steps(axis)[-1], axis=axis) for curve in data.curves]
    low, high = min(early), max(curve.shares[-1] for curve in data.curves)
    margin = 0.07 * (high - low) or 0.05
    return [max(-0.01, low - margin), min(1.03, high + margin)]


def _unit(data: GrowthData) -> tuple[str, int]:
    longest = max(curve.seconds[-1] for curve in data.curves)
    return next((name, factor) for least, name, factor in _UNITS if longest >= least)


def _line(curve: Growth, look: Style, *, axis: Axis, factor: int, unit: str) -> go.Scatter:
    steps = curve.steps(axis)
    # A step that changes nothing is drawn by its neighbours.
    kept = [
        place
        for place in range(len(steps))
        if place in (0, len(steps) - 1) or curve.shares[place] != curve.shares[place - 1]
    ]
    return go.Scatter(
        x=[round(steps[place] / factor, 4) for place in kept],
        y=[round(curve.shares[place], 5) for place in kept],
        mode="lines",
        line={**look.line, "shape": "hv"},
        name=look.name,
        legendgroup=plain(curve.group),
        hovertemplate=f"<b>{plain(curve.study)}</b><br>{_hover(unit)}<extra></extra>",
    )


def _median(band: Band, look: Style, *, factor: int, unit: str) -> go.Scatter:
    return go.Scatter(
        x=[round(x / factor, 4) for x in band.x],
        y=[round(y, 5) for y in band.median],
        customdata=[
            [round(low, 4), round(high, 4)] for low, high in zip(band.low, band.high, strict=True)
        ],
        mode="lines",
        line={**look.line, "shape": "hv", "width": 3},
        name=look.name,
        legendgroup=plain(band.group),
        hovertemplate=f"<b>{look.name}</b>, median<br>{_hover(unit)} "
        "(%{customdata[0]:.1%} to %{customdata[1]:.1%})<extra></extra>",
    )


def _hover(unit: str) -> str:
    return f"%{{x:.4~g}} {unit or 'trials'}: %{{y:.1%}}"


def _band(band: Band, colour: str, *, factor: int) -> go.Scatter:
    step = max(1, len(band.x) // _MOST_CORNERS)
    x = [round(moment / factor, 4) for moment in band.x]
    upper, lower = _stairs(x, band.high, step), _stairs(x, band.low, step)
    points = [*upper, *reversed(lower), upper[0]]
    return band_trace(
        [x for x, _ in points], [y for _, y in points], colour=colour, group=band.group
    )


def _stairs(x: Sequence[float], y: Sequence[float], step: int) -> list[tuple[float, float]]:
    places = [*range(0, len(x) - 1, step), len(x) - 1]
    found = [(x[0], round(y[0], 5))]
    for place in places[1:]:
        before = found[-1][1]
        if round(y[place], 5) != before or place == places[-1]:
            found += [(x[place], before), (x[place], round(y[place], 5))]
    return found
