"""Which network to take, and whether the search was worth it: the first lines of a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from spach_nas.config.objectives import cost_of, score_of
from spach_nas.report.hypervolume_figure import baseline_words
from spach_nas.report.page_table import export_command
from spach_nas.report.seeds import Trained, average_seeds, group_seeds, pooled_spread
from spach_nas.report.summary import StudyFacts
from spach_nas.report.trials import page_names
from spach_nas.study.hypervolume import HypervolumeData, hypervolume_data
from spach_nas.study.intervals import score_words
from spach_nas.study.pareto import best, front, knee, value
from spach_nas.study.records import Record
from spach_nas.units import format_count, format_share

_WRITES = (
    "A command writes the trained proxy with its weights. With `--scale target` it writes the "
    "untrained network at full size, for `spach-nas train`, as does one here whose weights were "
    "not kept."
)
_WRITES_NOT = (
    "The weights of these trials are not in the study's folder: the commands write the untrained "
    "networks at full size (`--scale target`), for `spach-nas train`."
)
_MEANINGS = {
    "when in doubt": "the cheapest whose score lies in the interval of the best",
    "best": "the best score, by however little",
    "knee": "where the front bends most: beyond it, a better score costs more and more",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pick:
    """A network to take.

    Attributes:
        roles: `when in doubt`, `best`, `knee`: what it is.
        trained: With its trainings.
    """

    roles: tuple[str, ...]
    trained: Trained


def picks(records: Sequence[Record], facts: StudyFacts) -> tuple[Pick, ...]:
    """The few members of a front that a reader chooses from; each stands once."""
    averaged, objectives = average_seeds(records), facts.objectives
    groups = {group.record.trial: group for group in group_seeds(records)}
    top = best(averaged, objectives, limits=facts.limits)
    found = {
        "when in doubt": top and _when_in_doubt(averaged, facts, groups, top),
        "best": top,
        "knee": knee(averaged, objectives, limits=facts.limits),
    }
    roles: dict[int, list[str]] = {}
    for word, record in found.items():
        if record is not None:
            roles.setdefault(record.trial, []).append(word)
    return tuple(Pick(roles=tuple(words), trained=groups[trial]) for trial, words in roles.items())


def _when_in_doubt(
    averaged: Sequence[Record], facts: StudyFacts, groups: dict[int, Trained], top: Record
) -> Record | None:
    """The cheapest member of the front that is as good as the best, as far as one can tell."""
    score, price = score_of(facts.objectives), cost_of(facts.objectives)
    ends = groups[top.trial].interval(score)
    spread = pooled_spread([group.values(score) for group in groups.values()])
    ideal, sign = value(top, score), 1 if score.direction == "max" else -1
    if ideal is None or (ends is None and spread is None):
        return None
    reach = 0.0 if ends is None else (ideal - ends.low if sign > 0 else ends.high - ideal)
    near = []
    for record in front(averaged, facts.objectives, limits=facts.limits):
        figure, cost = value(record, score), value(record, price)
        if figure is None or cost is None:
            continue
        seeds = (len(groups[one.trial].trainings) for one in (top, record))
        apart = max(reach, spread.reach(*seeds) if spread else 0.0)
        if sign * (ideal - figure) <= apart:
            near.append((cost, -sign * figure, record.trial, record))
    return min(near, key=lambda item: item[:3])[-1] if near else None


def answer_html(records: Sequence[Record], facts: StudyFacts, *, folder: str) -> str:
    """The picks with their commands, and what chance would have given; nothing without a front."""
    found = picks(records, facts)
    if not found:
        return ""
    names = page_names(records)
    cards = "".join(_card(pick, names, facts, folder=folder) for pick in found)
    worth = worth_words(records, facts)
    kept = any(facts.keeps(pick.trained.record) for pick in found)
    return (
        f'<h2>Which network to take</h2><ul class="picks">{cards}</ul>'
        f'<p class="note">{_html(_WRITES if kept else _WRITES_NOT)}</p>'
        + (f'<p class="note"><b>Was it worth it?</b> {_html(worth)}</p>' if worth else "")
    )


def _html(words: str) -> str:
    """Escaped, with what stands between backticks as code."""
    parts = escape(words).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _card(pick: Pick, names: Mapping[str, str], facts: StudyFacts, *, folder: str) -> str:
    record, score = pick.trained.record, score_of(facts.objectives)
    meanings = "; ".join(_MEANINGS[role] for role in pick.roles)
    who = record.reference or f"trial {record.trial}"
    words = score_words(score, value(record, score), pick.trained.interval(score))
    cost = record.target_cost
    figures = f"{format_count(cost.macs)} MACs, {format_count(cost.params)} params"
    command = export_command(folder, record, kept=facts.keeps(record))
    return (
        f"<li><h3>{escape(', '.join(pick.roles).capitalize())}</h3><p>{escape(meanings)}</p>"
        f'<p><strong>{escape(words)}</strong> {escape(figures)}</p><p><button type="button" '
        f'class="link" data-trial="{record.trial}">{escape(who)}</button> '
        f"<code>{escape(names[record.arch_id])}</code></p>"
        f'<div class="command"><code>{escape(command)}</code><button type="button" class="copy">'
        "Copy</button></div></li>"
    )


def worth_words(records: Sequence[Record], facts: StudyFacts) -> str:
    """The search beside uniform random architectures: a baseline's, or those that it began with."""
    growth = hypervolume_data(
        records,
        facts.objectives,
        limits=facts.limits,
        corners=facts.corners,
        baseline=facts.baseline,
    )
    if growth is None:
        return ""
    return baseline_words(growth) or _start_words(records, facts, growth)


def _start_words(records: Sequence[Record], facts: StudyFacts, growth: HypervolumeData) -> str:
    own = sorted(
        (record for record in records if record.reference is None), key=lambda one: one.trial
    )
    number = facts.startup_trials
    if facts.sampler == "random":
        return "This search drew uniformly at random: it is what chance gives."
    # With rungs, or what an earlier study found, the first trials are no fair sample of chance.
    if any(record.fidelity.rung or record.origin is not None for record in own):
        return ""
    if not number or len(own) < 2 * number:
        return (
            "Not known: for an answer, run the same search with `sampler: random` and give it as "
            "`spach-nas report DIR --baseline RANDOM`."
        )
    corners = {name: (growth.reference[name], growth.ideal[name]) for name in growth.reference}
    random, late = (
        _reached(some, facts, corners=corners) for some in (own[:number], own[-number:])
    )
    return (
        f"The {number} uniform random architectures that the search began with reach {random}; the "
        f"last {number} that it proposed reach {late}. One sample of each, so chance is part of "
        "the difference; for more, run the same search with `sampler: random` and give it as "
        "`spach-nas report DIR --baseline RANDOM`."
    )


def _reached(
    records: Sequence[Record], facts: StudyFacts, *, corners: dict[str, tuple[float, float]]
) -> str:
    growth = hypervolume_data(records, facts.objectives, limits=facts.limits, corners=corners)
    top = best(records, facts.objectives, limits=facts.limits)
    if growth is None or top is None:
        return "nothing within the limits"
    score = score_of(facts.objectives)
    trained = Trained(record=top, trainings=(top,))
    words = score_words(score, value(top, score), trained.interval(score))
    share = format_share(growth.shares[-1], digits=1)
    return f"{score.name} {words} at best and a hypervolume of {share}"
