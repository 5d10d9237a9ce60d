"""Says what the tables of control tasks can tell: noise, spread, mixers. `effects.csv`.

    python effects.py TASK...

All figures are in points of accuracy, over the architectures of `TASK/table.csv`, each the mean
over its trainings. `noise` is the deviation between trainings of one architecture, `spread` that
of architectures in the same of six bands of MACs. A table whose spread is less than three times
its noise cannot judge a search. The other rows say what the mixer adds where all blocks of the
stage have it in place of convolution, at equal MACs, with 95 % intervals.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from spach_nas.replay import read_benchmark
from spach_nas.replay.mixer_worths import mixer_worths

HERE = Path(__file__).parent
COLUMNS = ("task", "figure", "architectures", "points", "low", "high")
BANDS = 6
TIMES = 3  # the least spread, in deviations of the noise


def main() -> None:
    """Write the table, and say which tasks count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    rows = [row for task in parser.parse_args().tasks for row in rows_of(task)]
    with (HERE / "effects.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(*(row[name] for name in COLUMNS if name in row))


def rows_of(task: str) -> Iterator[dict[str, str]]:
    """The rows of a task."""
    benchmark = read_benchmark([HERE / task])
    entries = [benchmark.table.entries[one.arch_id] for one in benchmark.feasible.members]
    ends = [[100 * curve[-1].accuracy for curve in entry.curves.values()] for entry in entries]
    means = np.array([np.mean(own) for own in ends])
    macs = [entry.target_cost.macs for entry in entries]
    bands = (rankdata(macs, method="ordinal") - 1) * BANDS // len(macs)
    noise, repeated = pooled([np.array(own) for own in ends])
    spread, _ = pooled([means[bands == band] for band in np.unique(bands)])
    yield row(task, "noise", repeated, noise)
    counts = "counts" if spread >= TIMES * noise else "does not count"
    yield row(task, f"spread, {counts}", len(entries), spread)
    worths = mixer_worths(
        [entry.architecture for entry in entries],
        macs=macs,
        scores=list(means / 100),
        space=benchmark.config.space,
    )
    for (place, mixer), one in worths.items():
        name = f"{mixer} in stage {place + 1}"
        yield row(task, name, len(entries), one.figure, (one.low, one.high))


def pooled(groups: list[np.ndarray]) -> tuple[float, int]:
    """Deviation within groups, and how many of these have two members or more."""
    several = [own for own in groups if len(own) > 1]
    squares = sum(((own - own.mean()) ** 2).sum() for own in several)
    return float(np.sqrt(squares / sum(len(own) - 1 for own in several))), len(several)


def row(
    task: str, figure: str, architectures: int, points: float, ends: tuple[float, ...] = ()
) -> dict[str, str]:
    """A row of the table; without ends there is no interval."""
    cells = (task, figure, str(architectures), f"{points:.2f}", *(f"{end:.2f}" for end in ends))
    return dict(zip(COLUMNS, cells, strict=False))


if __name__ == "__main__":
    main()
