"""Commands for preparing a search: its space, the keys of its YAML, this machine."""

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from spach_nas.cli.options import Plugins


class SchemaName(StrEnum):
    """The YAML file that a schema describes."""

    search = "search"
    space = "space"


def space(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME",
            help="A search YAML, a search space, or a shipped one such as quickstart.",
        ),
    ],
    timing: Annotated[
        bool,
        typer.Option(metavar="", help="Time a few training steps to estimate the whole search."),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", metavar="", help="Print JSON with plain counts.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Describe a search space within its limits, and estimate what the search would take."""
    from spach_nas.cli.status_line import doing

    with doing(f"reading {file}") as tell:
        from spach_nas.cli.space_view import print_estimate, print_space, space_json
        from spach_nas.search.plan import read_space_source
        from spach_nas.search.space_report import describe_space

        # Warnings go to standard error, because standard output may be JSON.
        source = read_space_source(
            file, images=timing, say=lambda line: print(line, file=sys.stderr), doing=tell
        )
        tell("drawing samples, and counting without each limit")
        report, estimate = describe_space(source.feasible), None
    if not as_json:
        print_space(source.name, report)
    if source.plan is not None:
        from spach_nas.search.timing import time_search

        with doing("timing a few training steps"):
            estimate = time_search(source.plan)
        if not as_json:
            print_estimate(estimate)
    if as_json:
        print(space_json(source.name, report, estimate))


def schema(
    file: Annotated[
        SchemaName, typer.Argument(metavar="search|space", help="The YAML file to describe.")
    ],
    plugin: Plugins = None,
) -> None:
    """Print the JSON Schema of a YAML file, for editors."""
    from spach_nas.config.schema import search_schema, space_schema

    print(json.dumps(search_schema() if file == SchemaName.search else space_schema(), indent=1))


def doctor() -> None:
    """Report what this machine has, and which features lack something."""
    from spach_nas.cli.doctor import diagnose
    from spach_nas.cli.terminal import console, findings_table

    findings = diagnose()
    console.print(findings_table(findings))
    faults = [finding.name for finding in findings if finding.fault]
    if faults:
        console.print(f"FAILED: {', '.join(faults)}", style="bold", markup=False)
        raise typer.Exit(1)
    console.print("everything that a search needs is installed", style="bold")
