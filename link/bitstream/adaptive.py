"""The coder of a map of which nothing is known beforehand: counts that adapt to what the map had so far."""

from collections.abc import Callable
from functools import partial

from link.bitstream.entropy import ONE, BitCoder

LIMIT = 2**15 - 1
"""The largest absolute value of a symbol."""

_CLASS = (0, 1, 2, 2, 3, 3, 4, 4, 4, 5)  # weighted sizes of the neighbours to a context
_STARTS = ((24, 1), (12, 3), (12, 6), (8, 6), (6, 8), (3, 12))  # its counts of 0 and not 0 at first
_UNARY = 14  # sizes beyond are escaped


class AdaptiveMap:
    """Codes a map by a `BitCoder`, writing or reading alike, with counts of what the map had so far."""

    def __init__(self, coder: BitCoder) -> None:
        self._code = coder.code
        self._zero = [list(pair) for pair in _STARTS]
        self._sign = [[2, 2] for _ in range(3)]
        self._larger = [[[1 + (kind > 3), 2] for _ in range(_UNARY)] for kind in range(len(_STARTS))]

    def _bit(self, counts: list[int], bit: int) -> int:
        one, zero = counts
        bit = self._code((one << 16) // (one + zero), bit)
        counts[1 - bit] += 2
        if one + zero > 512:
            counts[:] = (one + 1) >> 1, (zero + 1) >> 1
        return bit

    def rows(self, shape: tuple[int, ...], given: list[list[int]] | None = None) -> list[list[int]]:
        """Code the rows and return them; when reading, *given* is None."""
        height, width = shape
        rows = [[0] * (width + 2)]
        for y in range(height):
            above, row = rows[-1], [0] * (width + 2)
            symbols = given[y] if given else row
            for x in range(width):
                west, north = row[x - 1], above[x]
                near = abs(above[x - 1]) + abs(above[x + 1]) + 2 * (abs(west) + abs(north))
                kind = _CLASS[near if near < 9 else 9]
                if not self._bit(self._zero[kind], int(symbols[x] == 0)):
                    row[x] = self._symbol(symbols[x], kind, west + north)
            rows.append(row)
        return [row[:width] for row in rows[1:]]

    def _symbol(self, symbol: int, kind: int, around: int) -> int:
        negative = self._bit(self._sign[(around > 0) - (around < 0) + 1], int(symbol < 0))
        size, larger = abs(symbol), self._larger[kind]
        value = 1
        while value <= _UNARY and self._bit(larger[value - 1], int(size > value)):
            value += 1
        if value > _UNARY:
            value = _UNARY + code_beyond(partial(self._code, ONE // 2), size - _UNARY, _UNARY)
        return -value if negative else value


def code_beyond(code: Callable[[int], int], value: int, reach: int) -> int:
    """Code *value*, 1 or more, in Exp-Golomb bits, and return it; *code* writes a bit or reads another."""
    length = 0
    while length < 16 and code(int(value >> length > 1)):
        length += 1
    found = 1
    for at in reversed(range(length)):
        found = found << 1 | code(value >> at & 1)
    if found + reach > LIMIT:
        raise ValueError(f"a symbol is beyond {LIMIT}")
    return found
