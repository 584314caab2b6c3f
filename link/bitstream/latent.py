"""The coder of latent channels: every channel of a frame becomes one byte string that is read alone.

    neighbours, place ──► skew, spread ──► cell ──► frequencies of symbols ──► range coder ──► bytes
    length of the section ────┘

A symbol is mostly 0. What it is depends on its place (sky above, road below), on the symbols around it and on
how busy the picture is. For each channel, trained tables say what a neighbour of each value adds to the *skew*
(which sign is likely) and to the *spread* (how far from 0), and what each place starts from. The two sums pick
a cell, which holds frequencies. A neighbour of 0 adds nothing, so reading costs time only where something is.
A section's length reaches the reader anyhow, and tells how busy the map is: it adds to the spread, and the
writer looks for a length that its own bytes fit into. No bytes stand for the map of zeros, whatever the tables say.
Channels without tables are coded as `adaptive` says.

All is in integers, so both ends agree on every machine; the interval is Martin's (1979), as in `entropy`.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property, reduce
from itertools import chain, repeat
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from link.bitstream.adaptive import LIMIT as LIMIT
from link.bitstream.adaptive import AdaptiveMap, code_beyond
from link.bitstream.entropy import BitReader, BitWriter

Array = NDArray[Any]

_SEEN = ((0, range(-3, 0)), (-1, range(-3, 4)), (-2, range(-2, 3)), (-3, range(1)))
OFFSETS = tuple((down, across) for down, columns in _SEEN for across in columns)
"""(rows, columns) from a symbol to each neighbour it looks at; all are coded before it."""
CLIP = 8
"""A neighbour counts as at most this far from 0."""
LEVELS = 64
"""Lengths that the spread tells apart, in bytes for a map of the trained size; longer ones are as the last."""
FORMAT = 2
"""Of sections by trained tables; in 1 a map of zeros was coded as any other."""
BITS = 14
"""The frequencies of a cell add up to 2**BITS."""
MAX_PIXELS = 1 << 22
"""Larger maps are refused before they are allocated."""

_PAD = 3
_PACK = 20  # the spread is above so many bits of the skew: one addition serves both
_TOTAL = 1 << BITS
_LOW = 1 << 24
_WINDOW = 56
_COST = 256  # costs are in 1/256 bits; they choose a length and decide nothing for the reader
_LUCK = 5 * _COST // 2  # what a map may lack and be tried at a length: it fits once in 2**2.5 times
_IMPOSSIBLE = "a section that no writer would have sent"
_Row = tuple[int, int | None, list[int], list[int], list[int], list[int | None]]
"""A cell as the reader uses it: its first frequency and symbol, then all ends, starts, frequencies and symbols."""


class _Channel:
    """One channel's tables, laid out for speed: Python's own numbers to read, arrays to write."""

    def __init__(self, tables: dict[str, Array], number: int, frequencies: Array) -> None:
        neighbours, places, levels = (tables[key][number] for key in ("neighbours", "places", "levels"))
        low, high = (
            end(neighbours, axis=1).sum(1) + end(places, axis=(1, 2)) + np.array([0, end(levels)])
            for end in (np.min, np.max)
        )
        if np.any(high - low >= 1 << 16):
            raise ValueError(f"tables: a channel spans {(high - low).max()}; at most 65535")
        if np.any(frequencies < 1) or np.any(frequencies.sum(1) != _TOTAL):
            raise ValueError(f"tables: expected that each cell adds up to {_TOTAL}")
        self.reach = int(tables["reach"][number])
        # Shifted so that no sum is negative.
        self.places: Array = (places[1] - low[1] << _PACK) + places[0] - low[0]
        self.added: Array = (neighbours[1] << _PACK) + neighbours[0]
        self.levels: list[int] = levels.tolist()
        skew, spread = (
            np.searchsorted(tables[key][number] - low[at], np.arange(high[at] - low[at] + 1), side="right")
            for at, key in enumerate(("skew_edges", "spread_edges"))
        )
        self.skew_cell, self.spread_cell = skew, spread * (tables["skew_edges"].shape[1] + 1)
        self.frequencies = frequencies

    def _ordered(self) -> tuple[Array, Array, Array]:
        """Return each cell's symbols, the likeliest first, their frequencies, and where their parts end.

        The likeliest symbol is at the bottom of the interval: the reader tries it first.
        """
        order = np.argsort(-self.frequencies, axis=1, kind="stable")
        counts = np.take_along_axis(self.frequencies, order, 1)
        return order, counts, np.cumsum(counts, 1)

    @cached_property
    def starts(self) -> Array:
        """Where each symbol's part of the interval starts, by cell."""
        order, counts, ends = self._ordered()
        starts = np.empty_like(self.frequencies)
        np.put_along_axis(starts, order, ends - counts, 1)
        return starts

    @cached_property
    def costs(self) -> Array:
        """What each symbol costs, by cell, in parts of a bit."""
        return np.asarray(np.rint((BITS - np.log2(self.frequencies)) * _COST).astype(np.int64))

    @cached_property
    def to_read(self) -> tuple[list[_Row], list[int], list[int], list[list[int]]]:
        """The cells, those of each spread and skew, and what a symbol adds (if below 0, from the end on)."""
        rows: list[_Row] = []
        for order, counts, ends in np.stack(self._ordered(), 1).tolist():
            symbols = [at - self.reach if at <= 2 * self.reach else None for at in order]
            rows.append((counts[0], symbols[0], ends[:-1], [0, *ends[:-1]], counts, symbols))
        added: list[list[int]] = self.added.tolist()
        return rows, self.spread_cell.tolist(), self.skew_cell.tolist(), added[CLIP:] + added[:CLIP]

    def at_places(self, height: int, width: int) -> Array:
        """Return the two sums, packed, before any neighbour is known: the trained map, stretched."""
        rows, columns = self.places.shape
        down, across = np.arange(height) * rows // height, np.arange(width) * columns // width
        return np.asarray(self.places[down[:, None], across])

    def level(self, size_bytes: int, area: int) -> int:
        """Return what a length adds to the spread, for a map of *area* symbols."""
        return self.levels[min(LEVELS - 1, size_bytes * self.places.size // area)]


class LatentTables:
    """What the coder knows of a transform's channels; both ends must have the same."""

    def __init__(self, arrays: dict[str, Array], n: int, channels: list[_Channel]) -> None:
        self._arrays = arrays
        self.n, self.channels = n, channels
        self.kind: Literal["generic", "trained"] = "trained" if channels else "generic"

    @classmethod
    def generic(cls, n: int) -> "LatentTables":
        """Return tables for *n* channels of which nothing is known."""
        return cls.from_arrays({"channels": np.array([n], np.int32)})

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> "LatentTables":
        """Return the tables in *arrays*, as `to_arrays()` gave them; raise `ValueError` if they do not fit together."""
        # safetensors writes an array's memory as it lies.
        arrays = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        counts = arrays.get("channels", np.zeros(0))
        if counts.shape != (1,) or not 1 <= counts[0] <= 4096:
            raise ValueError(f"tables: expected a number of 1 to 4096 channels, got {counts}")
        return cls(arrays, n := int(counts[0]), _channels(arrays, n) if len(arrays) > 1 else [])

    def to_arrays(self) -> dict[str, Array]:
        """Return the arrays that make up these tables, all of integers."""
        return dict(self._arrays)

    def digest(self) -> bytes:
        """Return the SHA-256 of the tables' numbers, shapes and names, and of the format of what they code."""
        sha = hashlib.sha256(f"{FORMAT}\n".encode() if self.channels else b"")
        for key, array in sorted(self._arrays.items()):
            sha.update(f"{key} {array.shape}\n".encode() + array.astype("<i4").tobytes())
        return sha.digest()


def _channels(arrays: dict[str, Array], n: int) -> list[_Channel]:
    """Return what is known of each channel; the frequencies of all stand in one row. A size of 0 is any."""
    sizes = {
        "neighbours": (n, 2, 2 * CLIP + 1, len(OFFSETS)),
        "places": (n, 2, 0, 0),
        "levels": (n, LEVELS),
        "skew_edges": (n, 0),
        "spread_edges": (n, 0),
        "reach": (n,),
        "frequencies": (0,),
        "channels": (1,),
    }
    if set(arrays) != set(sizes):
        raise ValueError(f"tables: expected {sorted(sizes)}, got {sorted(arrays)}")
    for key, wanted in sizes.items():
        shape, kind = arrays[key].shape, arrays[key].dtype
        same = len(shape) == len(wanted) and all(a in (0, b) for a, b in zip(wanted, shape, strict=True))
        if not same or 0 in shape or not np.can_cast(kind, np.int32):
            raise ValueError(f"tables: {key}: expected integers of shape {wanted}, got {kind} of {shape}")
    wide = {key: array.astype(np.int64) for key, array in arrays.items()}
    reach, edges = wide["reach"], (wide["skew_edges"], wide["spread_edges"])
    unsorted = any(np.any(np.diff(each) < 0) for each in edges)
    if unsorted or reach.min() < 1 or reach.max() > 127 or np.any(wide["neighbours"][:, :, CLIP]):
        raise ValueError("tables: expected ascending edges, a reach of 1 to 127, and nothing added by a 0")
    cells = (edges[0].shape[1] + 1) * (edges[1].shape[1] + 1)
    ends = np.cumsum(cells * (2 * reach + 2))
    if wide["frequencies"].size != ends[-1]:
        raise ValueError(f"tables: expected {ends[-1]} frequencies, got {wide['frequencies'].size}")
    parts = [part.reshape(cells, -1) for part in np.split(wide["frequencies"], ends[:-1])]
    return [_Channel(wide, at, part) for at, part in enumerate(parts)]


def _check(count: int, channels: Sequence[int], shape: tuple[int, ...], tables: LatentTables) -> None:
    if count != len(channels) or any(not 0 <= channel < tables.n for channel in channels):
        raise ValueError(f"{count} maps for {list(channels)}; expected one for each, of 0 to {tables.n - 1}")
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] > MAX_PIXELS:
        raise ValueError(f"maps of {shape}; expected 1 to {MAX_PIXELS} symbols")


def encode(maps: Array, channels: Sequence[int], tables: LatentTables) -> list[bytes]:
    """Return a section for each of the *channels*, whose symbols are *maps*: integers of shape (C, H, W).

    A section may be empty. Raise `ValueError` for symbols beyond `LIMIT` and for what does not fit the tables.
    """
    if maps.dtype.kind not in "iu":
        raise ValueError(f"expected integers of shape (C, H, W), got {maps.dtype} of {maps.shape}")
    _check(len(maps), channels, maps.shape[1:], tables)
    if not len(maps):
        return []
    if maps.max() > LIMIT or maps.min() < -LIMIT:
        raise ValueError(f"symbols from {maps.min()} to {maps.max()}; at most {LIMIT} from 0")
    maps = maps.astype(np.int64)
    if tables.kind == "generic":
        writers = [BitWriter() for _ in channels]
        for writer, symbols in zip(writers, maps.tolist(), strict=True):
            AdaptiveMap(writer).rows(maps.shape[1:], symbols)
        return [writer.finish() for writer in writers]
    known = [tables.channels[channel] for channel in channels]
    return [_encode(*each) for each in zip(maps, known, _sums(maps, known), strict=True)]


def decode(
    sections: Sequence[bytes], channels: Sequence[int], shape: tuple[int, int], tables: LatentTables
) -> NDArray[np.int32]:
    """Return the maps of the *channels*, int32 of shape (C, H, W), that `encode()` made *sections* of.

    *shape* is (H, W). Any other bytes give some map within `LIMIT`, or `ValueError`.
    """
    _check(len(sections), channels, shape, tables)
    most = 6 * shape[0] * shape[1] + 8  # an escaped symbol where it is least likely takes 14 + 31 bits
    maps = np.zeros((len(sections), *shape), np.int32)
    for at, (data, channel) in enumerate(zip(sections, channels, strict=True)):
        if len(data) > most:
            raise ValueError(f"expected at most {most} bytes for a map of {shape}, got {len(data)}")
        if tables.kind == "generic":
            maps[at] = AdaptiveMap(BitReader(data)).rows(shape)
        else:
            maps[at] = _decode(data, tables.channels[channel], *shape)
    return maps


def _sums(maps: Array, known: Sequence[_Channel]) -> Array:
    """Return the packed sums of every symbol, all channels at once."""
    count, height, width = maps.shape
    tables = np.stack([channel.added for channel in known])
    added = tables[np.arange(count)[:, None, None], np.clip(maps, -CLIP, CLIP) + CLIP]
    sums = np.zeros((count, height + _PAD, width + 2 * _PAD), np.int64)
    for at, (down, across) in enumerate(OFFSETS):
        left = _PAD - across
        sums[:, -down : height - down, left : left + width] += added[..., at]
    places = np.stack([channel.at_places(height, width) for channel in known])
    return np.asarray(sums[:, :height, _PAD : _PAD + width] + places)


def _encode(symbols: Array, channel: _Channel, sums: Array) -> bytes:
    """Return the section: the shortest, among lengths near the likely one, that holds the map it is context of."""
    if not symbols.any():
        return b""
    symbols, sums, reach = symbols.ravel(), sums.ravel(), channel.reach
    index = np.where(np.abs(symbols) <= reach, symbols + reach, 2 * reach + 1)
    escaped = [(at, _escaped(int(symbols[at]), reach)) for at in np.flatnonzero(index > 2 * reach).tolist()]
    raw_cost = _COST * sum(len(bits) for _, bits in escaped)
    skew, spread = channel.skew_cell[sums & ((1 << _PACK) - 1)], sums >> _PACK

    def cells(size: int) -> tuple[Array, int]:
        """Return the cells of all symbols if *size* is the length, and by how much their cost is over it."""
        cell = skew + channel.spread_cell[spread + channel.level(size, symbols.size)]
        return cell, int(channel.costs[cell, index].sum()) + raw_cost - 8 * _COST * size

    size = 8
    for _ in range(2):
        size = max(0, size + -(-cells(size)[1] // (8 * _COST)))
    size = max(1, size - 2)
    while True:
        cell_of, lack = cells(size)
        if lack <= _LUCK:
            starts: list[int] = channel.starts[cell_of, index].tolist()
            frequencies: list[int] = channel.frequencies[cell_of, index].tolist()
            for at, bits in reversed(escaped):
                starts[at + 1 : at + 1] = [_TOTAL // 2 * bit for bit in bits]
                frequencies[at + 1 : at + 1] = [_TOTAL // 2] * len(bits)
            if (data := _write(starts, frequencies, size)) is not None:
                return data
        size += max(1, lack // (16 * _COST))


def _escaped(symbol: int, reach: int) -> list[int]:
    """Return an escaped symbol as bits: how far it lies beyond *reach*, then its sign."""
    value = abs(symbol) - reach
    length = value.bit_length() - 1
    return [1] * length + [0] + [value >> at & 1 for at in reversed(range(length))] + [int(symbol < 0)]


def _write(starts: list[int], frequencies: list[int], size: int) -> bytes | None:
    """Return *size* bytes inside the interval that these parts of it lead to, None if there are none."""
    words: list[int] = []
    low, wide = 0, 1 << _WINDOW
    for start, frequency in zip(starts, frequencies, strict=True):
        part = wide >> BITS
        if start:
            low += part * start
            if low >> _WINDOW:
                low -= 1 << _WINDOW
                words[-1] += 1  # may exceed 32 bits; adding the words up carries it on
        wide = part * frequency
        if wide < _LOW:
            words.append(low >> 24)
            low, wide = (low & 0xFFFFFF) << 32, wide << 32
    value = (reduce(lambda high, word: (high << 32) + word, words, 0) << _WINDOW) + low
    cut = _WINDOW + 32 * len(words) - 8 * size
    if cut <= 0:
        return (value << -cut).to_bytes(size, "big")
    short = -(-value >> cut)
    return short.to_bytes(size, "big") if short << cut < value + wide else None


def _decode(data: bytes, channel: _Channel, height: int, width: int) -> Array:
    if not data:
        return np.zeros((height, width), np.int32)
    whole = data.ljust(7, b"\0")  # a window, then words
    code = int.from_bytes(whole[:7], "big")
    rest = np.frombuffer(whole[7:] + bytes((7 - len(whole)) % 4), ">u4")
    words: Iterator[int] = chain(rest.tolist(), repeat(0))
    wide = 1 << _WINDOW
    stride = width + _PAD
    # The columns between two rows, and the rows below, take what falls outside the map.
    padded = np.zeros((height + _PAD + 1, stride), np.int64)
    padded[:height, :width] = channel.at_places(height, width)
    padded += channel.level(len(data), height * width) << _PACK
    sums: list[int] = padded.ravel().tolist()
    out = [0] * (height * stride)
    rows, spread_cell, skew_cell, steps = channel.to_read
    targets = [-down * stride - across for down, across in OFFSETS]
    for line in range(0, height * stride, stride):
        for at in range(line, line + width):
            packed = sums[at]
            row = rows[spread_cell[packed >> 20] + skew_cell[packed & 0xFFFFF]]
            part = wide >> BITS
            wide = part * row[0]
            if code < wide:
                symbol = row[1]
            else:
                value = code // part
                if value >= _TOTAL:
                    raise ValueError(_IMPOSSIBLE)
                _, _, ends, starts, frequencies, symbols = row
                at_symbol = bisect_right(ends, value)
                code -= part * starts[at_symbol]
                wide = part * frequencies[at_symbol]
                symbol = symbols[at_symbol]
            if wide < _LOW:
                code, wide = code << 32 | next(words), wide << 32
            if symbol == 0:
                continue
            if symbol is None:
                symbol, code, wide = _escape(channel.reach, code, wide, words)
            out[at] = symbol
            step = steps[max(-CLIP, min(CLIP, symbol))]
            for target, added in zip(targets, step, strict=True):
                sums[at + target] += added
    return np.array(out, np.int32).reshape(height, stride)[:, :width]


def _escape(reach: int, code: int, wide: int, words: Iterator[int]) -> tuple[int, int, int]:
    """Read an escaped symbol; return it with the coder's new state."""

    def bit(_: int) -> int:
        nonlocal code, wide
        wide = (wide >> BITS) * (_TOTAL // 2)
        one, code = divmod(code, wide)
        if one > 1:
            raise ValueError(_IMPOSSIBLE)
        if wide < _LOW:
            code, wide = code << 32 | next(words), wide << 32
        return one

    size = reach + code_beyond(bit, 0, reach)
    return -size if bit(0) else size, code, wide
