"""`study.db`: a mirror of the records for optuna-dashboard."""

import warnings
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
OPTUNA_DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}


class StudyMirror:
    """Writes every record as a finished trial of an Optuna study."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        objectives: tuple[Objective, ...],
        distributions: dict[str, BaseDistribution],
    ) -> None:
        self._objectives = objectives
        self._distributions = distributions
        storage = RDBStorage(f"sqlite:///{folder / FILE_NAME}")
        # Ten times faster than SQLite's default; the records are the truth, so that a mirror may
        # lose its last lines to a power cut.
        sqlalchemy.event.listen(storage.engine, "connect", _pragmas)
        storage.engine.dispose()
        self._storage = storage
        self._study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=[OPTUNA_DIRECTIONS[item.direction] for item in objectives],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.set_metric_names([item.name for item in objectives])

    def add(self, record: Record) -> None:
        """Add one record."""
        complete = record.state == "complete"
        known = set(record.encoding or {}) == set(self._distributions)
        self._study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if complete else TrialState.FAIL,
                values=[record.objectives[item.name] for item in self._objectives]
                if complete
                else None,
                params=dict(record.encoding or {}) if known else {},
                distributions=self._distributions if known else {},
                user_attrs={
                    "trial": record.trial,
                    "arch_id": record.arch_id,
                    "architecture": str(record.architecture),
                    "target_macs": record.target_cost.macs,
                    "target_params": record.target_cost.params,
                    "seconds": round(record.seconds, 3),
                    **({"reference": record.reference} if record.reference else {}),
                    **({"reason": record.reason} if record.reason else {}),
                },
            )
        )

    def close(self) -> None:
        """Let go of the file."""
        self._storage.remove_session()
        self._storage.engine.dispose()


def _pragmas(connection: sqlalchemy.engine.interfaces.DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
