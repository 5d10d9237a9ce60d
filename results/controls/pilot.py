"""Trains a few layouts of the control space on a control task, exactly as a search would.

    python pilot.py TASK LAYOUT... [--seed 0] [--width 24]

A layout names the mixer of each block, c, a or m, with a dash between the stages: `cc-ca`. One row
for each epoch goes to `pilot.csv`; a training that is there already is not repeated.
"""

import argparse
import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from spach_nas import SearchSpace, load_config
from spach_nas.cost.closed_form import cost
from spach_nas.data import data_shape, load_train_and_validation
from spach_nas.machine import describe_machine
from spach_nas.networks import build
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.training import choose_runtime, global_seed, threads, train

HERE = Path(__file__).parent
TABLE = HERE / "pilot.csv"
MIXERS = {"c": "conv", "a": "attention", "m": "mlp"}
COLUMNS = (
    *("task", "layout", "width", "seed", "epoch", "accuracy", "loss", "train_loss"),
    *("cpu_seconds", "macs", "params", "machine"),
)


def architecture(layout: str, *, width: int, space: SearchSpace, shape: DataShape) -> Architecture:
    """The architecture of the space with this layout and width, with the shape of the data."""
    like = space.sample(0)
    stages = tuple(
        replace(
            stage, mixers=tuple(MIXERS[letter] for letter in letters), width=width, heads=width // 8
        )
        for stage, letters in zip(like.stages, layout.split("-"), strict=True)
    )
    found = replace(like, stages=stages)
    assert space.contains(found), f"{layout} with width {width} is not in the space"
    return scale(found, ProxyRule(), shape)


def main() -> None:
    """Train what is asked for and is not in the table yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task")
    parser.add_argument("layouts", nargs="+", metavar="LAYOUT")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=24)
    given = parser.parse_args()
    config = load_config(HERE / given.task / "search.yaml")
    fidelity = config.fidelities[-1]
    splits = load_train_and_validation(config.data, image_size=fidelity.image_size)
    runtime = choose_runtime(device="cpu", precision="fp32")
    for layout in given.layouts:
        key = {
            "task": given.task,
            "layout": layout,
            "width": str(given.width),
            "seed": str(given.seed),
        }
        if any(key.items() <= row.items() for row in rows()):
            continue
        proxy = architecture(
            layout, width=given.width, space=config.space, shape=data_shape(config.data)
        )
        with threads(1):
            with global_seed(given.seed, runtime):
                network = build(proxy)
            result = train(
                network,
                splits,
                settings=config.training,
                fidelity=fidelity,
                seed=given.seed,
                runtime=runtime,
            )
        size = cost(proxy)
        for number, epoch in enumerate(result.curve, start=1):
            write(
                key
                | {
                    "epoch": number,
                    "accuracy": f"{epoch.accuracy:.4f}",
                    "loss": f"{epoch.loss:.4f}",
                    "train_loss": f"{epoch.train_loss:.4f}",
                    "cpu_seconds": f"{epoch.cpu_seconds:.1f}",
                    "macs": size.macs,
                    "params": size.params,
                    "machine": describe_machine(),
                }
            )
        print(*key.values(), f"{result.curve[-1].accuracy:.4f}", flush=True)


def rows() -> list[dict[str, str]]:
    """What is in the table."""
    if not TABLE.is_file():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(row: Mapping[str, object]) -> None:
    """Add a row to the table."""
    new = not TABLE.is_file()
    with TABLE.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
