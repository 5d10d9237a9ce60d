"""Searches replayed from a table of trainings in virtual time, to compare strategies."""

from spach_nas.replay.benchmark import Benchmark, read_benchmark
from spach_nas.replay.regrets import Regret, compare, strategies, write_regrets
from spach_nas.replay.strategies import (
    Budget,
    Step,
    Strategy,
    TabularEvaluator,
    VirtualClock,
    Workers,
    replay,
    simulate,
)
from spach_nas.replay.training_table import (
    Entry,
    Table,
    TableSet,
    read_table,
    table_of_records,
    write_table,
)

__all__ = [
    "Benchmark",
    "Budget",
    "Entry",
    "Regret",
    "Step",
    "Strategy",
    "Table",
    "TableSet",
    "TabularEvaluator",
    "VirtualClock",
    "Workers",
    "compare",
    "read_benchmark",
    "read_table",
    "replay",
    "simulate",
    "strategies",
    "table_of_records",
    "write_regrets",
    "write_table",
]
