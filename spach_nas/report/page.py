"""The page of a study: everything about it in one HTML file that opens without a network."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from spach_nas.paths import shell_word
from spach_nas.report.agreement import agreement_section
from spach_nas.report.axes import study_axes
from spach_nas.report.curves import curves_section
from spach_nas.report.document import (
    PlotlyPlace,
    Section,
    document,
    render,
    write_page,
    write_plotly,
)
from spach_nas.report.drawing import common_width, draw, drawn_width
from spach_nas.report.effects import effects_section
from spach_nas.report.hypervolume import hypervolume_section
from spach_nas.report.pareto import pareto_data, pareto_figure
from spach_nas.report.shares import shares_section
from spach_nas.report.spent import spent_section
from spach_nas.report.summary import Pick, conclusion, meaning, picks, summarise, worth_words
from spach_nas.report.table import export_command, failures, table_data, table_rows
from spach_nas.report.theme import MIXER_COLOURS
from spach_nas.report.view import StudyFacts, StudyView, study_view
from spach_nas.study.folder import REPORT
from spach_nas.study.intervals import record_words
from spach_nas.study.records import Record
from spach_nas.units import format_count
from spach_nas.version import __version__

FILE_NAME = REPORT
_SCRIPTS = ("figures.js", "page.js")
_TEMPLATE = "study.html"
# A traceback or a compiler's output would hide the other reasons.
_LONGEST_REASON = 300
_MEANINGS = {
    "when in doubt": "the cheapest whose score lies in the interval of the best",
    "best": "the best score, by however little",
    "knee": "where the front bends most: beyond it, a better score costs more and more",
}


def write_report(
    folder: Path,
    *,
    records: Sequence[Record],
    facts: StudyFacts,
    plotly: PlotlyPlace = "embed",
) -> Path:
    """Write `report.html` of a study; an older one is replaced in one step.

    Args:
        folder: Of the study; the page's export commands name it as given here.
        records: Of the study, in the order in which they finished.
        facts: What the records do not say.
        plotly: Whether plotly's script, 4.8 MB, is part of the page or a file beside it.

    Returns:
        Path of the page.
    """
    if plotly == "beside":
        write_plotly(folder)
    view = study_view(records, facts)
    text = document(
        name=facts.name,
        header=page_header(view, folder=folder),
        sections=_sections(view),
        data=table_data(view, table_rows(view), folder=folder),
        scripts=_SCRIPTS,
        plotly=plotly,
    )
    return write_page(folder / FILE_NAME, text)


def _sections(view: StudyView) -> list[Section]:
    """In the order of reading."""
    some = bool(view.records)
    failed = render(_TEMPLATE, "failures", failures(view), _LONGEST_REASON)
    choices = (shares_section, effects_section) if view.within else ()
    return [
        _front_section(view),
        Section(id="drawings", title="Architectures on the front", body=_drawings(view)),
        hypervolume_section(view),
        *(section(view) for section in choices),
        curves_section(view),
        agreement_section(view),
        Section(
            id="trials",
            title="All trials",
            controls=render(_TEMPLATE, "filters") if some else Markup(),
            body=render(_TEMPLATE, "table") if some else Markup(),
            missing="" if some else "No trial is finished yet.",
        ),
        Section(id="failures", title="Failures", body=failed),
        spent_section(view),
        Section(id="origin", title="How it was made", body=_origin(view)),
    ]


def page_header(view: StudyView, *, folder: Path) -> Markup:
    """Name, conclusion, which network to take, and what the numbers mean."""
    cards = [_card(view, pick, folder=shell_word(folder)) for pick in picks(view)]
    worth = worth_words(view) if cards else ""
    words = conclusion(summarise(view))
    return render(_TEMPLATE, "header", view, words, cards, worth, meaning(view))


def _card(view: StudyView, pick: Pick, *, folder: str) -> dict[str, Any]:
    record = pick.trained.record
    cost, kept = record.target_cost, view.keeps(record)
    return {
        "roles": pick.roles,
        "meaning": "; ".join(_MEANINGS[role] for role in pick.roles),
        "score": pick.trained.words(view.score),
        "cost": f"{format_count(cost.macs)} MACs, {format_count(cost.params)} params",
        "trial": record.trial,
        "who": record.reference or f"trial {record.trial}",
        "architecture": view.names[record.arch_id],
        "command": export_command(folder, record, kept=kept),
        "kept": kept,
    }


def _front_section(view: StudyView) -> Section:
    axes = study_axes(view.trained, view.objectives)
    data = {words: pareto_data(view, axis) for words, axis in axes.items()}
    figures = {words: pareto_figure(one) for words, one in data.items() if one.points}
    complete = {record.trial for record in view.records if record.state == "complete"}
    compared = {record.trial for one in view.trained for record in one.trainings}
    lower = len(complete) - len(compared)
    first = next(iter(data.values()))
    bars = any(point.low < point.high for point in first.points)
    notes = [
        "The line is the front of the two figures shown: nothing is better in both.",
        "Bars: 95 % of the validation images, and all seeds of a training." if bars else "",
        "Click a point to select its trial.",
        f"{lower:,} trials that stopped at a lower rung are in the table alone." if lower else "",
    ]
    return Section(
        id="front",
        title=f"{view.score.name.capitalize()} against cost",
        figure=figures or None,
        missing="" if figures else _why_empty(view),
        size="tall",
        trials=True,
        note=" ".join(filter(None, notes)),
        body=render(_TEMPLATE, "selection") if figures else Markup(),
    )


def _why_empty(view: StudyView) -> str:
    if not view.records:
        return "No trial is finished yet."
    if not view.trained:
        return "Every trial failed; see Failures for the reasons."
    return f"No trial has a finite {view.score.name}."


def _drawings(view: StudyView) -> Markup:
    """The front as drawings, and the best of the paper's models that is not on it."""
    if not view.front:
        return Markup()
    rows = [*view.front, *([view.best_paper] if view.best_paper else [])]
    shown = [record.architecture for record in rows]
    longest, full_width = max(map(drawn_width, shown)), common_width(shown)
    cards = []
    for record in rows:
        is_paper = record is view.best_paper
        figures = record_words(record, view.score), f"{format_count(record.target_cost.macs)} MACs"
        title = [record.reference or f"trial {record.trial}", *view.marks.get(record.trial, ())]
        cards.append(
            {
                "trial": record.trial,
                "paper": is_paper,
                "title": [*title, *(["best paper model"] if is_paper else [])],
                "figures": ", ".join(figures),
                "share": f"{drawn_width(record.architecture) / longest:.4f}",
                "drawing": draw(record.architecture, full_width=full_width),
                "architecture": view.names[record.arch_id],
            }
        )
    used = (
        mixer
        for record in view.records
        for stage in record.architecture.stages
        for mixer in stage.mixers
    )
    return render(_TEMPLATE, "drawings", cards, list(dict.fromkeys((*MIXER_COLOURS, *used))))


def _origin(view: StudyView) -> Markup:
    """What was run, where and with what, and how to run it again."""
    facts, records = view.facts, view.records
    machines = Counter(record.machine for record in records).most_common()
    entries = {
        "Objectives": ", ".join(f"{item.name} ({item.direction})" for item in facts.objectives),
        "Limits on the target": str(facts.limits),
        "Seed of the study": "" if facts.seed is None else str(facts.seed),
        "Trained by": ", ".join(sorted({f"spach-nas {record.version}" for record in records})),
        "Page written by": f"spach-nas {__version__}",
        "Machine": machines[0][0]
        if len(machines) == 1
        else "; ".join(f"{name} ({count:,} evaluations)" for name, count in machines),
        "Last evaluation": max((record.finished_at for record in records), default=""),
    }
    texts = {"Search YAML as run": facts.settings or "not recorded", "Search space": facts.space}
    return render(_TEMPLATE, "origin", entries, facts.command, texts)
