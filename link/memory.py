"""How the C library keeps memory: for networks on a CPU what is freed, for processes that last as little as may be."""

import ctypes
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_MMAP_MAX = -4
M_ARENA_MAX = -8
NEVER = 2**31 - 1


def keep_blocks() -> bool:
    """Tell glibc to keep what is freed; return whether it listened.

    It maps every large block anew and hands it back at once, so each layer pays for fresh pages of zeros: a
    convolutional network runs about twice as fast without, more so in containers, where a page fault costs
    more. The environment variables MALLOC_MMAP_MAX_ and MALLOC_TRIM_THRESHOLD_ do the same from outside.
    """
    return _set(M_MMAP_MAX, 0) and _set(M_TRIM_THRESHOLD, NEVER)


def share_heap() -> bool:
    """Tell glibc to serve all threads from one heap and to hand large blocks back, and return whether it listened.

    Else each thread keeps a heap of its own, and what one of them has freed none of the others uses; and after the
    first large block that is freed, blocks of that size stay in the heap.
    """
    return _set(M_ARENA_MAX, 1) and _set(M_MMAP_THRESHOLD, 1 << 17)


def _set(parameter: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(parameter, value))
