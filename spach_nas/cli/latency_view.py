"""Prints what the command `latency` measures."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from spach_nas.cli.status_line import make_console, plain_table
from spach_nas.config.runtime_registry import Format
from spach_nas.config.search_settings import LatencySettings
from spach_nas.config.training_settings import Device
from spach_nas.errors import LatencyError
from spach_nas.latency.latency_table import Conditions, LatencyTable
from spach_nas.latency.measuring import measure_file, table_conditions
from spach_nas.latency.request import SpaceToTime
from spach_nas.latency.timing import Measured, cautions, conditions, measure_network
from spach_nas.space.architecture import Architecture
from spach_nas.space.timm_reference import TimmModel
from spach_nas.units import format_latency


def print_network(
    architecture: Architecture | TimmModel,
    *,
    name: str,
    batch_sizes: Sequence[int],
    runtimes: Sequence[str],
    device: Device,
    threads: int,
    precision: Format,
    as_json: bool = False,
) -> None:
    """Time one network, and print the result. For the arguments see `measure_network`.

    Raises:
        ConfigError: This machine has no such device.
        LatencyError: Nothing can be measured.
    """
    # The header names the conditions that all runtimes share; not all compute in the format.
    with_torch = replace(conditions(device=device, threads=threads), precision=precision)
    console = make_console()
    if not as_json:
        head = f"{name}: {architecture}", header(with_torch), *cautions(with_torch)
        console.print(*head, sep="\n", highlight=False, soft_wrap=True, markup=False)
    found = list(
        measure_network(
            architecture,
            batch_sizes=batch_sizes,
            runtimes=runtimes,
            device=device,
            threads=threads,
            precision=precision,
        )
    )
    if all(item.timing is None for item in found):
        raise LatencyError("\n".join(item.missing or "" for item in found))
    if as_json:
        print(times_json(name, architecture, found))
        return
    console.print(times_table(found))
    for item in found:
        if item.missing is not None:
            console.print(item.missing, highlight=False, soft_wrap=True, markup=False)


def print_space(
    space: SpaceToTime, given: LatencySettings, path: Path, *, as_json: bool = False
) -> None:
    """Time the parts of all networks of a space into a file, and print the prediction error.

    Args:
        space: The space, and the settings of its search.
        given: Settings that take precedence over those of the search.
        path: The file to write, or to continue.
        as_json: Print JSON instead of a table.

    Raises:
        SpachNasError: The file holds something else, or times under other conditions.
    """
    where = table_conditions(space.settings, given)
    console = make_console()

    def say(line: str) -> None:
        if not as_json:
            console.print(line, highlight=False, soft_wrap=True, markup=False)

    table = measure_file(
        path, space.space, space.references, where, timm_models=space.timm_models, say=say
    )
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
    headings = ("runtime", "batch", "median", "quartiles", "runs", "images/s")
    table = plain_table(*headings, right=(1, 2, 4, 5))
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


def times_json(name: str, architecture: Architecture | TimmModel, found: Iterable[Measured]) -> str:
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
    shown = plain_table("network", "", "measured", "predicted", "off by", "", right=(2, 3, 4))
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
