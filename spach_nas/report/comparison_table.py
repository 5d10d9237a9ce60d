"""The figures of several studies as a table: each study, and median and spread of each group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from spach_nas.config.objectives import score_of
from spach_nas.report.comparison_growth import Growth, GrowthData, band_words, spread
from spach_nas.report.comparison_settings import Difference
from spach_nas.report.comparison_study import ComparedStudy, StudyGroup, short
from spach_nas.report.comparison_style import styles
from spach_nas.study.intervals import score_words
from spach_nas.study.pareto import best, front, value
from spach_nas.units import format_duration

_MOST_RANKED = 5
_NOTHING = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFigures:
    """What a study came to; None where there is nothing to say.

    Attributes:
        study: Its label.
        trials: Done, failed ones too; the paper's models are no trials.
        failed: Of them.
        front: Members of its front.
        best: The best score, the first trained objective.
        best_words: With its interval.
        seconds: Of training.
        share: Of the shared box that it dominates, in [0, 1]; higher is better.
        at_trials: The same after as many trials as all studies have.
        at_seconds: The same after as much training as all studies have.
    """

    study: str
    trials: int
    failed: int
    front: int
    best: float | None
    best_words: str
    seconds: float
    share: float | None
    at_trials: float | None
    at_seconds: float | None


def study_figures(study: ComparedStudy, growth: GrowthData | None) -> StudyFigures:
    """The figures of one study."""
    curves = growth.curves if growth else ()
    curve = next((one for one in curves if one.study == study.label), None)
    usable = study.usable
    winner, score = best(usable, study.objectives), score_of(study.objectives)
    trained = next((one for one in study.trained if one.record is winner), None)
    figure = value(winner, score) if winner else None
    return StudyFigures(
        study=study.label,
        trials=len({item.trial for item in study.found}),
        failed=len({item.trial for item in study.found if item.state == "failed"}),
        front=len(front(usable, study.objectives)),
        best=figure,
        best_words=score_words(score, figure, trained.interval(score) if trained else None),
        seconds=sum(record.seconds for record in study.found if record.origin is None),
        share=curve.shares[-1] if curve else None,
        at_trials=curve.at(growth.equal_trials, axis="trials") if curve and growth else None,
        at_seconds=curve.at(growth.equal_seconds, axis="seconds") if curve and growth else None,
    )


def wins(group: Sequence[Growth], baseline: Sequence[Growth], *, trials: int) -> tuple[float, int]:
    """In how many pairs of a study and one of the baseline the study dominates more.

    Returns:
        Pairs won, a tie counting half, and all pairs.
    """
    ours, theirs = ([one.at(trials, axis="trials") for one in side] for side in (group, baseline))
    won = sum((a > b) + 0.5 * (a == b) for a in ours for b in theirs)
    return won, len(ours) * len(theirs)


def studies_table(groups: Sequence[StudyGroup], growth: GrowthData | None) -> str:
    """All figures as HTML; hypervolumes are shares of the shared box."""
    measured = growth is not None and any(group.baseline and growth.of(group) for group in groups)
    score = score_of(groups[0].studies[0].objectives)
    heads = ["Study", "Trials", "Front", f"Best {score.name}", "Training", "Hypervolume"]
    if growth is not None:
        heads += [
            f"after {growth.equal_trials:,} trials",
            f"after {format_duration(growth.equal_seconds)} of training",
        ]
    heads += ["Beats baseline"] if measured else []
    looks = styles(groups)
    rows = []
    for group in groups:
        figures = [study_figures(study, growth) for study in group.studies]
        won = [_wins(group, groups, growth)] if measured and growth else []
        # An ink follows the dark page.
        colour = "var(--muted)" if group.baseline else looks[group.label].colour
        dot = f'<i class="swatch" style="background:{colour}"></i>'
        if len(figures) > 1:
            rows.append(_group_row(group, figures, dot=dot, last=won, timed=growth is not None))
            # The pairs stand in the row of the group.
            won = [""] * len(won)
        kind = "member" if len(figures) > 1 else "alone"
        rows += [
            _study_row(one, kind=kind, dot=dot, last=won, timed=growth is not None)
            for one in figures
        ]
    return _table(heads, rows, numbers=True)


def differences_table(groups: Sequence[StudyGroup], found: Sequence[Difference]) -> str:
    """Settings that differ as HTML; nothing where none does."""
    if not found:
        return ""
    heads = ["Setting", *(short(group.words) for group in groups)]
    rows = [
        "<tr>"
        + _cell(item.name + (" (protocol)" if item.protocol else ""), kind="architecture")
        + "".join(_cell(text, kind="note") for text in item.values)
        + "</tr>"
        for item in found
    ]
    return _table(heads, rows, numbers=False)


def _wins(group: StudyGroup, groups: Sequence[StudyGroup], growth: GrowthData) -> str:
    against = [curve for other in groups if other.baseline for curve in growth.of(other)]
    if group.baseline or not growth.of(group):
        return _NOTHING
    won, pairs = wins(growth.of(group), against, trials=growth.equal_trials)
    return f"{won:g} of {pairs}" + (" pairs" if pairs > 1 else "")


def _study_row(one: StudyFigures, *, kind: str, dot: str, last: Sequence[str], timed: bool) -> str:
    cells = [
        f"{one.trials:,}" + (f", {one.failed:,} failed" if one.failed else ""),
        f"{one.front:,}",
        one.best_words or _NOTHING,
        format_duration(one.seconds),
        _percent(one.share),
        *([_percent(one.at_trials), _percent(one.at_seconds)] if timed else []),
        *last,
    ]
    name = f"<td>{dot}{escape(one.study)}</td>"
    return f'<tr class="{kind}">{name}{"".join(map(_number, cells))}</tr>'


def _group_row(
    group: StudyGroup,
    figures: Sequence[StudyFigures],
    *,
    dot: str,
    last: Sequence[str],
    timed: bool,
) -> str:
    score = score_of(group.studies[0].objectives)
    counted = sum(one.share is not None for one in figures)
    of = f"{counted} of {len(figures)}" if counted < len(figures) else f"{len(figures)}"
    columns: list[tuple[Callable[[StudyFigures], float | None], Callable[[float], str]]] = [
        (lambda one: one.trials, lambda x: f"{x:,.0f}"),
        (lambda one: one.front, lambda x: f"{x:,.0f}"),
        (lambda one: one.best, lambda x: score_words(score, x)),
        (lambda one: one.seconds, format_duration),
        (lambda one: one.share, _percent),
    ]
    if timed:
        columns += [(lambda one: one.at_trials, _percent), (lambda one: one.at_seconds, _percent)]
    cells = [_interval([get(one) for one in figures], form) for get, form in columns]
    words = f"median of {of} seeds,<br>{band_words(counted)}"
    return (
        f'<tr class="group"><td>{dot}<b>{escape(group.label)}</b><span>{words}</span></td>'
        f"{''.join(map(_number_html, cells))}{''.join(map(_number, last))}</tr>"
    )


def _interval(values: Sequence[float | None], form: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return _NOTHING
    low, median, high = map(form, spread(known))
    ends = f"{low.removesuffix('%')} to {high}"
    return f"<b>{median}</b>" + (f"<span>{ends}</span>" if low != high else "")


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{share:.2%}"


def _number(text: str) -> str:
    return _cell(text, kind="number")


def _number_html(html: str) -> str:
    return f'<td class="number">{html}</td>'


def _cell(text: str, *, kind: str) -> str:
    return f'<td class="{kind}">{escape(text)}</td>'


def _table(heads: Sequence[str], rows: Sequence[str], *, numbers: bool) -> str:
    head = "".join(
        f'<th scope="col"{_aligned(numbers and place > 0)}><span>{escape(words)}</span></th>'
        for place, words in enumerate(heads)
    )
    return (
        '<div class="scroll whole"><table class="compared"><thead><tr>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _aligned(right: bool) -> str:
    return ' class="number"' if right else ""


def ranking(groups: Sequence[StudyGroup], growth: GrowthData) -> str:
    """Share of each group after as many trials as all studies have, highest median first."""
    found = []
    for group in groups:
        curves = growth.of(group)
        if curves:
            low, median, high = spread(
                [one.at(growth.equal_trials, axis="trials") for one in curves]
            )
            seeds = f" (median of {len(curves)} seeds, {low:.1%} to {high:.1%})"
            found.append(
                (median, f"{short(group.label)} {median:.1%}{seeds if len(curves) > 1 else ''}")
            )
    found.sort(key=lambda item: -item[0])
    more = (
        f" and {len(found) - _MOST_RANKED} more in the table" if len(found) > _MOST_RANKED else ""
    )
    return ", ".join(words for _, words in found[:_MOST_RANKED]) + more
