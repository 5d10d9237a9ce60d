"""Latency of networks on a device: measured, or predicted from a table of the times of parts."""

import sys
from typing import TYPE_CHECKING

from spach_nas.lazy_import import CalledModule, late

if TYPE_CHECKING:
    from spach_nas.latency.latency_table import PredictedLatency, read_table
    from spach_nas.latency.measuring import search_latency
    from spach_nas.latency.timing import latency

__all__ = ["PredictedLatency", "latency", "read_table", "search_latency"]
__getattr__ = late(
    __name__,
    dict(zip(__all__, ("latency_table", "timing", "latency_table", "measuring"), strict=True)),
)

sys.modules[__name__].__class__ = CalledModule
