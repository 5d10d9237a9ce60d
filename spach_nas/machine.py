"""The cores and memory that this process may use, as bounded by affinity and control groups.

A container, a batch system or `taskset` gives a process less than the machine has. Counting the
cores of the machine would start too many trainings, which would wait for each other.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
SYSTEM = Path("/proc")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # from malloc.h
_KEEP_BYTES = 2**31 - 1
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc accepts no larger value
# Such a high limit means no limit: version 1 writes the largest page-aligned number for it.
_NO_LIMIT = 2**60


def cores() -> int:
    """Number of cores that this process may use: the smaller of affinity and quota, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # neither on macOS nor on Windows
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    # A fraction of a core is too little for another training, so quotas are rounded down.
    return max(1, min([allowed, *(int(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """The quota in cores of each control group that this process is in."""
    for folder in _folders("cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")  # version 2
        if not quota:
            quota, period = (_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def available_memory() -> int | None:
    """Bytes that can still be allocated, or None if the system does not say."""
    found = [*_free_of_system(), *_free_of_groups()]
    return max(0, min(found)) if found else None


def _free_of_system() -> Iterator[int]:
    for line in _text(SYSTEM / "meminfo").splitlines():
        name, _, amount = line.partition(":")
        if name == "MemAvailable":
            yield int(amount.split()[0]) * 1024


def _free_of_groups() -> Iterator[int]:
    # File names of version 2 and version 1. Memory that the kernel reclaims on demand (inactive
    # file cache) counts as free.
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
    """Folders of the control groups that bound this process, including the enclosing groups."""
    for line in _text(SYSTEM / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            # Version 2 has all controllers in one tree. If version 1 is in use as well, that tree
            # is mounted in a folder of its own.
            roots = [GROUPS, GROUPS / "unified"]
        elif controller in controllers.split(","):
            roots = [GROUPS / controller, GROUPS / controllers]
        else:
            continue
        # In a container, the path may be that outside the container, of which only the top is
        # visible inside. So all its parents are tried.
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
    """A short description of this machine, such as `Linux x86_64, 8 cores`."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def now() -> str:
    """The current time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def address_space() -> int | None:
    """Bytes of address space that this process may have, as `ulimit -v` sets it; None: no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for this process; return False if it is not glibc.

    A training on a CPU requests the same sizes in each step. By default, glibc returns large blocks
    to the system, and the next step pays for every page again: 2 to 20 % of a step, measured on
    small proxies. From then on the process holds its peak memory, as a training does anyway.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    kept = mallopt(_TRIM_THRESHOLD, _KEEP_BYTES)
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and kept)
