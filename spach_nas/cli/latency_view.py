"""How times are shown."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from spach_nas.latency.measured import Measured
from spach_nas.latency.table import Conditions, LatencyTable
from spach_nas.space.architecture import Architecture
from spach_nas.units import format_latency


def header(where: Conditions) -> str:
    """Machine and format, in a line."""
    threads = "1 thread" if where.threads == 1 else f"{where.threads} threads"
    versions = ", ".join(f"{name} {number}" for name, number in where.versions.items())
    clock = ", processor time" if where.by_processor else ""
    return f"{where.machine} ({where.device}), {threads}{clock}, {where.precision}, {versions}"


def times_table(found: Iterable[Measured]) -> Table:
    """A line for each time."""
    table = Table.grid(padding=(0, 2))
    table.add_row("runtime", "batch", "median", "quartiles", "runs", "images/s", style="bold")
    for index in (1, 2, 4, 5):
        table.columns[index].justify = "right"
    for item in found:
        if item.timing is None:
            continue
        rate, timing = item.images_per_second, item.timing
        table.add_row(
            item.runtime,
            str(item.batch_size),
            format_latency(timing.median),
            f"{format_latency(timing.low)} - {format_latency(timing.high)}",
            str(timing.runs),
            f"{rate:.4g}",
        )
    return table


def times_json(name: str, architecture: Architecture, found: Iterable[Measured]) -> str:
    """The same for programs, milliseconds."""
    lines: list[dict[str, Any]] = []
    for item in found:
        line: dict[str, Any] = {"runtime": item.runtime, "batch_size": item.batch_size}
        if item.where is not None:
            line |= {
                "machine": item.where.machine,
                "device": item.where.device,
                "threads": item.where.threads,
                "precision": item.where.precision,
                "versions": dict(item.where.versions),
            }
        if item.timing is None:
            line["missing"] = item.missing
        else:
            line |= {
                "median_ms": item.timing.median / 1e6,
                "low_ms": item.timing.low / 1e6,
                "high_ms": item.timing.high / 1e6,
                "runs": item.timing.runs,
                "images_per_second": item.images_per_second,
            }
        lines.append(line)
    return json.dumps({"name": name, "arch_id": architecture.arch_id, "times": lines})


def checks_table(table: LatencyTable) -> Table:
    """Whole networks beside the predictions for them."""
    shown = Table.grid(padding=(0, 2))
    shown.add_row("network", "", "measured", "predicted", "off by", "", style="bold")
    for index in (2, 3, 4):
        shown.columns[index].justify = "right"
    for check in sorted(table.checks, key=lambda check: check.measured):
        predicted = table.scale * check.sum
        shown.add_row(
            check.name,
            check.drawing,
            format_latency(check.measured),
            format_latency(predicted),
            f"{predicted / check.measured - 1:+.1%}",
            "fitted" if check.fitted else "",
        )
    return shown


def table_json(path: Path, table: LatencyTable) -> str:
    """What is to say about a table, for programs."""
    return json.dumps(
        {
            "table": str(path),
            "conditions": asdict(table.conditions),
            "parts": len(table.parts),
            "scale": table.scale,
            "error": None if table.error is None else asdict(table.error),
        }
    )
