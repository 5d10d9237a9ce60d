"""Neural architecture search for hybrid vision backbones of convolution, attention and token-MLP.

The names of this package are imported when they are used, so that `import spach_nas` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import wrapt

from spach_nas.version import __version__

if TYPE_CHECKING:
    from spach_nas.architecture import Architecture, Stage
    from spach_nas.config import SearchConfig
    from spach_nas.cost import cost
    from spach_nas.errors import SpachNasError
    from spach_nas.export import load_model
    from spach_nas.latency import latency
    from spach_nas.networks import build, load_official
    from spach_nas.references import REFERENCES
    from spach_nas.report import draw
    from spach_nas.run import search
    from spach_nas.search_space import SearchSpace
    from spach_nas.study import Study, open_study

_HOME = {
    "Architecture": "spach_nas.architecture",
    "REFERENCES": "spach_nas.references",
    "SearchConfig": "spach_nas.config",
    "SearchSpace": "spach_nas.search_space",
    "SpachNasError": "spach_nas.errors",
    "Stage": "spach_nas.architecture",
    "Study": "spach_nas.study",
    "build": "spach_nas.networks",
    "cost": "spach_nas.cost",
    "draw": "spach_nas.report",
    "latency": "spach_nas.latency",
    "load_model": "spach_nas.export",
    "load_official": "spach_nas.networks",
    "open_study": "spach_nas.study",
    "search": "spach_nas.run",
}
__all__ = [
    "REFERENCES",
    "Architecture",
    "SearchConfig",
    "SearchSpace",
    "SpachNasError",
    "Stage",
    "Study",
    "__version__",
    "build",
    "cost",
    "draw",
    "latency",
    "load_model",
    "load_official",
    "open_study",
    "search",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        module = import_module(_HOME[name])
        # `cost` and `latency` are modules, too, and callable as such: the same whatever was first.
        return globals().get(name) or getattr(module, name)
    raise AttributeError(f"module 'spach_nas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)


@wrapt.when_imported("timm.models")
def _register_with_timm(_: Any) -> None:
    # `import spach_nas, timm` in either order makes `timm.create_model("spach...")` work.
    import_module("spach_nas.networks")
