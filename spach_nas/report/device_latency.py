"""The predicted latency of a front next to that of whole networks, timed after the trials."""

import statistics

from markupsafe import Markup

from spach_nas.config.objectives import LATENCY
from spach_nas.report.document import Section, render
from spach_nas.report.view import StudyView, record_name
from spach_nas.study.pareto import value
from spach_nas.units import format_latency


def latency_section(view: StudyView) -> Section:
    """A table of the front; hidden where the study measured none."""
    body, rows = Markup(), _rows(view)
    if view.facts.front_latency is not None:
        body = render("study.html", "latency", rows, latency_words(view), view.facts.front_latency)
    return Section(id="latency", title="Latency of the front", body=body)


def latency_words(view: StudyView) -> tuple[str, ...]:
    """What measuring the front has shown, one sentence each."""
    found = view.facts.front_latency
    if found is None:
        return ()
    off = [abs(ms / measured - 1) for _, ms, measured in _rows(view) if measured is not None]
    words = [limit_words(view)]
    if off:
        words.append(
            f"Predictions are off by {statistics.median(off):.1%} at the median and "
            f"{max(off):.1%} at most over {len(off)} whole networks of the front."
        )
    if found.missing:
        some = "Not all of the front was" if off else "The front was not"
        words.append(f"{some} measured whole: {found.missing}.")
    return tuple(filter(None, words))


def limit_words(view: StudyView) -> str:
    """Which members of the front are slower than the limit; empty if none was measured to be."""
    found, limit = view.facts.front_latency, view.limits.max_latency
    if found is None or limit is None:
        return ""
    slow = [
        f"{record_name(record)} ({format_latency(timing.median)})"
        for record in view.front
        if (timing := found.times.get(record.arch_id)) is not None and timing.median > limit
    ]
    return f"Slower than {format_latency(limit)} when measured: {', '.join(slow)}." if slow else ""


def _rows(view: StudyView) -> list[tuple[str, float, float | None]]:
    """Name, predicted and measured milliseconds of each member of the front."""
    found = view.facts.front_latency
    times = {} if found is None else {key: one.median_ms for key, one in found.times.items()}
    return [
        (record_name(record), predicted, times.get(record.arch_id))
        for record in view.front
        if (predicted := value(record, LATENCY)) is not None
    ]
