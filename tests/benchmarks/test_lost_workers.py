"""Workers that are killed, lose their device or run out of memory; and memory over many trials.

Off by default; `pytest -m benchmark tests/benchmarks/test_lost_workers.py` takes about two minutes.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ray
import torch
from ray import cloudpickle

import search_tools
from search_tools import evaluate, make_study
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.search.ray.runner import ray_session, run_study
from spach_nas.study.driver import Signal

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
HAPLESS, TRIALS = 3, 8
MIB = 2**20
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def _workers_do_not_see_this_folder() -> Iterator[None]:
    modules = (search_tools, sys.modules[__name__])
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    yield
    for module in modules:
        cloudpickle.unregister_pickle_by_value(module)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def lose_the_device() -> None:
    raise getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: illegal memory access")


def eat_memory() -> None:
    eaten = []
    while True:
        eaten.append(np.ones(100 * MIB, dtype=np.uint8))
        time.sleep(0.02)


def meminfo(name: str) -> int:
    """Bytes, as Linux counts them."""
    rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return next(int(row[1]) * 1024 for row in rows if row[0] == f"{name}:")


class Unlucky:
    """Comes to grief with one trial, once."""

    def __init__(self, grief: Callable[[], None], folder: Path) -> None:
        self.grief = grief
        self.folder = folder

    def __call__(
        self, request: EvaluationRequest, data: object, checkpoint: bytes | None = None
    ) -> Evaluation:
        first = not list(self.folder.glob(f"{request.trial}-*"))
        (self.folder / f"{request.trial}-{os.getpid()}-{time.time()}").touch()
        time.sleep(0.1)
        if request.trial == HAPLESS and first:
            self.grief()
        return evaluate(request)


@pytest.mark.parametrize(
    ("grief", "reason"),
    [
        (die, "ActorDiedError: the worker was lost"),
        (lose_the_device, "CUDA error: illegal memory access"),
        (eat_memory, "OutOfMemoryError"),
    ],
)
def test_a_lost_worker_costs_its_segment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grief: Callable[[], None], reason: str
) -> None:
    share = 1 - (meminfo("MemAvailable") - 4096 * MIB) / meminfo("MemTotal")  # 4 GiB from now
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{min(share, 0.95):.2f}")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    study = make_study(tmp_path, search__trials=TRIALS, resources={"max_concurrent": 2})
    reasons, lose = [], study.lose

    def note(request: EvaluationRequest, why: str) -> None:
        reasons.append(why)
        lose(request, why)

    study.lose = note  # type: ignore[method-assign]
    (tmp_path / "log").mkdir()
    with ray_session(study.config.resources):
        run_study(
            study,
            Unlucky(grief, tmp_path / "log"),
            data={study.config.fidelity.image_size: np.ones(1)},  # type: ignore[dict-item]
            on_record=lambda record: None,
        )
    assert len(reasons) == 1 and reason in reasons[0]
    assert sorted(record.trial for record in study.records) == list(range(TRIALS))
    assert {record.state for record in study.records} == {"complete"}
    calls = sorted((path.name.split("-") for path in (tmp_path / "log").iterdir()), key=last)
    (begin, hapless), *_ = [(when, pid) for trial, pid, when in calls if trial == str(HAPLESS)]
    later = {pid for _, pid, when in calls if float(when) > float(begin)}
    assert hapless not in later, "its process is not used again"


def last(call: list[str]) -> float:
    return float(call[-1])


class Endless:
    """Stands for a study with so many requests that continue from a checkpoint of 4 MiB."""

    def __init__(self, folder: Path, *, requests: int) -> None:
        study = make_study(folder, resources={"max_concurrent": 2})
        asked = study.next()
        assert isinstance(asked, EvaluationRequest)
        self.config, self.folder, self.records = study.config, study.folder, ()
        self.parent = folder / "parent"
        self.parent.write_bytes(os.urandom(4 * MIB))
        self.request, self.left = asked, requests
        self.used: list[SimpleNamespace] = []

    def next(self) -> object:
        if not self.left:
            return Signal.DONE
        self.left -= 1
        return replace(self.request, trial=self.left, parent=self.parent)

    def tell(self, request: EvaluationRequest, evaluation: Evaluation) -> None:
        store = "object_store_memory"
        self.used.append(
            SimpleNamespace(
                store=ray.cluster_resources()[store] - ray.available_resources()[store],
                driver=int(Path("/proc/self/statm").read_text().split()[1]) * PAGE,
            )
        )

    def lose(self, request: EvaluationRequest, reason: str) -> None:
        raise AssertionError(reason)

    def stop(self) -> None:
        self.left = 0


def heavy(request: EvaluationRequest, data: object, checkpoint: bytes | None = None) -> Evaluation:
    assert checkpoint is not None and len(checkpoint) == 4 * MIB
    scores = {"accuracy": 0.5, "loss": 1.0}
    return Evaluation(state="complete", scores=scores, weights=os.urandom(4 * MIB))


def test_memory_stays_flat_over_hundreds_of_checkpoints(tmp_path: Path) -> None:
    study = Endless(tmp_path, requests=300)
    with ray_session(study.config.resources):
        run_study(
            study,  # type: ignore[arg-type]
            heavy,  # type: ignore[arg-type]
            data={study.config.fidelity.image_size: np.ones(1)},  # type: ignore[dict-item]
            on_record=lambda record: None,
        )
    assert len(study.used) == 300
    # 300 checkpoints are 1,200 MiB, and as many weights.
    assert max(used.store for used in study.used) < 64 * MIB
    assert study.used[-1].driver - study.used[50].driver < 100 * MIB
