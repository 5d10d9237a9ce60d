"""The registry of objectives: what a search can optimise, and which direction is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Direction = Literal["max", "min"]
Source = Literal["score", "target_cost", "measured"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """One figure of a trial to optimise.

    Attributes:
        name: As in the YAML and in records.
        label: As on the axis of a plot.
        direction: `max` when higher is better.
        source: `score`, from the validation of the proxy; `target_cost`, a field of `Cost` of the
            target; `measured`, by a function of its own, whose figure the records carry.
    """

    name: str
    label: str
    direction: Direction
    source: Source


LATENCY = Objective(name="latency", label="target latency, ms", direction="min", source="measured")
_ALL = (
    Objective(name="accuracy", label="validation accuracy", direction="max", source="score"),
    Objective(name="loss", label="validation loss", direction="min", source="score"),
    Objective(name="macs", label="target MACs", direction="min", source="target_cost"),
    Objective(name="params", label="target parameters", direction="min", source="target_cost"),
    Objective(
        name="activations", label="target activations", direction="min", source="target_cost"
    ),
    LATENCY,
)
OBJECTIVES: dict[str, Objective] = {objective.name: objective for objective in _ALL}
# What a search optimises whose YAML says nothing else.
USUAL = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])


def score_of(objectives: Sequence[Objective]) -> Objective:
    """The first trained one: what "best" is judged by. Accuracy where nothing is trained for."""
    scores = (item for item in objectives if item.source == "score")
    return next(scores, OBJECTIVES["accuracy"])


def cost_of(objectives: Sequence[Objective]) -> Objective:
    """The first that a score is paid for with: what a knee is judged by. Else the MACs."""
    costs = (item for item in objectives if item.source != "score" and item.direction == "min")
    return next(costs, OBJECTIVES["macs"])
