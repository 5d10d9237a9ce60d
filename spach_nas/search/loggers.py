"""TensorBoard, MLflow, Weights & Biases and loggers of your own, behind one small interface.

Loggers are called from their own thread, so that no search or training waits for them. One that
fails, for example without a network, is dropped after a warning in the journal.
"""

import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from spach_nas.config.logger_registry import LOGGERS
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.errors import ConfigError, StudyError, one_line
from spach_nas.registry import import_named
from spach_nas.study.journal import Journal
from spach_nas.study.records import Record

LOGS = "logs"
# Seconds that loggers have to finish at the end of a search.
PATIENCE = 60.0
_OF_URLS = frozenset("?%#")


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntry:
    """The figures of one run after one epoch.

    Attributes:
        run: Name to show, such as `trial-12-rung-0`.
        run_id: Unique name, also on a server that several studies share.
        params: What is trained; the same in all entries of a run.
        epoch: Number of the epoch, from 1.
        figures: Scores and costs by name; costs are the same after every epoch.
        state: `complete` or `failed` in the last entry of a run, if its end is known.
    """

    run: str
    run_id: str
    params: Mapping[str, str | int | float]
    epoch: int
    figures: Mapping[str, float]
    state: Literal["running", "complete", "failed"] = "running"


class Logger(Protocol):
    """Takes the figures of a search or a training. An exception drops the logger, nothing else."""

    def begin(self, study: str, folder: Path) -> None:
        """Called once, first.

        Args:
            study: Name of the study, or of the folder of a training.
            folder: For the logger's files; it need not exist.
        """

    def log(self, entry: LogEntry) -> None:
        """Called for every epoch; entries of one run come together and in order."""

    def end(self) -> None:
        """Called once, last; a run that is still open is complete."""


class Loggers:
    """Passes entries to loggers, in order, from a thread of its own."""

    def __init__(
        self,
        makers: Mapping[str, Callable[[], Logger]],
        *,
        study: str,
        folder: Path,
        key: str = "callbacks",
    ) -> None:
        """Prepare loggers, which begin with the first entry.

        Args:
            makers: Functions that make the loggers, by name; called in the thread.
            study: Name of the study.
            folder: Folder of the study, whose journal gets the warnings.
            key: Key of the YAML, for the warnings.
        """
        self._makers = dict(makers)
        self._loggers: dict[str, Logger] = {}
        self._study, self._folder, self._key = study, folder, key
        self._journal = Journal(folder)
        self._session = uuid.uuid4().hex[:8]
        self._entries: queue.SimpleQueue[LogEntry | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run_id(self, run: str) -> str:
        """A unique name for a run, which differs each time that a search or training resumes."""
        return f"{run}-{self._session}"

    def record(self, record: Record) -> None:
        """Log a finished record without waiting."""
        if self._makers:
            for entry in record_entries(record, run_id=self.run_id(run_name(record))):
                self.log(entry)

    def log(self, entry: LogEntry) -> None:
        """Log an entry without waiting."""
        if not self._makers:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="loggers", daemon=True)
            self._thread.start()
        self._entries.put(entry)

    def close(self) -> None:
        """Wait until everything is logged, at most `PATIENCE` seconds."""
        if self._thread is None:
            return
        self._entries.put(None)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._warn(f"not done within {PATIENCE:.0f} s")
        self._thread = None

    def _work(self) -> None:
        for name in self._makers:
            self._try(name, partial(self._begin, name))
        while (entry := self._entries.get()) is not None:
            for name, logger in list(self._loggers.items()):
                self._try(name, partial(logger.log, entry))
        for name, logger in list(self._loggers.items()):
            self._try(name, logger.end)

    def _begin(self, name: str) -> None:
        logger = self._makers[name]()
        logger.begin(self._study, (self._folder / LOGS / name).absolute())
        self._loggers[name] = logger

    def _try(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as problem:  # foreign code may raise anything; the search continues
            self._loggers.pop(name, None)
            self._warn(f"{name}: left out after {one_line(problem, named=True)}")

    def _warn(self, words: str) -> None:
        self._journal.write("warning", {"reason": f"{self._key}: {words}"})


def run_name(record: Record) -> str:
    """Name of the run under which a record is logged."""
    return f"trial-{record.trial}-rung-{record.fidelity.rung}"


def record_entries(record: Record, *, run_id: str) -> Iterator[LogEntry]:
    """An entry for each epoch of a record; one entry without any, as for an untrained score."""
    costs = {f"target_{name}": number for name, number in record.target_cost._asdict().items()}
    costs |= {f"proxy_{name}": number for name, number in record.proxy_cost._asdict().items()}
    entry = partial(LogEntry, run=run_name(record), run_id=run_id, params=_params(record))
    if not record.curve:
        scores = {
            name: value
            for name, value in record.objectives.items()
            if name in OBJECTIVES and OBJECTIVES[name].source == "score"
        }
        figures = {**costs, **scores, "seconds": record.seconds}
        yield entry(epoch=1, figures=figures, state=record.state)
    seconds = 0.0
    for number, epoch in enumerate(record.curve, 1):
        figures = {name: value for name, value in asdict(epoch).items() if value is not None}
        figures["seconds"] = seconds = seconds + epoch.seconds  # since the training began
        last = number == len(record.curve)
        yield entry(
            epoch=number, figures={**figures, **costs}, state=record.state if last else "running"
        )


def _params(record: Record) -> dict[str, str | int | float]:
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


@dataclass(kw_only=True, slots=True)
class TensorBoard:
    """Event files, a folder for each run, with its parameters in the HParams view."""

    _folder: Path = field(init=False)
    _runs: dict[str, Any] = field(default_factory=dict)
    _last: LogEntry | None = None

    def begin(self, study: str, folder: Path) -> None:
        """Note the folder."""
        self._folder = folder

    def log(self, entry: LogEntry) -> None:
        """Write the figures of an epoch."""
        from tensorboardX import SummaryWriter

        if entry.run not in self._runs:
            self._runs[entry.run] = SummaryWriter(str(self._folder / entry.run))
        writer, self._last = self._runs[entry.run], entry
        for name, value in entry.figures.items():
            writer.add_scalar(name, value, global_step=entry.epoch)
        writer.flush()
        if entry.state != "running":
            self._close(entry)

    def end(self) -> None:
        """Close the open run."""
        if self._runs and self._last is not None:
            self._close(self._last)

    def _close(self, last: LogEntry) -> None:
        from tensorboardX.summary import hparams

        writer = self._runs.pop(last.run)
        # `add_hparams` would write into another folder, which is shown as another run.
        for summary in hparams(dict(last.params), dict(last.figures)):
            writer.file_writer.add_summary(summary)
        writer.close()


@dataclass(kw_only=True, slots=True)
class MLflow:
    """MLflow, in SQLite unless `MLFLOW_TRACKING_URI` names a server."""

    _client: Any = None
    _experiment: str = ""
    _runs: dict[str, str] = field(default_factory=dict)

    def begin(self, study: str, folder: Path) -> None:
        """Open the experiment of the study."""
        uri = os.environ.get("MLFLOW_TRACKING_URI") or _database(folder)
        from mlflow import MlflowClient

        # They would print into the live view.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._client = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(study)
        self._experiment = found.experiment_id if found else self._client.create_experiment(study)

    def log(self, entry: LogEntry) -> None:
        """Log the figures of an epoch, and the parameters with the first."""
        from mlflow.entities import Metric, Param

        params: list[Any] = []
        if entry.run not in self._runs:
            run = self._client.create_run(self._experiment, run_name=entry.run)
            self._runs[entry.run] = run.info.run_id
            params = [Param(name, str(value)) for name, value in entry.params.items()]
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, entry.epoch) for name, value in entry.figures.items()]
        self._client.log_batch(self._runs[entry.run], metrics=metrics, params=params)
        if entry.state != "running":
            self._close(entry.run, failed=entry.state == "failed")

    def end(self) -> None:
        """Close what is open."""
        for run in list(self._runs):
            self._close(run, failed=False)

    def _close(self, run: str, *, failed: bool) -> None:
        status = "FAILED" if failed else "FINISHED"
        self._client.set_terminated(self._runs.pop(run), status=status)


def _database(folder: Path) -> str:
    if meant := sorted(_OF_URLS & set(str(folder))):
        raise StudyError(
            f"callbacks: mlflow: {folder}: {' and '.join(meant)} would be read as parts of a "
            "URL; expected another folder, or a server in MLFLOW_TRACKING_URI"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}"


@dataclass(kw_only=True, slots=True)
class WandB:
    """Weights & Biases; offline without a login, unless `WANDB_MODE` says otherwise."""

    _study: str = ""
    _folder: Path = field(init=False)
    _runs: dict[str, Any] = field(default_factory=dict)

    def begin(self, study: str, folder: Path) -> None:
        """Note the folder; a run begins with its first entry."""
        folder.mkdir(parents=True, exist_ok=True)
        self._study, self._folder = study, folder

    def log(self, entry: LogEntry) -> None:
        """Log the figures of an epoch."""
        if entry.run not in self._runs:
            self._runs[entry.run] = self._start(entry)
        run = self._runs[entry.run]
        run.log(dict(entry.figures), step=entry.epoch)
        if entry.state != "running":
            self._runs.pop(entry.run).finish(exit_code=int(entry.state == "failed"))

    def end(self) -> None:
        """Close what is open."""
        for name in list(self._runs):
            self._runs.pop(name).finish()

    def _start(self, entry: LogEntry) -> Any:
        import wandb

        return wandb.init(
            project=os.environ.get("WANDB_PROJECT_NAME") or self._study,
            group=self._study,
            name=entry.run,
            id=entry.run_id,
            config=dict(entry.params),
            dir=str(self._folder),
            mode=os.environ.get("WANDB_MODE") or ("online" if has_wandb_key() else "offline"),
            # It would print into the live view.
            settings=wandb.Settings(console="off", silent=True),
        )


def has_wandb_key() -> bool:
    """Whether the user has logged in: `wandb login` leaves the key in netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False


def named_loggers(names: Iterable[str]) -> dict[str, Callable[[], Logger]]:
    """Functions that make the loggers that a YAML names.

    Raises:
        PluginError: A logger's class cannot be imported.
    """
    return {
        name: import_named(LOGGERS.find(name).factory, what=f"logger {name!r}") for name in names
    }


def check_packages(names: Iterable[str], *, key: str) -> None:
    """Check that some loggers and the packages that they need are installed.

    Args:
        names: Names of registered loggers.
        key: The key of the YAML that names them, for the message.

    Raises:
        ConfigError: A package is missing.
        PluginError: A logger's class cannot be imported.
    """
    packages = {name: LOGGERS.find(name).package for name in names}
    mistakes = [
        f"{key}: {name}: needs the package {package}; expected `pip install {package}`"
        for name, package in packages.items()
        if package and find_spec(package) is None
    ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    named_loggers(packages)
