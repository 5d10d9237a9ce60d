"""Latency of networks on a device: measured, or predicted from a table of the times of parts."""

import sys
from typing import TYPE_CHECKING

from spach_nas.lazy_import import CalledModule, late

if TYPE_CHECKING:
    from spach_nas.latency.search import search_latency
    from spach_nas.latency.table import (
        LatencyTable,
        PredictedLatency,
        Timing,
        read_table,
        write_table,
    )
    from spach_nas.latency.timing import latency

__getattr__ = late(
    __name__,
    {
        "LatencyTable": "table",
        "PredictedLatency": "table",
        "Timing": "table",
        "latency": "timing",
        "read_table": "table",
        "search_latency": "search",
        "write_table": "table",
    },
)
__all__ = [
    "LatencyTable",
    "PredictedLatency",
    "Timing",
    "latency",
    "read_table",
    "search_latency",
    "write_table",
]

sys.modules[__name__].__class__ = CalledModule
