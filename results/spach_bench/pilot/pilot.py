"""Trains the architectures of the pilot by one variant of the protocol after the other.

    python pilot.py VARIANT... [--only NAME,NAME] [--seeds 0,1] [--workers 2]

Variants and architectures stand in `pilot.yaml`. Each finished training adds a row for every epoch
to `pilot.csv`; what is there already is not trained again, so that it can be stopped at any time.
"""

import argparse
import csv
import itertools
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml
from trainings import Job, Row, Tricks, run

from spach_nas.config.training_settings import Augmentation, TrainingSettings
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.references import get_reference
from spach_nas.space.scaling import ProxyRule

HERE = Path(__file__).parent
LETTERS = {"c": "conv", "a": "attention", "m": "mlp"}


def main() -> None:
    """Train what the command line names and the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("variants", nargs="+")
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", type=Path, default=HERE / "pilot.csv")
    args = parser.parse_args()
    plan = yaml.safe_load((HERE / "pilot.yaml").read_text(encoding="utf-8"))
    names = [name for name in args.only.split(",") if name] or list(plan["architectures"])
    seeds = [int(seed) for seed in args.seeds.split(",")]
    done = _done(args.table)
    jobs = [
        make_job(plan, variant, name=name, seed=seed)
        for variant, seed, name in itertools.product(args.variants, seeds, names)
        if (variant, name, seed) not in done
    ]
    context = get_context("spawn")
    with ProcessPoolExecutor(args.workers, mp_context=context) as pool:
        for future in as_completed([pool.submit(run, job) for job in jobs]):
            rows = future.result()
            _append(args.table, rows)
            last = rows[-1]
            print(
                f"{last.variant:24} {last.architecture:16} seed {last.seed} "
                f"accuracy {last.accuracy:.4f} loss {last.loss:.4f} cpu {last.cpu_seconds:.0f} s",
                flush=True,
            )


def make_job(plan: Mapping[str, Any], variant: str, *, name: str, seed: int) -> Job:
    """The training that a variant means for an architecture."""
    base, own = plan["base"], plan["variants"][variant] or {}
    training = {**base["training"], **own.get("training", {})}
    training["augmentation"] = Augmentation(**training.get("augmentation", {}))
    proxy = {**base["proxy"], **own.get("proxy", {})}
    proxy["image_size"] = (proxy["image_size"],) * 2
    return Job(
        variant=variant,
        name=name,
        seed=seed,
        target=parse_architecture(plan["architectures"][name]),
        validation=own.get("validation", base["validation"]),
        rule=ProxyRule(**proxy),
        training=TrainingSettings(**training),
        tricks=Tricks(**own.get("tricks", {})),
    )


def parse_architecture(text: str) -> Architecture:
    """`96 conv1 4c 2c10a 1c2a`: width, stem and the mixers of stages 2 to 4; or a paper model."""
    parts = text.split()
    if len(parts) == 1:
        return get_reference(text).architecture
    width, stem, *layouts = parts
    stages = [("conv",) * 3, *map(_mixers, layouts)]
    return Architecture(
        stem=stem,  # type: ignore[arg-type]
        patch_size=4,
        stages=tuple(
            Stage(
                mixers=mixers,
                width=int(width) * 2**number,
                heads=int(width) // 32,
                expansion_ratio=3,
            )
            for number, mixers in enumerate(stages)
        ),
    )


def _mixers(text: str) -> tuple[str, ...]:
    mixers: tuple[str, ...] = ()
    count = ""
    for letter in text:
        if letter.isdigit():
            count += letter
        else:
            mixers += (LETTERS[letter],) * int(count)
            count = ""
    return mixers


def _done(table: Path) -> set[tuple[str, str, int]]:
    if not table.exists():
        return set()
    with table.open(encoding="utf-8", newline="") as lines:
        return {
            (row["variant"], row["architecture"], int(row["seed"])) for row in csv.DictReader(lines)
        }


def _append(table: Path, rows: list[Row]) -> None:
    new = not table.exists()
    names = [field.name for field in fields(Row)]
    with table.open("a", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        if new:
            writer.writerow(names)
        for row in rows:
            values = [getattr(row, name) for name in names]
            writer.writerow(
                [f"{value:.6g}" if isinstance(value, float) else value for value in values]
            )


if __name__ == "__main__":
    main()
