"""What a study came to: the first lines of its page, in sentences and a few figures."""

import math
from dataclasses import dataclass, replace

from spach_nas.config.objectives import Objective
from spach_nas.report.hypervolume import baseline_words
from spach_nas.report.theme import TIMES
from spach_nas.report.view import StudyView, Trained, beyond_chance, study_view
from spach_nas.study.hypervolume import HypervolumeData
from spach_nas.study.intervals import record_words
from spach_nas.study.pareto import dominates, value
from spach_nas.study.records import Record
from spach_nas.units import format_count, format_share


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The figures of the first lines.

    Attributes:
        trials: Done, failed ones too, without the paper's models.
        failed: Trials and paper models.
        outside: Complete trials that break a limit.
        references: Paper models that were evaluated to the end.
        beaten: Paper models that a trial of the search dominates beyond chance.
        level: Those that a trial dominates by less than that, or by an unknown margin.
        cost_share: What these trials cost of the models that they are measured by, at most.
        images: Validation images behind the scores; 0: not known.
    """

    trials: int
    failed: int
    outside: int
    references: int
    beaten: int
    level: int
    cost_share: float
    price: str
    images: int
    front: int
    score: Objective
    best: Record | None


def summarise(view: StudyView) -> Summary:
    """The figures of a study; an architecture of several seeds counts by their mean."""
    allowed = [one for one in view.within if one.record.reference is None]
    rivals = [
        [one for one in allowed if dominates(one.record, model.record, objectives=view.objectives)]
        for model in view.paper
    ]
    sure = [
        any(beyond_chance(rival, model, view.score, spread=view.spread) for rival in some)
        for model, some in zip(view.paper, rivals, strict=True)
    ]
    shares = [
        min(
            (value(rival.record, view.price) or 0.0) / (value(model.record, view.price) or math.inf)
            for rival in some
        )
        for model, some in zip(view.paper, rivals, strict=True)
        if some
    ]
    records = view.records
    return Summary(
        trials=len({record.trial for record in records if record.reference is None}),
        failed=len({record.trial for record in records if record.state == "failed"}),
        outside=len(view.found) - len(allowed),
        references=len(view.paper),
        beaten=sum(sure),
        level=sum(bool(some) for some in rivals) - sum(sure),
        cost_share=max(shares, default=1.0),
        price=view.price.label.removeprefix("target ").removesuffix(", ms"),
        images=_images(view),
        front=len(view.front),
        score=view.score,
        best=view.best,
    )


def conclusion(summary: Summary) -> str:
    """The outcome in a sentence or two."""
    if not summary.trials and not summary.failed and not summary.references:
        return "No trial is finished yet."
    failed = f" ({summary.failed} failed)" if summary.failed else ""
    done = f"{count_words(summary.trials, 'trial')} done{failed}"
    if not summary.front:
        return f"{done}; {_why_no_front(summary)}, so there is no front."
    return f"{done}, {summary.front} on the front{_best(summary)}.{_beaten(summary)}"


def _why_no_front(summary: Summary) -> str:
    if summary.outside:
        return "none is complete within the limits"
    if summary.failed:
        return "none is complete; see Failures for the reasons"
    return "none has a finite score"


def _best(summary: Summary) -> str:
    record = summary.best
    if record is None:
        return ""
    who = f"paper model {record.reference}" if record.reference else f"trial {record.trial}"
    macs = format_count(record.target_cost.macs)
    words = record_words(record, summary.score)
    return f"; best {summary.score.name} {words} at {macs} MACs ({who})"


def _beaten(summary: Summary) -> str:
    number, beaten, level = summary.references, summary.beaten, summary.level
    if not number:
        return ""
    protocol = "trained by the same protocol"
    every = {1: "the paper model", 2: "both paper models"}
    models = every.get(number, f"all {number} paper models")
    if number in (beaten, level):
        words = f"The search {'dominates' if beaten else 'is level with'} {models} {protocol}"
        if summary.cost_share < 1:
            words += f", with {summary.cost_share:.0%} of their {summary.price} or less"
    elif not (beaten or level):
        none = f"none of the {number} paper models" if number > 1 else "not the paper model"
        words = f"The search dominates {none} {protocol}"
    else:
        parts = [f"dominates {beaten}"] if beaten else []
        parts += [f"is level with {level}"] if level else []
        rest = number - beaten - level
        parts += [f"falls short of {rest}"] if rest else []
        joined = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
        words = f"Of {number} paper models {protocol}, the search {joined}"
    return f" {words}.{_level(summary) if level else ''}"


def _level(summary: Summary) -> str:
    chance = (
        f"what chance explains with {summary.images:,} validation images"
        if summary.images
        else "chance that is not known, since the number of validation images is not"
    )
    return f" Level means: a better {summary.score.name} at no higher cost, but within {chance}."


def meaning(view: StudyView) -> tuple[str, ...]:
    """What the numbers are, and what they are not, a sentence or two each."""
    usable = [one.record for one in view.trained] or view.records
    if not usable:
        return ()
    first, score = usable[0], view.score
    height, width = first.fidelity.image_size
    effort = (
        f"{count_words(first.fidelity.epochs, 'epoch')} on {first.fidelity.data_share:.0%} of the "
        f"training part at {height}{TIMES}{width} px"
    )
    scaled = any(record.proxy_id != record.arch_id for record in usable)
    what = "small proxies of the targets" if scaled else "the targets themselves"
    ranks = " It ranks architectures; it is not the ImageNet accuracy of the targets."
    side, classes = first.architecture.image_size, first.architecture.num_classes
    return (
        f"{score.name.capitalize()} is the {score.label} of {what} after {effort}, measured on "
        f"images held out of the train split.{ranks if scaled else ''}",
        _chance(view),
        f"MACs, parameters and activations are exact counts of the targets at {side[0]}{TIMES}"
        f"{side[1]} px with {classes:,} classes (1 MAC = 2 FLOPs); lower is better.",
    )


def _chance(view: StudyView) -> str:
    images = _images(view)
    if not view.score.is_share:
        words = "How far chance goes in it is not known from one training."
    elif images:
        words = (
            f"\N{PLUS-MINUS SIGN} and bars are 95 % intervals of a share of {images:,} validation "
            "images (Wilson)."
        )
    else:
        words = "The number of validation images is not known, so there are no intervals."
    if any(len(one.trainings) > 1 for one in view.trained):
        return (
            f"{words} Some architectures were trained with several seeds: they stand at the mean, "
            "their bars reach over all seeds, and the front is one of means."
        )
    return (
        f"{words} Each architecture was trained once, and another seed moves it, too: train the "
        "candidates again with other seeds before you believe a small difference."
    )


def _images(view: StudyView) -> int:
    """The fewest validation images behind a score; 0: not known."""
    return min((one.record.validation_images or 0 for one in view.trained), default=0)


def count_words(number: int, noun: str) -> str:
    """`1 trial`, `1,200 trials`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pick:
    """A network to take.

    Attributes:
        roles: `when in doubt`, `best`, `knee`: what it is.
        trained: With its trainings.
    """

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
    return tuple(Pick(roles=tuple(words), trained=trained[trial]) for trial, words in roles.items())


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


def worth_words(view: StudyView) -> str:
    """The search next to uniform random architectures: a baseline's, or those it began with."""
    if view.growth is None:
        return ""
    return baseline_words(view.growth) or _start_words(view, view.growth)


def _start_words(view: StudyView, growth: HypervolumeData) -> str:
    own = sorted(
        (record for record in view.records if record.reference is None), key=lambda one: one.trial
    )
    number = view.facts.startup_trials
    if view.facts.sampler == "random":
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
    facts = replace(view.facts, corners=corners, baseline=None)
    random, late = (_reached(study_view(some, facts)) for some in (own[:number], own[-number:]))
    return (
        f"The {number} uniform random architectures that the search began with reach {random}; the "
        f"last {number} that it proposed reach {late}. One sample of each, so chance is part of "
        "the difference; for more, run the same search with `sampler: random` and give it as "
        "`spach-nas report DIR --baseline RANDOM`."
    )


def _reached(view: StudyView) -> str:
    if view.growth is None or view.best is None:
        return "nothing within the limits"
    words = view.of(view.best).words(view.score)
    share = format_share(view.growth.shares[-1], digits=1)
    return f"{view.score.name} {words} at best and a hypervolume of {share}"
