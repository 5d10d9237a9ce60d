"""How many feasible architectures a second are drawn, or repaired, on one core.

Off by default; `pytest -m benchmark tests/benchmarks/test_sampling_speed.py` takes about a minute
and writes `results/benchmarks/sampling.csv`. Seconds are of the processor. Nothing here asserts a
time.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
from result_tables import write_table

from spach_nas.config.shipped import shipped_folder
from spach_nas.cost.limits import Limits
from spach_nas.feasible import FeasibleSet, counts_without
from spach_nas.space.search_space import SearchSpace

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
# One in a hundred of the space.
LIMITS = Limits(min_macs=11_700_000_000, max_macs=12_300_000_000, max_params=63_200_000)
REPEATS = 15
Task = tuple[int, Callable[[np.random.Generator], object]]


def tasks(space: SearchSpace) -> dict[str, Task]:
    """By what they do: how many are drawn, counted or repaired, and the call."""
    feasible = FeasibleSet(space, LIMITS)
    proposals = [space.encode(space.sample(seed)) for seed in range(100)]
    return {
        "samples of a batch": (10_000, lambda rng: feasible.samples(10_000, rng)),
        "sample one by one": (2000, lambda rng: [feasible.sample(rng) for _ in range(2000)]),
        "near one by one": (100, lambda rng: [feasible.near(given, rng) for given in proposals]),
        "sample of the whole space": (200, lambda rng: [space.sample(rng) for _ in range(200)]),
        "sets built and counted": (1, lambda rng: FeasibleSet(space, LIMITS)),
        "counts without each limit": (1, lambda rng: counts_without(space, LIMITS)),
    }


def test_feasible_architectures_a_second() -> None:
    every = tasks(SearchSpace.from_yaml(shipped_folder() / "spach_ms.yaml"))
    seconds: dict[str, list[float]] = {what: [] for what in every}
    rng = np.random.default_rng(0)
    for _ in range(REPEATS):  # interleaved: a busy moment hits all of them
        for what, (_, task) in every.items():
            start = time.process_time()
            task(rng)
            seconds[what].append(time.process_time() - start)
    rates = {what: every[what][0] / statistics.median(times) for what, times in seconds.items()}
    rows = [{"what": what, "per_second": f"{float(f'{r:.3g}'):g}"} for what, r in rates.items()]
    write_table("sampling.csv", rows, test=__file__)
