"""Searches replayed from a table of trainings, in virtual time: which strategy is better here."""

from spach_nas.replay.comparison import Regret, compare, strategies, write_regrets
from spach_nas.replay.evaluator import TabularEvaluator
from spach_nas.replay.ground import Ground, read_ground
from spach_nas.replay.simulation import VirtualClock, Workers, simulate
from spach_nas.replay.strategies import Budget, Step, Strategy, replay
from spach_nas.replay.table import Entry, Table, table_of_records
from spach_nas.replay.table_files import read_table, write_table
from spach_nas.replay.table_set import TableSet

__all__ = [
    "Budget",
    "Entry",
    "Ground",
    "Regret",
    "Step",
    "Strategy",
    "Table",
    "TableSet",
    "TabularEvaluator",
    "VirtualClock",
    "Workers",
    "compare",
    "read_ground",
    "read_table",
    "replay",
    "simulate",
    "strategies",
    "table_of_records",
    "write_regrets",
    "write_table",
]
