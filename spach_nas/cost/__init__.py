"""What an architecture costs, in closed form and without torch. Callable as `spach_nas.cost`."""

import sys

from spach_nas.cost.closed_form import Cost, cost
from spach_nas.lazy_import import CalledModule

__all__ = ["Cost", "cost"]

sys.modules[__name__].__class__ = CalledModule
