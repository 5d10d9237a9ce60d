"""Keeps freed memory in the process, because training on a CPU requests the same sizes each step.

By default, glibc returns large blocks to the system, and the next step pays for every page again:
2 to 20 % of a training step, measured on small proxies.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # from malloc.h
_KEEP_BYTES = 2**31 - 1
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc accepts no larger value


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory, for the whole process. Returns False if it is not glibc.

    From then on the process holds its peak memory, as a training loop does anyway.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    kept = mallopt(_TRIM_THRESHOLD, _KEEP_BYTES)
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and kept)
