"""Names of a package that are imported when they are first asked for.

A package gathers what its modules offer, and some of them need torch, Plotly or Optuna. Whoever
wants one name of it should not wait for all: so a user's mistake is told before any of them loads.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


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
