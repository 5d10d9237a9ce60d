"""Searches replayed from a table of trainings, in virtual time: which strategy is better here."""

from typing import TYPE_CHECKING

from spach_nas.late import late

if TYPE_CHECKING:
    from spach_nas.replay.comparison import Regret, compare, write_regrets
    from spach_nas.replay.evaluator import TabularEvaluator
    from spach_nas.replay.ground import Ground, read_ground
    from spach_nas.replay.simulation import VirtualClock, Workers, simulate
    from spach_nas.replay.strategies import Budget, Step, Strategy, replay
    from spach_nas.replay.table import Entry, Table, table_of_records
    from spach_nas.replay.table_files import read_table, write_table
    from spach_nas.replay.table_set import TableSet

__getattr__ = late(
    __name__,
    {
        "Budget": "strategies",
        "Entry": "table",
        "Ground": "ground",
        "Regret": "comparison",
        "Step": "strategies",
        "Strategy": "strategies",
        "Table": "table",
        "TableSet": "table_set",
        "TabularEvaluator": "evaluator",
        "VirtualClock": "simulation",
        "Workers": "simulation",
        "compare": "comparison",
        "read_ground": "ground",
        "read_table": "table_files",
        "replay": "strategies",
        "simulate": "simulation",
        "table_of_records": "table",
        "write_regrets": "comparison",
        "write_table": "table_files",
    },
)
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
    "table_of_records",
    "write_regrets",
    "write_table",
]
