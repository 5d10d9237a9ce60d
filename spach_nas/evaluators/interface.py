"""What an evaluator is, what makes one, and what prepares it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.evaluator_registry import EvaluatorChoice
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.config.study_files import PREPARED
from spach_nas.data import DataSplits
from spach_nas.evaluators.heartbeat import PulseAddress
from spach_nas.machine import describe_machine
from spach_nas.registry import import_named
from spach_nas.training.device import Runtime
from spach_nas.training.learner import Place


class Evaluator(Protocol):
    """Scores a request; runs in a worker, to which it is sent by pickle.

    It does not raise for what a candidate does wrong; see `spach_nas.config.evaluation`. A worker
    keeps it from one request to the next, so it may cache what does not change in between.
    """

    def __call__(
        self, request: EvaluationRequest, data: DataSplits, *, checkpoint: bytes | None = None
    ) -> Evaluation:
        """The scores; without weights where the candidate has none of its own.

        Args:
            request: What to score.
            data: Images at the size of the fidelity.
            checkpoint: Of the request's parent.
        """


def finished(
    evaluation: Evaluation, *, started: float, runtime: Runtime, threads: int
) -> Evaluation:
    """An evaluation with its duration and where it ran.

    Args:
        evaluation: What came of it.
        started: `time.perf_counter()` at its begin.
        runtime: Device and number format.
        threads: Threads of the host.
    """
    return replace(
        evaluation,
        seconds=time.perf_counter() - started,
        machine=f"{describe_machine()}, {runtime.device.type}, {threads} threads",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatorSetup:
    """What an evaluator is made from.

    Attributes:
        config: The search YAML.
        choice: Name and options of the evaluator.
        folder: For what it prepares, in the study's folder. Workers on other machines cannot read
            it: what they need of it goes into the evaluator, as bytes or arrays.
        pulses: Where to tell how far an evaluation is; None: nowhere.
    """

    config: SearchConfig
    choice: EvaluatorChoice
    folder: Path
    pulses: PulseAddress | None = None

    @property
    def options(self) -> Any:
        """Of the class that the registry states; None where the evaluator has none."""
        return self.choice.options

    @property
    def threads(self) -> int:
        """Threads of one evaluation."""
        return self.config.resources.threads


class OnWorkers(Protocol):
    """Runs a function in several processes at once, which form a group of torch.distributed."""

    def __call__(
        self, part: Callable[[Place], None], *, workers: int, folder: Path, tick: Callable[[], None]
    ) -> None:
        """Return when all have returned.

        Args:
            part: What each does; it is pickled.
            workers: Number of processes.
            folder: That all of them must see.
            tick: Called about twice a second here.

        Raises:
            SpachNasError: One found a mistake, was lost, or there is no room for them.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """What `prepare` of an evaluator is called with, in the driver, when Ray has started.

    It is called in every session of a study, also when all is prepared; it goes on from what
    `setup.folder` holds, and returns the seconds that it has taken in all sessions.

    Attributes:
        setup: Config, options and folder, which exists.
        data: Images at each size of the fidelities.
        tell: Takes a few words on what is being done, for the live view.
        stopped: Whether to save and return, since the user or `max_duration` ends the search.
        on_workers: Starts several processes; None: outside of a search, there is this one alone.
    """

    setup: EvaluatorSetup
    data: Mapping[tuple[int, int], DataSplits]
    tell: Callable[[str], None]
    stopped: Callable[[], bool]
    on_workers: OnWorkers | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ByRung:
    """Scores each request by the evaluator of its rung.

    Attributes:
        evaluators: Of the rungs, lowest first.
    """

    evaluators: tuple[Evaluator, ...]

    def __call__(
        self, request: EvaluationRequest, data: DataSplits, *, checkpoint: bytes | None = None
    ) -> Evaluation:
        """See `Evaluator`."""
        return self.evaluators[request.fidelity.rung](request, data, checkpoint=checkpoint)


def check_evaluators(config: SearchConfig) -> None:
    """Whether the evaluators of a search can score its candidates.

    Raises:
        ConfigError: One cannot.
        PluginError: What makes one cannot be imported.
    """
    for choice in _distinct(config):
        _imported(choice, choice.spec.factory)
        if choice.spec.check is not None:
            _imported(choice, choice.spec.check)(_setup(config, choice, folder=Path()))


def prepare_evaluators(
    config: SearchConfig,
    *,
    folder: Path,
    data: Mapping[tuple[int, int], DataSplits],
    tell: Callable[[str], None],
    stopped: Callable[[], bool],
    on_workers: OnWorkers | None = None,
) -> float:
    """Make what candidates share, lowest rung first; the seconds that it took in all sessions.

    Args:
        config: The search YAML.
        folder: Of the study.
        data: Images at each size of the fidelities.
        tell: Takes a few words on what is being done.
        stopped: Whether to save and return.
        on_workers: Starts several processes; None: there is this one alone.
    """
    seconds = 0.0
    for choice in _distinct(config):
        if choice.spec.prepare is not None and not stopped():
            setup = _setup(config, choice, folder=folder)
            setup.folder.mkdir(parents=True, exist_ok=True)
            tell(f"preparing the evaluator {choice.name}")
            seconds += _imported(choice, choice.spec.prepare)(
                Preparation(
                    setup=setup, data=data, tell=tell, stopped=stopped, on_workers=on_workers
                )
            )
    return seconds


def make_evaluator(
    config: SearchConfig, *, folder: Path, pulses: PulseAddress | None = None
) -> Evaluator:
    """What scores the requests of a search, after `prepare_evaluators`.

    Args:
        config: The search YAML.
        folder: Of the study.
        pulses: Where to tell how far an evaluation is.
    """
    distinct = _distinct(config)
    made = [evaluator_of(config, choice, folder=folder, pulses=pulses) for choice in distinct]
    if len(made) == 1:
        return made[0]
    return ByRung(evaluators=tuple(made[distinct.index(choice)] for choice in config.evaluators))


def evaluator_of(
    config: SearchConfig,
    choice: EvaluatorChoice,
    *,
    folder: Path,
    pulses: PulseAddress | None = None,
) -> Evaluator:
    """One evaluator of a search; see `make_evaluator`."""
    made: Evaluator = _imported(choice, choice.spec.factory)(
        _setup(config, choice, folder=folder, pulses=pulses)
    )
    return made


def evaluator_modules(config: SearchConfig) -> tuple[str, ...]:
    """The modules that make the evaluators of a search and do not come with this package."""
    found = {choice.spec.factory.partition(":")[0] for choice in config.evaluators}
    return tuple(sorted(name for name in found if name.partition(".")[0] != "spach_nas"))


def _imported(choice: EvaluatorChoice, place: str) -> Callable[..., Any]:
    found: Callable[..., Any] = import_named(place, what=f"evaluator {choice.name}")
    return found


def _distinct(config: SearchConfig) -> list[EvaluatorChoice]:
    found: list[EvaluatorChoice] = []  # options need not be hashable
    for choice in config.evaluators:
        if choice not in found:
            found.append(choice)
    return found


def _setup(
    config: SearchConfig,
    choice: EvaluatorChoice,
    *,
    folder: Path,
    pulses: PulseAddress | None = None,
) -> EvaluatorSetup:
    own = folder / PREPARED / choice.name
    return EvaluatorSetup(config=config, choice=choice, folder=own, pulses=pulses)
