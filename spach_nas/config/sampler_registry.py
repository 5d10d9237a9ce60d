"""The registry of samplers, by the names that a search YAML uses.

A sampler's factory is imported when a search begins, so that a YAML is checked without Optuna.
"""

import re
from dataclasses import dataclass

from spach_nas.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerSpec:
    """A way to propose architectures.

    Attributes:
        name: As in the YAML.
        factory: `package.module:name` of a class of samplers, whose options are the arguments of
            the class, or of a function that makes a sampler of Optuna from a `SamplerRequest`. It
            is called anew for each proposal, so that a proposal follows from the seed and the
            finished trials alone.
        stock: Whether it is a sampler of Optuna, which a replay can also run without our wrapper.
        ahead: Whether proposals are so slow that the next one is made while workers train.
        remembers: Whether the sampler stores more than the trials in Optuna's study, such as
            generations. A resumed search then asks it again for every earlier trial.
    """

    name: str
    factory: str
    stock: bool = False
    ahead: bool = False
    remembers: bool = True


# Names of classes of Optuna's samplers.
OF_OPTUNA = re.compile(r"[A-Za-z][A-Za-z0-9_]*Sampler")
_SAMPLERS = "spach_nas.samplers"
_BUILT_IN = f"{_SAMPLERS}.factories"
SAMPLERS: Registry[SamplerSpec] = Registry(
    "sampler", homes=lambda spec: {spec.factory.partition(":")[0]}
)
for _spec in (
    SamplerSpec(name="random", factory=f"{_BUILT_IN}:random", remembers=False),
    SamplerSpec(name="nsga2", factory=f"{_BUILT_IN}:nsga2", stock=True),
    SamplerSpec(name="tpe", factory=f"{_BUILT_IN}:tpe", stock=True, remembers=False),
    SamplerSpec(name="gp", factory=f"{_BUILT_IN}:gp", stock=True, remembers=False, ahead=True),
    SamplerSpec(
        name="evolution", factory=f"{_SAMPLERS}.evolution:RegularisedEvolution", remembers=False
    ),
    SamplerSpec(name="local", factory=f"{_SAMPLERS}.evolution:LocalSearch", remembers=False),
    SamplerSpec(name="surrogate", factory=f"{_SAMPLERS}.surrogate:Surrogate", remembers=False),
):
    SAMPLERS.register(_spec)


def register_sampler(spec: SamplerSpec) -> None:
    """Make a sampler known by its name.

    Raises:
        PluginError: Another sampler has the name.
    """
    SAMPLERS.register(spec)


def sampler_names() -> tuple[str, ...]:
    """All names but those of Optuna's classes.

    Raises:
        PluginError: An installed plugin cannot be imported.
    """
    return SAMPLERS.names()


def has_sampler(name: str) -> bool:
    """Whether a sampler has the name, or a class of `optuna.samplers` may have it.

    Whether there is such a class shows when a search is planned: Optuna takes a second to import.

    Raises:
        PluginError: An installed plugin cannot be imported.
    """
    return name in SAMPLERS or name in SAMPLERS.names() or bool(OF_OPTUNA.fullmatch(name))


def get_sampler(name: str) -> SamplerSpec:
    """The sampler of a name for which `has_sampler` holds; for a class of Optuna, one is made."""
    # Anything else was refused when the YAML was read.
    assert name in SAMPLERS or OF_OPTUNA.fullmatch(name), name
    return SAMPLERS.get(name) or SamplerSpec(
        name=name, factory=f"{_BUILT_IN}:of_optuna", stock=True
    )
