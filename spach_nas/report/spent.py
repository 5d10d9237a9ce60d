"""What a study took: time of the search, of training and of waiting, by rung, and disk."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spach_nas.report.document import Section, render
from spach_nas.report.view import StudyView
from spach_nas.study.hypervolume import finished_after
from spach_nas.study.records import Record

_UNITS = ("B", "kB", "MB", "GB", "TB")


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
    """Time, by rung where there are several, and disk."""
    found = spent(view.records)
    if not found.search_s:
        return Section(id="spent", title="Time and disk")
    older = sum(record.origin is not None for record in view.records)
    disk = sorted(view.facts.disk.items(), key=lambda item: -item[1])
    sizes = ", ".join(f"{name} {format_bytes(size)}" for name, size in disk if size)
    total = format_bytes(sum(size for _, size in disk))
    body = render("study.html", "spent", found, older, f"{total}: {sizes}" if disk else "")
    return Section(id="spent", title="Time and disk", body=body)


def format_bytes(count: float) -> str:
    """`532 B`, `4.9 MB`; steps of a thousand."""
    for unit in _UNITS[:-1]:
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {_UNITS[-1]}"
