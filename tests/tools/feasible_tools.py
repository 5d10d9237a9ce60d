"""Brute force over small spaces: what counting, sampling and repair are held against."""

from collections.abc import Iterable
from functools import cache

from small_spaces import enumerate_space
from spach_nas.config.shipped import shipped_folder
from spach_nas.cost.closed_form import Cost, cost
from spach_nas.cost.limits import Bound, Limits, ProxyLimits
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import DataShape, ProxyRule, scale
from spach_nas.space.search_space import SearchSpace

# Every choice is felt by every architecture: each has one encoding.
DISTINCT = SearchSpace.from_dict(
    {
        "patch_size": 2,
        "image_size": 16,
        "stem": ["conv1", "conv4"],
        "stem_width": 4,
        "expansion_ratio": [1, 2, 4],
        "heads": [1, 2],
        "stages": [
            {"depth": [1, 2, 3], "width": [4, 8, 16], "mixers": "conv"},
            {"depth": 2, "width": {"times": [1, 2]}, "mixers": ["conv", "attention"]},
        ],
    }
)
MULTI_STAGE = SearchSpace.from_yaml(shipped_folder() / "spach_ms.yaml")
# One in a hundred of the multi-stage space.
BAND = Limits(min_macs=11_700_000_000, max_macs=12_300_000_000, max_params=63_200_000)
DATA = DataShape(in_channels=2, num_classes=7)
# Another image, not square, and another width; every small space can be built with it.
RULE = ProxyRule(image_size=(16, 32), width_scale=1.5)
SHORTER = ProxyRule(width_scale=1.5, depth_scale=0.6)


@cache
def costs(space: SearchSpace) -> dict[Architecture, Cost]:
    return {architecture: cost(architecture) for architecture in enumerate_space(space)}


@cache
def proxy_costs(space: SearchSpace, rule: ProxyRule) -> dict[Architecture, Cost]:
    return {target: cost(scale(target, rule, DATA)) for target in enumerate_space(space)}


def quantile_of(figures: Iterable[Cost], field: str, share: float) -> int:
    values = sorted(getattr(found, field) for found in figures)
    return values[round(share * (len(values) - 1))]


def quantile(space: SearchSpace, field: str, share: float) -> int:
    return quantile_of(costs(space).values(), field, share)


def meets(figures: Cost, limits: Limits) -> bool:
    """By a comparison of its own."""
    return all(
        (low is None or getattr(figures, name) >= low)
        and (high is None or getattr(figures, name) <= high)
        for name, low, high in limits.bounds
    )


def inside(
    space: SearchSpace, limits: Limits, proxy: ProxyLimits | None = None
) -> set[Architecture]:
    """The feasible architectures, by brute force."""
    found = {target for target, figures in costs(space).items() if meets(figures, limits)}
    if proxy is None:
        return found
    scaled = proxy_costs(space, proxy.rule)
    return {target for target in found if meets(scaled[target], proxy.limits)}


def figure(space: SearchSpace, rule: ProxyRule, bound: Bound) -> dict[Architecture, int]:
    """What a bound is about, of every architecture."""
    every = costs(space) if bound.measure.of == "limits" else proxy_costs(space, rule)
    return {target: getattr(found, bound.measure.field) for target, found in every.items()}
