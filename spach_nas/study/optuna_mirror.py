"""`study.db`: a copy of the records for optuna-dashboard."""

import contextlib
import sqlite3
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from spach_nas.config.objectives import Objective
from spach_nas.samplers.feasible_sampler import OPTUNA_DIRECTIONS
from spach_nas.study.records import Record

FILE_NAME = "study.db"
# A trial takes SQLite and its layers 20 to 40 ms, more than everything else that a study does with
# it. With a thousand workers, the mirror lags behind instead of holding them up.
_SHARE_OF_TIME = 0.2
SECONDS_AT_ONCE = 1.0


class StudyMirror:
    """Writes every trial of a search into an Optuna study: number, times, values, epochs.

    A promoted trial replaces its earlier state. Writing takes at most a fifth of the time; records
    that come faster wait, until `close` at the latest.
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
        """Open the mirror and add missing records.

        A file that cannot be read, or that holds anything else, is replaced.

        Args:
            folder: Folder of the study.
            name: Name of the study.
            objectives: Objectives of the study.
            distributions: Distributions of the parameters, by name.
            top: The rung of final scores.
            records: Records of the study so far.
            clock: Returns seconds.
        """
        self._clock = clock
        self._waiting: deque[Record] = deque()
        self._top = top
        self._objectives = objectives
        self._distributions = distributions
        self._path = folder / FILE_NAME
        self._name = name
        marks: defaultdict[int, list[str]] = defaultdict(list)
        for record in records:
            marks[record.trial].append(_mark(record))
        try:
            seen = self._open()
        except Exception:  # SQLite and its layers raise many errors for a damaged file
            seen = {-1: None}
        if not all(mark in marks.get(number, []) for number, mark in seen.items()):
            for path in folder.glob(f"{FILE_NAME}*"):
                path.unlink()
            seen = self._open()
        last = {record.trial: record for record in records}
        for number, record in last.items():
            if seen.get(number) != _mark(record):
                self._write(record)
        self._begun, self._spent = clock(), 0.0

    def _open(self) -> dict[int, str | None]:
        """Open the file; return its mark of each trial."""
        # With a creator, since a path may contain characters that have a meaning in a URL.
        connect = partial(sqlite3.connect, self._path, check_same_thread=False)
        self._storage = RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect})
        # Ten times faster than SQLite's default. A power cut may lose the last lines, which the
        # records restore.
        sqlalchemy.event.listen(self._storage.engine, "connect", _pragmas)
        self._storage.engine.dispose()
        # Optuna numbers trials in the order in which they are added, and ours end in any order.
        sqlalchemy.event.listen(self._storage.scoped_session, "before_flush", self._number)
        study = optuna.create_study(
            study_name=self._name,
            storage=self._storage,
            directions=[OPTUNA_DIRECTIONS[item.direction] for item in self._objectives],
            load_if_exists=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([item.name for item in self._objectives])
        self._id = self._storage.get_study_id_from_name(self._name)
        self._tables = sqlalchemy.MetaData()
        self._tables.reflect(self._storage.engine)
        trials = self._storage.get_all_trials(self._id, deepcopy=False)
        self._ids = {trial.number: trial._trial_id for trial in trials}
        if len(self._ids) < len(trials):
            return {-1: None}  # a kill has left an earlier state of a trial next to its last
        return {trial.number: trial.user_attrs.get("mark") for trial in trials}

    def _number(self, session: Session, *_: object) -> None:
        for item in session.dirty:
            if getattr(item, "number", None) is not None:
                item.number = self._writing

    def add(self, record: Record) -> None:
        """Add a record, now or later."""
        self._waiting.append(record)
        while self._waiting and self._spent < self._allowed:
            before = self._clock()
            self._write(self._waiting.popleft())
            self._spent += self._clock() - before

    @property
    def _allowed(self) -> float:
        return SECONDS_AT_ONCE + _SHARE_OF_TIME * (self._clock() - self._begun)

    def _write(self, record: Record) -> None:
        self._writing = record.trial
        added = self._storage.create_new_trial(self._id, template_trial=self._as_trial(record))
        before = self._ids.get(record.trial)
        self._ids[record.trial] = added
        if before is None:
            return
        # The old one is deleted last, since readers look for larger identities than they have seen.
        with self._storage.engine.begin() as connection:
            for table in self._tables.sorted_tables:
                if "trial_id" in table.c:
                    connection.execute(table.delete().where(table.c.trial_id == before))

    def _as_trial(self, record: Record) -> FrozenTrial:
        """The record as a trial; only those at the full fidelity are complete."""
        complete = record.state == "complete" and record.fidelity.rung == self._top
        state = TrialState.PRUNED if record.state == "complete" else TrialState.FAIL
        known = set(record.encoding or {}) == set(self._distributions)
        # Optuna keeps local times without a zone.
        end = datetime.fromisoformat(record.finished_at).astimezone().replace(tzinfo=None)
        score = next((item.name for item in self._objectives if item.source == "score"), "accuracy")
        return FrozenTrial(
            number=record.trial,
            trial_id=-1,  # replaced by the storage
            state=TrialState.COMPLETE if complete else state,
            value=None,
            values=[record.objectives[item.name] for item in self._objectives]
            if complete
            else None,
            datetime_start=end - timedelta(seconds=record.seconds),
            datetime_complete=end,
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
            system_attrs={},
            intermediate_values={
                number: getattr(epoch, score) for number, epoch in enumerate(record.curve, 1)
            },
        )

    def close(self) -> None:
        """Add the records that wait, and close the file."""
        while self._waiting:
            self._write(self._waiting.popleft())
        self._storage.remove_session()
        self._storage.engine.dispose()
        # A database in WAL mode cannot be opened in a read-only folder. If it is being read at this
        # moment, it stays in that mode.
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(self._path, timeout=0)) as connection,
        ):
            connection.execute("PRAGMA journal_mode=DELETE")


def _mark(record: Record) -> str:
    # The last number is the version of the format: files of other versions are replaced.
    return f"{record.trial}/{record.fidelity.rung}/{record.arch_id}/2"


def _pragmas(connection: sqlalchemy.engine.interfaces.DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
