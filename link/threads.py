"""How many threads neural networks compute with on a CPU: one, so that the same input gives the same output.

How a sum is divided among threads decides how it is rounded, so pictures would differ between machines, and between a
run in one process and one in three. One is also the fastest where something else runs: threads that wait for each other
in every layer wait for the slowest core. (Two cores with nine processes on them, the tiny profile, 8 steps: 1.06 s a
picture with one thread, 5.2 s with two, and 69 s at worst. With both cores free two threads need 0.2 s.)

Between kinds of processor pictures still differ, in a few pixels by 1 of 255: libraries choose other instructions.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute with one thread in this context (or function: it is a decorator too), then as before."""
    import torch  # which the link itself never needs

    before = torch.get_num_threads()
    if before != 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before != 1:
            torch.set_num_threads(before)
