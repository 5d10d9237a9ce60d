"""What a docstring says about the attributes of its class."""

import inspect
import re

_ATTRIBUTE = re.compile(r" {4}(\w+): (.*)")
_SECTION = re.compile(r"\n+(?=(?:Attributes|Raises|Args|Returns):\n)")
# A docstring speaks Python; its reader writes YAML.
_NONE = re.compile(r"\bNone\b")


def attributes(cls: type) -> dict[str, str]:
    """Descriptions by name, those of base classes included; one line each."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for section in _sections(base)[1:]:
            if section.startswith("Attributes:\n"):
                found |= _entries(section)
    return found


def body(cls: type) -> str:
    """The paragraphs between the summary of a class and its attributes; one line, often empty."""
    return " ".join(" ".join(_sections(cls)[0].split("\n\n")[1:]).split())


def _sections(cls: type) -> list[str]:
    return _SECTION.split(inspect.cleandoc(cls.__doc__ or ""))


def _entries(section: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    name = ""
    for line in section.split("\n")[1:]:
        match = _ATTRIBUTE.fullmatch(line)
        if match:
            name, text = match[1], match[2]
            entries[name] = text
        elif line.strip():
            entries[name] += f" {line.strip()}"
    return {name: _NONE.sub("null", text) for name, text in entries.items()}
