"""Trains proxies with other stems by the protocol of the table, one after the other: `stems.csv`.

    python stems.py NETWORK:STEM:STEM_WIDTH:KERNEL:SEED ...

NETWORK is a model of the paper, STEM `conv1` or `conv4`; STEM_WIDTH and KERNEL are those inside a
`conv4` stem of the proxy. A row for each training: figures after its last epoch, processor seconds
of one thread, MACs of the proxy.
"""

import csv
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch

from spach_nas.config.search_yaml import load_config
from spach_nas.data import load_train_and_validation
from spach_nas.machine import keep_freed_memory
from spach_nas.networks import build
from spach_nas.space.references import get_reference
from spach_nas.space.scaling import DataShape, scale
from spach_nas.training import choose_runtime, global_seed, move, train

HERE = Path(__file__).parent


def main() -> None:
    """Train what is asked for."""
    config = load_config(HERE.parent / "search.yaml")
    torch.set_num_threads(1)
    keep_freed_memory()
    data = load_train_and_validation(config.data, image_size=config.fidelity.image_size)
    runtime = choose_runtime(device="cpu", precision="fp32")
    for text in sys.argv[1:]:
        name, stem, width, kernel, seed = text.split(":")
        target = replace(get_reference(name).architecture, stem=stem)
        proxy = scale(target, config.proxy, DataShape(in_channels=1, num_classes=10))
        if stem == "conv4":
            proxy = replace(proxy, stem_width=int(width))
        other_kernel = mock.patch("spach_nas.networks.block.stem_kernel", return_value=int(kernel))
        with global_seed(int(seed), runtime), other_kernel:
            network = move(build(proxy), runtime)
        started = time.process_time()
        result = train(
            network,
            data,
            settings=config.training,
            fidelity=config.fidelity,
            seed=int(seed),
            runtime=runtime,
        )
        last = result.curve[-1]
        row = {
            "network": name,
            "stem": stem,
            "stem_width": width,
            "kernel": kernel,
            "seed": seed,
            "accuracy": round(last.accuracy, 4),
            "loss": round(last.loss, 4),
            "train_loss": round(last.train_loss, 4),
            "cpu_seconds": round(time.process_time() - started, 1),
        }
        _append(row)


def _append(row: dict[str, object]) -> None:
    path = HERE / "stems.csv"
    begun = path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if not begun:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
