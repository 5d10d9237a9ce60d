"""The front as a table for a terminal."""

from collections.abc import Sequence

from rich.table import Table

from spach_nas.config.objectives import Objective
from spach_nas.cost.limits import Limits
from spach_nas.report.front_rows import front_title, members_table
from spach_nas.report.trials import marked
from spach_nas.study.pareto import front
from spach_nas.study.records import Record


def front_table(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
) -> Table:
    """The front, cheapest target first, with best, knee and paper models marked."""
    members = front(records, objectives, limits=limits)
    return members_table(
        members,
        marks=marked(records, objectives, limits=limits),
        objectives=objectives,
        title=front_title(len(members), len({record.trial for record in records})),
    )
