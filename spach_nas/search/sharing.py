"""How many targets share one proxy: a search cannot tell them apart, and the cheapest dominates.

A rule of scaling acts on the sizes, on the runs of equal mixers of each stage and on nothing else.
So the targets of one proxy are products of the sizes and runs that scale to the same; how many of
them there are follows for every single target, however large the space.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from spach_nas.cost.limits import Limits
from spach_nas.feasible import Latency
from spach_nas.search.population import population
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.layouts import Mixers
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import StageSpace

_SIZES = ("image_size", "patch_size", "stem", "stem_width", "width", "heads")
_MOST_FRAMES = 4_000
_MOST_ARRANGEMENTS = 20_000
_TARGETS = 400
_MEMBERS = 128

Frame = tuple[object, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sharing:
    """Targets that share a proxy.

    Attributes:
        targets_per_proxy: Feasible targets of one proxy, on average over the proxies; 1 is best.
        exact: Whether that is proven or counted; else an estimate from a sample.
        reason: What merges targets; None where nothing does.
    """

    targets_per_proxy: float
    exact: bool
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scaling:
    """What a rule does to the sizes and to the runs of a space.

    Attributes:
        frames: Sizes of targets by the sizes of their proxy.
        lengths: What becomes of a run of 0, 1, 2 ... blocks.
        flags: Choices for sharing, one flag for each stage.
    """

    space: SearchSpace
    rule: ProxyRule
    data: DataShape
    frames: dict[Frame, list[Architecture]]
    lengths: tuple[int, ...]
    flags: tuple[tuple[bool, ...], ...]

    def proxy(self, target: Architecture) -> Architecture:
        return scale(target, self.rule, self.data)

    @property
    def merges_runs(self) -> bool:
        return len(set(self.lengths)) < len(self.lengths)

    @property
    def merges(self) -> str | None:
        """What makes two targets one; None where nothing does."""
        sizes = any(len(members) > 1 for members in self.frames.values())
        reasons = ["depth_scale"] * self.merges_runs + ["rounded sizes"] * sizes
        return " and ".join(reasons) or None


def targets_per_proxy(
    targets: Sequence[Architecture],
    *,
    everything: bool,
    space: SearchSpace,
    limits: Limits,
    rule: ProxyRule,
    data: DataShape,
    latency: Latency | None = None,
) -> Sharing | None:
    """How many feasible targets share one proxy.

    Args:
        targets: Feasible ones, drawn uniformly.
        everything: Whether these are all.
        space: Where they come from.
        limits: Bounds on the targets.
        rule: How a target becomes a proxy.
        data: Of the proxy.
        latency: Of the targets; needed where `limits` bound it.

    Returns:
        None where the sizes have too many combinations to say.
    """
    scaling = _scaling(space, rule, data)
    if scaling is None:
        return None
    reason = scaling.merges
    if everything or reason is None:
        # Nothing merges two targets, then, in a sample either.
        ratio = len(set(targets)) / len({scaling.proxy(target) for target in set(targets)})
        return Sharing(targets_per_proxy=ratio, exact=True, reason=None if ratio == 1 else reason)
    rng = np.random.default_rng(0)

    def inside(members: list[Architecture]) -> int:
        found = population(members, exact=True).inside(limits, latency=latency)
        return len(found.architectures)

    # Drawn by targets, a proxy is met as often as it has targets: the harmonic mean undoes that.
    inverse = [1 / _together(target, scaling, inside, rng) for target in targets[:_TARGETS]]
    return Sharing(targets_per_proxy=len(inverse) / sum(inverse), exact=False, reason=reason)


def _scaling(space: SearchSpace, rule: ProxyRule, data: DataShape) -> _Scaling | None:
    choices = space.parameters
    sizes = {name: v for name, v in choices.items() if name.rpartition(".")[2] in _SIZES}
    if math.prod(map(len, sizes.values())) > _MOST_FRAMES:
        return None
    first = {name: values[0] for name, values in choices.items()}
    frames: dict[Frame, dict[Frame, Architecture]] = {}
    for values in itertools.product(*sizes.values()):
        target = space.decode({**first, **dict(zip(sizes, values, strict=True))})
        frames.setdefault(_frame(scale(target, rule, data)), {})[_frame(target)] = target
    deepest = max(max(stage.depth) for stage in space.stages)
    flags = dict.fromkeys(
        given
        for shared in space.shared
        for given in itertools.product(*(stage.shared or (shared,) for stage in space.stages))
    )
    return _Scaling(
        space=space,
        rule=rule,
        data=data,
        frames={key: list(members.values()) for key, members in frames.items()},
        lengths=_lengths(rule, deepest),
        flags=tuple(flags),
    )


def _frame(architecture: Architecture) -> Frame:
    return (
        architecture.image_size,
        architecture.patch_size,
        architecture.stem,
        architecture.stem_width,
        *((stage.width, stage.heads) for stage in architecture.stages),
    )


def _lengths(rule: ProxyRule, deepest: int) -> tuple[int, ...]:
    """What becomes of a run of so many blocks, found by scaling one."""
    found = [0]
    for depth in range(1, deepest + 1):
        stage = Stage(mixers=("conv",) * depth, width=4, heads=1, expansion_ratio=1)
        target = Architecture(stem="conv1", patch_size=1, stages=(stage,), image_size=(1, 1))
        runs_alone = replace(rule, image_size=None, patch_size=None, width_scale=1.0)
        found.append(
            scale(target, runs_alone, DataShape(in_channels=1, num_classes=1)).stages[0].depth
        )
    return tuple(found)


def _together(
    target: Architecture,
    scaling: _Scaling,
    inside: Callable[[list[Architecture]], int],
    rng: np.random.Generator,
) -> float:
    """How many feasible targets share the proxy of this one, itself included."""
    proxy = scaling.proxy(target)
    frames = scaling.frames[_frame(proxy)]
    arrangements = [
        _arrangements(space, stage.mixers, scaling.lengths)
        for space, stage in zip(scaling.space.stages, target.stages, strict=True)
    ]
    shape = [len(frames), *map(len, arrangements)]
    total = math.prod(shape)
    if total <= _MEMBERS:
        drawn = list(itertools.product(*map(range, shape)))
    else:
        drawn = [tuple(line) for line in rng.integers(shape, size=(_MEMBERS, len(shape))).tolist()]
    flags = scaling.flags if scaling.merges_runs else ()
    members = [
        candidate
        for at, *chosen in drawn
        for layout in [[choices[i] for choices, i in zip(arrangements, chosen, strict=True)]]
        for candidate in _variants(target, frames[at], layout, flags)
        if scaling.proxy(candidate) == proxy
    ]
    return max(1.0, total * inside(members) / len(drawn))


def _variants(
    target: Architecture,
    frame: Architecture,
    layout: Sequence[Mixers],
    flags: Sequence[tuple[bool, ...]],
) -> list[Architecture]:
    """The target with other sizes and mixers; runs of one block cannot tell sharing, so both."""
    own = tuple(stage.shared for stage in target.stages)
    found = dict.fromkeys(
        replace(
            frame,
            stages=tuple(
                replace(stage, mixers=mixers, width=sizes.width, heads=sizes.heads, shared=shared)
                for stage, sizes, mixers, shared in zip(
                    target.stages, frame.stages, layout, given, strict=True
                )
            ),
        )
        for given in (flags or (own,))
    )
    return list(found)


@lru_cache(maxsize=4096)
def _arrangements(
    stage: StageSpace, mixers: Mixers, lengths: tuple[int, ...]
) -> tuple[Mixers, ...]:
    """Arrangements of the stage whose runs scale to those of `mixers`."""
    runs = [(name, len(list(run))) for name, run in itertools.groupby(mixers)]
    choices = [
        [n for n in range(1, max(stage.depth) + 1) if lengths[n] == lengths[count]]
        for _, count in runs
    ]
    found = (
        tuple(name for (name, _), n in zip(runs, counts, strict=True) for _ in range(n))
        for counts in itertools.islice(itertools.product(*choices), _MOST_ARRANGEMENTS)
        if sum(counts) in stage.depth
    )
    return tuple(item for item in found if stage.mixers.describe(item, stage.depth) is not None)
