"""One training of the pilot.

Its parts are those of the package, so that a variant without tricks gives what a search gives.
Tricks are what the package has no key for.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import nn

from spach_nas.config.training_settings import DataSettings, TrainingSettings
from spach_nas.cost.closed_form import cost
from spach_nas.data import DataSplits, load_train_and_validation
from spach_nas.data.held_out import nested_share
from spach_nas.machine import keep_freed_memory
from spach_nas.networks import build
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.training import choose_runtime, global_seed, move
from spach_nas.training.batches import batch, draw_moves, load
from spach_nas.training.device import autocast
from spach_nas.training.optimizer import make_optimizer
from spach_nas.training.schedule import learning_rate, make_schedule
from spach_nas.training.scoring import predict, score
from spach_nas.training.seeds import derive_seed

SHAPE = DataShape(in_channels=1, num_classes=10)


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
        optimizer = make_optimizer(
            network,
            name=settings.optimizer,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
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
