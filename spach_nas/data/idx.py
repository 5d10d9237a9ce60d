"""The idx format of MNIST and its kin: a header of big-endian sizes, then bytes.

Format: LeCun et al., "The MNIST database of handwritten digits".
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spach_nas.errors import DataError, one_line

_GZIP = b"\x1f\x8b"
_UNSIGNED_BYTES = 0x08


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array of bytes in an idx file, plain or with gzip.

    Raises:
        DataError: The file is missing, is no idx file, or is cut short.
    """
    return _parse(read_plain(path), path)


def read_plain(path: Path) -> bytes:
    """What is in the file, decompressed.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == _GZIP else raw
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(
            f"{path}: cannot be read ({one_line(problem)}); expected an idx file"
        ) from None


def _parse(data: bytes, path: Path) -> npt.NDArray[np.uint8]:
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UNSIGNED_BYTES or data[3] == 0:
        raise DataError(f"{path}: is no idx file of unsigned bytes")
    rank = data[3]
    if len(data) < 4 + 4 * rank:
        raise DataError(f"{path}: is cut short")
    shape = struct.unpack_from(f">{rank}I", data, 4)
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank)
    if values.size != int(np.prod(shape, dtype=np.int64)):
        sides = " x ".join(map(str, shape))
        raise DataError(f"{path}: holds {values.size} bytes; expected {sides} of them")
    return values.reshape(shape)
