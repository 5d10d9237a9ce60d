"""Trains a supernet of spach_bench by one method and scores architectures of its table.

    python compare.py METHOD [--seconds 120] [--seed 0] [--out scores/METHOD_120.csv]

All methods get the same processor time on one thread, of which the number of steps is worked out
before. The table is the truth; `table.py` compares. `methods.py` holds the methods.
"""

import argparse
import csv
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from methods import METHODS, TurnsOfStems
from torch.optim.optimizer import register_optimizer_step_pre_hook

from spach_nas.config.search_yaml import load_config
from spach_nas.cost.limits import Limits
from spach_nas.data import data_shape, load_train_and_validation
from spach_nas.feasible import FeasibleSet
from spach_nas.networks.supernet import Supernet
from spach_nas.space.scaling import scale
from spach_nas.training import choose_runtime, global_seed, move, threads
from spach_nas.training import supernet_loop as loop

HERE = Path(__file__).parent
BENCH = HERE.parent / "spach_bench"
EVERY = 3  # architecture of the table is scored
IMAGES = 1000


def main() -> None:
    """Train and score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="file for the weights")
    args = parser.parse_args()
    config = load_config(BENCH / "search.yaml")
    data = data_shape(config.data)
    splits = load_train_and_validation(config.data, image_size=config.image_size)
    runtime = choose_runtime(device="cpu")
    feasible = FeasibleSet(config.space, config.limits or Limits())
    method = METHODS[args.method]

    def draw(seed: int):
        return scale(feasible.sample(seed), config.proxy, data)

    drawn = [draw(seed) for seed in range(1000)]
    paths = method.paths(draw)
    if method.stems_take_turns:
        loop._paths = TurnsOfStems(drawn)
    if method.before_step is not None:
        register_optimizer_step_pre_hook(lambda optimizer, *_: method.before_step(optimizer, paths))

    def fresh() -> Supernet:
        with global_seed(args.seed, runtime):
            return move(method.supernet(config.space, config.proxy, data, drawn), runtime)

    def train(supernet: Supernet, steps: int):
        # One epoch of as many images as the steps take: the schedule ends where the time does.
        batch_size = config.training.batch_size
        epochs = max(1, steps * batch_size // len(splits.train) + 1)
        share = steps * batch_size / epochs / len(splits.train)
        protocol = replace(config.training, data_share=share, epochs=epochs)
        return loop.train_supernet(
            supernet,
            splits,
            draw=paths,
            settings=replace(method.settings, epochs=epochs),
            protocol=protocol,
            seed=args.seed,
            runtime=runtime,
            ends=loop.ends_of(drawn),
        )

    with threads(1):
        train(fresh(), 3)
        started = time.process_time()
        timed = train(fresh(), 40).standing.step
        a_step = (time.process_time() - started) / timed
        steps = int(args.seconds / a_step)
        print(f"{args.method}: {a_step * 1000:.0f} ms a step, {steps} steps", flush=True)
        supernet = fresh()
        started = time.process_time()
        result = train(supernet, steps)
        trained = time.process_time() - started
        print(result, f"{trained:.0f} s of processor time", flush=True)
        name = f"{args.method}_{args.seconds:.0f}" + f"_seed{args.seed}" * (args.seed > 0)
        out = args.out or HERE / "scores" / f"{name}.csv"
        out.parent.mkdir(exist_ok=True)
        if args.keep is not None:
            torch.save(supernet.state_dict(), args.keep)
        part = splits.validation.take(np.arange(IMAGES))
        scorer = loop.make_scorer(supernet, replace(splits, validation=part), runtime=runtime)
        with out.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["arch_id", "accuracy", "loss", "cpu_seconds"])
            for target in targets()[::EVERY]:
                started = time.process_time()
                scores = scorer(scale(target, config.proxy, data))
                seconds = time.process_time() - started
                row = [target.arch_id, scores["accuracy"], f"{scores['loss']:.6f}"]
                writer.writerow([*row, f"{seconds:.3f}"])
    facts = {"steps": result.standing.step, "ms_a_step": round(trained / steps * 1000, 1)}
    out.with_suffix(".json").write_text(json.dumps({**facts, "cpu_seconds": round(trained)}))


def targets():
    """The architectures of the space that the table holds, by their ids."""
    from spach_nas.replay import read_benchmark

    entries = read_benchmark([BENCH]).table.entries.values()
    config = load_config(BENCH / "search.yaml")
    found = [entry.architecture for entry in entries if config.space.contains(entry.architecture)]
    return sorted(found, key=lambda item: item.arch_id)


if __name__ == "__main__":
    main()
