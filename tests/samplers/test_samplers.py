from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler

from search_tools import SPACE
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.feasible import FeasibleSet
from spach_nas.samplers.feasible_sampler import FeasibleSampler, SpaceExhausted, distributions
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding

LIMITS = Limits(max_macs=1_200_000)


class Fixed(BaseSampler):
    """Proposes the same encodings whatever the study says; leaves one parameter to chance."""

    def __init__(self, proposal: Encoding, left_out: Sequence[str] = ()) -> None:
        self._proposal = {k: v for k, v in proposal.items() if k not in left_out}

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        raise AssertionError("the wrapper knows the space")

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return dict(self._proposal)

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        return distribution.high if hasattr(distribution, "high") else distribution.choices[-1]


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return SearchSpace.from_dict(SPACE)


def ask(sampler: FeasibleSampler, space: SearchSpace, times: int) -> list[Encoding]:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    proposals = []
    for sampler.number in range(times):
        proposals.append(study.ask(distributions(space)).params)
    return proposals


def test_a_feasible_proposal_is_taken_as_it_is(space: SearchSpace) -> None:
    feasible = FeasibleSet(space, LIMITS)
    wanted = space.encode(feasible.sample(5))
    sampler = FeasibleSampler(lambda seed: Fixed(wanted), feasible=feasible, startup=0, seed=1)
    assert ask(sampler, space, 1) == [wanted]


def test_a_proposal_that_is_taken_becomes_a_new_one_nearby(space: SearchSpace) -> None:
    feasible = FeasibleSet(space, LIMITS)
    wanted = space.encode(feasible.sample(5))
    sampler = FeasibleSampler(lambda seed: Fixed(wanted), feasible=feasible, startup=0, seed=1)
    proposals = ask(sampler, space, 10)
    assert len({space.decode(proposal).arch_id for proposal in proposals}) == 10
    changes = [sum(other[name] != wanted[name] for name in wanted) for other in proposals[1:]]
    assert sum(changes) / len(changes) < 4


def test_an_infeasible_proposal_is_repaired(space: SearchSpace) -> None:
    feasible = FeasibleSet(space, LIMITS)
    dear = {name: values[-1] for name, values in space.parameters.items()}
    assert not LIMITS.allow(cost(space.decode(dear)))
    sampler = FeasibleSampler(lambda seed: Fixed(dear), feasible=feasible, startup=0, seed=1)
    for proposal in ask(sampler, space, 20):
        assert LIMITS.allow(cost(space.decode(proposal)))
        assert proposal == space.encode(space.decode(proposal)), "canonical"


def test_what_a_sampler_leaves_out_is_completed_by_it(space: SearchSpace) -> None:
    feasible = FeasibleSet(space, Limits())
    wanted = space.encode(feasible.sample(7)) | {"stage1.depth": 1, "stem": "conv1"}
    inner = Fixed(wanted, left_out=["stage1.depth", "stem"])
    sampler = FeasibleSampler(lambda seed: inner, feasible=feasible, startup=0, seed=1)
    assert ask(sampler, space, 1) == [{**wanted, "stage1.depth": 3, "stem": "conv4"}]


def test_the_start_up_ignores_the_sampler(space: SearchSpace) -> None:
    feasible = FeasibleSet(space, LIMITS)
    wanted = space.encode(feasible.sample(5))
    with_inner = FeasibleSampler(lambda seed: Fixed(wanted), feasible=feasible, startup=6, seed=1)
    depths = Counter(proposal["stage2.depth"] for proposal in ask(with_inner, space, 6))
    assert len(depths) > 1
    assert wanted not in ask(with_inner, space, 6)


def test_a_space_is_proposed_to_its_last_architecture() -> None:
    space = SearchSpace.from_dict(
        {
            "image_size": 32,
            "patch_size": 4,
            "expansion_ratio": [2, 3],
            "heads": 1,
            "stages": [{"depth": [1, 2, 3], "width": [8, 16], "mixers": ["conv", "attention"]}],
        }
    )
    feasible = FeasibleSet(space, Limits(max_macs=600_000))
    assert feasible.count is not None
    assert 10 < feasible.count < space.size()
    sampler = FeasibleSampler(lambda seed: None, feasible=feasible, startup=0, seed=1)
    found = {space.decode(proposal).arch_id for proposal in ask(sampler, space, feasible.count)}
    assert len(found) == feasible.count
    with pytest.raises(SpaceExhausted):
        ask(sampler, space, 1)


def test_distributions_are_ordered_where_the_choices_are(space: SearchSpace) -> None:
    found = distributions(space)
    assert found["stage1.depth"] == optuna.distributions.IntDistribution(1, 3)
    assert found["stage1.width"] == optuna.distributions.IntDistribution(8, 24, step=8)
    assert found["expansion_ratio"] == optuna.distributions.FloatDistribution(2, 3, step=1)
    assert found["stem"] == optuna.distributions.CategoricalDistribution(["conv1", "conv4"])
