"""What chance gives: architectures drawn uniformly from all that a search could have proposed."""

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from spach_nas.cost.batch import costs
from spach_nas.cost.closed_form import Cost
from spach_nas.cost.limits import Limits, ProxyLimits
from spach_nas.errors import SearchSpaceError
from spach_nas.feasible import FeasibleSet
from spach_nas.feasible.interface import Latency
from spach_nas.space.architecture import Architecture
from spach_nas.space.search_space import SearchSpace, contexts

# The standard error of a share is at most 1.6 points with so many, and they are there at once.
_ENOUGH, _DRAWN = 1000, 3000
# With fewer, a share says too little.
_FEWEST = 100
# Comparisons of exact tables, and rows of those of a whole space, that take about a second.
_MOST_PAIRS, _MOST_ROWS = 300_000_000, 2_000_000
# Classes to pick from that take about a second.
_MOST_PICKS = 1_000_000


@lru_cache(maxsize=4)  # a live page asks again and again
def draw_feasible(
    space: SearchSpace,
    limits: Limits,
    *,
    proxy: ProxyLimits | None = None,
    latency: Latency | None = None,
    seed: int = 0,
) -> tuple[Architecture, ...]:
    """Architectures, each uniformly over the distinct feasible ones, in about a second at most.

    The whole space is drawn from and what breaks a limit is left out; where too few are left, they
    are drawn from the exact tables.

    Args:
        space: What was searched.
        limits: Bounds on the target's cost.
        proxy: Bounds on the cost of its proxy.
        latency: Predicted latency of the target.
        seed: Of the draws.

    Returns:
        At least 100; none where a space too large for exact tables has too few inside the limits,
        or where the limits bound a latency that is not given.
    """
    if limits.max_latency is not None and latency is None:
        return ()
    rng = np.random.default_rng(seed)
    work = _work(space)
    if work.rows <= _MOST_ROWS:
        drawn = FeasibleSet(space, Limits()).samples(_DRAWN, rng)
    else:
        drawn = [space.sample(rng) for _ in range(min(_ENOUGH, _MOST_PICKS // work.classes))]
    inside = [Cost(*row) for row in costs(drawn).tolist()]
    kept = tuple(
        architecture
        for architecture, cost in zip(drawn, inside, strict=True)
        if limits.allow(cost, latency_ns=latency.of(architecture) if latency else None)
        and (proxy is None or proxy.allow(architecture))
    )
    if len(kept) < _ENOUGH and len(kept) < len(drawn) and work.pairs <= _MOST_PAIRS:
        try:
            exact = FeasibleSet(space, limits, proxy=proxy, latency=latency)
        except SearchSpaceError:  # no architecture meets the limits
            return ()
        if exact.count is not None:
            return tuple(exact.samples(_ENOUGH, rng))
    return kept if len(kept) >= _FEWEST else ()


class _Work(NamedTuple):
    """What drawing takes.

    Attributes:
        pairs: Comparisons of exact tables under limits.
        rows: Of these tables without any.
        classes: That one architecture drawn without tables is picked from.
    """

    pairs: int
    rows: int
    classes: int


def _work(space: SearchSpace) -> _Work:
    classes = [len(stage.mixers.classes(stage.depth)) for stage in space.stages]
    number = sum(1 for _ in itertools.islice(contexts(space), _MOST_ROWS))
    pairs = number * math.prod(classes)
    return _Work(pairs, pairs // max(classes), sum(classes))
