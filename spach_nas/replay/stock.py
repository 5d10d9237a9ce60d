"""Stock Ray and Optuna, without this package, in virtual time.

`OptunaSearch` of Ray 2.60 asks one Optuna study in memory, knows no limits, may repeat proposals,
and reports every trial as complete with its last result, even if it was stopped after one epoch.
Ray's ASHA (`AsyncHyperBandScheduler`) compares one score, here the accuracy; what it stops is never
continued.

A proposal outside the limits is trained if it is in the table, but never joins the front. If it is
not, the training function computes the cost and raises: this uses up a trial but no time, and
Optuna is told of a failure. That favours stock, which would lose time otherwise. A proposal inside
the limits that is not in the table is replaced by the nearest one that is, as in a replay of our
own strategies.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import optuna
from optuna.trial import TrialState

from spach_nas.config.evaluation import Epoch
from spach_nas.replay.benchmark import Benchmark
from spach_nas.replay.strategies import (
    Budget,
    Step,
    Strategy,
    TabularEvaluator,
    Workers,
    replay_config,
)
from spach_nas.replay.training_table import Entry
from spach_nas.samplers.factories import make_factory
from spach_nas.samplers.feasible_sampler import OPTUNA_DIRECTIONS, distributions


@dataclass(kw_only=True, slots=True)
class AshaRung:
    """One rung of Ray's ASHA, which promotes trials that are among the best so far.

    Attributes:
        reduction: About one in this many is promoted.
        scores: Scores of all trials that reached the rung; higher is better.
    """

    reduction: int
    scores: list[float] = field(default_factory=list)

    def stops(self, score: float) -> bool:
        """Whether a trial with this score is stopped, compared with those before it."""
        # As in Ray: linear interpolation between scores, and the first trial always continues.
        share = 100 * (1 - 1 / self.reduction)
        stopped = bool(self.scores) and score < float(np.percentile(self.scores, share))
        self.scores.append(score)
        return stopped


@dataclass(frozen=True, kw_only=True, slots=True)
class _Running:
    """A trial on its way to the rung `level`."""

    trial: optuna.Trial
    entry: Entry
    curve: tuple[Epoch, ...]
    level: int


def replay_stock(
    benchmark: Benchmark, strategy: Strategy, *, seed: int, budget: Budget
) -> list[Step]:
    """Search the table as Ray and Optuna do; the arguments are those of `replay`."""
    assert strategy.stock
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    config = replay_config(benchmark, strategy, seed=seed, budget=budget)
    make = make_factory(
        config.search, feasible=benchmark.feasible, objectives=config.objective_list
    )
    study = optuna.create_study(
        directions=[OPTUNA_DIRECTIONS[item.direction] for item in config.objective_list],
        sampler=make(seed) or optuna.samplers.RandomSampler(seed=seed),
    )
    known = distributions(config.space)
    evaluator = TabularEvaluator(table=benchmark.table, seed=seed)
    levels = [fidelity.epochs for fidelity in config.fidelities]
    rungs = [AshaRung(reduction=config.rungs.reduction) for _ in levels[:-1]]
    workers: Workers[_Running] = Workers(number=budget.workers)
    rng = np.random.default_rng(seed)
    steps: list[Step] = []
    seen: set[int] = set()

    def train(running: _Running) -> None:
        done = levels[running.level - 1] if running.level else 0
        epochs = running.curve[done : levels[running.level]]
        workers.give(running, sum(epoch.seconds for epoch in epochs))

    def note(trial: optuna.Trial, entry: Entry | None = None) -> None:
        seen.add(trial.number)
        found = entry is not None and benchmark.feasible.allows(entry.architecture)
        arch_id = entry.architecture.arch_id if found and entry else None
        steps.append(Step(trials=len(seen), seconds=workers.clock.now, arch_id=arch_id))

    def begin(trial: optuna.Trial) -> None:
        target = config.space.decode(trial.params)
        entry = benchmark.table.entries.get(target.arch_id)
        if entry is None and benchmark.allows(target):
            near = benchmark.feasible.near(dict(trial.params), rng)
            entry = benchmark.table.entries[near.arch_id]
        if entry is None:
            study.tell(trial, state=TrialState.FAIL)
            note(trial)
        else:
            train(_Running(trial=trial, entry=entry, curve=evaluator.curve(entry), level=0))

    asked = 0
    while True:
        while workers.idle and asked < budget.trials and not budget.is_over(workers.clock.now):
            asked += 1
            begin(study.ask(known))
        running = workers.wait()
        if running is None:
            return steps
        level, entry = running.level, running.entry
        # `OptunaSearch` learns the result of a stopped trial as if it were complete.
        last = running.curve[levels[level] - 1]
        is_whole = level == len(rungs)
        if not is_whole and not rungs[level].stops(last.accuracy):
            note(running.trial)
            train(replace(running, level=level + 1))
            continue
        values = [
            getattr(last, item.name) if item.source == "score" else benchmark.value(entry, item)
            for item in config.objective_list
        ]
        study.tell(running.trial, values)
        note(running.trial, entry if is_whole else None)
