"""What was timed on this machine, kept in the user's cache folder.

A file for each protocol. Nothing depends on it: what cannot be written or read is timed again.
"""

import contextlib
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spach_nas.search.estimate import Timed
from spach_nas.version import __version__

# Machines change: their clocks, their neighbours, the libraries.
_DAYS = 30


def cache_folder() -> Path:
    """Of this package, for this user; it need not exist."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if Path(named).is_absolute():
        base = Path(named)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "spach-nas"


def kept_timing(protocol: object) -> tuple[tuple[Timed, ...], float] | None:
    """What was timed and the slowdown side by side; None where there is none, or it is old.

    Args:
        protocol: Of the trainings and the device; its text names the file.
    """
    with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError, KeyError):
        plain = json.loads(_file(protocol).read_text(encoding="utf-8"))
        age = time.time() - float(plain["time"])
        timed = tuple(Timed(**item) for item in plain["timed"])
        if timed and 0 <= age < _DAYS * 86400 and all(map(_is_sound, timed)):
            return timed, max(1.0, float(plain["slowdown"]))
    return None


def keep_timing(protocol: object, timed: Sequence[Timed], slowdown: float) -> None:
    """Keep it, where that is possible."""
    plain: dict[str, Any] = {
        "time": time.time(),
        "timed": [asdict(item) for item in timed],
        "slowdown": slowdown,
    }
    with contextlib.suppress(OSError, RuntimeError):
        path = _file(protocol)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(plain), encoding="utf-8")
        temporary.replace(path)


def _file(protocol: object) -> Path:
    machine = (platform.node(), platform.machine(), _processor(), os.cpu_count(), __version__)
    key = hashlib.sha256(repr((machine, protocol)).encode()).hexdigest()[:16]
    return cache_folder() / "timings" / f"{key}.json"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line
    return platform.processor()


def _is_sound(timed: Timed) -> bool:
    return (
        timed.failure is None
        and timed.macs > 0
        and 0 < timed.train_seconds < 1e6
        and 0 <= timed.validate_seconds < 1e6
        and 0 <= timed.build_seconds < 1e6
    )
