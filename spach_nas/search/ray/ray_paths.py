"""Temporary folder and shared memory of a local Ray."""

import getpass
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from spach_nas.errors import StudyError

# Ray appends `/session_2026-11-28_18-52-51_442776_1174912/sockets/plasma_store` and a number to the
# folder; names of Unix sockets have at most 107 bytes, on macOS 103.
LONGEST = (103 if sys.platform == "darwin" else 107) - 67
# Besides images, the object store holds weights on their way to workers; what exceeds it is spilled
# to the disk.
_SPARE = 256 * 2**20
SHARED_MEMORY = Path("/dev/shm")


def temporary_folder() -> Path | None:
    """A folder with a short name in which Ray can write; None: Ray chooses.

    Folders named by the environment come first (`RAY_TMPDIR`, `TMPDIR`).

    Raises:
        StudyError: No folder is suitable; the message says why.
    """
    if os.name == "nt":  # no Unix sockets there
        return None
    why = []
    for name, place in possible_places():
        for folder in (place / "ray", place / f"ray-{_user()}"):
            problem = _problem(folder)
            if problem is None:
                return folder
        why.append(f"{name}{place}: {problem}")
    most = LONGEST - len(f"/ray-{_user()}")
    raise StudyError(
        f"ray: no folder for its sockets: {'; '.join(why)}; expected RAY_TMPDIR to name a folder "
        f"in which this user can write, in ASCII and of at most {most} characters"
    )


def possible_places() -> Iterator[tuple[str, Path]]:
    """Possible places of the temporary folder, with the variable that names them, best first."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if place := os.environ.get(name):
            yield f"{name}=", Path(place).absolute()
    # The last one takes memory, which is better than no search.
    for text in ("/tmp", "/var/tmp", str(SHARED_MEMORY)):
        yield "", Path(text)


def _problem(folder: Path) -> str | None:
    """Why Ray cannot use a folder, if it cannot."""
    if not str(folder).isascii():
        return "is not ASCII, which Ray cannot read"
    if len(str(folder)) > LONGEST:
        return "is too long for the names of sockets"
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"room")
            file.flush()
    except OSError as problem:
        return (problem.strerror or str(problem)).lower()
    return None


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()


def shared_memory(size: int, *, temporary: Path | None) -> dict[str, object]:
    """Options of `ray.init` about the object store, which holds the images for all workers.

    By default it takes 30 % of the memory, and does not start without /dev/shm.

    Args:
        size: Bytes that will be stored.
        temporary: Folder to use if shared memory is missing or too small.
    """
    wanted = size + _SPARE
    options: dict[str, object] = {"object_store_memory": wanted}
    if sys.platform.startswith("linux") and temporary is not None:
        try:
            found = os.statvfs(SHARED_MEMORY)
            free = found.f_bavail * found.f_frsize
        except OSError:
            free = 0
        if free < wanted:
            options["_plasma_directory"] = str(temporary)
    return options
