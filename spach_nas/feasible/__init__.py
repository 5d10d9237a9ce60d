"""The architectures inside the limits: exact counting, exact sampling, and repair of proposals."""

from spach_nas.feasible.feasible_set import Feasible, FeasibleSet, counts_without
from spach_nas.feasible.measures import Latency

__all__ = ["Feasible", "FeasibleSet", "Latency", "counts_without"]
