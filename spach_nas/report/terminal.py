"""The front as a table for a terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from spach_nas.limits import Limits
from spach_nas.objectives import OBJECTIVES, Objective
from spach_nas.pareto import front, value
from spach_nas.records import Record
from spach_nas.report.trials import marked


def front_table(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
) -> Table:
    """The front, cheapest target first, with best, knee and paper models marked."""
    marks = marked(records, objectives, limits=limits)
    members = front(records, objectives, limits=limits)
    table = Table(title=f"Pareto front, {len(members)} of {_trials(records)}", title_justify="left")
    table.add_column("trial", justify="right")
    table.add_column("architecture", overflow="fold", ratio=1, min_width=24)
    for heading in ("accuracy", "MACs (G)", "params (M)"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for record in members:
        accuracy = value(record, OBJECTIVES["accuracy"])
        words = [*marks.get(record.trial, ()), *filter(None, [record.reference])]
        # `Text`, not a string: rich reads brackets in strings as mark-up.
        table.add_row(
            str(record.trial),
            Text(str(record.architecture)),
            "" if accuracy is None else f"{accuracy:.2%}",
            f"{record.target_cost.macs / 1e9:.2f}",
            f"{record.target_cost.params / 1e6:.1f}",
            Text(", ".join(words)),
            style="bold" if record.trial in marks else "",
        )
    return table


def _trials(records: Sequence[Record]) -> str:
    number = len({record.trial for record in records})
    return f"{number} trial" if number == 1 else f"{number} trials"
