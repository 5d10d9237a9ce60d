"""Quotes and checks the names of files and folders."""

import os
import shlex
import unicodedata
from pathlib import Path

from spach_nas.errors import SpachNasError

# Control characters, and what breaks lines and paragraphs.
_BREAKS = ("Cc", "Zl", "Zp")


def shell_word(item: str | Path) -> str:
    """One word of a command, quoted to be pasted into a shell."""
    if isinstance(item, str):
        return shlex.quote(item)
    text = shown(item)
    # Without ./ the command would take the path for an option.
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def command_line(*words: str | Path) -> str:
    """`spach-nas` with these words, quoted to be pasted into a shell."""
    return " ".join(["spach-nas", *map(shell_word, words)])


def shown(path: Path) -> str:
    """A path as valid UTF-8, for files and pages. Names on a disk are bytes and may not be text."""
    return os.fsencode(path).decode("utf-8", "replace")


def check_text(path: Path, *, what: str, error: type[SpachNasError]) -> None:
    """Check that a name is text, because it will be written into text files.

    Args:
        path: A file or folder.
        what: Where the name was given, for the message.
        error: The type of error to raise.

    Raises:
        SpachNasError: The name is not valid UTF-8, or contains a character that breaks lines.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise error(
            f"{what}: the name {os.fsencode(path)!r} is not UTF-8; expected text: rename it"
        ) from None
    if any(unicodedata.category(character) in _BREAKS for character in text):
        raise error(
            f"{what}: the name {text!r} contains control characters; expected a name without them"
        )
