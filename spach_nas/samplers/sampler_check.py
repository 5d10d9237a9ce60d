"""Whether a sampler can do what a search asks of it, found out before anything is trained."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from spach_nas.config.objectives import Objective
from spach_nas.config.sampler_registry import get_sampler
from spach_nas.config.search_settings import SearchSettings
from spach_nas.errors import ConfigError, PluginError, one_line
from spach_nas.feasible import Feasible
from spach_nas.samplers.factories import make_factory
from spach_nas.samplers.feasible_sampler import OPTUNA_DIRECTIONS, distributions, whole_proposal
from spach_nas.space.architecture import Architecture
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding

_STARTUP = 2
_TRIALS = _STARTUP + 3
_OWN = "spach_nas.samplers.factories:"


def check_sampler(
    settings: SearchSettings, *, feasible: Feasible, objectives: Sequence[Objective]
) -> None:
    """Find out what is wrong with a sampler before anything is trained.

    One that is not of this package is asked for proposals, in a study of made-up scores.

    Raises:
        ConfigError: The sampler is unknown, does not take an option or its value, or cannot
            propose for this space and these objectives.
        PluginError: The sampler's factory cannot be imported.
    """
    factory = get_sampler(settings.sampler).factory
    settings = replace(settings, startup_trials=min(settings.startup_trials, _STARTUP))
    make = make_factory(settings, feasible=feasible, objectives=objectives)
    try:
        sampler = make(0)
        if not factory.startswith(_OWN) or factory == f"{_OWN}of_optuna":
            _try(sampler, space=feasible.space, objectives=objectives)
    except (ConfigError, PluginError):
        raise
    # Whatever a foreign sampler finds wrong, even where it would end the program.
    except (Exception, SystemExit) as problem:
        raise ConfigError(
            f"search.sampler: {settings.sampler} cannot propose for this space and "
            f"{', '.join(item.name for item in objectives)}: {one_line(problem, named=True)}; "
            "expected another sampler, objectives or sampler_options"
        ) from problem


def check_options(
    settings: SearchSettings, *, space: SearchSpace, objectives: Sequence[Objective]
) -> None:
    """The options of a sampler of this package or of Optuna, before anything is counted.

    Raises:
        ConfigError: There is no such sampler, or it does not take an option or its value.
    """
    if get_sampler(settings.sampler).factory.startswith(_OWN):
        make_factory(settings, feasible=_Uncounted(space), objectives=objectives)(0)


class _Uncounted:
    """Stands for what is feasible while a sampler is made, and asked nothing."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.count = None

    def sample(self, seed: int | np.random.Generator) -> Architecture:
        raise AssertionError("no sampler draws while it is made")

    def allows(self, architecture: Architecture) -> bool:
        raise AssertionError("no sampler asks while it is made")

    def near(self, encoding: Encoding, rng: np.random.Generator) -> Architecture:
        raise AssertionError("no sampler asks while it is made")


def _try(
    sampler: BaseSampler | None, *, space: SearchSpace, objectives: Sequence[Objective]
) -> None:
    if sampler is None:
        return
    if not isinstance(sampler, BaseSampler):
        raise TypeError(f"the factory gives {sampler!r}, which is no sampler of Optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        directions=[OPTUNA_DIRECTIONS[item.direction] for item in objectives],
        sampler=_Unrepaired(sampler, space),
    )
    known = distributions(space)
    for i in range(_TRIALS):
        trial = study.ask(known)
        study.tell(trial, [float((i + k) % _TRIALS) for k in range(len(objectives))])
    study.ask(known)


class _Unrepaired(BaseSampler):
    """A sampler asked as in a search, but its proposals are only looked at."""

    def __init__(self, inner: BaseSampler, space: SearchSpace) -> None:
        self._inner = inner
        self._space = space

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return distributions(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        found = whole_proposal(self._inner, study, trial, known=search_space)
        self._space.decode(found)  # complains of what is none of the choices
        return found

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        raise AssertionError(f"{param_name} is no parameter of the search space")

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._inner.after_trial(study, trial, state, values)
