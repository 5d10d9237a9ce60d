"""Bounds on the cost of the target, and of the proxy that is trained for it."""

from dataclasses import dataclass, field, fields, replace
from typing import Literal, NamedTuple

from spach_nas.cost.closed_form import Cost, cost
from spach_nas.errors import ConfigError
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.units import Count, Latency, format_count, format_latency
from spach_nas.validation import STRICT


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Upper and lower bounds on the cost of a network, both inclusive."""

    __pydantic_config__ = STRICT

    max_macs: Count | None = None
    """Multiply-accumulates per image (FLOPs = 2 x MACs), at most."""
    min_macs: Count | None = None
    """Multiply-accumulates per image (FLOPs = 2 x MACs), at least."""
    max_params: Count | None = None
    """Parameters, at most."""
    min_params: Count | None = None
    """Parameters, at least."""
    max_activations: Count | None = None
    """Output elements of convolutions and linear layers per image, at most."""
    min_activations: Count | None = None
    """Output elements of convolutions and linear layers per image, at least."""
    # Nanoseconds: predicted latencies are sums of whole numbers, which feasible networks are
    # counted by.
    max_latency: Latency | None = None
    """Predicted time of a forward pass on the device that `latency` names, at most. Only targets
    have one."""

    def __post_init__(self) -> None:
        if self.max_latency is not None and self.max_latency < 1:
            raise ConfigError(f"max_latency: {self.max_latency} ns; expected more than 0")
        for name, low, high in self.bounds:
            if low is not None and high is not None and low > high:
                raise ConfigError(
                    f"min_{name}: {format_count(low)} is above max_{name}: {format_count(high)}; "
                    "expected at most that"
                )

    @property
    def bounds(self) -> tuple[tuple[str, int | None, int | None], ...]:
        """Field of `Cost`, lower bound and upper bound."""
        names = [item.name.removeprefix("min_") for item in fields(self) if "min_" in item.name]
        return tuple(
            (name, getattr(self, f"min_{name}"), getattr(self, f"max_{name}")) for name in names
        )

    @property
    def without_latency(self) -> "Limits":
        """The bounds on counts alone, which are known for every network."""
        return replace(self, max_latency=None)

    def violations(self, cost: Cost, *, latency_ns: int | None = None) -> tuple[str, ...]:
        """One phrase for each bound that is broken; empty when the network is feasible.

        Args:
            cost: Cost of the network.
            latency_ns: Its predicted latency; None: unknown, which breaks a limit on latency.
        """
        found = []
        for name, low, high in self.bounds:
            value = getattr(cost, name)
            if high is not None and value > high:
                found.append(f"{name} {format_count(value)} above max_{name} {format_count(high)}")
            if low is not None and value < low:
                found.append(f"{name} {format_count(value)} below min_{name} {format_count(low)}")
        if self.max_latency is not None and (latency_ns is None or latency_ns > self.max_latency):
            timed = (
                "not known, with a" if latency_ns is None else f"{format_latency(latency_ns)} above"
            )
            found.append(f"latency {timed} max_latency {format_latency(self.max_latency)}")
        return tuple(found)

    def allow(self, cost: Cost, *, latency_ns: int | None = None) -> bool:
        """Whether a network of this cost and latency is feasible; see `violations`."""
        return not self.violations(cost, latency_ns=latency_ns)

    def __str__(self) -> str:
        parts = [
            f"{name} <= {format_count(value)}" if side else f"{name} >= {format_count(value)}"
            for name, low, high in self.bounds
            for side, value in enumerate((low, high))
            if value is not None
        ]
        if self.max_latency is not None:
            parts.append(f"latency <= {format_latency(self.max_latency)}")
        return ", ".join(parts) or "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyLimits:
    """Bounds on the cost of the network that is trained for a target.

    Attributes:
        limits: The bounds; none by default.
        rule: How the target becomes its proxy.
        data: Channels and classes of the proxy.
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
    """What a bound applies to.

    Attributes:
        of: `limits` for the target, `proxy_limits` for its proxy.
        field: A field of `Cost`, or `latency`.
    """

    of: Literal["limits", "proxy_limits"]
    field: str


class Bound(NamedTuple):
    """One limit that is set.

    Attributes:
        measure: What it bounds.
        side: Whether it is a minimum or a maximum.
        value: A count, or nanoseconds; inclusive.
    """

    measure: Measure
    side: Literal["min", "max"]
    value: int

    @property
    def name(self) -> str:
        """`max_macs`; `proxy_limits.max_macs` for the proxy."""
        place = "" if self.measure.of == "limits" else f"{self.measure.of}."
        return f"{place}{self.side}_{self.measure.field}"

    @property
    def words(self) -> str:
        """Its value, for display."""
        return measure_words(self.measure.field, self.value)

    def holds(self, value: int) -> bool:
        """Whether a cost meets the limit."""
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
    if limits.max_latency is not None:
        found.append(Bound(Measure("limits", "latency"), "max", limits.max_latency))
    return tuple(found)


def measure_words(field: str, value: float) -> str:
    """A value of a measure for display: `12.18G`, or `12.34 ms` of latency."""
    return format_latency(value) if field == "latency" else format_count(value)
