"""Ray Tune carries out what a study asks for.

Ray's part is small on purpose: it places evaluations on the resources of a machine or a cluster.
What to evaluate, what comes of it and what is written is the study's.
"""

import contextlib
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from spach_nas.config import Resources
from spach_nas.data import DataSplits
from spach_nas.engine.study import Signal, Study
from spach_nas.errors import StudyError
from spach_nas.evaluation import Evaluation, EvaluationRequest
from spach_nas.mixers import MixerSpec
from spach_nas.plugins import restore, shipped_modules
from spach_nas.records import Record

Evaluator = Callable[[EvaluationRequest, DataSplits], Evaluation]
# Nothing is sent anywhere, and Tune keeps no files of its own: the records are the truth.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402  # reads the environment when it is imported
from ray import tune  # noqa: E402
from ray.tune.experiment import Trial  # noqa: E402
from ray.tune.progress_reporter import TrialProgressCallback  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402


class StudySearcher(Searcher):  # type: ignore[misc]  # ray is untyped
    """Ray Tune's view of a study: a thin adapter."""

    def __init__(self, study: Study, on_record: Callable[[Record], None]) -> None:
        super().__init__()
        # Tune takes an exception in here for a failure of the trial: it is kept and raised later.
        self.failure: Exception | None = None
        self._study = study
        self._on_record = on_record
        self._requests: dict[str, EvaluationRequest] = {}
        self._evaluations: dict[str, Evaluation] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next request as the configuration of a Tune trial."""
        seen = len(self._study.records)
        asked = self._study.next()
        self._announce(seen)  # trials that share a score finish without being asked
        if asked is Signal.DONE:
            return str(Searcher.FINISHED)
        if asked is Signal.WAIT:
            return None
        assert isinstance(asked, EvaluationRequest)
        self._requests[trial_id] = asked
        return {"request": asked}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep what came back until the trial is over."""
        if "evaluation" in result:
            self._evaluations[trial_id] = result["evaluation"]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study. An evaluator does not raise, so that an error means a lost worker."""
        request = self._requests.pop(trial_id)
        evaluation = self._evaluations.pop(trial_id, None)
        seen = len(self._study.records)
        try:
            if evaluation is None:
                self._study.lose(request, "the worker was lost")
            else:
                self._study.tell(request, evaluation)
            self._announce(seen)
        except Exception as problem:
            self.failure = self.failure or problem
            self._study.stop()

    def _announce(self, seen: int) -> None:
        for record in self._study.records[seen:]:
            self._on_record(record)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher to restore it; ours is never restored from there.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study's records are the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study's records are the only state."""


class _Quiet(TrialProgressCallback):  # type: ignore[misc]  # ray is untyped
    """In the place of Tune's own printing: nothing is printed, and results are forgotten.

    Tune keeps the last result of every trial for ever, and the weights in it would fill the memory.
    """

    def on_trial_result(self, **_: Any) -> None:
        pass

    def on_trial_error(self, **_: Any) -> None:
        pass

    def on_trial_complete(self, trial: Trial, **_: Any) -> None:
        trial.last_result.pop("evaluation", None)


@contextlib.contextmanager
def ray_session(resources: Resources, mixers: Sequence[MixerSpec] = ()) -> Iterator[None]:
    """Start Ray on this machine or join a cluster, and leave it at the end.

    Args:
        resources: Where Ray runs.
        mixers: Those that do not come with this package; their modules are sent to the workers,
            unless they are installed.

    Raises:
        PluginError: The module of a mixer cannot be imported by its name.
        StudyError: The cluster cannot be reached.
    """
    local = resources.address == "local"
    modules = shipped_modules(mixers)
    try:
        ray.init(
            address=resources.address,
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            runtime_env={"py_modules": modules} if modules else None,
        )
    except (ConnectionError, ValueError, RuntimeError) as problem:
        text = " ".join(str(problem).split())
        raise StudyError(
            f"resources.address: {resources.address}: {text}; expected `local` or a running cluster"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def run_study(
    study: Study,
    evaluator: Evaluator,
    *,
    data: DataSplits,
    on_record: Callable[[Record], None],
    mixers: Sequence[MixerSpec] = (),
) -> None:
    """Evaluate until the study is done. Ctrl-C lets running trials finish; twice stops at once.

    Raises:
        StudyError: No node of the cluster has the resources of one trial.
    """
    resources = study.config.resources
    cpus, gpus = resources.cpus_per_trial, gpus_per_trial(resources)
    concurrent = _concurrent(resources, gpus)
    with tempfile.TemporaryDirectory(prefix="spach-nas-") as storage, _stop_on_interrupt(study):
        searcher = StudySearcher(study, on_record)
        trainable = tune.with_resources(
            tune.with_parameters(_evaluate, evaluator=evaluator, data=data, mixers=tuple(mixers)),
            {"cpu": cpus, "gpu": gpus},
        )
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                max_concurrent_trials=concurrent,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                storage_path=storage,
                name="trials",
                verbose=0,
                log_to_file=False,
                callbacks=[_Quiet()],
            ),
        )
        tuner.fit()
    if searcher.failure is not None:
        raise searcher.failure


def gpus_per_trial(resources: Resources) -> float:
    """GPUs of a trial: `auto` is one where the cluster has one."""
    if resources.gpus_per_trial != "auto":
        return float(resources.gpus_per_trial)
    return 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0


def _concurrent(resources: Resources, gpus: float) -> int:
    cluster = ray.cluster_resources()
    slots = cluster.get("CPU", 0) / resources.cpus_per_trial
    if gpus:
        slots = min(slots, cluster.get("GPU", 0) / gpus)
    if slots < 1:
        raise StudyError(
            f"resources: a trial takes {resources.cpus_per_trial} CPUs and {gpus:g} GPUs; expected "
            f"at most the {cluster.get('CPU', 0):g} CPUs and {cluster.get('GPU', 0):g} GPUs of "
            "the cluster"
        )
    return min(int(slots), resources.max_concurrent or int(slots))


def _evaluate(
    config: dict[str, Any],
    evaluator: Evaluator,
    data: DataSplits,
    mixers: tuple[MixerSpec, ...],
) -> None:
    restore(mixers)
    tune.report({"evaluation": evaluator(config["request"], data)})


@contextlib.contextmanager
def _stop_on_interrupt(study: Study) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return

    def stop(_: int, __: FrameType | None) -> None:
        study.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
