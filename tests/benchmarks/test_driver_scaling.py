"""How far one driver goes: 20,000 trials, and 1,000 workers with trials of a minute.

Off by default; `pytest -m benchmark tests/benchmarks/test_driver_scaling.py` takes some forty
minutes on two cores and writes `results/benchmarks/scaling.csv`. The sampler, the rungs, the
records and, where it says disk, all files of a study are real; workers and scores are not. Each
case has a process of its own, whose memory is then its own. Nothing asserts a time.
"""

import multiprocessing
import os
import random
import resource
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from result_tables import write_table

from search_tools import evaluate
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.search_settings import Level, Rungs
from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.shipped import shipped_folder
from spach_nas.feasible import FeasibleSet
from spach_nas.replay import VirtualClock, Workers, simulate
from spach_nas.space.scaling import DataShape
from spach_nas.study.driver import StudyDriver
from spach_nas.study.folder import Archive, create_folder

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7200)]
MINUTE = 60.0


@dataclass(frozen=True, kw_only=True)
class Case:
    sampler: str
    rungs: bool
    trials: int
    workers: int = 100
    archive: str = "memory"  # disk: all files; disk without mirror: all but study.db
    parts: int = 8


# The one that takes longest first: the others are done beside it.
CASES = [
    *(Case(sampler=name, rungs=rungs, trials=20_000)
      for name in ("tpe", "nsga2", "evolution", "random") for rungs in (False, True)),
    *(Case(sampler="surrogate", rungs=rungs, trials=2_000) for rungs in (False, True)),
    *(Case(sampler=name, rungs=rungs, trials=3_000, workers=1_000, archive=archive, parts=4)
      for archive in ("memory", "disk without mirror", "disk")
      for name, rungs in (("tpe", False), ("random", False), ("nsga2", True))),
]  # fmt: skip


def config_of(case: Case) -> SearchConfig:
    config = load_config(shipped_folder() / "quickstart.yaml")
    return replace(
        config,
        references=(),
        training=replace(config.training, epochs=9),
        rungs=Rungs(levels=(Level(epochs=1), Level(epochs=3)) if case.rungs else ()),
        search=replace(
            config.search,
            sampler=case.sampler,
            trials=case.trials,
            startup_trials=32,
            max_duration=None,
        ),
    )


class Driver:
    """A study in virtual time, in which the driver itself takes no time."""

    def __init__(self, case: Case, folder: Path) -> None:
        config = config_of(case)
        self.workers: Workers[tuple[EvaluationRequest, Evaluation]] = Workers(number=case.workers)
        self._random = random.Random(0)
        if case.archive != "memory":
            text = (shipped_folder() / "quickstart.yaml").read_text()
            create_folder(folder, texts={"search.yaml": text})
        self.study = StudyDriver(
            config,
            folder=folder,
            data=DataShape(in_channels=1, num_classes=10),
            feasible=FeasibleSet(config.space, config.limits),
            mirrored=case.archive == "disk",
            archive=Archive() if case.archive == "memory" else None,
            clock=self.workers.clock,
        )

    def evaluate(self, request: EvaluationRequest) -> Evaluation:
        """A minute on average for nine epochs; a checkpoint of 1 kB."""
        found = evaluate(request)
        done = request.course[max(0, request.fidelity.rung - 1)].epochs if request.parent else 0
        share = (request.fidelity.epochs - done) / 9
        seconds = MINUTE * share * self._random.uniform(0.5, 1.5)
        return replace(found, seconds=seconds, weights=bytes(1000))


def measure(case: Case) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as home:
        driver = Driver(case, Path(home) / "study")
        study, clock = driver.study, driver.workers.clock
        size = max(1, case.trials // case.parts)
        rows: list[dict[str, object]] = []
        tell = study.tell
        marks = [(0, time.process_time(), time.perf_counter(), memory())]

        def told(request: EvaluationRequest, evaluation: Evaluation) -> object:
            record = tell(request, evaluation)
            if len(study.records) % size == 0:
                rows.append(row(case, marks, len(study.records), clock))
            return record

        study.tell = told  # type: ignore[assignment, method-assign]
        simulate(study, driver.evaluate, workers=driver.workers)
        before = time.perf_counter()
        study.close()
        closing = time.perf_counter() - before
        busy = driver.workers.busy / (case.workers * clock.now)
    # The last figures of a case are those of its end.
    rows[-1] |= {"close_s": round(closing, 1), "busy": round(busy, 3)}
    return rows


def measure_one(numbered: tuple[int, Case]) -> tuple[int, list[dict[str, object]]]:
    number, case = numbered
    return number, measure(case)


def row(
    case: Case, marks: list[tuple[int, float, float, float]], records: int, clock: VirtualClock
) -> dict[str, object]:
    before = marks[-1]
    now = (records, time.process_time(), time.perf_counter(), memory())
    marks.append(now)
    count = now[0] - before[0]
    return {
        "sampler": case.sampler,
        "rungs": 3 if case.rungs else 1,
        "workers": case.workers,
        "archive": case.archive,
        "records": records,
        "cpu_ms_per_record": round(1000 * (now[1] - before[1]) / count, 3),
        "wall_ms_per_record": round(1000 * (now[2] - before[2]) / count, 3),
        "records_per_s": round(count / (now[2] - before[2]), 1),
        "memory_mb": round(now[3]),
        "load": round(os.getloadavg()[0], 1),
    }


def memory() -> float:
    """MB in use at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_a_driver_with_many_trials_and_workers() -> None:
    done: dict[int, list[dict[str, object]]] = {}
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        for number, rows in pool.imap_unordered(measure_one, enumerate(CASES)):
            done[number] = rows
            in_order = [row for _, rows in sorted(done.items()) for row in rows]
            write_table("scaling.csv", in_order, test=__file__)
