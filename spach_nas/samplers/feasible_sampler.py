"""Optuna's samplers, kept inside the limits.

Any sampler proposes an encoding; before that exists as a trial it is made feasible, canonical and
new. So no proposal is wasted, none is trained twice, and no sampler learns from made-up values.
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

# A sampler by the seed of one proposal: made anew each time, so that a proposal follows from the
# seed, its number and the finished trials alone. None: uniform.
SamplerFactory = Callable[[int], BaseSampler | None]
OPTUNA_DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
MUTATIONS = 50


class SpaceExhausted(Exception):  # noqa: N818  # an outcome, no error
    """Every feasible architecture has been proposed."""


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The space as Optuna knows it: one static distribution for each parameter."""
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
    """What a proposal draws from: the study's seed and its own number decide."""
    return np.random.default_rng([seed, number])


def whole_proposal(
    sampler: BaseSampler, study: Study, trial: FrozenTrial, *, known: dict[str, BaseDistribution]
) -> dict[str, Any]:
    """What a sampler proposes, with a value for every parameter that is known."""
    proposal = sampler.sample_relative(study, trial, dict(known))
    for name, distribution in known.items():
        if name not in proposal:  # left out by a mutation, or by a start-up
            proposal[name] = sampler.sample_independent(study, trial, name, distribution)
    return proposal


class FeasibleSampler(BaseSampler):
    """Wraps any sampler of Optuna: its proposals become feasible, canonical and new.

    Attributes:
        taken: `arch_id` of everything proposed so far; add what else must not be trained again.
        number: Of the next proposal, counted from 0; set it before each ask.
        proposed: What the inner sampler proposed in advance for the next ask; None: ask it then.
        given: The encoding that the next ask has to return, since an earlier run returned it.
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
            make: Makes the sampler.
            feasible: What may be proposed.
            startup: Number of first proposals that are uniform over the feasible architectures.
            seed: Of the study.
            remembers: Whether the sampler is asked even where the encoding is given.
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
        """One for another thread: `propose` of this number, with nothing shared that changes."""
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
            SpaceExhausted: There is none.
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
        """The inner sampler's own proposal, not repaired; None where it has none."""
        inner = self._inner()
        if inner is None:
            return None
        # Asked in the start-up, too: it tells NSGA-II the generation of the trial.
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
        """`found`, or a feasible neighbour, or any feasible one: the first that is new."""
        for changes in range(MUTATIONS):
            if found.arch_id not in self.taken:
                return found
            encoding = self._feasible.space.encode(found)
            # Farther away the longer the neighbourhood proves to be taken.
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
