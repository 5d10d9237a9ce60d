"""How many costs a second the closed forms give, on one core.

Off by default; `pytest -m benchmark tests/benchmarks/test_cost_speed.py` takes about a minute and
writes `results/benchmarks/cost.csv`. Nothing here asserts a time.
"""

import csv
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from spach_nas.architecture import Architecture
from spach_nas.cost import cost
from spach_nas.cost_batch import costs
from spach_nas.memory import saved_bytes
from spach_nas.search_space import SearchSpace
from spach_nas.shipped import shipped_folder

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
RESULTS = Path(__file__).parents[2] / "results" / "benchmarks"
COMMAND = "pytest -m benchmark tests/benchmarks/test_cost_speed.py"
ARCHITECTURES = 20_000
REPEATS = 7


def distinct_architectures(space: SearchSpace, count: int) -> list[Architecture]:
    rng = np.random.default_rng(0)
    found: dict[str, Architecture] = {}
    while len(found) < count:
        architecture = space.sample(rng)
        found[repr(architecture)] = architecture
    return list(found.values())


def machine() -> str:
    """In words: processor and number of cores, of which one is used."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return f"{model}, one of {os.cpu_count()} cores, Python {platform.python_version()}"


def test_costs_a_second() -> None:
    many = distinct_architectures(
        SearchSpace.from_yaml(shipped_folder() / "spach_ms.yaml"), ARCHITECTURES
    )
    tasks: dict[str, Callable[[Sequence[Architecture]], object]] = {
        "costs of a batch": costs,
        "cost one by one": lambda many: [cost(architecture) for architecture in many],
        "saved_bytes one by one": lambda many: [saved_bytes(architecture) for architecture in many],
    }
    seconds: dict[str, list[float]] = {what: [] for what in tasks}
    for _ in range(REPEATS):  # interleaved: a busy moment hits all of them
        for what, task in tasks.items():
            start = time.perf_counter()
            task(many)
            seconds[what].append(time.perf_counter() - start)
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "cost.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("what", "per_second", "command", "machine"))
        for what, times in seconds.items():
            per_second = round(len(many) / statistics.median(times), -2)
            writer.writerow((what, int(per_second), COMMAND, machine()))
