"""One worker of a training at full size: its setup, and the files that it writes on the way."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from torch import nn

from spach_nas.config.recipe import Recipe
from spach_nas.data.reader import OpenData, open_data
from spach_nas.files import room_needed
from spach_nas.full_size.run_folder import (
    EpochLine,
    Job,
    Now,
    ProgressFile,
    read_curve,
    teacher_file,
    write_curve,
)
from spach_nas.machine import cores, keep_freed_memory
from spach_nas.networks.timm_networks import build_any
from spach_nas.training import Runtime, choose_runtime, global_seed, move
from spach_nas.training.checkpoint import (
    BEST,
    LAST,
    NETWORK,
    Best,
    Position,
    learner_tensors,
    load_state,
    restore_learner,
    save_state,
)
from spach_nas.training.distillation import Teacher
from spach_nas.training.learner import Place, make_learner
from spach_nas.training.loaders import RecipeBatches, scoring_batches
from spach_nas.training.loop import EpochReport, StepReport, Training, over_workers
from spach_nas.training.schedule import Schedule
from spach_nas.training.scoring import score_batches
from spach_nas.training.sealed_networks import open_teacher
from spach_nas.training.seeds import derive_seed

INITIAL = "initial.safetensors"
_MOST_PROCESSES = 16
# Called after every step with epoch and step, both from 0.
OnStep = Callable[[int, int], None]


def train_worker(
    job: Job,
    *,
    place: Place | None = None,
    threads: int | None = None,
    data: OpenData | None = None,
    on_step: OnStep = lambda *_: None,
) -> None:
    """Train from the last checkpoint in the job's folder, or from the beginning, to the end.

    Args:
        job: The training.
        place: Which worker this is; None: the only one.
        threads: Threads of the host; None: as many as torch has.
        data: Its images; None: they are opened.
        on_step: Called after every step.

    Raises:
        ConfigError: This machine has no such device, or there are too few images.
        DataError: Images are missing, cannot be read or do not fit into memory.
        StudyError: The disk is full; the last checkpoint stays good.
    """
    place = place or Place()
    training = make_training(job, data or open_data(job.data), place=place, threads=threads)
    with room_needed(job.folder):
        _Run(job, training, place=place, on_step=on_step).train()


def make_training(
    job: Job, data: OpenData, *, place: Place, threads: int | None = None
) -> Training:
    """Set up the training of a worker; if there are several, all must call this.

    Args:
        job: The training.
        data: Its images.
        place: Which worker this is.
        threads: Threads of the host; None: as many as torch has, but no more than there are cores.

    Raises:
        ConfigError: This machine has no such device, or there are too few images.
        DataError: Images do not fit into memory.
    """
    recipe = job.recipe
    # torch counts the cores of the machine, where a container may give fewer.
    torch.set_num_threads(threads or min(torch.get_num_threads(), cores()))
    keep_freed_memory()
    runtime = choose_runtime(device=recipe.device, precision=recipe.precision)
    asked = recipe.data.loader_processes
    processes = min(_MOST_PROCESSES, (threads or cores()) - 1) if asked == "auto" else asked
    batches = RecipeBatches(
        data.train,
        recipe,
        image_size=job.architecture.image_size,
        normalisation=job.normalisation,
        place=place,
        runtime=runtime,
        processes=processes,
    )
    changes = recipe.augmentation
    return Training(
        learner=make_learner(
            _network(job, runtime),
            optimizer=recipe.optimizer,
            runtime=runtime,
            # Mixed labels are smoothed already.
            label_smoothing=0.0 if changes.mixes else changes.label_smoothing,
            ema=recipe.ema,
            teacher=_teacher(job, runtime),
            compiled=recipe.compile,
            workers=place.world,
            sync_batch_norm=recipe.sync_batch_norm,
        ),
        batches=batches,
        schedule=_schedule(recipe, steps=batches.steps),
        score=_score(job, data, place=place, runtime=runtime, processes=processes),
    )


def _score(
    job: Job, data: OpenData, *, place: Place, runtime: Runtime, processes: int
) -> Callable[[nn.Module], Mapping[str, float]] | None:
    if data.validation is None:
        return None
    # Each image by one worker, none twice.
    share = data.validation.take(np.arange(place.rank, len(data.validation), place.world))
    batches = scoring_batches(
        share,
        preprocessing=job.preprocessing,
        image_size=job.architecture.image_size,
        runtime=runtime,
        batch_size=job.recipe.evaluation.batch_size,
        processes=processes,
    )

    def score(network: nn.Module) -> Mapping[str, float]:
        scores = score_batches(network, batches, classes=len(job.class_names), runtime=runtime)
        return {"top1": scores.top1, "top5": scores.top5, "loss": scores.loss}

    return score


def _schedule(recipe: Recipe, *, steps: int) -> Schedule:
    settings = recipe.schedule
    return Schedule(
        peak=recipe.peak_rate,
        steps=recipe.epochs * steps,
        warmup_steps=round(settings.warmup_epochs * steps),
        first=settings.warmup_from,
        final=settings.final,
    )


def _network(job: Job, runtime: Runtime) -> nn.Module:
    with global_seed(derive_seed(job.recipe.seed, 0, "weights"), runtime):
        network = build_any(job.architecture, drop_path_rate=job.recipe.drop_path)
    if job.initial:
        network.load_state_dict(load_tensors((job.folder / INITIAL).read_bytes()))
    move(network, runtime)
    return network


def _teacher(job: Job, runtime: Runtime) -> Teacher | None:
    settings = job.recipe.teacher
    if settings is None:
        return None
    return open_teacher(
        teacher_file(job.folder).read_bytes(),
        student=job.normalisation,
        temperature=settings.temperature,
        share=settings.share,
        runtime=runtime,
    )


def initial_file(folder: Path) -> Path:
    """The file with the initial weights."""
    return folder / INITIAL


class _Run:
    """Trains to the end, with checkpoints, curve and progress; only the first worker writes."""

    def __init__(self, job: Job, training: Training, *, place: Place, on_step: OnStep) -> None:
        self._job, self._recipe, self._folder = job, job.recipe, job.folder
        self._training = replace(training, on_step=self._after_step)
        self._learner = training.learner
        self._writes = place.rank == 0
        self._on_step = on_step
        self._progress = ProgressFile(job.folder)
        self._began = time.perf_counter()
        self._position = Position()
        self._before = 0.0
        self._scoring_seconds = 0.0

    def train(self) -> None:
        """Train from where the last checkpoint is."""
        self._begin()
        for report in self._training.epochs(self._position, stop=self._recipe.epochs):
            if not math.isfinite(report.loss):
                self._tell(Now(phase="diverged", epoch=report.epoch))
                return
            self._after_epoch(report)
        self._tell(Now(phase="ended", epoch=self._recipe.epochs))

    def _begin(self) -> None:
        path = self._folder / LAST
        if not path.is_file():
            return
        tensors, self._position = load_state(path)
        self._before = self._position.seconds
        restore_learner(self._learner, tensors)
        if self._writes:
            # An epoch whose checkpoint was not written is trained again.
            curve = read_curve(self._folder)
            write_curve(self._folder, [x for x in curve if x.epoch <= self._position.epoch])

    def _after_step(self, now: StepReport) -> None:
        self._on_step(now.epoch, now.step - 1)
        if self._writes and self._progress.due:
            self._tell_step(now)
        every = self._recipe.checkpoint_steps
        if now.step == now.steps:
            if self._training.score is not None:
                loss = float(now.loss) / now.steps
                self._tell(Now(phase="scoring", epoch=now.epoch + 1, step=now.step, loss=loss))
        elif every and now.step % every == 0:
            loss = float(over_workers(now.loss))
            self._save(replace(self._position, step=now.step, loss=loss))

    def _after_epoch(self, report: EpochReport) -> None:
        self._scoring_seconds = report.scoring_seconds
        own, average = report.scores, report.ema_scores
        line = EpochLine(
            epoch=report.epoch,
            loss=report.loss,
            top1=own.get("top1"),
            top5=own.get("top5"),
            validation_loss=own.get("loss"),
            ema_top1=average.get("top1"),
            ema_top5=average.get("top5"),
            ema_loss=average.get("loss"),
            learning_rate=report.learning_rate,
            images_per_s=report.images_per_s,
            seconds=report.seconds,
        )
        self._position = Position(epoch=line.epoch, best=self._keep_best(line))
        if self._writes:
            write_curve(self._folder, [*read_curve(self._folder), line])
        self._save(self._position)

    def _keep_best(self, line: EpochLine) -> Best | None:
        best, top1 = self._position.best, line.best_top1
        if top1 is None or (best is not None and top1 <= best.top1):
            return best
        averaged = line.ema_top1 == top1
        best = Best(top1=top1, epoch=line.epoch, averaged=averaged)
        if self._writes:
            ema = self._learner.ema
            network = ema.module if averaged and ema is not None else self._learner.network
            tensors = {NETWORK + name: value for name, value in network.state_dict().items()}
            save_state(self._folder / BEST, tensors, Position(epoch=line.epoch, best=best))
        return best

    def _save(self, position: Position) -> None:
        if self._writes:
            here = replace(position, seconds=self._seconds)
            save_state(self._folder / LAST, learner_tensors(self._learner), here)

    @property
    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._began

    def _tell_step(self, now: StepReport) -> None:
        epochs = self._recipe.epochs - now.epoch
        images = (epochs * now.steps - now.step) * now.images
        self._tell(
            Now(
                phase="training",
                epoch=now.epoch + 1,
                step=now.step,
                loss=float(now.loss) / now.step,
                images_per_s=now.images_per_s,
                time_left=images / now.images_per_s + epochs * self._scoring_seconds,
            )
        )

    def _tell(self, now: Now) -> None:
        if self._writes:
            epochs, steps = self._recipe.epochs, self._training.schedule.steps
            now = replace(now, epochs=epochs, steps=steps // epochs, seconds=self._seconds)
            self._progress.write(now)
