"""What a study came to, in sentences and a few figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spach_nas.hypervolume import Corners, finished_after
from spach_nas.limits import Limits, ProxyLimits
from spach_nas.objectives import OBJECTIVES, Objective
from spach_nas.pareto import best, comparable, dominates, front, value
from spach_nas.records import Record
from spach_nas.report.seeds import average_seeds, group_seeds
from spach_nas.report.theme import TIMES
from spach_nas.search_space import SearchSpace
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
        settings: The search YAML as run.
        space: The YAML of its search space, where that is a file of its own.
        command: What a reader types to run the same search again.
        disk: Bytes in the study's folder, by file or folder.
        search_space: What was searched, for what chance gives; None: not known.
        proxy_limits: Bounds on the cost of the trained networks.
        baseline: Records of another study of the same space and protocol, such as one by uniform
            random search, whose growth is drawn beside this one's.
    """

    name: str
    objectives: tuple[Objective, ...] = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])
    limits: Limits = field(default_factory=Limits)
    corners: Corners = field(default_factory=dict)
    seed: int | None = None
    settings: str = ""
    space: str = ""
    command: str = ""
    disk: Mapping[str, int] = field(default_factory=dict)
    search_space: SearchSpace | None = None
    proxy_limits: ProxyLimits | None = None
    baseline: tuple[Record, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The figures of the first lines.

    Attributes:
        trials: Done, failed ones too; paper models are counted apart.
        failed: Trials and paper models that failed.
        outside: Complete trials of the search that break a limit.
        references: Paper models that were evaluated to the end.
        beaten: Paper models that a trial of the search dominates.
        front: Members of the front.
        best: The record of highest accuracy; of several seeds their mean.
        training_s: Sum over the search's own evaluations, without those taken over.
        wall_s: From the start of the search to the end of its last evaluation.
    """

    trials: int
    failed: int
    outside: int
    references: int
    beaten: int
    front: int
    best: Record | None
    training_s: float
    wall_s: float


def summarise(records: Sequence[Record], facts: StudyFacts) -> Summary:
    """The figures of a study; an architecture of several seeds counts by their mean."""
    averaged = average_seeds(records)
    usable = comparable(averaged)
    allowed = comparable(averaged, limits=facts.limits)
    found = [record for record in allowed if record.reference is None]
    paper = [record for record in usable if record.reference is not None]
    return Summary(
        trials=len({record.trial for record in records if record.reference is None}),
        failed=len({record.trial for record in records if record.state == "failed"}),
        outside=len(usable) - len(paper) - len(found),
        references=len(paper),
        beaten=sum(
            any(dominates(record, model, objectives=facts.objectives) for record in found)
            for model in paper
        ),
        front=len(front(averaged, facts.objectives, limits=facts.limits)),
        best=best(averaged, facts.objectives, limits=facts.limits),
        training_s=sum(record.seconds for record in records if record.origin is None),
        wall_s=max((finished_after(record) for record in records), default=0.0),
    )


def conclusion(summary: Summary) -> str:
    """The outcome in one line."""
    if not summary.trials and not summary.failed and not summary.references:
        return "No trial is finished yet."
    failed = f" ({summary.failed} failed)" if summary.failed else ""
    done = f"{_count(summary.trials, 'trial')} done{failed}"
    if not summary.front:
        return f"{done}; {_why_no_front(summary)}, so there is no front."
    return f"{done}, {summary.front} on the front{_best(summary.best)}.{_beaten(summary)}"


def _why_no_front(summary: Summary) -> str:
    if summary.outside:
        return "none is complete within the limits"
    if summary.failed:
        return "none is complete; the reasons stand under Failures"
    return "none has a finite score"


def _best(record: Record | None) -> str:
    accuracy = None if record is None else value(record, OBJECTIVES["accuracy"])
    if record is None or accuracy is None:
        return ""
    who = f"paper model {record.reference}" if record.reference else f"trial {record.trial}"
    macs = format_count(record.target_cost.macs)
    return f"; best accuracy {accuracy:.2%} at {macs} MACs ({who})"


def _beaten(summary: Summary) -> str:
    if not summary.references:
        return ""
    models = _count(summary.references, "paper model")
    protocol = "trained by the same protocol"
    if summary.beaten == summary.references:
        every = "both" if summary.references == 2 else f"all {summary.references}"
        models = models if summary.references == 1 else f"{every} paper models"
        return f" The search dominates {models} {protocol}."
    if not summary.beaten:
        return f" The search dominates none of the {models} {protocol}."
    return f" The search dominates {summary.beaten} of the {models} {protocol}."


def meaning(records: Sequence[Record]) -> tuple[str, ...]:
    """What the numbers are, and what they are not, a sentence or two each."""
    usable = comparable(records) or tuple(records)
    if not usable:
        return ()
    first = usable[0]
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
        f"Accuracy is the validation accuracy of {what} after {effort}, measured on images held "
        f"out of the train split.{ranks if scaled else ''}",
        f"MACs, parameters and activations are exact counts of the targets at {side[0]}{TIMES}"
        f"{side[1]} px with {classes:,} classes (1 MAC = 2 FLOPs); lower is better.",
        _noise(usable),
    )


def _noise(records: Sequence[Record]) -> str:
    if any(len(group.trainings) > 1 for group in group_seeds(records)):
        return (
            "Some architectures were trained with several seeds: they stand at the mean, bars show "
            "the lowest and the highest, and the front is one of means. Those with one training "
            "may still owe their place to chance."
        )
    return (
        "Each architecture was trained once, so a small difference may be chance: train the "
        "candidates again with other seeds before you believe it."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
