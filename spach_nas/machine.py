"""What this process may use of its machine: cores and memory, as affinity and groups bound them.

A container, a batch system or `taskset` gives a process less than the machine has. Whoever counts
the machine's cores starts too many trainings, which wait for each other.
"""

import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_SYSTEM = Path("/proc")
# A limit that high means none; groups of version 1 write the largest page-aligned number.
_NO_LIMIT = 2**60


def cores() -> int:
    """Cores that this process may keep busy: the smaller of affinity and quota, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # neither on macOS nor on Windows
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    # Half a core more is of no use to a training of its own.
    return max(1, min([allowed, *(int(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """In cores, of each control group that this process is in."""
    for folder in _folders("cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")  # version 2
        if not quota:
            quota, period = (_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def available_memory() -> int | None:
    """Bytes that can still be allocated, or None where the system does not say."""
    found = [*_free_of_system(), *_free_of_groups()]
    return max(0, min(found)) if found else None


def _free_of_system() -> Iterator[int]:
    for line in _text(_SYSTEM / "meminfo").splitlines():
        name, _, amount = line.partition(":")
        if name == "MemAvailable":
            yield int(amount.split()[0]) * 1024


def _free_of_groups() -> Iterator[int]:
    # Version 2 and version 1; what the kernel drops when it needs the room counts as free.
    names = (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    for folder in _folders("memory"):
        for limit_name, used_name, dropped_name in names:
            limit, used = _text(folder / limit_name), _text(folder / used_name)
            if limit.isdecimal() and used.isdecimal() and int(limit) < _NO_LIMIT:
                figures = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
                yield int(limit) - int(used) + int(figures.get(dropped_name, 0))


def _folders(controller: str) -> Iterator[Path]:
    """Of the control groups that bound this process, outer ones included."""
    for line in _text(_SYSTEM / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if (
            controllers == ""
        ):  # version 2, which has all; beside version 1 it has a place of its own
            roots = [_GROUPS, _GROUPS / "unified"]
        elif controller in controllers.split(","):
            roots = [_GROUPS / controller, _GROUPS / controllers]
        else:
            continue
        # In a container, the path may be the one outside of it: then only the top is seen.
        inside = Path(path.lstrip("/"))
        for root in roots:
            yield from (root / part for part in (inside, *inside.parents))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


@cache
def describe_machine() -> str:
    """This machine in a few words, such as `Linux x86_64, 8 cores`."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def now() -> str:
    """UTC time, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
