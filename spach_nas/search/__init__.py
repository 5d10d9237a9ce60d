"""A whole search: checked, estimated, run; callable as `spach_nas.search`."""

import sys
from typing import TYPE_CHECKING

from spach_nas.lazy_import import CalledModule, late

if TYPE_CHECKING:
    from spach_nas.search.run import search

__getattr__ = late(__name__, {"search": "run"})
__all__ = ["search"]

sys.modules[__name__].__class__ = CalledModule
