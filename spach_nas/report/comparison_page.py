"""The page that compares several studies: one HTML file that opens without a network."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from markupsafe import Markup

from spach_nas.errors import StudyError
from spach_nas.report.comparison import (
    ComparedStudy,
    StudyGroup,
    cautions,
    check_objectives,
    differences,
    group_studies,
    short,
)
from spach_nas.report.comparison_figures import (
    FEW_GROUPS,
    FrontsData,
    Growth,
    GrowthData,
    box_words,
    cost_axes,
    fronts_data,
    fronts_figure,
    growth_data,
    growth_figure,
    repeats,
    spread,
    spread_words,
    styles,
)
from spach_nas.report.document import Section, document, render, write_page
from spach_nas.report.summary import count_words
from spach_nas.study.intervals import score_words
from spach_nas.study.pareto import value
from spach_nas.units import format_duration
from spach_nas.version import __version__

_TEMPLATE = "comparison.html"
_LONGEST_TITLE = 80
_MOST_RANKED = 5
_NOTHING = "\N{EN DASH}"
_EQUAL = "All trials that can be compared are equal: they span no box."


def write_comparison(studies: Sequence[ComparedStudy], out: Path, *, command: str = "") -> Path:
    """Compare studies in one file; an older page is replaced in one step.

    Args:
        studies: Of `read_studies`.
        out: The file to write.
        command: What a reader types to make it again.

    Raises:
        StudyError: The place cannot be written.
    """
    text = render_comparison(studies, command=command)
    try:
        return write_page(out, text)
    except OSError as problem:
        raise StudyError(f"{out}: {problem.strerror}; expected a file to write") from None


def render_comparison(studies: Sequence[ComparedStudy], *, command: str = "") -> str:
    """The page as text.

    Args:
        studies: With labels that differ, and the same objectives.
        command: What a reader types to make it again.

    Raises:
        StudyError: The objectives differ.
    """
    check_objectives(studies)
    groups = group_studies(studies)
    growth = growth_data(groups)
    title = _title(groups)
    words = conclusion(groups, growth)
    return document(
        name=title,
        header=render(_TEMPLATE, "header", title, words, list(cautions(groups))),
        sections=_sections(groups, growth, command=command),
        styles=("page.css", "comparison.css"),
    )


def _title(groups: Sequence[StudyGroup]) -> str:
    sides = [
        _listed([group.label for group in groups if group.baseline == baseline])
        for baseline in (False, True)
    ]
    title = " against ".join(filter(None, sides))
    return title if len(title) <= _LONGEST_TITLE else f"{len(groups)} groups of studies"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def conclusion(groups: Sequence[StudyGroup], growth: GrowthData | None) -> str:
    """The outcome in a sentence or two."""
    studies = [study for group in groups for study in group.studies]
    trials = sum(len(study.view.last) for study in studies)
    done = f"{len(studies)} studies in {count_words(len(groups), 'group')}, {trials:,} trials."
    if not any(study.compared for study in studies):
        return f"{done} None has a complete trial within its limits: there is nothing to compare."
    if growth is None:
        return f"{done} {_EQUAL}"
    after = f"{count_words(growth.equal_trials, 'trial')} each"
    ends = {curve.study: curve.data.trials[-1] for curve in growth.curves}
    if max(ends.values()) > growth.equal_trials:
        after += f", all that {short(min(ends, key=lambda name: ends[name]))} has"
    return f"{done} Hypervolume after {after}: {ranking(groups, growth)}."


def ranking(groups: Sequence[StudyGroup], growth: GrowthData) -> str:
    """Share of each group after as many trials as all studies have, highest median first."""
    found = []
    for group in groups:
        shares = [one.at(growth.equal_trials, axis="trials") for one in growth.of(group)]
        if shares:
            low, median, high = spread(shares)
            seeds = f" (median of {len(shares)} seeds, {low:.1%} to {high:.1%})"
            words = f"{short(group.label)} {median:.1%}{seeds if len(shares) > 1 else ''}"
            found.append((median, words))
    found.sort(key=lambda item: -item[0])
    more = len(found) - _MOST_RANKED
    tail = f" and {more} more in the table" if more > 0 else ""
    return ", ".join(words for _, words in found[:_MOST_RANKED]) + tail


def _sections(
    groups: Sequence[StudyGroup], growth: GrowthData | None, *, command: str
) -> list[Section]:
    studies = [study for group in groups for study in group.studies]
    nothing = not any(study.compared for study in studies)
    axes = {} if nothing else cost_axes(groups)
    fronts = {words: fronts_data(groups, axis=axis) for words, axis in axes.items()}
    few, found = len(groups) <= FEW_GROUPS, differences(groups)
    return [
        Section(
            id="fronts",
            title="Fronts",
            size="tall" if few else "free",
            figure={words: fronts_figure(data) for words, data in fronts.items()} or None,
            note="Each line is the front of one study in the two figures shown, from what its "
            "search found; studies that differ in their seeds alone share a colour. Of a few, bars "
            "are 95 % intervals of the validation images, and all seeds of a training."
            f"{_stars(fronts.values())}{_unequal(studies)}",
            missing="No study has a complete trial within its limits.",
        ),
        _growth_section(growth, nothing=nothing, size="" if few else "free"),
        Section(
            id="table",
            title="Figures of the studies",
            body=_table(groups, growth),
            note=_table_words(growth, baseline=any(group.baseline for group in groups)),
        ),
        Section(
            id="noise",
            title="The same network, other seeds",
            missing="" if nothing else noise_words(groups),
        ),
        Section(
            id="settings",
            title="What differs",
            body=render(_TEMPLATE, "settings", [short(group.words) for group in groups], found)
            if found
            else Markup(),
            note="All that the search YAMLs say, defaults too, where it is not the same "
            "everywhere; values within a group are joined by commas."
            if found
            else "",
            missing="" if found else "The settings are the same in all studies.",
        ),
        Section(
            id="origin",
            title="How it was made",
            body=render(_TEMPLATE, "origin", f"spach-nas {__version__}", command),
        ),
    ]


def _growth_section(
    growth: GrowthData | None, *, nothing: bool, size: Literal["", "free"]
) -> Section:
    if growth is None:
        return Section(id="growth", title="Hypervolume", missing="" if nothing else _EQUAL)
    return Section(
        id="growth",
        title="Hypervolume",
        size=size,
        figure={
            "trials": growth_figure(growth, axis="trials"),
            "training time": growth_figure(growth, axis="training"),
        },
        note="Share of the box between a reference point and the ideal one that a search dominates "
        "so far; higher is better. Thick: the median of a group's seeds in its band, worst to "
        "best (5 to 95 % from 20 seeds on), as far as its shortest study goes. Thin: single "
        f"studies. {box_words(growth)}",
    )


def noise_words(groups: Sequence[StudyGroup]) -> str:
    """How far trainings of one architecture lie apart, and what that means for a comparison."""
    scores, noise = repeats(groups)
    if noise is None:
        return (
            "No architecture was trained from several seeds by one protocol, so the noise of a "
            "score is not known."
        )
    # Two single trainings of one network differ by less than this in 95 of 100 cases.
    apart = 1.96 * math.sqrt(2) * noise.deviation
    of_accuracy = groups[0].studies[0].view.score.is_share
    deviation, limit = (
        f"{100 * figure:.2f} points" if of_accuracy else f"{figure:.4f}"
        for figure in (noise.deviation, apart)
    )
    trainings = sum(map(len, scores))
    return (
        f"{count_words(len(scores), 'architecture')} trained from several seeds by one protocol "
        f"({trainings} seeds in all). Pooled standard deviation of one training: {deviation}. Two "
        f"single trainings that differ by less than {limit} may be of the same network (95 %, "
        "normal noise)."
    )


def _table_words(growth: GrowthData | None, *, baseline: bool) -> str:
    if growth is None:
        return ""
    return (
        "Hypervolumes are shares of the box that all studies share. Compare them at equal effort: "
        f"{count_words(growth.equal_trials, 'trial')} and the training time next to it are what "
        "the shortest study has. Training times compare on one machine alone. Trials and front are "
        "those of the search, without the paper's models."
        + (
            " Pairs are of one study of the group and one of the baseline, after as many trials; "
            "a tie counts half."
            if baseline
            else ""
        )
    )


def _stars(found: Iterable[FrontsData]) -> str:
    if not any(data.paper for data in found):
        return ""
    return " Stars are the paper's models by the same protocol, mean and interval."


def _unequal(studies: Sequence[ComparedStudy]) -> str:
    counts = [len(study.view.last) for study in studies if study.compared]
    if not counts or min(counts) == max(counts):
        return ""
    return (
        f" The studies have {min(counts):,} to {max(counts):,} trials, and a front is that of all "
        "of them: for equal effort see the table."
    )


class StudyFigures(NamedTuple):
    """What a study came to, without the paper's models; None where there is nothing to say.

    Attributes:
        best: The best score.
        seconds: Of training.
        share: Of the shared box that it dominates, in [0, 1].
        at_trials: The same after as many trials as all studies have.
        at_seconds: The same after as much training as all studies have.
    """

    trials: int
    failed: int
    front: int
    best: float | None
    seconds: float
    share: float | None
    at_trials: float | None
    at_seconds: float | None


def study_figures(study: ComparedStudy, growth: GrowthData | None) -> StudyFigures:
    """The figures of one study."""
    curves = growth.curves if growth else ()
    curve = next((one for one in curves if one.study == study.label), None)
    view = study.view
    return StudyFigures(
        trials=len(view.last),
        failed=len({item.trial for item in study.found if item.state == "failed"}),
        front=len(view.front),
        best=value(view.best, view.score) if view.best and study.compared else None,
        seconds=sum(record.seconds for record in study.found if record.origin is None),
        share=curve.data.shares[-1] if curve else None,
        at_trials=curve.at(growth.equal_trials, axis="trials") if curve and growth else None,
        at_seconds=curve.at(growth.equal_seconds, axis="training") if curve and growth else None,
    )


def wins(group: Sequence[Growth], baseline: Sequence[Growth], *, trials: int) -> tuple[float, int]:
    """In how many pairs of a study and one of the baseline the study dominates more.

    Returns:
        Pairs won, a tie counting half, and all pairs.
    """
    ours, theirs = ([one.at(trials, axis="trials") for one in side] for side in (group, baseline))
    won = sum((a > b) + 0.5 * (a == b) for a in ours for b in theirs)
    return won, len(ours) * len(theirs)


def _table(groups: Sequence[StudyGroup], growth: GrowthData | None) -> Markup:
    """All figures; hypervolumes are shares of the shared box."""
    measured = growth is not None and any(group.baseline and growth.of(group) for group in groups)
    score = groups[0].studies[0].view.score
    # Heading, field and format of each column.
    columns: dict[str, tuple[str, Callable[[Any], str]]] = {
        "Trials": ("trials", "{:,.0f}".format),
        "Front": ("front", "{:,.0f}".format),
        f"Best {score.name}": ("best", partial(score_words, score)),
        "Training": ("seconds", format_duration),
        "Hypervolume": ("share", "{:.2%}".format),
    }
    if growth is not None:
        trials, seconds = f"{growth.equal_trials:,}", format_duration(growth.equal_seconds)
        columns[f"after {trials} trials"] = ("at_trials", "{:.2%}".format)
        columns[f"after {seconds} of training"] = ("at_seconds", "{:.2%}".format)
    looks = styles(groups)
    rows: list[dict[str, Any]] = []
    for group in groups:
        figures = [study_figures(study, growth) for study in group.studies]
        won = [_wins(group, groups, growth)] if measured and growth else []
        # An ink follows the dark page.
        colour = "var(--muted)" if group.baseline else looks[group.label].colour
        several = len(figures) > 1
        if several:
            counted = sum(one.share is not None for one in figures)
            of = f"{counted} of {len(figures)}" if counted < len(figures) else f"{len(figures)}"
            rows.append(
                {
                    "kind": "group",
                    "colour": colour,
                    "name": group.label,
                    "words": (f"median of {of} seeds,", spread_words(counted)),
                    "cells": [
                        *(
                            _spread([getattr(one, name) for one in figures], form)
                            for name, form in columns.values()
                        ),
                        *((text, "") for text in won),
                    ],
                }
            )
            # The pairs are in the row of the group.
            won = [""] * len(won)
        for study, one in zip(group.studies, figures, strict=True):
            cells = [
                _NOTHING if (figure := getattr(one, name)) is None else form(figure)
                for name, form in columns.values()
            ]
            cells[0] += f", {one.failed:,} failed" if one.failed else ""
            winner = study.view.best
            if winner is not None and one.best is not None:
                cells[2] = study.view.of(winner).words(score)
            rows.append(
                {
                    "kind": "member" if several else "alone",
                    "colour": colour,
                    "name": study.label,
                    "cells": [(text, "") for text in (*cells, *won)],
                }
            )
    heads = ["Study", *columns, *(["Beats baseline"] if measured else [])]
    return render(_TEMPLATE, "table", heads, rows)


def _wins(group: StudyGroup, groups: Sequence[StudyGroup], growth: GrowthData) -> str:
    against = [curve for other in groups if other.baseline for curve in growth.of(other)]
    if group.baseline or not growth.of(group):
        return _NOTHING
    won, pairs = wins(growth.of(group), against, trials=growth.equal_trials)
    return f"{won:g} of {pairs}" + (" pairs" if pairs > 1 else "")


def _spread(figures: Sequence[float | None], form: Callable[[float], str]) -> tuple[str, str]:
    """The median of a group's seeds, and its ends."""
    known = [figure for figure in figures if figure is not None]
    low, median, high = map(form, spread(known)) if known else (_NOTHING,) * 3
    return median, f"{low.removesuffix('%')} to {high}" if low != high else ""
