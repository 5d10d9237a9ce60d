"""Neural architecture search for hybrid vision backbones of convolution, attention and token-MLP.

The names of this package are imported when they are used, so that `import spach_nas` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import wrapt

from spach_nas.version import __version__

if TYPE_CHECKING:
    from spach_nas.architecture import Architecture, Stage
    from spach_nas.errors import SpachNasError
    from spach_nas.export import load_model
    from spach_nas.networks import build, load_official
    from spach_nas.references import REFERENCES
    from spach_nas.report import draw
    from spach_nas.run import search
    from spach_nas.search_space import SearchSpace

_HOME = {
    "Architecture": "spach_nas.architecture",
    "REFERENCES": "spach_nas.references",
    "SearchSpace": "spach_nas.search_space",
    "SpachNasError": "spach_nas.errors",
    "Stage": "spach_nas.architecture",
    "build": "spach_nas.networks",
    "draw": "spach_nas.report",
    "load_model": "spach_nas.export",
    "load_official": "spach_nas.networks",
    "search": "spach_nas.run",
}
__all__ = [
    "REFERENCES",
    "Architecture",
    "SearchSpace",
    "SpachNasError",
    "Stage",
    "__version__",
    "build",
    "draw",
    "load_model",
    "load_official",
    "search",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'spach_nas' has no attribute {name!r}")


@wrapt.when_imported("timm.models")
def _register_with_timm(_: Any) -> None:
    # `import spach_nas, timm` in either order makes `timm.create_model("spach...")` work.
    import_module("spach_nas.networks")
