"""Bounds on the cost of the target, and of the proxy that is trained for it."""

from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple

from pydantic import ConfigDict

from spach_nas.architecture import Architecture
from spach_nas.cost import Cost, cost
from spach_nas.errors import ConfigError
from spach_nas.scaling import DataShape, ProxyRule, scale
from spach_nas.units import Count, format_count


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Upper and lower bounds on the cost of a network; None means unbounded.

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
        names = [item.name.removeprefix("max_") for item in fields(self) if "max_" in item.name]
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyLimits:
    """Bounds on the cost of the network that is trained for a target.

    Attributes:
        limits: The bounds; none by default.
        rule: How the target becomes that network.
        data: Channels and classes of that network.
    """

    limits: Limits = field(default_factory=Limits)
    rule: ProxyRule
    data: DataShape

    def allow(self, target: Architecture) -> bool:
        """Whether the proxy of `target` is feasible.

        Raises:
            ArchitectureError: There are bounds, and no network has the scaled sizes.
        """
        if self.limits == Limits():
            return True
        return self.limits.allow(cost(scale(target, self.rule, self.data)))


class Measure(NamedTuple):
    """What a bound is about.

    Attributes:
        of: `limits`, the cost of the target, or `proxy_limits`, that of its proxy.
        field: Field of `Cost`.
    """

    of: Literal["limits", "proxy_limits"]
    field: str


class Bound(NamedTuple):
    """One limit that is set.

    Attributes:
        measure: What it is about.
        side: Whether it is the least or the most.
        value: A count, inclusive.
    """

    measure: Measure
    side: Literal["min", "max"]
    value: int

    @property
    def name(self) -> str:
        """`max_macs`; `proxy_limits.max_macs` for the proxy."""
        place = "" if self.measure.of == "limits" else f"{self.measure.of}."
        return f"{place}{self.side}_{self.measure.field}"

    def holds(self, value: int) -> bool:
        """Whether a cost is inside."""
        return value >= self.value if self.side == "min" else value <= self.value


def bounds_set(limits: Limits, proxy: ProxyLimits | None = None) -> tuple[Bound, ...]:
    """Every limit that is set, of the target first."""
    sides: tuple[tuple[Literal["limits", "proxy_limits"], Limits], ...]
    sides = (("limits", limits), ("proxy_limits", proxy.limits if proxy else Limits()))
    found = []
    for of, given in sides:
        for name, low, high in given.bounds:
            if low is not None:
                found.append(Bound(Measure(of, name), "min", low))
            if high is not None:
                found.append(Bound(Measure(of, name), "max", high))
    return tuple(found)
