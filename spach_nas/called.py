"""Modules that can be called.

`spach_nas.cost` is a function to whoever uses it and a module to Python, which makes every module
that is imported an attribute of its package. Both at once hold when the module can be called.
"""

from types import ModuleType
from typing import Any


class CalledModule(ModuleType):
    """A module that is called as the function in it that has its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What that function returns."""
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)
