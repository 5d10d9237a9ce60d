"""Runs the command `latency` and prints its results."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from spach_nas.cli.status_line import make_console
from spach_nas.config.search_settings import RUNTIMES
from spach_nas.latency.request import (
    Request,
    find_network,
    find_space,
    parse_batch_sizes,
    parse_device,
    parse_runtimes,
    table_settings,
)
from spach_nas.latency.search import measure_file, table_conditions
from spach_nas.latency.table import Conditions, LatencyTable
from spach_nas.latency.timing import Measured, cautions, conditions, measure_network
from spach_nas.space.architecture import Architecture
from spach_nas.units import format_latency


def print_network(asked: Request, *, as_json: bool = False) -> None:
    """Time one network, and print the result.

    Raises:
        SpachNasError: The network, runtime or device is unknown.
    """
    device = parse_device(asked.device or "auto")
    sizes = parse_batch_sizes(asked.batch_size or "1")
    runtimes = parse_runtimes(asked.runtime or ",".join(RUNTIMES))
    architecture = find_network(asked.source)
    threads, precision = asked.threads or 1, asked.precision or "fp32"
    # The header names the conditions that all runtimes share.
    with_torch = conditions(device=device, threads=threads, precision=precision)
    console = make_console()
    if not as_json:
        console.print(f"{asked.source}: {architecture}", highlight=False, soft_wrap=True)
        console.print(header(with_torch), highlight=False, soft_wrap=True)
        for warning in cautions(with_torch):
            console.print(warning, highlight=False, soft_wrap=True)
    found = list(
        measure_network(
            architecture,
            batch_sizes=sizes,
            runtimes=runtimes,
            device=device,
            threads=threads,
            precision=precision,
        )
    )
    if as_json:
        print(times_json(asked.source, architecture, found))
        return
    console.print(times_table(found))
    for item in found:
        if item.missing is not None:
            console.print(item.missing, highlight=False, soft_wrap=True, markup=False)


def print_space(asked: Request, path: Path, *, as_json: bool = False) -> None:
    """Time the parts of all networks of a search into a file, and print the prediction error.

    Raises:
        SpachNasError: The search has mistakes, or the file holds something else.
    """
    given = table_settings(asked)
    found = find_space(asked.source)
    where = table_conditions(found.settings, given)
    console = make_console()

    def say(line: str) -> None:
        if not as_json:
            console.print(line, highlight=False, soft_wrap=True, markup=False)

    table = measure_file(path, found.space, found.references, where, say=say)
    if as_json:
        print(table_json(path, table))
        return
    console.print(checks_table(table))
    say(f"{path}: {len(table.parts)} parts, scale {table.scale:.3f}")


def header(where: Conditions) -> str:
    """Machine, threads, number format and versions in one line."""
    threads = "1 thread" if where.threads == 1 else f"{where.threads} threads"
    versions = ", ".join(f"{name} {number}" for name, number in where.versions.items())
    clock = ", processor time" if where.by_processor else ""
    return f"{where.machine} ({where.device}), {threads}{clock}, {where.precision}, {versions}"


def times_table(found: Iterable[Measured]) -> Table:
    """A table with one line for each time."""
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
    """The times as JSON, in milliseconds."""
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
    """Measured and predicted latency of whole networks."""
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
    """A summary of a table as JSON."""
    return json.dumps(
        {
            "table": str(path),
            "conditions": asdict(table.conditions),
            "parts": len(table.parts),
            "scale": table.scale,
            "error": None if table.error is None else asdict(table.error),
        }
    )
