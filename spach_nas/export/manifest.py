"""The manifest of a bundle: a sha256 of every file, and one of all of them.

It is written in one canonical form, so that any changed byte shows: in a file by its sum, in the
manifest by its own `bundle` sum or its form.
"""

import hashlib
import json
from pathlib import Path

from spach_nas.errors import BundleError

MANIFEST = "manifest.json"
# What git and the Hugging Face hub add to a folder, and no loader of networks reads.
_BOOKKEEPING = frozenset({".git", ".gitattributes", ".cache"})


def write_manifest(folder: Path) -> str:
    """Write the manifest of all files in a folder; the sum of the whole bundle."""
    files = {name: _sum(folder / name) for name in _names(folder)}
    text = _canonical(files)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return bundle_sum(files)


def check_manifest(folder: Path) -> tuple[str, list[str]]:
    """The sum of a bundle, and a line for each missing, foreign or changed file.

    Raises:
        BundleError: There is no manifest, or it is damaged.
    """
    path = folder / MANIFEST
    files = read_manifest(folder)
    found = _names(folder)
    problems = [f"{path.parent / name}: is missing" for name in sorted(set(files) - set(found))]
    problems += [
        f"{path.parent / name}: is foreign, the manifest does not know it"
        for name in sorted(set(found) - set(files))
    ]
    problems += [
        f"{path.parent / name}: is changed; expected sha256 {files[name]}"
        for name in sorted(set(files) & set(found))
        if not (folder / name).is_file() or _sum(folder / name) != files[name]
    ]
    return bundle_sum(files), problems


def read_manifest(folder: Path) -> dict[str, str]:
    """Names of the files with their sums.

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
        raise BundleError(f"{path}: is changed or damaged; expected it as the export wrote it")
    return dict(files)


def bundle_sum(files: dict[str, str]) -> str:
    """One sha256 for all files with their names."""
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def _canonical(files: dict[str, str]) -> str:
    plain = {"version": 1, "bundle": bundle_sum(files), "files": dict(sorted(files.items()))}
    return json.dumps(plain, indent=2) + "\n"


def _names(folder: Path) -> list[str]:
    # A folder inside a bundle is foreign as a whole.
    return sorted(
        path.name for path in folder.iterdir() if path.name not in {MANIFEST, *_BOOKKEEPING}
    )


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
