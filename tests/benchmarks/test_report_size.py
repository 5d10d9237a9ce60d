"""How long the page of a study takes to build, and how large it is, by the number of trials.

Off by default; `pytest -m benchmark tests/benchmarks/test_report_size.py` takes about a minute and
writes `results/benchmarks/report.csv`. Nothing here asserts a time.
"""

import os
import statistics
import time
from pathlib import Path

import pytest
from result_tables import write_table

from spach_nas.config.shipped import shipped_folder
from spach_nas.report.study import write_study_report
from spach_nas.study.records import append_record
from study_factory import make_study

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
TRIALS = (50, 500, 5000)
REPEATS = 5


def make_folder(folder: Path, *, trials: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir()
    (folder / "search.yaml").write_text((shipped_folder() / "quickstart.yaml").read_text())
    # Whether each line is on the disk does not matter here.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for record in make_study(trials, failed=trials // 50):
        append_record(folder / "records.jsonl", record)
    return folder


def test_build_time_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {
        trials: make_folder(tmp_path / str(trials), trials=trials, monkeypatch=monkeypatch)
        for trials in TRIALS
    }
    seconds: dict[int, list[float]] = {trials: [] for trials in TRIALS}
    cpu: dict[int, list[float]] = {trials: [] for trials in TRIALS}
    size: dict[int, int] = {}
    for _ in range(REPEATS):  # interleaved: a busy moment hits all of them
        for trials, folder in folders.items():
            start, used = time.perf_counter(), time.process_time()
            size[trials] = write_study_report(folder).stat().st_size
            seconds[trials].append(time.perf_counter() - start)
            cpu[trials].append(time.process_time() - used)
    assert size[TRIALS[-1]] < 10_000_000
    rows = [
        {
            "trials": trials,
            "seconds": round(statistics.median(seconds[trials]), 2),
            "cpu_seconds": round(statistics.median(cpu[trials]), 2),
            "megabytes": round(size[trials] / 1e6, 2),
        }
        for trials in TRIALS
    ]
    write_table("report.csv", rows, test=__file__)
