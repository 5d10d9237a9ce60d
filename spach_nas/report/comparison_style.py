"""What the pictures of a comparison share: a look for each group, and the axis of cost."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from plotly import graph_objects as go

from spach_nas.config.objectives import Objective
from spach_nas.report.axes import is_logarithmic
from spach_nas.report.comparison_study import StudyGroup, short
from spach_nas.report.cost_axis import add_limit, log_ticks
from spach_nas.report.theme import (
    BLUE,
    GREEN,
    LIGHT,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    plain,
)

# Yellow is not among them: a thin line of it is lost on white.
_COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY)
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down", "pentagon", "star")
_DASHES = ("solid", "dash", "dot", "dashdot")
_PADDING = 0.05
# With more groups a figure has a height of its own.
FEW_GROUPS = 4
_HEIGHT, _LEGEND_LINE = 500, 22
# A limit farther from the points than this factor would squeeze them; it is left out.
_FARTHEST_LIMIT = 2.0


class Style(NamedTuple):
    """How a group looks.

    Attributes:
        colour: Of lines, markers and bands; of the baseline an ink, else a hue.
        symbol: Of plotly.
        dash: Of plotly; the hues of more than six groups come again with other dashes.
        name: In the legend, plotly's mark-up.
    """

    colour: str
    symbol: str
    dash: str
    name: str

    @property
    def line(self) -> dict[str, object]:
        """For `line` of a trace."""
        return {"color": self.colour, "dash": self.dash, "width": 2.2}


def styles(groups: Sequence[StudyGroup]) -> dict[str, Style]:
    """A look for each group, by its label; no two are alike among the first twenty-four."""
    found, place = {}, 0
    for group in groups:
        name = plain(short(group.words))
        if group.baseline:
            found[group.label] = Style(LIGHT.muted, "circle-open", "dash", f"{name}, baseline")
            continue
        lap = place // len(_COLOURS)
        found[group.label] = Style(
            _COLOURS[place % len(_COLOURS)],
            _SYMBOLS[(place + lap) % len(_SYMBOLS)],
            _DASHES[lap % len(_DASHES)],
            name,
        )
        place += 1
    return found


def band_trace(
    x: Sequence[float | None], y: Sequence[float | None], *, colour: str, group: str
) -> go.Scatter:
    """A band as a filled outline; None parts one from the next."""
    return go.Scatter(
        x=list(x),
        y=list(y),
        mode="lines",
        fill="toself",
        fillcolor=colour,
        opacity=0.18,
        line={"width": 0, "color": colour},
        hoverinfo="skip",
        legendgroup=plain(group),
        showlegend=False,
    )


def cost_axis(
    figure: go.Figure,
    objective: Objective,
    *,
    values: Sequence[float],
    limits: Sequence[tuple[str, int]] = (),
) -> tuple[float, float]:
    """Set the axis of a cost, log where it can be, with near limits; its ends are returned."""
    log, low, high = is_logarithmic(values), min(values), max(values)
    near = [
        (name, bound)
        for name, bound in limits
        if low / _FARTHEST_LIMIT <= bound <= high * _FARTHEST_LIMIT
    ]
    bounds = [bound for _, bound in near]
    low, high = min([low, *bounds]), max([high, *bounds])
    if log:
        factor = max((high / low) ** _PADDING, 1.02)
        low, high = low / factor, high * factor
    else:
        margin = _PADDING * (high - low) or 1.0
        low, high = low - margin, high + margin
    figure.update_xaxes(
        type="log" if log else "linear",
        range=[math.log10(low), math.log10(high)] if log else [low, high],
        title_text=f"{objective.label}{', log scale' if log else ''} (less is better)",
        tickformat="~s" if objective.source == "target_cost" or low > 1e4 else "~g",
        **log_ticks(high / low if log else 1.0),
    )
    for name, bound in near:
        add_limit(figure, name=name, bound=bound, log=log)
    return low, high


def score_axis(figure: go.Figure, objective: Objective, *, values: Sequence[float]) -> float:
    """Set the axis of a score; its worse end is returned."""
    margin = 0.07 * (max(values) - min(values)) or 0.01 * abs(max(values)) or 0.01
    low, high = min(values) - margin, max(values) + margin
    figure.update_yaxes(title_text=objective.label, range=[low, high], tickformat=objective.ticks)
    return low if objective.direction == "max" else high


def make_room(figure: go.Figure, groups: Sequence[StudyGroup]) -> go.Figure:
    """Make a figure higher where its legend is long: on a phone each entry is a line."""
    extra = max(0, len(groups) - FEW_GROUPS)
    return figure.update_layout(height=_HEIGHT + _LEGEND_LINE * extra) if extra else figure


def legend_order(groups: Sequence[StudyGroup]) -> Mapping[str, int]:
    """Groups in the legend as they were given."""
    return {group.label: place for place, group in enumerate(groups, 1)}
