"""Which bits are flipped."""

import numpy as np


class BitErrors:
    """Flips each bit with the same probability (binary symmetric channel)."""

    def __init__(self, ratio: float, rng: np.random.Generator) -> None:
        self._ratio = ratio
        self._rng = rng
        self._gap = int(rng.geometric(ratio)) - 1  # intact bits before the next flip

    def __call__(self, data: bytes) -> bytes:
        """Return *data* with its share of flips."""
        bits = len(data) * 8
        if self._gap >= bits:
            self._gap -= bits
            return data
        damaged = bytearray(data)
        at = self._gap
        while at < bits:
            damaged[at >> 3] ^= 0x80 >> (at & 7)
            at += int(self._rng.geometric(self._ratio))
        self._gap = at - bits
        return bytes(damaged)
