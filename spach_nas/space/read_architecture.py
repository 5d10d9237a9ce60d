"""Reads an architecture from any form in which a user may have it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from spach_nas.errors import ArchitectureError, did_you_mean, one_of
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES

_BUNDLED = "architecture.yaml"
_SUFFIXES = (".yaml", ".yml")


class HasArchitecture(Protocol):
    """A record, a model of the paper, or a network."""

    @property
    def architecture(self) -> Architecture:
        """The architecture; of a record with a proxy, the target."""


# An architecture, its plain data, the name of a paper's model, a file, a bundle, or an object that
# has an architecture.
Source: TypeAlias = Architecture | HasArchitecture | Mapping[str, Any] | str | Path


def as_architecture(source: Source) -> Architecture:
    """The architecture that a user means.

    Args:
        source: An architecture or its `to_dict()`, a record (its target), a network, the name of a
            paper's model, an architecture file, or the folder of a bundle.

    Raises:
        ArchitectureError: It is none of these, or the file does not hold an architecture.
    """
    if isinstance(source, Architecture):
        return source
    if isinstance(source, str | Path):
        return _named(source)
    if isinstance(source, Mapping):
        return Architecture.from_dict(dict(source))
    found = getattr(source, "architecture", None)
    if isinstance(found, Architecture):
        return found
    raise ArchitectureError(
        f"{source!r}: not an architecture; expected an Architecture, its dictionary, a record, the "
        "name of a paper's model, an architecture file or a bundle"
    )


def _named(source: str | Path) -> Architecture:
    name = str(source)
    # The paper's names come first; a folder with such a name can still be given as ./name.
    if name in REFERENCES:
        return REFERENCES[name].architecture
    path = Path(source).expanduser()
    for file in (path, path / _BUNDLED):
        if file.is_file():
            return Architecture.from_yaml(file)
    # What looks like a path is a missing file, anything else a misspelt name.
    if path.suffix in _SUFFIXES or path.name != name:
        raise ArchitectureError(
            f"{name}: no such file; expected an architecture file, a bundle, or the name of a "
            "paper's model"
        )
    raise ArchitectureError(
        f"unknown model {name!r}; expected {one_of(REFERENCES)}{did_you_mean(name, REFERENCES)}"
    )
