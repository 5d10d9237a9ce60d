"""What a study took: time of the search, of training and of waiting, by rung."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from spach_nas.config.evaluation import Fidelity
from spach_nas.report.document import Section, render
from spach_nas.report.theme import TIMES
from spach_nas.report.view import StudyView
from spach_nas.study.hypervolume import finished_after
from spach_nas.study.records import Record
from spach_nas.units import format_duration

_UNITS = ("B", "kB", "MB", "GB", "TB")
_HEADS = ("Rung", "Epochs", "Data", "Images", "Trials", "Went on", "Failed", "Training")


@dataclass(frozen=True, kw_only=True, slots=True)
class RungTime:
    """The trainings of a rung.

    Attributes:
        fidelity: Of the rung.
        trials: That reached it.
        failed: Of them.
        seconds: Of all its trainings; each goes on from the rung before.
    """

    fidelity: Fidelity
    trials: int
    failed: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What a study took; seconds are those of its own evaluations, without those taken over.

    Attributes:
        search_s: From its start to the end of its last evaluation.
        training_s: Sum over its evaluations.
        idle_s: Of the search, in which nothing was evaluated.
        shared: Evaluations that took the score of an equal proxy.
        taken_over: Results of an earlier study.
        rungs: The lowest first.
    """

    search_s: float
    training_s: float
    idle_s: float
    shared: int
    taken_over: int
    rungs: tuple[RungTime, ...]


def spent(records: Sequence[Record]) -> Spent:
    """The sums of a study."""
    own = [record for record in records if record.origin is None]
    search_s = max((finished_after(record) for record in own), default=0.0)
    rungs: dict[int, list[Record]] = {}
    for record in own:
        rungs.setdefault(record.fidelity.rung, []).append(record)
    return Spent(
        search_s=search_s,
        training_s=sum(record.seconds for record in own),
        idle_s=max(0.0, search_s - _busy(own)),
        shared=sum(record.state == "complete" and not record.seconds for record in own),
        taken_over=len(records) - len(own),
        rungs=tuple(_rung(group) for _, group in sorted(rungs.items())),
    )


def _busy(records: Sequence[Record]) -> float:
    """Seconds in which at least one evaluation ran."""
    total, end = 0.0, 0.0
    for record in sorted(records, key=lambda record: record.started):
        start = max(end, record.started)
        end = max(end, record.started + record.seconds)
        total += max(0.0, end - start)
    return total


def _rung(records: Sequence[Record]) -> RungTime:
    return RungTime(
        fidelity=records[0].fidelity,
        trials=len({record.trial for record in records}),
        failed=sum(record.state == "failed" for record in records),
        seconds=sum(record.seconds for record in records),
    )


def spent_section(view: StudyView) -> Section:
    """Time and disk, and a table of the rungs where there are several."""
    found, disk = spent(view.records), view.facts.disk
    section = Section(id="spent", title="Time and disk")
    if not found.search_s:
        return section
    at_once = found.training_s / found.search_s
    entries = {
        "Search": f"{format_duration(found.search_s)} from its start to its last result",
        "Training": f"{format_duration(found.training_s)} in all, {at_once:.1f} trainings at a "
        "time on average",
        "Waiting": f"{format_duration(found.idle_s)} in which nothing was trained "
        f"({found.idle_s / found.search_s:.0%} of the search)",
        "Shared scores": f"{found.shared} from an equal proxy, at no time" if found.shared else "",
        "Taken over": f"{found.taken_over} results of an earlier study, not counted here"
        if found.taken_over
        else "",
        "Disk": _disk(disk),
    }
    above = [*(rung.trials for rung in found.rungs[1:]), None]
    rungs = [_cells(rung, above=went) for rung, went in zip(found.rungs, above, strict=True)]
    return replace(section, body=render("study.html", "spent", entries, _HEADS, rungs))


def _cells(rung: RungTime, *, above: int | None) -> tuple[str, ...]:
    height, width = rung.fidelity.image_size
    return (
        f"{rung.fidelity.rung}",
        f"{rung.fidelity.epochs}",
        f"{rung.fidelity.data_share:.0%}",
        f"{height}{TIMES}{width}",
        f"{rung.trials:,}",
        "\N{EN DASH}" if above is None else f"{above / rung.trials:.0%}",
        f"{rung.failed}",
        format_duration(rung.seconds),
    )


def _disk(disk: Mapping[str, int]) -> str:
    if not disk:
        return ""
    parts = sorted(disk.items(), key=lambda item: -item[1])
    words = ", ".join(f"{name} {format_bytes(size)}" for name, size in parts if size)
    return f"{format_bytes(sum(disk.values()))}: {words}"


def format_bytes(count: float) -> str:
    """`532 B`, `4.9 MB`; steps of a thousand."""
    for unit in _UNITS[:-1]:
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {_UNITS[-1]}"
