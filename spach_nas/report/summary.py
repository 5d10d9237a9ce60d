"""What a study came to, in sentences and a few figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spach_nas.limits import Limits
from spach_nas.objectives import OBJECTIVES, Objective
from spach_nas.pareto import best, comparable, dominates, front, value
from spach_nas.records import Record
from spach_nas.report.theme import TIMES


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFacts:
    """What a report says about a study besides its records.

    Attributes:
        name: Of the study.
        objectives: In the order of the search YAML.
        limits: Bounds on the target's cost.
        seed: Of the study.
        settings: The search YAML as run.
        command: What a reader types to run the same search again.
    """

    name: str
    objectives: tuple[Objective, ...] = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])
    limits: Limits = field(default_factory=Limits)
    seed: int | None = None
    settings: str = ""
    command: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The figures of the first lines.

    Attributes:
        trials: Done, failed ones too; paper models are counted apart.
        failed: Trials and paper models that failed.
        references: Paper models that were evaluated to the end.
        beaten: Paper models that a trial of the search dominates.
        front: Members of the front.
        best: The record of highest accuracy.
        training_s: Sum over all evaluations.
        wall_s: From the start of the search to the end of its last evaluation.
    """

    trials: int
    failed: int
    references: int
    beaten: int
    front: int
    best: Record | None
    training_s: float
    wall_s: float


def summarise(records: Sequence[Record], facts: StudyFacts) -> Summary:
    """The figures of a study."""
    usable = comparable(records)
    found = [
        record for record in comparable(records, limits=facts.limits) if record.reference is None
    ]
    paper = [record for record in usable if record.reference is not None]
    return Summary(
        trials=len({record.trial for record in records if record.reference is None}),
        failed=len({record.trial for record in records if record.state == "failed"}),
        references=len(paper),
        beaten=sum(
            any(dominates(record, model, objectives=facts.objectives) for record in found)
            for model in paper
        ),
        front=len(front(records, facts.objectives, limits=facts.limits)),
        best=best(records, limits=facts.limits),
        training_s=sum(record.seconds for record in records),
        wall_s=max((record.started + record.seconds for record in records), default=0.0),
    )


def conclusion(summary: Summary) -> str:
    """The outcome in one line."""
    failed = f" ({summary.failed} failed)" if summary.failed else ""
    done = f"{_count(summary.trials, 'trial')} done{failed}"
    if not summary.front:
        return f"{done}; none is complete within the limits, so there is no front."
    return f"{done}, {summary.front} on the front{_best(summary.best)}.{_beaten(summary)}"


def _best(record: Record | None) -> str:
    accuracy = None if record is None else value(record, OBJECTIVES["accuracy"])
    if record is None or accuracy is None:
        return ""
    who = f"paper model {record.reference}" if record.reference else f"trial {record.trial}"
    macs = record.target_cost.macs / 1e9
    return f"; best accuracy {accuracy:.2%} at {macs:.2f} G MACs ({who})"


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
    seeds: Mapping[str, set[int]] = {record.arch_id: set() for record in records}
    for record in records:
        seeds[record.arch_id].add(record.seed)
    if max(len(values) for values in seeds.values()) > 1:
        return "Some architectures were trained with several seeds; each training is a point."
    return (
        "Each architecture was trained once, so a small difference may be chance: train the "
        "candidates again with other seeds before you believe it."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
