"""Regularised evolution and local search: both change a choice or two of a good architecture."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import moocore
import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from spach_nas.samplers.feasible_sampler import distributions
from spach_nas.samplers.ranking import rank_by_front
from spach_nas.space.architecture import Architecture
from spach_nas.space.layouts import Value
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding

_SECOND_CHANGE = 0.2
# Weight of the neighbouring value of an ordered choice; values farther away have 1.
_NEXT_STEP = 5.0
_TRIES = 100


class FromTrials(BaseSampler):
    """Base of samplers that propose whole encodings from the complete trials alone.

    They draw from their seed and store nothing. Their proposals may be outside the limits, since
    those of any sampler are repaired.

    Attributes:
        space: The search space.
    """

    def __init__(self, *, space: SearchSpace, seed: int) -> None:
        self.space = space
        self._rng = np.random.default_rng(seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The whole space."""
        return distributions(self.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """An encoding proposed from the complete trials, or any encoding while there are none."""
        trials = study.get_trials(deepcopy=False)
        complete = [item for item in trials if item.state == TrialState.COMPLETE]
        if not complete:
            return self._any()
        maximise = [way == StudyDirection.MAXIMIZE for way in study.directions]
        return self._propose(complete, maximise=maximise, known=trials)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Never needed, since `sample_relative` sets every parameter."""
        raise AssertionError(f"{param_name} is no parameter of the search space")

    @abstractmethod
    def _propose(
        self,
        complete: Sequence[FrozenTrial],
        *,
        maximise: Sequence[bool],
        known: Sequence[FrozenTrial],
    ) -> Encoding: ...

    def _any(self) -> Encoding:
        return {name: self._one_of(values) for name, values in self.space.parameters.items()}

    def _one_of(self, values: Sequence[Value]) -> Value:
        return values[int(self._rng.integers(len(values)))]


class RegularisedEvolution(FromTrials):
    """Evolution by age, in which even good parents die: Real et al. 2019, arXiv:1802.01548.

    The parents are the last complete trials. Some of them are drawn, and the best of these has a
    child that differs in one choice, sometimes in two. With several objectives, the best is the
    least crowded one of the earliest front (Deb et al. 2002).
    """

    def __init__(
        self, *, space: SearchSpace, seed: int, population: int = 50, tournament: int = 10
    ) -> None:
        """Make a sampler for one proposal.

        Args:
            space: The search space.
            seed: Seed of the proposal.
            population: Number of parents, the last complete trials.
            tournament: Number of parents that are drawn for a child.

        Raises:
            ValueError: A number out of range.
        """
        if not 1 <= tournament <= population:
            raise ValueError(f"tournament from 1 to the population, which is {population}")
        super().__init__(space=space, seed=seed)
        self._population = population
        self._tournament = tournament

    def _propose(
        self,
        complete: Sequence[FrozenTrial],
        *,
        maximise: Sequence[bool],
        known: Sequence[FrozenTrial],
    ) -> Encoding:
        parents = complete[-self._population :]
        size = min(self._tournament, len(parents))
        drawn = set(self._rng.choice(len(parents), size, replace=False).tolist())
        # All parents are ranked: among the few drawn, the ends of the front would always win.
        order = rank_by_front(np.array([trial.values for trial in parents]), maximise=maximise)
        return self._mutate(dict(parents[next(i for i in order.tolist() if i in drawn)].params))

    def _mutate(self, parent: Encoding) -> Encoding:
        """A child that is another architecture: several encodings may give the same one."""
        before = self.space.decode(parent)
        names = list(self.space.parameters)
        child = parent
        for _ in range(_TRIES):
            child = dict(parent)
            for _ in range(1 + int(self._rng.random() < _SECOND_CHANGE)):
                name = names[self._rng.integers(len(names))]
                others = [v for v in self.space.parameters[name] if v != child[name]]
                child[name] = self._one_of(others)
            if self.space.decode(child) != before:
                break
        return child


class LocalSearch(FromTrials):
    """Neighbours of the best: White et al. 2020, arXiv:2005.02960.

    A neighbour differs in one choice, and if that is ordered, mostly by one step. Neighbours of the
    best trial are proposed until a better one is found or none is left; then any encoding becomes
    the next start. With several objectives, the best are all trials that no other dominates (Pareto
    local search, Paquete et al. 2004), and those with the fewest neighbours tried come first.
    """

    def _propose(
        self,
        complete: Sequence[FrozenTrial],
        *,
        maximise: Sequence[bool],
        known: Sequence[FrozenTrial],
    ) -> Encoding:
        best = moocore.is_nondominated(
            np.array([trial.values for trial in complete]), maximise=maximise, keep_weakly=False
        )
        tried = {self._key(trial.params) for trial in known if trial.params}
        members = [dict(trial.params) for trial, kept in zip(complete, best, strict=True) if kept]
        numbers = self._neighbours_tried(members, tried)
        # Shuffled first, so that members with equal numbers come in random order.
        for i in sorted(self._rng.permutation(len(members)).tolist(), key=numbers.__getitem__):
            found, weights = [], []
            for neighbour, weight in self._neighbours(members[i]):
                if self._key(neighbour) not in tried:
                    found.append(neighbour)
                    weights.append(weight)
            if found:
                return found[self._rng.choice(len(found), p=np.array(weights) / sum(weights))]
        return self._any()

    def _neighbours_tried(
        self, members: Sequence[Encoding], tried: set[tuple[int, ...]]
    ) -> list[int]:
        """For each member, the number of trials that differ from it in one choice."""
        rows = np.array(sorted(tried))
        return [int(((rows != self._key(item)).sum(1) == 1).sum()) for item in members]

    def _neighbours(self, parent: Encoding) -> Iterator[tuple[Encoding, float]]:
        """Canonical encodings of neighbours and their weights, which sum to 1 per parameter."""
        before = self.space.decode(parent)
        for name, values in self.space.parameters.items():
            others = [value for value in values if value != parent[name]]
            weights = [self._weight(values, parent[name], value) for value in others]
            for value, weight in zip(others, weights, strict=True):
                found: Architecture = self.space.decode({**parent, name: value})
                if found != before:
                    yield self.space.encode(found), weight / sum(weights)

    def _weight(self, values: Sequence[Value], here: Value, there: Value) -> float:
        ordered = not any(isinstance(value, str | bool) for value in values)
        return _NEXT_STEP if ordered and abs(values.index(here) - values.index(there)) == 1 else 1.0

    def _key(self, encoding: Encoding) -> tuple[int, ...]:
        """An encoding as the index of each choice."""
        return tuple(values.index(encoding[name]) for name, values in self.space.parameters.items())
