"""Compares samplers by what their finds are worth without the noise of a training.

    python denoised.py

Strategies meet the table's trainings, noise and all. Their finds are judged by the mean accuracy
of all architectures of the same width and stem, which is what `effects.csv` leaves of the table.
Writes `denoised.csv`, the columns of `regret.csv`, and prints the medians.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
from trust import HERE, members, read_table

from spach_nas.config.objectives import Objective
from spach_nas.replay import Benchmark, Budget, Entry, Regret, Strategy, read_benchmark, replay
from spach_nas.replay.regrets import regrets, summary

SAMPLERS = ("tpe", "nsga2", "surrogate", "evolution", "local", "random")
SEEDS, TRIALS, WORKERS = 30, 100, 2


@dataclass(frozen=True, kw_only=True)
class Denoised(Benchmark):
    """The same architectures with other accuracies, by `arch_id`."""

    accuracies: Mapping[str, float]

    def value(self, entry: Entry, objective: Objective) -> float:
        """The figure that finds are judged by."""
        if objective.name == "accuracy":
            return self.accuracies[entry.architecture.arch_id]
        return super().value(entry, objective)


def main() -> None:
    """Write and print all rows."""
    seen = read_benchmark([HERE])
    judged = Denoised(config=seen.config, table=seen.table, accuracies=accuracies())
    rows = [row for name in SAMPLERS for row in regrets_of(name, seen, judged)]
    table = pd.DataFrame(rows)
    table.to_csv(HERE / "denoised.csv", index=False, float_format="%.5f", lineterminator="\n")
    medians = table.pivot(index="strategy", columns="share", values="median")
    print(f"{len(judged.front)} architectures on the front")
    print(medians.sort_values(0.5).to_string(float_format="%.4f"))


def accuracies() -> dict[str, float]:
    """Means over all architectures of a width and stem."""
    found = members(read_table())
    layouts = [json.loads(text) for text in found["architecture"]]
    kinds = [f"{layout['stages'][0]['width']}, {layout['stem']}" for layout in layouts]
    return dict(found.groupby(kinds)["accuracy"].transform("mean"))


def regrets_of(name: str, seen: Benchmark, judged: Benchmark) -> Iterator[Regret]:
    """At each tenth of the trials."""
    budget = Budget(trials=TRIALS, workers=WORKERS)
    found = [
        regrets(
            judged,
            replay(seen, Strategy(sampler=name), seed=seed, budget=budget),
            "trials",
            whole=TRIALS,
        )
        for seed in range(SEEDS)
    ]
    return summary(name, "trials", found, whole=TRIALS)


if __name__ == "__main__":
    main()
