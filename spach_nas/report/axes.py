"""What can stand on the horizontal axis of the front: costs, memory, and whatever was measured."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.cost.memory import saved_bytes
from spach_nas.study.pareto import value
from spach_nas.study.records import Record

# A closed form of the architecture, so that every study has it.
MEMORY = Objective(
    name="training_memory",
    label="bytes kept by the target to train one image",
    direction="min",
    source="measured",
)
COSTS = tuple(item for item in OBJECTIVES.values() if item.source == "target_cost")
_WORDS = {
    "macs": "MACs",
    "params": "Parameters",
    "activations": "Activations",
    MEMORY.name: "Training memory",
}


def study_axes(
    records: Sequence[Record], objectives: Sequence[Objective]
) -> Mapping[str, Objective]:
    """The axes of a study by the words of their switch: costs, memory, and what was measured.

    What the study optimises comes first.
    """
    known = {item.name: item for item in (*OBJECTIVES.values(), *objectives)}
    measured = [
        item
        for item in known.values()
        if item.source == "measured" and any(value(record, item) is not None for record in records)
    ]
    axes = sorted((*COSTS, MEMORY, *measured), key=lambda item: item not in objectives)
    return {axis_words(item): item for item in axes}


def axis_words(axis: Objective) -> str:
    """A word or two for a switch."""
    return _WORDS.get(axis.name, axis.label.capitalize())


def with_memory(records: Sequence[Record]) -> tuple[Record, ...]:
    """The records with their training memory among the objectives."""
    return tuple(
        replace(
            record,
            objectives={**record.objectives, MEMORY.name: float(saved_bytes(record.architecture))},
        )
        for record in records
    )


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether an axis of these values can have a log scale."""
    return all(math.isfinite(figure) and figure > 0 for figure in values)
