"""Packages whose names are imported when they are first asked for, and that can be called.

A package gathers what its modules offer, and some of them need torch, Plotly or Optuna. Whoever
wants one name of it should not wait for all, so a user's mistake is told before any of them loads.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


class CalledModule(ModuleType):
    """A package that is called as the function in it that has its name.

    `spach_nas.cost` is a function to whoever uses it and a package to Python, which makes every
    package that is imported an attribute of its parent. Both hold when the package can be called.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What that function returns."""
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


def late(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package.

    Args:
        package: Its `__name__`.
        homes: By name, the module of the package that defines it.
    """

    def get(name: str) -> Any:
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
