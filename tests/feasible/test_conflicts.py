"""Limits that nothing meets: which of them is to blame."""

import itertools
import re
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from effort import some_or_all, thorough, with_slow
from feasible_tools import DATA, DISTINCT, MULTI_STAGE, RULE, figure, inside
from small_spaces import SPACES, enumerate_space
from spach_nas.cost.limits import Bound, Limits, Measure, ProxyLimits, bounds_set
from spach_nas.errors import SearchSpaceError
from spach_nas.feasible import FeasibleSet, tables
from spach_nas.feasible import feasible_set as module
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import ProxyRule
from spach_nas.space.search_space import SearchSpace
from spach_nas.units import format_count

FIELDS = ("macs", "params", "activations")


def message(space: SearchSpace, limits: Limits, proxy: Limits | None = None) -> str:
    with pytest.raises(SearchSpaceError) as raised:
        FeasibleSet(
            space, limits, proxy=ProxyLimits(limits=proxy or Limits(), rule=RULE, data=DATA)
        )
    assert "\n" not in str(raised.value)
    return str(raised.value)


def named(bounds: Iterable[Bound]) -> dict[str, Limits]:
    """The arguments of `FeasibleSet` that set these bounds."""
    values: dict[str, dict[str, int]] = {"limits": {}, "proxy_limits": {}}
    for bound in bounds:
        values[bound.measure.of][f"{bound.side}_{bound.measure.field}"] = bound.value
    return {of: Limits(**given) for of, given in values.items()}


def meeting(space: SearchSpace, *bounds: Bound) -> set[Architecture]:
    found = set(enumerate_space(space))
    for bound in bounds:
        sign = 1 if bound.side == "min" else -1
        values = figure(space, RULE, bound)
        found = {target for target in found if sign * (values[target] - bound.value) >= 0}
    return found


def random_bounds(space: SearchSpace, seed: int, *, most: int) -> tuple[Bound, ...]:
    """Bounds somewhere between the costs of the space, a few a little outside."""
    rng = np.random.default_rng(seed)
    found = {}
    for _ in range(rng.integers(2, most + 1)):
        measure = Measure(("limits", "proxy_limits")[rng.integers(2)], FIELDS[rng.integers(3)])
        side = ("min", "max")[rng.integers(2)]
        values = sorted(figure(space, RULE, Bound(measure, side, 0)).values())
        share = rng.beta(5, 2) if side == "min" else rng.beta(2, 5)
        far = 20 if rng.random() < 0.05 else rng.uniform(1, 1.03)
        value = int(values[int(share * len(values))] * (far if side == "min" else 1 / far))
        found[measure, side] = Bound(measure, side, value)
    return tuple(found.values())


def empty_ones(
    space: SearchSpace, *, number: int, most: int, seeds: Iterable[int] | None = None
) -> Iterator[tuple[Bound, ...]]:
    """Bounds that nothing meets; a lower bound above its upper one is refused elsewhere."""
    for seed in seeds or itertools.count():
        bounds = random_bounds(space, seed, most=most)
        sides = {(bound.measure, bound.side): bound.value for bound in bounds}
        crossed = any(
            sides.get((measure, "min"), 0) > sides.get((measure, "max"), 10**30)
            for measure, _ in sides
        )
        if not crossed and not meeting(space, *bounds):
            yield bounds
            number -= 1
        if not number:
            return


@thorough
@pytest.mark.parametrize(
    "name", with_slow(["widths of their own", "some trailing depths"], "widths of their own")
)
def test_the_limits_to_blame_are_those_of_an_enumeration(name: str) -> None:
    space, kinds = SPACES[name], set()
    for bounds in empty_ones(space, number=some_or_all(10, 30), most=5):
        given = named(bounds)
        # In the order of the limits, as they are told.
        bounds = bounds_set(
            given["limits"], ProxyLimits(limits=given["proxy_limits"], rule=RULE, data=DATA)
        )
        text = message(space, given["limits"], given["proxy_limits"])
        alone = [bound.name for bound in bounds if not meeting(space, bound)]
        pairs = [
            (one.name, other.name)
            for one, other in itertools.combinations(bounds, 2)
            if not meeting(space, one, other)
        ]
        assert re.findall(r"; (\S+) \S+ excludes everything: ", text) == alone
        found = re.findall(r"; (\S+) \S+ and (\S+) \S+ exclude each other: ", text)
        assert found == ([] if alone else pairs)
        kinds.add("alone" if alone else "pairs" if pairs else "more")
        if not alone and not pairs:
            assert "together exclude everything" in text
    assert {"alone", "pairs"} <= kinds


@thorough
def test_limits_that_exclude_each_other_only_together_are_the_fewest() -> None:
    space = SPACES["widths of their own"]
    seen = 0
    for bounds in empty_ones(space, number=120, most=5, seeds=some_or_all((188, 289), None)):
        # A bound that everything meets is no part of any conflict.
        idle = Bound(Measure("limits", "activations"), "min", 1)
        given = named(bounds if any(idle[:2] == item[:2] for item in bounds) else (*bounds, idle))
        if any(
            not meeting(space, *pair) for pair in itertools.combinations_with_replacement(bounds, 2)
        ):
            continue
        seen += 1
        text = message(space, given["limits"], given["proxy_limits"])
        told = dict(
            (name, int(count.replace(",", "")))
            for count, name in re.findall(r"([\d,]+) without ([\w.]+\w)", text)
        )
        kept = [bound for bound in bounds if bound.name in told]
        assert len(kept) == len(told) >= 3
        assert not meeting(space, *kept)
        for bound in kept:
            without = meeting(space, *(other for other in kept if other != bound))
            assert told[bound.name] == len(without) > 0
            assert f"{bound.name} {format_count(bound.value)}" in text
    assert seen > 1


def test_a_single_impossible_limit_is_told_with_what_the_space_has() -> None:
    values = figure(DISTINCT, RULE, Bound(Measure("limits", "macs"), "max", 0)).values()
    assert message(DISTINCT, Limits(max_macs=10, min_params=3)) == (
        "limits: no architecture of the space meets them (macs <= 10, params >= 3); max_macs 10 "
        f"excludes everything: architectures have {format_count(min(values))} to "
        f"{format_count(max(values))} MACs"
    )


def test_an_impossible_limit_of_the_proxy_is_told_with_what_proxies_have() -> None:
    bound = Bound(Measure("proxy_limits", "params"), "min", 10**9)
    values = figure(DISTINCT, RULE, bound).values()
    assert message(DISTINCT, Limits(), Limits(min_params=10**9)) == (
        "limits: no architecture of the space meets them (of the proxy params >= 1G); "
        "proxy_limits.min_params 1G excludes everything: architectures have "
        f"{format_count(min(values))} to {format_count(max(values))} params of the proxy"
    )


@pytest.mark.parametrize("of", ["limits", "proxy_limits"])
def test_a_pair_is_told_with_what_each_leaves_of_the_other(of: str) -> None:
    macs, params = Measure("limits", "macs"), Measure(of, "params")
    all_macs = figure(DISTINCT, RULE, Bound(macs, "min", 0))
    all_params = figure(DISTINCT, RULE, Bound(params, "max", 0))
    least = sorted(all_macs.values())[-20]
    least_params = min(all_params[target] for target in all_macs if all_macs[target] >= least)
    most = max(value for value in all_params.values() if value < least_params)
    most_macs = max(all_macs[target] for target in all_params if all_params[target] <= most)
    given = named([Bound(macs, "min", least), Bound(params, "max", most)])
    name, whose = (
        ("max_params", "") if of == "limits" else ("proxy_limits.max_params", " of the proxy")
    )
    low, high = format_count(least), format_count(most)
    assert message(DISTINCT, given["limits"], given["proxy_limits"]).endswith(
        f"; min_macs {low} and {name} {high} exclude each other: at least {low} MACs come with at "
        f"least {format_count(least_params)} params{whose}, at most {high} params{whose} with at "
        f"most {format_count(most_macs)} MACs"
    )


def test_a_gap_is_told_with_what_lies_beside_it() -> None:
    measure = Measure("limits", "macs")
    found = sorted(set(figure(DISTINCT, RULE, Bound(measure, "min", 0)).values()))
    below, above = next((a, b) for a, b in itertools.pairwise(found) if b - a > 2)
    text = message(DISTINCT, Limits(min_macs=below + 1, max_macs=above - 1))
    assert text.endswith(f"exclude each other: the nearest have {below:,} and {above:,} MACs")


def test_a_pair_of_the_shipped_space_is_found() -> None:
    rule = ProxyRule(image_size=(32, 32), patch_size=2, width_scale=0.25)
    proxy = ProxyLimits(limits=Limits(max_macs=20_000_000), rule=rule, data=DATA)
    with pytest.raises(SearchSpaceError) as raised:
        FeasibleSet(MULTI_STAGE, Limits(min_macs=12 * 10**9, max_params=40 * 10**6), proxy=proxy)
    text = str(raised.value)
    assert "min_macs 12G and proxy_limits.max_macs 20M exclude each other" in text
    assert "max_params 40M" not in text


def test_pairs_of_a_space_too_large_to_count_are_those_of_the_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tables, "MOST_PAIRS", 0)
    monkeypatch.setattr(module, "MOST_DRAWS", 500)
    space = SPACES["widths of their own"]
    macs = figure(space, RULE, Bound(Measure("limits", "macs"), "min", 0)).values()
    params = figure(space, RULE, Bound(Measure("limits", "params"), "max", 0)).values()
    limits = Limits(min_macs=max(macs), max_params=min(params))
    assert not inside(space, limits)
    text = message(space, limits)
    assert text.startswith("limits: none of 500 drawn architectures meets them (")
    assert re.search(r"; of those drawn, min_macs \S+ (and max_params|excludes everything)", text)
