"""What a search space offers within its limits, before anything is trained; free of torch."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spach_nas.cost.closed_form import Cost, cost, costs
from spach_nas.cost.limits import Limits, ProxyLimits, bounds_set
from spach_nas.errors import ArchitectureError, LatencyError, SearchSpaceError
from spach_nas.feasible import FeasibleSet, Latency, counts_without
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES, reference_target
from spach_nas.space.scaling import scale
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding

QUANTITIES = ("macs", "params")
# Spaces with more encodings are sampled, not enumerated.
MOST_ENCODINGS = 10_000
SAMPLED = 4_000
PROXIES = 1_000
CHANGED = 40
_OUTSIDE = "is outside of the space: "

Figures = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class CostSpread:
    """Distribution of a cost over architectures: its ends and percentiles, plain counts."""

    low: int
    p5: int
    median: int
    p95: int
    high: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """One cost of the targets.

    Attributes:
        name: `macs` or `params`.
        everywhere: Over the whole space.
        feasible: Over the feasible architectures.
    """

    name: str
    everywhere: CostSpread
    feasible: CostSpread


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """What one limit excludes, given the others.

    Attributes:
        limit: `max_macs`, `min_params`, `proxy_limits.max_macs` ...
        value: The bound; nanoseconds for a latency.
        met_by_others: Number of architectures that meet all other limits; None if not counted.
        excluded: Number of these that break this limit.
        binds_most: Whether no other limit excludes more.
    """

    limit: str
    value: int
    met_by_others: int | None
    excluded: int | None
    binds_most: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StageShares:
    """Share of the blocks of a stage by mixer, in [0, 1], averaged over architectures."""

    everywhere: dict[str, float]
    feasible: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperModel:
    """A model of the paper compared with the feasible architectures.

    Attributes:
        encoding: None if it is outside the space.
        outside: Why it is outside the space; None if it is inside.
        violations: Limits that it or its proxy breaks; empty if it meets them.
        macs_rank: Share of the feasible architectures with at most its MACs, in [0, 1].
        params_rank: The same for parameters.
    """

    name: str
    macs: int
    params: int
    encoding: Encoding | None
    outside: str | None
    violations: tuple[str, ...]
    macs_rank: float
    params_rank: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Hidden:
    """Changes of a target that do not change its proxy, so that a search cannot see them.

    Attributes:
        share: Their share of the changes of one choice inside the limits, in [0, 1], from a sample
            of feasible targets; lower is better.
        choices: Parameters of the space with such changes, the most affected first.
    """

    share: float
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxies:
    """The proxies, which would be trained."""

    macs: CostSpread
    params: CostSpread
    hidden: Hidden


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceReport:
    """What is known about a space within limits before a search.

    Attributes:
        targets: Channels and classes of the targets, and where they come from.
        architectures: Number of distinct architectures.
        encodings: Number of encodings; several may give the same architecture.
        feasible: Number of architectures inside the limits; None if they are too many to count.
        feasible_share: Their share, in [0, 1]; from a sample if they are not counted.
        binding: Each limit that is set.
        sampled: Size of the samples behind distributions and shares; 0: all architectures.
        proxies: None for a space alone, without a search.
    """

    targets: str
    limits: str
    architectures: int
    encodings: int
    feasible: int | None
    feasible_share: float
    binding: tuple[Binding, ...]
    sampled: int
    quantities: tuple[Quantity, ...]
    stages: tuple[StageShares, ...]
    paper: tuple[PaperModel, ...]
    proxies: Proxies | None = None


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


def describe_space(feasible: FeasibleSet, *, seed: int = 0) -> SpaceReport:
    """Describe a space within limits.

    Args:
        feasible: The space, its limits, and the rule for proxies of a search.
        seed: Seed of the samples.
    """
    space, limits, proxy = feasible.space, feasible.limits, feasible.proxy
    everywhere = every_architecture(space) or draw(FeasibleSet(space, Limits()), SAMPLED, seed=seed)
    inside = _inside(everywhere, feasible)
    size, count = space.size(), feasible.count
    share = len(inside.architectures) / len(everywhere.architectures)
    if not everywhere.exact and len(inside.architectures) < len(everywhere.architectures):
        inside = draw(feasible, SAMPLED, seed=seed + 1)
    return SpaceReport(
        targets=space.describe_targets(None if proxy is None else proxy.data),
        limits=str(limits),
        architectures=size,
        encodings=space.encodings(),
        feasible=count,
        feasible_share=share if count is None else count / size,
        binding=_binding(feasible),
        sampled=0 if everywhere.exact else SAMPLED,
        quantities=_quantities(everywhere, inside),
        stages=_stages(space, everywhere, inside),
        paper=tuple(_paper(name, feasible, inside) for name in REFERENCES),
        proxies=None if proxy is None else _proxies(feasible, inside, proxy),
    )


def _inside(everywhere: Population, feasible: FeasibleSet) -> Population:
    found = everywhere.inside(feasible.limits, latency=feasible.latency)
    if feasible.proxy is None or feasible.proxy.limits == Limits():
        return found
    kept = [item for item in found.architectures if feasible.proxy.allow(item)]
    return population(kept, exact=found.exact)


def _binding(feasible: FeasibleSet) -> tuple[Binding, ...]:
    count, bounds = feasible.count, bounds_set(feasible.limits, feasible.proxy)
    others = counts_without(
        feasible.space, feasible.limits, proxy=feasible.proxy, latency=feasible.latency
    )
    excluded = {
        name: None if count is None or left is None else left - count
        for name, left in others.items()
    }
    most = max((number for number in excluded.values() if number is not None), default=0)
    return tuple(
        Binding(
            limit=bound.name,
            value=bound.value,
            met_by_others=others[bound.name],
            excluded=excluded[bound.name],
            binds_most=most > 0 and excluded[bound.name] == most,
        )
        for bound in bounds
    )


def _quantities(everywhere: Population, inside: Population) -> tuple[Quantity, ...]:
    found = []
    for name in QUANTITIES:
        figures, kept = everywhere.figures(name), inside.figures(name)
        found.append(
            Quantity(
                name=name,
                everywhere=_spread(figures),
                feasible=_spread(kept),
            )
        )
    return tuple(found)


def _spread(figures: Figures) -> CostSpread:
    low, p5, median, p95, high = np.percentile(
        figures, (0, 5, 50, 95, 100), method="inverted_cdf"
    ).tolist()
    return CostSpread(low=low, p5=p5, median=median, p95=p95, high=high)


def _stages(
    space: SearchSpace, everywhere: Population, inside: Population
) -> tuple[StageShares, ...]:
    return tuple(
        StageShares(everywhere=whole, feasible=kept)
        for whole, kept in zip(
            _shares(everywhere.architectures, space),
            _shares(inside.architectures, space),
            strict=True,
        )
    )


def _shares(architectures: Sequence[Architecture], space: SearchSpace) -> list[dict[str, float]]:
    return [
        {
            name: math.fsum(stage.mixers.count(name) / stage.depth for stage in stages)
            / len(stages)
            for name in offered.mixers.names
        }
        for offered, stages in zip(
            space.stages, zip(*(item.stages for item in architectures), strict=True), strict=True
        )
    ]


def _paper(name: str, feasible: FeasibleSet, inside: Population) -> PaperModel:
    target = reference_target(name, feasible.space.shape)
    figures = cost(target)
    encoding, outside = None, None
    try:
        encoding = feasible.space.encode(target)
    except SearchSpaceError as problem:
        outside = str(problem).partition(_OUTSIDE)[2]
    return PaperModel(
        name=name,
        macs=figures.macs,
        params=figures.params,
        encoding=encoding,
        outside=outside,
        violations=_violations(target, feasible),
        macs_rank=float((inside.figures("macs") <= figures.macs).mean()),
        params_rank=float((inside.figures("params") <= figures.params).mean()),
    )


def _violations(target: Architecture, feasible: FeasibleSet) -> tuple[str, ...]:
    """A phrase for each limit that a model breaks, those on its proxy last."""
    try:
        found = feasible.violations(target)
    except LatencyError:  # a model of another space, whose parts have no times
        found = feasible.limits.without_latency.violations(cost(target))
    proxy = feasible.proxy
    if proxy is not None and proxy.limits != Limits():
        try:
            trained = cost(scale(target, proxy.rule, proxy.data))
        except ArchitectureError:  # no network has the sizes of another space's proxies
            return found
        found += tuple(f"proxy {phrase}" for phrase in proxy.limits.violations(trained))
    return found


def _proxies(feasible: FeasibleSet, inside: Population, proxy: ProxyLimits) -> Proxies:
    some = inside.architectures if inside.exact else inside.architectures[:PROXIES]
    trained = population([scale(item, proxy.rule, proxy.data) for item in some], exact=inside.exact)
    return Proxies(
        macs=_spread(trained.figures("macs")),
        params=_spread(trained.figures("params")),
        hidden=hidden_changes(some[:: -(-len(some) // CHANGED)], feasible, proxy=proxy),
    )


def hidden_changes(
    targets: Sequence[Architecture], feasible: FeasibleSet, *, proxy: ProxyLimits
) -> Hidden:
    """Try every other value of each choice of some targets, and see whether the proxy changes."""
    space = feasible.space
    changes, hidden = 0, Counter[str]()
    for target in targets:
        encoding, trained = space.encode(target), scale(target, proxy.rule, proxy.data)
        for name, values in space.parameters.items():
            changed = {space.decode({**encoding, name: value}) for value in values} - {target}
            inside = [other for other in changed if feasible.allows(other)]
            changes += len(inside)
            equal = sum(scale(other, proxy.rule, proxy.data) == trained for other in inside)
            hidden.update({name: equal} if equal else {})
    return Hidden(
        share=hidden.total() / max(1, changes),
        choices=tuple(name for name, _ in hidden.most_common()),
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
