"""Which bits are flipped."""

import numpy as np

_BLOCK = 256
_NEVER = 1 << 62


class BitErrors:
    """Flips each bit with the same probability (binary symmetric channel)."""

    def __init__(self, ratio: float, rng: np.random.Generator) -> None:
        self._ratio = ratio
        self._rng = rng
        self._drawn: list[int] = []
        self._gap = self._draw() - 1  # intact bits before the next flip

    def _draw(self) -> int:
        """Return how many bits on the next flip is. In blocks: numpy's call for one number is ten times dearer."""
        if self._ratio <= 0.0:
            return _NEVER
        if not self._drawn:
            self._drawn = self._rng.geometric(self._ratio, _BLOCK).tolist()[::-1]
        return self._drawn.pop()

    def set_ratio(self, ratio: float) -> None:
        """Go on with another probability from the next bit on."""
        if ratio != self._ratio:
            self._ratio = ratio
            self._drawn = []
            self._gap = self._draw() - 1

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
            at += self._draw()
        self._gap = at - bits
        return bytes(damaged)
