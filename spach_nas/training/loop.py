"""The loop of a training, the same for a proxy and at full size: steps, epochs, scores.

What a training draws at random depends on its seed, the epoch and the step alone, and the learning
rate on the step of the whole training. So a training that continues from a checkpoint goes exactly
as one that was never stopped.
"""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from spach_nas.training.checkpoint import Position
from spach_nas.training.learner import Learner, Part
from spach_nas.training.schedule import Schedule, learning_rate


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochBatches:
    """The batches of one epoch.

    Attributes:
        batches: Each as its parts; a part is made when it is asked for. Closed at the end of the
            epoch, since they may hold the random state.
        steps: Steps of the whole epoch.
        first_step: Number of its first step in the whole training.
        images: Images per step, over all workers.
    """

    batches: Generator[Iterable[Part], None, None]
    steps: int
    first_step: int
    images: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """Where a training is after a step.

    Attributes:
        epoch: Epochs done.
        step: Steps done of the next one.
        steps: Steps of this epoch.
        images: Images of the step, over all workers.
        images_per_s: Over all workers, since this run began the epoch.
        loss: Sum of the mean losses of this worker's steps in this epoch, on the device; it changes
            with the next step.
    """

    epoch: int
    step: int
    steps: int
    images: int
    images_per_s: float
    loss: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """Figures of an epoch.

    Attributes:
        epoch: Epochs done, with this one.
        loss: Mean training loss over all workers; lower is better.
        learning_rate: Of the last step.
        images_per_s: Over all workers, without scoring.
        seconds: Duration of training and scoring.
        scoring_seconds: Duration of scoring.
        cpu_seconds: Processor time of training and scoring, on a CPU; None elsewhere.
        scores: Of the network, by name; empty where nothing is scored or the loss is not finite.
        ema_scores: The same for the averaged weights; empty without an average.
    """

    epoch: int
    loss: float
    learning_rate: float
    images_per_s: float
    seconds: float
    scoring_seconds: float
    cpu_seconds: float | None
    scores: Mapping[str, float] = field(default_factory=dict)
    ema_scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """A training: what is trained, on which images, at which rate.

    Attributes:
        learner: The network, which is trained in place.
        batches: This worker's share of the batches of an epoch, counted from 0, from a step on.
        schedule: The learning rate.
        score: Scores of a network by name; None: nothing is scored.
        on_step: Called after every step; the training does not depend on it.
        loss_format: Format in which the losses of an epoch are summed.
    """

    learner: Learner
    batches: Callable[[int, int], EpochBatches]
    schedule: Schedule
    score: Callable[[nn.Module], Mapping[str, float]] | None
    on_step: Callable[[StepReport], None] = lambda _: None
    loss_format: torch.dtype = torch.float64

    def epochs(self, start: Position, *, stop: int) -> Iterator[EpochReport]:
        """Train epoch by epoch; the next one begins when its report is asked for.

        Args:
            start: Where the weights and the state of the optimizer come from.
            stop: Epochs after which the training ends.
        """
        while start.epoch < stop:
            yield self._epoch(start)
            start = Position(epoch=start.epoch + 1)

    def _epoch(self, start: Position) -> EpochReport:
        learner = self.learner
        started, cpu_started = time.perf_counter(), time.process_time()
        loss, images_per_s = self._steps(start)
        trained = time.perf_counter()
        scores: Mapping[str, float] = {}
        ema_scores: Mapping[str, float] = {}
        if self.score is not None and math.isfinite(loss):
            scores = self.score(learner.network)
            ema_scores = {} if learner.ema is None else self.score(learner.ema.module)
        ended = time.perf_counter()
        on_cpu = learner.runtime.device.type == "cpu"
        return EpochReport(
            epoch=start.epoch + 1,
            loss=loss,
            learning_rate=float(learner.optimizer.param_groups[0]["lr"]),
            images_per_s=images_per_s,
            seconds=ended - started,
            scoring_seconds=ended - trained,
            cpu_seconds=time.process_time() - cpu_started if on_cpu else None,
            scores=scores,
            ema_scores=ema_scores,
        )

    def _steps(self, start: Position) -> tuple[float, float]:
        """The rest of an epoch; its mean loss over all workers, and images/s."""
        learner, data = self.learner, self.batches(start.epoch, start.step)
        # A sum in a checkpoint is that of all workers, so one of them takes it up.
        before = start.loss if not dist.is_initialized() or dist.get_rank() == 0 else 0.0
        total = torch.tensor(before, dtype=self.loss_format, device=learner.runtime.device)
        started = time.perf_counter()
        learner.model.train()
        with closing(data.batches) as batches:
            for step, parts in enumerate(batches, start=start.step):
                number = data.first_step + step
                rate = learning_rate(self.schedule, number)
                total += learner.step(parts, number=number, rate=rate)
                images = (step + 1 - start.step) * data.images
                self.on_step(
                    StepReport(
                        epoch=start.epoch,
                        step=step + 1,
                        steps=data.steps,
                        images=data.images,
                        images_per_s=images / max(time.perf_counter() - started, 1e-9),
                        loss=total,
                    )
                )
        workers = dist.get_world_size() if dist.is_initialized() else 1
        loss = float(over_workers(total) / (data.steps * workers))
        # Only now: the loss can be read when the device has done all steps.
        images = (data.steps - start.step) * data.images
        return loss, images / max(time.perf_counter() - started, 1e-9)


def over_workers(value: Tensor) -> Tensor:
    """The sum of a value over all workers, each of which must ask for it."""
    value = value.clone()
    if dist.is_initialized():
        dist.all_reduce(value)
    return value
