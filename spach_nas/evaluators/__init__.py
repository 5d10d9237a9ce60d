"""Functions that score a candidate."""

from spach_nas.evaluators.proxy import ProxyEvaluator

__all__ = ["ProxyEvaluator"]
