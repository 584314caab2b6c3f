"""Standard input: a parent's orders, or nothing. Whatever has a question to ask finds no one to answer it.

Libraries that load models may ask on standard input whether to run code that lies in a model's folder.
"""

import os
from typing import IO


def take_stdin() -> IO[bytes] | None:
    """Return standard input, None where there is none, and leave nothing to be read in its place."""
    try:
        orders: IO[bytes] | None = os.fdopen(os.dup(0), "rb")
    except OSError:  # closed from the start
        orders = None
    close_stdin()
    return orders


def close_stdin() -> None:
    """Leave nothing to be read on standard input, for this process and those that inherit it."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    if nothing != 0:
        os.dup2(nothing, 0)
        os.close(nothing)
