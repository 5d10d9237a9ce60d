"""Draws how strategies compare: `regret.csv` to `regret.png`.

    spach-nas replay . --out regret.csv
    python regret.py

Lines are medians over the seeds; the bands of two hold 90 % of them, and the table has those of
all. Regret is the share of the exact front's hypervolume that was not found: lower is better. Also
prints the medians.
"""

from pathlib import Path

import pandas as pd
from plotly import graph_objects as go
from plotly.subplots import make_subplots

from spach_nas.report.theme import BLUE, GREEN, LIGHT, ORANGE, PURPLE, SKY, VERMILLION

HERE = Path(__file__).parent
AXES = {"trials": "trials", "seconds": "minutes of a search with two workers"}
# The others stand in the table alone: more lines could not be told apart.
SHOWN = {
    "tpe": BLUE,
    "tpe + rungs by front": GREEN,
    "surrogate": SKY,
    "random": "#6e7781",
    "local": PURPLE,
    "stock tpe": ORANGE,
    "stock tpe + ASHA": VERMILLION,
}
BANDS = ("tpe", "stock tpe")


def main() -> None:
    """Draw and print."""
    rows = pd.read_csv(HERE / "regret.csv")
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.03)
    for column, axis in enumerate(AXES, 1):
        part = rows[rows["axis"] == axis]
        for name, colour in SHOWN.items():
            own = part[part["strategy"] == name].sort_values("share")
            if len(own):
                _add(
                    figure, own, name=name, colour=colour, column=column, minutes=axis == "seconds"
                )
        figure.update_xaxes(title=AXES[axis], rangemode="tozero", col=column)
    ticks = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
    figure.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{tick:.0%}" for tick in ticks])
    figure.update_yaxes(title="regret (hypervolume not found)", col=1)
    figure.update_layout(
        template="plotly_white",
        font={"color": LIGHT.text},
        legend={"orientation": "h", "y": -0.18},
        margin={"l": 70, "r": 20, "t": 20, "b": 90},
    )
    figure.write_image(HERE / "regret.png", width=1100, height=560, scale=2)
    for axis in AXES:
        medians = rows[rows["axis"] == axis].pivot(
            index="strategy", columns="share", values="median"
        )
        print(axis)
        print(medians.sort_values(1.0).to_string(float_format="%.4f"))


def _add(
    figure: go.Figure, own: pd.DataFrame, *, name: str, colour: str, column: int, minutes: bool
) -> None:
    x = own["spent"] / 60 if minutes else own["spent"]
    if name in BANDS:
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        figure.add_scatter(
            x=[*x, *x[::-1]],
            y=[*own["high"], *own["low"][::-1]],
            fill="toself",
            fillcolor=f"rgba({red},{green},{blue},0.12)",
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=name,
            row=1,
            col=column,
        )
    figure.add_scatter(
        x=x,
        y=own["median"],
        name=name,
        legendgroup=name,
        showlegend=column == 1,
        mode="lines+markers",
        line={"color": colour, "width": 2},
        row=1,
        col=column,
    )


if __name__ == "__main__":
    main()
