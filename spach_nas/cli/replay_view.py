"""Renders the regret of strategies for a terminal."""

from collections.abc import Sequence

from rich.table import Table as RichTable

from spach_nas.replay.benchmark import Benchmark
from spach_nas.replay.regrets import Axis, Regret
from spach_nas.replay.strategies import Strategy
from spach_nas.units import format_duration

_SHOWN = (0.1, 0.3, 0.5, 1.0)
_UNITS: dict[Axis, str] = {"trials": "trials", "seconds": "s"}


def benchmark_line(benchmark: Benchmark) -> str:
    """What is searched, in one line."""
    point = ", ".join(
        f"{item.name} {item.words(benchmark.reference_point[item.name])}"
        for item in benchmark.config.objective_list
    )
    table = benchmark.table
    return (
        f"{benchmark.feasible.count} feasible architectures of {len(table.entries)}, "
        f"{table.epochs} epochs, {table.full_seconds:.1f} s per training; reference point: {point}"
    )


def search_words(done: int, seconds: float, *, chosen: Sequence[Strategy], seeds: int) -> str:
    """The progress of a comparison, in one line.

    Args:
        done: Number of finished searches.
        seconds: Time that these took.
        chosen: The strategies. Each takes two searches per seed.
        seeds: Number of seeds.
    """
    each = 2 * seeds
    number, within = divmod(done, each)
    words = f"{chosen[number]} ({number + 1} of {len(chosen)}), search {within + 1} of {each}"
    if not done:
        return words
    left = seconds / done * (each * len(chosen) - done)
    return f"{words}, about {format_duration(left)} left"


def regret_table(rows: Sequence[Regret], axis: Axis) -> RichTable:
    """One line per strategy, ordered by the median at the end: median and 90 % band."""
    own = [row for row in rows if row.axis == axis]
    table = RichTable(title=f"hypervolume regret over {axis}, %: median (90 % of the seeds)")
    table.add_column("strategy")
    for share in _SHOWN:
        spent = next(row.spent for row in own if row.share == share)
        table.add_column(f"{spent:.0f} {_UNITS[axis]}", justify="right", no_wrap=True)
    last = {row.strategy: row.median for row in own if row.share == _SHOWN[-1]}
    for name in sorted(last, key=last.__getitem__):
        cells = [row for row in own if row.strategy == name and row.share in _SHOWN]
        table.add_row(name, *(_cell(row) for row in cells))
    return table


def _cell(row: Regret) -> str:
    return f"{100 * row.median:.1f} ({100 * row.low:.1f}-{100 * row.high:.1f})"
