"""Trains the supernet of spach_bench by some seeds and scores every architecture of its table.

    python supernet.py 0 1 2 [--distillation 0.5]

Writes `scores/supernet_SEED.csv`, a row for each architecture, and the processor seconds of the
training into `scores/supernet_SEED.json`; with distillation, `scores/distilled_supernet_SEED.*`.
Settings are the defaults of the package, `STEPS` of them take about 480 processor seconds. An
interrupted training goes on from `/tmp/front_cost`.
"""

import argparse
import csv
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

from spach_nas.config.search_yaml import load_config
from spach_nas.config.supernet_settings import SupernetSettings
from spach_nas.data import data_shape, load_train_and_validation
from spach_nas.feasible import FeasibleSet
from spach_nas.networks.supernet import Supernet
from spach_nas.replay import read_benchmark
from spach_nas.space.scaling import scale
from spach_nas.training import choose_runtime, global_seed, move, threads
from spach_nas.training import supernet_loop as loop

HERE = Path(__file__).parent
BENCH = HERE.parent / "spach_bench"
KEPT = Path("/tmp/front_cost")
STEPS, EPOCHS, IMAGES = 930, 2, 1000


def main() -> None:
    """Train and score, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--distillation", type=float, default=0.0)
    args = parser.parse_args()
    for seed in args.seeds:
        kind = "distilled_supernet" if args.distillation else "supernet"
        out = HERE / "scores" / f"{kind}_{seed}.csv"
        if not out.exists():
            one(seed, out, SupernetSettings(epochs=EPOCHS, distillation=args.distillation))


def one(seed: int, out: Path, settings: SupernetSettings) -> None:
    """A supernet and its scores."""
    config = load_config(BENCH / "search.yaml")
    data = data_shape(config.data)
    splits = load_train_and_validation(config.data, image_size=config.image_size)
    runtime = choose_runtime(device="cpu")
    feasible = FeasibleSet(config.space, config.limits)

    def draw(number: int):
        return scale(feasible.sample(number), config.proxy, data)

    # The schedule ends where the steps do.
    share = STEPS * config.training.batch_size / EPOCHS / len(splits.train)
    for folder in (KEPT, out.parent):
        folder.mkdir(exist_ok=True)
    seconds = KEPT / f"seconds_{out.stem}.json"
    spent = json.loads(seconds.read_text()) if seconds.exists() else 0.0
    with threads(1), global_seed(seed, runtime):
        supernet = move(Supernet(config.space, config.proxy, data), runtime)
    with threads(1):
        started = time.process_time()

        def tell(step: int, steps: int) -> None:
            if step % loop.WINDOW == 0 or step == steps:
                seconds.write_text(json.dumps(spent + time.process_time() - started))
                print(f"seed {seed}: step {step} of {steps}", flush=True)

        result = loop.train_supernet(
            supernet,
            splits,
            draw=draw,
            settings=settings,
            protocol=replace(config.training, data_share=share),
            seed=seed,
            runtime=runtime,
            ends=loop.ends_of(map(draw, range(1000))),
            file=KEPT / f"{out.stem}.safetensors",
            tell=tell,
        )
        assert result.diverged is None, result.diverged
        scorer = loop.make_scorer(supernet, splits, runtime=runtime, images=IMAGES)
        entries = read_benchmark([BENCH]).table.entries.values()
        rows = []
        for target in sorted((e.architecture for e in entries), key=lambda one: one.arch_id):
            if config.space.contains(target):
                begun = time.process_time()
                scores = scorer(scale(target, config.proxy, data))
                took = time.process_time() - begun
                row = target.arch_id, f"{scores['accuracy']:.4f}", f"{scores['loss']:.6f}"
                rows.append([*row, f"{took:.3f}"])
    with out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["arch_id", "accuracy", "loss", "seconds"])
        writer.writerows(rows)
    facts = {"steps": result.standing.step, "seconds": round(json.loads(seconds.read_text()), 1)}
    out.with_suffix(".json").write_text(json.dumps({**facts, "settings": asdict(settings)}) + "\n")


if __name__ == "__main__":
    main()
