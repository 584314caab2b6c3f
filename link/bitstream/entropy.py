"""A binary range coder in integers: probabilities are 16-bit numbers, and both ends count alike everywhere.

The coder is Martin's range coding (1979) for two symbols as in LZMA: a 32-bit interval, cut in proportion
to the probability of a 1, and moved on by whole bytes. A carry runs back into the bytes already written.
It is farlink's own because the library `constriction` takes probabilities as floats, which ends may round apart,
and ends on whole words of 32 bits, where a section has some ten bytes in all.
The end is cut to the shortest bytes inside the last interval: a reader takes zeros for what is not there.
"""

from typing import Protocol

PROBABILITY_BITS = 16
ONE = 1 << PROBABILITY_BITS
"""The probability 1; a coded probability is in 1..ONE-1."""

_BOTTOM = 1 << 24
_MASK = (1 << 32) - 1


class BitCoder(Protocol):
    """One interface for both directions, so that a model is written once."""

    def code(self, one: int, bit: int) -> int:
        """Code a bit that is 1 with probability *one*/65536 and return it; a reader ignores *bit*."""


class BitWriter:
    """Write bits; `finish()` returns the bytes."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._low = 0
        self._range = _MASK

    def code(self, one: int, bit: int) -> int:
        """Write *bit*, which is 1 with probability *one*/65536, and return it."""
        bound = (self._range >> PROBABILITY_BITS) * one
        if bit:
            width = bound
        else:
            self._low += bound
            width = self._range - bound
            if self._low > _MASK:
                self._low &= _MASK
                self._carry()
        while width < _BOTTOM:
            self._out.append(self._low >> 24)
            self._low = (self._low << 8) & _MASK
            width <<= 8
        self._range = width
        return bit

    def _carry(self) -> None:
        at = len(self._out) - 1
        while self._out[at] == 255:
            self._out[at] = 0
            at -= 1
        self._out[at] += 1

    def finish(self) -> bytes:
        """Return the shortest bytes that a reader, who takes zeros after their end, reads the same."""
        end = self._low + self._range
        for kept in range(5):
            unit = 1 << (32 - 8 * kept)
            value = (self._low + unit - 1) // unit * unit
            if value < end:
                break
        if value > _MASK:
            value &= _MASK
            self._carry()
        self._out += value.to_bytes(4, "big")[:kept]
        return bytes(self._out).rstrip(b"\0")


class BitReader:
    """Read the bits back from *data*; any bytes can be read, and zeros follow their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 4
        self._code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
        self._range = _MASK

    def code(self, one: int, bit: int = 0) -> int:
        """Read a bit that is 1 with probability *one*/65536."""
        bound = (self._range >> PROBABILITY_BITS) * one
        if self._code < bound:
            width = bound
            bit = 1
        else:
            self._code -= bound
            width = self._range - bound
            bit = 0
        while width < _BOTTOM:
            following = self._data[self._at] if self._at < len(self._data) else 0
            self._code = (self._code << 8 | following) & _MASK
            self._at += 1
            width <<= 8
        self._range = width
        return bit

    def finish(self) -> None:
        """Raise `ValueError` if bytes are left that no writer would have sent."""
        if self._at < len(self._data):
            raise ValueError(f"expected at most {self._at} coded bytes, got {len(self._data)}")
