import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from effort import slow, some_or_all, thorough, with_slow
from feasible_tools import BAND, DISTINCT, MULTI_STAGE, costs, inside, quantile
from small_spaces import ALL, SPACES, encodings, enumerate_space
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.errors import SearchSpaceError
from spach_nas.feasible import FeasibleSet, tables
from spach_nas.feasible import feasible_set as module
from spach_nas.feasible import repair as repair_module
from spach_nas.space.search_space import SearchSpace


def some_limits(space: SearchSpace) -> list[Limits]:
    """Bounds of every kind that at least one architecture meets."""

    def at(field: str, share: float) -> int:
        return quantile(space, field, share)

    one = costs(space)[enumerate_space(space)[0]]
    return [
        Limits(),
        Limits(max_macs=10**30, max_params=10**30),
        Limits(max_macs=at("macs", 0.0)),
        Limits(max_macs=at("macs", 0.5)),
        Limits(min_macs=at("macs", 0.7)),
        Limits(min_macs=at("macs", 1.0)),
        Limits(min_params=at("params", 0.3), max_params=at("params", 0.6)),
        Limits(max_activations=at("activations", 0.4)),
        Limits(
            min_macs=one.macs,
            max_macs=one.macs,
            min_params=one.params,
            max_params=one.params,
            min_activations=one.activations,
            max_activations=one.activations,
        ),
    ]


@pytest.mark.parametrize("name", with_slow(SPACES, "layouts and free blocks"))
def test_the_count_is_that_of_an_enumeration(name: str) -> None:
    space = SPACES[name]
    for limits in some_limits(space):
        assert FeasibleSet(space, limits).count == len(inside(space, limits))


def test_without_limits_everything_counts() -> None:
    assert FeasibleSet(MULTI_STAGE, Limits()).count == MULTI_STAGE.size()


@pytest.mark.parametrize("depth", [50, 60, 200])
def test_counts_beyond_a_float_are_exact(depth: int) -> None:
    # Free blocks: as many arrangements have k attention blocks as there are subsets of size k.
    stage = {"depth": depth, "width": 4, "mixers": ["conv", "attention"]}
    space = SearchSpace.from_dict(
        {
            "patch_size": 4,
            "image_size": 16,
            "expansion_ratio": 1,
            "heads": 1,
            "stages": [stage, stage],
        }
    )
    base, first, second = (
        cost(space.decode(blocks(one, two, depth))).macs for one, two in ((0, 0), (1, 0), (0, 1))
    )
    limits = Limits(max_macs=base + depth // 2 * (first - base) + 3 * (second - base))
    expected = sum(
        math.comb(depth, one) * math.comb(depth, two)
        for one in range(depth + 1)
        for two in range(depth + 1)
        if one * (first - base) + two * (second - base) <= limits.max_macs - base
    )
    found = FeasibleSet(space, limits)
    assert found.count == expected > 2**64
    assert limits.allow(cost(found.sample(0)))


def blocks(one: int, two: int, depth: int) -> dict[str, str]:
    """Encoding with so many attention blocks in each of two stages."""
    return {
        f"stage{stage}.block{i}": "attention" if i <= number else "conv"
        for stage, number in ((1, one), (2, two))
        for i in range(1, depth + 1)
    }


UNIFORM = ["all stages with their own", "global ratio and sharing", "widths of their own"]


@pytest.mark.parametrize("many", [False, True], ids=["one by one", "many at once"])
@pytest.mark.parametrize("name", UNIFORM)
def test_sampling_is_uniform_over_the_feasible(name: str, many: bool) -> None:
    space = SPACES[name]
    limits = Limits(
        min_macs=quantile(space, "macs", 0.1),
        max_macs=quantile(space, "macs", 0.5),
        max_params=quantile(space, "params", 0.9),
    )
    expected = inside(space, limits)
    assert 5 < len(expected) < 600
    feasible, rng = FeasibleSet(space, limits), np.random.default_rng(12)
    number = 10 * len(expected)
    one_by_one = (feasible.sample(rng) for _ in range(number))
    drawn = Counter(feasible.samples(number, rng) if many else one_by_one)
    assert drawn.total() == number
    assert set(drawn) <= expected
    counts = list(drawn.values()) + [0] * (len(expected) - len(drawn))
    assert chisquare(counts).pvalue > 1e-4


def test_samples_do_not_depend_on_those_before() -> None:
    space = SPACES["all stages with their own"]
    limits = Limits(max_macs=quantile(space, "macs", 0.3))
    feasible = FeasibleSet(space, limits)
    expected = sorted(inside(space, limits), key=repr)
    assert 5 < len(expected) < 30
    drawn = feasible.samples(40 * len(expected) ** 2, 3)
    pairs = Counter(zip(drawn[::2], drawn[1::2], strict=True))
    counts = [pairs[pair] for pair in itertools.product(expected, repeat=2)]
    assert sum(counts) == len(drawn) // 2
    assert chisquare(counts).pvalue > 1e-4


def test_samples_of_one_seed_are_the_same_and_none_are_none() -> None:
    feasible = FeasibleSet(MULTI_STAGE, BAND)
    assert feasible.samples(50, 4) == feasible.samples(50, 4) != feasible.samples(50, 5)
    assert feasible.samples(0, 4) == []
    assert all(BAND.allow(cost(found)) for found in feasible.samples(500, 4))


@pytest.mark.parametrize("name", SPACES)
def test_every_sample_is_inside(name: str) -> None:
    space = SPACES[name]
    for limits in some_limits(space):
        feasible = FeasibleSet(space, limits)
        for seed in range(5):
            found = feasible.sample(seed)
            assert limits.allow(cost(found))
            assert space.contains(found)


@slow
@thorough
def test_a_narrow_band_of_the_shipped_space_is_sampled_without_rejection() -> None:
    limits = BAND
    feasible = FeasibleSet(MULTI_STAGE, limits)
    assert feasible.count is not None
    share = feasible.count / MULTI_STAGE.size()
    drawn = [
        limits.allow(cost(MULTI_STAGE.sample(seed))) for seed in range(some_or_all(1000, 3000))
    ]
    error = math.sqrt(share / len(drawn))
    assert abs(sum(drawn) / len(drawn) - share) < 4 * error
    assert all(limits.allow(cost(feasible.sample(seed))) for seed in range(50))
    assert [feasible.sample(seed) for seed in range(5)] == [feasible.sample(s) for s in range(5)]


BOUNDS = [
    {"max_macs": 0.02},
    {"max_macs": 0.3, "max_params": 0.5},
    {"min_macs": 0.45, "max_macs": 0.5},
    {"min_activations": 0.9},
]


@thorough
@pytest.mark.parametrize("shares", BOUNDS)
def test_a_proposal_is_repaired_by_no_change_too_many(shares: dict[str, float]) -> None:
    limits = Limits(**{name: quantile(DISTINCT, name[4:], share) for name, share in shares.items()})
    feasible, rng = FeasibleSet(DISTINCT, limits), np.random.default_rng(3)
    for encoding in list(encodings(DISTINCT))[:: some_or_all(10, 2)]:
        proposed = DISTINCT.decode(encoding)
        found = feasible.near(encoding, rng)
        assert limits.allow(cost(found))
        if limits.allow(cost(proposed)):
            assert found == proposed
            continue
        repaired = DISTINCT.encode(found)
        changed = [name for name in repaired if repaired[name] != encoding[name]]
        for name in changed:
            taken_back = DISTINCT.decode({**repaired, name: encoding[name]})
            assert not limits.allow(cost(taken_back)), f"{name} was changed for nothing"


@pytest.mark.parametrize("name", SPACES)
def test_every_repair_is_inside_and_seeded(name: str) -> None:
    space = SPACES[name]
    limits = Limits(max_macs=quantile(space, "macs", 0.3), min_macs=quantile(space, "macs", 0.1))
    feasible, every = FeasibleSet(space, limits), list(encodings(space))
    for i in np.random.default_rng(4).integers(len(every), size=20):
        one, other = (feasible.near(every[i], np.random.default_rng(5)) for _ in range(2))
        assert limits.allow(cost(one))
        assert space.contains(one)
        assert one == other


def mean_changes(feasible: FeasibleSet) -> float:
    """Parameters that a repair changes, over all proposals that need one."""
    rng, changes = np.random.default_rng(6), []
    for encoding in list(encodings(DISTINCT))[::9]:
        if not feasible.limits.allow(cost(DISTINCT.decode(encoding))):
            repaired = DISTINCT.encode(feasible.near(encoding, rng))
            changes.append(sum(repaired[name] != encoding[name] for name in repaired))
    return float(np.mean(changes))


def test_the_nearest_of_several_repairs_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(
        min_macs=quantile(DISTINCT, "macs", 0.45), max_macs=quantile(DISTINCT, "macs", 0.5)
    )
    feasible = FeasibleSet(DISTINCT, limits)
    of_several = mean_changes(feasible)
    monkeypatch.setattr(repair_module, "DONORS", 1)
    assert of_several < 0.8 * mean_changes(feasible)


@pytest.mark.parametrize(
    "constant",
    with_slow(["MOST_PAIRS", "MOST_ROWS", "MOST_CONTEXTS"], "MOST_PAIRS", "MOST_ROWS"),
)
def test_a_space_too_large_to_count_is_sampled_by_rejection(
    monkeypatch: pytest.MonkeyPatch, constant: str
) -> None:
    monkeypatch.setattr(tables, constant, 0)
    space = SPACES["all stages with their own"]
    limits = Limits(max_macs=quantile(space, "macs", 0.5))
    feasible, rng = FeasibleSet(space, limits), np.random.default_rng(7)
    assert feasible.count is None
    expected = inside(space, limits)
    drawn = Counter(feasible.samples(50 * len(expected), rng))
    assert set(drawn) == expected
    assert chisquare(list(drawn.values())).pvalue > 1e-4
    monkeypatch.setattr(module, "MOST_DRAWS", 100)
    with pytest.raises(SearchSpaceError) as raised:
        FeasibleSet(space, Limits(max_macs=1))
    assert str(raised.value).startswith(
        "limits: none of 100 drawn architectures meets them (macs <= 1); of those drawn, "
        "max_macs 1 excludes everything: architectures have "
    )


def test_very_many_widths_do_not_fill_the_memory() -> None:
    widths = {"from": 32, "to": 992, "step": 8}
    stages = [{"depth": 1, "width": widths, "mixers": "conv"}] * 4
    space = SearchSpace.from_dict(
        {"patch_size": 4, "expansion_ratio": 2, "heads": 1, "stages": stages}
    )
    assert space.size() == 121**4
    feasible = FeasibleSet(space, Limits(max_params=8_000_000))
    assert feasible.count is None
    assert cost(feasible.sample(0)).params <= 8_000_000


@slow
def test_very_many_rows_do_not_fill_the_memory() -> None:
    stage = {"depth": {"from": 1, "to": 12}, "width": 8, "mixers": ALL}
    space = SearchSpace.from_dict(
        {"patch_size": 4, "expansion_ratio": 2, "heads": 1, "stages": [stage] * 4}
    )
    limits = Limits(max_params=2_000_000)
    feasible = FeasibleSet(space, limits)
    assert feasible.count is None
    assert limits.allow(cost(feasible.sample(0)))


def test_a_choice_of_a_stage_that_nothing_feels_counts_once() -> None:
    stage = {"depth": [1, 2], "width": 8, "mixers": "conv", "token_ratio": [0.5, 1]}
    space = SearchSpace.from_dict(
        {"patch_size": 4, "expansion_ratio": 2, "heads": 1, "stages": [stage]}
    )
    feasible = FeasibleSet(space, Limits(min_macs=1))
    assert feasible.count == len(enumerate_space(space)) == 2
    assert set(feasible.samples(50, 1)) == set(enumerate_space(space))


def test_costs_that_no_machine_word_holds_are_refused() -> None:
    stages = [{"depth": 1, "width": 10**10, "mixers": ALL}]
    space = SearchSpace.from_dict(
        {"patch_size": 4, "expansion_ratio": 2, "heads": 1, "stages": stages}
    )
    with pytest.raises(SearchSpaceError, match="limits: a choice of the space costs more than"):
        FeasibleSet(space, Limits(max_macs=10**9))
