"""A whole training: from the plan to a folder with curve, checkpoints and a bundle."""

import threading
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.torch import save

from spach_nas.config.recipe import HERE, recipe_text
from spach_nas.data.decoding import evenly
from spach_nas.data.images import Pixels
from spach_nas.errors import DataError, StudyError
from spach_nas.export import Choice, export
from spach_nas.export.samples import BATCHES
from spach_nas.export.timm_bundle import write_timm_bundle
from spach_nas.files import locked, room_needed, staged, write_durably
from spach_nas.full_size.run_folder import (
    RUN_JSON,
    Job,
    read_curve,
    run_text,
    teacher_file,
    training_section,
)
from spach_nas.full_size.training_plan import TrainingPlan
from spach_nas.full_size.worker import initial_file, train_worker
from spach_nas.search.loggers import LogEntry, Loggers, named_loggers
from spach_nas.space.mixers import plugin_mixers
from spach_nas.space.timm_reference import TimmModel
from spach_nas.training.checkpoint import BEST, EMA, LAST, NETWORK, load_state, with_prefix

BUNDLE = "bundle"
RECIPE = "recipe.yaml"
ARCHITECTURE = "architecture.yaml"
# Between two looks at the curve for the loggers.
_SECONDS = 1.0


def run_training(plan: TrainingPlan) -> Path:
    """Train to the end and write the bundle.

    Returns:
        The bundle.

    Raises:
        SpachNasError: The training diverged, the disk is full, or a worker found a mistake.
    """
    job = plan.job
    prepare(plan)
    with locked(job.folder), room_needed(job.folder):
        if _epochs_done(job) < job.recipe.epochs:
            _train(plan)
        done = _epochs_done(job)
        if done < job.recipe.epochs:
            raise StudyError(
                f"{job.folder}: the loss is not finite after epoch {done + 1}; expected a lower "
                "optimizer.learning_rate, a longer schedule.warmup_epochs, or optimizer.clip_norm"
            )
        return finish(plan)


def _epochs_done(job: Job) -> int:
    path = job.folder / LAST
    return load_state(path)[1].epoch if path.is_file() else 0


def prepare(plan: TrainingPlan) -> None:
    """Make the folder of a training, or update the recipe in one that is resumed.

    Raises:
        BundleError: It cannot be written.
    """
    job = plan.job
    if plan.resumed:
        write_durably(job.folder / RECIPE, recipe_text(job.recipe).encode())
        return
    with staged(job.folder) as folder:
        (folder / RECIPE).write_text(recipe_text(job.recipe), encoding="utf-8")
        if not isinstance(job.architecture, TimmModel):
            (folder / ARCHITECTURE).write_text(job.architecture.to_yaml(), encoding="utf-8")
        (folder / RUN_JSON).write_text(run_text(job, plan.data), encoding="utf-8")
        if plan.weights is not None:
            initial_file(folder).write_bytes(plan.weights)
        if plan.teacher is not None:
            teacher_file(folder).write_bytes(plan.teacher)


def _train(plan: TrainingPlan) -> None:
    job = plan.job
    resources = job.recipe.resources
    if resources.address == HERE:
        cpus = resources.cpus_per_worker
        with CurveLoggers(job):
            train_worker(job, data=plan.data, threads=None if cpus == "auto" else int(cpus))
        return
    from spach_nas.full_size.ray_train import train_on_ray

    train_on_ray(job, mixers=plugin_mixers(job.mixers), within=CurveLoggers(job))


def finish(plan: TrainingPlan) -> Path:
    """Write the bundle of a finished training unless it exists, and return its path."""
    job = plan.job
    bundle = job.folder / BUNDLE
    if bundle.exists():
        return bundle
    training = training_section(job, read_curve(job.folder))
    if isinstance(job.architecture, TimmModel):
        return write_timm_bundle(
            bundle,
            job.architecture,
            weights=final_weights(plan),
            preprocessing=job.preprocessing,
            training=training,
        )
    choice = Choice(
        architecture=job.architecture,
        name=job.name,
        weights=final_weights(plan),
        preprocessing=job.preprocessing,
        training=training,
        samples=_samples(plan),
    )
    return export(choice, out=bundle)


def _samples(plan: TrainingPlan) -> Pixels | None:
    """A few images for the bundle, of the validation images if there are any."""
    pictures = plan.data.validation or plan.data.train
    some = pictures.take(np.array(evenly(len(pictures), sum(BATCHES)), dtype=np.int64))
    try:
        return some.in_memory(plan.job.architecture.image_size).images
    except DataError:  # deleted meanwhile, which must not cost the finished training
        return None


def final_weights(plan: TrainingPlan) -> bytes:
    """The best or the last weights, as the recipe says, as safetensors."""
    folder = plan.job.folder
    best = folder / BEST
    tensors, _ = load_state(
        best if plan.job.recipe.final == "best" and best.is_file() else folder / LAST
    )
    weights = with_prefix(tensors, EMA) or with_prefix(tensors, NETWORK)
    return save(weights)


class CurveLoggers:
    """Sends the curve to the loggers that the recipe names, inside a `with` block.

    A thread reads the curve and hands each new epoch on.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._name = job, job.folder.name
        makers = named_loggers(job.recipe.loggers)
        self._loggers = Loggers(makers, study=self._name, folder=job.folder, key="loggers")
        self._run_id = self._loggers.run_id(self._name)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="curve", daemon=True)
        self._seen = len(read_curve(job.folder))

    def __enter__(self) -> None:
        if self._job.recipe.loggers:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._job.recipe.loggers:
            self._thread.join()
            self._loggers.close()

    def _follow(self) -> None:
        while not self._ended.wait(_SECONDS):
            self._log_new()
        self._log_new()

    def _log_new(self) -> None:
        curve = read_curve(self._job.folder)
        for line in curve[self._seen :]:
            figures = {name: value for name, value in asdict(line).items() if value is not None}
            del figures["epoch"]
            self._loggers.log(
                LogEntry(
                    run=self._name,
                    run_id=self._run_id,
                    params=self._params(),
                    epoch=line.epoch,
                    figures=figures,
                )
            )
        self._seen = len(curve)

    def _params(self) -> dict[str, str | int | float]:
        job = self._job
        return {
            "arch_id": job.architecture.arch_id,
            "architecture": str(job.architecture),
            "epochs": job.recipe.epochs,
            "batch_size": job.recipe.batch_size,
            "learning_rate": job.recipe.peak_rate,
            "seed": job.recipe.seed,
        }
