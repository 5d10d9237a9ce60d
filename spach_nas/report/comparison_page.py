"""The page that compares several studies: one HTML file that opens without a network."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

from spach_nas.errors import StudyError
from spach_nas.files import replace_text
from spach_nas.report.comparison import (
    ComparedStudy,
    StudyGroup,
    check_objectives,
    differences,
    group_studies,
    left_out,
    protocol_differences,
    short,
)
from spach_nas.report.comparison_figures import (
    FEW_GROUPS,
    Growth,
    GrowthData,
    fronts_figure,
    growth_data,
    growth_figure,
    repeats,
    spread,
    styles,
)
from spach_nas.report.document import Section, document, render
from spach_nas.report.front_figure import study_axes
from spach_nas.report.growth import box_words
from spach_nas.report.page import timm_section
from spach_nas.study.intervals import score_words
from spach_nas.study.pareto import value
from spach_nas.units import format_duration
from spach_nas.version import __version__

_TEMPLATE = "comparison.html"
_LONGEST_TITLE = 80
_UNKNOWN = "\N{EN DASH}"
Words = Callable[[float], str]
# By the name of the column; what is not known is None or left out.
Figures = dict[str, float | None]


def write_comparison(studies: Sequence[ComparedStudy], out: Path, *, command: str = "") -> Path:
    """Compare studies in one file; an older page is replaced in one step.

    Args:
        studies: Of `read_studies`.
        out: The file to write.
        command: The command that makes the page again.

    Raises:
        StudyError: The file cannot be written.
    """
    text = render_comparison(studies, command=command)
    try:
        replace_text(out, text)
    except OSError as problem:
        raise StudyError(f"{out}: {problem.strerror}; expected a file to write") from None
    return out


def render_comparison(studies: Sequence[ComparedStudy], *, command: str = "") -> str:
    """The page as text.

    Args:
        studies: With labels that differ, and the same objectives.
        command: The command that makes the page again.

    Raises:
        StudyError: The objectives differ.
    """
    check_objectives(studies)
    groups = group_studies(studies)
    growth = growth_data(groups)
    title = _title(groups)
    header = render(
        _TEMPLATE,
        "header",
        title,
        groups,
        growth,
        ranking(groups, growth) if growth else [],
        protocol_differences(studies),
        {study.label: left_out(study) for study in studies if not study.compared},
    )
    return document(name=title, header=header, sections=_sections(groups, growth, command=command))


def _title(groups: Sequence[StudyGroup]) -> str:
    sides = [
        ", ".join(group.label for group in groups if group.baseline == baseline)
        for baseline in (False, True)
    ]
    title = " against ".join(filter(None, sides))
    return title if len(title) <= _LONGEST_TITLE else f"{len(groups)} groups of studies"


def ranking(groups: Sequence[StudyGroup], growth: GrowthData) -> list[str]:
    """Share of each group after as many trials as all studies have, highest median first."""
    found = []
    for group in groups:
        shares = [one.at(growth.equal_trials, axis="trials") for one in growth.of(group)]
        if shares:
            low, median, high = spread(shares)
            seeds = f" (median of {len(shares)} seeds, {low:.1%} to {high:.1%})"
            words = f"{short(group.label)} {median:.1%}{seeds if len(shares) > 1 else ''}"
            found.append((median, words))
    return [words for _, words in sorted(found, key=lambda item: -item[0])]


def _sections(
    groups: Sequence[StudyGroup], growth: GrowthData | None, *, command: str
) -> list[Section]:
    """In the order of reading."""
    studies = [study for group in groups for study in group.studies]
    compared = [study for study in studies if study.compared]
    every = [one for study in compared for one in study.compared]
    axes = study_axes(every, studies[0].objectives) if compared else {}
    free: Literal["", "free"] = "free" if len(groups) > FEW_GROUPS else ""
    counts = sorted({len(study.view.last) for study in compared})
    noise, found = repeats(groups), differences(groups)
    heads = [group.words for group in groups]
    return [
        Section(
            id="fronts",
            title="Fronts",
            size=free or "tall",
            figure={words: fronts_figure(groups, axis=axis) for words, axis in axes.items()}
            or None,
            note=render(_TEMPLATE, "fronts", counts),
            missing="No study has a complete trial within its limits.",
        ),
        Section(
            id="growth",
            title="Hypervolume",
            size=free,
            figure={
                "trials": growth_figure(growth, axis="trials"),
                "training time": growth_figure(growth, axis="training"),
            }
            if growth
            else None,
            note=render(_TEMPLATE, "growth", box_words(growth.curves[0].data, fixed=growth.fixed))
            if growth
            else "",
            missing="All comparable trials are equal: they span no box." if compared else "",
        ),
        Section(id="table", title="Figures of the studies", body=_table(groups, growth)),
        timm_section(tuple(dict.fromkeys(model for study in studies for model in study.timm))),
        Section(
            id="noise",
            title="The same network, other seeds",
            body=render(_TEMPLATE, "noise", *noise, studies[0].view.score.is_share)
            if compared
            else Markup(),
        ),
        Section(
            id="settings",
            title="What differs",
            body=render(_TEMPLATE, "settings", heads, found),
        ),
        Section(
            id="origin",
            title="How it was made",
            body=render(_TEMPLATE, "origin", f"spach-nas {__version__}", command),
        ),
    ]


def study_figures(study: ComparedStudy, growth: GrowthData | None) -> Figures:
    """What a study came to, without the paper's models, by the names of columns.

    `share` is that of the shared box at its end, `at_trials` and `at_seconds` that after as many
    trials and as much training as all studies have.
    """
    view = study.view
    figures: Figures = {
        "trials": len(view.last),
        "front": len(view.front),
        "best": value(view.best, view.score) if view.best and study.compared else None,
        "seconds": sum(record.seconds for record in view.records if record.origin is None),
    }
    for curve in growth.curves if growth else ():
        if growth and curve.study == study.label:
            figures["share"] = curve.data.shares[-1]
            figures["at_trials"] = curve.at(growth.equal_trials, axis="trials")
            figures["at_seconds"] = curve.at(growth.equal_seconds, axis="training")
    return figures


def wins(group: Sequence[Growth], baseline: Sequence[Growth], *, trials: int) -> tuple[float, int]:
    """Pairs with a study of the baseline that a group wins, a tie counting half; and all pairs."""
    ours, theirs = ([one.at(trials, axis="trials") for one in side] for side in (group, baseline))
    won = sum((a > b) + 0.5 * (a == b) for a in ours for b in theirs)
    return won, len(ours) * len(theirs)


def _table(groups: Sequence[StudyGroup], growth: GrowthData | None) -> Markup:
    """A row for each study, and one for each group of several; shares are of the shared box."""
    score = groups[0].studies[0].view.score
    # Name, heading and words of each column.
    columns: list[tuple[str, str, Words]] = [
        ("trials", "Trials", "{:,.0f}".format),
        ("front", "Front", "{:,.0f}".format),
        ("best", f"Best {score.name}", partial(score_words, score)),
        ("seconds", "Training", format_duration),
    ]
    against: list[Growth] = []
    if growth is not None:
        against = [one for group in groups if group.baseline for one in growth.of(group)]
        seconds = format_duration(growth.equal_seconds)
        columns += [
            ("share", "Hypervolume", "{:.2%}".format),
            ("at_trials", f"after {growth.equal_trials:,} trials", "{:.2%}".format),
            ("at_seconds", f"after {seconds} of training", "{:.2%}".format),
        ]
    looks, rows = styles(groups), list[dict[str, Any]]()
    for group in groups:
        curves = growth.of(group) if growth else ()
        won = _UNKNOWN
        if growth and curves and not group.baseline:
            pairs = wins(curves, against, trials=growth.equal_trials)
            won = f"{pairs[0]:g} of {pairs[1]}" + (" pairs" if pairs[1] > 1 else "")
        # An ink follows the dark page.
        colour = "var(--muted)" if group.baseline else looks[group.label].colour
        figures = [study_figures(study, growth) for study in group.studies]
        row = {"kind": "alone", "colour": colour, "won": won}
        if len(figures) > 1:
            cells = [_spread([one.get(name) for one in figures], form) for name, _, form in columns]
            rows.append({**row, "kind": "group", "name": group.label, "cells": cells})
            rows[-1]["counts"] = (len(curves), len(figures))
            row = {**row, "kind": "member", "won": ""}
        for study, one in zip(group.studies, figures, strict=True):
            cells = [_spread([one.get(name)], form) for name, _, form in columns]
            failed = sum(record.state == "failed" for record in study.view.last.values())
            if failed:
                cells[0] = (f"{cells[0][0]}, {failed:,} failed", "")
            if study.compared and study.view.best is not None:
                cells[2] = (study.view.of(study.view.best).words(score), "")
            rows.append({**row, "name": study.label, "cells": cells})
    heads = ["Study", *(head for _, head, _ in columns)]
    return render(_TEMPLATE, "table", heads, rows, bool(against), growth)


def _spread(figures: Sequence[float | None], words: Words) -> tuple[str, str]:
    """The median of a group's seeds, and its ends."""
    known = [figure for figure in figures if figure is not None]
    low, median, high = map(words, spread(known)) if known else (_UNKNOWN,) * 3
    return median, f"{low.removesuffix('%')} to {high}" if low != high else ""
