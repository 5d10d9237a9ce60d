"""Options that several commands have, and checks of options."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from spach_nas.errors import SpachNasError, did_you_mean, one_of
from spach_nas.foreign_words import note


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


def check_words(arguments: Sequence[str], options: Mapping[str, Sequence[str]]) -> None:
    """Refuse a command that does not exist, and an option that is a key of a YAML file.

    Keys are recognised by what other tools call them, too. Other options are left to the parser.

    Args:
        arguments: The arguments of the command line, without the program.
        options: The options of each command.

    Raises:
        SpachNasError: The message names what is expected.
    """
    if not arguments or arguments[0].startswith("-"):
        return
    command, *others = arguments
    if command not in options:
        raise SpachNasError(
            f"{command}: no such command; expected {one_of(options)}"
            f"{did_you_mean(command, options)}"
        )
    for word in others:
        if word == "--":
            return
        flag = word.partition("=")[0]
        if flag.startswith("-") and flag not in options[command]:
            expected = _expected(command, flag)
            if expected:
                raise SpachNasError(f"{flag}: {command} has no such option; expected {expected}")


def _expected(command: str, flag: str) -> str:
    if command in ("search", "space"):
        from spach_nas.config.schema import search_schema

        places = _places(flag, search_schema())
        said = note(flag, places[0].rsplit(".", 1)[-1]) if places else ""
        words = f"{one_of(places)} in the YAML{f' ({said})' if said else ''}"
        return words if places else ""
    if command == "train":
        from spach_nas.config.recipe import recipe_schema

        return one_of(f"--set {path}=VALUE" for path in _places(flag, recipe_schema()))
    return ""


def _places(flag: str, schema: dict[str, Any]) -> list[str]:
    from spach_nas.validation import places_of

    return places_of(flag, schema)[:2]
