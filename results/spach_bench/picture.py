"""Draws all architectures by their commonest mixer, and the exact front: `front.png`.

    python picture.py

A point is the mean over the seeds of an architecture. The bar at the right is the deviation of a
single training from the mean of its architecture: points closer than that differ by chance.
"""

import pandas as pd
from plotly import graph_objects as go
from trust import HERE, at_end, means, read_table

from spach_nas.replay import read_benchmark
from spach_nas.report.theme import FONT, LIGHT, MIXER_COLOURS, VERMILLION

SIDES = {
    "hybrid_ms_s": "middle right",
    "hybrid_ms_s_plus": "middle right",
    "conv_ms_s": "top center",
}
NAMES = {"conv": "convolution", "attention": "attention", "mlp": "token-MLP"}


def main() -> None:
    """Draw and print the deviation."""
    table = at_end(read_table())
    found = means(table)
    found = found.assign(accuracy=found["accuracy"] * 100, macs=found["target_macs"] / 1e9)
    figure = go.Figure()
    for kind, colour in MIXER_COLOURS.items():
        own = found[(found["kind"] == kind) & (found["reference"] == "")]
        figure.add_scatter(
            x=own["macs"],
            y=own["accuracy"],
            name=f"mostly {NAMES[kind]} behind stage 1",
            mode="markers",
            marker={"color": colour, "size": 8, "opacity": 0.8},
        )
    add_front(figure, found)
    add_models(figure, found[found["reference"] != ""])
    spread = deviation(table) * 100
    figure.add_scatter(
        x=[17],
        y=[found["accuracy"].max()],
        error_y={"array": [spread], "thickness": 2, "width": 6, "color": LIGHT.text},
        name="deviation of one training",
        mode="markers",
        marker={"color": LIGHT.text, "size": 3},
    )
    figure.update_xaxes(
        title="target GMACs, log scale",
        type="log",
        tickvals=[0.5, 1, 2, 3, 5, 8, 12],
        range=[-0.35, 1.3],  # with room for a name behind the dearest
    )
    figure.update_yaxes(title="validation accuracy, %")
    figure.update_layout(
        template="plotly_white",
        font={"color": LIGHT.text, "family": FONT, "size": 15},
        legend={"x": 0.98, "xanchor": "right", "y": 0.03},
        margin={"l": 80, "r": 20, "t": 20, "b": 70},
    )
    figure.write_image(HERE / "front.png", width=1100, height=640, scale=1.5)
    print(f"deviation of one training: {spread:.3f} points")


def add_front(figure: go.Figure, found: pd.DataFrame) -> None:
    """The exact front, as a line of steps."""
    members = [entry.architecture.arch_id for entry in read_benchmark([HERE]).front]
    front = found.loc[members].sort_values("macs")
    figure.add_scatter(
        x=front["macs"],
        y=front["accuracy"],
        name="exact front",
        mode="lines",
        line={"color": LIGHT.text, "width": 1.5, "shape": "hv"},
    )


def add_models(figure: go.Figure, models: pd.DataFrame) -> None:
    """The paper's models, by name."""
    figure.add_scatter(
        x=models["macs"],
        y=models["accuracy"],
        text=models["reference"],
        name="models of the paper",
        mode="markers+text",
        # Where no points lie.
        textposition=[SIDES.get(name, "bottom center") for name in models["reference"]],
        textfont={"color": VERMILLION, "size": 12},
        marker={"symbol": "star", "color": VERMILLION, "size": 14},
    )


def deviation(table: pd.DataFrame) -> float:
    """Of one training from the mean of its architecture, pooled over those with several seeds."""
    groups = table.groupby("arch_id")["accuracy"]
    squares, free = (groups.var() * (groups.size() - 1)).sum(), (groups.size() - 1).sum()
    return float((squares / free) ** 0.5) if free else 0.0


if __name__ == "__main__":
    main()
