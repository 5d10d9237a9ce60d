"""Attainment curves: what at least half of the seeds reached, and how far they lie apart.

The empirical attainment function says for each point of the plane which share of the seeds found
something at least as cheap and as good (Grunert da Fonseca, Fonseca & Hall 2001, "Inferential
performance assessment of stochastic optimisers and the attainment function"). Its level sets are
staircases: the median is reached by at least half of the seeds. Computed by moocore.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from plotly import graph_objects as go

from spach_nas.objectives import Objective
from spach_nas.report.comparison_fronts import FrontsData, StudyFront
from spach_nas.report.comparison_study import StudyGroup
from spach_nas.report.comparison_style import (
    Style,
    band_trace,
    cost_axis,
    legend_order,
    make_room,
    score_axis,
    styles,
)
from spach_nas.report.theme import layout, plain

# From so many seeds on the band leaves out the most extreme ones.
MANY_SEEDS = 20
Staircase = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attainment:
    """What the seeds of a group reached, as corners (cost, score), cheapest first.

    Attributes:
        group: Its label.
        seeds: How many of them have a front.
        median: Reached by at least half of the seeds.
        high: The upper edge of the band: reached by any seed, or by 5 % of many.
        low: The lower edge: reached by every seed, or by 95 % of many.
    """

    group: str
    seeds: int
    median: Staircase
    high: Staircase
    low: Staircase


@dataclass(frozen=True, kw_only=True, slots=True)
class AttainmentData:
    """What the picture shows.

    Attributes:
        x: The cost on the horizontal axis; lower is better.
        y: The score on the vertical axis.
        groups: For legend and colours.
        curves: One for each group that has a front.
        limits: Bounds on this cost by name, where they are the same everywhere.
    """

    x: Objective
    y: Objective
    groups: tuple[StudyGroup, ...]
    curves: tuple[Attainment, ...]
    limits: tuple[tuple[str, int], ...]


def attainment_data(data: FrontsData) -> AttainmentData:
    """The attainment of each group's seeds; that of a single seed is its front."""
    curves = []
    for group in data.groups:
        fronts = [one for one in data.fronts if one.group == group.label]
        if fronts:
            curves.append(_attainment(group.label, fronts, maximised=data.y.direction == "max"))
    return AttainmentData(
        x=data.x, y=data.y, groups=data.groups, curves=tuple(curves), limits=data.limits
    )


def attainment(
    fronts: Sequence[Sequence[tuple[float, float]]], *, level: int, maximised: bool = True
) -> Staircase:
    """The staircase of points that at least `level` of the fronts reach.

    Args:
        fronts: Points (cost, score) of each seed; cost is minimised.
        level: From 1, any of them, to their number, every one.
        maximised: Whether a higher score is better.
    """
    sign = -1.0 if maximised else 1.0
    points = np.array([(x, sign * y) for front in fronts for x, y in front], float)
    sets = np.repeat(np.arange(len(fronts)), [len(front) for front in fronts])
    # Halfway between two levels, where no rounding matters.
    percentile = 100 * (level - 0.5) / len(fronts)
    found = moocore.eaf(points, sets, percentiles=[percentile])
    return tuple(sorted((float(x), sign * float(y)) for x, y, _ in found))


def band_words(seeds: int) -> str:
    """What the band of so many seeds is."""
    return "worst to best" if seeds < MANY_SEEDS else "5 to 95 %"


def _attainment(group: str, fronts: Sequence[StudyFront], *, maximised: bool) -> Attainment:
    points = [list(zip(one.x, one.y, strict=True)) for one in fronts]
    number = len(points)
    edge = 0.0 if number < MANY_SEEDS else 0.05

    def at(share: float) -> Staircase:
        level = max(1, math.ceil(share * number))
        return attainment(points, level=level, maximised=maximised)

    return Attainment(group=group, seeds=number, median=at(0.5), high=at(edge), low=at(1 - edge))


def attainment_figure(data: AttainmentData) -> go.Figure:
    """The median of each group as a staircase, and a band around it."""
    figure, looks = go.Figure(layout=layout()), styles(data.groups)
    corners = [corner for one in data.curves for corner in (*one.high, *one.low, *one.median)]
    end = cost_axis(figure, data.x, values=[x for x, _ in corners], limits=data.limits)[1]
    floor = score_axis(figure, data.y, values=[y for _, y in corners])
    for one in data.curves:
        if one.seeds > 1:
            x, y = _outline(one, end=end, floor=floor)
            figure.add_trace(band_trace(x, y, colour=looks[one.group].colour, group=one.group))
    for one in data.curves:
        rank = legend_order(data.groups)[one.group]
        figure.add_trace(_median(one, looks[one.group], end=end, rank=rank, name=data.y.name))
    return make_room(figure, data.groups)


def _median(one: Attainment, look: Style, *, end: float, rank: int, name: str) -> go.Scatter:
    # Whoever may spend more keeps what is found for less: the line goes on to the right.
    steps = (*one.median, (end, one.median[-1][1]))
    what = f"median of {one.seeds} seeds" if one.seeds > 1 else "one seed: its front"
    form = ".2%" if name == "accuracy" else ".4f"
    return go.Scatter(
        x=[x for x, _ in steps],
        y=[y for _, y in steps],
        mode="lines",
        line={**look.line, "shape": "hv"},
        name=look.name,
        legendgroup=plain(one.group),
        legendrank=rank,
        hovertemplate=f"<b>{look.name}</b>, {what}<br>%{{y:{form}}} from %{{x:.4s}}<extra></extra>",
    )


def _outline(one: Attainment, *, end: float, floor: float) -> tuple[list[float], list[float]]:
    """The upper edge to the right end, and the lower one back."""
    upper = _corners(one.high, end=end, floor=floor)
    lower = _corners(one.low, end=end, floor=floor)
    points = [*upper, *reversed(lower), upper[0]]
    return [x for x, _ in points], [y for _, y in points]


def _corners(steps: Staircase, *, end: float, floor: float) -> list[tuple[float, float]]:
    # Cheaper than its first corner nothing is reached.
    found = [(steps[0][0], floor), steps[0]]
    for (_, before), (x, y) in itertools.pairwise(steps):
        found += [(x, before), (x, y)]
    return [*found, (end, steps[-1][1])]
