"""Searches replayed from a table of trainings, in virtual time: which strategy is better here."""

from spach_nas.replay.benchmark import Benchmark, read_benchmark
from spach_nas.replay.comparison import Regret, compare, strategies, write_regrets
from spach_nas.replay.simulation import TabularEvaluator, VirtualClock, Workers, simulate
from spach_nas.replay.strategies import Budget, Step, Strategy, replay
from spach_nas.replay.table import Entry, Table, TableSet, read_table, table_of_records, write_table

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
