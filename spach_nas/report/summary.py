"""What a study came to: the first lines of its page, and which network to take."""

import math
from dataclasses import replace
from typing import NamedTuple

from markupsafe import Markup

from spach_nas.report.document import sentences
from spach_nas.report.view import StudyView, Trained, beyond_chance, study_view
from spach_nas.study.intervals import record_words
from spach_nas.study.pareto import dominates, value
from spach_nas.study.records import Record
from spach_nas.units import format_share

_TEMPLATE = "summary.html"


class PaperModels(NamedTuple):
    """How the search compares with the paper's models.

    Attributes:
        beaten: Models that a trial of the search dominates beyond chance.
        level: Those that a trial dominates by less than that, or by an unknown margin.
        cost_share: What these trials cost at most, as a share of the models' cost.
    """

    beaten: int
    level: int
    cost_share: float


def paper_models(view: StudyView) -> PaperModels:
    """The comparison; an architecture of several seeds counts by their mean."""
    beaten, level, shares = 0, 0, [0.0]
    for model in view.paper:
        rivals = [
            one
            for one in view.within
            if one.record.reference is None
            and dominates(one.record, model.record, objectives=view.objectives)
        ]
        sure = any(beyond_chance(one, model, view.score, spread=view.spread) for one in rivals)
        beaten += sure
        level += bool(rivals) and not sure
        if rivals:
            cheapest = min(value(one.record, view.price) or 0.0 for one in rivals)
            shares.append(cheapest / (value(model.record, view.price) or math.inf))
    return PaperModels(beaten, level, max(shares))


def conclusion(view: StudyView) -> Markup:
    """The outcome in a sentence or two."""
    trials = sum(record.reference is None for record in view.last.values())
    failed = sum(record.state == "failed" for record in view.last.values())
    outside = len(view.found) - sum(one.record.reference is None for one in view.within)
    best = record_words(view.best, view.score) if view.best else ""
    counts = {"trials": trials, "failed": failed, "outside": outside, "images": _images(view)}
    return sentences(_TEMPLATE, "conclusion", view, counts, best, paper_models(view))


def meaning(view: StudyView) -> Markup:
    """What the numbers are, and what they are not, one paragraph each."""
    usable = [one.record for one in view.trained] or view.records
    if not usable:
        return Markup()
    scaled = any(record.proxy_id != record.arch_id for record in usable)
    several = any(len(one.trainings) > 1 for one in view.trained)
    images = _images(view)
    return sentences(_TEMPLATE, "meaning", view.score, usable[0], scaled, several, images)


def _images(view: StudyView) -> int:
    """The fewest validation images behind a score; 0: not known."""
    return min((one.record.validation_images or 0 for one in view.trained), default=0)


class Pick(NamedTuple):
    """A network to take, and why: `when in doubt`, `best`, `knee`."""

    roles: tuple[str, ...]
    trained: Trained


def picks(view: StudyView) -> tuple[Pick, ...]:
    """The few members of a front that a reader chooses from, each once."""
    found = {"when in doubt": _when_in_doubt(view), "best": view.best, "knee": view.knee}
    roles: dict[int, list[str]] = {}
    trained = {record.trial: view.of(record) for record in found.values() if record is not None}
    for word, record in found.items():
        if record is not None:
            roles.setdefault(record.trial, []).append(word)
    return tuple(Pick(tuple(words), trained[trial]) for trial, words in roles.items())


def _when_in_doubt(view: StudyView) -> Record | None:
    """The cheapest member of the front that is as good as the best, as far as one can tell."""
    top, score = view.best, view.score
    if top is None:
        return None
    ends, spread = view.of(top).interval(score), view.spread
    ideal, sign = value(top, score), 1 if score.direction == "max" else -1
    if ideal is None or (ends is None and spread is None):
        return None
    reach = 0.0 if ends is None else (ideal - ends.low if sign > 0 else ends.high - ideal)
    near = []
    for record in view.front:
        figure, cost = value(record, score), value(record, view.price)
        if figure is None or cost is None:
            continue
        seeds = (len(view.of(one).trainings) for one in (top, record))
        apart = max(reach, spread.reach(*seeds) if spread else 0.0)
        if sign * (ideal - figure) <= apart:
            near.append((cost, -sign * figure, record.trial, record))
    return min(near, key=lambda item: item[:3])[-1] if near else None


def worth_words(view: StudyView) -> Markup:
    """The last proposals next to the uniform random architectures that the search began with."""
    growth, number = view.growth, view.facts.startup_trials
    if growth is None:
        return Markup()
    own = sorted(
        (record for record in view.records if record.reference is None), key=lambda one: one.trial
    )
    uniform = view.facts.sampler == "random"
    # With rungs, or what an earlier study found, the first trials are no fair sample of chance.
    if any(record.fidelity.rung or record.origin is not None for record in own) and not uniform:
        return Markup()
    reached = []
    if 0 < 2 * number <= len(own) and not uniform:
        corners = {name: (growth.reference[name], growth.ideal[name]) for name in growth.reference}
        facts = replace(view.facts, corners=corners)
        reached = [_reached(study_view(some, facts)) for some in (own[:number], own[-number:])]
    return sentences(_TEMPLATE, "worth", uniform, number, reached)


def _reached(view: StudyView) -> str:
    if view.growth is None or view.best is None:
        return "nothing within the limits"
    words = view.of(view.best).words(view.score)
    share = format_share(view.growth.shares[-1], digits=1)
    return f"{view.score.name} {words} at best and a hypervolume of {share}"
