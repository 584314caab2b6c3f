"""Memory of neural networks on a CPU: freed blocks are kept for the next picture."""

import ctypes
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
NEVER = 2**31 - 1


def keep_blocks() -> bool:
    """Tell glibc to keep what is freed; return whether it listened.

    It maps every large block anew and hands it back at once, so each layer pays for fresh pages of zeros: a
    convolutional network runs about twice as fast without, more so in containers, where a page fault costs
    more. The environment variables MALLOC_MMAP_MAX_ and MALLOC_TRIM_THRESHOLD_ do the same from outside.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, NEVER))
