"""One training run: a network and data in, its curve out.

All that a run draws at random depends on (seed, epoch) alone, and the learning rate on the step of
the whole training. So a run that goes on from the weights and the optimizer's state at the end of
an epoch goes exactly as the uninterrupted one.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from spach_nas.data import DataSplits
from spach_nas.data.splits import nested_share
from spach_nas.evaluation import Epoch, Fidelity
from spach_nas.settings import TrainingSettings
from spach_nas.training.batches import LoadedSet, batch, draw_moves, load
from spach_nas.training.device import Runtime, autocast
from spach_nas.training.predict import predict, score
from spach_nas.training.schedule import Schedule, learning_rate, make_schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """What came of a training.

    Attributes:
        curve: One entry a finished epoch.
        diverged: Why it ended early; None for a training that reached its last epoch.
    """

    curve: tuple[Epoch, ...]
    diverged: str | None = None


def train(
    network: nn.Module,
    splits: DataSplits,
    *,
    settings: TrainingSettings,
    fidelity: Fidelity,
    seed: int,
    runtime: Runtime,
) -> TrainingResult:
    """Train `network` in place and score it after every epoch.

    Args:
        network: (B, C, H, W) -> (B, K), on the device of the runtime.
        splits: What to train on and what to score on.
        settings: The protocol; its `epochs` and `data_share` give way to those of the fidelity.
        fidelity: How long and on how much of the train part.
        seed: Of the order of images, augmentation and dropped paths; 0 or more.
        runtime: Where to run.
    """
    if settings.compile:
        _compile(network)
    run = _prepare(network, splits, settings, fidelity, seed, runtime)
    validation = load(splits.validation, splits.normalisation, runtime=runtime)
    curve: list[Epoch] = []
    for epoch in range(fidelity.epochs):
        started = time.perf_counter()
        train_loss = _train_epoch(run, epoch)
        scores = score(predict(network, validation, runtime=runtime), validation.labels)
        if not (math.isfinite(train_loss) and math.isfinite(scores["loss"])):
            reason = f"the loss is not finite after epoch {epoch + 1}"
            return TrainingResult(curve=tuple(curve), diverged=reason)
        seconds = time.perf_counter() - started
        curve.append(Epoch(train_loss=train_loss, seconds=seconds, **scores))
    return TrainingResult(curve=tuple(curve))


def _compile(network: nn.Module) -> None:
    # Forgets the networks before: several candidates of one process would run into the limit on
    # variants of one function, and be left uncompiled from there on.
    torch.compiler.reset()
    # In place: the names of the weights stay, which those of `torch.compile(network)` would not.
    network.compile()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    # What stays the same over the epochs; `chosen` are the indices of the share that is used.
    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    data: LoadedSet
    chosen: Tensor
    settings: TrainingSettings
    seed: int
    runtime: Runtime


def _prepare(
    network: nn.Module,
    splits: DataSplits,
    settings: TrainingSettings,
    fidelity: Fidelity,
    seed: int,
    runtime: Runtime,
) -> _Run:
    chosen = torch.from_numpy(nested_share(splits.train.labels, fidelity.data_share))
    schedule = make_schedule(
        peak=settings.learning_rate,
        steps=fidelity.epochs * steps_per_epoch(len(chosen), settings.batch_size),
        warmup_share=settings.warmup_share,
    )
    return _Run(
        network=network,
        optimizer=make_optimizer(network, settings),
        schedule=schedule,
        data=load(splits.train, splits.normalisation, runtime=runtime),
        chosen=chosen,
        settings=settings,
        seed=seed,
        runtime=runtime,
    )


def _train_epoch(run: _Run, epoch: int) -> float:
    """One pass over the chosen images; returns the mean loss."""
    size = run.settings.batch_size
    steps = steps_per_epoch(len(run.chosen), size)
    generator = torch.Generator().manual_seed(derive_seed(run.seed, epoch, "images"))
    order = run.chosen[torch.randperm(len(run.chosen), generator=generator)]
    order = order.to(run.data.images.device)
    moves = draw_moves(len(order), run.settings.augmentation, generator=generator)
    moves = moves.on(run.runtime.device)
    total = torch.zeros((), device=run.runtime.device)
    run.network.train()
    with global_seed(derive_seed(run.seed, epoch, "paths"), run.runtime):
        for step in range(steps):
            part = slice(step * size, (step + 1) * size)
            images, labels = batch(run.data, order[part], moves.of(part))
            # Kept on the device: reading it here would make the host wait in every step.
            total += _step(
                run, images, labels, rate=learning_rate(run.schedule, epoch * steps + step)
            )
    return float(total / steps)


def _step(run: _Run, images: Tensor, labels: Tensor, *, rate: float) -> Tensor:
    with autocast(run.runtime):
        logits = run.network(images)
    smoothing = run.settings.label_smoothing
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.step()
    return loss.detach()


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Full batches in `images`; a single smaller one where there is no full one.

    The rest is left out of an epoch, and is another rest in every one.
    """
    return max(1, images // batch_size)


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW; norms, biases and what `network.no_weight_decay()` names are not decayed."""
    exempt: set[str] = getattr(network, "no_weight_decay", set)()
    groups = param_groups_weight_decay(
        network, settings.weight_decay, no_weight_decay_list=tuple(exempt)
    )
    device = next(network.parameters()).device.type
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, fused=device in ("cpu", "cuda", "mps")
    )


def derive_seed(seed: int, epoch: int, purpose: str) -> int:
    """A seed of its own for each purpose and epoch of a run."""
    entropy = (seed, epoch, *purpose.encode())
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def global_seed(seed: int, runtime: Runtime) -> Iterator[None]:
    """Seed torch's global generators, which dropped paths and initial weights draw from.

    Their state is the caller's again afterwards.
    """
    cuda = [runtime.device] if runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
