"""What a study took: time of the search, of training and of waiting, by rung."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from spach_nas.report.document import Section, render
from spach_nas.report.view import StudyView
from spach_nas.study.hypervolume import finished_after
from spach_nas.study.records import Record


class Spent(NamedTuple):
    """What a study's own evaluations took, without those taken over from an earlier study.

    Attributes:
        search_s: From the start of the search to the end of its last evaluation.
        training_s: Sum over all evaluations.
        idle_s: Time of the search in which nothing was evaluated.
        shared: Evaluations that took the score of an equal proxy.
        rungs: Records by rung, the lowest first.
    """

    search_s: float
    training_s: float
    idle_s: float
    shared: int
    rungs: Mapping[int, Sequence[Record]]


def spent(records: Sequence[Record]) -> Spent:
    """The sums of a study."""
    own = [record for record in records if record.origin is None]
    search_s = max((finished_after(record) for record in own), default=0.0)
    busy, end = 0.0, 0.0
    for record in sorted(own, key=lambda record: record.started):
        start = max(end, record.started)
        end = max(end, record.started + record.seconds)
        busy += max(0.0, end - start)
    rungs: dict[int, list[Record]] = {}
    for record in sorted(own, key=lambda record: record.fidelity.rung):
        rungs.setdefault(record.fidelity.rung, []).append(record)
    return Spent(
        search_s=search_s,
        training_s=sum(record.seconds for record in own),
        idle_s=max(0.0, search_s - busy),
        shared=sum(record.state == "complete" and not record.seconds for record in own),
        rungs=rungs,
    )


def spent_section(view: StudyView) -> Section:
    """Time, by rung where there are several."""
    found = spent(view.records)
    older = sum(record.origin is not None for record in view.records)
    body = render("study.html", "spent", found, older) if found.search_s else Markup()
    return Section(id="spent", title="Time", body=body)
