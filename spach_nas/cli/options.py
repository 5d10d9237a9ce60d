"""Options that several commands have."""

import os
from pathlib import Path
from typing import Annotated

import typer

from spach_nas.errors import SpachNasError


def _bring_in(modules: list[str] | None) -> list[str]:
    if modules:
        from spach_nas.config.plugins import load_plugins

        load_plugins(modules)
    return modules or []  # not None: older versions of typer take its length


Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE",
        callback=_bring_in,
        help="A module with your own mixers or samplers, importable or in this folder; may be "
        "given several times.",
    ),
]

Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Resume what was stopped or killed, or begin it if there is nothing yet."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, with plain numbers.")]


def check_file(path: Path | None, *, option: str) -> None:
    """Check at the beginning of a command that a file can be written at its end."""
    if path is None:
        return
    if path.is_dir():
        raise SpachNasError(f"{option} {path}: is a folder; expected a file to write")
    if not path.parent.is_dir():
        raise SpachNasError(
            f"{option} {path}: {path.parent} is not a folder; expected a file to write"
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SpachNasError(f"{option} {path}: cannot be written; expected a file to write")
