"""How likely each bit of a map is: counts that adapt to what the map had so far, in integers."""

from collections.abc import Callable, Hashable

_STEP = 16
"""What one bit adds to its count."""
_PRIOR = 32
"""What a context begins with: as much as two bits."""
_MOST = 1 << 12
"""Where counts are halved, so that they follow what changes."""
_NONE, _ALL = (1, 150), (150, 1)


class Predictor:
    """Adaptive bits by context. *code* writes a bit of a probability in 65536ths, or reads another."""

    def __init__(self, code: Callable[[int, int], int]) -> None:
        self._code = code
        self._counts: dict[Hashable, list[int]] = {}
        self._parents = [list(_NONE), *([_STEP, _STEP] for _ in range(14)), list(_ALL)]
        self._shades: list[list[int] | None] = [None] * 1024

    def bit(self, context: Hashable, bit: int, parent: Hashable = None) -> int:
        """Code one bit of *context* and return it; a new context begins with what *parent*, a wider one, says."""
        counts = self._counts.get(context)
        if parent is not None:
            wide = self._counts.setdefault(parent, [_STEP // 2, _STEP // 2])
            if counts is None:
                counts = self._counts[context] = _begin(wide)
            bit = self._coded(counts, bit)
            _count(wide, bit)
            return bit
        if counts is None:
            counts = self._counts[context] = [_STEP // 2, _STEP // 2]
        return self._coded(counts, bit)

    def shade(self, context: int, bit: int) -> int:
        """Code a pixel of a mask by the ten bits of JBIG2's template 2; its parent are its four nearest pixels."""
        parent = self._parents[(context >> 3 & 7) << 1 | context & 1]
        counts = self._shades[context]
        if counts is None:
            counts = self._shades[context] = _begin(parent)
        bit = self._coded(counts, bit)
        _count(parent, bit)
        return bit

    def _coded(self, counts: list[int], bit: int) -> int:
        one, zero = counts
        bit = self._code((one << 16) // (one + zero), bit)
        _count(counts, bit)
        return bit


def _begin(parent: list[int]) -> list[int]:
    one, zero = parent
    first = min(max(1, _PRIOR * one // (one + zero)), _PRIOR - 1)
    return [first, _PRIOR - first]


def _count(counts: list[int], bit: int) -> None:
    counts[1 - bit] += _STEP
    if counts[0] + counts[1] > _MOST:
        counts[:] = (counts[0] + 1) >> 1, (counts[1] + 1) >> 1
