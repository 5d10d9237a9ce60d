"""What the trials of a search chose, as a table: one row an architecture, one column a choice."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spach_nas.config.objectives import Objective
from spach_nas.report.theme import mixer_order
from spach_nas.report.view import StudyView
from spach_nas.space.architecture import Stage
from spach_nas.space.layouts import Value
from spach_nas.space.stage_space import has_effect
from spach_nas.study.pareto import value
from spach_nas.study.records import Record

# Numbers with more values than that are shown as so many ranges.
_MOST_VALUES, _RANGES = 6, 4
_OF_STAGE, _BLOCK = re.compile(r"stage([1-9]\d*)\.(.+)"), re.compile(r"block(\d+)")
_LAYOUT = frozenset({"leading", "trailing", "trailing_depth"})
# Whatever an architecture is, it would differ with another value of these.
_ALWAYS = frozenset({"image_size", "patch_size", "stem", "depth", "width"}) | _LAYOUT

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One parameter of the encoding.

    Attributes:
        name: As in the YAML, such as `stage3.depth`.
        levels: Its values in words, numbers in ascending order.
        level: (R,), the index in `levels` that each row has; -1 where the parameter has no effect,
            such as the mixer of a fifth block in a stage of four.
    """

    name: str
    levels: tuple[str, ...]
    level: Indices


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """What the search's own trials chose, and what came of it; R rows.

    Attributes:
        choices: The parameters that took more than one value.
        scores: (R,), the mean over the seeds of an architecture.
        log_macs: (R,), natural logarithm of the target's MACs.
        proxies: (R,), equal numbers for architectures that share a trained proxy, and its score.
        left_out: Trials without a known choice, such as paper models outside of the space.
    """

    score: Objective
    choices: tuple[Choice, ...]
    scores: Floats
    log_macs: Floats
    proxies: Indices
    left_out: int


def choices_table(view: StudyView) -> Choices:
    """The search's complete trials of the highest rung inside the limits."""
    found = [
        one.record
        for one in view.within
        if one.record.reference is None and value(one.record, view.score) is not None
    ]
    rows = [record for record in found if record.encoding is not None]
    return Choices(
        score=view.score,
        choices=_columns([_chosen(record) for record in rows]),
        scores=np.array([value(record, view.score) for record in rows], dtype=np.float64),
        log_macs=np.log([max(1.0, record.target_cost.macs) for record in rows]),
        proxies=np.unique([record.proxy_id for record in rows], return_inverse=True)[1],
        left_out=len(found) - len(rows),
    )


def _chosen(record: Record) -> dict[str, Value]:
    """The parameters of a record's encoding that have an effect on its architecture."""
    encoding = record.encoding or {}
    return {name: given for name, given in encoding.items() if _matters(name, record, encoding)}


def _matters(name: str, record: Record, encoding: Mapping[str, Value]) -> bool:
    stages = record.architecture.stages
    of_stage = _OF_STAGE.fullmatch(name)
    if name == "stem_width":
        return record.architecture.stem == "conv4"
    if of_stage is not None and int(of_stage[1]) <= len(stages):
        stage = stages[int(of_stage[1]) - 1]
        return _matters_in(of_stage[2], stage)
    # What stages choose themselves is no longer chosen for them.
    fed = [item for i, item in enumerate(stages, 1) if f"stage{i}.{name}" not in encoding]
    return name in _ALWAYS or any(has_effect(name, stage) for stage in fed)


def _matters_in(key: str, stage: Stage) -> bool:
    block = _BLOCK.fullmatch(key)
    if block is not None:
        return int(block[1]) <= stage.depth
    return key in _ALWAYS or has_effect(key, stage)


def _columns(rows: Sequence[Mapping[str, Value]]) -> tuple[Choice, ...]:
    names = dict.fromkeys(name for row in rows for name in row)
    found = (_column(name, [row.get(name) for row in rows]) for name in names)
    return tuple(choice for choice in found if len(choice.levels) > 1)


def _column(name: str, values: Sequence[Value | None]) -> Choice:
    distinct = sorted({item for item in values if item is not None}, key=_order)
    numeric = all(isinstance(item, int | float) for item in distinct)
    if numeric and len(distinct) > _MOST_VALUES:
        return _ranges(name, values, distinct)
    place = {item: index for index, item in enumerate(distinct)}
    return Choice(
        name=name,
        levels=tuple(map(_words, distinct)),
        level=np.array([-1 if item is None else place[item] for item in values], dtype=np.intp),
    )


def _ranges(name: str, values: Sequence[Value | None], distinct: Sequence[Value]) -> Choice:
    """Consecutive values together, with about equally many rows each."""
    numbers = np.array([np.nan if item is None else float(item) for item in values])
    known = np.sort(numbers[~np.isnan(numbers)])
    steps = np.arange(1, _RANGES) / _RANGES
    # The largest value of each range but the last; a value that most rows have fills several.
    tops = np.unique(np.quantile(known, steps, method="inverted_cdf"))
    level = np.searchsorted(tops, numbers, side="left")
    members: dict[int, list[Value]] = {}
    for item in distinct:
        members.setdefault(int(np.searchsorted(tops, float(item), side="left")), []).append(item)
    place = np.searchsorted(sorted(members), level)
    ends = [dict.fromkeys(_words(members[old][end]) for end in (0, -1)) for old in sorted(members)]
    return Choice(
        name=name,
        levels=tuple(map("\N{EN DASH}".join, ends)),
        level=np.where(np.isnan(numbers), -1, place).astype(np.intp),
    )


def _words(item: Value) -> str:
    """A value as the YAML has it: `conv`, `2.5`, `true`."""
    if isinstance(item, bool):
        return str(item).lower()
    return f"{item:g}" if isinstance(item, float) else str(item)


def _order(item: Value) -> tuple[int, float, tuple[int, str]]:
    """Key by which values are sorted: numbers, then words, mixers in their usual order."""
    if isinstance(item, str):
        return (1, 0.0, mixer_order(item))
    return (0, float(item), (0, ""))
