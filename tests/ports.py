"""Addresses on the loopback interface where nothing listens."""

import itertools
import os
import socket

# Below the ports that the kernel hands out by itself (32768 and up): a connection of another test cannot get one
# between the moment it is found free and the moment it is bound. Each process begins elsewhere.
_FIRST, _COUNT = 12_000, 20_000
_next = itertools.count(os.getpid() * 97 % _COUNT)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free, another one each time."""
    while True:
        port = _FIRST + next(_next) % _COUNT
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def free_address() -> str:
    """Return a ZeroMQ address on a port that is free."""
    return f"tcp://127.0.0.1:{free_port()}"
