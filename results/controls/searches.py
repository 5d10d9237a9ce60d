"""Says whether searches of the control tasks find what is known to be right: `searches.csv`.

    python searches.py TASK... [--seeds 20] [--trials 20]

Replays searches of `TASK/table.csv`, each trial with one of the trainings of its architecture,
and judges them by the means over all of them. If there is a `TASK/scores.csv`, as `spach-nas audit
TASK --scores TASK/scores.csv` writes it, its architectures are also trained in the order of each
score: those that nothing beats in score and MACs at once come first. Every row is a strategy; the
row `chance` is what a uniform choice without repetition comes to, worked out. The columns:

found             layout of the most accurate network of a search, the commonest over the seeds,
                  and how often it was
known             share of the searches whose most accurate network has the known layout
needed, ..._low, ..._high
                  mean trials until a network with the known layout is trained that is on the exact
                  front, with the 95 % bootstrap interval over the seeds; a search that never does
                  counts as one trial more than it has, `chance` likewise
missed            searches that never do
regret, ...       share of the exact front's hypervolume that was not found; lower is better
conv_1, ...       share of the blocks of stage 1 that are convolution on the fronts of the searches
"""

import argparse
import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import moocore
import numpy as np

from spach_nas.replay import (
    Benchmark,
    Budget,
    Entry,
    Strategy,
    TabularEvaluator,
    read_benchmark,
    replay,
)
from spach_nas.replay.audit import read_scores
from spach_nas.replay.known_answers import CONTROL_ANSWERS, KnownAnswer
from spach_nas.replay.rediscovery import MIXERS
from spach_nas.samplers.ranking import rank_by_front
from spach_nas.space.architecture import Architecture

HERE = Path(__file__).parent
SAMPLERS = ("random", "tpe", "surrogate")
WORDS = {"local": "conv alone"}
SHARES = tuple(f"{mixer}_{stage}" for stage in (1, 2) for mixer in MIXERS)


class Outcome(NamedTuple):
    """One search.

    Attributes:
        layout: Of the most accurate network.
        right: Whether it has the known layout.
        needed: Trials until one with the known layout is trained that is on the exact front.
        regret: After the last trial.
        shares: Of each mixer in each stage on the front of the search.
    """

    layout: str
    right: bool
    needed: int | None
    regret: float
    shares: tuple[float, ...]


def main() -> None:
    """Replay the searches, write the table and print that of the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=20)
    given = parser.parse_args()
    rows = [
        row for task in given.tasks for row in rows_of(task, seeds=given.seeds, trials=given.trials)
    ]
    with (HERE / "searches.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print("| task | known answer | search | found answer | known | trials needed | regret |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        needed, regret = (
            f"{row[name]} ({row[f'{name}_low']} to {row[f'{name}_high']})"
            if row["seeds"]
            else row[name]
            for name in ("needed", "regret")
        )
        print(
            f"| `{row['task']}` | {WORDS.get(row['task'], 'conv, then attention or token-MLP')} "
            f"| {row['strategy']} | {row['found']} | {row['known']} | {needed} | {regret} |"
        )


def rows_of(task: str, *, seeds: int, trials: int) -> Iterator[dict[str, str]]:
    """A row for each strategy, then that of chance."""
    benchmark = read_benchmark([HERE / task])
    members = benchmark.feasible.members
    trials = min(trials, len(members))
    known = KnownAnswer(CONTROL_ANSWERS[task], benchmark.config.space.shape)
    goals = {
        entry.architecture.arch_id
        for entry in benchmark.front
        if known.changes(entry.architecture) == 0
    }
    row: dict[str, str] = {}
    for name, order in strategies(benchmark, task, seeds=seeds, trials=trials):
        found = [outcome(benchmark, known, goals, ids, seed=seed) for seed, ids in enumerate(order)]
        row = row_of(task, name, found, trials=trials)
        yield row
    right = np.mean([known.changes(one) == 0 for one in members])
    yield {
        **dict.fromkeys(row, ""),
        "task": task,
        "strategy": f"chance, {len(members)} architectures",
        "known": f"{right:.2f}",
        "needed": f"{by_chance(len(members), len(goals), trials):.1f}",
        **dict(zip(SHARES, (f"{share:.2f}" for share in shares(members)), strict=True)),
    }


def strategies(
    benchmark: Benchmark, task: str, *, seeds: int, trials: int
) -> Iterator[tuple[str, list[list[str]]]]:
    """Each by its name, with what each of its searches trains, in order."""
    for sampler in SAMPLERS:
        strategy, budget = Strategy(sampler=sampler), Budget(trials=trials)
        searches = [replay(benchmark, strategy, seed=seed, budget=budget) for seed in range(seeds)]
        yield sampler, [[step.arch_id for step in steps if step.arch_id] for steps in searches]
    scores = HERE / task / "scores.csv"
    entries = [benchmark.table.entries[one.arch_id] for one in benchmark.feasible.members]
    for name, scored in read_scores(scores).items() if scores.is_file() else ():
        points = [
            [scored.values.get(entry.architecture.arch_id, np.nan), entry.target_cost.macs]
            for entry in entries
        ]
        order = rank_by_front(np.array(points), maximise=(True, False))[:trials]
        # What is trained does not depend on the seed, but which of its trainings counts does.
        yield f"{name} first", [[entries[i].architecture.arch_id for i in order]] * seeds


def outcome(
    benchmark: Benchmark, known: KnownAnswer, goals: set[str], ids: Sequence[str], *, seed: int
) -> Outcome:
    """What a search that trains these came to."""
    entries = [benchmark.table.entries[arch_id] for arch_id in ids]
    # The training that a replay with this seed sees.
    seen = TabularEvaluator(table=benchmark.table, seed=seed)
    scores = [seen.curve(entry)[-1].accuracy for entry in entries]
    best = entries[int(np.argmax(scores))].architecture
    needed = next((number for number, one in enumerate(ids, 1) if one in goals), None)
    return Outcome(
        layout="-".join("".join(name[0] for name in stage.mixers) for stage in best.stages),
        right=known.changes(best) == 0,
        needed=needed,
        regret=benchmark.regret(ids),
        shares=shares(front(entries, scores)),
    )


def front(entries: Sequence[Entry], scores: Sequence[float]) -> list[Architecture]:
    """Those that no other dominates in accuracy and MACs."""
    points = [[score, e.target_cost.macs] for e, score in zip(entries, scores, strict=True)]
    kept = moocore.is_nondominated(np.array(points, dtype=float), maximise=[True, False])
    return [entry.architecture for entry, good in zip(entries, kept, strict=True) if good]


def shares(architectures: Sequence[Architecture]) -> tuple[float, ...]:
    """Of each mixer among the blocks of each stage, in the order of `SHARES`."""
    stages = [[one.stages[place].mixers for one in architectures] for place in range(2)]
    return tuple(
        float(np.mean([mixers.count(mixer) / len(mixers) for mixers in stage]))
        for stage in stages
        for mixer in MIXERS
    )


def row_of(task: str, name: str, found: Sequence[Outcome], *, trials: int) -> dict[str, str]:
    """The row of a strategy."""
    layout, times = Counter(one.layout for one in found).most_common(1)[0]
    needed = [trials + 1 if one.needed is None else one.needed for one in found]
    return {
        "task": task,
        "strategy": name,
        "seeds": str(len(found)),
        "trials": str(trials),
        "found": f"{layout}, {times} of {len(found)}",
        "known": f"{np.mean([one.right for one in found]):.2f}",
        "missed": str(sum(one.needed is None for one in found)),
        **interval("needed", needed, "{:.1f}"),
        **interval("regret", [one.regret for one in found], "{:.3f}"),
        **{
            key: value
            for place, column in enumerate(SHARES)
            for key, value in interval(
                column, [one.shares[place] for one in found], "{:.2f}"
            ).items()
        },
    }


def interval(name: str, values: Sequence[float], form: str) -> dict[str, str]:
    """Mean and 95 % bootstrap interval over the seeds, as three columns."""
    drawn = np.random.default_rng(0).choice(values, (2000, len(values))).mean(1)
    figures = (float(np.mean(values)), *np.percentile(drawn, [2.5, 97.5]))
    ends = ("", "_low", "_high")
    return {f"{name}{end}": form.format(x) for end, x in zip(ends, figures, strict=True)}


def by_chance(members: int, goals: int, trials: int) -> float:
    """Mean of the first of `goals` among `members` in random order, at most `trials` + 1."""
    total, none_yet = 0.0, 1.0
    for number in range(trials + 1):  # the mean of a count is the sum of P(count > number)
        total += none_yet
        none_yet *= max(0, members - number - goals) / max(1, members - number)
    return total


if __name__ == "__main__":
    main()
