"""Parallel coordinates: drag along axes to keep only the trials that cross there."""

import math
from typing import Any

import numpy as np
from plotly import graph_objects as go

from spach_nas.report.parallel_data import Axis, ParallelData
from spach_nas.report.theme import BLUE, LIGHT, ORANGE, SKY, layout, plain, shortened
from spach_nas.units import format_count

# Pixels that an axis takes with its words.
AXIS_WIDTH = 96
_LONGEST = 16
# From the worst score to the best; none vanishes on a light or on a dark page.
_COLOURS = [[0, LIGHT.faded], [0.5, SKY], [0.8, BLUE], [1, ORANGE]]


def parallel_figure(data: ParallelData) -> go.Figure:
    """A line for each trial, coloured by its score; `layout.meta` has the width that it needs."""
    figure = go.Figure(layout=layout())
    if not data.trials:
        return figure
    scores = np.array(data.axes[-1].values)
    # The best tenth apart: most trials of a search are alike.
    ranks = np.argsort(np.argsort(scores)) / max(1, len(scores) - 1)
    figure.add_trace(
        go.Parcoords(
            dimensions=[_dimension(axis, data) for axis in data.axes],
            line={
                "color": ranks if data.score.direction == "max" else 1 - ranks,
                "colorscale": _COLOURS,
                "cmin": 0,
                "cmax": 1,
            },
            labelangle=-24,
            labelfont={"size": 12, "color": LIGHT.text},
            tickfont={"size": 11, "color": LIGHT.text},
            rangefont={"size": 1, "color": LIGHT.surface},
            unselected={"line": {"color": LIGHT.grid, "opacity": 0.25}},
        )
    )
    figure.update_layout(
        height=470,
        margin={"l": 70, "r": 64, "t": 92, "b": 24},
        meta={"width": AXIS_WIDTH * len(data.axes) + 40},
    )
    return figure


def parallel_note(data: ParallelData) -> str:
    """How to read and use it."""
    shown = len(data.axes) - 2
    few = f" Of {data.choices} choices the {shown} that the score goes with most are shown."
    left = few if shown < data.choices else ""
    left += f" {data.left_out} without a known choice are left out." if data.left_out else ""
    return (
        f"{len(data.trials):,} trials of the full fidelity, the best drawn last: orange is the "
        "best, grey the worst. Drag along an axis to keep the trials that cross there, click the "
        f"axis to let go; drag its name to move it.{left}"
    )


def _dimension(axis: Axis, data: ParallelData) -> dict[str, Any]:
    low, high = min(axis.values), max(axis.values)
    if axis.kind == "choice":
        low, high = 0.0, len(axis.levels) - 1.0
        ticks = {float(index): shortened(word, _LONGEST) for index, word in enumerate(axis.levels)}
    elif axis.kind == "log":
        ticks = {math.log10(count): format_count(count) for count in _round_counts(low, high)}
    else:
        form = ".1%" if data.score.is_share else ".3g"
        ticks = {step: format(step, form) for step in np.linspace(low, high, 5).tolist()}
    return {
        "label": plain(shortened(axis.name, _LONGEST + 8)),
        "values": np.array(axis.values, dtype=np.float32),
        # Room at both ends: the outermost words are cut off otherwise.
        "range": [low, high] if high > low else [low - 1, high + 1],
        "tickvals": list(ticks),
        # Plotly shows these as they are, mark-up and all.
        "ticktext": list(ticks.values()),
    }


def _round_counts(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two logarithms; the ends where there are none."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    steps = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    inside = [step for step in steps if low <= math.log10(step) <= high]
    return inside if len(inside) > 1 else [round(10**low), round(10**high)]
