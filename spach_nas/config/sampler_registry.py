"""The registry of samplers, by the names that a search YAML uses.

A sampler's factory is imported when a search begins, so that a YAML is checked without Optuna.
"""

import ast
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

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
    """Whether a sampler, or a class of `optuna.samplers`, has the name.

    Raises:
        PluginError: An installed plugin cannot be imported.
    """
    return name in SAMPLERS or name in SAMPLERS.names() or name in optuna_samplers()


def get_sampler(name: str) -> SamplerSpec:
    """The sampler of a name for which `has_sampler` holds; for a class of Optuna, one is made."""
    assert name in SAMPLERS or name.endswith("Sampler"), name
    return SAMPLERS.get(name) or SamplerSpec(
        name=name, factory=f"{_BUILT_IN}:of_optuna", stock=True
    )


@cache
def optuna_samplers() -> tuple[str, ...]:
    """Names of the sampler classes of the installed Optuna, read without importing it.

    Some are unsuitable for a search; `of_optuna` refuses those.
    """
    spec = find_spec("optuna")
    assert spec is not None and spec.origin is not None, "a requirement of this package"
    text = (Path(spec.origin).parent / "samplers" / "__init__.py").read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
            return tuple(name for name in names if name.endswith("Sampler"))
    raise AssertionError(f"{spec.origin}: its samplers have no __all__")
