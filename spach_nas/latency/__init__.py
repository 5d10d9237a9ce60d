"""Latency of networks on a device: measured, and predicted from a table of the times of parts."""

from spach_nas.latency.search import search_latency
from spach_nas.latency.table import LatencyTable, PredictedLatency
from spach_nas.latency.table_file import read_table, write_table

__all__ = [
    "LatencyTable",
    "PredictedLatency",
    "read_table",
    "search_latency",
    "write_table",
]
