"""The registry of samplers: by which names a search YAML asks for them.

What makes a sampler is imported when a search begins, so that a YAML is checked without Optuna.
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
        stock: Whether it is Optuna's; a replay can also ask such a sampler without our wrapping.
        ahead: Whether proposals take so long that the next one is made while workers train.
        remembers: Whether the sampler keeps notes in Optuna's study besides the trials, as
            generations are. A resumed search then asks it again for every trial it had proposed.
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
    """Whether the name is known, or is that of a class of `optuna.samplers`.

    Raises:
        PluginError: An installed plugin cannot be imported.
    """
    return name in SAMPLERS or name in SAMPLERS.names() or name in optuna_samplers()


def get_sampler(name: str) -> SamplerSpec:
    """The sampler of a name that `has_sampler` knows; a class of Optuna's becomes one."""
    assert name in SAMPLERS or name.endswith("Sampler"), name
    return SAMPLERS.get(name) or SamplerSpec(
        name=name, factory=f"{_BUILT_IN}:of_optuna", stock=True
    )


@cache
def optuna_samplers() -> tuple[str, ...]:
    """Names of the classes in the `optuna.samplers` that is installed, which is not imported.

    Some are no samplers for a search; `of_optuna` refuses those.
    """
    spec = find_spec("optuna")
    assert spec is not None and spec.origin is not None, "a requirement of this package"
    text = (Path(spec.origin).parent / "samplers" / "__init__.py").read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
            return tuple(name for name in names if name.endswith("Sampler"))
    raise AssertionError(f"{spec.origin}: its samplers have no __all__")
