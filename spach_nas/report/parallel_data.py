"""Every trial as a line over its choices, its cost and its score."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spach_nas.config.objectives import Objective, score_of
from spach_nas.cost.limits import Limits
from spach_nas.report.choices import chosen, is_arrangement, value_order, value_words
from spach_nas.space.architecture import Stage
from spach_nas.space.layouts import Value
from spach_nas.space.mixers import get_mixer
from spach_nas.study.pareto import comparable, value
from spach_nas.study.records import Record

# More kinds of one choice than this are told apart no longer.
_MOST_LEVELS = 14
# More choices than this cannot be followed from axis to axis.
_MOST_CHOICES = 5
NOTHING, OTHER = "no effect", "other"
_MIXERS, _JOINT = ".mixers", "\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One axis.

    Attributes:
        name: As in the YAML, or of the cost or the score.
        kind: `choice`, of words; `log`, a count on a log scale; `score`.
        levels: The words of a choice, lowest first; else nothing.
        values: For each trial its level's index, its count or its score.
    """

    name: str
    kind: Literal["choice", "log", "score"]
    levels: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParallelData:
    """Trials of the full fidelity, worst score first, so that the best are drawn on top.

    Attributes:
        score: Of the last axis.
        trials: Their numbers.
        axes: The choices that the score goes with most, in the order of the encoding, then MACs,
            then the score.
        choices: How many there are to choose from.
        left_out: Complete trials whose choices are not known.
    """

    score: Objective
    trials: tuple[int, ...]
    axes: tuple[Axis, ...]
    choices: int
    left_out: int


def parallel_data(
    records: Sequence[Record], objectives: Sequence[Objective], *, limits: Limits | None = None
) -> ParallelData:
    """Lines of the complete trials of the highest rung inside the limits, paper models among them.

    Args:
        records: Of one study.
        objectives: Of the study; the first score among them is the last axis.
        limits: Bounds on the target's cost.
    """
    score = score_of(objectives)
    complete = [
        record for record in comparable(records, limits=limits) if value(record, score) is not None
    ]
    better = 1 if score.direction == "max" else -1
    rows = sorted(
        (record for record in complete if record.encoding is not None),
        key=lambda record: (better * (value(record, score) or 0.0), -record.trial),
    )
    choices = _choices(rows)
    figures = _figures(rows, score)
    return ParallelData(
        score=score,
        trials=tuple(record.trial for record in rows),
        axes=(*_telling(choices, figures[-1]), *figures) if rows else (),
        choices=len(choices),
        left_out=len(complete) - len(rows),
    )


def _choices(rows: Sequence[Record]) -> list[Axis]:
    columns: dict[str, list[Value | None]] = {}
    found = [_row(record) for record in rows]
    for name in dict.fromkeys(name for row in found for name in row):
        columns[name] = [row.get(name) for row in found]
    axes = (_axis(name, column) for name, column in columns.items())
    return [axis for axis in axes if len(axis.levels) > 1]


def _telling(choices: Sequence[Axis], score: Axis) -> list[Axis]:
    """The choices whose levels tell the scores apart most, in their order."""

    def told(axis: Axis) -> float:
        # Share of the variance between levels beyond what as many random levels would take up:
        # Kelley 1935, "An unbiased correlation ratio measure".
        levels = np.unique(axis.values, return_inverse=True)[1]
        counts = np.bincount(levels)
        means = np.bincount(levels, weights=scores) / counts
        within, free = float(((scores - means[levels]) ** 2).sum()), len(scores) - len(counts)
        return 1 - within / free if free > 0 else -math.inf

    scores = np.array(score.values)
    kept = sorted(choices, key=told, reverse=True)[:_MOST_CHOICES]
    return [axis for axis in choices if axis in kept]


def _row(record: Record) -> dict[str, Value]:
    """Values by name; what arranges the mixers of a stage becomes one value."""
    row: dict[str, Value] = {}
    for name, given in chosen(record).items():
        prefix, _, key = name.rpartition(".")
        if not is_arrangement(key):
            row[name] = given
        elif (stage := _stage(record, prefix)) is not None:
            row[f"{prefix}{_MIXERS}"] = _JOINT.join(mixer for mixer, _ in stage.runs)
    return row


def _stage(record: Record, prefix: str) -> Stage | None:
    number = prefix.removeprefix("stage")
    stages = record.architecture.stages
    known = number.isdecimal() and 1 <= int(number) <= len(stages)
    return stages[int(number) - 1] if known else None


def _axis(name: str, column: Sequence[Value | None]) -> Axis:
    say = _mixer_words if name.endswith(_MIXERS) else value_words
    words = [None if item is None else say(item) for item in column]
    order = dict.fromkeys(
        say(item) for item in sorted({i for i in column if i is not None}, key=_order)
    )
    if len(order) > _MOST_LEVELS and any(isinstance(item, str) for item in column):
        numbers = {word: words.count(word) for word in order}
        most = sorted(order, key=lambda word: -numbers[word])[: _MOST_LEVELS - 1]
        words = [word if word is None or word in most else OTHER for word in words]
        order = dict.fromkeys((*(word for word in order if word in most), OTHER))
    missing = (NOTHING,) if None in words else ()
    place = {word: float(index) for index, word in enumerate((*missing, *order))}
    return Axis(
        name=name,
        kind="choice",
        levels=tuple(place),
        values=tuple(place[NOTHING if word is None else word] for word in words),
    )


def _mixer_words(item: Value) -> str:
    return "+".join(get_mixer(name).short for name in str(item).split(_JOINT))


def _order(item: Value) -> tuple[int, list[tuple[int, float, tuple[int, str]]]]:
    """Stages of one mixer first, then those of two."""
    parts: list[Value] = [*item.split(_JOINT)] if isinstance(item, str) else [item]
    return (len(parts), [value_order(part) for part in parts])


def _figures(rows: Sequence[Record], score: Objective) -> list[Axis]:
    return [
        Axis(
            name="macs",
            kind="log",
            levels=(),
            values=tuple(math.log10(max(1, record.target_cost.macs)) for record in rows),
        ),
        Axis(
            name=score.label,
            kind="score",
            levels=(),
            values=tuple(value(record, score) or 0.0 for record in rows),
        ),
    ]
