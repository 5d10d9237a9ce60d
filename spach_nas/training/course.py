"""The training of a proxy: a course over the rungs of a search, on images in memory.

A proxy's recipe is short (`TrainingSettings`), and its training is the loop of any other one.
"""

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from spach_nas.config.evaluation import Epoch, Fidelity
from spach_nas.config.training_settings import Augmentation, TrainingSettings
from spach_nas.data import DataSplits
from spach_nas.training.batches import LoadedSet, batch, draw_moves, load
from spach_nas.training.checkpoint import Position, TrainingState
from spach_nas.training.device import Runtime
from spach_nas.training.distillation import Teacher
from spach_nas.training.learner import Part, make_learner, parts_of
from spach_nas.training.loop import EpochBatches, Training
from spach_nas.training.optimizer import optimizer_state, restore_optimizer
from spach_nas.training.schedule import Leg, leg_of, make_legs, make_schedule, total_steps
from spach_nas.training.scoring import BATCH, predict, score
from spach_nas.training.seeds import derive_seed, global_seed

# Told before the first step and after each: epochs of the course that are done, with a fraction,
# and the images of that step.
Tell = Callable[[float, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingResult:
    """Outcome of the training of a proxy.

    Attributes:
        curve: One entry per finished epoch of this run.
        scores: `accuracy` and `loss` on the validation part after the last epoch; empty for a
            training that diverged.
        state: From which it can continue.
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
    teacher: Teacher | None = None,
    tell: Tell = lambda *_: None,
) -> TrainingResult:
    """Train `network` in place up to a fidelity and score it after every epoch.

    Args:
        network: (B, C, H, W) -> (B, K), on the device of the runtime.
        splits: What to train on and what to score on.
        settings: The protocol; the course replaces its `epochs` and `data_share`.
        fidelity: The rung at which to end.
        seed: Of the order of images, augmentation and dropped paths; 0 or more.
        runtime: Where to run.
        course: All rungs of the training, cheapest first; the learning rate spans them all.
            Empty: the fidelity is all of it.
        start: Where the weights of the network come from; None: from the beginning. If no epoch is
            left, the network is only scored.
        micro_batch: Most images at once in memory. A larger batch is trained in parts whose
            gradients add up to those of the batch, up to rounding. Two exceptions: a
            BatchNorm takes its statistics from each part, and dropped paths differ.
        teacher: A trained network to agree with; None: there is none.
        tell: Told the progress; the training does not depend on it.
    """
    start = start or TrainingState()
    course = course or (fidelity,)
    assert fidelity.epochs <= course[-1].epochs, "a fidelity is a rung of its course"
    legs = make_legs(course, splits.train.labels, batch_size=settings.batch_size)
    learner = make_learner(
        network,
        optimizer=settings.optimizer_settings,
        runtime=runtime,
        label_smoothing=settings.label_smoothing,
        teacher=teacher,
        compiled=settings.compile,
    )
    restore_optimizer(learner.optimizer, network, state=start.optimizer)
    validation = load(splits.validation, splits.normalisation, runtime=runtime)

    def scores(network: nn.Module) -> Mapping[str, float]:
        size = BATCH if micro_batch is None else min(BATCH, micro_batch)
        logits = predict(network, validation, runtime=runtime, batch_size=size)
        return score(logits, validation.labels)

    training = Training(
        learner=learner,
        batches=_CourseBatches(
            data=load(splits.train, splits.normalisation, runtime=runtime),
            legs=legs,
            batch_size=settings.batch_size,
            augmentation=settings.augmentation,
            seed=seed,
            runtime=runtime,
            micro_batch=micro_batch,
        ),
        schedule=make_schedule(
            peak=settings.learning_rate,
            steps=total_steps(legs),
            warmup_share=settings.warmup_share,
        ),
        score=scores,
        on_step=lambda now: tell(now.epoch + now.step / now.steps, now.images),
        # As in the records of all studies so far.
        loss_format=torch.float32,
    )
    curve: list[Epoch] = []
    last: Mapping[str, float] = {}
    tell(start.epochs, 0)
    for report in training.epochs(Position(epoch=start.epochs), stop=fidelity.epochs):
        last = report.scores
        if not (math.isfinite(report.loss) and math.isfinite(last["loss"])):
            reason = f"the loss is not finite after epoch {report.epoch}"
            return TrainingResult(curve=tuple(curve), diverged=reason)
        curve.append(
            Epoch(
                train_loss=report.loss,
                seconds=report.seconds,
                cpu_seconds=report.cpu_seconds,
                loss=last["loss"],
                accuracy=last["accuracy"],
            )
        )
    return TrainingResult(
        curve=tuple(curve),
        scores=last or scores(network),
        state=TrainingState(
            epochs=fidelity.epochs, optimizer=optimizer_state(learner.optimizer, network)
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _CourseBatches:
    # The batches of each epoch of a course.
    data: LoadedSet
    legs: tuple[Leg, ...]
    batch_size: int
    augmentation: Augmentation
    seed: int
    runtime: Runtime
    micro_batch: int | None

    def __call__(self, epoch: int, first_step: int) -> EpochBatches:
        assert first_step == 0, "a proxy's checkpoint is that of a whole epoch"
        leg = leg_of(self.legs, epoch)
        return EpochBatches(
            batches=self._batches(epoch, leg),
            steps=leg.steps,
            first_step=leg.first_step + (epoch - leg.first) * leg.steps,
            images=min(self.batch_size, len(leg.chosen)),
        )

    def _batches(self, epoch: int, leg: Leg) -> Generator[Iterable[Part], None, None]:
        size = self.batch_size
        generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch, "images"))
        order = leg.chosen[torch.randperm(len(leg.chosen), generator=generator)]
        order = order.to(self.data.images.device)
        moves = draw_moves(len(order), self.augmentation, generator=generator)
        moves = moves.on(self.runtime.device)
        with global_seed(derive_seed(self.seed, epoch, "paths"), self.runtime):
            for step in range(leg.steps):
                part = slice(step * size, (step + 1) * size)
                images, labels = batch(self.data, order[part], moves.of(part))
                yield parts_of(images, labels, self.micro_batch)
