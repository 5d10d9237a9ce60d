"""The page of a study: everything about it in one HTML file that opens without a network."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from spach_nas.files import replace_text
from spach_nas.paths import shell_word
from spach_nas.report.agreement import agreement_section
from spach_nas.report.audit_figure import audit_section
from spach_nas.report.curves import curves_section
from spach_nas.report.device_latency import latency_section, limit_words
from spach_nas.report.document import Section, document, render
from spach_nas.report.drawing import common_width, draw, drawn_width
from spach_nas.report.front_figure import pareto_data, pareto_figure, study_axes
from spach_nas.report.growth import hypervolume_section
from spach_nas.report.shares import shares_section
from spach_nas.report.summary import conclusion, meaning, picks, worth_words
from spach_nas.report.theme import MIXER_COLOURS
from spach_nas.report.trial_table import (
    export_command,
    failures_section,
    table_data,
    trials_section,
)
from spach_nas.report.view import StudyFacts, StudyView, record_name, study_view
from spach_nas.study.folder import REPORT
from spach_nas.study.hypervolume import finished_after
from spach_nas.study.intervals import record_words
from spach_nas.study.records import Record
from spach_nas.study.timm_figures import TimmFigures
from spach_nas.units import format_count
from spach_nas.version import __version__

_TEMPLATE = "study.html"


def write_report(folder: Path, *, records: Sequence[Record], facts: StudyFacts) -> Path:
    """Write `report.html` of a study; an older one is replaced in one step.

    Args:
        folder: Of the study; the page's export commands name it as given here.
        records: Of the study, in the order in which they finished.
        facts: What the records do not say.

    Returns:
        Path of the page.
    """
    view = study_view(records, facts)
    text = document(
        name=facts.name,
        header=page_header(view, folder=folder),
        sections=[section(view) for section in SECTIONS],
        data=table_data(view, folder=folder),
        scripts=("figures.js", "page.js"),
    )
    replace_text(folder / REPORT, text)
    return folder / REPORT


def page_header(view: StudyView, *, folder: Path) -> Markup:
    """Name, conclusion, which network to take, and what the numbers mean."""
    study, cards, kept = shell_word(folder), [], False
    for pick in picks(view):
        weights = view.keeps(pick.trained.record)
        cards.append((pick, export_command(study, pick.trained.record, kept=weights)))
        kept = kept or weights
    worth = worth_words(view) if cards else ""
    return render(
        _TEMPLATE,
        "header",
        view,
        conclusion(view),
        cards,
        kept,
        worth,
        meaning(view),
        limit_words(view),
    )


def _front_section(view: StudyView) -> Section:
    axes = study_axes(view.trained, view.objectives)
    data = {words: pareto_data(view, axis) for words, axis in axes.items()}
    figures = {words: pareto_figure(one) for words, one in data.items() if one.points}
    complete = {record.trial for record in view.records if record.state == "complete"}
    compared = {record.trial for one in view.trained for record in one.trainings}
    bars = any(point.low < point.high for one in data.values() for point in one.points)
    return Section(
        id="front",
        title=f"{view.score.name.capitalize()} against cost",
        figure=figures or None,
        missing=render(_TEMPLATE, "no_front", view),
        size="tall",
        trials=True,
        note=render(_TEMPLATE, "front", bars, len(complete) - len(compared)) if figures else "",
        body=render(_TEMPLATE, "selection") if figures else Markup(),
    )


def timm_section(models: Sequence[TimmFigures]) -> Section:
    """Models of timm: what they cost here, and what was published of them."""
    body = render(_TEMPLATE, "timm", models) if models else Markup()
    return Section(id="timm", title="Models of timm", body=body)


def _drawings_section(view: StudyView) -> Section:
    """The front as drawings, and the best of the paper's models that is not on it."""
    rows = [*view.front, *([view.best_paper] if view.best_paper and view.front else [])]
    shown = [record.architecture for record in rows]
    longest, full_width = max(map(drawn_width, shown), default=1.0), common_width(shown)
    cards = []
    for record in rows:
        best_paper = ["best paper model"] if record is view.best_paper else []
        cost = format_count(record.target_cost.macs)
        cards.append(
            {
                "trial": record.trial,
                "title": [record_name(record), *view.marks.get(record.trial, ()), *best_paper],
                "figures": f"{record_words(record, view.score)}, {cost} MACs",
                "share": f"{drawn_width(record.architecture) / longest:.4f}",
                "drawing": draw(record.architecture, full_width=full_width),
                "architecture": view.names[record.arch_id],
            }
        )
    stages = (stage for record in view.records for stage in record.architecture.stages)
    mixers = dict.fromkeys((*MIXER_COLOURS, *(name for stage in stages for name in stage.mixers)))
    return Section(
        id="drawings",
        title="Architectures on the front",
        body=render(_TEMPLATE, "drawings", cards, list(mixers)) if cards else Markup(),
    )


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


def _origin_section(view: StudyView) -> Section:
    """What was run, where and with what, and how to run it again."""
    facts, records = view.facts, view.records
    machines = Counter(record.machine for record in records).most_common()
    entries = {
        "Objectives": ", ".join(f"{item.name} ({item.direction})" for item in facts.objectives),
        "Limits on the target": str(facts.limits),
        "Seed of the study": "" if facts.seed is None else str(facts.seed),
        "Trained by": ", ".join(sorted({f"spach-nas {record.version}" for record in records})),
        "Page written by": f"spach-nas {__version__}",
        "Machine": "; ".join(
            f"{name} ({number:,} evaluations)" if len(machines) > 1 else name
            for name, number in machines
        ),
        "Last evaluation": max((record.finished_at for record in records), default=""),
    }
    texts = {"Search YAML as run": facts.settings or "not recorded", "Search space": facts.space}
    body = render(_TEMPLATE, "origin", entries, facts.command, texts)
    return Section(id="origin", title="How it was made", body=body)


# The sections of the page in the order of reading: to add one, write a function from the view to a
# section and name it here.
SECTIONS: tuple[Callable[[StudyView], Section], ...] = (
    _front_section,
    lambda view: timm_section(view.facts.timm),
    latency_section,
    _drawings_section,
    hypervolume_section,
    shares_section,
    curves_section,
    agreement_section,
    audit_section,
    trials_section,
    failures_section,
    spent_section,
    _origin_section,
)
