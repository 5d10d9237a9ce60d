"""Mixers and samplers of the user's: modules that register them when they are imported.

They call `register_mixer` or `register_sampler`. An installed package names such a module under the
entry point group `spach_nas.mixers` or `spach_nas.samplers`, and is loaded when a name is not known
without it. Any other module is imported by the user: in Python, or by `--plugin MODULE` on the
command line. A file never names what is imported.
"""

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

from spach_nas.config.sampler_registry import known_samplers
from spach_nas.errors import PluginError, SpachNasError, one_line
from spach_nas.space.mixers import MixerSpec, known_mixers, plugin_mixers, register_mixer

_brought_in: set[str] = set()


def load_plugins(modules: Iterable[str]) -> None:
    """Import modules that register mixers or samplers; also finds those in the current folder.

    Args:
        modules: Names such as `my_mixers` or `package.module`.

    Raises:
        PluginError: A module cannot be imported, registers nothing, or takes the name of another
            mixer or sampler.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # a command that is installed does not look here
    for name in modules:
        if name not in _brought_in:
            _bring_in(name)
            _brought_in.add(name)


def _bring_in(name: str) -> None:
    before = {*known_mixers(), *known_samplers()}
    _import(name)
    new = {*known_mixers(), *known_samplers()} - before
    # A module that was imported before has registered what it brings in before.
    if not new and name not in _homes():
        raise PluginError(
            f"plugin {name}: registers neither a mixer nor a sampler; expected it to call "
            "spach_nas.register_mixer or spach_nas.register_sampler when it is imported"
        )


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except SpachNasError as problem:
        raise PluginError(f"plugin {name}: {problem}") from None
    except SystemExit as problem:
        raise PluginError(
            f"plugin {name}: ends the program when it is imported (exit code {problem.code}); "
            "expected a module that registers a mixer or a sampler, and runs nothing else"
        ) from problem
    except Exception as problem:
        raise PluginError(
            f"plugin {name}: cannot be imported: {one_line(problem, named=True)}; expected "
            "a module in the current folder or one that is installed"
        ) from problem


def _homes() -> set[str]:
    """Modules that mixers and samplers which are known say they come from."""
    mixers = plugin_mixers(known_mixers())
    samplers = {spec.factory.partition(":")[0] for spec in known_samplers().values()}
    return samplers.union(*({home(spec), _class_module(spec)} for spec in mixers))


def _class_module(spec: MixerSpec) -> str:
    return (spec.module or "").partition(":")[0]


def home(spec: MixerSpec) -> str:
    """The module whose import brings in a mixer: that of its cost function."""
    return getattr(spec.cost, "func", spec.cost).__module__  # of a partial, what it calls


def shipped_modules(specs: Iterable[MixerSpec]) -> list[ModuleType]:
    """Top-level modules of mixers that another machine may not have installed.

    Raises:
        PluginError: A mixer's module cannot be imported by its name.
    """
    names = {module.partition(".")[0] for spec in specs for module in _modules(spec)}
    found = [_import(name) for name in sorted(names - {"spach_nas"})]
    return [module for module in found if not _is_installed(module)]


def restore(specs: Iterable[MixerSpec]) -> None:
    """Make known, in another process, what was known where the search began.

    Raises:
        PluginError: A mixer's module cannot be imported here.
    """
    for spec in specs:
        for module in _modules(spec):
            _import(module)
        if spec.name not in known_mixers():
            register_mixer(spec)


def _modules(spec: MixerSpec) -> set[str]:
    found = {home(spec), _class_module(spec)} - {""}
    if "__main__" in found:
        raise PluginError(
            f"mixer {spec.name!r}: is defined in the script that runs; expected a module of its "
            "own, which other processes can import"
        )
    return found


def _is_installed(module: ModuleType) -> bool:
    path = Path(module.__file__ or "")
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
