"""Users' modules, which register mixers, samplers and so on when they are imported.

Installed packages name such modules by entry points; see `Registry`. Other modules are imported by
the user, in Python or by `--plugin MODULE` on the command line. No file ever decides what is
imported.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from spach_nas.config.evaluator_registry import EVALUATORS
from spach_nas.config.logger_registry import LOGGERS
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.runtime_registry import RUNTIMES
from spach_nas.config.sampler_registry import SAMPLERS
from spach_nas.errors import PluginError, SpachNasError, one_line, one_of
from spach_nas.registry import Registry
from spach_nas.space.mixers import MIXERS, MixerSpec, modules_of, register_mixer

# What users' modules may add to.
REGISTRIES: tuple[Registry[Any], ...] = (
    MIXERS,
    SAMPLERS,
    EVALUATORS,
    OBJECTIVES,
    LOGGERS,
    RUNTIMES,
)
brought_in: set[str] = set()


def load_plugins(modules: Iterable[str]) -> None:
    """Import modules that register something, from the current folder too.

    Args:
        modules: Names such as `my_mixers` or `package.module`.

    Raises:
        PluginError: A module cannot be imported, registers nothing, or takes a name that another
            entry has.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        # An installed command does not look here. Last, so that no user's file hides a library.
        sys.path.append(here)
    for name in modules:
        if name not in brought_in:
            _bring_in(name)
            brought_in.add(name)


def _bring_in(name: str) -> None:
    before = [len(registry) for registry in REGISTRIES]
    _import(name)
    new = before != [len(registry) for registry in REGISTRIES]
    # A module that was imported earlier has registered its entries already.
    if not new and name not in set[str]().union(*(registry.homes() for registry in REGISTRIES)):
        raise PluginError(
            f"plugin {name}: registers no {one_of(registry.kind for registry in REGISTRIES)}; "
            "expected it to call spach_nas.register_mixer, spach_nas.register_sampler or the like "
            "when it is imported"
        )


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except SpachNasError as problem:
        raise PluginError(f"plugin {name}: {problem}") from None
    except SystemExit as problem:
        raise PluginError(
            f"plugin {name}: ends the program when it is imported (exit code {problem.code}); "
            "expected a module that registers its entries, and runs nothing else"
        ) from problem
    except Exception as problem:
        raise PluginError(
            f"plugin {name}: cannot be imported: {one_line(problem, named=True)}; expected "
            "a module in the current folder or one that is installed"
        ) from problem


def shipped_modules(
    specs: Iterable[MixerSpec], *, evaluators: Iterable[str] = ()
) -> list[ModuleType]:
    """Top-level modules that another machine may not have installed.

    Args:
        specs: Mixers.
        evaluators: The modules that make evaluators.

    Raises:
        PluginError: A module cannot be imported by its name.
    """
    names = {module for spec in specs for module in _modules(spec)} | set(evaluators)
    # Whole top-level modules, because a mixer may import its neighbours.
    tops = {name.partition(".")[0] for name in names} - {"spach_nas"}
    found = [_import(name) for name in sorted(tops)]
    return [module for module in found if not _is_installed(module)]


def restore(specs: Iterable[MixerSpec]) -> None:
    """Register in another process what was registered where the search began.

    Raises:
        PluginError: A mixer's module cannot be imported here.
    """
    for spec in specs:
        for module in _modules(spec):
            _import(module)
        # The import has registered it, unless the user's main program did so.
        if spec.name not in MIXERS:
            register_mixer(spec)


def _modules(spec: MixerSpec) -> set[str]:
    found = modules_of(spec)
    if "__main__" in found:
        raise PluginError(
            f"mixer {spec.name!r}: is defined in the script that runs; expected a module of its "
            "own, which other processes can import"
        )
    return found


def _is_installed(module: ModuleType) -> bool:
    path = Path(module.__file__ or "")
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
