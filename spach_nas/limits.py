"""Bounds on the cost of the target."""

from dataclasses import dataclass, fields

from pydantic import ConfigDict

from spach_nas.cost import Cost
from spach_nas.errors import ConfigError
from spach_nas.units import Count, format_count


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Upper and lower bounds on the cost of the target; None means unbounded.

    Attributes:
        max_macs: Multiply-accumulates per image (FLOPs = 2 x MACs).
        min_macs: The same, from below.
        max_params: Parameters, a count.
        min_params: The same, from below.
        max_activations: Output elements of convolutions and linear layers per image.
        min_activations: The same, from below.

    Raises:
        ConfigError: A lower bound above its upper bound.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    max_macs: Count | None = None
    min_macs: Count | None = None
    max_params: Count | None = None
    min_params: Count | None = None
    max_activations: Count | None = None
    min_activations: Count | None = None

    def __post_init__(self) -> None:
        for name, low, high in self.bounds:
            if low is not None and high is not None and low > high:
                raise ConfigError(
                    f"min_{name}: {format_count(low)} is above max_{name}: {format_count(high)}; "
                    "expected at most that"
                )

    @property
    def bounds(self) -> tuple[tuple[str, int | None, int | None], ...]:
        """Field of `Cost`, lower bound and upper bound."""
        names = [field.name.removeprefix("max_") for field in fields(self) if "max_" in field.name]
        return tuple(
            (name, getattr(self, f"min_{name}"), getattr(self, f"max_{name}")) for name in names
        )

    def violations(self, cost: Cost) -> tuple[str, ...]:
        """One phrase for each bound that `cost` breaks; empty when it is feasible."""
        found = []
        for name, low, high in self.bounds:
            value = getattr(cost, name)
            if high is not None and value > high:
                found.append(f"{name} {format_count(value)} above max_{name} {format_count(high)}")
            if low is not None and value < low:
                found.append(f"{name} {format_count(value)} below min_{name} {format_count(low)}")
        return tuple(found)

    def allow(self, cost: Cost) -> bool:
        """Whether `cost` is feasible."""
        return not self.violations(cost)

    def __str__(self) -> str:
        parts = [
            f"{name} <= {format_count(value)}" if side else f"{name} >= {format_count(value)}"
            for name, low, high in self.bounds
            for side, value in enumerate((low, high))
            if value is not None
        ]
        return ", ".join(parts) or "none"
