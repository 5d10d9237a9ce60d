"""Draws `front_cost.csv`: hypervolume found against all seconds spent, `front_cost.png`.

    python picture.py

Medians of the searches; the band holds 90 % of those of `train` by TPE.
"""

from pathlib import Path

import pandas as pd
from plotly.subplots import make_subplots

from spach_nas.report.theme import BLUE, FONT, GREEN, LIGHT, ORANGE, PURPLE, SKY, VERMILLION

HERE = Path(__file__).parent
JUDGES = {"trained": "accuracy of one training", "denoised": "without its noise"}
# The others stand in the table alone.
SHOWN = {
    "train, tpe": BLUE,
    "train, random": "#6e7781",
    "params first": SKY,
    "naswot first": ORANGE,
    "all by naswot": PURPLE,
    "supernet by accuracy first": VERMILLION,
    "all by supernet by loss": GREEN,
    "inherit first": "#000000",
}
BAND = "train, tpe"


def main() -> None:
    """Draw."""
    rows = pd.read_csv(HERE / "front_cost.csv")
    figure = make_subplots(
        cols=2, shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=list(JUDGES.values())
    )
    for column, judge in enumerate(JUDGES, 1):
        part = rows[rows["judge"] == judge]
        for name, colour in SHOWN.items():
            own = part[part["strategy"] == name]
            if name == BAND:
                figure.add_scatter(
                    x=[*own["seconds"], *own["seconds"][::-1]],
                    y=[*own["high"], *own["low"][::-1]],
                    fill="toself",
                    fillcolor="rgba(0,114,178,0.12)",
                    line={"width": 0},
                    showlegend=False,
                    row=1,
                    col=column,
                )
            if len(own):
                figure.add_scatter(
                    x=own["seconds"],
                    y=own["median"],
                    name=name,
                    showlegend=column == 1,
                    mode="lines+markers",
                    line={"color": colour, "width": 2},
                    row=1,
                    col=column,
                )
        whole = part["seconds"].max()
        figure.add_vline(
            x=whole / 10, line={"dash": "dot", "color": LIGHT.muted}, row=1, col=column
        )
    ticks = [400, 600, 1200, 2400, 6000, 12000]
    figure.update_xaxes(title="processor seconds in all, log scale", type="log", tickvals=ticks)
    figure.update_yaxes(tickformat=".0%", range=[0.4, 1.01])
    figure.update_yaxes(title="share of the exact front's hypervolume", col=1)
    figure.update_layout(
        template="plotly_white",
        font={"color": LIGHT.text, "family": FONT},
        legend={"orientation": "h", "y": -0.16},
        margin={"l": 70, "r": 20, "t": 40, "b": 90},
    )
    figure.write_image(HERE / "front_cost.png", width=1100, height=560, scale=1.5)


if __name__ == "__main__":
    main()
