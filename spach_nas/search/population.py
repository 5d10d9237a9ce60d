"""All architectures of a space, or a sample of them, for statistics."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spach_nas.cost.closed_form import Cost, costs
from spach_nas.cost.limits import Limits
from spach_nas.feasible import FeasibleSet, Latency
from spach_nas.space.architecture import Architecture
from spach_nas.space.search_space import SearchSpace

MOST_ENCODINGS = 10_000
Figures = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Population:
    """Architectures with their cost.

    Attributes:
        architectures: N architectures.
        costs: (N, 4), the columns in the order of `Cost`'s fields.
        exact: Whether these are all architectures, not a uniform sample.
    """

    architectures: tuple[Architecture, ...]
    costs: Figures
    exact: bool

    def figures(self, name: str) -> Figures:
        """One field of `Cost`, (N,)."""
        return self.costs[:, Cost._fields.index(name)]

    def inside(self, limits: Limits, *, latency: Latency | None = None) -> "Population":
        """Those that meet the limits; a limit on latency is ignored if no latency is known."""
        kept = np.ones(len(self.costs), dtype=np.bool_)
        for name, low, high in limits.bounds:
            kept &= self.figures(name) >= (low or 0)
            if high is not None:
                kept &= self.figures(name) <= high
        if latency is not None and limits.max_latency is not None:
            times = [latency.of(architecture) for architecture in self.architectures]
            kept &= np.array(times, dtype=np.int64) <= limits.max_latency
        if kept.all():
            return self
        return Population(
            architectures=tuple(itertools.compress(self.architectures, kept)),
            costs=self.costs[kept],
            exact=self.exact,
        )


def population(architectures: Sequence[Architecture], *, exact: bool) -> Population:
    """These architectures with their cost."""
    found = tuple(architectures)
    return Population(architectures=found, costs=costs(found), exact=exact)


def every_architecture(space: SearchSpace) -> Population | None:
    """All distinct architectures, or None if there are too many encodings to enumerate."""
    if space.encodings() > MOST_ENCODINGS:
        return None
    choices = space.parameters
    found = dict.fromkeys(
        space.decode(dict(zip(choices, values, strict=True)))
        for values in itertools.product(*choices.values())
    )
    return population(tuple(found), exact=True)


def draw(feasible: FeasibleSet, count: int, *, seed: int) -> Population:
    """A uniform sample with replacement."""
    return population(feasible.samples(count, seed), exact=False)
