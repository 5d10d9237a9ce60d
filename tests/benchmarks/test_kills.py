"""`kill -9` at random moments: what is lost, doubled or proposed otherwise.

Off by default; `pytest -m benchmark tests/benchmarks/test_kills.py` takes some minutes and writes
`results/benchmarks/kills.csv`. The studies are real, with records, mirrors and checkpoints on the
disk; only the training is not, so that most kills hit the study at work.
"""

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from result_tables import write_table

from kill_tools import CHANGES, RUNGS, SAMPLERS, essence, killed, make_study_in
from search_tools import drive
from spach_nas.study.records import read_records

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]
KILLS = 10  # of each sampler, with rungs and without


def test_kills_lose_nothing(tmp_path: Path) -> None:
    rows = [
        row(tmp_path / f"{sampler}-{rungs}", sampler=sampler, rungs=rungs)
        for sampler in SAMPLERS
        for rungs in (1, 3)
    ]
    write_table("kills.csv", rows, test=__file__)
    assert sum(int(row["kills"]) for row in rows) >= 100
    assert {row[name] for row in rows for name in ("lost", "doubled", "different")} == {0}


def row(home: Path, *, sampler: str, rungs: int) -> dict[str, object]:
    home.mkdir()
    changes = {**CHANGES, "search__sampler": sampler, "rungs": RUNGS if rungs > 1 else {}}
    if sampler == "gp":  # a second for each proposal
        changes |= {"search__trials": 10, "search__startup_trials": 6}
    started = time.monotonic()
    whole = make_study_in(home / "whole", mirrored=True, **changes)
    drive(whole)
    whole.close()
    duration = time.monotonic() - started
    wanted = essence(whole.records)
    source = random.Random(f"{sampler}{rungs}")
    found = Counter(kills=0, lost=0, doubled=0, different=0)
    studies = 0
    while found["kills"] < KILLS:
        studies += 1
        folder = make_study_in(home / str(studies), **changes).folder
        while not killed(folder, after=source.uniform(0, 0.8 * duration), mirrored=True):
            found["kills"] += 1
        records = essence(read_records(folder))
        keys = Counter((record.trial, record.fidelity.rung) for record in records)
        found["lost"] += sum(record not in records for record in wanted)
        found["doubled"] += sum(number - 1 for number in keys.values())
        found["different"] += sum(record not in wanted for record in records)
    return {"sampler": sampler, "rungs": rungs, "studies": studies, **found}
