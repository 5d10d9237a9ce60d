"""Ray Tune's view of a study: a thin adapter.

Tune never forgets the configuration, the last result and the error of a trial, so large values are
removed from them here as soon as a trial is over.
"""

import contextlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.errors import one_line
from spach_nas.study.driver import Signal, StudyDriver
from spach_nas.study.records import Record

TASK, EVALUATION = "task", "evaluation"
_LOST = "the worker was lost"


@dataclass(kw_only=True, slots=True, eq=False)
class WorkerTask:
    """What a worker needs for one request.

    Attributes:
        request: The request.
        checkpoint: Reference to the content of the request's parent in Ray's object store, since
            other machines cannot read the study's folder; None without a parent.
        arrived: The same reference in the worker.
    """

    request: EvaluationRequest = field(repr=False)
    checkpoint: Any = field(default=None, repr=False)
    arrived: Any = field(default=None, repr=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> "WorkerTask":
        # Tune copies configurations and keeps the copies; a single object can be emptied.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers send their configuration back, and Tune keeps it: with the reference in it, the
        # bytes would stay in the object store.
        return _unpack, (self.request, self.checkpoint)


def _unpack(request: EvaluationRequest, checkpoint: Any) -> WorkerTask:
    return WorkerTask(request=request, arrived=checkpoint)


class StudySearcher(Searcher):  # type: ignore[misc]  # ray is untyped
    """Asks a study on behalf of Tune, and tells it the outcome of trials.

    Attributes:
        failure: The exception that stopped the study, as on a full disk, to be raised once Tune has
            ended. Raised in here, Tune would take it for a failure of the trial.
    """

    def __init__(
        self,
        study: StudyDriver,
        on_record: Callable[[Record], None],
        *,
        slots: Callable[[], int] | None = None,
        put: Callable[[bytes], Any] = ray.put,
    ) -> None:
        """Adapt a study.

        Args:
            study: The study.
            on_record: Called with every new record.
            slots: Returns the largest number of trials at once; None: no bound.
            put: Stores the bytes of a checkpoint where workers can read them.
        """
        super().__init__()
        self.failure: Exception | None = None
        self._study = study
        self._on_record = on_record
        self._slots = slots
        self._put = put
        self._tasks: dict[str, WorkerTask] = {}
        self._evaluations: dict[str, Evaluation] = {}
        self._unexplained: dict[str, EvaluationRequest] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next request as the configuration of a Tune trial."""
        for lost in tuple(self._unexplained):
            self.explain(lost, _LOST)
        if self._slots is not None and len(self._tasks) >= self._slots():
            return None
        asked = self._guarded(self._study.next)
        if self.failure is not None or asked is Signal.DONE:
            return str(Searcher.FINISHED)
        if asked is Signal.WAIT:
            return None
        assert isinstance(asked, EvaluationRequest)
        task = WorkerTask(request=asked, checkpoint=self._checkpoint(asked))
        self._tasks[trial_id] = task
        return {TASK: task}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep the evaluation until the trial is over."""
        if EVALUATION in result:
            self._evaluations[trial_id] = result[EVALUATION]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study; after an error `explain` does so, which knows the reason."""
        task = self._tasks.pop(trial_id)
        task.checkpoint = None
        request, evaluation = task.request, self._evaluations.pop(trial_id, None)
        if evaluation is None:
            self._unexplained[trial_id] = request
        else:
            self._guarded(lambda: self._study.tell(request, evaluation))

    def explain(self, trial_id: str, reason: str) -> None:
        """Tell the study why a trial was lost.

        Evaluators do not raise when a candidate fails, so infrastructure has failed.
        """
        request = self._unexplained.pop(trial_id, None)
        if request is not None:
            self._guarded(lambda: self._study.lose(request, reason))

    def _guarded(self, step: Callable[[], object]) -> object:
        """Do one step of the study and announce its new records; do nothing after a failure."""
        if self.failure is not None:
            return None
        seen = len(self._study.records)
        try:
            try:
                return step()
            finally:
                for record in self._study.records[seen:]:
                    self._on_record(record)
        except Exception as problem:
            self.failure = problem
            self._study.stop()
            return None

    def _checkpoint(self, request: EvaluationRequest) -> Any:
        if request.parent is None:
            return None
        try:
            return self._put(request.parent.read_bytes())
        except FileNotFoundError:
            return None  # the course is trained from its beginning, with the same result

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher to restore it; ours is never restored from there.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study's records are the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study's records are the only state."""


class TrialListener(TrialProgressCallback):  # type: ignore[misc]  # ray is untyped
    """Replaces Tune's own printing: prints nothing, and reports why trials were lost."""

    def __init__(self, searcher: StudySearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def on_trial_result(self, **_: Any) -> None:
        """Print nothing."""

    def on_trial_error(self, trial: Trial, **_: Any) -> None:
        """Report the reason and drop earlier results."""
        _forget_result(trial)
        self._searcher.explain(trial.trial_id, loss_reason(trial))

    def on_trial_complete(self, trial: Trial, **_: Any) -> None:
        """Drop the result, since the weights in it would fill the memory."""
        _forget_result(trial)


class FailureStopper(Stopper):  # type: ignore[misc]  # ray is untyped
    """Ends all trials at once when their results cannot be saved."""

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to stop one trial: never."""
        return False

    def stop_all(self) -> bool:
        """Whether to stop everything."""
        return self._searcher.failure is not None

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _forget_result(trial: Trial) -> None:
    result = trial.run_metadata.last_result
    for name in (EVALUATION, "config"):  # the worker's copy of the configuration
        result.pop(name, None)
    # Without a result, Tune would ask the worker for one later, and end if that is dead.
    result.setdefault("done", True)


def loss_reason(trial: Trial) -> str:
    """Why Tune lost a trial, in one line."""
    error = _error(trial)
    if isinstance(error, RayTaskError):
        return _innermost(error.cause)
    with contextlib.suppress(OSError, TypeError):
        if "running low on memory" in Path(trial.error_file).read_text(encoding="utf-8"):
            return "OutOfMemoryError: its machine ran low on memory, and Ray ended the worker"
    return _LOST if error is None else f"{type(error).__name__}: {_LOST}"


def _error(trial: Trial) -> Exception | None:
    # From where Tune has just written it: `get_pickled_error` reads a copy that is made at the end.
    try:
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
    except Exception:  # no file, or an error that cannot be restored
        return None
    return error if isinstance(error, Exception) else None


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(error, named=True)
