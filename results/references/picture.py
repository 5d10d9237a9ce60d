"""Draws published top-1 against measured latency, the paper's models beside timm's: `front.png`.

    python picture.py

A point is the median over the rounds of `times.csv`, a bar their range. All accuracies are
published ones, of networks at full size on ImageNet-1k: those of the paper, and those of timm for
weights that saw no other images. They were trained by different recipes.
"""

from pathlib import Path

import pandas as pd
from plotly import graph_objects as go

from spach_nas.report.theme import BLUE, FONT, LIGHT, VERMILLION

HERE = Path(__file__).parent
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
            mode="markers+text",
            name=label,
            text=[shortened(name) for name in part.index],
            textposition="bottom right" if symbol == "star" else "top left",
            textfont={"size": 11, "color": colour},
            marker={"color": colour, "symbol": symbol, "size": 13 if symbol == "star" else 9},
        )
    rounds = int(found["count"].min())
    figure.update_xaxes(
        title=f"latency of one image at 224 px, ms, one thread, PyTorch, {rounds} rounds (log)",
        type="log",
    )
    figure.update_yaxes(title="published ImageNet-1k top-1, %")
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
