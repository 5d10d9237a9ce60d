"""Ray Train starts the workers of a training, here or on a cluster, and replaces lost ones."""

import os

# Read when Ray is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import shutil
import signal
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchConfig, TorchTrainer

from spach_nas.config.plugins import restore
from spach_nas.config.recipe import FullResources
from spach_nas.config.search_settings import Resources
from spach_nas.errors import SpachNasError, StudyError
from spach_nas.full_size.run_folder import Job
from spach_nas.full_size.worker import train_worker
from spach_nas.search.ray.ray_patches import mend_ray
from spach_nas.search.ray.session import nodes, ray_session
from spach_nas.search.ray.worker_group import (
    STORE,
    EndOnMistake,
    check_seen,
    take_device,
    worker_error,
)
from spach_nas.space.mixers import MixerSpec
from spach_nas.training.learner import Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Workers and resources that Ray is asked for.

    Attributes:
        workers: Number of workers.
        cpus: CPUs per worker.
        gpus: GPUs per worker, 0 or 1.
    """

    workers: int
    cpus: int
    gpus: int


def train_on_ray(
    job: Job,
    *,
    mixers: Sequence[MixerSpec] = (),
    within: AbstractContextManager[None] | None = None,
) -> None:
    """Train to the end with the workers that the recipe asks for.

    Args:
        job: The training.
        mixers: Those that do not come with this package.
        within: Entered while Ray runs and the training is under way.

    Raises:
        SpachNasError: A worker found a mistake, or the cluster cannot be reached or has not enough
            resources.
    """
    mend_ray()
    resources = job.recipe.resources
    session = ray_session(Resources(address=resources.address), mixers)
    with session, within or nullcontext():
        trainer = make_trainer(job, shape_of(resources, job), mixers=tuple(mixers))
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit()
        except SystemExit:  # Ray's answer to Ctrl-C
            raise KeyboardInterrupt from None
        except Exception as problem:
            raise training_error(problem, job) from None
        finally:
            signal.signal(signal.SIGINT, on_interrupt)
            shutil.rmtree(job.folder / STORE, ignore_errors=True)


def make_trainer(job: Job, shape: Shape, *, mixers: tuple[MixerSpec, ...]) -> TorchTrainer:
    """The trainer of Ray for a job."""
    return TorchTrainer(
        _run_worker,
        train_loop_config={"job": job, "threads": shape.cpus, "mixers": mixers},
        torch_config=TorchConfig(backend="nccl" if shape.gpus else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=shape.workers,
            use_gpu=bool(shape.gpus),
            resources_per_worker={"CPU": shape.cpus} | ({"GPU": 1} if shape.gpus else {}),
        ),
        run_config=RunConfig(
            # Ray would resume a run of the same name by its own means.
            name=uuid.uuid4().hex,
            storage_path=str(job.folder / STORE),
            failure_config=FailureConfig(max_failures=job.recipe.resources.max_failures),
            callbacks=[EndOnMistake()],
        ),
    )


def shape_of(resources: FullResources, job: Job) -> Shape:
    """Workers and their shares on the nodes that Ray has.

    Raises:
        StudyError: There are not enough CPUs or GPUs.
        ConfigError: The batch cannot be shared by that many workers.
    """
    known = nodes()
    have_cpus = [int(node.get("CPU", 0)) for node in known]
    have_gpus = [int(node.get("GPU", 0)) for node in known]
    asked = resources.gpus_per_worker
    gpus = int(any(have_gpus)) if asked == "auto" else asked
    if job.recipe.device == "cpu":
        gpus = 0
    workers = resources.workers
    count = (max(1, sum(have_gpus)) if gpus else 1) if workers == "auto" else workers
    # Workers on the largest machine: one per GPU, or an equal part of them all.
    together = max(have_gpus) if gpus else -(-count // len(known))
    share = max(1, max(have_cpus) // max(1, min(count, together)))
    cpus = share if resources.cpus_per_worker == "auto" else resources.cpus_per_worker
    fitting = sum(
        min(cpu // cpus, gpu if gpus else count)
        for cpu, gpu in zip(have_cpus, have_gpus, strict=True)
    )
    if fitting < count:
        kind = f"{cpus} CPUs" + (" and a GPU" if gpus else "")
        raise StudyError(
            f"resources.workers: {count} of {kind} each; expected at most the {fitting} for "
            "which there is room"
        )
    _check_shares(job, count)
    return Shape(workers=count, cpus=cpus, gpus=gpus)


def _check_shares(job: Job, workers: int) -> None:
    # The recipe checks the workers that it names; the number behind auto is known only now.
    recipe = job.recipe
    replace(recipe, resources=replace(recipe.resources, workers=workers))


def _run_worker(config: dict[str, Any]) -> None:
    job: Job = config["job"]
    restore(config["mixers"])
    context = get_context()
    take_device()
    check_seen(job.folder)
    place = Place(rank=context.get_world_rank(), world=context.get_world_size())
    train_worker(job, place=place, threads=config["threads"])


def training_error(problem: Exception, job: Job) -> SpachNasError:
    """The mistake that a worker found, or the reason for which the workers were lost."""
    return worker_error(problem, lost=f"{job.folder}: the workers were lost too often")
