"""Masks and maps of classes in a few bytes, without loss: several coders, and the smallest of what they make.

    labels (rows, columns), below `classes` --> contexts  each pixel by its neighbours (JBIG2's kind, ISO/IEC 14492)
                                            --> contours  the cracks between pixels as a chain of turns; masks alone
                                            --> runs      how far until the class changes, row by row
                                            --> quadtree  squares of one class
                                                   |
                                            two bits say which one, and the range coder makes bytes of all of it

Every coder asks a `BitCoder` for one adaptive bit after the other, writing or reading alike, so that what is written is
what is read. Both ends know the shape and the number of classes; the bytes say nothing of size, so whatever they are,
reading them takes at most a fixed number of bits per pixel. Raise ValueError for bytes that nobody wrote.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from link.bitstream.contours import code_contours
from link.bitstream.entropy import ONE, BitCoder, BitReader, BitWriter
from link.bitstream.predict import Predictor

MOST_CLASSES = 256
MOST_PIXELS = 1 << 22
"""Of a map: four megapixels take a minute."""

Labels = NDArray[np.uint8]
Rows = list[list[int]]
_HALF = ONE // 2


class MapCoder:
    """Codes the labels of one map by a `BitCoder`, writing or reading alike. When reading, what is given is ignored."""

    def __init__(self, coder: BitCoder, shape: tuple[int, int], classes: int) -> None:
        self.code = coder.code
        self.height, self.width = shape
        self.classes = classes
        self.predict = Predictor(coder.code)
        self._depth = max(1, (classes - 1).bit_length())

    def label(self, label: int, not_this: int) -> int:
        """Code one label, which is not *not_this* (-1: may be any)."""
        if self.classes == 2 and not_this >= 0:
            return 1 - not_this
        node = 1
        for at in reversed(range(self._depth)):
            node = node << 1 | self.predict.bit(("label", node), label >> at & 1)
        label = node - (1 << self._depth)
        if label >= self.classes or label == not_this:
            raise ValueError(f"a label {label} that cannot be, of {self.classes}")
        return label

    def contexts(self, given: Rows) -> Rows:
        """Code each pixel by those around it that are known."""
        return self._binary(given) if self.classes == 2 else self._many(given)

    def _binary(self, given: Rows) -> Rows:
        """The ten pixels of JBIG2's generic template 2 (6.2.5.3): three above the row above, five above, two before."""
        width, shade = self.width, self.predict.shade
        upper, above = [0] * (width + 5), [0] * (width + 5)
        rows = []
        for y in range(self.height):
            row, line = [0] * (width + 5), given[y]
            high = upper[2] << 1 | upper[3]
            middle = above[2] << 2 | above[3] << 1 | above[4]
            low = 0
            for x in range(2, width + 2):
                high = (high << 1 | upper[x + 1]) & 7
                middle = (middle << 1 | above[x + 2]) & 31
                bit = shade(high << 7 | middle << 2 | low, line[x - 2])
                row[x] = bit
                low = (low << 1 | bit) & 3
            rows.append(row[2 : width + 2])
            upper, above = above, row
        return rows

    def _many(self, given: Rows) -> Rows:
        """Is it the class on the left, above, above on the right? If not, which one?"""
        width, bit = self.width, self.predict.bit
        upper, above = [0] * (width + 3), [0] * (width + 3)
        rows = []
        for y in range(self.height):
            row, line = [0] * (width + 3), given[y]
            row[1] = row[0] = above[2]
            for x in range(2, width + 2):
                west, north, corner, east = row[x - 1], above[x], above[x - 1], above[x + 1]
                label = line[x - 2]
                shape = (
                    (west == north) << 4 | (west == corner) << 3 | (north == corner) << 2
                    | (north == east) << 1 | (row[x - 2] == west)
                )  # fmt: skip
                shape = shape << 1 | (upper[x] == north)
                if bit(("west", shape), int(label == west)):
                    label = west
                elif north != west and bit(("north", shape), int(label == north)):
                    label = north
                elif east not in (west, north) and bit(("east", shape), int(label == east)):
                    label = east
                else:
                    label = self.label(label, west)
                    if label in (north, east):
                        raise ValueError("a label that was told not to be")
                row[x] = label
            rows.append(row[2 : width + 2])
            upper, above = above, row
        return rows

    def runs(self, given: Rows) -> Rows:
        """Code how long each run of one class is, from the left to the right, rows one after the other."""
        flat = [label for row in given for label in row]
        total = self.height * self.width
        edges = [0, *(at for at, (a, b) in enumerate(pairwise(flat), 1) if a != b), total]
        coded: list[int] = []
        last, turn = -1, 0
        while len(coded) < total:
            at = len(coded)
            last = self.label(flat[at], last)
            length = self._length(edges[turn + 1] - at if turn + 1 < len(edges) else 1, ("run", last))
            if length > total - at:
                raise ValueError(f"a run of {length} where {total - at} pixels are left")
            coded += [last] * length
            turn += 1
        return self._rows(coded)

    def _length(self, value: int, kind: tuple[str, int]) -> int:
        """Code *value*, 1 or more, in Exp-Golomb bits, the length and the top bits by adaptive counts."""
        bit, size = self.predict.bit, 0
        while size < 24 and bit((*kind, "size", size), int(value >> size > 1)):
            size += 1
        number = 1
        for at in reversed(range(size)):
            known = (*kind, size, number) if size - at <= 3 else (*kind, size, at, "low")
            number = number << 1 | bit(known, value >> at & 1)
        return number

    def quadtree(self, given: Rows) -> Rows:
        """Code squares: of one class, which, or four smaller ones."""
        labels = np.array(given, np.uint8) if given[0] else np.zeros((self.height, self.width), np.uint8)
        out = np.zeros((self.height, self.width), np.uint8)
        size = 1
        while size < max(self.height, self.width):
            size *= 2
        self._square(labels, out, 0, 0, size)
        rows: Rows = out.tolist()
        return rows

    def _square(self, labels: Labels, out: Labels, top: int, left: int, size: int) -> None:
        if top >= self.height or left >= self.width:
            return
        square = labels[top : top + size, left : left + size]
        first = int(square[0, 0])
        north = int(out[top - 1, left]) if top else -1
        west = int(out[top, left - 1]) if left else north
        if size > 1 and self.predict.bit(("split", size, north == west), int((square != first).any())):
            half = size // 2
            for down in (0, half):
                for right in (0, half):
                    self._square(labels, out, top + down, left + right, half)
            return
        label, not_this = first, -1
        if west >= 0:
            if self.predict.bit(("as west", size == 1, north == west), int(first == west)):
                label, not_this = west, -2
            else:
                not_this = west
        if not_this != -2:
            label = self.label(first, not_this)
        out[top : top + size, left : left + size] = label

    def contours(self, given: Rows) -> Rows:
        """Code the borders of a mask as closed chains of turns."""
        if self.classes != 2:
            raise ValueError(f"contours of {self.classes} classes")
        return code_contours(self.predict, self.code, given, (self.height, self.width))

    def _rows(self, flat: list[int]) -> Rows:
        return [flat[at : at + self.width] for at in range(0, len(flat), self.width)]


Way = Callable[[MapCoder, Rows], Rows]
WAYS: tuple[tuple[str, Way], ...] = (
    ("contexts", MapCoder.contexts),
    ("contours", MapCoder.contours),
    ("runs", MapCoder.runs),
    ("quadtree", MapCoder.quadtree),
)
"""The coders; the place of one is its number on the wire."""


def encode(labels: Labels, classes: int, ways: tuple[str, ...] = ()) -> bytes:
    """Return *labels*, shape (rows, columns), numbers below *classes*, in the fewest bytes of *ways* (none: all).

    Raise ValueError for a label that is no class, and for more than `MOST_PIXELS`.
    """
    shape = _checked(labels.shape, classes)
    if labels.size and int(labels.max()) >= classes:
        raise ValueError(f"a label {int(labels.max())} of {classes} classes")
    rows: Rows = labels.tolist()
    made = [_encode(number, rows, shape, classes) for number, (name, _) in enumerate(WAYS)
            if (name in ways or not ways) and (name != "contours" or classes == 2)]  # fmt: skip
    return min(made, key=len)


def _encode(number: int, rows: Rows, shape: tuple[int, int], classes: int) -> bytes:
    writer = BitWriter()
    for at in (1, 0):
        writer.code(_HALF, number >> at & 1)
    WAYS[number][1](MapCoder(writer, shape, classes), rows)
    return writer.finish()


def decode(data: bytes, shape: tuple[int, int], classes: int) -> Labels:
    """Return the map of *shape* (rows, columns) that `encode` made *data* of. Raise ValueError for other bytes."""
    height, width = _checked(shape, classes)
    reader = BitReader(data)
    number = reader.code(_HALF) << 1 | reader.code(_HALF)
    blank = [[0] * width for _ in range(height)]
    rows = WAYS[number][1](MapCoder(reader, (height, width), classes), blank)
    reader.finish()
    return np.array(rows, np.uint8).reshape(height, width)


def name_way(data: bytes) -> str:
    """Return which coder made *data*."""
    reader = BitReader(data)
    return WAYS[reader.code(_HALF) << 1 | reader.code(_HALF)][0]


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Return *mask*, shape (rows, columns), in as few bytes as one of the coders can."""
    return encode(mask.astype(np.uint8), 2)


def decode_mask(data: bytes, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of *shape* that `encode_mask` made *data* of. Raise ValueError for other bytes."""
    return decode(data, shape, 2).astype(np.bool_)


def _checked(shape: tuple[int, ...], classes: int) -> tuple[int, int]:
    if len(shape) != 2 or not 0 < shape[0] * shape[1] <= MOST_PIXELS or not 2 <= classes <= MOST_CLASSES:
        raise ValueError(
            f"a map of {shape} in {classes} classes; at most {MOST_PIXELS} pixels, {MOST_CLASSES} classes"
        )
    return shape[0], shape[1]
