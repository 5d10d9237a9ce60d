"""Files that are there whole or not at all, whatever happens meanwhile."""

import os
from pathlib import Path


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
