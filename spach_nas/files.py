"""Files and folders that are written completely or not at all, and by one process at a time."""

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

LOCK = ".lock"  # in every folder that only one process may write to
_LOCK_SECONDS = 1.0


def write_durably(path: Path, data: bytes) -> None:
    """Write a file completely or not at all, such that it survives a power cut.

    Raises:
        OSError: The disk is full; the previous file is unchanged.
    """
    # In the same folder: a rename is atomic only within one file system.
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
    # The new name is an entry of the folder, which has to reach the disk, too.
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
    # With the process id, in case two processes write the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A temporary folder next to `out`, which is renamed to `out` when the block succeeds.

    If the block fails, also by Ctrl-C, the temporary folder is removed.

    Args:
        out: A folder that does not exist yet.

    Raises:
        BundleError: `out` exists already, cannot be written, or the disk is full.
    """
    check_text(out, what="the output", error=BundleError)
    check_new(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as problem:
        raise BundleError(f"{out}: {problem.strerror}; expected a writable folder") from None
    try:
        yield temporary
        # A power cut after the renaming must not leave empty files under the final name.
        for path in temporary.iterdir():
            _to_disk(path)
        temporary.chmod(0o755)  # mkdtemp creates folders that only their owner can open
        check_new(out)  # again: another process may have created it meanwhile
        temporary.rename(out)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise BundleError(f"{out}: {reason}; nothing was written") from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_new(out: Path) -> None:
    """Check that nothing would be overwritten.

    Raises:
        BundleError: `out` exists.
    """
    if out.exists() or out.is_symlink():
        raise BundleError(f"{out}: exists already and is never overwritten; expected a new folder")


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other searches until the block or this process ends.

    Raises:
        StudyError: Another search holds the lock.
    """
    lock = FileLock(folder / LOCK)
    try:
        # Not at the first attempt: `is_driven` takes the lock for a moment, too.
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        raise StudyError(
            f"{folder}: another search is writing there; wait until it ends, or use another folder"
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
        # No call asks for the holder of a lock on all systems, so it is taken and released at once.
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder of another user
        return False


@contextmanager
def room_needed(folder: Path) -> Iterator[None]:
    """Report a full disk, or a folder without write permission, as a user's error.

    Raises:
        StudyError: The disk is full, or the folder is read-only.
    """
    try:
        yield
    except OSError as problem:
        where = f"{problem.filename or folder}: {problem.strerror}"
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StudyError(
                f"{where}; expected free space: make room, then repeat the command with --resume"
            ) from problem
        if problem.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StudyError(
                f"{where}; expected a folder that this user can write to: copy it to one"
            ) from problem
        raise
