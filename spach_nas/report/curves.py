"""Learning curves of the front's members."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from plotly import graph_objects as go
from plotly.colors import sample_colorscale

from spach_nas.report.document import Section
from spach_nas.report.theme import LIGHT, SKY, VERMILLION, layout, plain
from spach_nas.report.view import StudyView
from spach_nas.study.records import Record
from spach_nas.units import format_count

# From cheap to expensive; both ends and the middle stand out on white and on near-black.
_SCALE = [[0.0, SKY], [0.5, "#8f7fb8"], [1.0, VERMILLION]]


class Curve(NamedTuple):
    """A member of the front, and its accuracy after each epoch; None where that is not finite."""

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
    curves = (Curve(member, _joined(view.records, member)) for member in view.front)
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
    width = high - low or 1.0
    for curve, log in zip(curves, logs, strict=True):
        member, epochs = curve.member, range(1, len(curve.accuracy) + 1)
        trace = go.Scatter(
            x=list(epochs),
            y=list(curve.accuracy),
            customdata=[member.trial] * len(epochs),
            mode="lines+markers",
            line={"width": 2, "color": sample_colorscale(_SCALE, (log - low) / width)[0]},
            # The colour bar is that of the markers: lines have none.
            marker={"size": 6, "color": [log] * len(epochs), "coloraxis": "coloraxis"},
            hovertemplate=f"<b>{plain(member.architecture)}</b><br>trial {member.trial}, "
            f"{format_count(member.target_cost.macs)} MACs<br>epoch %{{x}}: %{{y:.2%}}"
            "<extra></extra>",
            showlegend=False,
        )
        figure.add_trace(trace)
    ticks = [low, (low + high) / 2, high] if high > low else [low]
    small = {"size": 12, "color": LIGHT.muted}
    bar = {
        "title": {"text": "target MACs", "side": "right", "font": small},
        "thickness": 12,
        "outlinewidth": 0,
        "tickvals": ticks,
        "ticktext": [format_count(10**tick) for tick in ticks],
        "tickfont": small,
    }
    longest = max((len(curve.accuracy) for curve in curves), default=1)
    margin = 0.03 * max(1, longest - 1)
    step = {"dtick": 1} if longest <= 12 else {}
    figure.update_xaxes(title_text="epoch", range=[1 - margin, longest + margin], **step)
    figure.update_yaxes(title_text="validation accuracy", tickformat=".0%")
    # It has no legend above it.
    figure.update_layout(
        margin_t=16,
        coloraxis={"colorscale": _SCALE, "cmin": low, "cmax": low + width, "colorbar": bar},
    )
    return figure
