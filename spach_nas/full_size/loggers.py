"""The curve of a training to TensorBoard, MLflow or Weights & Biases.

A thread next to the training reads the curve and hands each new epoch on.
"""

import threading
from dataclasses import asdict

from spach_nas.full_size.job import Job
from spach_nas.full_size.run_folder import read_curve
from spach_nas.search.loggers import LogEntry, Loggers, named_loggers

_SECONDS = 1.0


class CurveLoggers:
    """Follows the curve inside a `with` block.

    Args:
        job: The training; its recipe names the loggers.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._name = job, job.folder.name
        makers = named_loggers(job.recipe.loggers)
        self._loggers = Loggers(makers, study=self._name, folder=job.folder, key="loggers")
        self._run_id = self._loggers.run_id(self._name)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="curve", daemon=True)
        self._seen = len(read_curve(job.folder))

    def __enter__(self) -> None:
        if self._job.recipe.loggers:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._job.recipe.loggers:
            self._thread.join()
            self._loggers.close()

    def _follow(self) -> None:
        while not self._ended.wait(_SECONDS):
            self._log_new()
        self._log_new()

    def _log_new(self) -> None:
        curve = read_curve(self._job.folder)
        for line in curve[self._seen :]:
            figures = {name: value for name, value in asdict(line).items() if value is not None}
            del figures["epoch"]
            self._loggers.log(
                LogEntry(
                    run=self._name,
                    run_id=self._run_id,
                    params=self._params(),
                    epoch=line.epoch,
                    figures=figures,
                )
            )
        self._seen = len(curve)

    def _params(self) -> dict[str, str | int | float]:
        job = self._job
        return {
            "arch_id": job.architecture.arch_id,
            "architecture": str(job.architecture),
            "epochs": job.recipe.epochs,
            "batch_size": job.recipe.batch_size,
            "learning_rate": job.recipe.peak_rate,
            "seed": job.recipe.seed,
        }
