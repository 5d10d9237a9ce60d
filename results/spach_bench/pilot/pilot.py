"""Trains the architectures of the pilot by one variant of the protocol after the other.

    python pilot.py VARIANT... [--only NAME,NAME] [--seeds 0,1] [--workers 2]

Variants and architectures stand in `pilot.yaml`. Each finished training adds a row for every epoch
to `pilot.csv`; what is there already is not trained again, so that it can be stopped at any time.
The parts of a training are those of the package, so that a variant without tricks gives what a
search gives. Tricks are what the package has no key for.
"""

import argparse
import csv
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import nn

from spach_nas.architecture import Architecture, Stage
from spach_nas.cost import cost
from spach_nas.data import DataSplits, load_train_and_validation
from spach_nas.data.splits import nested_share
from spach_nas.networks import build
from spach_nas.networks.allocator import keep_freed_memory
from spach_nas.references import get_reference
from spach_nas.scaling import DataShape, ProxyRule, scale
from spach_nas.settings import Augmentation, DataSettings, TrainingSettings
from spach_nas.training import choose_runtime, global_seed, move
from spach_nas.training.batches import batch, draw_moves, load
from spach_nas.training.device import autocast
from spach_nas.training.optimizer import make_optimizer
from spach_nas.training.predict import predict, score
from spach_nas.training.schedule import learning_rate, make_schedule
from spach_nas.training.seeds import derive_seed

HERE = Path(__file__).parent
SHAPE = DataShape(in_channels=1, num_classes=10)
LETTERS = {"c": "conv", "a": "attention", "m": "mlp"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tricks:
    """What the package has no key for.

    Attributes:
        optimizer: A name of `timm.optim`.
        beta2: Of Adam.
        mixer_rate: Factor on the learning rate of the attention and token-MLP branches.
        schedule: `cosine`, `linear`, or `late`: constant, then linear to zero in the last third.
        ema: Decay of the averaged weights, which are scored in place of the last ones; 0: none.
        clip: Largest norm of the gradient; 0: none.
        normalise: Whether pixels are brought to mean 0 and deviation 1.
        gamma: First value of gamma_1.
        cutmix: Share of CutMix batches.
    """

    optimizer: str = "adamw"
    beta2: float = 0.999
    mixer_rate: float = 1.0
    schedule: str = "cosine"
    ema: float = 0.0
    clip: float = 0.0
    normalise: bool = True
    gamma: float = 1e-4
    cutmix: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One training."""

    variant: str
    name: str
    seed: int
    target: Architecture
    validation: float
    rule: ProxyRule
    training: TrainingSettings
    tricks: Tricks


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What is known after one epoch; `cpu_seconds` since the start of the training."""

    variant: str
    architecture: str
    arch_id: str
    target_macs: int
    seed: int
    epoch: int
    accuracy: float
    loss: float
    train_loss: float
    cpu_seconds: float


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


def run(job: Job) -> list[Row]:
    """Train and score after every epoch, on one thread."""
    torch.set_num_threads(1)
    keep_freed_memory()
    splits = _splits(job.rule.image_size or (32, 32), job.validation)
    return [
        Row(
            variant=job.variant,
            architecture=job.name,
            arch_id=job.target.arch_id,
            target_macs=cost(job.target).macs,
            seed=job.seed,
            epoch=epoch,
            **figures,
        )
        for epoch, figures in enumerate(_train(job, splits), start=1)
    ]


@cache
def _splits(size: tuple[int, int], validation: float) -> DataSplits:
    settings = DataSettings(name="fashion-mnist", validation=validation)
    return load_train_and_validation(settings, image_size=size)


def _train(job: Job, splits: DataSplits) -> Iterable[dict[str, Any]]:
    settings, tricks = job.training, job.tricks
    runtime = choose_runtime(device=settings.device, precision=settings.precision)
    with global_seed(job.seed, runtime):
        network = move(
            build(scale(job.target, job.rule, SHAPE), drop_path_rate=settings.drop_path_rate),
            runtime,
        )
    _set_gamma(network, tricks.gamma)
    normalisation = splits.normalisation
    if not tricks.normalise:
        normalisation = type(normalisation)(mean=(0.0,), std=(1.0,))
    data = load(splits.train, normalisation, runtime=runtime)
    validation = load(splits.validation, normalisation, runtime=runtime)
    chosen = torch.from_numpy(nested_share(splits.train.labels, settings.data_share))
    size = settings.batch_size
    steps = len(chosen) // size
    rate = _rate(job, steps * settings.epochs)
    optimizer = _optimizer(network, job)
    average = ModelEmaV3(network, decay=tricks.ema, use_warmup=True) if tricks.ema else None
    started = time.process_time()
    for epoch in range(settings.epochs):
        generator = torch.Generator().manual_seed(derive_seed(job.seed, epoch, "images"))
        order = chosen[torch.randperm(len(chosen), generator=generator)]
        moves = draw_moves(len(order), settings.augmentation, generator=generator)
        network.train()
        total = 0.0
        with global_seed(derive_seed(job.seed, epoch, "paths"), runtime):
            for step in range(steps):
                part = slice(step * size, (step + 1) * size)
                images, labels = batch(data, order[part], moves.of(part))
                optimizer.zero_grad(set_to_none=True)
                with autocast(runtime):
                    loss = _loss(network, images, labels, job=job)
                loss.backward()  # type: ignore[no-untyped-call]
                if tricks.clip:
                    nn.utils.clip_grad_norm_(network.parameters(), tricks.clip)
                for group in optimizer.param_groups:
                    group["lr"] = rate(epoch * steps + step) * group.get("factor", 1.0)
                optimizer.step()
                if average is not None:
                    average.update(network, step=epoch * steps + step)
                total += float(loss.detach())
        scored = network if average is None else average.module
        scores = score(predict(scored, validation, runtime=runtime), validation.labels)
        yield {
            **scores,
            "train_loss": total / steps,
            "cpu_seconds": time.process_time() - started,
        }


def _set_gamma(network: nn.Module, value: float) -> None:
    for name, parameter in network.named_parameters():
        if name.endswith("gamma_1"):
            nn.init.constant_(parameter, value)


def _loss(
    network: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, job: Job
) -> torch.Tensor:
    smoothing = job.training.label_smoothing
    if job.tricks.cutmix and float(torch.rand(())) < job.tricks.cutmix:
        kept = float(torch.rand(()))
        height, width = images.shape[-2:]
        rows, columns = round(height * (1 - kept) ** 0.5), round(width * (1 - kept) ** 0.5)
        top = int(torch.randint(height - rows + 1, ()))
        left = int(torch.randint(width - columns + 1, ()))
        images = images.clone()
        box = (..., slice(top, top + rows), slice(left, left + columns))
        images[box] = images.flip(0)[box]
        share = 1 - rows * columns / (height * width)
        logits = network(images).float()
        return share * F.cross_entropy(logits, labels, label_smoothing=smoothing) + (
            1 - share
        ) * F.cross_entropy(logits, labels.flip(0), label_smoothing=smoothing)
    return F.cross_entropy(network(images).float(), labels, label_smoothing=smoothing)


def _rate(job: Job, steps: int) -> Callable[[int], float]:
    settings = job.training
    schedule = make_schedule(
        peak=settings.learning_rate, steps=steps, warmup_share=settings.warmup_share
    )
    if job.tricks.schedule == "cosine":
        return lambda step: learning_rate(schedule, step)
    cooling = steps - schedule.warmup_steps if job.tricks.schedule == "linear" else steps // 3

    def rate(step: int) -> float:
        if step < schedule.warmup_steps:
            return learning_rate(schedule, step)
        return schedule.peak * min(1.0, (steps - step - 0.5) / cooling)

    return rate


def _optimizer(network: nn.Module, job: Job) -> torch.optim.Optimizer:
    settings, tricks = job.training, job.tricks
    if tricks.optimizer == "adamw":
        optimizer = make_optimizer(network, settings)
        for group in optimizer.param_groups:
            group["betas"] = (0.9, tricks.beta2)
    else:
        optimizer = create_optimizer_v2(
            network,
            opt=tricks.optimizer,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
    if tricks.mixer_rate != 1.0:
        branch = {
            id(parameter)
            for name, parameter in network.named_parameters()
            if ".mixer." in name or name.endswith(("gamma_1", ".norm1.weight", ".norm1.bias"))
        }
        for group in list(optimizer.param_groups):
            faster = [p for p in group["params"] if id(p) in branch]
            if faster:
                group["params"] = [p for p in group["params"] if id(p) not in branch]
                rest = {k: v for k, v in group.items() if k != "params"}
                optimizer.add_param_group({**rest, "params": faster, "factor": tricks.mixer_rate})
    return optimizer


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
