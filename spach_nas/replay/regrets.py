"""How strategies compare: regret over trials and over training time, over many seeds."""

import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from spach_nas.config.sampler_registry import (
    get_sampler,
    has_sampler,
    sampler_names,
)
from spach_nas.errors import ConfigError, did_you_mean, one_of
from spach_nas.replay.benchmark import Benchmark
from spach_nas.replay.strategies import Budget, RungRule, Step, Strategy, replay

Axis = Literal["trials", "seconds"]
TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
# Stock samplers may waste most of their proposals, which take no time: this bounds their number.
_MOST_WASTED = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Regret:
    """Hypervolume regret of a strategy after a part of its budget, over all seeds.

    Attributes:
        strategy: The strategy in words.
        axis: Unit of the budget: trials begun, or seconds of virtual time.
        share: Share of the budget, in (0, 1].
        spent: The same in trials or seconds.
        median: Share of the exact front's hypervolume that was not found; lower is better.
        low: 5th percentile: 90 % of the seeds are between `low` and `high`.
        high: 95th percentile.
        seeds: Number of searches.
    """

    strategy: str
    axis: Axis
    share: float
    spent: float
    median: float
    low: float
    high: float
    seeds: int


def strategies(samplers: Sequence[str], rules: Sequence[RungRule]) -> tuple[Strategy, ...]:
    """The strategies to compare: each sampler with each rule, and stock ones.

    Stock strategies are Optuna's samplers without our wrapper, with and without ASHA on accuracy.
    Uniform sampling of the feasible architectures and local search are always included.

    Raises:
        ConfigError: An unknown sampler.
    """
    for name in samplers:
        if not has_sampler(name):
            known = sampler_names()
            raise ConfigError(
                f"--sampler: {name!r}; expected {one_of(known)}, or a class of "
                f"optuna.samplers{did_you_mean(name, known)}"
            )
    # Baselines are always included: only the distance from them says what a sampler is worth.
    ours = [Strategy(sampler=name, rungs=rule) for name in samplers for rule in rules]
    of_optuna = [name for name in samplers if get_sampler(name).stock]
    plain = [Strategy(sampler="random"), Strategy(sampler="local")]
    stock = [Strategy(sampler=name, stock=True) for name in of_optuna]
    asha = [Strategy(sampler=name, stock=True, rungs="accuracy") for name in ("random", *of_optuna)]
    return tuple(dict.fromkeys([*ours, *plain, *stock, *asha]))


def compare(
    benchmark: Benchmark,
    chosen: Sequence[Strategy],
    *,
    seeds: int,
    trials: int,
    workers: int,
    on_search: Callable[[int], None] = lambda _: None,
) -> Iterator[Regret]:
    """Regret of each strategy at every tenth of the budget, on both axes.

    Args:
        benchmark: What is searched.
        chosen: The strategies.
        seeds: Number of searches of each strategy on each axis.
        trials: Budget in trials. The budget in seconds is the time in which the workers train this
            many architectures to the end.
        workers: Number of trainings at once.
        on_search: Called before each search with the number of searches done; a strategy has
            `2 * seeds`.
    """
    # It imports Optuna: only after mistakes in the table and the strategies have been reported.
    from spach_nas.replay.stock import replay_stock

    # With more trials than architectures, every strategy finds everything.
    trials = min(trials, benchmark.feasible.count or trials)
    seconds = trials * benchmark.table.full_seconds / workers
    done = itertools.count()
    for strategy in chosen:
        run = replay_stock if strategy.stock else replay
        most = _MOST_WASTED if strategy.stock else 1
        by_trials = Budget(trials=trials, workers=workers)
        by_time = Budget(
            trials=most * (benchmark.feasible.count or trials), seconds=seconds, workers=workers
        )
        axes: list[tuple[Axis, Budget, float]] = [
            ("trials", by_trials, trials),
            ("seconds", by_time, seconds),
        ]
        for axis, budget, whole in axes:
            found = []
            for seed in range(seeds):
                on_search(next(done))
                steps = run(benchmark, strategy, seed=seed, budget=budget)
                found.append(regrets(benchmark, steps, axis, whole=whole))
            yield from summary(str(strategy), axis, found, whole=whole)


def regrets(
    benchmark: Benchmark, steps: Sequence[Step], axis: Axis, *, whole: float
) -> list[float]:
    """The regret of one search at every tenth of its budget.

    Args:
        benchmark: What was searched.
        steps: Steps of the search.
        axis: Unit of the budget.
        whole: The budget.
    """
    return [
        benchmark.regret(
            step.arch_id
            for step in steps
            # With a tolerance, since sums of seconds are not exact.
            if step.arch_id and getattr(step, axis) <= share * whole * (1 + 1e-9)
        )
        for share in TENTHS
    ]


def summary(
    name: str, axis: Axis, found: Sequence[Sequence[float]], *, whole: float
) -> Iterator[Regret]:
    """Median and band at every tenth of the budget.

    Args:
        name: The strategy in words.
        axis: Unit of the budget.
        found: The result of `regrets` for each seed.
        whole: The budget.
    """
    low, median, high = np.quantile(found, [0.05, 0.5, 0.95], axis=0)
    for i, share in enumerate(TENTHS):
        yield Regret(
            strategy=name,
            axis=axis,
            share=share,
            spent=round(share * whole, 3),
            median=float(median[i]),
            low=float(low[i]),
            high=float(high[i]),
            seeds=len(found),
        )


def write_regrets(rows: Sequence[Regret], path: Path) -> None:
    """Write them as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        names = [item.name for item in fields(Regret)]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
