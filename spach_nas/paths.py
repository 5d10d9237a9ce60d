"""Names of files and folders are data: nothing in them means anything to a shell or a page."""

import os
import shlex
import unicodedata
from pathlib import Path

from spach_nas.errors import SpachNasError

# Control characters, and what breaks lines and paragraphs.
_BREAKS = ("Cc", "Zl", "Zp")


def shell_word(item: str | Path) -> str:
    """One word of a command, as a person copies it into a shell."""
    if isinstance(item, str):
        return shlex.quote(item)
    text = shown(item)
    # Otherwise the command would take it for an option.
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def command_line(*words: str | Path) -> str:
    """`spach-nas` with these words, as a person copies it into a shell."""
    return " ".join(["spach-nas", *map(shell_word, words)])


def shown(path: Path) -> str:
    """A path as text that every file and page can hold; a name on a disk need not be text."""
    return os.fsencode(path).decode("utf-8", "replace")


def check_text(path: Path, *, what: str, error: type[SpachNasError]) -> None:
    """Whether a name is text, as it is to stand in texts.

    Args:
        path: A file or folder.
        what: The place that gave it, for the message.
        error: What a mistake is raised as.

    Raises:
        SpachNasError: Its bytes are no UTF-8, or it holds a character that breaks lines.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise error(
            f"{what}: the name {os.fsencode(path)!r} is not UTF-8; expected text: rename it"
        ) from None
    if any(unicodedata.category(character) in _BREAKS for character in text):
        raise error(f"{what}: the name {text!r} holds control characters; expected it without")
