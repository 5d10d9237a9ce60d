"""Studies that are killed, and what is left of them."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from search_tools import drive, make_study, open_study
from spach_nas.study.driver import StudyDriver
from spach_nas.study.records import Record

SAMPLERS = ("random", "nsga2", "tpe", "gp", "evolution", "local", "surrogate", "NSGAIIISampler")
RUNGS = {"levels": [{"epochs": 1}, {"epochs": 2}], "reduction": 2}
CHANGES = {
    "search__trials": 16,
    "search__startup_trials": 4,
    "training__epochs": 4,
    "rungs": RUNGS,
}


def make_study_in(folder: Path, **changes: object) -> StudyDriver:
    folder.mkdir()
    return make_study(folder, **changes)


def essence(records: Sequence[Record]) -> list[Record]:
    """All of the records but for times."""
    return [replace(record, finished_at="", started=0.0) for record in records]


def killed(folder: Path, *, after: float, mirrored: bool = False) -> bool:
    """Go on with a study in a process that is killed; whether it came to its end before."""
    child = os.fork()
    if child == 0:
        drive(open_study(folder, mirrored=mirrored))
        os._exit(0)
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0, "the child failed"
            return True
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False
