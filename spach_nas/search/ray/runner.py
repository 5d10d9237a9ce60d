"""Runs the requests of a study on Ray Tune.

Ray only places evaluations on the resources of a machine or a cluster. The study decides what to
evaluate, learns from the results and writes them down.
"""

import contextlib
import functools
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError

from spach_nas.config.plugins import restore
from spach_nas.data import DataSplits
from spach_nas.errors import StudyError, one_line
from spach_nas.evaluators.interface import Evaluator
from spach_nas.search.ray.ray_patches import mend_ray
from spach_nas.search.ray.searcher import (
    EVALUATION,
    TASK,
    FailureStopper,
    StudySearcher,
    TrialListener,
)
from spach_nas.search.ray.session import demand, ray_session, trial_slots
from spach_nas.space.mixers import MixerSpec
from spach_nas.study.driver import StudyDriver
from spach_nas.study.records import Record

__all__ = ["Evaluator", "ray_session", "run_study"]
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none


def run_study(
    study: StudyDriver,
    evaluator: Evaluator,
    *,
    data: Mapping[tuple[int, int], DataSplits],
    on_record: Callable[[Record], None],
    mixers: Sequence[MixerSpec] = (),
) -> None:
    """Evaluate until the study is done.

    Ctrl-C, SIGTERM or a terminal that hangs up lets running trials finish; the first two stop at
    once when they come again, by a KeyboardInterrupt.

    Args:
        study: The study.
        evaluator: Scores requests.
        data: Images at each size of the fidelities; each is sent to a node once.
        on_record: Called with every new record.
        mixers: Those that do not come with this package.

    Raises:
        StudyError: No node of the cluster has the resources of one trial, or the disk is full.
    """
    resources = study.config.trial_resources
    asked = demand(resources)
    slots = trial_slots(resources, asked)
    searcher = StudySearcher(study, on_record, slots=slots)
    trainable = functools.partial(
        _evaluate,
        evaluator=ray.put(evaluator),
        data={size: ray.put(splits) for size, splits in data.items()},
        mixers=tuple(mixers),
    )
    # By default, workers would start one after the other, each as long as torch takes to load.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots())
    # The records report lost workers.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="spach-nas-") as storage, stop_on_signals(study):
        _fit(_tuner(tune.with_resources(trainable, asked), searcher, storage=storage))
    if searcher.failure is not None:
        raise searcher.failure


def _fit(tuner: tune.Tuner) -> None:
    mend_ray()
    try:
        tuner.fit()
    except RuntimeError as problem:
        if not isinstance(problem.__cause__, RayError):
            raise
        text = one_line(problem.__cause__, named=True, first=True)
        raise StudyError(
            f"ray: {text}; expected none: the same command "
            "with --resume goes on with what is finished"
        ) from problem


def _tuner(trainable: Any, searcher: StudySearcher, *, storage: str) -> tune.Tuner:
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            # Tune still replaces a worker that was lost or whose evaluator raised.
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            storage_path=storage,
            name="trials",
            verbose=0,
            log_to_file=False,
            callbacks=[TrialListener(searcher)],
            stop=FailureStopper(searcher),
        ),
    )


def _evaluate(
    config: dict[str, Any],
    *,
    evaluator: ray.ObjectRef,
    data: Mapping[tuple[int, int], ray.ObjectRef],
    mixers: tuple[MixerSpec, ...],
) -> None:
    restore(mixers)
    task = config[TASK]
    checkpoint = None if task.arrived is None else ray.get(task.arrived)
    task.arrived = None
    evaluation = _kept(evaluator)(
        task.request, ray.get(data[task.request.fidelity.image_size]), checkpoint=checkpoint
    )
    tune.report({EVALUATION: evaluation})


@functools.lru_cache(1)
def _kept(evaluator: ray.ObjectRef) -> Evaluator:
    # A worker keeps it with all that it caches.
    found: Evaluator = ray.get(evaluator)
    return found


@contextlib.contextmanager
def stop_on_signals(study: StudyDriver) -> Iterator[None]:
    """Ctrl-C or SIGTERM stops the study, and the second raises a KeyboardInterrupt.

    A terminal that hangs up stops it, too. Shell and kernel both send that signal: it counts once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return

    def stop(_: int, __: FrameType | None) -> None:
        study.stop()
        for number in _SIGNALS:
            signal.signal(number, signal.default_int_handler)

    def hang_up(_: int, __: FrameType | None) -> None:
        if not study.stopped:
            study.stop()

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    # `nohup` means that the search shall continue.
    if _HANGUP is not None and signal.getsignal(_HANGUP) != signal.SIG_IGN:
        before[_HANGUP] = signal.signal(_HANGUP, hang_up)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
