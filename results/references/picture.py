"""Draws published top-1 against measured latency, the paper's models beside timm's: `front.png`.

    python picture.py

A point is the median over the rounds of `times.csv`, a bar their range. All accuracies are
published ones, of networks at full size on ImageNet-1k: those of the paper, and those of timm for
weights that saw no other images. They were trained by different recipes.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from plotly import graph_objects as go

from spach_nas.report.front_figure import place_labels
from spach_nas.report.theme import BLUE, FONT, LIGHT, VERMILLION

HERE = Path(__file__).parent
RANGE, LOWEST, HIGHEST = (1.45, 2.85), 64, 86  # powers of ten of ms, and percent
SHORT = {"_patch16_224": "", "_patch4_window7_224": "", "timm/": ""}


def main() -> None:
    """Draw, and print the table."""
    times = pd.read_csv(HERE / "times.csv")
    times = times[times["runtime"] == "eager"].groupby("name")["latency_ms"]
    found = pd.read_csv(HERE / "models.csv").set_index("name")
    found = found.join(times.agg(["median", "min", "max", "count"])).dropna()
    found = found.sort_values("median")
    found["front"] = found["top1"] > found["top1"].cummax().shift(fill_value=0)
    print(found.to_string())
    timm = found.index.str.startswith("timm/")
    figure = go.Figure()
    members = found[found["front"]]
    figure.add_scatter(
        x=members["median"],
        y=members["top1"],
        mode="lines",
        name="no other is faster and better",
        line={"shape": "hv", "color": LIGHT.muted, "width": 1.5},
    )
    for label, part, colour, symbol in (
        ("SPACH, published by the paper", found[~timm], VERMILLION, "star"),
        ("timm, ImageNet-1k alone", found[timm], BLUE, "circle"),
    ):
        figure.add_scatter(
            x=part["median"],
            y=part["top1"],
            error_x={
                "symmetric": False,
                "array": part["max"] - part["median"],
                "arrayminus": part["median"] - part["min"],
                "color": LIGHT.faded,
            },
            mode="markers",
            name=label,
            marker={"color": colour, "symbol": symbol, "size": 13 if symbol == "star" else 9},
        )
    places = np.c_[
        (np.log10(found["median"]) - RANGE[0]) / (RANGE[1] - RANGE[0]),
        (found["top1"] - LOWEST) / (HIGHEST - LOWEST),
    ]
    names = [shortened(name) for name in found.index]
    for row, name, (right, up) in zip(
        found.itertuples(), names, place_labels(places, names, markers=places), strict=True
    ):
        figure.add_annotation(
            x=np.log10(row.median),
            y=row.top1,
            text=name,
            font={"size": 11, "color": BLUE if row.Index.startswith("timm/") else VERMILLION},
            showarrow=False,
            xanchor={-1: "right", 0: "center", 1: "left"}[right],
            yanchor={-1: "top", 0: "middle", 1: "bottom"}[up],
            xshift=right * 6,
            yshift=up * 5,
        )
    rounds = int(found["count"].min())
    figure.update_xaxes(
        title=f"latency of one image at 224 px, ms, one thread, PyTorch, {rounds} rounds (log)",
        type="log",
        range=RANGE,
        tickvals=[30, 50, 70, 100, 150, 200, 300, 400, 600],
    )
    figure.update_yaxes(title="published ImageNet-1k top-1, %", range=(LOWEST, HIGHEST))
    figure.update_layout(
        template="plotly_white",
        font={"color": LIGHT.text, "family": FONT, "size": 14},
        legend={"x": 0.99, "xanchor": "right", "y": 0.03},
        margin={"l": 60, "r": 20, "t": 20, "b": 60},
    )
    figure.write_image(HERE / "front.png", width=1100, height=680)


def shortened(name: str) -> str:
    """Without the words that all sizes of 224 px share."""
    for long, short in SHORT.items():
        name = name.replace(long, short)
    return name


if __name__ == "__main__":
    main()
