"""What a study came to, in sentences and a few figures."""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from spach_nas.config.objectives import USUAL, Objective, cost_of, score_of
from spach_nas.cost.limits import Limits, ProxyLimits
from spach_nas.report.seeds import average_seeds, beyond_chance, group_seeds, pooled_spread
from spach_nas.report.theme import TIMES
from spach_nas.space.search_space import SearchSpace
from spach_nas.study.folder import CheckpointKey
from spach_nas.study.hypervolume import Corners
from spach_nas.study.intervals import record_words
from spach_nas.study.pareto import best, comparable, dominates, front, value, within
from spach_nas.study.records import Record
from spach_nas.units import format_count


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFacts:
    """What a report says about a study besides its records.

    Attributes:
        name: Of the study.
        objectives: In the order of the search YAML.
        limits: Bounds on the target's cost.
        corners: The box that hypervolumes are shares of, as far as it is known.
        seed: Of the study.
        sampler: That proposed its trials.
        startup_trials: So many first ones were uniform; 0: not known.
        kept: Proxies and rungs whose weights are there; None: those of the front.
        settings: The search YAML as run.
        space: The YAML of its search space, where that is a file of its own.
        command: What a reader types to run the same search again.
        disk: Bytes in the study's folder, by file or folder.
        search_space: What was searched, for what chance gives; None: not known.
        proxy_limits: Bounds on the cost of the trained networks.
        baseline: Records of another study of the same space and protocol, such as one by uniform
            random search, whose growth is drawn beside this one's.
        ending: Why the search ended before its budget was spent, and how to go on, a sentence each;
            nothing where it did all.
    """

    name: str
    objectives: tuple[Objective, ...] = USUAL
    limits: Limits = field(default_factory=Limits)
    corners: Corners = field(default_factory=dict)
    seed: int | None = None
    sampler: str = ""
    startup_trials: int = 0
    kept: Set[CheckpointKey] | None = None
    settings: str = ""
    space: str = ""
    command: str = ""
    disk: Mapping[str, int] = field(default_factory=dict)
    search_space: SearchSpace | None = None
    proxy_limits: ProxyLimits | None = None
    baseline: tuple[Record, ...] | None = None
    ending: tuple[str, ...] = ()

    def keeps(self, record: Record, *, on_front: bool = True) -> bool:
        """Whether the weights of a record are there to export."""
        if self.kept is None:
            return on_front
        return (record.proxy_id, record.fidelity.rung) in self.kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The figures of the first lines.

    Attributes:
        trials: Done, failed ones too; paper models are counted apart.
        failed: Trials and paper models that failed.
        outside: Complete trials of the search that break a limit.
        references: Paper models that were evaluated to the end.
        beaten: Paper models that a trial of the search dominates beyond chance.
        level: Those that a trial dominates by less than that, or by who knows what.
        cost_share: What these trials cost of the models that they are measured by, at most.
        price: What they cost: `MACs`.
        images: Validation images behind the scores; 0: not known.
        front: Members of the front.
        score: What the best is judged by.
        best: The record with the best score; of several seeds their mean.
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


def summarise(records: Sequence[Record], facts: StudyFacts) -> Summary:
    """The figures of a study; an architecture of several seeds counts by their mean."""
    averaged, score = average_seeds(records), score_of(facts.objectives)
    groups = group_seeds(records)
    found = [group for group in groups if group.record.reference is None]
    allowed = [group for group in found if within(group.record, facts.limits)]
    paper = [group for group in groups if group.record.reference is not None]
    spread = pooled_spread([group.values(score) for group in groups])
    rivals = [
        [
            group
            for group in allowed
            if dominates(group.record, model.record, objectives=facts.objectives)
        ]
        for model in paper
    ]
    sure = [
        any(beyond_chance(rival, model, score, spread=spread) for rival in some)
        for model, some in zip(paper, rivals, strict=True)
    ]
    price = cost_of(facts.objectives)
    shares = [
        min(
            (value(rival.record, price) or 0.0) / (value(model.record, price) or math.inf)
            for rival in some
        )
        for model, some in zip(paper, rivals, strict=True)
        if some
    ]
    return Summary(
        trials=len({record.trial for record in records if record.reference is None}),
        failed=len({record.trial for record in records if record.state == "failed"}),
        outside=len(found) - len(allowed),
        references=len(paper),
        beaten=sum(sure),
        level=sum(bool(some) for some in rivals) - sum(sure),
        cost_share=max(shares, default=1.0),
        price=price.label.removeprefix("target ").removesuffix(", ms"),
        images=min((group.record.validation_images or 0 for group in groups), default=0),
        front=len(front(averaged, facts.objectives, limits=facts.limits)),
        score=score,
        best=best(averaged, facts.objectives, limits=facts.limits),
    )


def conclusion(summary: Summary) -> str:
    """The outcome in a sentence or two."""
    if not summary.trials and not summary.failed and not summary.references:
        return "No trial is finished yet."
    failed = f" ({summary.failed} failed)" if summary.failed else ""
    done = f"{_count(summary.trials, 'trial')} done{failed}"
    if not summary.front:
        return f"{done}; {_why_no_front(summary)}, so there is no front."
    return f"{done}, {summary.front} on the front{_best(summary)}.{_beaten(summary)}"


def _why_no_front(summary: Summary) -> str:
    if summary.outside:
        return "none is complete within the limits"
    if summary.failed:
        return "none is complete; the reasons stand under Failures"
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


def meaning(records: Sequence[Record], objectives: Sequence[Objective] = USUAL) -> tuple[str, ...]:
    """What the numbers are, and what they are not, a sentence or two each."""
    usable = comparable(records) or tuple(records)
    if not usable:
        return ()
    first, score = usable[0], score_of(objectives)
    height, width = first.fidelity.image_size
    effort = (
        f"{_count(first.fidelity.epochs, 'epoch')} on {first.fidelity.data_share:.0%} of the "
        f"training part at {height}{TIMES}{width} px"
    )
    scaled = any(record.proxy_id != record.arch_id for record in usable)
    what = "small proxies of the targets" if scaled else "the targets themselves"
    ranks = " It ranks architectures; it is not the ImageNet accuracy of the targets."
    side, classes = first.architecture.image_size, first.architecture.num_classes
    return (
        f"{score.name.capitalize()} is the {score.label} of {what} after {effort}, measured on "
        f"images held out of the train split.{ranks if scaled else ''}",
        _chance(usable, score),
        f"MACs, parameters and activations are exact counts of the targets at {side[0]}{TIMES}"
        f"{side[1]} px with {classes:,} classes (1 MAC = 2 FLOPs); lower is better.",
    )


def _chance(records: Sequence[Record], score: Objective) -> str:
    images = min((record.validation_images or 0 for record in records), default=0)
    if not score.is_share:
        words = "How far chance goes in it is not known from one training."
    elif images:
        words = (
            f"\N{PLUS-MINUS SIGN} and bars are 95 % intervals of a share of {images:,} validation "
            "images (Wilson)."
        )
    else:
        words = "The number of validation images is not known, so there are no intervals."
    if any(len(group.trainings) > 1 for group in group_seeds(records)):
        return (
            f"{words} Some architectures were trained with several seeds: they stand at the mean, "
            "their bars reach over all seeds, and the front is one of means."
        )
    return (
        f"{words} Each architecture was trained once, and another seed moves it, too: train the "
        "candidates again with other seeds before you believe a small difference."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
