"""The manifest of a bundle: a sha256 of every file, and one of all of them.

It has one canonical form, so that any changed byte is detected: in a file by its checksum, in the
manifest by its own `bundle` checksum or its form.
"""

import hashlib
import json
from pathlib import Path

from spach_nas.errors import BundleError

MANIFEST = "manifest.json"
# Added to a folder by git and the Hugging Face hub, and not read when a network is loaded.
_BOOKKEEPING = frozenset({".git", ".gitattributes", ".cache"})


def write_manifest(folder: Path) -> str:
    """Write the manifest of all files in a folder; returns the checksum of the whole bundle."""
    files = {name: _sum(folder / name) for name in _names(folder)}
    text = _canonical(files)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return bundle_sum(files)


def check_manifest(folder: Path) -> tuple[str, list[str]]:
    """The checksum of a bundle, and a line for each missing, unexpected or changed file.

    Raises:
        BundleError: There is no manifest, or it is damaged.
    """
    path = folder / MANIFEST
    files = read_manifest(folder)
    found = _names(folder)
    problems = [f"{path.parent / name}: is missing" for name in sorted(set(files) - set(found))]
    problems += [
        f"{path.parent / name}: is not in the manifest" for name in sorted(set(found) - set(files))
    ]
    problems += [
        f"{path.parent / name}: was changed; expected sha256 {files[name]}"
        for name in sorted(set(files) & set(found))
        if not (folder / name).is_file() or _sum(folder / name) != files[name]
    ]
    return bundle_sum(files), problems


def read_manifest(folder: Path) -> dict[str, str]:
    """The checksum of each file, by its name.

    Raises:
        BundleError: There is no manifest, or it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder}: holds no {MANIFEST}; expected a bundle of `spach-nas export`")
    try:
        text = path.read_bytes().decode()
        files = json.loads(text)["files"]
        intact = text == _canonical(files)
    except (ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise BundleError(f"{path}: was changed or damaged; expected the file as exported")
    return dict(files)


def bundle_sum(files: dict[str, str]) -> str:
    """One sha256 for all files with their names."""
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def _canonical(files: dict[str, str]) -> str:
    plain = {"version": 1, "bundle": bundle_sum(files), "files": dict(sorted(files.items()))}
    return json.dumps(plain, indent=2) + "\n"


def _names(folder: Path) -> list[str]:
    # Bundles have no folders in them, so a folder is listed by its name and thus unexpected.
    return sorted(
        path.name for path in folder.iterdir() if path.name not in {MANIFEST, *_BOOKKEEPING}
    )


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
