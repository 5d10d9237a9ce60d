"""What every axis of a cost has: ticks that fit its range, and lines for the limits."""

import math

from plotly import graph_objects as go

from spach_nas.report.theme import LIGHT, plain
from spach_nas.units import format_count


def log_ticks(ratio: float) -> dict[str, object]:
    """How plotly places the ticks of a logarithmic axis whose ends have this ratio."""
    return {"dtick": "D1" if ratio < 6 else "D2"} if ratio > 2 else {"nticks": 8}


def add_limit(figure: go.Figure, *, name: str, bound: int, log: bool) -> None:
    """Draw a limit as a dashed line with its name and value."""
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
        text=f"{plain(name)} {format_count(bound)}",
        font={"size": 12, "color": LIGHT.muted},
        # Unlike a shape, an annotation stands at the logarithm.
        x=math.log10(bound) if log else bound,
        y=0.12,
        yref="paper",
        textangle=-90,
        xanchor="right",
        yanchor="bottom",
        showarrow=False,
    )
