"""Searches of a table in virtual time: no training, no Ray, no waiting.

A strategy of ours is run by the real `StudyDriver`; `stock.py` runs those of Ray and Optuna alone.
"""

import hashlib
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from spach_nas.config.evaluation import Epoch, Evaluation, EvaluationRequest
from spach_nas.config.search_settings import Level, Rungs
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.replay.benchmark import Benchmark
from spach_nas.replay.training_table import Entry, Table

if TYPE_CHECKING:
    from spach_nas.study.driver import StudyDriver

Task = TypeVar("Task")
RungRule = Literal["off", "front", "accuracy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """A way to search.

    Attributes:
        sampler: Its name in a search YAML.
        rungs: How trials are chosen for more epochs; `off`: all are trained to the end.
        stock: Whether Ray's `OptunaSearch` runs the sampler of Optuna, without knowing limits; with
            rungs, by Ray's ASHA.
    """

    sampler: str
    rungs: RungRule = "off"
    stock: bool = False

    def __str__(self) -> str:
        if self.stock:
            return f"stock {self.sampler}" + ("" if self.rungs == "off" else " + ASHA")
        return self.sampler + ("" if self.rungs == "off" else f" + rungs by {self.rungs}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """When a replay ends.

    Attributes:
        trials: Number of architectures to begin.
        seconds: Virtual time after which nothing new starts; None: no bound.
        workers: Number of trainings at once.
    """

    trials: int
    seconds: float | None = None
    workers: int = 1

    def is_over(self, now: float) -> bool:
        """Whether the time is over at `now` seconds."""
        return self.seconds is not None and now >= self.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """The end of an evaluation.

    Attributes:
        trials: Trials with a result at that time.
        seconds: Virtual time.
        arch_id: `arch_id` of a feasible architecture that is trained to the end; else None.
    """

    trials: int
    seconds: float
    arch_id: str | None


@dataclass(kw_only=True, slots=True)
class VirtualClock:
    """A clock for a `StudyDriver` that stands still until it is set.

    Attributes:
        now: Seconds.
    """

    now: float = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@dataclass(kw_only=True, slots=True)
class Workers(Generic[Task]):
    """A number of workers, each with one task at a time.

    Tasks that end at the same moment come back in the order in which they were given, so that every
    simulation is reproducible.

    Attributes:
        clock: Is set to the end of each task that comes back.
        busy: Seconds that tasks took, summed over the workers.
    """

    number: int
    clock: VirtualClock = field(default_factory=VirtualClock)
    busy: float = 0.0
    _tasks: list[tuple[float, int, Task]] = field(default_factory=list)
    _given: int = 0

    @property
    def idle(self) -> int:
        """Number of workers without a task."""
        return self.number - len(self._tasks)

    def give(self, task: Task, seconds: float) -> None:
        """Give a task to an idle worker, which begins it now."""
        assert self.idle
        # The running number breaks ties; tasks themselves cannot be compared.
        heapq.heappush(self._tasks, (self.clock.now + seconds, self._given, task))
        self._given += 1
        self.busy += seconds

    def wait(self) -> Task | None:
        """Advance the clock to the end of the next task and return it; None without a task."""
        if not self._tasks:
            return None
        self.clock.now, _, task = heapq.heappop(self._tasks)
        return task


@dataclass(frozen=True, kw_only=True, slots=True)
class TabularEvaluator:
    """Answers requests from a table.

    Attributes:
        seed: Chooses one training of each architecture that was trained with several seeds.
    """

    table: Table
    seed: int

    def __call__(self, request: EvaluationRequest) -> Evaluation:
        """The scores after the requested epochs; those of the parent take no time again."""
        done = 0
        if request.parent is not None and request.relative is None:
            done = request.course[request.course.index(request.fidelity) - 1].epochs
        whole = self.curve(self.table.entries[request.architecture.arch_id])
        curve = whole[done : request.fidelity.epochs]
        return Evaluation(
            state="complete",
            scores={"accuracy": curve[-1].accuracy, "loss": curve[-1].loss},
            curve=curve,
            seconds=sum(epoch.seconds for epoch in curve),
            weights=b"",
        )

    def curve(self, entry: Entry) -> tuple[Epoch, ...]:
        """The one training of an architecture that this replay uses."""
        curves = list(entry.curves.values())
        # Not Python's hash, which differs between processes.
        text = f"{self.seed} {entry.architecture.arch_id}"
        draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
        return curves[draw % len(curves)]


def simulate(
    study: "StudyDriver",
    evaluator: Callable[[EvaluationRequest], Evaluation],
    *,
    workers: Workers[tuple[EvaluationRequest, Evaluation]],
) -> None:
    """Run a study to its end.

    Args:
        study: A study whose clock is that of the workers.
        evaluator: Answers at once; the `seconds` of the answer pass in virtual time.
        workers: Idle workers.
    """
    while True:
        while workers.idle and isinstance(request := study.next(), EvaluationRequest):
            evaluation = evaluator(request)
            workers.give((request, evaluation), evaluation.seconds)
        task = workers.wait()
        if task is None:
            return
        study.tell(*task)


def replay(benchmark: Benchmark, strategy: Strategy, *, seed: int, budget: Budget) -> list[Step]:
    """Search the table by a strategy of ours, with the real `StudyDriver`.

    Args:
        benchmark: What is searched.
        strategy: Not a stock strategy.
        seed: Seed of the search and of `TabularEvaluator`.
        budget: When it ends.
    """
    # They import Optuna: only after mistakes in the table and the strategies have been reported.
    from spach_nas.study.driver import StudyDriver
    from spach_nas.study.folder import Archive

    assert not strategy.stock
    config = replay_config(benchmark, strategy, seed=seed, budget=budget)
    workers: Workers[tuple[EvaluationRequest, Evaluation]] = Workers(number=budget.workers)
    study = StudyDriver(
        config,
        folder=Path("replay"),
        data=config.space.shape,  # costs are the table's: this only tells which proxies are equal
        feasible=benchmark.feasible,
        archive=Archive(),
        latency=benchmark.latency,
        clock=workers.clock,
    )
    try:
        simulate(study, TabularEvaluator(table=benchmark.table, seed=seed), workers=workers)
    finally:
        study.close()
    seen: set[int] = set()
    steps = []
    for record in study.records:  # in the order of their ends
        seen.add(record.trial)
        # Only scores at full length are compared: those of lower rungs are worse for all.
        arch_id = record.arch_id if record.fidelity == config.fidelity else None
        seconds = record.started + record.seconds
        steps.append(Step(trials=len(seen), seconds=seconds, arch_id=arch_id))
    return steps


def replay_config(
    benchmark: Benchmark, strategy: Strategy, *, seed: int, budget: Budget
) -> SearchConfig:
    """The search YAML of a replay: that of the table with another sampler, budget and rungs."""
    search = replace(
        benchmark.config.search,
        sampler=strategy.sampler,
        # Options belong to one sampler, so they are kept for the sampler of the YAML only.
        sampler_options=benchmark.config.search.sampler_options
        if strategy.sampler == benchmark.config.search.sampler
        else {},
        trials=budget.trials,
        max_duration=budget.seconds,
        seed=seed,
        warm_start=None,
    )
    return replace(benchmark.config, search=search, rungs=rungs_of(benchmark, strategy.rungs))


def rungs_of(benchmark: Benchmark, rule: RungRule) -> Rungs:
    """The rungs of a rule: those of the search YAML, or one for each power of the reduction."""
    rungs = benchmark.config.rungs
    if rule == "off":
        return Rungs()
    levels: Sequence[Level] = [Level(epochs=level.epochs) for level in rungs.levels]
    if not levels:
        epochs = benchmark.table.epochs
        # Each level has a share of 1 / reduction of the epochs of the next, down to one epoch.
        powers = [epochs // rungs.reduction**i for i in range(epochs.bit_length(), 0, -1)]
        levels = [Level(epochs=number) for number in powers if number]
    return replace(rungs, levels=tuple(levels), rank=rule)
