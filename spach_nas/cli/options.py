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
    return modules or []  # older versions of typer ask for its length


Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE",
        callback=_bring_in,
        help="A module with mixers of your own, importable or in this folder; may stand again.",
    ),
]


def check_file(path: Path | None, *, option: str) -> None:
    """Whether a file can be written at the end, told at the beginning."""
    if path is None:
        return
    if path.is_dir():
        raise SpachNasError(f"{option} {path}: is a folder; expected a file to write")
    if not path.parent.is_dir():
        raise SpachNasError(
            f"{option} {path}: {path.parent} is no folder; expected a file to write"
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SpachNasError(f"{option} {path}: cannot be written; expected a file to write")
