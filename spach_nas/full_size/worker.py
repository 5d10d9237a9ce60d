"""What one worker holds while it trains: network, optimizer, schedule, average, images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load as load_tensors
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from spach_nas.config.recipe import Recipe
from spach_nas.data.reader import OpenData
from spach_nas.full_size.job import Job, Place
from spach_nas.full_size.loaders import Batch, Batches, Mixer, scoring_batches, training_batches
from spach_nas.machine import cores
from spach_nas.networks import Spach, build
from spach_nas.networks.allocator import keep_freed_memory
from spach_nas.training import Runtime, choose_runtime, faster_precision, global_seed, move
from spach_nas.training.checkpoint import EMA, NETWORK, OPTIMIZER, with_prefix
from spach_nas.training.learner import Learner
from spach_nas.training.optimizer import make_optimizer, optimizer_state, restore_optimizer
from spach_nas.training.schedule import Schedule
from spach_nas.training.seeds import derive_seed

INITIAL = "initial.safetensors"
_PRECISION = "precision.txt"
_MOST_PROCESSES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """One of the workers of a training.

    Attributes:
        job: The training.
        place: Which worker it is.
        runtime: Device and number format.
        learner: The network and what moves its weights.
        schedule: The learning rate.
        mixer: Changes whole batches.
        batches: Of the training images.
        scored: Goes through the validation images; None: nothing is validated.
    """

    job: Job
    place: Place
    runtime: Runtime
    learner: Learner
    schedule: Schedule
    mixer: Mixer
    batches: Batches
    scored: Callable[[], Iterator[Batch]] | None

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds."""
        learner = self.learner
        parts: dict[str, Mapping[str, Tensor]] = {
            NETWORK: learner.network.state_dict(),
            OPTIMIZER: optimizer_state(learner.optimizer, learner.network),
        }
        if learner.ema is not None:
            parts[EMA] = learner.ema.module.state_dict()
        return {
            prefix + name: value for prefix, part in parts.items() for name, value in part.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        learner = self.learner
        learner.network.load_state_dict(with_prefix(tensors, NETWORK))
        state = with_prefix(tensors, OPTIMIZER)
        restore_optimizer(learner.optimizer, learner.network, state=state)
        if learner.ema is not None:
            learner.ema.module.load_state_dict(with_prefix(tensors, EMA))


def make_worker(job: Job, data: OpenData, *, place: Place, threads: int | None = None) -> Worker:
    """Set up a worker; of several, all must do so.

    Args:
        job: The training.
        data: Its images.
        place: Which worker this is.
        threads: Of the host; None: as many as torch has, but no more than there are cores.

    Raises:
        ConfigError: This machine has no such device, or there are too few images.
        DataError: Images do not fit into memory.
    """
    recipe = job.recipe
    # torch counts the cores of the machine, where a container may give fewer.
    torch.set_num_threads(threads or min(torch.get_num_threads(), cores()))
    keep_freed_memory()
    runtime = _runtime(job, place)
    processes = _processes(job, threads)
    batches = training_batches(job, data.train, place=place, runtime=runtime, processes=processes)
    network = _network(job, runtime)
    ema = recipe.ema
    # Before it is compiled: the average is a copy that is only evaluated.
    average = ModelEmaV3(network, decay=ema.decay, use_warmup=ema.warmup) if ema.decay else None
    if recipe.compile:
        network.compile()
    settings = recipe.optimizer
    learner = Learner(
        network=network,
        model=_shared(network, job) if place.world > 1 else network,
        optimizer=make_optimizer(
            network,
            name=settings.name,
            learning_rate=recipe.peak_rate,
            weight_decay=settings.weight_decay,
        ),
        runtime=runtime,
        # Mixed labels are smoothed already.
        label_smoothing=0.0 if recipe.augmentation.mixes else recipe.augmentation.label_smoothing,
        clip_norm=settings.clip_norm,
        ema=average,
    )
    return Worker(
        job=job,
        place=place,
        runtime=runtime,
        learner=learner,
        schedule=_schedule(recipe, steps=batches.steps),
        mixer=Mixer(recipe.augmentation, classes=len(job.class_names), runtime=runtime),
        batches=batches,
        scored=_scored(job, data, place=place, runtime=runtime, processes=processes),
    )


def _scored(
    job: Job, data: OpenData, *, place: Place, runtime: Runtime, processes: int
) -> Callable[[], Iterator[Batch]] | None:
    if data.validation is None:
        return None
    # Each image by one worker, none twice.
    share = data.validation.take(np.arange(place.rank, len(data.validation), place.world))
    return scoring_batches(
        share,
        preprocessing=job.preprocessing,
        image_size=job.architecture.image_size,
        runtime=runtime,
        batch_size=job.recipe.evaluation.batch_size,
        processes=processes,
    )


def _schedule(recipe: Recipe, *, steps: int) -> Schedule:
    settings = recipe.schedule
    return Schedule(
        peak=recipe.peak_rate,
        steps=recipe.epochs * steps,
        warmup_steps=round(settings.warmup_epochs * steps),
        first=settings.warmup_from,
        final=settings.final,
    )


def _network(job: Job, runtime: Runtime) -> Spach:
    with global_seed(derive_seed(job.recipe.seed, 0, "weights"), runtime):
        network = build(job.architecture, drop_path_rate=job.recipe.drop_path)
    if job.initial:
        network.load_state_dict(load_tensors((job.folder / INITIAL).read_bytes()))
    move(network, runtime)
    return network


def _shared(network: Spach, job: Job) -> nn.Module:
    """The network, whose gradients are shared with the other workers."""
    model: nn.Module = network
    if job.recipe.sync_batch_norm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(model, gradient_as_bucket_view=True)


def _runtime(job: Job, place: Place) -> Runtime:
    recipe = job.recipe
    if recipe.precision != "faster":
        return choose_runtime(device=recipe.device, precision=recipe.precision)
    path = job.folder / _PRECISION
    # Measured once: a run that goes on, and all of its workers, take the same.
    if place.rank == 0 and not path.is_file():
        path.write_text(_measured(job), encoding="ascii")
    if dist.is_initialized():
        dist.barrier()
    bf16 = path.read_text(encoding="ascii") == "bf16"
    return choose_runtime(device=recipe.device, precision="bf16" if bf16 else "fp32")


def _measured(job: Job) -> str:
    runtime = choose_runtime(device=job.recipe.device, precision="fp32")
    network = move(build(job.architecture), runtime)
    architecture, recipe = job.architecture, job.recipe
    part = recipe.batch_size // (recipe.accumulation * recipe.resources.known_workers)
    shape = (part, *architecture.image_size, architecture.in_channels)
    images = torch.randn(shape, device=runtime.device).permute(0, 3, 1, 2)
    return faster_precision(network, images)


def _processes(job: Job, threads: int | None) -> int:
    asked = job.recipe.data.loader_processes
    if asked != "auto":
        return asked
    return min(_MOST_PROCESSES, (threads or cores()) - 1)


def initial_file(folder: Path) -> Path:
    """Where initial weights lie."""
    return folder / INITIAL
