"""The borders of a mask as chains of turns between its pixels (crack code; Freeman 1961, Rosenfeld and Kak 1982).

Corners of pixels lie on a grid of (rows + 1) x (columns + 1). A border is a closed way over it, and a pixel belongs to
the mask where an odd number of borders lies above it: so any set of closed ways is a mask, and outer borders and holes
need not be told apart. Each chain begins at the first side, in the order of rows, that no chain before has: it runs
eastwards there, and ends where it comes back to its first corner.
"""

from collections.abc import Callable
from operator import xor

from link.bitstream.entropy import ONE
from link.bitstream.predict import Predictor

Rows = list[list[int]]
_EAST, _SOUTH, _WEST, _NORTH = range(4)
_HALF = ONE // 2


class _Sides:
    """The sides of pixels that are on a border: across[y][x] above pixel (y, x), down[y][x] on its left."""

    def __init__(self, height: int, width: int) -> None:
        self.across = [[0] * (width + 2) for _ in range(height + 2)]
        self.down = [[0] * (width + 2) for _ in range(height + 2)]

    def place(self, y: int, x: int, way: int) -> tuple[list[int], int]:
        """Return where the side is noted that leads from corner (y, x) to *way*."""
        if way == _EAST:
            return self.across[y], x
        if way == _WEST:
            return self.across[y], x - 1
        return (self.down[y], x) if way == _SOUTH else (self.down[y - 1], x)


def _sides_of(rows: Rows, height: int, width: int) -> _Sides:
    sides = _Sides(height, width)
    for y in range(height + 1):
        above = rows[y - 1] if y else [0] * width
        here = rows[y] if y < height else [0] * width
        sides.across[y][:width] = map(xor, above, here)
        if y < height:
            sides.down[y][: width + 1] = map(xor, [0, *here], [*here, 0])
    return sides


def code_contours(
    predict: Predictor, code: Callable[[int, int], int], given: Rows, shape: tuple[int, int]
) -> Rows:
    """Code the mask *given* and return it; when reading, *given* is all 0 and what is read comes back.

    Raise ValueError where a chain leaves the picture or takes a side twice.
    """
    height, width = shape
    left, made = _sides_of(given, height, width), _Sides(height, width)
    starts = (height + 1) * width
    at = 0
    bits = starts.bit_length()
    start = 0
    while True:
        if start >= 0:  # a reader has no sides left from the first look on, and need not look again
            start = next((n for n in range(at, starts) if left.across[n // width][n % width]), -1)
        if not predict.bit("another", int(start >= 0)):
            break
        gap = start - at if start >= 0 else 0
        number = 0
        for place in reversed(range(bits)):
            number = number << 1 | code(_HALF, gap >> place & 1)
        at += number
        if at >= starts or made.across[at // width][at % width]:
            raise ValueError("a border begins where none can")
        _chain(predict, left, made, at // width, at % width, shape)
    rows: Rows = []
    for y in range(height):
        above = rows[-1] if y else [0] * width
        rows.append(list(map(xor, above, made.across[y])))
    return rows


def _chain(
    predict: Predictor, left: _Sides, made: _Sides, top: int, start: int, shape: tuple[int, int]
) -> None:
    """Code one border from the corner (*top*, *start*), eastwards at first."""
    height, width = shape
    y, x, way = top, start, _EAST
    past = 0
    while True:
        row, place = made.place(y, x, way)
        if row[place]:
            raise ValueError("a border takes a side twice")
        row[place] = 1
        row, place = left.place(y, x, way)
        row[place] = 0
        y += (way == _SOUTH) - (way == _NORTH)
        x += (way == _EAST) - (way == _WEST)
        if (y, x) == (top, start):
            return
        free = [turn for turn in (0, 1, 2) if _inside(y, x, (way + turn - 1) % 4, height, width)]
        wanted = next(
            (turn for turn in (2, 1, 0) if turn in free and _there(left, y, x, (way + turn - 1) % 4)), 1
        )
        # 0: to the left, 1: straight on, 2: to the right
        straight, lately = ("straight", past), ("straight", "lately", past % 27)
        if 1 in free and (len(free) == 1 or predict.bit(straight, int(wanted == 1), lately)):
            turn = 1
        elif 0 in free and 2 in free:
            turn = 2 * predict.bit(("right", past), int(wanted == 2), ("right", "lately", past % 9))
        elif not free:
            raise ValueError("a border leads out of the picture")
        else:
            turn = next(turn for turn in free if turn != 1)
        past = (past * 3 + turn) % 729
        way = (way + turn - 1) % 4


def _inside(y: int, x: int, way: int, height: int, width: int) -> bool:
    return (x < width, y < height, x > 0, y > 0)[way]


def _there(sides: _Sides, y: int, x: int, way: int) -> bool:
    row, place = sides.place(y, x, way)
    return bool(row[place])
