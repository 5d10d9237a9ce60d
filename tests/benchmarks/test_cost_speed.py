"""How many costs a second the closed forms give, on one core.

Off by default; `pytest -m benchmark tests/benchmarks/test_cost_speed.py` takes about a minute and
writes `results/benchmarks/cost.csv`. Nothing here asserts a time.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from result_tables import write_table

from spach_nas.config.shipped import shipped_folder
from spach_nas.cost.closed_form import cost
from spach_nas.cost.memory import saved_bytes
from spach_nas.space.architecture import Architecture
from spach_nas.space.search_space import SearchSpace

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
ARCHITECTURES = 20_000
REPEATS = 7


def distinct_architectures(space: SearchSpace, count: int) -> list[Architecture]:
    rng = np.random.default_rng(0)
    found: dict[str, Architecture] = {}
    while len(found) < count:
        architecture = space.sample(rng)
        found[repr(architecture)] = architecture
    return list(found.values())


def test_costs_a_second() -> None:
    many = distinct_architectures(
        SearchSpace.from_yaml(shipped_folder() / "spach_ms.yaml"), ARCHITECTURES
    )
    tasks: dict[str, Callable[[Sequence[Architecture]], object]] = {
        "cost": lambda many: [cost(architecture) for architecture in many],
        "saved_bytes": lambda many: [saved_bytes(architecture) for architecture in many],
    }
    seconds: dict[str, list[float]] = {what: [] for what in tasks}
    for _ in range(REPEATS):  # interleaved: a busy moment hits all of them
        for what, task in tasks.items():
            start = time.perf_counter()
            task(many)
            seconds[what].append(time.perf_counter() - start)
    rows = [
        {"what": what, "per_second": int(round(len(many) / statistics.median(times), -2))}
        for what, times in seconds.items()
    ]
    write_table("cost.csv", rows, test=__file__)
