"""What samplers of this package share that read nothing but the study's complete trials."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from spach_nas.samplers.feasible_sampler import distributions
from spach_nas.space.layouts import Value
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding


class FromTrials(BaseSampler):
    """Proposes whole encodings from the complete trials.

    It draws from its seed and keeps no notes. What it proposes may be outside the limits: it is
    repaired as that of any sampler.
    """

    def __init__(self, *, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._rng = np.random.default_rng(seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The whole space."""
        return distributions(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """An encoding from those that are complete; any while there are none."""
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
        return {name: self._one_of(values) for name, values in self._space.parameters.items()}

    def _one_of(self, values: Sequence[Value]) -> Value:
        return values[int(self._rng.integers(len(values)))]
