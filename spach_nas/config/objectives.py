"""The registry of objectives: what a search can optimise, and in which direction."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from spach_nas.cost.closed_form import Cost
from spach_nas.errors import ConfigError
from spach_nas.registry import Registry
from spach_nas.units import format_count, format_share

Direction = Literal["max", "min"]
Source = Literal["score", "target_cost", "measured"]
Unit = Literal["share", "count", "ms", ""]


class HasFigures(Protocol):
    """The part of a record that objectives read."""

    @property
    def target_cost(self) -> Cost:
        """Cost of the target."""

    @property
    def objectives(self) -> Mapping[str, float]:
        """Figures by objective name."""

    @property
    def curve(self) -> Sequence[Any]:
        """Scores after each epoch, as attributes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """One figure of a trial to optimise.

    Attributes:
        name: Its name in the YAML and in records.
        label: Its name on the axis of a plot.
        direction: `max` if higher is better.
        source: `score`, from the validation of the proxy; `target_cost`, a field of the target's
            `Cost`; `measured`, by other means, with the value in the records.
        unit: `share` of validation images in [0, 1], `count`, `ms`, or empty for a plain number.
    """

    name: str
    label: str
    direction: Direction
    source: Source
    unit: Unit = ""

    @property
    def is_share(self) -> bool:
        """Whether it is a share of images: uncertain by chance, and printed in %."""
        return self.unit == "share"

    @property
    def ticks(self) -> str:
        """The format of its values on the axis of a plot, for d3-format."""
        return {"share": ".1%", "count": "~s", "ms": "~g", "": ".3f"}[self.unit]

    def words(self, number: float) -> str:
        """A value for display: `81.3%`, `12.18G`, `3.2 ms`, `0.5312`."""
        if self.unit == "share":
            return format_share(number, digits=1)
        if self.unit == "count":
            return format_count(number)
        return f"{number:.4g} {self.unit}".rstrip()

    def of(self, record: HasFigures) -> float | None:
        """The value in a record; None if it has none, or one that is not finite."""
        if self.source == "target_cost":
            return float(getattr(record.target_cost, self.name))
        figure = record.objectives.get(self.name)
        if figure is None and self.source == "score" and record.curve:
            # A study may optimise the loss alone; its curve still has the accuracy.
            figure = getattr(record.curve[-1], self.name, None)
        # A loss may be infinite; no front or plot can place it.
        return None if figure is None or not math.isfinite(figure) else float(figure)


LATENCY = Objective(
    name="latency", label="target latency, ms", direction="min", source="measured", unit="ms"
)
OBJECTIVES: Registry[Objective] = Registry("objective", error=ConfigError)
for _objective in (
    Objective(
        name="accuracy",
        label="validation accuracy",
        direction="max",
        source="score",
        unit="share",
    ),
    Objective(name="loss", label="validation loss", direction="min", source="score"),
    Objective(name="score", label="training-free score", direction="max", source="score"),
    Objective(
        name="macs", label="target MACs", direction="min", source="target_cost", unit="count"
    ),
    Objective(
        name="params",
        label="target parameters",
        direction="min",
        source="target_cost",
        unit="count",
    ),
    Objective(
        name="activations",
        label="target activations",
        direction="min",
        source="target_cost",
        unit="count",
    ),
    LATENCY,
):
    OBJECTIVES.register(_objective)
# What a search optimises by default.
USUAL = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])


def score_of(objectives: Sequence[Objective]) -> Objective:
    """The first trained objective, which decides what is best; accuracy if there is none."""
    scores = (item for item in objectives if item.source == "score")
    return next(scores, OBJECTIVES["accuracy"])


def cost_of(objectives: Sequence[Objective]) -> Objective:
    """The first cost, which with the score decides where the knee is; MACs if there is none."""
    costs = (item for item in objectives if item.source != "score" and item.direction == "min")
    return next(costs, OBJECTIVES["macs"])
