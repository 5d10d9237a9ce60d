import itertools
from collections.abc import Sequence
from dataclasses import replace

import moocore
import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial
from scipy.stats import multivariate_normal

from effort import slow, some_or_all, thorough
from search_tools import SPACE
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.cost.closed_form import cost, costs
from spach_nas.cost.limits import Limits
from spach_nas.feasible import FeasibleSet
from spach_nas.samplers.feasible_sampler import FeasibleSampler, SamplerFactory, distributions
from spach_nas.samplers.surrogate import (
    Surrogate,
    draw,
    expected_gains,
    features,
    posterior,
    scaled,
)
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding

BOTH = tuple(OBJECTIVES[name] for name in ("accuracy", "macs"))
ONE = BOTH[:1]


@pytest.fixture(scope="module")
def feasible() -> FeasibleSet:
    return FeasibleSet(SearchSpace.from_dict(SPACE), Limits(max_macs=1_200_000))


def matern(one: np.ndarray, other: np.ndarray, length: float) -> float:
    r = 5**0.5 * float(np.sqrt(((one - other) ** 2).sum())) / length
    return (1 + r + r * r / 3) * float(np.exp(-r))


def prior(points: np.ndarray, length: float, share: float) -> np.ndarray:
    return np.array(
        [
            [share * float(a @ b) + (1 - share) * matern(a, b, length) for b in points]
            for a in points
        ]
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_posterior_is_that_of_the_likeliest_of_all_processes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = scaled(rng.normal(size=(14, 3)))
    known = 0.9 + 0.02 * points[:9, 0] + 0.003 * rng.normal(size=9)
    targets = (known - known.mean()) / known.std()
    found = []
    for length, share, noise in itertools.product(
        (0.5, 1, 2, 4), (0, 0.5, 0.9), (0.01, 0.03, 0.1, 0.3, 1)
    ):
        whole = prior(points, length, share)
        among = whole[:9, :9] + noise * np.eye(9)
        scale = targets @ np.linalg.inv(among) @ targets / 9
        likelihood = multivariate_normal(cov=scale * among).logpdf(targets)
        gain = whole[:, :9] @ np.linalg.inv(among)
        mean = known.mean() + known.std() * gain @ targets
        covariance = known.var() * scale * (whole - gain @ whole[:9])
        found.append((likelihood, mean, covariance))
    _, mean, covariance = max(found, key=lambda one: one[0])
    ours = posterior(points, known)
    np.testing.assert_allclose(ours[0], mean, rtol=1e-9)
    np.testing.assert_allclose(ours[1], covariance, rtol=1e-6, atol=1e-12)


def test_draws_have_the_mean_and_covariance_asked_for() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 3))  # of rank 3: the fourth point follows from the others
    mean, covariance = np.arange(4.0), root @ root.T
    drawn = draw(mean, covariance, draws=40_000, rng=rng)
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.15)
    rounded = covariance - 1e-6 * np.eye(4)  # has a negative eigenvalue
    assert np.isfinite(draw(mean, rounded, draws=1, rng=rng)).all()


def test_features_are_scaled_to_the_same_weight() -> None:
    rng = np.random.default_rng(0)
    given = np.column_stack([1e9 * rng.normal(size=60), rng.normal(size=60), np.full(60, 7e8)])
    found = scaled(given)
    assert found.shape == (60, 2), "a feature that is the same everywhere tells nothing"
    squares = ((found[:, None] - found[None]) ** 2).sum(axis=-1)
    assert squares.mean() == pytest.approx(2)
    np.testing.assert_allclose(found.std(axis=0), 2**-0.5)


def test_gains_are_areas_averaged_over_the_draws() -> None:
    # Two draws, scaled to 0..1 by themselves; the reference point is (1.1, 1.1).
    trained = np.array([[[0.0, 10.0], [4.0, 0.0]], [[0.0, 10.0], [4.0, 0.0]]])
    candidates = np.array(
        [[[2.0, 5.0], [4.0, 10.0], [3.0, 0.0]], [[2.0, 10.0], [0.0, 10.0], [2.0, 5.0]]]
    )
    # (0.5, 0.5) against (0, 1) and (1, 0); (0.75, 0) beyond (1, 0).
    middle = (1 - 0.5) * (1 - 0.5)
    expected = [middle / 2, 0, ((1 - 0.75) * 1 + middle) / 2]
    np.testing.assert_allclose(expected_gains(trained, candidates), expected, atol=1e-12)
    one = expected_gains(np.array([[[3.0], [2.0]]]), np.array([[[1.0], [2.5]]]))
    np.testing.assert_allclose(one, [0.5, 0])


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_gains_are_those_of_another_library(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    trained, candidates = rng.random((5, 30, objectives)), rng.random((5, 20, objectives))
    expected = np.zeros(20)
    for known, new in zip(trained, candidates, strict=True):
        both = np.vstack([known, new])
        low, span = both.min(axis=0), np.ptp(both, axis=0)
        volume = [
            moocore.hypervolume((np.vstack([known, *more]) - low) / span, ref=1.1)
            for more in ([], *([point] for point in new))
        ]
        expected += np.array(volume[1:]) - volume[0]
    found = expected_gains(trained, candidates)
    assert (found > 0).any()
    np.testing.assert_allclose(found, expected / 5, atol=1e-12)


def test_features_tell_architectures_apart_by_what_they_consist_of(feasible: FeasibleSet) -> None:
    found = list(dict.fromkeys(feasible.samples(60, 0)))
    rows = features(found, costs(found))
    assert len(np.unique(rows, axis=0)) == len(found)
    again = features(found[::-1], costs(found[::-1]))
    np.testing.assert_array_equal(again, rows[::-1])


def test_features_tell_the_order_of_the_mixers() -> None:
    both = [
        replace(stage, mixers=order)
        for stage in [Stage(mixers=("conv",), width=8, heads=2, expansion_ratio=2)]
        for order in (("conv", "conv", "attention"), ("attention", "conv", "conv"))
    ]
    found = [Architecture(stem="conv1", patch_size=4, stages=(stage,)) for stage in both]
    rows = features(found, costs(found))
    assert not np.array_equal(rows[0], rows[1])


def accuracy(architecture: Architecture) -> float:
    """More for attention late and convolution early, and for cost, ever less so."""
    first, last = architecture.stages[0], architecture.stages[-1]
    return (
        0.5
        + 0.05 * float(np.log10(cost(architecture).macs))
        + 0.02 * first.mixers.count("conv") / first.depth
        + 0.02 * last.mixers.count("attention") / last.depth
    )


def regret(feasible: FeasibleSet, make: SamplerFactory, *, seed: int) -> float:
    """Area of the front of 400 uniform architectures that 40 trials do not dominate."""
    sampler = FeasibleSampler(make, feasible=feasible, startup=12, seed=seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    seen = []
    for number in range(40):
        sampler.number = number
        trial = study.ask(distributions(feasible.space))
        target = feasible.space.decode(trial.params)
        seen.append([-accuracy(target), float(np.log(cost(target).macs))])
        study.tell(trial, [-seen[-1][0], cost(target).macs])
    everything = np.array(
        [[-accuracy(a), float(np.log(cost(a).macs))] for a in feasible.samples(400, 99)]
    )
    both = np.vstack([everything, seen])[None]
    return float(expected_gains(np.array([seen]), both)[: len(everything)].sum())


@slow
@thorough
def test_the_front_is_found_sooner_than_by_chance(feasible: FeasibleSet) -> None:
    def model(seed: int) -> Surrogate:
        return Surrogate(feasible=feasible, objectives=BOTH, seed=seed)

    seeds = range(some_or_all(1, 2))
    ours = [regret(feasible, model, seed=seed) for seed in seeds]
    uniform = [regret(feasible, lambda seed: None, seed=seed) for seed in seeds]
    assert max(ours) < 0.3 * min(uniform)


def ask(
    sampler: Surrogate,
    complete: Sequence[Architecture],
    values: Sequence[float],
    *,
    running: Sequence[Architecture] = (),
) -> Architecture:
    space = sampler.space
    study = optuna.create_study(direction="maximize")
    for item, value in zip(complete, values, strict=True):
        params, known = space.encode(item), distributions(space)
        study.add_trial(create_trial(params=params, distributions=known, value=value))
    for item in running:
        params, known = space.encode(item), distributions(space)
        study.add_trial(create_trial(params=params, distributions=known, state=TrialState.RUNNING))
    trial = create_trial(state=TrialState.RUNNING)
    return space.decode(sampler.sample_relative(study, trial, {}))


def test_the_startup_is_waited_for(feasible: FeasibleSet) -> None:
    known = list(dict.fromkeys(feasible.samples(9, 1)))[:6]
    early = Surrogate(feasible=feasible, objectives=ONE, seed=0, startup=7)
    plain = Surrogate(feasible=feasible, objectives=ONE, seed=0)
    values = [accuracy(item) for item in known]
    assert ask(early, known, values) == feasible.space.decode(early_any(feasible))
    assert feasible.allows(ask(plain, known, values))


def early_any(feasible: FeasibleSet) -> Encoding:
    """The first uniform encoding of seed 0."""
    rng = np.random.default_rng(0)
    return {
        name: values[int(rng.integers(len(values)))]
        for name, values in feasible.space.parameters.items()
    }


@pytest.mark.parametrize(
    "values", [[0.5] * 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]], ids=["flat", "steep"]
)
def test_what_is_known_is_not_proposed_again(feasible: FeasibleSet, values: list[float]) -> None:
    known = list(dict.fromkeys(feasible.samples(9, 1)))[:6]
    running = list[Architecture]()
    for _ in range(3):
        sampler = Surrogate(feasible=feasible, objectives=ONE, seed=0)
        found = ask(sampler, known, values, running=running)
        assert found not in known + running and feasible.allows(found)
        running.append(found)
