"""The axes of costs and scores: what they can show, their ranges, ticks and limit lines."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.cost.limits import Limits
from spach_nas.cost.memory import saved_bytes
from spach_nas.report.theme import LIGHT, plain
from spach_nas.report.view import Trained
from spach_nas.study.pareto import value
from spach_nas.study.records import Record
from spach_nas.units import format_count

if TYPE_CHECKING:
    from plotly import graph_objects as go

# A closed form of the architecture, so every study has it.
MEMORY = Objective(
    name="training_memory",
    label="bytes kept by the target to train one image",
    direction="min",
    source="measured",
)
COSTS = tuple(item for item in OBJECTIVES.values() if item.source == "target_cost")
_WORDS = {
    "macs": "MACs",
    "params": "Parameters",
    "activations": "Activations",
    MEMORY.name: "Training memory",
}
# A limit farther from the points than this factor would squeeze them; it is left out.
_FARTHEST_LIMIT = 2.0
_PADDING, _SCORE_PADDING = 0.05, 0.07

Bounds = tuple[tuple[str, int], ...]


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
    axes = sorted((*COSTS, MEMORY, *measured), key=lambda item: item not in objectives)
    return {_WORDS.get(item.name, item.label.capitalize()): item for item in axes}


def on_axis(trained: Sequence[Trained], axis: Objective) -> tuple[Trained, ...]:
    """The architectures that have a value on an axis; the training memory is filled in."""
    if axis == MEMORY:
        return tuple(replace(one, record=_with_memory(one.record)) for one in trained)
    return tuple(one for one in trained if value(one.record, axis) is not None)


def _with_memory(record: Record) -> Record:
    memory = {MEMORY.name: float(saved_bytes(record.architecture))}
    return replace(record, objectives={**record.objectives, **memory})


def axis_limits(limits: Limits, axis: Objective) -> Bounds:
    """The limits on one cost by name, the lower one first."""
    low, high = next((ends for name, *ends in limits.bounds if name == axis.name), (None, None))
    named = ((f"min_{axis.name}", low), (f"max_{axis.name}", high))
    return tuple((name, bound) for name, bound in named if bound is not None)


class Range(NamedTuple):
    """The ends of an axis, in its own units.

    Attributes:
        log: Whether its scale is logarithmic.
    """

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
    figure: "go.Figure", axis: Objective, *, values: Sequence[float], limits: Bounds = ()
) -> Range:
    """Set the horizontal axis, logarithmic where it can be, and draw the limits nearby."""
    log = all(math.isfinite(number) and number > 0 for number in values)
    low, high = min(values), max(values)
    near = [
        (name, bound)
        for name, bound in limits
        if low / _FARTHEST_LIMIT <= bound <= high * _FARTHEST_LIMIT
    ]
    bounds = [bound for _, bound in near]
    low, high = min([low, *bounds]), max([high, *bounds])
    if log:
        factor = max((high / low) ** _PADDING, 1.02)
        found = Range(low / factor, high * factor, log)
    else:
        margin = _PADDING * (high - low) or 0.05 * abs(high) or 1.0
        found = Range(low - margin, high + margin)
    better = "less is better" if axis.direction == "min" else "more is better"
    figure.update_xaxes(
        type="log" if log else "linear",
        range=[found.place(found.low), found.place(found.high)],
        title_text=f"{axis.label}{', log scale' if log else ''} ({better})",
        tickformat="~s" if axis.source == "target_cost" or found.low > 1e4 else "~g",
        **_ticks(found),
    )
    for name, bound in near:
        _add_limit(figure, f"{name} {format_count(bound)}", bound=bound, axis=found)
    return found


def _ticks(axis: Range) -> dict[str, object]:
    ratio = axis.high / axis.low if axis.log else 1.0
    return {"dtick": "D1" if ratio < 6 else "D2"} if ratio > 2 else {"nticks": 8}


def _add_limit(figure: "go.Figure", words: str, *, bound: int, axis: Range) -> None:
    figure.add_shape(
        type="line",
        x0=bound,
        x1=bound,
        y0=0,
        y1=1,
        yref="paper",
        layer="below",
        line={"dash": "dash", "width": 1.5, "color": LIGHT.muted},
    )
    figure.add_annotation(
        text=plain(words),
        font={"size": 12, "color": LIGHT.muted},
        x=axis.place(bound),
        y=0.12,
        yref="paper",
        textangle=-90,
        xanchor="right",
        yanchor="bottom",
        showarrow=False,
    )


def score_axis(figure: "go.Figure", score: Objective, *, values: Sequence[float]) -> Range:
    """Set the vertical axis so that it holds all values."""
    if not values:
        found = Range(0.0, 1.0)
    else:
        low, high = min(values), max(values)
        margin = _SCORE_PADDING * (high - low) or 0.01 * abs(high) or 0.01
        found = Range(low - margin, high + margin)
    figure.update_yaxes(
        title_text=score.label, range=[found.low, found.high], tickformat=score.ticks
    )
    return found
