"""The page that compares several studies: one HTML file that opens without a network."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Literal

from spach_nas.errors import StudyError
from spach_nas.paths import command_line
from spach_nas.report.comparison_fronts import FrontsData, cost_axes, fronts_data, fronts_figure
from spach_nas.report.comparison_growth import GrowthData, growth_data
from spach_nas.report.comparison_growth_figure import box_words, growth_figure
from spach_nas.report.comparison_repeats import noise_words, repeats_data, repeats_figure
from spach_nas.report.comparison_settings import cautions, differences
from spach_nas.report.comparison_study import (
    ComparedStudy,
    StudyGroup,
    check_objectives,
    group_studies,
    read_studies,
    short,
)
from spach_nas.report.comparison_style import FEW_GROUPS
from spach_nas.report.comparison_table import differences_table, ranking, studies_table
from spach_nas.report.document import document, write_page
from spach_nas.report.sections import Section
from spach_nas.version import __version__

Size = Literal["", "tall", "free"]
_LONGEST_TITLE = 80


def write_comparison(folders: Sequence[Path], out: Path, *, baselines: Sequence[Path] = ()) -> Path:
    """Compare the studies in folders; an older page is replaced in one step.

    Args:
        folders: Of studies with the same objectives.
        out: The file to write.
        baselines: Folders of studies that the others are measured against.

    Returns:
        Path of the page.

    Raises:
        StudyError: Fewer than two studies, one that stands twice, is none or is damaged, other
            objectives, or a place that cannot be written.
    """
    studies = read_studies(folders, baselines=baselines)
    others = [word for folder in baselines for word in ("--baseline", folder)]
    command = command_line("report", *folders, *others, "--out", out)
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
    notes = "".join(f"<p>{escape(sentence)}</p>" for sentence in cautions(groups))
    return document(
        name=title,
        header=f"<h1>{escape(title)}</h1>"
        f'<p class="conclusion">{escape(conclusion(groups, growth))}</p>'
        f'<div class="meaning">{notes}</div>',
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
    trials = sum(len({record.trial for record in study.found}) for study in studies)
    done = f"{len(studies)} studies in {_count(len(groups), 'group')}, {trials:,} trials."
    if not any(study.usable for study in studies):
        return f"{done} None has a complete trial within its limits: there is nothing to compare."
    if growth is None:
        return f"{done} All trials that can be compared are equal: they span no box."
    after = f"{_count(growth.equal_trials, 'trial')} each"
    ends = {curve.study: curve.trials[-1] for curve in growth.curves}
    if max(ends.values()) > growth.equal_trials:
        shortest = min(ends, key=lambda name: ends[name])
        after += f", all that {short(shortest)} has"
    return f"{done} Hypervolume after {after}: {ranking(groups, growth)}."


def _sections(
    groups: Sequence[StudyGroup], growth: GrowthData | None, *, command: str
) -> list[Section]:
    studies = [study for group in groups for study in group.studies]
    nothing = not any(study.usable for study in studies)
    axes = {} if nothing else cost_axes(groups)
    named = {words: fronts_data(groups, axis=axis) for words, axis in axes.items()}
    return [
        Section(
            id="fronts",
            title="Fronts",
            size=_size(groups, usual="tall"),
            figure={words: fronts_figure(data) for words, data in named.items()} or None,
            note="Each line is the front of one study in the two figures shown, from what its "
            "search found; studies that differ in their seeds alone share a colour. Of a few, bars "
            "are 95 % intervals of the validation images, and all seeds of a training."
            f"{_stars(named.values())}{_unequal(studies)}",
            missing="No study has a complete trial within its limits.",
        ),
        _growth_section(growth, nothing=nothing),
        Section(
            id="table",
            title="Figures of the studies",
            body=studies_table(groups, growth),
            note=_table_words(growth, baseline=any(group.baseline for group in groups)),
        ),
        _repeats_section(groups, nothing=nothing),
        _settings_section(groups),
        Section(id="origin", title="How it was made", body=_origin(command)),
    ]


def _size(groups: Sequence[StudyGroup], *, usual: Size) -> Size:
    return usual if len(groups) <= FEW_GROUPS else "free"


def _growth_section(growth: GrowthData | None, *, nothing: bool) -> Section:
    if growth is None:
        missing = "" if nothing else "All trials that can be compared are equal: they span no box."
        return Section(id="growth", title="Hypervolume", missing=missing)
    return Section(
        id="growth",
        title="Hypervolume",
        size=_size(growth.groups, usual=""),
        figure={
            "trials": growth_figure(growth, axis="trials"),
            "training time": growth_figure(growth, axis="seconds"),
        },
        note="Share of the box between a reference point and the ideal one that a search dominates "
        "so far; higher is better. Thick: the median of a group's seeds in its band, worst to "
        "best (5 to 95 % from 20 seeds on), as far as its shortest study goes. Thin: single "
        f"studies. {box_words(growth)}",
    )


def _repeats_section(groups: Sequence[StudyGroup], *, nothing: bool) -> Section:
    data = repeats_data(groups)
    return Section(
        id="noise",
        title="The same network, other seeds",
        size="free",
        figure=repeats_figure(data) if data else None,
        note=noise_words(data) if data else "",
        missing=""
        if nothing
        else "No architecture was trained from several seeds by one "
        "protocol, so the noise of a score is not known.",
    )


def _settings_section(groups: Sequence[StudyGroup]) -> Section:
    found = differences(groups)
    return Section(
        id="settings",
        title="What differs",
        body=differences_table(groups, found),
        note="All that the search YAMLs say, defaults too, where it is not the same everywhere; "
        "values within a group are joined by commas."
        if found
        else "",
        missing="" if found else "The settings are the same in all studies.",
    )


def _table_words(growth: GrowthData | None, *, baseline: bool) -> str:
    if growth is None:
        return ""
    return (
        "Hypervolumes are shares of the box that all studies share. Compare them at equal effort: "
        f"{_count(growth.equal_trials, 'trial')} and the training time beside it are what the "
        "shortest study has. Training times compare on one machine alone. Trials and front are "
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
    counts = [len({record.trial for record in study.found}) for study in studies if study.usable]
    if not counts or min(counts) == max(counts):
        return ""
    return (
        f" The studies have {min(counts):,} to {max(counts):,} trials, and a front is that of all "
        "of them: for equal effort see the table."
    )


def _origin(command: str) -> str:
    again = f"<dt>Make it again</dt><dd><code>{escape(command)}</code></dd>" if command else ""
    return f"<dl><dt>Page written by</dt><dd>spach-nas {__version__}</dd>{again}</dl>"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
