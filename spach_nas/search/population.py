"""All architectures of a space, or a sample of them, and the exact ends of the range of a cost."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spach_nas.cost.batch import costs
from spach_nas.cost.closed_form import Cost, blocks_cost, cost, stage_cost
from spach_nas.cost.limits import Limits
from spach_nas.feasible import FeasibleSet, Latency
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import MixerSite
from spach_nas.space.search_space import SearchSpace, contexts, stage_sizes
from spach_nas.space.stage_space import Encoding, StageSizes, StageSpace

MOST_ENCODINGS = 10_000
_MOST_CONTEXTS = 5_000

Figures = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Population:
    """Architectures with their cost.

    Attributes:
        architectures: N of them.
        costs: (N, 4), the columns in the order of `Cost`'s fields.
        exact: Whether these are all there are; else a uniform sample.
    """

    architectures: tuple[Architecture, ...]
    costs: Figures
    exact: bool

    def figures(self, name: str) -> Figures:
        """One field of `Cost`, (N,)."""
        return self.costs[:, Cost._fields.index(name)]

    def inside(self, limits: Limits, *, latency: Latency | None = None) -> "Population":
        """Those that meet the limits; that on latency is left out where none is known."""
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
    """All distinct architectures; None where there are too many encodings to go through."""
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


def extremes(space: SearchSpace, names: Sequence[str]) -> dict[str, tuple[int, int]] | None:
    """Exact lowest and highest cost of the whole space, without going through it.

    A stage's arrangement does not bear on the cost of the others, so that each may be at its
    cheapest or dearest once widths and ratios are fixed.

    Args:
        space: The space.
        names: Fields of `Cost`.

    Returns:
        The ends by name; None where widths and ratios have too many combinations.
    """
    fixed = list(itertools.islice(contexts(space), _MOST_CONTEXTS + 1))
    if len(fixed) > _MOST_CONTEXTS:
        return None
    first = {name: values[0] for name, values in space.parameters.items()}
    seen: dict[tuple[StageSpace, StageSizes, tuple[int, int]], Figures] = {}
    ends = np.array([_ends(space, {**first, **values}, seen) for values in fixed], dtype=object)
    low, high = ends[:, 0].min(0), ends[:, 1].max(0)
    return {
        name: (int(low[Cost._fields.index(name)]), int(high[Cost._fields.index(name)]))
        for name in names
    }


def _ends(
    space: SearchSpace,
    values: Encoding,
    seen: dict[tuple[StageSpace, StageSizes, tuple[int, int]], Figures],
) -> Figures:
    """Lowest and highest cost with these widths and ratios, (2, 4)."""
    some = space.decode(values)
    ends = np.array([cost(some)] * 2, dtype=object)
    for stage_space, sizes, stage, resolution in zip(
        space.stages,
        stage_sizes(space, _full(space, values)),
        some.stages,
        some.resolutions,
        strict=True,
    ):
        key = (stage_space, sizes, resolution)
        if key not in seen:
            found = np.array(list(_class_costs(*key)), dtype=object)
            seen[key] = np.array([found.min(0), found.max(0)])
        ends = ends + seen[key] - np.array(stage_cost(stage, resolution), dtype=object)
    return ends


def _full(space: SearchSpace, values: Encoding) -> Encoding:
    """With the parameters that have a single choice, which an encoding leaves out."""
    return {**next(contexts(space)), **values}


def _class_costs(
    stage: StageSpace, sizes: StageSizes, resolution: tuple[int, int]
) -> Iterator[Cost]:
    site = MixerSite(sizes.width, resolution, sizes.heads, sizes.token_ratio, sizes.options)
    for mixers in stage.mixers.classes(stage.depth):
        yield blocks_cost(
            dict(mixers.counts),
            site=site,
            expansion_ratio=sizes.expansion_ratio,
            shared=sizes.shared,
        )
