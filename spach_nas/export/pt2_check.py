"""Checks that a `.pt2` file can be loaded without executing code from it.

`torch.export.load` trusts its file: it unpickles, evaluates symbolic sizes and guards as Python,
and accepts operators by any path below `torch`. So the file is inspected first, and everything that
a network of ours does not need is refused.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from spach_nas.errors import BundleError, one_line

_MEMBERS = (
    r"models/[\w-]+\.json",
    r"data/(weights|constants)/[\w-]+_config\.json",
    r"data/weights/weight_\d+",
    r"data/constants/tensor_\d+",
    r"archive_format|archive_version|byteorder|\.data/version|\.data/serialization_id",
)
_MEMBER = re.compile("|".join(f"({pattern})" for pattern in _MEMBERS))
# torch writes an empty file for sample inputs that are left out.
_EMPTY_MEMBER = re.compile(r"data/sample_inputs/[\w-]+\.pt")
_OPERATOR = re.compile(r"(torch\.ops|_operator|math)(\.\w+)+")
# torch evaluates sizes as sympy expressions, so only numbers, symbols and arithmetic are allowed.
_SYMBOLIC = re.compile(
    r"("
    r"'[su]\d+'|\d+|[-+*/(),=\s]"
    r"|Symbol|Integer|Rational|positive|integer|nonnegative|True|False"
    r"|Add|Mul|Pow|Mod|PythonMod|Max|Min|FloorDiv|CleanDiv|CeilDiv|Eq|Ne|Lt|Le|Gt|Ge"
    r")*"
)
_LARGEST_JSON = 256 * 2**20


def check_archive(path: Path | IO[bytes], *, where: str) -> None:
    """Check that a `.pt2` file contains tensors, a graph of operators, and nothing else.

    Raises:
        BundleError: It is not such an archive, or contains something that loading might execute.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _check_member(archive, member, where=where)
    except (zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError) as problem:
        if isinstance(problem, BundleError):  # it is a ValueError, too
            raise
        raise BundleError(
            f"{where}: not an archive of torch.export ({one_line(problem)}); expected the file as "
            "exported"
        ) from None


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, where: str) -> None:
    # The first folder is the archive's own name.
    name = member.filename.partition("/")[2]
    if _EMPTY_MEMBER.fullmatch(name) and member.file_size == 0:
        return
    if not _MEMBER.fullmatch(name):
        raise BundleError(
            f"{where}: contains {member.filename!r}, which might be executed; expected only "
            "weights and a graph"
        )
    if not name.endswith(".json"):
        return
    if member.file_size > _LARGEST_JSON:
        raise BundleError(f"{where}: {member.filename!r} is too large to be inspected")
    for key, value in _items(json.loads(archive.read(member))):
        if not _is_harmless(key, value):
            raise BundleError(
                f"{where}: {member.filename}: {key}: {value!r:.200}, which might be executed; "
                "expected only weights and a graph"
            )


def _is_harmless(key: str, value: Any) -> bool:
    if key == "use_pickle":
        return value is False
    if key == "target":
        return isinstance(value, str) and bool(_OPERATOR.fullmatch(value))
    if key == "expr_str":
        return isinstance(value, str) and bool(_SYMBOLIC.fullmatch(value))
    if key in ("guards_code", "graph_module_guards"):
        return not value
    if key == "path_name":
        return isinstance(value, str) and bool(re.fullmatch(r"(weight|tensor)_\d+", value))
    return True


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of nested JSON with its value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            yield from _items(item)
    elif isinstance(value, list):
        for item in value:
            yield from _items(item)
