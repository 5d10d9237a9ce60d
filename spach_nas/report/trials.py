"""Rows of the report's table, one for each trial, and what hovering over its point says."""

from collections.abc import Sequence
from dataclasses import dataclass

from spach_nas.limits import Limits
from spach_nas.objectives import OBJECTIVES, Objective
from spach_nas.pareto import best, front, knee, value
from spach_nas.records import Record
from spach_nas.report.theme import plain

_LONGEST_LINE = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRow:
    """A trial at its highest rung.

    Attributes:
        trial: Its number.
        arch_id: Of the target.
        architecture: As text, `conv3 | conv2+attn2`.
        reference: Name of the paper's model, if it is one.
        accuracy: Validation accuracy in [0, 1], higher is better; None when failed.
        macs: Of the target.
        params: Of the target.
        activations: Of the target.
        seconds: Of all its evaluations.
        epochs: Of the highest rung.
        rung: The highest it reached.
        seed: Of the training run.
        state: `complete` or `failed`.
        reason: Why it failed.
        on_front: Whether no other trial dominates it.
        mark: `best`, `knee`, `best, knee` or nothing.
    """

    trial: int
    arch_id: str
    architecture: str
    reference: str | None
    accuracy: float | None
    macs: int
    params: int
    activations: int
    seconds: float
    epochs: int
    rung: int
    seed: int
    state: str
    reason: str | None
    on_front: bool
    mark: str


def trial_rows(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
) -> tuple[TrialRow, ...]:
    """One row for each trial, in their order."""
    last: dict[int, Record] = {}
    seconds: dict[int, float] = {}
    for record in records:
        seconds[record.trial] = seconds.get(record.trial, 0.0) + record.seconds
        known = last.get(record.trial)
        if known is None or record.fidelity.rung > known.fidelity.rung:
            last[record.trial] = record
    members = {record.trial for record in front(records, objectives, limits=limits)}
    marks = marked(records, objectives, limits=limits)
    return tuple(
        _row(
            last[trial],
            seconds=seconds[trial],
            on_front=trial in members,
            mark=", ".join(marks.get(trial, ())),
        )
        for trial in sorted(last)
    )


def marked(
    records: Sequence[Record],
    objectives: Sequence[Objective],
    *,
    limits: Limits | None = None,
) -> dict[int, tuple[str, ...]]:
    """The trials that `--pick best` and `--pick knee` take, with those words."""
    marks: dict[int, tuple[str, ...]] = {}
    for word, record in (
        ("best", best(records, limits=limits)),
        ("knee", knee(records, objectives, limits=limits)),
    ):
        if record is not None:
            marks[record.trial] = (*marks.get(record.trial, ()), word)
    return marks


def hover_text(record: Record) -> str:
    """A point's label, in plotly's mark-up; everything from the study is escaped."""
    accuracy = value(record, OBJECTIVES["accuracy"])
    cost = record.target_cost
    name = f"<b>{plain(record.reference)}</b> (paper model)<br>" if record.reference else ""
    score = "" if accuracy is None else f"accuracy <b>{accuracy:.2%}</b><br>"
    return (
        f"{name}<b>{_wrapped(str(record.architecture))}</b><br>{score}"
        f"{cost.macs / 1e9:.2f} G MACs, {cost.params / 1e6:.1f} M params, "
        f"{cost.activations / 1e6:.1f} M activations<br>"
        f"trial {record.trial}, {plain(record.arch_id)}, {record.seconds:.1f} s, "
        f"seed {record.seed}"
    )


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


def _row(record: Record, *, seconds: float, on_front: bool, mark: str) -> TrialRow:
    return TrialRow(
        trial=record.trial,
        arch_id=record.arch_id,
        architecture=str(record.architecture),
        reference=record.reference,
        accuracy=value(record, OBJECTIVES["accuracy"]) if record.state == "complete" else None,
        macs=record.target_cost.macs,
        params=record.target_cost.params,
        activations=record.target_cost.activations,
        seconds=round(seconds, 2),
        epochs=record.fidelity.epochs,
        rung=record.fidelity.rung,
        seed=record.seed,
        state=record.state,
        reason=record.reason,
        on_front=on_front,
        mark=mark,
    )
