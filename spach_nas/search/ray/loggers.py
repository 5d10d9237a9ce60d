"""TensorBoard, MLflow and Weights & Biases, by Ray's own callbacks.

Ray Tune's own trials carry trained weights in their results and lie in a folder that is deleted.
So each finished record is handed to the callbacks as a small trial of its own, from a thread that
the search does not wait for. A logger that fails, as without a network, is left out after a warning
in the journal.
"""

import queue
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from spach_nas.errors import one_line
from spach_nas.study.journal import Journal
from spach_nas.study.records import Record

# Loggers get so many seconds to finish at the end of a search.
_PATIENCE = 60.0
LOGS = "logs"


@dataclass(frozen=True, eq=False, slots=True)
class LoggedTrial:
    """What Ray's callbacks look at in a trial of Tune.

    Attributes:
        trial_id: Unique, also on a server that several studies share.
        name: Shown, such as `trial-12-rung-0`.
        config: Plain values.
        local_path: Folder for the logger's files.
        experiment_dir_name: Groups the trials of a study.
    """

    trial_id: str
    name: str
    config: Mapping[str, Any]
    local_path: str
    experiment_dir_name: str

    @property
    def evaluated_params(self) -> Mapping[str, Any]:
        """The same as the configuration: there is nothing else."""
        return self.config

    def init_local_path(self) -> None:
        """Make the folder."""
        Path(self.local_path).mkdir(parents=True, exist_ok=True)

    def __str__(self) -> str:
        return self.name


class Callback(Protocol):
    """The part of `ray.tune.logger.LoggerCallback` that is used."""

    def setup(self) -> None:
        """Begin an experiment."""

    def log_trial_start(self, trial: Any) -> None:
        """Begin a trial."""

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Take the figures of an epoch."""

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End a trial."""

    def on_experiment_end(self, trials: list[Any]) -> None:
        """End the experiment."""


class Loggers:
    """Hands finished records to callbacks, in their order."""

    def __init__(
        self, callbacks: Mapping[str, Callable[[], Callback]], *, study: str, folder: Path
    ) -> None:
        """Loggers that have not begun.

        Args:
            callbacks: What makes each callback, by name.
            study: Name of the study.
            folder: Of the study.
        """
        self._makers = dict(callbacks)
        self._callbacks: dict[str, Callback] = {}
        self._study, self._folder = study, folder
        self._journal = Journal(folder)
        self._session = uuid.uuid4().hex[:8]
        self._records: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def record(self, record: Record) -> None:
        """Log a finished record, some time soon."""
        if not self._makers:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="loggers", daemon=True)
            self._thread.start()
        self._records.put(record)

    def close(self) -> None:
        """Wait until everything is logged, but not for ever. Ray must still be running."""
        if self._thread is None:
            return
        self._records.put(None)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            self._journal.write(
                "warning", {"reason": f"callbacks: not done within {_PATIENCE:.0f} s"}
            )
        self._thread = None

    def _work(self) -> None:
        for name in self._makers:
            self._try(name, partial(self._begin, name))
        while (record := self._records.get()) is not None:
            for name in list(self._callbacks):
                self._try(name, partial(self._log, name, record))
        for name, callback in list(self._callbacks.items()):
            self._try(name, partial(callback.on_experiment_end, trials=[]))
        # They look for Ray when they are deleted, which must not be after it.
        self._callbacks.clear()

    def _begin(self, name: str) -> None:
        callback = self._makers[name]()
        callback.setup()
        self._callbacks[name] = callback

    def _try(self, name: str, work: Callable[[], None]) -> None:
        """A logger is a guest: whatever goes wrong in it, the search goes on without it."""
        try:
            work()
        except Exception as problem:
            self._callbacks.pop(name, None)
            words = one_line(problem, named=True)
            self._journal.write("warning", {"reason": f"callbacks: {name}: left out after {words}"})

    def _log(self, name: str, record: Record) -> None:
        callback = self._callbacks[name]
        label = f"trial-{record.trial}-rung-{record.fidelity.rung}"
        trial = LoggedTrial(
            trial_id=f"{label}-{self._session}",
            name=label,
            config=_config(record),
            local_path=str((self._folder / LOGS / name / label).absolute()),
            experiment_dir_name=self._study,
        )
        trial.init_local_path()
        callback.log_trial_start(trial)
        for result in _results(record):
            callback.log_trial_result(result["training_iteration"], trial, result)
        callback.log_trial_end(trial, failed=record.state == "failed")


def _config(record: Record) -> dict[str, str | int | float]:
    """What was evaluated, in plain values."""
    architecture = record.architecture
    plain: dict[str, str | int | float] = {
        "trial": record.trial,
        "arch_id": record.arch_id,
        "architecture": str(architecture),
        "reference": record.reference or "",
        "stem": architecture.stem,
        "image_size": "x".join(map(str, architecture.image_size)),
        "epochs": record.fidelity.epochs,
        "rung": record.fidelity.rung,
        "data_share": record.fidelity.data_share,
        "seed": record.seed,
    }
    for number, stage in enumerate(architecture.stages, 1):
        plain[f"stage{number}_mixers"] = ",".join(stage.mixers)
        plain[f"stage{number}_width"] = stage.width
        plain[f"stage{number}_expansion_ratio"] = stage.expansion_ratio
    return plain


def _results(record: Record) -> list[dict[str, Any]]:
    """One dictionary for each epoch; of a trial that failed before its first, one all the same."""
    cost = {f"target_{name}": number for name, number in record.target_cost._asdict().items()}
    cost |= {f"proxy_{name}": number for name, number in record.proxy_cost._asdict().items()}
    results = []
    seconds = 0.0
    for number, epoch in enumerate(record.curve, 1):
        figures = asdict(epoch)
        seconds += figures.pop("seconds")
        results.append({**figures, **cost, "training_iteration": number, "time_total_s": seconds})
    return results or [{**cost, "training_iteration": 1, "time_total_s": record.seconds}]
