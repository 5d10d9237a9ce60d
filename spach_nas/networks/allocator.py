"""Keep freed memory in the process: training on a CPU frees and asks for the same sizes each step.

glibc gives large blocks back to the system, and the next step pays for every page again: measured
on small proxies, 2 to 20 % of a training step.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # from malloc.h
_KEEP_BYTES = 2**31 - 1
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # glibc takes no more


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory, for the whole process; False where it is not glibc.

    The process holds its peak of memory from then on, which a training loop does anyway.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    kept = mallopt(_TRIM_THRESHOLD, _KEEP_BYTES)
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and kept)
