"""The part of CBOR (RFC 8949) that bundles are made of: unsigned integers, byte and text strings, arrays.

Written in the shortest form (4.2.1). Read in any form that is well-formed, within the bytes at hand and `DEPTH`.
"""

from collections.abc import Sequence
from typing import Any

DEPTH = 8
"""Arrays within arrays at most."""
_UINT, _BYTES, _TEXT, _ARRAY = 0, 2, 3, 4
_OPEN, _BREAK = 31, 0xFF


def _head(kind: int, value: int) -> bytes:
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{value} is not from 0 to 2^64 - 1")
    if value < 24:
        return bytes([kind << 5 | value])
    for more, size in enumerate((1, 2, 4, 8)):
        if value < 1 << 8 * size:
            return bytes([kind << 5 | 24 + more]) + value.to_bytes(size, "big")
    raise AssertionError


def pack(item: int | bytes | str | Sequence[Any]) -> bytes:
    """Return *item* as CBOR; arrays have a definite length. Raise ValueError for a number that is out of range."""
    if isinstance(item, int):
        return _head(_UINT, item)
    if isinstance(item, bytes):
        return _head(_BYTES, len(item)) + item
    if isinstance(item, str):
        text = item.encode()
        return _head(_TEXT, len(text)) + text
    return _head(_ARRAY, len(item)) + b"".join(map(pack, item))


def parse(data: bytes, at: int = 0, depth: int = DEPTH) -> tuple[Any, int]:
    """Return the item at offset *at* of *data*, and the offset behind it; arrays are lists.

    Raise ValueError where it is cut, of another kind, or nested too deep.
    """
    if at >= len(data):
        raise ValueError(f"CBOR is cut at byte {at}")
    kind, value = data[at] >> 5, data[at] & 31
    at += 1
    if kind not in (_UINT, _BYTES, _TEXT, _ARRAY):
        raise ValueError(f"CBOR of major type {kind} at byte {at - 1}")
    if kind == _ARRAY and depth == 0:
        raise ValueError(f"CBOR nested more than {DEPTH} deep")
    if kind == _ARRAY and value == _OPEN:
        items = []
        while data[at : at + 1] != bytes([_BREAK]):
            item, at = parse(data, at, depth - 1)
            items.append(item)
        return items, at + 1
    if value >= 24:
        size = 1 << value - 24
        if value > 27 or at + size > len(data):
            raise ValueError(f"a head of CBOR is cut or unknown at byte {at - 1}")
        value, at = int.from_bytes(data[at : at + size], "big"), at + size
    if kind == _UINT:
        return value, at
    if value > len(data) - at:  # an item has a byte at least
        raise ValueError(f"CBOR of {value} items or bytes at byte {at}, of which {len(data) - at} are there")
    if kind == _ARRAY:
        items = []
        for _ in range(value):
            item, at = parse(data, at, depth - 1)
            items.append(item)
        return items, at
    body = data[at : at + value]
    return (body if kind == _BYTES else body.decode()), at + value
