"""Stock Ray and Optuna, without this package, in virtual time.

`OptunaSearch` of Ray 2.60 asks one Optuna study in memory, knows no limits, may repeat a proposal,
and tells every trial as complete with its last result, also one that was stopped after an epoch.
Ray's ASHA (`AsyncHyperBandScheduler`) compares one score, here the accuracy, and stops for good.

A proposal outside the limits is trained where the table has it, but is no part of the front. Where
the table lacks it, the training function looks at the cost and raises: this takes a trial and no
time, and Optuna is told of a failure. Both favour stock, which loses no time on what no table
holds. A proposal inside the limits that the table lacks becomes the nearest of the table, as in a
replay of our own strategies.
"""

from dataclasses import dataclass, field

import numpy as np
import optuna
from optuna.trial import TrialState

from spach_nas.config.evaluation import Epoch
from spach_nas.replay.benchmark import Benchmark
from spach_nas.replay.simulation import TabularEvaluator, Workers
from spach_nas.replay.strategies import Budget, Step, Strategy, replay_config
from spach_nas.replay.table import Entry
from spach_nas.samplers.factories import make_factory
from spach_nas.samplers.feasible_sampler import OPTUNA_DIRECTIONS, distributions


@dataclass(kw_only=True, slots=True)
class AshaRung:
    """One rung of Ray's ASHA: a trial among the best of those so far is promoted.

    Attributes:
        reduction: About one in this many is promoted.
        scores: Of all trials that reached the rung; higher is better.
    """

    reduction: int
    scores: list[float] = field(default_factory=list)

    def stops(self, score: float) -> bool:
        """Whether a trial with this score is stopped here; it is compared with those before."""
        share = 100 * (1 - 1 / self.reduction)
        stopped = bool(self.scores) and score < float(np.percentile(self.scores, share))
        self.scores.append(score)
        return stopped


@dataclass(frozen=True, kw_only=True, slots=True)
class _Running:
    # A trial until its next result.
    trial: optuna.Trial
    entry: Entry
    curve: tuple[Epoch, ...]
    level: int

    def until(self, levels: tuple[int, ...]) -> float:
        """Seconds from the level before to this one."""
        done = levels[self.level - 1] if self.level else 0
        return sum(epoch.seconds for epoch in self.curve[done : levels[self.level]])


def replay_stock(
    benchmark: Benchmark, strategy: Strategy, *, seed: int, budget: Budget
) -> list[Step]:
    """Search the table as Ray and Optuna do; the arguments are those of `replay`."""
    assert strategy.stock
    return _Stock(benchmark, strategy, seed=seed, budget=budget).run()


class _Stock:
    def __init__(
        self, benchmark: Benchmark, strategy: Strategy, *, seed: int, budget: Budget
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._benchmark, self._budget = benchmark, budget
        self._config = replay_config(benchmark, strategy, seed=seed, budget=budget)
        self._objectives = self._config.objective_list
        self._distributions = distributions(self._config.space)
        make = make_factory(
            self._config.search, feasible=benchmark.feasible, objectives=self._objectives
        )
        self._study = optuna.create_study(
            directions=[OPTUNA_DIRECTIONS[item.direction] for item in self._objectives],
            sampler=make(seed) or optuna.samplers.RandomSampler(seed=seed),
        )
        self._evaluator = TabularEvaluator(table=benchmark.table, seed=seed)
        self._levels = tuple(fidelity.epochs for fidelity in self._config.fidelities)
        self._rungs = [AshaRung(reduction=self._config.rungs.reduction) for _ in self._levels[:-1]]
        self._workers: Workers[_Running] = Workers(number=budget.workers)
        self._rng = np.random.default_rng(seed)
        self._asked, self._steps = 0, list[Step]()
        self._seen: set[int] = set()

    def run(self) -> list[Step]:
        """All steps, in their order."""
        while True:
            while self._workers.idle and self._asked < self._budget.trials and not self._is_late():
                self._begin()
            running = self._workers.wait()
            if running is None:
                return self._steps
            self._report(running)

    def _is_late(self) -> bool:
        limit = self._budget.seconds
        return limit is not None and self._workers.clock.now >= limit

    def _begin(self) -> None:
        self._asked += 1
        trial = self._study.ask(self._distributions)
        target = self._config.space.decode(trial.params)
        entry = self._benchmark.table.entries.get(target.arch_id)
        if entry is None and self._benchmark.allows(target):
            near = self._benchmark.feasible.near(dict(trial.params), self._rng)
            entry = self._benchmark.table.entries[near.arch_id]
        if entry is None:
            self._study.tell(trial, state=TrialState.FAIL)
            self._note(trial.number, None)
            return
        curve = self._evaluator.curve(entry)
        self._go_on(_Running(trial=trial, entry=entry, curve=curve, level=0))

    def _go_on(self, running: _Running) -> None:
        self._workers.give(running, running.until(self._levels))

    def _report(self, running: _Running) -> None:
        last = running.curve[self._levels[running.level] - 1]
        is_whole = running.level == len(self._rungs)
        if not is_whole and not self._rungs[running.level].stops(last.accuracy):
            self._note(running.trial.number, None)
            self._go_on(
                _Running(
                    trial=running.trial,
                    entry=running.entry,
                    curve=running.curve,
                    level=running.level + 1,
                )
            )
            return
        self._study.tell(
            running.trial,
            [
                getattr(last, item.name)
                if item.source == "score"
                else self._benchmark.value(running.entry, item)
                for item in self._objectives
            ],
        )
        self._note(running.trial.number, running.entry if is_whole else None)

    def _note(self, number: int, entry: Entry | None) -> None:
        self._seen.add(number)
        found = entry is not None and self._benchmark.feasible.allows(entry.architecture)
        self._steps.append(
            Step(
                trials=len(self._seen),
                seconds=self._workers.clock.now,
                arch_id=entry.architecture.arch_id if found and entry else None,
            )
        )
