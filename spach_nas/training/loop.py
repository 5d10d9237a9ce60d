"""One training run: a network and data in, its curve out.

All that a run draws at random depends on (seed, epoch) alone, and the learning rate on the step of
the whole training. So a run that goes on from the weights and the optimizer's state at the end of
an epoch goes exactly as the uninterrupted one.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from spach_nas.config.evaluation import Epoch, Fidelity
from spach_nas.config.training_settings import TrainingSettings
from spach_nas.data import DataSplits
from spach_nas.training.batches import LoadedSet, batch, draw_moves, load
from spach_nas.training.device import Runtime
from spach_nas.training.learner import Learner, parts_of
from spach_nas.training.optimizer import make_optimizer, optimizer_state, restore_optimizer
from spach_nas.training.schedule import (
    Leg,
    Schedule,
    learning_rate,
    leg_of,
    make_legs,
    make_schedule,
    total_steps,
)
from spach_nas.training.scoring import BATCH, predict, score
from spach_nas.training.seeds import derive_seed, global_seed

# Told before the first step and after each: epochs of the course that are done, with a fraction,
# and the images of that step.
Tell = Callable[[float, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """Where a training stands, without the weights of its network.

    Attributes:
        epochs: Epochs done.
        optimizer: Its state by names, as `optimizer_state` gives it.
    """

    epochs: int = 0
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """What came of a training.

    Attributes:
        curve: One entry a finished epoch of this run.
        scores: `accuracy` and `loss` on the validation part after the last epoch; empty for a
            training that diverged.
        state: From which it can go on.
        diverged: Why it ended early; None for a training that reached its last epoch.
    """

    curve: tuple[Epoch, ...]
    scores: Mapping[str, float] = field(default_factory=dict)
    state: TrainingState = field(default_factory=TrainingState)
    diverged: str | None = None


def train(
    network: nn.Module,
    splits: DataSplits,
    *,
    settings: TrainingSettings,
    fidelity: Fidelity,
    seed: int,
    runtime: Runtime,
    course: Sequence[Fidelity] = (),
    start: TrainingState | None = None,
    micro_batch: int | None = None,
    tell: Tell = lambda *_: None,
) -> TrainingResult:
    """Train `network` in place up to a fidelity and score it after every epoch.

    Args:
        network: (B, C, H, W) -> (B, K), on the device of the runtime.
        splits: What to train on and what to score on.
        settings: The protocol; its `epochs` and `data_share` give way to those of the course.
        fidelity: The rung at which to end.
        seed: Of the order of images, augmentation and dropped paths; 0 or more.
        runtime: Where to run.
        course: All rungs of the training, cheapest first; the learning rate spans them all.
            Empty: the fidelity is all of it.
        start: Where the weights of the network come from; None: from the beginning. Without an
            epoch to go it is scored.
        micro_batch: Most images at once in memory. A larger batch is trained in parts whose
            gradients add up to those of the batch, up to rounding. Two exceptions: a
            BatchNorm takes its statistics from each part, and dropped paths differ.
        tell: Told how far it is; the training does not depend on it.
    """
    start = start or TrainingState()
    course = course or (fidelity,)
    assert fidelity.epochs <= course[-1].epochs, "a fidelity is a rung of its course"
    if settings.compile:
        _compile(network)
    legs = make_legs(course, splits.train.labels, batch_size=settings.batch_size)
    optimizer = make_optimizer(
        network,
        name=settings.optimizer,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    restore_optimizer(optimizer, network, state=start.optimizer)
    run = _Run(
        learner=Learner(
            network=network,
            model=network,
            optimizer=optimizer,
            runtime=runtime,
            label_smoothing=settings.label_smoothing,
        ),
        schedule=make_schedule(
            peak=settings.learning_rate,
            steps=total_steps(legs),
            warmup_share=settings.warmup_share,
        ),
        data=load(splits.train, splits.normalisation, runtime=runtime),
        validation=load(splits.validation, splits.normalisation, runtime=runtime),
        legs=legs,
        settings=settings,
        seed=seed,
        runtime=runtime,
        micro_batch=micro_batch,
        tell=tell,
    )
    curve: list[Epoch] = []
    tell(start.epochs, 0)
    for number in range(start.epochs, fidelity.epochs):
        epoch = _epoch(run, number)
        if not (math.isfinite(epoch.train_loss) and math.isfinite(epoch.loss)):
            reason = f"the loss is not finite after epoch {number + 1}"
            return TrainingResult(curve=tuple(curve), diverged=reason)
        curve.append(epoch)
    last = curve[-1] if curve else None
    return TrainingResult(
        curve=tuple(curve),
        scores={"accuracy": last.accuracy, "loss": last.loss} if last else _scores(run),
        state=TrainingState(epochs=fidelity.epochs, optimizer=optimizer_state(optimizer, network)),
    )


def _compile(network: nn.Module) -> None:
    # Forgets the networks before: several candidates of one process would run into the limit on
    # variants of one function, and be left uncompiled from there on.
    torch.compiler.reset()
    # In place: the names of the weights stay, which those of `torch.compile(network)` would not.
    network.compile()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    # What stays the same over the epochs.
    learner: Learner
    schedule: Schedule
    data: LoadedSet
    validation: LoadedSet
    legs: tuple[Leg, ...]
    settings: TrainingSettings
    seed: int
    runtime: Runtime
    micro_batch: int | None
    tell: Tell


def _epoch(run: _Run, number: int) -> Epoch:
    """Train and score an epoch."""
    started, cpu_started = time.perf_counter(), time.process_time()
    train_loss = _train_epoch(run, number)
    scores = _scores(run)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return Epoch(
        train_loss=train_loss,
        seconds=seconds,
        cpu_seconds=cpu_seconds if run.runtime.device.type == "cpu" else None,
        **scores,
    )


def _scores(run: _Run) -> dict[str, float]:
    size = BATCH if run.micro_batch is None else min(BATCH, run.micro_batch)
    logits = predict(run.learner.network, run.validation, runtime=run.runtime, batch_size=size)
    return score(logits, run.validation.labels)


def _train_epoch(run: _Run, epoch: int) -> float:
    """One pass over the images of the epoch; returns the mean loss."""
    size, leg = run.settings.batch_size, leg_of(run.legs, epoch)
    first_step = leg.first_step + (epoch - leg.first) * leg.steps
    generator = torch.Generator().manual_seed(derive_seed(run.seed, epoch, "images"))
    order = leg.chosen[torch.randperm(len(leg.chosen), generator=generator)]
    order = order.to(run.data.images.device)
    moves = draw_moves(len(order), run.settings.augmentation, generator=generator)
    moves = moves.on(run.runtime.device)
    total = torch.zeros((), device=run.runtime.device)
    run.learner.model.train()
    with global_seed(derive_seed(run.seed, epoch, "paths"), run.runtime):
        for step in range(leg.steps):
            part = slice(step * size, (step + 1) * size)
            images, labels = batch(run.data, order[part], moves.of(part))
            total += run.learner.step(
                parts_of(images, labels, run.micro_batch),
                number=first_step + step,
                rate=learning_rate(run.schedule, first_step + step),
            )
            run.tell(epoch + (step + 1) / leg.steps, len(labels))
    return float(total / leg.steps)
