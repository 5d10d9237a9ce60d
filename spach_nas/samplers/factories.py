"""Makes samplers from the settings of a search, and checks that they can do what these ask.

A factory is called anew for every proposal, with a seed for it: a sampler reads from the study what
it needs to know.
"""

import inspect
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, cast

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler

from spach_nas.config.objectives import Objective
from spach_nas.config.sampler_registry import get_sampler
from spach_nas.config.search_settings import OptionValue, SearchSettings
from spach_nas.errors import ConfigError, PluginError, did_you_mean, one_line, one_of
from spach_nas.feasible import Feasible
from spach_nas.registry import import_named
from spach_nas.samplers.feasible_sampler import (
    OPTUNA_DIRECTIONS,
    FeasibleSampler,
    distributions,
)
from spach_nas.space.search_space import SearchSpace

# Arguments that the search sets itself.
_OURS = ("seed", "space", "feasible", "objectives", "startup")
# For each type in an annotation: its name in messages, and the types that YAML gives for it.
_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "int": ("a whole number", (int,)),
    "float": ("a number", (int, float)),
    "str": ("a text", (str,)),
    "bool": ("true or false", (bool,)),
    "None": ("null", (type(None),)),
}
# It enumerates parameter by parameter in its own order, which cannot give whole encodings.
_IMPOSSIBLE = ("BruteForceSampler",)
# `warnings.catch_warnings` affects all threads, and proposals may be made in two.
_QUIET = threading.Lock()
# A check tells a sampler this many made-up results, the first ones during its start-up.
_STARTUP = 2
_TRIALS = _STARTUP + 3
_OWN = "spach_nas."


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerRequest:
    """What a factory makes a sampler from.

    Attributes:
        name: Name of the sampler, as in the YAML.
        seed: Seed of the proposal.
        startup: Number of uniform proposals before the sampler takes over.
        options: `search.sampler_options` of the YAML.
        feasible: What may be proposed. A sampler may draw from it and query it, but need not:
            its proposals are made feasible.
        objectives: What is optimised; the study's directions and values are in this order.
    """

    name: str
    seed: int
    startup: int
    options: Mapping[str, OptionValue]
    feasible: Feasible
    objectives: tuple[Objective, ...]

    @property
    def space(self) -> SearchSpace:
        """What is searched."""
        return self.feasible.space


Factory = Callable[[SamplerRequest], BaseSampler | None]


def make_factory(
    settings: SearchSettings, *, feasible: Feasible, objectives: Sequence[Objective]
) -> Callable[[int], BaseSampler | None]:
    """A function that makes the sampler for the seed of one proposal; None is uniform.

    Raises:
        PluginError: The sampler's factory cannot be imported.
    """
    spec = get_sampler(settings.sampler)
    found = import_named(spec.factory, what=f"sampler {spec.name!r}")
    factory: Factory = partial(make_sampler, found) if _is_sampler(found) else found

    def make(seed: int) -> BaseSampler | None:
        request = SamplerRequest(
            name=spec.name,
            seed=seed,
            startup=settings.startup_trials,
            options=settings.sampler_options,
            feasible=feasible,
            objectives=tuple(objectives),
        )
        return factory(request)

    return make


def make_sampler(
    kind: type[BaseSampler],
    request: SamplerRequest,
    *,
    defaults: Mapping[str, Any] | None = None,
) -> BaseSampler:
    """A sampler of a class, with the options of the YAML as arguments.

    Args:
        kind: The class; it is called with the options, and with those of `seed`, `space`,
            `feasible`, `objectives` and `startup` that it takes.
        request: Its options are checked against the annotations of the class.
        defaults: Further arguments, which options of the same name replace.

    Raises:
        ConfigError: The class does not take an option, or not with that value.
    """
    parameters = inspect.signature(kind).parameters
    _check_options(request, {name: _kinds(item) for name, item in parameters.items()})
    ours = {name: getattr(request, name) for name in _OURS if name in parameters}
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return kind(**ours, **{**(defaults or {}), **request.options})
    except (TypeError, ValueError) as problem:
        options = ", ".join(f"{name}: {value}" for name, value in request.options.items())
        raise ConfigError(
            f"search.sampler_options: {options or 'none'}; expected what {request.name} takes: "
            f"{one_line(problem)}"
        ) from problem


def random(request: SamplerRequest) -> None:
    """Uniform over the feasible architectures, which needs no sampler."""
    _check_options(request, {})


def nsga2(request: SamplerRequest) -> BaseSampler:
    """NSGA-II: Deb et al. 2002; the start-up is as large as a generation."""
    return make_sampler(
        NSGAIISampler, request, defaults={"population_size": max(2, request.startup)}
    )


def tpe(request: SamplerRequest) -> BaseSampler:
    """Tree-structured Parzen estimator: Bergstra et al. 2011, over all parameters at once."""
    defaults = {
        "multivariate": True,
        "constant_liar": True,
        "n_startup_trials": request.startup,
    }
    return make_sampler(TPESampler, request, defaults=defaults)


def gp(request: SamplerRequest) -> BaseSampler:
    """Gaussian process; for several objectives by the hypervolume that a trial may add."""
    defaults = {
        "n_startup_trials": request.startup,
        "deterministic_objective": False,
        "warn_independent_sampling": False,
    }
    return make_sampler(GPSampler, request, defaults=defaults)


def of_optuna(request: SamplerRequest) -> BaseSampler:
    """A class of `optuna.samplers` by its name, with Optuna's defaults.

    Raises:
        ConfigError: There is no such class, or it needs more than options can say.
    """
    classes = _optuna_classes()
    kind = classes.get(request.name)
    if kind is None:
        raise ConfigError(
            f"search.sampler: {request.name!r}; expected of optuna.samplers {one_of(classes)}"
            f"{did_you_mean(request.name, classes)}"
        )
    parameters = inspect.signature(kind).parameters
    # Without its warnings about parameters that are sampled independently: the whole encoding is
    # made feasible anyway.
    defaults: dict[str, OptionValue] = {
        name: False
        for name, item in parameters.items()
        if name.startswith("warn_") and item.default is True
    }
    if "n_startup_trials" in parameters:
        defaults["n_startup_trials"] = request.startup
    return make_sampler(kind, request, defaults=defaults)


@cache
def _optuna_classes() -> dict[str, type[BaseSampler]]:
    """Samplers of Optuna that propose whole encodings and have no required arguments."""
    found = {}
    for name, kind in sorted(vars(optuna.samplers).items()):
        if not _is_sampler(kind) or inspect.isabstract(kind) or name in _IMPOSSIBLE:
            continue
        arguments = inspect.signature(kind).parameters.values()
        if all(item.default is not item.empty for item in arguments):
            found[name] = kind
    return found


def _is_sampler(item: object) -> bool:
    return inspect.isclass(item) and issubclass(item, BaseSampler)


def _check_options(request: SamplerRequest, legal: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse options that are not among the legal ones, or not of their kinds."""
    names = [name for name, kinds in legal.items() if kinds and name not in _OURS]
    mistakes = []
    for name, value in request.options.items():
        place = f"search.sampler_options.{name}"
        if name not in names:
            mistakes.append(
                f"{place}: {request.name} has no such option; expected "
                f"{one_of(names) or 'none'}{did_you_mean(name, names)}"
            )
            continue
        types = {type_ for kind in legal[name] for type_ in _KINDS[kind][1]}
        if type(value) not in types:  # not isinstance: True is no number here
            expected = one_of(_KINDS[kind][0] for kind in legal[name])
            mistakes.append(f"{place}: {value!r}; expected {expected}")
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def _kinds(parameter: inspect.Parameter) -> tuple[str, ...]:
    """`int | None` as the names of both types; empty if a YAML cannot give a value."""
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    kinds = tuple(kind for kind in text.replace(" ", "").split("|") if kind in _KINDS)
    return () if kinds == ("None",) else kinds


def check_sampler(
    settings: SearchSettings, *, feasible: Feasible, objectives: Sequence[Objective]
) -> None:
    """Check a sampler before anything is trained.

    Samplers from outside this package are asked for proposals in a study of made-up scores.

    Raises:
        ConfigError: The sampler is unknown, does not take an option or its value, or cannot
            propose for this space and these objectives.
        PluginError: The sampler's factory cannot be imported.
    """
    spec = get_sampler(settings.sampler)
    settings = replace(settings, startup_trials=min(settings.startup_trials, _STARTUP))
    make = make_factory(settings, feasible=feasible, objectives=objectives)
    try:
        sampler = make(0)
        # Those of this package have tests; any other class of Optuna may not suit the space.
        if not spec.factory.startswith(_OWN) or spec.name in _optuna_classes():
            _try(sampler, feasible=feasible, objectives=objectives)
    except (ConfigError, PluginError):
        raise
    # A foreign sampler may raise anything, even what would end the program.
    except (Exception, SystemExit) as problem:
        raise ConfigError(
            f"search.sampler: {settings.sampler} cannot propose for this space and "
            f"{', '.join(item.name for item in objectives)}: {one_line(problem, named=True)}; "
            "expected another sampler, objectives or sampler_options"
        ) from problem


def check_options(
    settings: SearchSettings, *, space: SearchSpace, objectives: Sequence[Objective]
) -> None:
    """Check the options of a sampler of this package or of Optuna, before anything is counted.

    Raises:
        ConfigError: There is no such sampler, or it does not take an option or its value.
    """
    if get_sampler(settings.sampler).factory.startswith(_OWN):
        # A sampler is only made here, and asks for nothing but the space while it is.
        uncounted = cast(Feasible, SimpleNamespace(space=space))
        make_factory(settings, feasible=uncounted, objectives=objectives)(0)


def _try(
    sampler: BaseSampler | None, *, feasible: Feasible, objectives: Sequence[Objective]
) -> None:
    """Ask a sampler for proposals as a search does, in a study of made-up scores."""
    if sampler is None:
        return
    if not isinstance(sampler, BaseSampler):
        raise TypeError(f"the factory gives {sampler!r}, which is no sampler of Optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asked = FeasibleSampler(lambda _: sampler, feasible=feasible, startup=0, seed=0)
    study = optuna.create_study(
        directions=[OPTUNA_DIRECTIONS[item.direction] for item in objectives], sampler=asked
    )
    known = distributions(feasible.space)
    for number in range(_TRIALS + 1):
        asked.taken.clear()  # a space may have fewer architectures than are asked for here
        asked.number = number
        trial = study.ask(known)
        if number < _TRIALS:
            scores = [float((number + k) % _TRIALS) for k in range(len(objectives))]
            study.tell(trial, scores)
