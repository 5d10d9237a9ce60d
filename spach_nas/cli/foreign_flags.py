"""Recognises keys of a YAML file that are given as options, and says where they belong."""

from collections.abc import Mapping, Sequence
from typing import Any

from spach_nas.errors import SpachNasError, did_you_mean, one_of
from spach_nas.foreign_words import note


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
