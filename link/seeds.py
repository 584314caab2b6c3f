"""Named random streams: one generator for every random thing, so that one never disturbs another."""

import hashlib

import numpy as np


def generator(seed: int, stream: str) -> np.random.Generator:
    """Return the generator of the stream *stream* under the scenario seed *seed*.

    Streams are independent: the seed and the name are hashed together (SHA-256), so adding a stream
    or drawing more from one changes no other. The same pair gives the same numbers on every machine.
    """
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
