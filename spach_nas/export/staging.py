"""A folder that is there whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spach_nas.errors import BundleError
from spach_nas.paths import check_text


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
