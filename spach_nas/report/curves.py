"""Learning curves of the front's members."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from plotly import graph_objects as go
from plotly.colors import sample_colorscale

from spach_nas.report.document import Section
from spach_nas.report.theme import LIGHT, SKY, VERMILLION, layout, plain
from spach_nas.report.view import StudyView
from spach_nas.study.records import Record
from spach_nas.units import format_count

# From cheap to expensive; both ends and the middle stand out on white and on near-black.
_SCALE = [[0.0, SKY], [0.5, "#8f7fb8"], [1.0, VERMILLION]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One member's training.

    Attributes:
        member: Of the front.
        accuracy: Validation accuracy after each epoch; None where it is not finite.
    """

    member: Record
    accuracy: tuple[float | None, ...]


def curves_section(view: StudyView) -> Section:
    """One line for each member of the front."""
    curves = curves_data(view)
    return Section(
        id="curves",
        title="Learning curves of the front",
        figure=curves_figure(curves) if curves else None,
        trials=True,
    )


def curves_data(view: StudyView) -> tuple[Curve, ...]:
    """Curves of the front, cheapest target first; members without a curve are left out."""
    curves = (Curve(member=member, accuracy=_joined(view.records, member)) for member in view.front)
    return tuple(curve for curve in curves if curve.accuracy)


def _joined(records: Sequence[Record], member: Record) -> tuple[float | None, ...]:
    parts = [member]
    # A promoted trial continues from its checkpoint: its rungs follow one another in one curve.
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


def curves_figure(curves: Sequence[Curve]) -> go.Figure:
    """One line for each member, coloured by the MACs of its target."""
    figure = go.Figure(layout=layout())
    logs = [math.log10(max(1, curve.member.target_cost.macs)) for curve in curves]
    low, high = min(logs, default=0.0), max(logs, default=0.0)
    shares = [(log - low) / (high - low) if high > low else 0.0 for log in logs]
    colours = sample_colorscale(_SCALE, shares) if curves else []
    for curve, colour in zip(curves, colours, strict=True):
        figure.add_trace(_line(curve, colour))
    if curves:
        figure.add_trace(_colour_bar(low, high))
    longest = max((len(curve.accuracy) for curve in curves), default=1)
    step = {"dtick": 1} if longest <= 12 else {}
    margin = 0.03 * max(1, longest - 1)
    figure.update_xaxes(title_text="epoch", range=[1 - margin, longest + margin], **step)
    # It has no legend above it.
    figure.update_layout(margin_t=16)
    figure.update_yaxes(title_text="validation accuracy", tickformat=".0%")
    return figure


def _line(curve: Curve, colour: str) -> go.Scatter:
    member = curve.member
    return go.Scatter(
        x=list(range(1, len(curve.accuracy) + 1)),
        y=list(curve.accuracy),
        customdata=[member.trial] * len(curve.accuracy),
        mode="lines+markers",
        line={"width": 2, "color": colour},
        marker={"size": 6, "color": colour},
        hovertemplate=f"<b>{plain(member.architecture)}</b><br>trial {member.trial}, "
        f"{format_count(member.target_cost.macs)} MACs<br>epoch %{{x}}: %{{y:.2%}}<extra></extra>",
        showlegend=False,
    )


def _colour_bar(low: float, high: float) -> go.Scatter:
    # Lines have no colour scale of their own: an empty trace of markers carries the bar.
    ticks = [low, (low + high) / 2, high] if high > low else [low]
    small = {"size": 12, "color": LIGHT.muted}
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
                "title": {"text": "target MACs", "side": "right", "font": small},
                "thickness": 12,
                "outlinewidth": 0,
                "tickvals": ticks,
                "ticktext": [format_count(10**tick) for tick in ticks],
                "tickfont": small,
            },
        },
    )
