"""The architectures inside the limits: counted and sampled exactly, or by rejection."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Bound, Limits, ProxyLimits, bounds_set
from spach_nas.errors import SearchSpaceError
from spach_nas.feasible.conflicts import conflicts, every_architecture, smallest_conflict
from spach_nas.feasible.measures import Latency, depends_on_runs
from spach_nas.feasible.repair import repair
from spach_nas.feasible.tables import ClassTables, UniformDraws
from spach_nas.space.architecture import Architecture
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding

MOST_DRAWS = 100_000  # after so many rejections, the set counts as empty


class Feasible(Protocol):
    """Architectures that may be proposed: all inside the limits, or those of a table."""

    @property
    def space(self) -> SearchSpace:
        """The search space that contains them."""

    @property
    def count(self) -> int | None:
        """The number of them, or None if they cannot be counted."""

    def sample(self, seed: int | np.random.Generator) -> Architecture:
        """One of them, uniformly."""

    def allows(self, architecture: Architecture) -> bool:
        """Whether an architecture of the space is one of them."""

    def near(self, encoding: Encoding, rng: np.random.Generator) -> Architecture:
        """One of them near a proposal, or the proposal itself if it is one of them."""


class FeasibleSet:
    """The distinct architectures of a space inside the limits.

    Bounds on proxies are treated as exactly as those on targets, with one exception: if
    `depth_scale` is below 1 and blocks choose their mixers freely, a proxy's cost depends on the
    order of the mixers. Then targets inside `limits` are drawn exactly and rejected by `proxy`.

    Attributes:
        space: The search space.
        limits: Bounds on the cost of the target.
        proxy: Bounds on the cost of its proxy, if any.
        latency: Predicted latency of the target; required if `limits` bound it.
        count: Number of architectures. None if they are drawn and rejected, in the case above or
            because the space has too many combinations to compare them all.

    Raises:
        SearchSpaceError: The set is empty; the message says which limits exclude each other.
    """

    def __init__(
        self,
        space: SearchSpace,
        limits: Limits,
        *,
        proxy: ProxyLimits | None = None,
        latency: Latency | None = None,
    ) -> None:
        self.space = space
        self.limits = limits
        self.proxy = proxy
        self.latency = latency
        self._bounds = bounds_set(limits, proxy)
        self._tables = ClassTables(space, self._bounds, proxy=proxy, latency=latency)
        self.count: int | None = None
        self._draws: UniformDraws | None = None
        # These bounds accept or refuse a whole class and can be met exactly; others need rejection.
        by_classes = [bound for bound in self._bounds if _by_class(bound, space, proxy)]
        if self._tables.countable:
            self._draws = UniformDraws(self._tables, by_classes)
            if not self._draws.count:
                raise self._contradiction(by_classes)
        if self._draws and by_classes == list(self._bounds):
            self.count = self._draws.count
        else:
            # Raises here rather than in the middle of a search if nothing feasible is found.
            self.sample(0)

    def sample(self, seed: int | np.random.Generator) -> Architecture:
        """One architecture, uniformly over all feasible ones."""
        return self.samples(1, seed)[0]

    def samples(self, number: int, seed: int | np.random.Generator) -> list[Architecture]:
        """Architectures, each uniformly over all feasible ones and independent of the others.

        Drawing many at once is faster than one by one, and gives others for the same seed.

        Args:
            number: How many to draw; some may be equal.
            seed: A seed, or the random generator.

        Raises:
            SearchSpaceError: Architectures are drawn and rejected, and none of them is feasible.
        """
        rng = np.random.default_rng(seed)
        if self.count is not None and self._draws is not None:
            return self._draws.draw(number, rng)
        return [self._one_by_rejection(rng) for _ in range(number)]

    def allows(self, architecture: Architecture) -> bool:
        """Whether an architecture and its proxy are inside the limits."""
        return not self.violations(architecture) and (
            self.proxy is None or self.proxy.allow(architecture)
        )

    def violations(self, architecture: Architecture) -> tuple[str, ...]:
        """One phrase for each limit on the target that an architecture breaks."""
        # A prediction is made only if a limit needs it: a table may lack parts of the architecture.
        timed = self.latency is not None and self.limits.max_latency is not None
        latency = self.latency.of(architecture) if self.latency and timed else None
        return self.limits.violations(cost(architecture), latency_ns=latency)

    def near(self, encoding: Encoding, rng: np.random.Generator) -> Architecture:
        """A feasible architecture near a proposal, or the proposal itself if it is feasible.

        Args:
            encoding: A value for each parameter of the space.
            rng: Random generator for the feasible architectures to move towards, and for the order
                of changes.
        """
        proposed = self.space.decode(encoding)  # raises if it is none of the space
        if self._allows(encoding):
            return proposed
        nearest = repair(
            encoding,
            self.space.parameters,
            allows=self._allows,
            draw=lambda: self.space.encode(self.sample(rng)),
            rng=rng,
        )
        return self.space.decode(nearest)

    def _allows(self, encoding: Encoding) -> bool:
        return self._inside(self._tables.measures.of(encoding))

    def _inside(self, costs: Sequence[int]) -> bool:
        found = dict(zip(self._tables.measures.names, costs, strict=True))
        return all(bound.holds(found[bound.measure]) for bound in self._bounds)

    def _one_by_rejection(self, rng: np.random.Generator) -> Architecture:
        seen = []
        for _ in range(MOST_DRAWS):
            found = self._draws.draw(1, rng)[0] if self._draws else self.space.sample(rng)
            seen.append(self._tables.measures.of_architecture(found))
            if self._inside(seen[-1]):
                return found
        # The rejected architectures show which limits are responsible.
        sample = np.array(seen, dtype=object)
        phrases = conflicts(
            self._bounds,
            self._tables.measures.names,
            lambda: [(sample, np.zeros((1, sample.shape[1]), dtype=object))],
        )
        what = f"none of {MOST_DRAWS:,} drawn architectures meets them"
        raise self._empty(what, [f"of those drawn, {phrases[0]}", *phrases[1:]] if phrases else [])

    def _contradiction(self, bounds: Sequence[Bound]) -> SearchSpaceError:
        phrases = conflicts(
            bounds, self._tables.measures.names, lambda: every_architecture(self._tables)
        )
        return self._empty(
            "no architecture of the space meets them",
            phrases or [smallest_conflict(bounds, self._tables)],
        )

    def _empty(self, what: str, phrases: Sequence[str]) -> SearchSpaceError:
        given = [str(self.limits)] if self.limits != Limits() else []
        if self.proxy and self.proxy.limits != Limits():
            given.append(f"of the proxy {self.proxy.limits}")
        return SearchSpaceError("; ".join((f"limits: {what} ({', '.join(given)})", *phrases)))


def counts_without(
    space: SearchSpace,
    limits: Limits,
    *,
    proxy: ProxyLimits | None = None,
    latency: Latency | None = None,
) -> dict[str, int | None]:
    """For each limit that is set, the number of architectures that meet all the others.

    Args:
        space: The search space.
        limits: Bounds on the cost of the target.
        proxy: Bounds on the cost of its proxy.
        latency: Predicted latency of the target; required if `limits` bound it.

    Returns:
        Counts by the name of the limit, such as `max_macs` or `proxy_limits.max_macs`. The limit
        with the highest count binds most. None if there are too many to count.
    """
    bounds = bounds_set(limits, proxy)
    tables = ClassTables(space, bounds, proxy=proxy, latency=latency)
    found: dict[str, int | None] = {}
    for bound in bounds:
        others = [other for other in bounds if other != bound]
        exact = tables.countable and all(_by_class(other, space, proxy) for other in others)
        found[bound.name] = tables.count(others) if exact else None
    return found


def _by_class(bound: Bound, space: SearchSpace, proxy: ProxyLimits | None) -> bool:
    """Whether all arrangements in one class have the same cost in this bound."""
    return bound.measure.of == "limits" or proxy is None or not depends_on_runs(space, proxy)
