"""The architectures inside the limits: counted and sampled exactly, and the way back into them."""

from spach_nas.feasible.feasible_set import FeasibleSet, counts_without

__all__ = ["FeasibleSet", "counts_without"]
