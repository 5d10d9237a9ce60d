"""Ways to search a table: our own, and those of stock Ray and Optuna."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.search_settings import Level, Rungs
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.replay.benchmark import Benchmark
from spach_nas.replay.simulation import TabularEvaluator, Workers, simulate
from spach_nas.space.scaling import DataShape

RungRule = Literal["off", "front", "accuracy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """A way to search.

    Attributes:
        sampler: As in a search YAML.
        rungs: Which trials get more epochs; `off`: all are trained to the end.
        stock: Optuna's sampler asked by Ray's `OptunaSearch`, which knows no limits, and with
            rungs Ray's ASHA.
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
        trials: Architectures that are begun.
        seconds: Virtual time after which nothing new starts; None: no bound.
        workers: Trainings at once.
    """

    trials: int
    seconds: float | None = None
    workers: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """The end of an evaluation.

    Attributes:
        trials: Trials with a result at that time.
        arch_id: Of a feasible architecture trained to the end; None otherwise.
    """

    trials: int
    seconds: float
    arch_id: str | None


def replay(benchmark: Benchmark, strategy: Strategy, *, seed: int, budget: Budget) -> list[Step]:
    """Search the table by a strategy of ours, with the real `StudyDriver`.

    Args:
        benchmark: What is searched.
        strategy: Not a stock one.
        seed: Of the search, and of which training is met where the table has several.
        budget: When it ends.
    """
    # Imports Optuna, so only after mistakes in the table or the strategies were told.
    from spach_nas.study.driver import StudyDriver
    from spach_nas.study.writer import Archive

    assert not strategy.stock
    config = replay_config(benchmark, strategy, seed=seed, budget=budget)
    workers: Workers[tuple[EvaluationRequest, Evaluation]] = Workers(number=budget.workers)
    study = StudyDriver(
        config,
        folder=Path("replay"),
        data=_data_shape(config),
        feasible=benchmark.feasible,
        archive=Archive(),
        latency=benchmark.latency,
        clock=workers.clock,
    )
    try:
        simulate(study, TabularEvaluator(table=benchmark.table, seed=seed), workers=workers)
    finally:
        study.close()
    ends = [(record.started + record.seconds, record.trial, record) for record in study.records]
    seen: set[int] = set()
    steps = []
    for seconds, trial, record in ends:  # records are in the order of their ends
        seen.add(trial)
        whole = record.fidelity == config.fidelity
        steps.append(
            Step(trials=len(seen), seconds=seconds, arch_id=record.arch_id if whole else None)
        )
    return steps


def replay_config(
    benchmark: Benchmark, strategy: Strategy, *, seed: int, budget: Budget
) -> SearchConfig:
    """The search YAML of a replay: that of the table but for sampler, budget and rungs."""
    search = replace(
        benchmark.config.search,
        sampler=strategy.sampler,
        # Options are those of one sampler.
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
        powers = [epochs // rungs.reduction**i for i in range(epochs.bit_length(), 0, -1)]
        levels = [Level(epochs=number) for number in powers if number]
    return replace(rungs, levels=tuple(levels), rank=rule)


def _data_shape(config: SearchConfig) -> DataShape:
    # Costs are the table's; the proxies only tell which targets share one.
    return config.space.shape
