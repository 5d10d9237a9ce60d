"""`study.db`: a mirror of the records for optuna-dashboard."""

import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from spach_nas.objectives import Objective
from spach_nas.records import Record

FILE_NAME = "study.db"
# A trial takes SQLite and its layers 20 to 40 ms, more than all else that a study does with it.
# Where a thousand workers tell their trials, the mirror lags behind instead of all of them.
_SHARE_OF_TIME = 0.2
_SECONDS_AT_ONCE = 1.0
OPTUNA_DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}


class StudyMirror:
    """Writes every record as a finished trial of an Optuna study.

    It takes a fifth of the time at most: what comes faster waits, until `close` at the latest.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        objectives: tuple[Objective, ...],
        distributions: dict[str, BaseDistribution],
        top: int = 0,
        records: Sequence[Record] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the mirror, and add what it lacks of the records.

        One that cannot be read, or that holds something else, is made anew.

        Args:
            folder: Of the study.
            name: Of the study.
            objectives: Of the study.
            distributions: Of the parameters, by name.
            top: The rung of final scores.
            records: The study's so far.
            clock: Seconds.
        """
        self._clock = clock
        self._waiting: deque[Record] = deque()
        self._top = top
        self._objectives = objectives
        self._distributions = distributions
        self._path = folder / FILE_NAME
        self._name = name
        wanted = [_mark(record) for record in records]
        try:
            self._storage, self._study = self._open()
            trials = self._study.get_trials(deepcopy=False)
            seen = [trial.user_attrs.get("mark") for trial in trials]
        except Exception:  # SQLite and its layers have many ways to say that a file is damaged
            seen = [None]
        if seen != wanted[: len(seen)]:
            for path in folder.glob(f"{FILE_NAME}*"):
                path.unlink()
            self._storage, self._study = self._open()
            seen = []
        for record in records[len(seen) :]:
            self._write(record)
        self._begun, self._spent = clock(), 0.0

    def _open(self) -> tuple[RDBStorage, optuna.Study]:
        storage = RDBStorage(f"sqlite:///{self._path}")
        # Ten times faster than SQLite's default; the records are the truth, so that a mirror may
        # lose its last lines to a power cut.
        sqlalchemy.event.listen(storage.engine, "connect", _pragmas)
        storage.engine.dispose()
        study = optuna.create_study(
            study_name=self._name,
            storage=storage,
            directions=[OPTUNA_DIRECTIONS[item.direction] for item in self._objectives],
            load_if_exists=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([item.name for item in self._objectives])
        return storage, study

    def add(self, record: Record) -> None:
        """Add one record, soon."""
        self._waiting.append(record)
        while self._waiting and self._spent < self._allowed:
            before = self._clock()
            self._write(self._waiting.popleft())
            self._spent += self._clock() - before

    @property
    def _allowed(self) -> float:
        return _SECONDS_AT_ONCE + _SHARE_OF_TIME * (self._clock() - self._begun)

    def _write(self, record: Record) -> None:
        """Only records of the full fidelity are complete trials there."""
        complete = record.state == "complete" and record.fidelity.rung == self._top
        state = TrialState.PRUNED if record.state == "complete" else TrialState.FAIL
        known = set(record.encoding or {}) == set(self._distributions)
        self._study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if complete else state,
                values=[record.objectives[item.name] for item in self._objectives]
                if complete
                else None,
                params=dict(record.encoding or {}) if known else {},
                distributions=self._distributions if known else {},
                user_attrs={
                    "mark": _mark(record),
                    "trial": record.trial,
                    "rung": record.fidelity.rung,
                    "arch_id": record.arch_id,
                    "architecture": str(record.architecture),
                    "target_macs": record.target_cost.macs,
                    "target_params": record.target_cost.params,
                    "seconds": round(record.seconds, 3),
                    **({} if complete else dict(record.objectives)),
                    **({"reference": record.reference} if record.reference else {}),
                    **({"reason": record.reason} if record.reason else {}),
                },
            )
        )

    def close(self) -> None:
        """Add what waits, and let go of the file."""
        while self._waiting:
            self._write(self._waiting.popleft())
        self._storage.remove_session()
        self._storage.engine.dispose()


def _mark(record: Record) -> str:
    return f"{record.trial}/{record.fidelity.rung}/{record.arch_id}"


def _pragmas(connection: sqlalchemy.engine.interfaces.DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
