"""Bounds on the proxy, which is what a search trains."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import chisquare

from feasible_tools import (
    DATA,
    DISTINCT,
    MULTI_STAGE,
    RULE,
    SHORTER,
    inside,
    proxy_costs,
    quantile,
    quantile_of,
)
from small_spaces import SPACES, encodings, enumerate_space
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits, ProxyLimits, bounds_set
from spach_nas.errors import SearchSpaceError
from spach_nas.feasible import FeasibleSet, counts_without
from spach_nas.feasible import feasible_set as module
from spach_nas.feasible.measures import Measures
from spach_nas.space.scaling import ProxyRule, scale
from spach_nas.space.search_space import SearchSpace

FREE = "layouts and free blocks"
# All blocks of a mixer are one run, whose scaled depth follows from its length.
LAYOUTS = ["all stages with their own", "some trailing depths", "choices that nothing feels"]


def proxy_limits(space: SearchSpace, rule: ProxyRule, **shares: float) -> ProxyLimits:
    every = proxy_costs(space, rule).values()
    bounds = {name: quantile_of(every, name[4:], share) for name, share in shares.items()}
    return ProxyLimits(limits=Limits(**bounds), rule=rule, data=DATA)


def kinds(space: SearchSpace, rule: ProxyRule) -> list[tuple[Limits, ProxyLimits]]:
    """Bounds of the proxy alone, and of both."""
    return [
        (Limits(), proxy_limits(space, rule, max_macs=0.6)),
        (Limits(), proxy_limits(space, rule, min_params=0.2, max_activations=0.8)),
        (
            Limits(max_params=quantile(space, "params", 0.8)),
            proxy_limits(space, rule, min_macs=0.1, max_macs=0.9),
        ),
    ]


@pytest.mark.parametrize("name", SPACES)
def test_proxies_are_counted_as_exactly_as_targets(name: str) -> None:
    space = SPACES[name]
    for limits, proxy in kinds(space, RULE):
        feasible = FeasibleSet(space, limits, proxy=proxy)
        expected = inside(space, limits, proxy)
        assert feasible.count == len(expected)
        assert set(feasible.samples(20, 1)) <= expected


@pytest.mark.parametrize("name", LAYOUTS)
def test_shorter_proxies_of_layouts_are_counted_exactly(name: str) -> None:
    space = SPACES[name]
    for limits, proxy in kinds(space, SHORTER):
        feasible = FeasibleSet(space, limits, proxy=proxy)
        assert feasible.count == len(inside(space, limits, proxy))


def test_sampling_is_uniform_where_target_and_proxy_are_feasible() -> None:
    space = SPACES["global ratio and sharing"]
    limits = Limits(max_macs=quantile(space, "macs", 0.6))
    proxy = proxy_limits(space, RULE, min_params=0.2)
    expected = inside(space, limits, proxy)
    assert expected < inside(space, limits)
    drawn = Counter(FeasibleSet(space, limits, proxy=proxy).samples(15 * len(expected), 2))
    assert set(drawn) <= expected
    counts = list(drawn.values()) + [0] * (len(expected) - len(drawn))
    assert chisquare(counts).pvalue > 1e-4


def free_blocks() -> SearchSpace:
    """One stage of five blocks: the order of the mixers sets the depth of the proxy."""
    stage = {"depth": 5, "width": [4, 8], "mixers": ["conv", "attention"]}
    return SearchSpace.from_dict(
        {"patch_size": 4, "image_size": 16, "expansion_ratio": 1, "heads": 2, "stages": [stage]}
    )


def test_shorter_proxies_of_free_blocks_are_sampled_by_rejection() -> None:
    space = free_blocks()
    limits = Limits(max_macs=quantile(space, "macs", 0.8))
    proxy = proxy_limits(space, SHORTER, max_macs=0.5)
    expected = inside(space, limits, proxy)
    assert 5 < len(expected) < len(inside(space, limits))
    feasible = FeasibleSet(space, limits, proxy=proxy)
    assert feasible.count is None
    drawn = Counter(feasible.samples(20 * len(expected), 3))
    assert set(drawn) == expected
    assert chisquare(list(drawn.values())).pvalue > 1e-4


def test_a_rejection_without_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DRAWS", 50)
    space = free_blocks()
    proxy = ProxyLimits(limits=Limits(max_params=9), rule=SHORTER, data=DATA)
    with pytest.raises(SearchSpaceError) as raised:
        FeasibleSet(space, Limits(min_macs=1), proxy=proxy)
    assert str(raised.value).startswith(
        "limits: none of 50 drawn architectures meets them (macs >= 1, of the proxy params <= 9); "
        "of those "
        "drawn, proxy_limits.max_params 9 excludes everything: architectures have "
    )


@pytest.mark.parametrize("rule", [RULE, SHORTER], ids=["wider", "shorter"])
def test_allowed_is_what_target_and_proxy_allow(rule: ProxyRule) -> None:
    space = free_blocks()
    limits = Limits(max_macs=quantile(space, "macs", 0.8))
    proxy = proxy_limits(space, rule, max_macs=0.5)
    feasible = FeasibleSet(space, limits, proxy=proxy)
    expected = inside(space, limits, proxy)
    assert {target for target in enumerate_space(space) if feasible.allows(target)} == expected


@pytest.mark.parametrize("rule", [RULE, ProxyRule(width_scale=0.5, depth_scale=0.5)])
def test_a_repair_brings_the_proxy_inside(rule: ProxyRule) -> None:
    limits = Limits(max_macs=quantile(DISTINCT, "macs", 0.7))
    proxy = proxy_limits(DISTINCT, rule, min_macs=0.3, max_macs=0.4)
    feasible, rng = FeasibleSet(DISTINCT, limits, proxy=proxy), np.random.default_rng(3)
    expected = inside(DISTINCT, limits, proxy)
    for encoding in list(encodings(DISTINCT))[::15]:
        proposed, found = DISTINCT.decode(encoding), feasible.near(encoding, rng)
        assert found in expected
        assert found == proposed or proposed not in expected


@pytest.mark.parametrize("rule", [RULE, SHORTER], ids=["wider", "shorter"])
@pytest.mark.parametrize("name", SPACES)
def test_the_pieces_of_an_encoding_cost_what_the_network_does(name: str, rule: ProxyRule) -> None:
    space, rng = SPACES[name], np.random.default_rng(8)
    every = Limits(min_macs=1, max_params=1, min_activations=1)
    proxy = ProxyLimits(limits=every, rule=rule, data=DATA)
    measures = Measures(space, bounds_set(every, proxy), proxy=proxy)
    assert len(measures.names) == 6
    some = list(encodings(space))
    for i in rng.integers(len(some), size=40):
        target = space.decode(some[i])
        networks = {"limits": cost(target), "proxy_limits": cost(scale(target, rule, DATA))}
        expected = tuple(getattr(networks[of], field) for of, field in measures.names)
        assert measures.of(some[i]) == measures.of_architecture(target) == expected


@pytest.mark.parametrize("name", SPACES)
def test_each_limit_is_counted_without(name: str) -> None:
    space = SPACES[name]
    limits = Limits(
        min_macs=quantile(space, "macs", 0.2),
        max_macs=quantile(space, "macs", 0.7),
        max_params=quantile(space, "params", 0.4),
    )
    proxy = proxy_limits(space, RULE, min_activations=0.3)
    one = inside(space, Limits(min_macs=limits.min_macs, max_macs=limits.max_macs), proxy)
    assert counts_without(space, limits, proxy=proxy) == {
        "min_macs": len(
            inside(space, Limits(max_macs=limits.max_macs, max_params=limits.max_params), proxy)
        ),
        "max_macs": len(
            inside(space, Limits(min_macs=limits.min_macs, max_params=limits.max_params), proxy)
        ),
        "max_params": len(one),
        "proxy_limits.min_activations": len(inside(space, limits)),
    }


def test_limits_without_which_nothing_can_be_counted_have_no_count() -> None:
    space = free_blocks()
    limits = Limits(max_macs=quantile(space, "macs", 0.8))
    proxy = proxy_limits(space, SHORTER, max_macs=0.5)
    found: Mapping[str, int | None] = counts_without(space, limits, proxy=proxy)
    # Without its only bound the order of the mixers matters no more.
    assert found == {"max_macs": None, "proxy_limits.max_macs": len(inside(space, limits))}
    assert counts_without(space, Limits()) == {}


def test_a_proxy_without_bounds_changes_nothing() -> None:
    limits = Limits(max_macs=quantile(DISTINCT, "macs", 0.5))
    plain = FeasibleSet(DISTINCT, limits)
    # No network has this proxy, but nobody asks.
    proxy = ProxyLimits(rule=ProxyRule(patch_size=3, depth_scale=0.5), data=DATA)
    with_proxy = FeasibleSet(DISTINCT, limits, proxy=proxy)
    assert with_proxy.count == plain.count
    assert with_proxy.samples(3, 1) == plain.samples(3, 1)
    assert with_proxy.allows(plain.sample(1))


def test_a_proxy_that_no_network_has_is_refused() -> None:
    proxy = ProxyLimits(
        limits=Limits(max_macs=10**9), rule=ProxyRule(image_size=(30, 30)), data=DATA
    )
    with pytest.raises(SearchSpaceError, match=r"proxy: .* cannot be scaled: .*multiple of 32"):
        FeasibleSet(MULTI_STAGE, Limits(), proxy=proxy)
