"""The sections of a page that say how far a search came and what each choice did."""

from collections.abc import Sequence

from spach_nas.cost.limits import Limits
from spach_nas.report.chance import draw_feasible
from spach_nas.report.effects_data import effects_data
from spach_nas.report.effects_figure import effects_figure, effects_note, effects_words
from spach_nas.report.hypervolume_figure import (
    baseline_words,
    hypervolume_figure,
    reference_words,
)
from spach_nas.report.parallel_data import parallel_data
from spach_nas.report.parallel_figure import parallel_figure, parallel_note
from spach_nas.report.sections import Section
from spach_nas.report.shares_data import shares_data
from spach_nas.report.shares_figure import shares_figure
from spach_nas.report.summary import StudyFacts
from spach_nas.study.hypervolume import hypervolume_data
from spach_nas.study.pareto import comparable
from spach_nas.study.records import Record


def hypervolume_section(records: Sequence[Record], *, facts: StudyFacts) -> Section:
    """How the front grew, over trials and over time.

    Raises:
        StudyError: The baseline was scored otherwise.
    """
    growth = hypervolume_data(
        records,
        facts.objectives,
        limits=facts.limits,
        corners=facts.corners,
        baseline=facts.baseline,
    )
    words = [
        "Share of the box between a reference point and the ideal one that the trials so far "
        "dominate; higher is better.",
        reference_words(growth) if growth else "",
        baseline_words(growth) if growth else "",
    ]
    return Section(
        id="hypervolume",
        title="Hypervolume",
        figure={
            "trials": hypervolume_figure(growth, against="trials"),
            "training time": hypervolume_figure(growth, against="training"),
            "clock": hypervolume_figure(growth, against="clock"),
        }
        if growth
        else None,
        note=" ".join(filter(None, words)) if growth else "",
        missing="No complete trial within the limits spans a box." if records else "",
    )


def choices_sections(records: Sequence[Record], *, facts: StudyFacts) -> list[Section]:
    """What each choice did: shares of the mixers, effects and every trial as a line."""
    if not comparable(records, limits=facts.limits):
        return []
    return [
        _shares(records, facts),
        _effects(records, facts),
        _parallel(records, facts),
    ]


def _shares(records: Sequence[Record], facts: StudyFacts) -> Section:
    feasible = (
        draw_feasible(facts.search_space, facts.limits, proxy=facts.proxy_limits)
        if facts.search_space
        else ()
    )
    data = shares_data(records, facts.objectives, limits=facts.limits, feasible=feasible)
    chance = (
        f"All feasible are {len(feasible):,} drawn uniformly from the search space inside the "
        "limits: what chance gives, each share to about "
        f"{100 / len(feasible) ** 0.5:.0f} points or better."
        if feasible
        else "What chance gives is not shown: the search space is not known here, or too large "
        "to draw from inside its limits at once."
    )
    return Section(
        id="shares",
        title="Mixers",
        figure=shares_figure(data),
        size="free",
        note="Share of a stage's blocks, averaged over the architectures of each group; their "
        f"number stands in brackets. {chance}",
    )


def _effects(records: Sequence[Record], facts: StudyFacts) -> Section:
    data = effects_data(records, facts.objectives, limits=facts.limits)
    return Section(
        id="effects",
        title="What each choice did at equal MACs",
        figure=effects_figure(data) if data.intervals else None,
        size="free",
        lead=effects_words(data) if data.intervals else "",
        note=_joined(effects_note(data), _selected(records, facts.limits))
        if data.intervals
        else "",
    )


def _parallel(records: Sequence[Record], facts: StudyFacts) -> Section:
    data = parallel_data(records, facts.objectives, limits=facts.limits)
    return Section(
        id="parallel",
        title="Every trial, choice by choice",
        figure=parallel_figure(data) if data.trials else None,
        size="free",
        note=parallel_note(data) if data.trials else "",
    )


def _selected(records: Sequence[Record], limits: Limits) -> str:
    top = max((record.fidelity.rung for record in comparable(records, limits=limits)), default=0)
    if not top:
        return ""
    return (
        "Only trials of the highest rung are compared, and lower rungs chose those for their "
        "scores: effects look smaller than they are."
    )


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))
