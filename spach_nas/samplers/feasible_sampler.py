"""Optuna's samplers, kept inside the limits.

Before a sampler's proposal becomes a trial, it is made feasible, canonical and new. So no proposal
is wasted, none is trained twice, and no sampler learns from made-up values.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from spach_nas.feasible import Feasible
from spach_nas.space.architecture import Architecture
from spach_nas.space.layouts import Value
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding

# Makes a sampler from the seed of one proposal, so that the proposal depends only on the seed, its
# number and the finished trials. None stands for uniform proposals.
SamplerFactory = Callable[[int], BaseSampler | None]
OPTUNA_DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
MUTATIONS = 50


class SpaceExhausted(Exception):  # noqa: N818  # an outcome, no error
    """Every feasible architecture has been proposed."""


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The space in Optuna's terms: one static distribution for each parameter."""
    return {name: _distribution(values) for name, values in space.parameters.items()}


def _distribution(values: Sequence[Value]) -> BaseDistribution:
    numbers = not any(isinstance(value, str | bool) for value in values)
    steps = {b - a for a, b in pairwise(values)} if numbers else set()  # type: ignore[operator]
    step = steps.pop() if len(steps) == 1 else 0
    if step <= 0:
        return CategoricalDistribution(list(values))
    if all(isinstance(value, int) for value in values):
        return IntDistribution(int(values[0]), int(values[-1]), step=int(step))
    return FloatDistribution(float(values[0]), float(values[-1]), step=float(step))


def random_source(seed: int, number: int) -> np.random.Generator:
    """The random source of one proposal, from the study's seed and the proposal's number."""
    return np.random.default_rng([seed, number])


def whole_proposal(
    sampler: BaseSampler, study: Study, trial: FrozenTrial, *, known: dict[str, BaseDistribution]
) -> dict[str, Any]:
    """A sampler's proposal, completed to a value for every parameter."""
    proposal = sampler.sample_relative(study, trial, dict(known))
    for name, distribution in known.items():
        if name not in proposal:  # a mutation leaves parameters out, a start-up all of them
            proposal[name] = sampler.sample_independent(study, trial, name, distribution)
    return proposal


class FeasibleSampler(BaseSampler):
    """Wraps any sampler of Optuna, and makes its proposals feasible, canonical and new.

    Attributes:
        taken: `arch_id` of everything proposed so far; add what else must not be trained again.
        number: Number of the next proposal, from 0; set it before each ask.
        proposed: The inner sampler's proposal for the next ask, if it was made in advance.
        given: The encoding that the next ask must return because an earlier run returned it.
    """

    def __init__(
        self,
        make: SamplerFactory,
        *,
        feasible: Feasible,
        startup: int,
        seed: int,
        remembers: bool = True,
    ) -> None:
        """Wrap a sampler.

        Args:
            make: Makes the sampler for each proposal.
            feasible: What may be proposed.
            startup: Number of first proposals that are uniform over the feasible architectures.
            seed: Seed of the study.
            remembers: Whether the sampler is asked even if the encoding is given.
        """
        self._make = make
        self._feasible = feasible
        self._startup = startup
        self._seed = seed
        self._remembers = remembers
        self._distributions = distributions(feasible.space)
        self.taken: set[str] = set()
        self.number = 0
        self.proposed: Encoding | None = None
        self.given: Encoding | None = None

    def alike(self, number: int) -> "FeasibleSampler":
        """A copy that makes proposal `number` in another thread; no state is shared."""
        other = FeasibleSampler(
            self._make,
            feasible=self._feasible,
            startup=self._startup,
            seed=self._seed,
            remembers=self._remembers,
        )
        other.number = number
        return other

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The whole space: nothing is left to independent sampling."""
        return dict(self._distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The encoding of a feasible architecture that was not proposed before.

        Raises:
            SpaceExhausted: All have been proposed.
        """
        if self.given is not None:
            given, self.given = self.given, None
            if self._remembers:
                self.propose(study, trial)
            return dict(given)
        proposal, self.proposed = self.proposed or self.propose(study, trial), None
        rng = random_source(self._seed, self.number)
        rng.integers(2**31)  # the sampler's own seed
        if proposal is None or self.number < self._startup:
            found = self._new(self._feasible.sample(rng), rng)
        else:
            found = self._new(self._feasible.near(proposal, rng), rng)
        self.taken.add(found.arch_id)
        return self._feasible.space.encode(found)

    def propose(self, study: Study, trial: FrozenTrial) -> Encoding | None:
        """The inner sampler's own proposal, not repaired; None if proposals are uniform."""
        inner = self._inner()
        if inner is None:
            return None
        # Asked during the start-up, too, because NSGA-II then notes the trial's generation.
        return whole_proposal(inner, study, trial, known=self._distributions)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Never needed, since `sample_relative` sets every parameter."""
        raise AssertionError(f"{param_name} is no parameter of the search space")

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Passed on."""
        if (inner := self._inner()) is not None:
            inner.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Passed on."""
        if (inner := self._inner()) is not None:
            inner.after_trial(study, trial, state, values)

    def _inner(self) -> BaseSampler | None:
        return self._make(int(random_source(self._seed, self.number).integers(2**31)))

    def _new(self, found: Architecture, rng: np.random.Generator) -> Architecture:
        """The first that is new of `found`, its feasible neighbours, and any feasible one."""
        for changes in range(MUTATIONS):
            if found.arch_id not in self.taken:
                return found
            encoding = self._feasible.space.encode(found)
            # The more neighbours are taken, the farther away it looks.
            for _ in range(1 + changes // 10):
                name = list(self._distributions)[rng.integers(len(self._distributions))]
                choices = self._feasible.space.parameters[name]
                encoding[name] = choices[rng.integers(len(choices))]
            found = self._feasible.near(encoding, rng)
        return self._any_new(rng)

    def _any_new(self, rng: np.random.Generator) -> Architecture:
        count = self._feasible.count
        # Each draw is new with probability (count - taken) / count.
        for _ in range(20 * (count or 10_000)):
            if count is not None and len(self.taken) >= count:
                break
            found = self._feasible.sample(rng)
            if found.arch_id not in self.taken:
                return found
        raise SpaceExhausted
