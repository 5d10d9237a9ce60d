"""The curve of a training to TensorBoard, MLflow or Weights & Biases, by Ray's own callbacks.

A thread beside the training reads the curve and hands each new epoch on. A logger that fails, as
without a network, is left out after a line in the journal; the training goes on.
"""

import threading
import uuid
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from spach_nas.errors import one_line
from spach_nas.full_size.job import Job
from spach_nas.full_size.recipe import LoggerName
from spach_nas.full_size.run_folder import EpochLine, read_curve
from spach_nas.search.ray.logger_choice import make_callback
from spach_nas.search.ray.loggers import LOGS, Callback, LoggedTrial
from spach_nas.study.journal import Journal

_SECONDS = 1.0


class CurveLoggers:
    """Follows the curve inside of a `with` block.

    Args:
        job: The training; its recipe names the loggers.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._journal = job, Journal(job.folder)
        self._session = uuid.uuid4().hex[:8]
        self._callbacks: dict[str, tuple[Callback, LoggedTrial]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="loggers", daemon=True)
        self._seen = len(read_curve(job.folder))

    def __enter__(self) -> None:
        if self._job.recipe.loggers:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._job.recipe.loggers:
            self._thread.join()

    def _follow(self) -> None:
        for name in self._job.recipe.loggers:
            self._try(name, partial(self._begin, name))
        while not self._ended.wait(_SECONDS):
            self._log_new()
        self._log_new()
        for known, (callback, trial) in list(self._callbacks.items()):
            self._try(known, partial(callback.log_trial_end, trial))
            self._try(known, partial(callback.on_experiment_end, trials=[]))

    def _begin(self, name: LoggerName) -> None:
        job = self._job
        callback: Callback = make_callback(name, job.folder.name, job.folder)
        trial = LoggedTrial(
            trial_id=f"{job.folder.name}-{self._session}",
            name=job.folder.name,
            config={
                "arch_id": job.architecture.arch_id,
                "architecture": str(job.architecture),
                "epochs": job.recipe.epochs,
                "batch_size": job.recipe.batch_size,
                "learning_rate": job.recipe.peak_rate,
                "seed": job.recipe.seed,
            },
            local_path=str(job.folder / LOGS / name),
            experiment_dir_name=job.folder.name,
        )
        trial.init_local_path()
        callback.setup()
        callback.log_trial_start(trial)
        self._callbacks[name] = callback, trial

    def _log_new(self) -> None:
        curve = read_curve(self._job.folder)
        for line in curve[self._seen :]:
            for name in list(self._callbacks):
                self._try(name, partial(self._log, name, line))
        self._seen = len(curve)

    def _log(self, name: str, line: EpochLine) -> None:
        callback, trial = self._callbacks[name]
        figures = {key: value for key, value in asdict(line).items() if value is not None}
        callback.log_trial_result(line.epoch, trial, {**figures, "training_iteration": line.epoch})

    def _try(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        # Whatever goes wrong in a foreign logger, the training goes on without it.
        except Exception as problem:
            self._callbacks.pop(name, None)
            words = f"left out after {one_line(problem, named=True)}"
            self._journal.write("warning", {"reason": f"loggers: {name}: {words}"})
