"""Costs of many architectures at once are those of each by itself."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effort import some_or_all, thorough
from spach_nas.config.shipped import shipped_folder
from spach_nas.cost.batch import costs
from spach_nas.cost.closed_form import Cost, cost
from spach_nas.space import mixers
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.mixers import MixerCost, MixerSite, MixerSpec, register_mixer
from spach_nas.space.references import REFERENCES
from spach_nas.space.search_space import SearchSpace
from strategies import architectures


def one_by_one(many: list[Architecture]) -> list[tuple[int, ...]]:
    return [tuple(cost(architecture)) for architecture in many]


def rows(found) -> list[tuple[int, ...]]:
    return [tuple(row) for row in found.tolist()]


@given(st.lists(architectures(), max_size=12))
@thorough
@settings(max_examples=some_or_all(20, 150), deadline=None)
def test_costs_of_any_architectures(many: list[Architecture]) -> None:
    found = costs(many)
    assert found.shape == (len(many), len(Cost._fields))
    assert found.dtype == np.int64
    assert rows(found) == one_by_one(many)


@pytest.mark.parametrize("name", ["spach_ms", "spach_ss", "spach_tiny"])
@given(seed=st.integers(0, 2**32))
@thorough
@settings(max_examples=some_or_all(3, 10), deadline=None)
def test_costs_of_architectures_of_a_shipped_space(name: str, seed: int) -> None:
    space = SearchSpace.from_yaml(shipped_folder() / f"{name}.yaml")
    rng = np.random.default_rng(seed)
    many = [space.sample(rng) for _ in range(60)]
    assert rows(costs(many)) == one_by_one(many)


def test_costs_of_the_references_and_of_repeated_ones() -> None:
    many = [reference.architecture for reference in REFERENCES.values()]
    many = [*many, *reversed(many)]
    assert rows(costs(many)) == one_by_one(many)


def test_a_mixer_is_costed_once_for_each_site_where_it_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sites: list[MixerSite] = []

    def listed(site: MixerSite) -> MixerCost:
        assert site.width == 24, "asked where it does not stand"
        sites.append(site)
        return MixerCost(site.heads, 3, 5)

    monkeypatch.setitem(mixers.MIXERS.known, "listed", None)
    del mixers.MIXERS.known["listed"]
    register_mixer(MixerSpec(name="listed", short="l", cost=listed, module="not:needed"))
    mixers.mixer_cost.cache_clear()
    stages = [
        Stage(mixers=("conv", "listed", "listed"), width=24, heads=h, expansion_ratio=2, shared=s)
        for h in (2, 3)
        for s in (False, True)
    ]
    before = Stage(mixers=("conv", "mlp"), width=12, heads=1, expansion_ratio=1.5)
    many = [
        Architecture(stem="conv1", patch_size=2, stages=(before, stage), image_size=(16, 8 * n))
        for stage in stages
        for n in (1, 2)
    ] * 3
    found = costs(many)
    assert len(sites) == len(set(sites)) == 4  # two numbers of heads, two image sizes
    assert rows(found) == one_by_one(many)


WIDE = Stage(mixers=("attention",), width=10**9, heads=1, expansion_ratio=1)


def test_large_figures_are_exact() -> None:
    one = Architecture(stem="conv1", patch_size=1, stages=(WIDE,), image_size=(1, 1))
    # Each block fits into 64 bits, and so does the sum of one, but not that of the four below.
    assert cost(one).macs < 2**63 < 4 * cost(one).macs
    assert rows(costs([one, one])) == one_by_one([one, one])


def test_figures_beyond_64_bits_are_refused() -> None:
    stages = (replace(WIDE, mixers=("attention",) * 4),)
    four = Architecture(stem="conv1", patch_size=1, stages=stages, image_size=(1, 1))
    with pytest.raises(OverflowError):
        costs([four])
