"""Tables of latency as files, and whether one is what a search needs."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from spach_nas.config.search_settings import LatencySettings
from spach_nas.errors import LatencyError
from spach_nas.latency.parts import Part, part_name
from spach_nas.latency.table import REMEDY, Conditions, LatencyTable
from spach_nas.validation import validate


def check_covers(table: LatencyTable, parts: Iterable[Part], *, where: str) -> None:
    """Whether a table has the time of all these parts.

    Raises:
        LatencyError: It lacks some.
    """
    names = [part_name(part) for part in parts]
    lacking = [name for name in names if name not in table.parts]
    if lacking:
        raise LatencyError(
            f"{where}: lacks {len(lacking)} of {len(names)} parts of the networks of this search, "
            f"such as `{lacking[0]}`; {REMEDY}"
        )


def check_agrees(table: LatencyTable, settings: LatencySettings, *, where: str) -> None:
    """Whether a table was measured as the settings of a search say.

    Raises:
        LatencyError: It was not; one line for each difference.
    """
    had, mistakes = asdict(table.conditions), []
    for item in fields(settings):
        wanted = getattr(settings, item.name)
        if item.name != "table" and wanted not in (None, "auto", had[item.name]):
            mistakes.append(
                f"latency.{item.name}: {wanted}, but {where} was measured with "
                f"{had[item.name]}; expected that, or another table"
            )
    if mistakes:
        raise LatencyError("\n".join(mistakes))


def check_conditions(table: LatencyTable, conditions: Conditions, *, where: str) -> None:
    """Whether times measured under these conditions may stand in a table.

    Raises:
        LatencyError: It was measured under others.
    """
    had, here = asdict(table.conditions), asdict(conditions)
    differ = [
        f"{name} {had[name]!r}, not {here[name]!r}" for name in had if had[name] != here[name]
    ]
    if differ:
        raise LatencyError(
            f"{where}: was measured under other conditions: {'; '.join(differ)}; expected the "
            "same, or another file"
        )


def read_table(path: Path) -> LatencyTable:
    """Read a table.

    Raises:
        LatencyError: It is missing, damaged or of another version.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise LatencyError(
            f"{path}: {problem.strerror}; expected a table that `spach-nas latency SEARCH.yaml "
            "--table FILE` wrote"
        ) from None
    except ValueError:
        raise LatencyError(f"{path}: is damaged; expected a table of latencies") from None
    return validate(_adapter(), plain, where=str(path), error=LatencyError)


def write_table(path: Path, table: LatencyTable) -> None:
    """Write whole or not at all.

    Raises:
        LatencyError: The place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(table.to_json(), encoding="utf-8")
        temporary.replace(path)
    except OSError as problem:
        raise LatencyError(f"{path}: {problem.strerror}; expected a writable place") from None
    finally:
        temporary.unlink(missing_ok=True)


@cache
def _adapter() -> TypeAdapter[LatencyTable]:
    return TypeAdapter(LatencyTable)
