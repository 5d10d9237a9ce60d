"""Files and folders that are there whole or not at all, and that one process writes."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from spach_nas.errors import BundleError, StudyError
from spach_nas.paths import check_text

LOCK = ".lock"  # in a folder that one process writes
_LOCK_SECONDS = 1.0


def write_durably(path: Path, data: bytes) -> None:
    """Write whole or not at all, so that not even a power cut takes it back.

    Raises:
        OSError: The disk is full; the file is what it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def replace_text(path: Path, text: str) -> None:
    """Write whole or not at all, in UTF-8."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, data: bytes) -> None:
    """Write whole or not at all."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out`, which takes its place when the block ends well.

    Args:
        out: A folder that does not exist yet.

    Raises:
        BundleError: `out` exists already, cannot be written, or the disk is full. Whatever ends the
            block, Ctrl-C too, nothing is left.
    """
    check_text(out, what="the output", error=BundleError)
    check_new(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as problem:
        raise BundleError(f"{out}: {problem.strerror}; expected a writable place") from None
    try:
        yield temporary
        # A power cut after the renaming must not leave empty files under the final name.
        for path in temporary.iterdir():
            _to_disk(path)
        temporary.chmod(0o755)  # mkdtemp keeps others out
        check_new(out)
        temporary.rename(out)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise BundleError(f"{out}: {reason}; nothing was written") from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_new(out: Path) -> None:
    """See that nothing would be overwritten.

    Raises:
        BundleError: Something is there.
    """
    if out.exists() or out.is_symlink():
        raise BundleError(f"{out}: exists already and is never overwritten; expected a new folder")


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder against other searches, as long as this process lives.

    Raises:
        StudyError: Another search writes there.
    """
    lock = FileLock(folder / LOCK)
    try:
        # Whoever watches tries the lock for a moment, too.
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        raise StudyError(
            f"{folder}: another search is writing there; expected it to be over, or another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def is_driven(folder: Path) -> bool:
    """Whether a living process holds the lock of a study."""
    path = folder / LOCK
    if not path.is_file():
        return False
    try:
        # Taken and given back at once: there is no other way to ask on every system.
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder of somebody else
        return False


@contextmanager
def room_needed(folder: Path) -> Iterator[None]:
    """Tell a full disk, or a place that nobody may write, as a user's error.

    Raises:
        StudyError: The disk is full, or the place is read-only.
    """
    try:
        yield
    except OSError as problem:
        where = f"{problem.filename or folder}: {problem.strerror}"
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StudyError(
                f"{where}; expected free space: make room, then the same command with --resume"
            ) from problem
        if problem.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StudyError(
                f"{where}; expected a folder that this user may write: copy it to one"
            ) from problem
        raise
