"""A whole training: from the plan to a folder with curve, checkpoints and a bundle."""

from pathlib import Path

import numpy as np
from safetensors.torch import save

from spach_nas.config.recipe import HERE, recipe_text
from spach_nas.data.decoding import evenly
from spach_nas.data.images import Pixels
from spach_nas.errors import DataError, StudyError
from spach_nas.export import Choice, export
from spach_nas.export.samples import BATCHES
from spach_nas.files import locked, room_needed, staged, write_durably
from spach_nas.full_size.job import Job
from spach_nas.full_size.loggers import CurveLoggers
from spach_nas.full_size.loop import train_worker
from spach_nas.full_size.plan import TrainingPlan
from spach_nas.full_size.run_folder import RUN_JSON, read_curve, run_text, training_section
from spach_nas.full_size.worker import initial_file
from spach_nas.space.mixers import plugin_mixers
from spach_nas.training.checkpoint import BEST, EMA, LAST, NETWORK, load_state, with_prefix

BUNDLE = "bundle"
RECIPE = "recipe.yaml"
ARCHITECTURE = "architecture.yaml"


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
    """Make the folder of a training, or leave the one that is there.

    Raises:
        BundleError: It cannot be written.
    """
    job = plan.job
    if plan.going_on:
        write_durably(job.folder / RECIPE, recipe_text(job.recipe).encode())
        return
    with staged(job.folder) as folder:
        (folder / RECIPE).write_text(recipe_text(job.recipe), encoding="utf-8")
        (folder / ARCHITECTURE).write_text(job.architecture.to_yaml(), encoding="utf-8")
        (folder / RUN_JSON).write_text(run_text(job, plan.data), encoding="utf-8")
        if plan.weights is not None:
            initial_file(folder).write_bytes(plan.weights)


def _train(plan: TrainingPlan) -> None:
    job = plan.job
    resources = job.recipe.resources
    if resources.address == HERE:
        cpus = resources.cpus_per_worker
        with CurveLoggers(job):
            train_worker(job, data=plan.data, threads=None if cpus == "auto" else int(cpus))
        return
    from spach_nas.full_size.ray_train import train_on_ray

    names = [name for stage in job.architecture.stages for name in stage.mixers]
    train_on_ray(job, mixers=plugin_mixers(names), beside=CurveLoggers(job))


def finish(plan: TrainingPlan) -> Path:
    """Write the bundle of a finished training, unless it is there.

    Returns:
        The bundle.
    """
    job = plan.job
    bundle = job.folder / BUNDLE
    if bundle.exists():
        return bundle
    choice = Choice(
        architecture=job.architecture,
        name=job.name,
        weights=final_weights(plan),
        preprocessing=job.preprocessing,
        training=training_section(job, read_curve(job.folder)),
        samples=_samples(plan),
    )
    return export(choice, out=bundle)


def _samples(plan: TrainingPlan) -> Pixels | None:
    """A few images for the bundle, of those that scored the network where there are any."""
    pictures = plan.data.validation or plan.data.train
    some = pictures.take(np.array(evenly(len(pictures), sum(BATCHES)), dtype=np.int64))
    try:
        return some.in_memory(plan.job.architecture.image_size).images
    except DataError:  # gone since: the training is done, and worth more
        return None


def final_weights(plan: TrainingPlan) -> bytes:
    """Those of the best validation top-1 or the last ones, as the recipe says, as safetensors."""
    folder = plan.job.folder
    best = folder / BEST
    tensors, _ = load_state(
        best if plan.job.recipe.final == "best" and best.is_file() else folder / LAST
    )
    weights = with_prefix(tensors, EMA) or with_prefix(tensors, NETWORK)
    return save(weights)
