"""Packages that import their names on first use, and that can be called.

A package collects what its modules offer, and some of these need torch, Plotly or Optuna. Using one
name must not load them all, so that a user's mistake is reported before any of them is imported.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


class CalledModule(ModuleType):
    """A package that can be called like the function in it that has the same name.

    `spach_nas.cost` is a function for users, but Python sets every imported package as an attribute
    of its parent. A callable package is both.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of that function."""
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


def late(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for a package.

    Args:
        package: The `__name__` of the package.
        homes: For each name, the module of the package that defines it.
    """

    def get(name: str) -> Any:
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
