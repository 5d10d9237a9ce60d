"""Calls in worker processes, side by side. Each starts Ray."""

import functools
import sys
import time
from pathlib import Path

import pytest
from ray import cloudpickle

from spach_nas.config.search_settings import Resources
from spach_nas.errors import StudyError
from spach_nas.machine import cores
from spach_nas.search.ray.tasks import run_tasks

pytestmark = pytest.mark.slow
# Workers do not find this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def meet(name: str, *, folder: Path, guests: int) -> None:
    """Come, and wait until all have come: one after the other, nobody would leave."""
    (folder / name).touch()
    deadline = time.monotonic() + 120
    while len(list(folder.iterdir())) < guests:
        if time.monotonic() > deadline:
            raise StudyError(f"{name}: nobody came")
        time.sleep(0.05)


def refuse(name: str) -> None:
    if name == "b":
        raise StudyError("b: is refused; expected a")


@pytest.mark.skipif(cores() < 2, reason="needs two cores")
def test_calls_run_side_by_side(tmp_path: Path) -> None:
    call = functools.partial(meet, folder=tmp_path, guests=2)
    assert len(list(run_tasks(call, ["a", "b"], resources=Resources(cpus_per_trial=1)))) == 2


def test_a_mistake_ends_all_and_is_told_as_it_was() -> None:
    with pytest.raises(StudyError, match=r"^b: is refused; expected a$"):
        list(run_tasks(refuse, ["a", "b", "c"], resources=Resources(max_concurrent=1)))
