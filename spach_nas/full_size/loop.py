"""The loop of one worker: steps, epochs, scores, checkpoints.

Whatever is drawn at random depends on the seed, the epoch and the step alone. So a training that
goes on from a checkpoint goes exactly as one that was never interrupted.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
import torch.distributed as dist
from torch import Tensor, nn

from spach_nas.data.reader import OpenData, open_data
from spach_nas.files import room_needed
from spach_nas.full_size.job import Job, Place
from spach_nas.full_size.loaders import Batch
from spach_nas.full_size.run_folder import EpochLine, Now, ProgressFile, read_curve, write_curve
from spach_nas.full_size.worker import Worker, make_worker
from spach_nas.training.checkpoint import (
    BEST,
    LAST,
    NETWORK,
    Best,
    Position,
    load_state,
    save_state,
)
from spach_nas.training.learner import Part
from spach_nas.training.schedule import learning_rate
from spach_nas.training.scoring import Scores, score_batches
from spach_nas.training.seeds import derive_seed, seed_everything

# Called after every step with epoch and step, both from 0.
OnStep = Callable[[int, int], None]


def train_worker(
    job: Job,
    *,
    place: Place | None = None,
    threads: int | None = None,
    data: OpenData | None = None,
    on_step: OnStep | None = None,
) -> None:
    """Train from the last checkpoint in the job's folder, or from the beginning, to the end.

    Args:
        job: The training.
        place: Which worker this is; None: the only one.
        threads: Of the host; None: as many as torch has.
        data: Its images; None: they are opened.
        on_step: Called after every step.

    Raises:
        ConfigError: This machine has no such device, or there are too few images.
        DataError: Images are missing, cannot be read or do not fit into memory.
        StudyError: The disk is full; the last checkpoint stays good.
    """
    place = place or Place()
    worker = make_worker(job, data or open_data(job.data), place=place, threads=threads)
    with room_needed(job.folder):
        Course(worker, on_step=on_step).run()


@dataclass(slots=True)
class _Clock:
    started: float
    images: int = 0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def rate(self) -> float:
        return self.images / max(self.seconds, 1e-9)


class Course:
    """The epochs of one worker, from where its checkpoint is to the end."""

    def __init__(self, worker: Worker, *, on_step: OnStep | None) -> None:
        self._worker, self._on_step = worker, on_step
        self._recipe, self._folder = worker.job.recipe, worker.job.folder
        self._files = ProgressFile(self._folder)
        self._writes = worker.place.rank == 0
        self._steps = worker.batches.steps
        self._started = time.perf_counter()
        self._before = 0.0
        self._scoring = 0.0

    def run(self) -> None:
        """Train to the end of the recipe, or until it is stopped."""
        position = self._begin()
        self._before = position.seconds
        while position.epoch < self._recipe.epochs:
            position = self._epoch(position)
            if not math.isfinite(position.loss):
                self._tell(Now(phase="diverged", epoch=position.epoch))
                return
        self._tell(Now(phase="ended", epoch=position.epoch))

    def _begin(self) -> Position:
        path = self._folder / LAST
        if not path.is_file():
            return Position()
        tensors, position = load_state(path)
        self._worker.restore(tensors)
        if self._writes:
            # An epoch that was scored, but whose checkpoint was not written, comes again.
            kept = [line for line in read_curve(self._folder) if line.epoch <= position.epoch]
            write_curve(self._folder, kept)
        return position

    def _epoch(self, position: Position) -> Position:
        """One epoch, from wherever `position` is in it."""
        epoch, started = position.epoch, time.perf_counter()
        # Sums of the other workers are in the first one's.
        before = position.loss if self._writes else 0.0
        total = torch.tensor(before, dtype=torch.float64, device=self._worker.runtime.device)
        clock = _Clock(time.perf_counter())
        self._worker.learner.model.train()
        parts = self._worker.batches.epoch(epoch, first_step=position.step)
        for step in range(position.step, self._steps):
            total += self._step(epoch, step, islice(parts, self._recipe.accumulation))
            clock.images += self._recipe.batch_size
            if self._on_step is not None:
                self._on_step(epoch, step)
            if self._writes and self._files.due:
                self._tell_step(epoch, step, total, clock)
            every = self._recipe.checkpoint_steps
            if every and (step + 1) % every == 0 and step + 1 < self._steps:
                here = replace(position, step=step + 1, loss=self._sum(total))
                self._save(here)
        loss = self._sum(total) / (self._steps * self._worker.place.world)
        rate = clock.rate
        if not math.isfinite(loss):
            return replace(position, epoch=epoch + 1, loss=loss)
        line, best = self._score(epoch, loss=loss, best=position.best)
        line = replace(line, images_per_s=rate, seconds=time.perf_counter() - started)
        position = Position(epoch=epoch + 1, best=best)
        if self._writes:
            write_curve(self._folder, [*read_curve(self._folder), line])
        self._save(position)
        return position

    def _step(self, epoch: int, step: int, parts: Iterator[Batch]) -> Tensor:
        """One step of the optimizer; the mean loss of this worker's images."""
        number = epoch * self._steps + step
        return self._worker.learner.step(
            self._parts(epoch, step, parts),
            number=number,
            rate=learning_rate(self._worker.schedule, number),
        )

    def _parts(self, epoch: int, step: int, parts: Iterator[Batch]) -> Iterator[Part]:
        worker, recipe = self._worker, self._recipe
        for index, (images, labels) in enumerate(parts):
            purpose = f"step {step} part {index} worker {worker.place.rank}"
            seed_everything(derive_seed(recipe.seed, epoch, purpose), worker.runtime.device)
            images, labels = worker.mixer(images, labels)
            yield Part(
                images=images,
                labels=labels,
                share=1 / recipe.accumulation,
                last=index + 1 == recipe.accumulation,
            )

    def _sum(self, total: Tensor) -> float:
        """Over the steps so far and all workers."""
        total = total.clone()
        if self._worker.place.world > 1:
            dist.all_reduce(total)
        return float(total)

    def _score(
        self, epoch: int, *, loss: float, best: Best | None
    ) -> tuple[EpochLine, Best | None]:
        worker, started = self._worker, time.perf_counter()
        rate = float(worker.learner.optimizer.param_groups[0]["lr"])
        line = EpochLine(epoch=epoch + 1, loss=loss, learning_rate=rate)
        if worker.scored is None:
            return line, best
        self._tell(Now(phase="scoring", epoch=epoch + 1, step=self._steps, loss=loss))
        own = self._scores(worker.learner.network)
        line = replace(line, top1=own.top1, top5=own.top5, validation_loss=own.loss)
        if worker.learner.ema is not None:
            average = self._scores(worker.learner.ema.module)
            line = replace(
                line, ema_top1=average.top1, ema_top5=average.top5, ema_loss=average.loss
            )
        self._scoring = time.perf_counter() - started
        return line, self._keep_best(line, best)

    def _scores(self, network: nn.Module) -> Scores:
        worker = self._worker
        assert worker.scored is not None
        return score_batches(
            network, worker.scored, classes=len(worker.job.class_names), runtime=worker.runtime
        )

    def _keep_best(self, line: EpochLine, best: Best | None) -> Best | None:
        top1 = line.best_top1
        assert top1 is not None
        if best is not None and top1 <= best.top1:
            return best
        averaged = line.ema_top1 is not None and line.ema_top1 == top1
        best = Best(top1=top1, epoch=line.epoch, averaged=averaged)
        if self._writes:
            learner = self._worker.learner
            network = learner.ema.module if averaged and learner.ema else learner.network
            tensors = {NETWORK + name: value for name, value in network.state_dict().items()}
            save_state(self._folder / BEST, tensors, Position(epoch=line.epoch, best=best))
        return best

    def _save(self, position: Position) -> None:
        if self._writes:
            here = replace(position, seconds=self._seconds)
            save_state(self._folder / LAST, self._worker.tensors(), here)

    @property
    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._started

    def _tell_step(self, epoch: int, step: int, total: Tensor, clock: _Clock) -> None:
        left = (self._recipe.epochs - epoch) * self._steps - step - 1
        pace = clock.seconds / max(1, clock.images // self._recipe.batch_size)
        self._tell(
            Now(
                phase="training",
                epoch=epoch + 1,
                step=step + 1,
                loss=float(total) / (step + 1),
                images_per_s=clock.rate,
                time_left=left * pace + (self._recipe.epochs - epoch) * self._scoring,
            )
        )

    def _tell(self, now: Now) -> None:
        if self._writes:
            self._files.write(
                replace(now, epochs=self._recipe.epochs, steps=self._steps, seconds=self._seconds)
            )
