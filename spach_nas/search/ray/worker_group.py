"""Ray Train runs a function in several processes at once, which form a group of torch."""

import os

# Read when Ray is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import math
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback, get_context
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from spach_nas.config.plugins import restore
from spach_nas.config.search_settings import Resources
from spach_nas.errors import SpachNasError, StudyError, one_line
from spach_nas.search.ray.ray_patches import mend_ray
from spach_nas.search.ray.session import demand, fitting, nodes
from spach_nas.space.mixers import MixerSpec
from spach_nas.training.learner import Place

STORE = ".ray"
_TICK_S = 0.5
# Where Ray's errors keep what they were made of.
_INNER = ("cause", "_base_exc", "controller_failure", "health_check_failure")


def run_on_workers(
    part: Callable[[Place], None],
    *,
    workers: int,
    folder: Path,
    tick: Callable[[], None],
    resources: Resources,
    mixers: Sequence[MixerSpec] = (),
) -> None:
    """Run a function on several workers of the Ray that this process is connected to.

    Args:
        part: What each does.
        workers: Number of workers.
        folder: That all of them must see.
        tick: Called about twice a second.
        resources: Each worker has those of a trial, or a whole GPU where a trial has a share.
        mixers: Those that do not come with this package.

    Raises:
        SpachNasError: A worker found a mistake or was lost, or there is no room for all.
    """
    asked = demand(resources)
    asked |= {"GPU": float(math.ceil(asked["GPU"]))} if "GPU" in asked else {}
    room = sum(fitting(node, asked) for node in nodes())
    if room < workers:
        raise StudyError(
            f"evaluator.workers: {workers}; expected at most the {room} for which there is room"
        )
    mend_ray()
    trainer = TorchTrainer(
        _run,
        train_loop_config={"part": part, "folder": folder, "mixers": tuple(mixers)},
        torch_config=TorchConfig(backend="nccl" if "GPU" in asked else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu="GPU" in asked, resources_per_worker=asked
        ),
        run_config=RunConfig(
            name=uuid.uuid4().hex,
            storage_path=str(folder.absolute() / STORE),
            failure_config=FailureConfig(max_failures=0),
            callbacks=[EndOnMistake()],
        ),
    )
    failures: list[Exception] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as problem:
            failures.append(problem)

    # In a thread: Ray leaves signals to the search, which stops at a whole step.
    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_TICK_S)
        tick()
    shutil.rmtree(folder / STORE, ignore_errors=True)
    if failures:
        raise worker_error(failures[0], lost=f"{folder}: a worker was lost") from None


def _run(config: dict[str, Any]) -> None:
    restore(config["mixers"])
    context = get_context()
    take_device()
    check_seen(config["folder"])
    config["part"](Place(rank=context.get_world_rank(), world=context.get_world_size()))


def take_device() -> None:
    """Make the GPU that Ray gave to this worker, if any, torch's current one."""
    device = get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)


def check_seen(folder: Path) -> None:
    """Whether a folder is there.

    Raises:
        StudyError: It is not.
    """
    if not folder.is_dir():
        raise StudyError(
            f"{folder}: is not seen by every machine; expected a folder that they share"
        )


class EndOnMistake(UserCallback):  # type: ignore[misc]
    """Ends the training after a user's mistake, which another worker would only repeat.

    Ray replaces workers after any exception of theirs, but ends if a callback raises, even if other
    workers are still waiting for the one with the mistake.
    """

    def after_exception(
        self, run_context: object, worker_exceptions: Mapping[int, Exception]
    ) -> None:
        """End by the mistake, if there is one."""
        found = _mistake(worker_exceptions.values())
        if found is not None:
            raise found


def worker_error(problem: Exception, *, lost: str) -> SpachNasError:
    """The mistake that a worker found, or the reason for which the workers were lost.

    Args:
        problem: What Ray raised.
        lost: What to say where there is no mistake.
    """
    failures = getattr(problem, "worker_failures", None) or {0: problem}
    found = _mistake(failures.values())
    if found is not None:
        return found
    last = _causes(next(reversed(failures.values())))[-1]
    return StudyError(
        f"{lost}: {one_line(last, named=True)}; expected --resume once that is repaired"
    )


def _mistake(failures: Iterable[Exception]) -> SpachNasError | None:
    for failure in failures:
        for cause in _causes(failure):
            if isinstance(cause, SpachNasError):
                return type(cause)(str(cause))
    return None


def _causes(failure: Exception) -> list[Exception]:
    causes: list[Exception] = []
    found: BaseException | None = failure
    while isinstance(found, Exception) and found not in causes:
        causes.append(found)
        inner = (getattr(found, name, None) for name in _INNER)
        found = next((each for each in inner if isinstance(each, Exception)), found.__cause__)
    return causes
