"""Commands that show what networks cost: in counts, and in time on this machine."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from spach_nas.cli.options import Plugins, check_file


class FormatName(StrEnum):
    """Number format of weights and features when a network is timed."""

    fp32 = "fp32"
    bf16 = "bf16"


def cost(
    source: Annotated[
        str,
        typer.Argument(metavar="NAME|FILE", help="A model of the paper, or an architecture file."),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print JSON with plain counts.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Print the exact cost of an architecture."""
    from spach_nas.cost.closed_form import cost as cost_of
    from spach_nas.cost.memory import saved_bytes
    from spach_nas.space.read_architecture import as_architecture

    architecture = as_architecture(source)
    figures = {
        "arch_id": architecture.arch_id,
        **cost_of(architecture)._asdict(),
        "saved_bytes": saved_bytes(architecture),
        "saved_bytes_bf16": saved_bytes(architecture, precision="bf16"),
    }
    if as_json:
        print(json.dumps(figures))
        return
    print(architecture)
    for name, value in figures.items():
        print(f"{name:<16} {value:>16,}" if isinstance(value, int) else f"{name:<16} {value:>16}")


def latency(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER|FILE",
            help="A model of the paper, a bundle or an architecture file; with --table, a search.",
        ),
    ],
    batch_size: Annotated[
        str | None, typer.Option(metavar="N,N...", help="Images in a forward pass; default: 1.")
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME...", help="One or more of eager, compile and onnx; default: all."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="cpu, cuda, mps or auto; default: auto.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads of the CPU; default: 1.")
    ] = None,
    precision: Annotated[
        FormatName | None,
        typer.Option(
            metavar="fp32|bf16", help="Number format of weights and features; default: fp32."
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Time the parts of all networks of a search into a table that searches can use.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print JSON with times in milliseconds.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Time a network on this device, or the parts of all networks of a search."""
    from spach_nas.latency.request import Request, check_request

    asked = Request(
        source=source,
        batch_size=batch_size,
        runtime=runtime,
        device=device,
        threads=threads,
        precision=precision.value if precision else None,
    )
    # Mistakes are reported before torch is imported, which takes seconds.
    check_file(table, option="--table")
    check_request(asked, table)
    from spach_nas.cli.latency_view import print_network, print_space

    if table is not None:
        print_space(asked, table, as_json=as_json)
    else:
        print_network(asked, as_json=as_json)


def references() -> None:
    """List the models of the paper with their published figures."""
    from spach_nas.cli.terminal import console, references_table

    console.print(references_table())
