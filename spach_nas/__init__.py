"""Neural architecture search for hybrid vision backbones of convolution, attention and token-MLP.

The names of this package are imported on first use, so that `import spach_nas` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import wrapt

from spach_nas.version import __version__

if TYPE_CHECKING:
    from spach_nas.config.evaluator_registry import EvaluatorSpec, register_evaluator
    from spach_nas.config.logger_registry import LoggerSpec, register_logger
    from spach_nas.config.runtime_registry import RuntimeSpec, register_runtime
    from spach_nas.config.sampler_registry import SamplerSpec, register_sampler
    from spach_nas.config.search_yaml import SearchConfig, load_config
    from spach_nas.cost import cost
    from spach_nas.errors import SpachNasError
    from spach_nas.export import load_model
    from spach_nas.latency import latency
    from spach_nas.networks import build, load_official
    from spach_nas.report import draw
    from spach_nas.search import search
    from spach_nas.space.architecture import Architecture, Stage
    from spach_nas.space.mixers import MixerCost, MixerSite, MixerSpec, register_mixer
    from spach_nas.space.references import REFERENCES
    from spach_nas.space.search_space import SearchSpace
    from spach_nas.study.records import read_records
    from spach_nas.study.results import Study, open_study

_HOME = {
    "Architecture": "spach_nas.space.architecture",
    "LoggerSpec": "spach_nas.config.logger_registry",
    "EvaluatorSpec": "spach_nas.config.evaluator_registry",
    "MixerCost": "spach_nas.space.mixers",
    "MixerSite": "spach_nas.space.mixers",
    "MixerSpec": "spach_nas.space.mixers",
    "REFERENCES": "spach_nas.space.references",
    "RuntimeSpec": "spach_nas.config.runtime_registry",
    "SamplerSpec": "spach_nas.config.sampler_registry",
    "SearchConfig": "spach_nas.config.search_yaml",
    "SearchSpace": "spach_nas.space.search_space",
    "SpachNasError": "spach_nas.errors",
    "Stage": "spach_nas.space.architecture",
    "Study": "spach_nas.study.results",
    "build": "spach_nas.networks",
    "cost": "spach_nas.cost",
    "draw": "spach_nas.report",
    "latency": "spach_nas.latency",
    "load_config": "spach_nas.config.search_yaml",
    "load_model": "spach_nas.export",
    "load_official": "spach_nas.networks",
    "open_study": "spach_nas.study.results",
    "read_records": "spach_nas.study.records",
    "register_logger": "spach_nas.config.logger_registry",
    "register_evaluator": "spach_nas.config.evaluator_registry",
    "register_mixer": "spach_nas.space.mixers",
    "register_runtime": "spach_nas.config.runtime_registry",
    "register_sampler": "spach_nas.config.sampler_registry",
    "search": "spach_nas.search",
}
__all__ = [
    "REFERENCES",
    "Architecture",
    "EvaluatorSpec",
    "LoggerSpec",
    "MixerCost",
    "MixerSite",
    "MixerSpec",
    "RuntimeSpec",
    "SamplerSpec",
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
    "load_config",
    "load_model",
    "load_official",
    "open_study",
    "read_records",
    "register_evaluator",
    "register_logger",
    "register_mixer",
    "register_runtime",
    "register_sampler",
    "search",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        module = import_module(_HOME[name])
        # `cost`, `latency` and `search` are also packages, and Python sets an imported package as
        # an attribute here. These packages are callable, so users need not know which one they get.
        return globals().get(name) or getattr(module, name)
    raise AttributeError(f"module 'spach_nas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)


@wrapt.when_imported("timm.models")
def _register_with_timm(_: Any) -> None:
    # A hook instead of an import: `timm.create_model("spach...")` works whichever of the two is
    # imported first, and `import spach_nas` does not load timm.
    import_module("spach_nas.networks")
