"""What a front costs: hypervolume of cold trained networks against all seconds spent on them.

    python front_cost.py [--seeds 20]

On the table of `../spach_bench`, with one worker. A cold training is looked up with its seconds
(first seed of the table); the scores and their seconds are those of `scores/`. Strategies:

- `train`: every candidate of a search is trained cold.
- `X first`: the package's search by TPE with a rung of X below, which promotes one in five.
- `all by X`: X scores all architectures, which are then trained cold in the order of the front of
  score and MACs.
- `inherit first`: the searches of `inherit.py`, as they were. Their seconds are divided by how much
  longer their cold trainings took than those of the table, which are of a faster machine.

Writes `searches.json`, each cold training with the seconds at its end, from which a second run goes
on, and `front_cost.csv`: the hypervolume found after some seconds, as a share of the exact front's.
`judge`: by the accuracy of the training itself, or without its noise (`denoised.py` there).
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.evaluator_registry import choose_evaluator
from spach_nas.config.search_settings import Level, Rungs
from spach_nas.files import replace_text
from spach_nas.replay import Benchmark, Budget, Strategy, TabularEvaluator, Workers, read_benchmark
from spach_nas.replay.audit import read_scores
from spach_nas.replay.strategies import replay_config, simulate
from spach_nas.samplers.ranking import rank_by_front
from spach_nas.study.driver import StudyDriver
from spach_nas.study.folder import Archive

HERE = Path(__file__).parent
BENCH = HERE.parent / "spach_bench"
sys.path.insert(0, str(BENCH))
from denoised import Denoised, accuracies  # noqa: E402

# Points of the curves, in total seconds; the last one is what `train` needs for 100 candidates.
TRAINED, REDUCTION = 100, 5
# Searches on each supernet.
EACH = 7
INHERIT = "inherit first"
SHARES = (
    *(0.03, 0.04, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25),
    *(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
# A cold training, and when it ended.
Trained = tuple[float, str]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a cheap evaluator says.

    Attributes:
        before: Seconds before the first score, such as those of a supernet.
        found: Score and seconds by `arch_id`.
    """

    evaluator: Mapping[str, object]
    before: float = 0.0
    found: Mapping[str, tuple[float, float]]


def main() -> None:
    """Write and print all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    seen = first_seed(read_benchmark([BENCH]))
    judges = {
        "trained": seen,
        "denoised": Denoised(config=seen.config, table=seen.table, accuracies=accuracies()),
    }
    whole = TRAINED * seen.table.full_seconds
    kept = HERE / "searches.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    searches = {}
    for name, number, search in strategies(seen, seeds):
        own = searches.setdefault(name, known.get(name, [])[:number])
        while len(own) < number:
            own.append([(round(end, 2), arch_id) for end, arch_id in search(len(own))])
            replace_text(kept, json.dumps({**known, **searches}, separators=(",", ":")) + "\n")
    ends = dict.fromkeys(searches, whole)
    searches[INHERIT], ends[INHERIT] = inherited(seen)
    rows = [
        row
        for name, own in searches.items()
        for judge, benchmark in judges.items()
        for row in curve(name, judge, benchmark, own, whole=whole)
        if row["seconds"] <= ends[name]
    ]
    table = pd.DataFrame(rows)
    table.to_csv(HERE / "front_cost.csv", index=False, float_format="%.5g", lineterminator="\n")
    for judge, part in table.groupby("judge"):
        print(judge, f"{whole:.0f} s for {TRAINED} trainings")
        print(part.pivot(index="strategy", columns="share", values="median").to_string())


def first_seed(benchmark: Benchmark) -> Benchmark:
    """The benchmark without the other seeds, so that a training is what its score says."""
    entries = {
        arch_id: replace(entry, curves=dict([min(entry.curves.items())]))
        for arch_id, entry in benchmark.table.entries.items()
    }
    return replace(benchmark, table=replace(benchmark.table, entries=entries))


def strategies(
    benchmark: Benchmark, seeds: int
) -> Iterator[tuple[str, int, Callable[[int], list[Trained]]]]:
    """Name, number of searches, and the search of a seed."""
    for sampler in ("tpe", "random"):
        yield f"train, {sampler}", seeds, partial(search, benchmark, sampler=sampler)
    given: dict[str, list[Scores]] = {}
    for label, one in read_scores(HERE / "scores" / "training_free.csv").items():
        name = label.partition(":")[2]
        found = {key: (one.values[key], one.seconds[key]) for key in one.values}
        given[name] = [Scores(evaluator={"name": "training_free", "score": name}, found=found)]
    for path in sorted((HERE / "scores").glob("*supernet_*.json")):
        kind = path.stem.rpartition("_")[0].replace("_", " ")
        before = json.loads(path.read_text())["seconds"]
        rows = list(pd.read_csv(path.with_suffix(".csv")).itertuples(index=False))
        for by, value in VALUES.items():
            found = {row.arch_id: (value(row), row.seconds) for row in rows}
            scores = Scores(evaluator={"name": "supernet"}, before=before, found=found)
            given.setdefault(f"{kind} by {by}", []).append(scores)
    for name, every in given.items():
        number = seeds if len(every) == 1 else EACH * len(every)
        yield f"{name} first", number, partial(_first, benchmark, every)
        yield f"all by {name}", len(every), partial(_ordered, benchmark, every)


def inherited(benchmark: Benchmark) -> tuple[list[list[Trained]], float]:
    """The cold trainings of the searches of `inherit.py`, and the end of the shortest."""
    found, ends = [], []
    for path in sorted((HERE / "scores").glob("inherit_*.csv")):
        rows = pd.read_csv(path)
        cold = rows[rows["rung"] == 1]
        known = [
            sum(epoch.seconds for epoch in next(iter(benchmark.table.entries[one].curves.values())))
            for one in cold["arch_id"]
        ]
        slower = float(np.median(cold["seconds"] / known))
        print(f"{path.name}: {len(rows) - len(cold)} candidates, {len(cold)} cold, {slower:.2f}")
        found.append(list(zip(cold["ended"] / slower, cold["arch_id"], strict=True)))
        ends.append(float(rows["ended"].max()) / slower)
    return found, min(ends)


def _first(benchmark: Benchmark, every: Sequence[Scores], seed: int) -> list[Trained]:
    return search(benchmark, seed, scores=every[seed // EACH % len(every)])


def _ordered(benchmark: Benchmark, every: Sequence[Scores], seed: int) -> list[Trained]:
    """All are scored, and trained cold by rank."""
    found, entries = every[seed].found, benchmark.table.entries
    members = [item.arch_id for item in benchmark.feasible.members]
    now = every[seed].before + sum(found[arch_id][1] for arch_id in members)
    points = [[found[arch_id][0], entries[arch_id].target_cost.macs] for arch_id in members]
    trained = []
    for place in rank_by_front(np.array(points), maximise=[True, False])[:TRAINED]:
        (curve,) = entries[members[place]].curves.values()
        now += sum(epoch.seconds for epoch in curve)
        trained.append((now, members[place]))
    return trained


# Of a row of a supernet's scores, what stands for its accuracy.
VALUES: Mapping[str, Callable[..., float]] = {
    "accuracy": lambda row: float(row.accuracy),
    "loss": lambda row: float(np.exp(-row.loss)),
}


def search(
    benchmark: Benchmark,
    seed: int,
    *,
    sampler: str = "tpe",
    scores: Scores | None = None,
) -> list[Trained]:
    """The cold trainings of one search, in the order of their ends."""
    trials = TRAINED if scores is None else benchmark.feasible.count or TRAINED
    config = replay_config(
        benchmark, Strategy(sampler=sampler), seed=seed, budget=Budget(trials=trials)
    )
    if scores is not None:
        level = Level(evaluator=choose_evaluator(scores.evaluator))
        config = replace(config, rungs=Rungs(levels=(level,), reduction=REDUCTION))
    table = TabularEvaluator(table=benchmark.table, seed=0)

    def evaluate(request: EvaluationRequest) -> Evaluation:
        if scores is None or request.fidelity.rung:
            return table(replace(request, fidelity=config.fidelity))
        value, seconds = scores.found[request.architecture.arch_id]
        name = config.evaluators[0].spec.scores[0]
        return Evaluation(state="complete", scores={name: value, "loss": 0.0}, seconds=seconds)

    workers: Workers[tuple[EvaluationRequest, Evaluation]] = Workers(number=1)
    study = StudyDriver(
        config,
        folder=Path("replay"),
        data=config.space.shape,
        feasible=benchmark.feasible,
        archive=Archive(),
        clock=workers.clock,
    )
    try:
        simulate(study, evaluate, workers=workers)
    finally:
        study.close()
    before = 0.0 if scores is None else scores.before
    return [
        (before + record.started + record.seconds, record.arch_id)
        for record in study.records
        if record.fidelity.rung == config.fidelity.rung
    ]


def curve(
    name: str,
    judge: str,
    benchmark: Benchmark,
    searches: Sequence[Sequence[Trained]],
    *,
    whole: float,
) -> Iterator[dict[str, object]]:
    """Median and 90 % of the seeds at each point."""
    for share in SHARES:
        until = share * whole
        kept = [[arch_id for end, arch_id in one if end <= until] for one in searches]
        found = [1 - benchmark.regret(one) for one in kept]
        low, median, high = np.quantile(found, [0.05, 0.5, 0.95])
        yield {
            "strategy": name,
            "judge": judge,
            "share": share,
            "seconds": round(until),
            "trained": float(np.median([len(one) for one in kept])),
            "median": median,
            "low": low,
            "high": high,
            "seeds": len(found),
        }


if __name__ == "__main__":
    main()
