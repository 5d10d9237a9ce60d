"""Makes `scores.csv`, `curves.csv` and `curves.png` of what `run.sh` left in `runs/`.

    python summary.py

Prints what the README says of them: means over the seeds and how far they can be told apart.
"""

import json
from pathlib import Path

import pandas as pd
from plotly import graph_objects as go

from spach_nas.report.theme import BLUE, GREEN, LIGHT, ORANGE, PURPLE, VERMILLION
from spach_nas.space.architecture import Architecture

HERE = Path(__file__).parent
COLOURS = {"best": VERMILLION, "hybrid": BLUE, "conv": GREEN, "attention": ORANGE, "mlp": PURPLE}


def main() -> None:
    """Write the two tables and the picture, and print the means."""
    runs = sorted((HERE / "runs").glob("*-*/test.json"))
    scores = pd.DataFrame([_scores(path.parent) for path in runs])
    curves = pd.concat([_curve(path.parent) for path in runs])
    for table, name in ((scores, "scores.csv"), (curves, "curves.csv")):
        table.to_csv(HERE / name, index=False, float_format="%.6g", lineterminator="\n")
    draw(curves)
    print("\n".join(readme_rows(scores)))


def readme_rows(scores: pd.DataFrame) -> list[str]:
    """The README's table: top-1 in %, means over the seeds and the deviation of one training.

    The line below it pools the deviation on the test split over the networks, all of as many seeds.
    """
    rows = ["| network | layout | validation top-1, % | test top-1, % | test loss | minutes |"]
    rows.append(f"|{'---|' * 6}")
    for name in COLOURS:
        own = scores[scores["network"] == name]
        network = Architecture.from_yaml(HERE / "networks" / f"{name}.yaml")
        layout = str(network).replace("|", r"\|")
        rows.append(
            f"| {name} | `{layout}` | {_spread(own['validation'] * 100, 2)} "
            f"| {_spread(own['test'] * 100, 2)} | {_spread(own['test_loss'], 4)} "
            f"| {own['minutes'].mean():.1f} |"
        )
    one = deviation(scores)
    of_two_means = one * (2 / scores["seed"].nunique()) ** 0.5
    rows.append(
        f"\nOne training deviates by {one:.2f} points on the test split, all networks together, "
        f"a difference of two means by {of_two_means:.2f}."
    )
    return rows


def deviation(scores: pd.DataFrame) -> float:
    """Of one training's test top-1 from its network's mean, in points, pooled over the networks."""
    return float(scores.groupby("network")["test"].var().mean() ** 0.5 * 100)


def _spread(figures: "pd.Series[float]", digits: int) -> str:
    return f"{figures.mean():.{digits}f}, {figures.std():.{digits}f}"


def _name(run: Path) -> dict[str, object]:
    network, seed = run.name.rsplit("-", 1)
    return {"network": network, "seed": int(seed)}


def _curve(run: Path) -> pd.DataFrame:
    curve = pd.read_json(run / "curve.jsonl", lines=True)
    kept = ["epoch", "loss", "top1", "ema_top1", "validation_loss", "ema_loss", "images_per_s"]
    return curve[kept].assign(**_name(run))[["network", "seed", *kept]]


def _scores(run: Path) -> dict[str, object]:
    test = json.loads((run / "test.json").read_text(encoding="utf-8"))
    curve = pd.read_json(run / "curve.jsonl", lines=True)
    return {
        **_name(run),
        "validation": curve[["top1", "ema_top1"]].max().max(),
        "test": test["top1"],
        "test_loss": test["loss"],
        "minutes": curve["seconds"].sum() / 60,
    }


def draw(curves: pd.DataFrame) -> None:
    """Validation top-1 of the averaged weights after each epoch: mean and range of the seeds."""
    figure = go.Figure()
    for place, (name, colour) in enumerate(COLOURS.items()):
        own = curves[curves["network"] == name].groupby("epoch")["ema_top1"]
        mean = own.mean() * 100
        figure.add_scatter(
            x=mean.index
            + (place - len(COLOURS) // 2) * 0.07,  # side by side, so that each range can be seen
            y=mean,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": own.max() * 100 - mean,
                "arrayminus": mean - own.min() * 100,
                "thickness": 1,
            },
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"size": 7},
        )
    figure.update_xaxes(title="epoch", dtick=1, zeroline=False)
    figure.update_yaxes(title="validation top-1, %")
    figure.update_layout(
        template="plotly_white",
        font={"color": LIGHT.text},
        legend={"x": 0.98, "y": 0.05, "xanchor": "right", "yanchor": "bottom"},
        margin={"l": 70, "r": 20, "t": 20, "b": 60},
    )
    figure.write_image(HERE / "curves.png", width=900, height=600, scale=2)


if __name__ == "__main__":
    main()
