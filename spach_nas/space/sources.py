"""One architecture in any form in which a user has it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from spach_nas.errors import ArchitectureError, did_you_mean, one_of
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES

_BUNDLED = "architecture.yaml"
_SUFFIXES = (".yaml", ".yml")


class HasArchitecture(Protocol):
    """A record, a model of the paper, a network."""

    @property
    def architecture(self) -> Architecture:
        """The target, where there is also a proxy."""


# An architecture, its plain data, a name of the paper's, a file, a bundle, or what has one.
Source: TypeAlias = Architecture | HasArchitecture | Mapping[str, Any] | str | Path


def as_architecture(source: Source) -> Architecture:
    """The architecture that a user means.

    Args:
        source: An architecture or its `to_dict()`, a record (its target), a network, the name of a
            paper's model, an architecture file, or the folder of a bundle.

    Raises:
        ArchitectureError: It is nothing of that, or the file is no architecture.
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
        f"{source!r}: is no architecture; expected an Architecture, its dictionary, a record, the "
        "name of a paper's model, an architecture file or a bundle"
    )


def _named(source: str | Path) -> Architecture:
    name = str(source)
    if name in REFERENCES:
        return REFERENCES[name].architecture
    path = Path(source).expanduser()
    for file in (path, path / _BUNDLED):
        if file.is_file():
            return Architecture.from_yaml(file)
    if path.suffix in _SUFFIXES or path.name != name:
        raise ArchitectureError(
            f"{name}: no such file; expected an architecture file, a bundle, or the name of a "
            "paper's model"
        )
    raise ArchitectureError(
        f"unknown model {name!r}; expected {one_of(REFERENCES)}{did_you_mean(name, REFERENCES)}"
    )
