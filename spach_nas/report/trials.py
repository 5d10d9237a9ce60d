"""Rows of the report's table, one for each trial, and what hovering over its point says."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.cost.limits import Limits
from spach_nas.report.seeds import Trained, average_seeds, group_seeds
from spach_nas.report.theme import plain
from spach_nas.space.names import short_names
from spach_nas.study.folder import CheckpointKey
from spach_nas.study.intervals import record_words, score_words
from spach_nas.study.pareto import best, comparable, front, knee, value
from spach_nas.study.records import Record
from spach_nas.units import format_count

_LONGEST_LINE = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRow:
    """A trial at its highest rung.

    Attributes:
        trial: Its number.
        arch_id: Of the target.
        architecture: Its short name, which no other architecture of the table has.
        reference: Name of the paper's model, if it is one.
        accuracy: Validation accuracy in [0, 1], the mean over the seeds of the architecture; higher
            is better. None when failed or not finite.
        accuracies: Of each seed, where there are several.
        accuracy_words: With its interval.
        macs: Of the target.
        params: Of the target.
        activations: Of the target.
        measured: Further objectives of the study by name.
        seconds: Of all its evaluations.
        epochs: Of the highest rung.
        rung: The highest it reached.
        seeds: Of the training runs at that rung.
        state: `complete` or `failed`.
        reason: Why it failed.
        remark: What was unusual about it.
        on_front: Whether no other architecture dominates it.
        kept: Whether the study keeps its weights.
        mark: `best`, `knee`, `best, knee` or nothing.
    """

    trial: int
    arch_id: str
    architecture: str
    reference: str | None
    accuracy: float | None
    accuracies: tuple[float, ...]
    accuracy_words: str
    macs: int
    params: int
    activations: int
    measured: Mapping[str, float | None]
    seconds: float
    epochs: int
    rung: int
    seeds: tuple[int, ...]
    state: str
    reason: str | None
    remark: str | None
    on_front: bool
    kept: bool
    mark: str


def trial_rows(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
    weights: Set[CheckpointKey] | None = None,
) -> tuple[TrialRow, ...]:
    """One row for each trial, in their order.

    Args:
        records: Of one study.
        objectives: Of the study.
        limits: Bounds on the target's cost.
        weights: Proxies and rungs whose weights are there; None: those of the front.
    """
    last: dict[int, Record] = {}
    seconds: dict[int, float] = {}
    for record in records:
        seconds[record.trial] = seconds.get(record.trial, 0.0) + record.seconds
        known = last.get(record.trial)
        if known is None or record.fidelity.rung > known.fidelity.rung:
            last[record.trial] = record
    groups = {record.trial: group for group in group_seeds(records) for record in group.trainings}
    shown = sorted(last.items())
    names = page_names(records)
    members = {record.trial for record in front(average_seeds(records), objectives, limits=limits)}
    kept = {
        record.trial
        for record in (front(records, objectives, limits=limits) if weights is None else records)
        if weights is None or (record.proxy_id, record.fidelity.rung) in weights
    }
    marks = marked(records, objectives, limits=limits)
    return tuple(
        _row(
            groups.get(trial, Trained(record=record, trainings=(record,))),
            trial=record,
            objectives=objectives,
            seconds=seconds[trial],
            fronts=(trial in members, trial in kept),
            name=names[record.arch_id],
            mark=", ".join(marks.get(trial, ())),
        )
        for trial, record in shown
    )


def page_names(records: Sequence[Record]) -> dict[str, str]:
    """Short names by `arch_id`, no two of a page alike."""
    known = {record.arch_id: record.architecture for record in records}
    return dict(zip(known, short_names(list(known.values())), strict=True))


def best_paper(
    records: Sequence[Record], objectives: Sequence[Objective], *, but: Sequence[Record] = ()
) -> Record | None:
    """The best of the paper's models that were trained, without those that are shown already."""
    paper = [record for record in comparable(records) if record.reference is not None]
    return best([record for record in paper if record not in but], objectives)


def marked(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
) -> dict[int, tuple[str, ...]]:
    """The trials that `--pick best` and `--pick knee` take, with those words.

    Of several seeds of an architecture, the mean counts.
    """
    marks: dict[int, tuple[str, ...]] = {}
    averaged = average_seeds(records)
    for word, record in (
        ("best", best(averaged, objectives, limits=limits)),
        ("knee", knee(averaged, objectives, limits=limits)),
    ):
        if record is not None:
            marks[record.trial] = (*marks.get(record.trial, ()), word)
    return marks


def hover_text(record: Record, *, seeds: Sequence[int] = ()) -> str:
    """A point's label, in plotly's mark-up; everything from the study is escaped.

    Args:
        record: The trial, or the mean over several seeds.
        seeds: Of the trainings behind it; by default that of the record.
    """
    accuracy = record_words(record, OBJECTIVES["accuracy"])
    cost = record.target_cost
    name = f"<b>{plain(record.reference)}</b> (paper model)<br>" if record.reference else ""
    score = f"accuracy <b>{accuracy}</b><br>" if accuracy else ""
    return (
        f"{name}<b>{_wrapped(str(record.architecture))}</b><br>{score}"
        f"{format_count(cost.macs)} MACs, {format_count(cost.params)} params, "
        f"{format_count(cost.activations)} activations<br>"
        f"trial {record.trial}, {plain(record.arch_id)}, {record.seconds:.1f} s, "
        f"{seed_words(seeds or (record.seed,))}"
    )


def seed_words(seeds: Sequence[int]) -> str:
    """`seed 3`, or `mean of seeds 3, 4, 5`."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    return f"mean of seeds {', '.join(map(str, seeds))}"


def _wrapped(drawing: str) -> str:
    # Free layouts are long, and a label wider than a phone is cut off.
    lines = [""]
    for stage in drawing.split(" | "):
        joined = f"{lines[-1]} | {stage}" if lines[-1] else stage
        if lines[-1] and len(joined) > _LONGEST_LINE:
            lines.append(stage)
        else:
            lines[-1] = joined
    return " |<br>".join(plain(line) for line in lines)


def _row(
    group: Trained,
    *,
    trial: Record,
    objectives: Sequence[Objective],
    seconds: float,
    fronts: tuple[bool, bool],
    name: str,
    mark: str,
) -> TrialRow:
    accuracy = OBJECTIVES["accuracy"]
    scored = trial.state == "complete"
    further = [item for item in objectives if item.source != "target_cost" and item != accuracy]
    share = value(group.record, accuracy) if scored else None
    return TrialRow(
        trial=trial.trial,
        arch_id=trial.arch_id,
        architecture=name,
        reference=trial.reference,
        accuracy=share,
        accuracies=group.values(accuracy) if len(group.trainings) > 1 else (),
        accuracy_words=score_words(accuracy, share, group.interval(accuracy)),
        macs=trial.target_cost.macs,
        params=trial.target_cost.params,
        activations=trial.target_cost.activations,
        measured={item.name: value(group.record, item) if scored else None for item in further},
        seconds=round(seconds, 2),
        epochs=trial.fidelity.epochs,
        rung=trial.fidelity.rung,
        seeds=group.seeds,
        state=trial.state,
        reason=trial.reason,
        remark=trial.remark,
        on_front=fronts[0],
        kept=fronts[1],
        mark=mark,
    )
