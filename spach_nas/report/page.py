"""The page of a study: everything about it in one HTML file that opens without a network.

`_sections` lists what stands on it: a figure is added by one entry there (see `sections.py`).
"""

from collections.abc import Sequence
from pathlib import Path

from spach_nas.config.objectives import score_of
from spach_nas.report import page_parts as parts
from spach_nas.report.axes import study_axes
from spach_nas.report.choices_sections import choices_sections, hypervolume_section
from spach_nas.report.curves_figure import curves_data, curves_figure
from spach_nas.report.document import PlotlyPlace, document, write_page, write_plotly
from spach_nas.report.failures import failures, failures_html
from spach_nas.report.page_table import packed_drawings, table_data
from spach_nas.report.pareto_data import pareto_views
from spach_nas.report.pareto_figure import pareto_figure
from spach_nas.report.sections import Section, figures_data
from spach_nas.report.seeds import average_seeds
from spach_nas.report.spent import spent, spent_html
from spach_nas.report.summary import StudyFacts
from spach_nas.report.trials import TrialRow, trial_rows
from spach_nas.study.folder import REPORT
from spach_nas.study.pareto import comparable
from spach_nas.study.records import Record

FILE_NAME = REPORT
_SCRIPTS = ("figures.js", "page.js")


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
    text = render(records, facts=facts, folder=folder, plotly=plotly)
    return write_page(folder / FILE_NAME, text)


def render(
    records: Sequence[Record],
    *,
    facts: StudyFacts,
    folder: Path,
    plotly: PlotlyPlace = "embed",
) -> str:
    """The page as text.

    Args:
        records: Of the study, in the order in which they finished.
        facts: What the records do not say.
        folder: Of the study, as export commands name it.
        plotly: Where plotly's script is; `beside` needs the file `plotly.min.js` at the same place.
    """
    rows = trial_rows(records, facts.objectives, limits=facts.limits, weights=facts.kept)
    sections = _sections(records, facts=facts, rows=rows)
    data = table_data(rows, folder=folder) | {
        "figures": figures_data(sections),
        "drawings": packed_drawings(records),
    }
    return document(
        name=facts.name,
        header=parts.header(records, facts, folder=folder),
        sections=sections,
        data=data,
        scripts=_SCRIPTS,
        plotly=plotly,
    )


def _sections(
    records: Sequence[Record], *, facts: StudyFacts, rows: Sequence[TrialRow]
) -> list[Section]:
    """What stands on the page, in the order of reading."""
    objectives, limits = facts.objectives, facts.limits
    averaged = average_seeds(records)
    curves = curves_data(records, objectives, limits=limits)
    return [
        _front(records, facts=facts),
        Section(
            id="drawings",
            title="Architectures on the front",
            body=parts.drawings(averaged, facts),
        ),
        hypervolume_section(records, facts=facts),
        *choices_sections(averaged, facts=facts),
        Section(
            id="curves",
            title="Learning curves of the front",
            figure=curves_figure(curves) if curves.curves else None,
            trials=True,
        ),
        Section(
            id="trials",
            title="All trials",
            controls=parts.FILTERS if records else "",
            body=parts.TABLE if records else "",
            missing="" if records else "No trial is finished yet.",
        ),
        Section(id="failures", title="Failures", body=failures_html(failures(rows))),
        Section(id="spent", title="Time and disk", body=spent_html(spent(records), facts.disk)),
        Section(id="origin", title="How it was made", body=parts.origin(records, facts)),
    ]


def _front(records: Sequence[Record], *, facts: StudyFacts) -> Section:
    score = score_of(facts.objectives)
    axes = study_axes(records, facts.objectives)
    views = pareto_views(records, facts.objectives, axes=axes.values(), limits=facts.limits)
    figures = {
        words: pareto_figure(data) for words, data in zip(axes, views, strict=True) if data.points
    }
    lower = len({record.trial for record in records if record.state == "complete"}) - len(
        {record.trial for record in comparable(records)}
    )
    bars = any(point.low < point.high for data in views[:1] for point in data.points)
    stopped = f" {lower:,} trials that stopped at a lower rung are in the table alone."
    return Section(
        id="front",
        title=f"{score.name.capitalize()} against cost",
        figure=figures or None,
        missing="" if figures else parts.why_empty(records, score),
        size="tall",
        trials=True,
        note="The line is the front of the two figures shown: nothing is better in both. "
        + ("Bars: 95 % of the validation images, and all seeds of a training. " if bars else "")
        + "Click a point to select its trial."
        + (stopped if lower else ""),
        body=parts.SELECTION if figures else "",
    )
