"""`study.db` says what the records say, as Optuna and optuna-dashboard read it."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from search_tools import drive, evaluate, make_study, open_study
from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.study import optuna_mirror
from spach_nas.study.driver import StudyDriver
from spach_nas.study.records import Record

RUNGS = {"rungs": {"levels": [{"epochs": 1}], "reduction": 2}, "training__epochs": 3}


@contextmanager
def read(folder: Path) -> Iterator[Callable[[], list[FrozenTrial]]]:
    """The trials in a mirror, as a dashboard that stays open reads them."""
    connect = partial(sqlite3.connect, folder / "study.db", check_same_thread=False)
    storage = optuna.storages.RDBStorage("sqlite:///", engine_kwargs={"creator": connect})
    study = optuna.load_study(study_name="small", storage=storage)
    yield lambda: study.trials
    storage.remove_session()
    storage.engine.dispose()


def run_backwards(study: StudyDriver, workers: int = 3) -> None:
    """Tell so many at a time in the opposite order of that in which they were asked."""
    while True:
        asked = [study.next() for _ in range(workers)]
        requests = [item for item in asked if isinstance(item, EvaluationRequest)]
        if not requests:
            return
        for request in reversed(requests):
            failed = Evaluation(state="failed", reason="x", seconds=2.5)
            study.tell(request, failed if request.trial == 5 else evaluate(request))


def check(trials: list[FrozenTrial], records: list[Record]) -> None:
    """Each trial is what the last record about it says."""
    last = {record.trial: record for record in records}
    assert [trial.number for trial in trials] == sorted(last)
    for trial in trials:
        record = last[trial.number]
        assert trial.params == record.encoding
        duration = trial.duration
        assert duration is not None
        assert duration.total_seconds() == pytest.approx(record.seconds, abs=1e-5)
        assert trial.datetime_complete is not None
        end = trial.datetime_complete.astimezone(UTC)
        assert end == datetime.fromisoformat(record.finished_at)
        assert trial.intermediate_values == {
            number: epoch.accuracy for number, epoch in enumerate(record.curve, 1)
        }
        if trial.state == TrialState.COMPLETE:
            assert trial.values == list(record.objectives.values())


def test_numbers_times_and_epochs_are_those_of_the_records(tmp_path: Path) -> None:
    study = make_study(tmp_path, mirrored=True, search__trials=7, training__epochs=2)
    run_backwards(study)
    records = list(study.records)
    study.close()
    assert [record.trial for record in records[:3]] == [2, 1, 0]
    with read(study.folder) as trials:
        check(trials(), records)
        states = [trial.state for trial in trials()]
    assert states == [
        TrialState.FAIL if number == 5 else TrialState.COMPLETE for number in range(7)
    ]


def test_a_trial_that_goes_on_stays_one_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna_mirror, "SECONDS_AT_ONCE", 1000.0)  # nothing waits
    study = make_study(tmp_path, mirrored=True, search__trials=4, **RUNGS)
    for _ in range(3):
        request = study.next()
        assert isinstance(request, EvaluationRequest)
        study.tell(request, evaluate(request))
    with read(study.folder) as trials:  # a dashboard that is open
        check(trials(), list(study.records))
        study.close()
        again = open_study(study.folder, mirrored=True)
        drive(again)
        check(trials(), list(again.records))
        pruned = {trial.number for trial in trials() if trial.state == TrialState.PRUNED}
        again.close()
    top = {record.trial for record in again.records if record.fidelity.rung == 1}
    assert top and pruned == set(range(4)) - top


def test_a_mirror_lies_in_its_own_folder_and_can_be_read_where_nothing_can_be_written(
    tmp_path: Path,
) -> None:
    # In a URL, `-lr` would be opened.
    name = "-lr?=1 #50%41 {x} it's \u00e9 e\u0301 &a=b;c"
    home = tmp_path / name
    home.mkdir()
    study = make_study(home, mirrored=True, search__trials=1)
    drive(study)
    study.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert [path.name for path in study.folder.glob("study.db*")] == ["study.db"]
    # sqlite.org/fileformat.html, 1.3: 1 is a rollback journal, 2 is WAL, which writes to be read.
    assert (study.folder / "study.db").read_bytes()[18:20] == b"\x01\x01"
    with read(study.folder) as trials:
        assert len(trials()) == 1


def test_what_a_kill_has_left_twice_is_made_anew(tmp_path: Path) -> None:
    study = make_study(tmp_path, mirrored=True, search__trials=3)
    drive(study)
    study.close()
    with closing(sqlite3.connect(study.folder / "study.db")) as torn:
        torn.execute("UPDATE trials SET number = 0 WHERE number = 1")
        torn.commit()
    again = open_study(study.folder, mirrored=True)
    again.close()
    with read(study.folder) as trials:
        check(trials(), list(again.records))
