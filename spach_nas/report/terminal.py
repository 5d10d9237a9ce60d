"""The front as a table for a terminal."""

from collections.abc import Sequence

from rich.table import Table

from spach_nas.limits import Limits
from spach_nas.live.front_view import front_title, members_table
from spach_nas.objectives import Objective
from spach_nas.pareto import front
from spach_nas.records import Record
from spach_nas.report.trials import marked


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
