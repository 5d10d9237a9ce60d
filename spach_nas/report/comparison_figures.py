"""The pictures of a comparison: the fronts of several studies, and how their hypervolumes grew."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from plotly import graph_objects as go

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.report.comparison import (
    ComparedStudy,
    StudyGroup,
    check_objectives,
    protocol,
)
from spach_nas.report.front_figure import (
    Point,
    cost_axis,
    mark_timm,
    pareto_data,
    scatter,
    score_axis,
    stairs,
)
from spach_nas.report.growth import Axis, Unit, along, axis_unit, set_axes, staircase
from spach_nas.report.theme import (
    BLUE,
    GREEN,
    LIGHT,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    layout,
    plain,
)
from spach_nas.report.view import Spread, pooled_spread, record_name
from spach_nas.study.hypervolume import (
    Corners,
    HypervolumeData,
    hypervolume_data,
    record_corners,
    wider,
)
from spach_nas.study.pareto import comparable, value
from spach_nas.units import format_count

# Yellow is not among them: a thin line of it is lost on white.
_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY)
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down", "pentagon", "star")
_DASHES = ("solid", "dash", "dot", "dashdot")
# With more groups a figure has a height of its own, and intervals of more fronts hide each other.
FEW_GROUPS = 4
_HEIGHT, _LEGEND_LINE = 500, 22
# From this many seeds on, a band leaves out the most extreme ones.
_MANY_SEEDS = 20
# Over time, a band is drawn at so many moments; the first steep rise would flatten the rest.
_MOMENTS, _EARLY = 200, 0.06


class Style(NamedTuple):
    """How a group looks: an ink for the baseline, else a hue; plotly's names of symbol and dash."""

    colour: str
    symbol: str
    dash: str
    name: str

    def line(self, width: float, *, shape: str = "hv") -> dict[str, object]:
        """For `line` of a trace."""
        return {"color": self.colour, "dash": self.dash, "width": width, "shape": shape}


def styles(groups: Sequence[StudyGroup]) -> dict[str, Style]:
    """A look for each group, by its label; no two are alike among the first twenty-four."""
    found, place = {}, 0
    for group in groups:
        name = plain(group.words)
        if group.baseline:
            look = Style(LIGHT.muted, "circle-open", "dash", f"{name}, baseline")
        else:
            lap, hue = divmod(place, len(_COLOURS))
            symbol = _SYMBOLS[(place + lap) % len(_SYMBOLS)]
            look = Style(_COLOURS[hue], symbol, _DASHES[lap % len(_DASHES)], name)
            place += 1
        found[group.label] = look
    return found


def _make_room(figure: go.Figure, groups: Sequence[StudyGroup]) -> go.Figure:
    """Make a figure higher where its legend is long: on a phone each entry is a line."""
    extra = max(0, len(groups) - FEW_GROUPS)
    return figure.update_layout(height=_HEIGHT + _LEGEND_LINE * extra) if extra else figure


# Fronts


def fronts_figure(
    groups: Sequence[StudyGroup], *, axis: Objective = OBJECTIVES["macs"]
) -> go.Figure:
    """The front of each study in a cost and the score, in the look of its group; log x.

    Limits are drawn where they are the same everywhere, models of timm on the horizontal axis.

    Args:
        groups: Studies with the same objectives, of which some can be compared.
        axis: The horizontal axis, one of `study_axes`.
    """
    figure, looks = go.Figure(layout=layout()), styles(groups)
    fronts = [
        (group, study.label, pareto_data(study.view, axis))
        for group in groups
        for study in group.studies
        if study.compared
    ]
    few, shown = len(fronts) <= FEW_GROUPS, set[str]()
    for group, label, data in fronts:
        look, thin = looks[group.label], len(group.studies) > 1
        edge = {"width": 1, "color": LIGHT.surface}
        dot = {"symbol": look.symbol, "size": 6 if thin else 8, "color": look.colour, "line": edge}
        trace = scatter(
            data.front,
            look.name,
            marker=dot,
            line=look.line(1 if thin else 1.5, shape=stairs(axis)),
            bars=look.colour if few else "",
            hover=partial(hover_text, label),
        )
        first = group.label not in shown
        figure.add_trace(trace.update(legendgroup=plain(group.label), showlegend=first))
        shown.add(group.label)
    points = [point for _, _, data in fronts for point in data.front]
    limits = {data.limits for _, _, data in fronts}
    # A model that several studies name with the same input is one mark.
    models = list(dict.fromkeys(model for _, _, data in fronts for model in data.timm))
    costs = [*(point.x for point in points), *(place for _, place in models)]
    x = cost_axis(figure, axis, values=costs, limits=limits.pop() if len(limits) == 1 else ())
    ends = [end for point in points for end in ((point.low, point.high) if few else (point.y,))]
    score = fronts[0][2].y
    mark_timm(figure, models, score=score, x=x, y=score_axis(figure, score, values=ends))
    return _make_room(figure, groups)


def hover_text(study: str, point: Point) -> str:
    """A point's label in plotly's mark-up; everything from the study is escaped."""
    record, cost = point.trained.record, point.trained.record.target_cost
    score = point.trained.words(OBJECTIVES["accuracy"]) or "not known"
    # Free layouts are long, and a label wider than a phone is cut off.
    architecture = plain(record.architecture).replace(" | ", " |<br>")
    return (
        f"{plain(study)}<br><b>{architecture}</b><br>accuracy {score}<br>"
        f"{format_count(cost.macs)} MACs, {format_count(cost.params)} params<br>"
        f"{plain(record_name(record))}, {plain(record.arch_id)}, {point.trained.seed_words}"
    )


# Growth


class Growth(NamedTuple):
    """The growth of one study in the box that all share, by the labels of its group and its own.

    Time is that of training, which depends on neither workers nor interruptions.
    """

    group: str
    study: str
    data: HypervolumeData

    def at(self, effort: float, *, axis: Axis) -> float:
        """Share after so many trials or seconds of training."""
        return self.data.shares[max(0, bisect_right(along(self.data, axis), effort) - 1)]


class Band(NamedTuple):
    """The growth of a group's seeds, as far as all of them go; see `spread` for the ends."""

    group: str
    x: tuple[float, ...]
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowthData:
    """The growth of all studies in one box.

    Attributes:
        fixed: Whether the box was known before the first trial of any.
        curves: One for each study that has something to compare.
        equal_trials: As many as the shortest of them has.
        equal_seconds: Of training, as many as the shortest of them has.
    """

    fixed: bool
    groups: tuple[StudyGroup, ...]
    curves: tuple[Growth, ...]
    equal_trials: int
    equal_seconds: float

    def of(self, group: StudyGroup) -> tuple[Growth, ...]:
        """The curves of a group."""
        return tuple(curve for curve in self.curves if curve.group == group.label)


def growth_data(groups: Sequence[StudyGroup]) -> GrowthData | None:
    """The growth of all studies; None when all of them together span no box."""
    studies = [study for group in groups for study in group.studies]
    check_objectives(studies)
    corners = _shared_corners(studies)
    curves = []
    for group in groups:
        for one in group.studies:
            grown = hypervolume_data(
                one.records, one.objectives, limits=one.limits, corners=corners
            )
            if one.compared and grown is not None:
                curves.append(Growth(group.label, one.label, grown))
    if not curves:
        return None
    return GrowthData(
        fixed=all(item.name in one.corners for one in studies for item in one.objectives),
        groups=tuple(groups),
        curves=tuple(curves),
        equal_trials=min(curve.data.trials[-1] for curve in curves),
        equal_seconds=min(curve.data.training[-1] for curve in curves),
    )


def _shared_corners(studies: Sequence[ComparedStudy]) -> Corners:
    """The box that holds those of all studies; without its own, a study's records span it."""
    corners: dict[str, tuple[float, float]] = {}
    for study in studies:
        seen = record_corners(study.records, study.objectives, limits=study.limits)
        own = {**seen, **study.corners}
        for item in study.objectives:
            if item.name in own:
                ends = corners.get(item.name, own[item.name])
                corners[item.name] = wider(item, ends, own[item.name])
    return corners


def bands(data: GrowthData, *, axis: Axis) -> tuple[Band, ...]:
    """Median and spread of each group of several seeds, up to the end of its shortest."""
    found = []
    for group in data.groups:
        curves = data.of(group)
        if len(curves) > 1:
            end = min(along(curve.data, axis)[-1] for curve in curves)
            moments = np.arange(end + 1) if axis == "trials" else np.linspace(0, end, _MOMENTS)
            ends = [spread([one.at(moment, axis=axis) for one in curves]) for moment in moments]
            low, median, high = zip(*ends, strict=True)
            x = tuple(moments.tolist())
            found.append(Band(group.label, x, low, median, high))
    return tuple(found)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Low end, median and high end: of all, or of the middle 90 % where there are many."""
    few = len(values) < _MANY_SEEDS
    low, median, high = np.percentile(values, [0, 50, 100] if few else [5, 50, 95])
    return float(low), float(median), float(high)


def growth_figure(data: GrowthData, *, axis: Axis = "trials") -> go.Figure:
    """Each study thin, the median of each group of seeds thick in its band."""
    figure, looks = go.Figure(layout=layout()), styles(data.groups)
    unit = axis_unit(axis, max(along(curve.data, axis)[-1] for curve in data.curves))
    known = bands(data, axis=axis)
    banded = {band.group for band in known}
    for curve in data.curves:
        thin, look = curve.group in banded, looks[curve.group]
        words = f"<b>{plain(curve.study)}</b><br>"
        trace = staircase(curve.data, axis, unit=unit, words=words).update(
            line=look.line(1 if thin else 2.2), name=look.name
        )
        trace.update(legendgroup=plain(curve.group), showlegend=not thin)
        figure.add_trace(trace.update(opacity=0.45) if thin else trace)
    for band in known:
        figure.add_traces(_band_traces(band, looks[band.group], unit=unit))
    early = [curve.at(_EARLY * along(curve.data, axis)[-1], axis=axis) for curve in data.curves]
    low, high = min(early), max(curve.data.shares[-1] for curve in data.curves)
    margin = 0.07 * (high - low) or 0.05
    shares = (max(-0.01, low - margin), min(1.03, high + margin))
    title = "trials done" if axis == "trials" else "training time"
    return _make_room(set_axes(figure, title, unit=unit, shares=shares), data.groups)


def _band_traces(band: Band, look: Style, *, unit: Unit) -> list[go.Scatter]:
    """The lower end, the upper one with the area between them filled, and the median."""
    x = [round(moment / unit.size, 4) for moment in band.x]
    low, median, high = (
        go.Scatter(
            x=x,
            y=[round(share, 5) for share in shares],
            mode="lines",
            line=look.line(width),
            legendgroup=plain(band.group),
            showlegend=width > 0,
            hoverinfo="skip",
        )
        for shares, width in ((band.low, 0), (band.median, 3), (band.high, 0))
    )
    red, green, blue = (int(look.colour[at : at + 2], 16) for at in (1, 3, 5))
    high.update(fill="tonexty", fillcolor=f"rgba({red},{green},{blue},0.18)")
    median.update(
        name=look.name,
        hoverinfo="all",
        customdata=list(zip(low.y, high.y, strict=True)),
        hovertemplate=f"<b>{look.name}</b>, median<br>%{{x:.4~g}} {unit.name}: %{{y:.1%}} "
        "(%{customdata[0]:.1%} to %{customdata[1]:.1%})<extra></extra>",
    )
    return [low, high, median]


# Noise


def repeats(groups: Sequence[StudyGroup]) -> tuple[list[tuple[float, ...]], Spread | None]:
    """Scores of each architecture trained from several seeds by one protocol, and their spread."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], dict[int, list[float]]] = {}
    for study in (study for group in groups for study in group.studies):
        same = frozenset(protocol(study).items())
        for record in comparable(study.records):
            score = value(record, study.view.score)
            if score is not None:
                by_seed = found.setdefault((record.arch_id, same), {})
                # Studies that share a seed do not repeat one another.
                by_seed.setdefault(record.seed, []).append(score)
    scores = [
        tuple(sum(some) / len(some) for some in by_seed.values())
        for by_seed in found.values()
        if len(by_seed) > 1
    ]
    return scores, pooled_spread(scores)
