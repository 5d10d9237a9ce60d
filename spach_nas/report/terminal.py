"""A front as a table for a terminal; nothing here needs Plotly."""

from collections.abc import Collection, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from spach_nas.config.objectives import LATENCY, OBJECTIVES, USUAL, Objective
from spach_nas.latency.latency_table import Timing
from spach_nas.report.view import StudyView
from spach_nas.space.short_names import short_names
from spach_nas.study.intervals import record_words
from spach_nas.study.pareto import value
from spach_nas.study.records import Record
from spach_nas.study.timm_figures import TimmFigures
from spach_nas.units import common_unit

_TIMM_CAPTION = "Models of timm are not trained here; published is their top-1 on ImageNet-1k."


def front_table(view: StudyView) -> Table:
    """The front, cheapest target first, with best, knee and paper models marked.

    Below it, in the units of its costs, the models of timm of the study.
    """
    measured = view.facts.front_latency
    return members_table(
        view.front,
        marks=view.marks,
        objectives=view.objectives,
        title=front_title(len(view.front), len(view.last)),
        timm=view.facts.timm,
        measured={} if measured is None else measured.times,
    )


def members_table(
    members: Sequence[Record],
    *,
    marks: Mapping[int, tuple[str, ...]],
    objectives: Sequence[Objective] = USUAL,
    title: str | None = None,
    rows: int | None = None,
    timm: Sequence[TimmFigures] = (),
    measured: Mapping[str, Timing] | None = None,
) -> Table:
    """Members of a front, in their order.

    Args:
        members: Records.
        marks: Words by trial.
        objectives: Of the study: each of its scores has a column, and so has accuracy.
        title: Above the table; None: nothing.
        rows: Most of them, one line each; None shows all, each on as many lines as it takes.
        timm: Models of timm, below them.
        measured: Times of whole networks by `arch_id`, next to those that are predicted.
    """
    live = rows is not None
    table = Table(
        title=title,
        title_justify="left",
        box=None if live else box.HEAVY_HEAD,
        pad_edge=not live,
        padding=(0, 2, 0, 0) if live else (0, 1),
    )
    table.add_column("trial", justify="right", no_wrap=True, min_width=5)
    table.add_column("architecture", overflow="fold", ratio=1, min_width=8 if live else 24)
    accuracy = OBJECTIVES["accuracy"]
    scores = [item for item in objectives if item.source == "score"]
    if accuracy not in scores and any(value(record, accuracy) is not None for record in members):
        scores.append(accuracy)
    figures = {item.name: [record_words(record, item) for record in members] for item in scores}
    beneath = {name: [""] * len(timm) for name in figures}
    for name, largest, digits in (("macs", "G", 2), ("params", "M", 1)):
        counts = [getattr(record.target_cost, name) for record in members]
        unit, factor = common_unit(counts, largest=largest)
        heading = f"{'MACs' if name == 'macs' else name} ({unit})"
        figures[heading] = [f"{count / factor:.{digits}f}" for count in counts]
        beneath[heading] = [f"{getattr(model, name) / factor:.{digits}f}" for model in timm]
    latencies = [value(record, LATENCY) for record in members]
    if any(latency is not None for latency in latencies):
        figures["latency (ms)"] = list(map(_latency_words, latencies))
        beneath["latency (ms)"] = [_latency_words(model.latency) for model in timm]
    if measured:
        times = (measured.get(record.arch_id) for record in members)
        figures["measured"] = ["" if time is None else f"{time.median_ms:.2f}" for time in times]
        beneath["measured"] = [""] * len(timm)
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    names = short_names([record.architecture for record in members])
    fits = rows is None or len(members) <= rows
    shown = members if fits else spread_rows(members, rows=max(1, (rows or 0) - 1), kept=marks)
    places = {id(record): place for place, record in enumerate(members)}
    for record in shown:
        place, words = places[id(record)], [*marks.get(record.trial, ()), record.reference or ""]
        table.add_row(
            str(record.trial),
            # The text is kept on its line, not its column: rich shrinks columns that may wrap
            # first. `Text`, not a string: rich reads brackets in strings as mark-up.
            Text(names[place], no_wrap=live, overflow="ellipsis" if live else "fold"),
            *(column[place] for column in figures.values()),
            Text(", ".join(filter(None, words))),
            style="bold" if record.trial in marks else "",
        )
    if len(shown) < len(members):
        table.add_row("", Text(f"... and {len(members) - len(shown)} more", style="dim"))
    if timm:
        table.add_section()
        table.caption, table.caption_justify = _TIMM_CAPTION, "left"
    for place, model in enumerate(timm):
        published = "" if model.top1 is None else f"published: {model.top1:.1f} %"
        cells = (column[place] for column in beneath.values())
        table.add_row("", Text(model.name, overflow="fold"), *cells, published)
    return table


def _latency_words(latency: float | None) -> str:
    return "" if latency is None else f"{latency:.2f}"


def front_title(members: int, trials: int) -> str:
    """The heading of a front."""
    return f"Pareto front, {members} of {trials} {'trial' if trials == 1 else 'trials'}"


def spread_rows(members: Sequence[Record], *, rows: int, kept: Collection[int]) -> list[Record]:
    """So many of the members, evenly over the front, with both ends and those to be kept."""
    count = len(members)
    chosen = [i for i, record in enumerate(members) if record.trial in kept]
    even = [round(i * (count - 1) / max(1, rows - 1)) for i in range(rows)]
    # Ends before the middle, so that they are there however few the rows are.
    wanted = dict.fromkeys([*chosen, count - 1, 0, *even, *range(count)])
    return [members[i] for i in sorted(list(wanted)[:rows])]
