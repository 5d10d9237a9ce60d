"""Calls a function for many arguments, in worker processes that have the resources of a trial."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from spach_nas.config.plugins import restore
from spach_nas.config.search_settings import Resources
from spach_nas.search.ray.session import demand, ray_session, trial_slots
from spach_nas.search.ray.worker_group import worker_error
from spach_nas.space.mixers import MixerSpec

Item = TypeVar("Item")


def run_tasks(
    function: Callable[[Item], None],
    items: Sequence[Item],
    *,
    resources: Resources,
    mixers: Sequence[MixerSpec] = (),
) -> Iterator[None]:
    """Call a function for each item, and yield whenever one has ended.

    Args:
        function: What is done; it keeps its result itself.
        items: Begun in this order.
        resources: Of each call, and where Ray runs.
        mixers: Those that do not come with this package.

    Raises:
        SpachNasError: A call found a mistake or was lost, or nothing has the resources of one. The
            others are ended.
    """
    with ray_session(resources, mixers):
        asked = demand(resources)
        slots = trial_slots(resources, asked)
        remote = ray.remote(_call).options(
            num_cpus=asked.get("CPU", 0),
            num_gpus=asked.get("GPU", 0),
            memory=int(asked["memory"]) if "memory" in asked else None,
            max_retries=0,
        )
        left = list(reversed(items))
        running: list[ray.ObjectRef] = []
        while left or running:
            while left and len(running) < slots():
                running.append(remote.remote(function, left.pop(), tuple(mixers)))
            ended, running = ray.wait(running)
            try:
                ray.get(ended)
            except RayTaskError as problem:  # which is also an error of the mistake's own class
                raise worker_error(problem.cause, lost="a worker failed") from None
            except RayError as problem:
                raise worker_error(problem, lost="a worker was lost") from None
            yield


def _call(function: Callable[[Item], None], item: Item, mixers: tuple[MixerSpec, ...]) -> None:
    restore(mixers)
    function(item)
