"""What a search says of itself before its first trial."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from spach_nas.cli.budget import (
    Budget,
    budget,
    budget_line,
    budget_warnings,
    evaluations_left,
)
from spach_nas.config.study_files import RECORDS_FILE
from spach_nas.errors import StudyError
from spach_nas.search.plan import Plan, study_path
from spach_nas.search.timing import QUICK, time_search
from spach_nas.study.records import read_records


def foresee(
    plan: Plan,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    doing: Callable[[str], None] = lambda _: None,
) -> Budget | None:
    """What a search is going to take here, from a few timed steps.

    Args:
        plan: The search.
        out: Folder of the study.
        resume: Whether it goes on with what is in there.
        doing: Told what goes on.

    Returns:
        None where it cannot be said: on a cluster, whose machines are not this one, where no
        proxy trains, which the search itself says better, or where nothing is left to train.
    """
    if plan.config.resources.address != "local":
        return None
    folder = study_path(plan.config, out)
    records = read_records(folder) if resume and (folder / RECORDS_FILE).is_file() else ()
    if records and not evaluations_left(plan, records):
        return None
    doing("timing a few training steps")
    try:
        return budget(plan, time_search(plan, care=QUICK), records)
    except StudyError:
        return None


def print_budget(plan: Plan, found: Budget | None, *, console: Console) -> None:
    """How much, how long and until when, and what does not fit."""
    if found is not None:
        line = budget_line(found, now=datetime.now().astimezone())
        console.print(Text(line), soft_wrap=True)
    elif plan.config.resources.address != "local":
        trials = plan.config.search.trials + len(plan.config.references)
        console.print(
            f"{trials:,} trials; how long they take on the cluster is told from the first ones on",
            soft_wrap=True,
            highlight=False,
        )
    for words in budget_warnings(plan, found):
        console.print(Text(f"warning: {words}", style="yellow"), soft_wrap=True)
