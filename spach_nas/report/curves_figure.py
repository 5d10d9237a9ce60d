"""Learning curves of the front's members."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from plotly import graph_objects as go
from plotly.colors import sample_colorscale

from spach_nas.config.objectives import Objective
from spach_nas.cost.limits import Limits
from spach_nas.report.theme import LIGHT, SKY, VERMILLION, layout, plain
from spach_nas.study.pareto import front
from spach_nas.study.records import Record
from spach_nas.units import format_count

# From cheap to dear; both ends and the middle stand out on white and on near-black.
_SCALE = [[0.0, SKY], [0.5, "#8f7fb8"], [1.0, VERMILLION]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One member's training.

    Attributes:
        trial: Its number.
        name: Architecture as text.
        macs: Of the target.
        epochs: 1, 2, ...
        accuracy: Validation accuracy after each; higher is better. None where it is not finite.
    """

    trial: int
    name: str
    macs: int
    epochs: tuple[int, ...]
    accuracy: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvesData:
    """Curves of the front, cheapest target first."""

    curves: tuple[Curve, ...]


def curves_data(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
) -> CurvesData:
    """Curves of the front; members without a curve are left out."""
    curves = []
    for member in front(records, objectives, limits=limits):
        epochs = _joined(records, member)
        if epochs:
            curves.append(
                Curve(
                    trial=member.trial,
                    name=str(member.architecture),
                    macs=member.target_cost.macs,
                    epochs=tuple(range(1, len(epochs) + 1)),
                    accuracy=epochs,
                )
            )
    return CurvesData(curves=tuple(curves))


def _joined(records: Sequence[Record], member: Record) -> tuple[float | None, ...]:
    parts = [member]
    # A promoted trial goes on from its checkpoint: its rungs follow one another in one curve.
    if len(member.curve) < member.fidelity.epochs:
        parts += [
            record
            for record in records
            if (record.trial, record.seed) == (member.trial, member.seed)
            and record.fidelity.rung < member.fidelity.rung
        ]
    parts.sort(key=lambda record: record.fidelity.rung)
    figures = [epoch.accuracy for record in parts for epoch in record.curve]
    return tuple(figure if math.isfinite(figure) else None for figure in figures)


def curves_figure(data: CurvesData) -> go.Figure:
    """One line a member, coloured by the MACs of its target."""
    figure = go.Figure(layout=layout())
    for curve, colour in zip(data.curves, _colours(data.curves), strict=True):
        figure.add_trace(
            go.Scatter(
                x=list(curve.epochs),
                y=list(curve.accuracy),
                customdata=[curve.trial] * len(curve.epochs),
                mode="lines+markers",
                line={"width": 2, "color": colour},
                marker={"size": 6, "color": colour},
                hovertemplate=f"<b>{plain(curve.name)}</b><br>trial {curve.trial}, "
                f"{format_count(curve.macs)} MACs<br>epoch %{{x}}: %{{y:.2%}}<extra></extra>",
                showlegend=False,
            )
        )
    if data.curves:
        figure.add_trace(_colour_bar(data.curves))
    longest = max((len(curve.epochs) for curve in data.curves), default=1)
    step = {"dtick": 1} if longest <= 12 else {}
    margin = 0.03 * max(1, longest - 1)
    figure.update_xaxes(title_text="epoch", range=[1 - margin, longest + margin], **step)
    # It has no legend above it.
    figure.update_layout(margin_t=16)
    figure.update_yaxes(title_text="validation accuracy", tickformat=".0%")
    return figure


def _colour_bar(curves: Sequence[Curve]) -> go.Scatter:
    # Lines have no colour scale of their own: an empty trace of markers carries the bar.
    logs = [math.log10(max(1, curve.macs)) for curve in curves]
    low, high = min(logs), max(logs)
    ticks = [low, (low + high) / 2, high] if high > low else [low]
    return go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        hoverinfo="skip",
        showlegend=False,
        marker={
            "color": [low],
            "cmin": low,
            "cmax": high if high > low else low + 1,
            "colorscale": _SCALE,
            "showscale": True,
            "colorbar": {
                "title": {
                    "text": "target MACs",
                    "side": "right",
                    "font": {"size": 12, "color": LIGHT.muted},
                },
                "thickness": 12,
                "outlinewidth": 0,
                "tickvals": ticks,
                "ticktext": [format_count(10**tick) for tick in ticks],
                "tickfont": {"size": 12, "color": LIGHT.muted},
            },
        },
    )


def _colours(curves: Sequence[Curve]) -> list[str]:
    if not curves:
        return []
    logs = [math.log(max(1, curve.macs)) for curve in curves]
    low, spread = min(logs), max(logs) - min(logs)
    shares = [(log - low) / spread if spread else 0.0 for log in logs]
    colours: list[str] = sample_colorscale(_SCALE, shares)
    return colours
