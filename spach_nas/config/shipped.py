"""The YAML files that come with the package, search spaces and searches, by their names."""

import os
from pathlib import Path

from spach_nas.errors import SpachNasError, did_you_mean, one_of


def shipped_folder() -> Path:
    """Folder of the shipped YAML files: inside an installed package, next to it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "search_spaces"
    return inside if inside.is_dir() else package.parent / "search_spaces"


def shipped_names() -> tuple[str, ...]:
    """Names of the shipped YAML files, without suffix."""
    return tuple(sorted(path.stem for path in shipped_folder().glob("*.yaml")))


def find_yaml(name: str, *, folder: Path, error: type[SpachNasError]) -> Path:
    """The file that a user names: a path, or a shipped file by its name alone.

    Args:
        name: A path or a name.
        folder: Folder to which a relative path is relative.
        error: Which error to raise.

    Raises:
        SpachNasError: As `error`, if there is no such file.
    """
    # os.path, since those of pathlib raise for a name that no file can have.
    path = folder / os.path.expanduser(name)  # noqa: PTH111
    if os.path.isfile(path):  # noqa: PTH113
        return path
    legal = shipped_names()
    if name in legal:
        return shipped_folder() / f"{name}.yaml"
    raise error(
        f"{name}: no such file; expected a YAML file or {one_of(legal)}{did_you_mean(name, legal)}"
    )
