import itertools
import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
from scipy.stats import chisquare

from small_spaces import ALL, SPACES, encodings, enumerate_space
from spach_nas import feasible as module
from spach_nas.architecture import Architecture
from spach_nas.cost import Cost, cost
from spach_nas.errors import SearchSpaceError
from spach_nas.feasible import FeasibleSet
from spach_nas.limits import Limits
from spach_nas.search_space import SearchSpace
from spach_nas.shipped import shipped_folder

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


@cache
def costs(space: SearchSpace) -> dict[Architecture, Cost]:
    return {architecture: cost(architecture) for architecture in enumerate_space(space)}


def quantile(space: SearchSpace, field: str, share: float) -> int:
    values = sorted(getattr(found, field) for found in costs(space).values())
    return values[round(share * (len(values) - 1))]


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


def inside(space: SearchSpace, limits: Limits) -> set[Architecture]:
    """By brute force, and by a comparison of its own."""
    found = set()
    for architecture, figures in costs(space).items():
        bounds = [
            (low is None or getattr(figures, name) >= low)
            and (high is None or getattr(figures, name) <= high)
            for name, low, high in limits.bounds
        ]
        if all(bounds):
            found.add(architecture)
    return found


@pytest.mark.parametrize("name", SPACES)
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


@pytest.mark.parametrize("name", ["all stages with their own", "global ratio and sharing"])
def test_sampling_is_uniform_over_the_feasible(name: str) -> None:
    space = SPACES[name]
    limits = Limits(
        min_macs=quantile(space, "macs", 0.1),
        max_macs=quantile(space, "macs", 0.5),
        max_params=quantile(space, "params", 0.9),
    )
    expected = inside(space, limits)
    assert 5 < len(expected) < 300
    feasible, rng = FeasibleSet(space, limits), np.random.default_rng(12)
    drawn = Counter(feasible.sample(rng) for _ in range(10 * len(expected)))
    assert set(drawn) <= expected
    counts = list(drawn.values()) + [0] * (len(expected) - len(drawn))
    assert chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("name", SPACES)
def test_every_sample_is_inside(name: str) -> None:
    space = SPACES[name]
    for limits in some_limits(space):
        feasible = FeasibleSet(space, limits)
        for seed in range(5):
            found = feasible.sample(seed)
            assert limits.allow(cost(found))
            assert space.contains(found)


def test_a_narrow_band_of_the_shipped_space_is_sampled_without_rejection() -> None:
    # One in a hundred of the space lies here.
    limits = Limits(min_macs=11_700_000_000, max_macs=12_300_000_000, max_params=63_200_000)
    feasible = FeasibleSet(MULTI_STAGE, limits)
    assert feasible.count is not None
    share = feasible.count / MULTI_STAGE.size()
    drawn = [limits.allow(cost(MULTI_STAGE.sample(seed))) for seed in range(3000)]
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


@pytest.mark.parametrize("shares", BOUNDS)
def test_a_proposal_is_repaired_by_no_change_too_many(shares: dict[str, float]) -> None:
    limits = Limits(**{name: quantile(DISTINCT, name[4:], share) for name, share in shares.items()})
    feasible, rng = FeasibleSet(DISTINCT, limits), np.random.default_rng(3)
    for encoding in list(encodings(DISTINCT))[::2]:
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
    for encoding in list(encodings(DISTINCT))[::3]:
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
    monkeypatch.setattr(module, "_DONORS", 1)
    assert of_several < 0.8 * mean_changes(feasible)


def test_limits_that_nothing_meets_are_told_with_what_the_space_has() -> None:
    with pytest.raises(SearchSpaceError) as raised:
        FeasibleSet(DISTINCT, Limits(max_macs=10, min_params=3))
    text = str(raised.value)
    assert text.startswith(
        "limits: no architecture of the space meets them (macs <= 10, params >= 3); "
        "a sample of the space has macs "
    )
    assert "\n" not in text


def test_a_gap_between_two_architectures_is_empty() -> None:
    found = sorted({figures.macs for figures in costs(DISTINCT).values()})
    gap = next((a, b) for a, b in itertools.pairwise(found) if b - a > 2)
    with pytest.raises(SearchSpaceError, match="no architecture of the space meets them"):
        FeasibleSet(DISTINCT, Limits(min_macs=gap[0] + 1, max_macs=gap[1] - 1))


@pytest.mark.parametrize("constant", ["_MOST_PAIRS", "_MOST_CONTEXTS"])
def test_a_space_too_large_to_count_is_sampled_by_rejection(
    monkeypatch: pytest.MonkeyPatch, constant: str
) -> None:
    monkeypatch.setattr(module, constant, 0)
    space = SPACES["all stages with their own"]
    limits = Limits(max_macs=quantile(space, "macs", 0.5))
    feasible, rng = FeasibleSet(space, limits), np.random.default_rng(7)
    assert feasible.count is None
    expected = inside(space, limits)
    drawn = Counter(feasible.sample(rng) for _ in range(50 * len(expected)))
    assert set(drawn) == expected
    assert chisquare(list(drawn.values())).pvalue > 1e-4
    monkeypatch.setattr(module, "_MOST_DRAWS", 100)
    with pytest.raises(SearchSpaceError, match="limits: none of 100 drawn meets them"):
        FeasibleSet(space, Limits(max_macs=1))


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


def test_costs_that_no_machine_word_holds_are_refused() -> None:
    stages = [{"depth": 1, "width": 10**10, "mixers": ALL}]
    space = SearchSpace.from_dict(
        {"patch_size": 4, "expansion_ratio": 2, "heads": 1, "stages": stages}
    )
    with pytest.raises(SearchSpaceError, match="limits: a choice of the space costs more than"):
        FeasibleSet(space, Limits(max_macs=10**9))
