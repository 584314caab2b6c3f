"""Messages through a pipe between the receiver and the process of its models: a JSON object, and byte strings.

bytes 0-3   length of the JSON that follows (big-endian): an object, whose `blobs` has the lengths of the byte strings
then the byte strings

Nothing that is read is executed, and nothing larger than a message can be is waited for.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from link.config import MOST_SIDE

MAX_HEAD = 16 << 20
MAX_BLOBS = 3 * MOST_SIDE**2 + (64 << 20)
"""Bytes: the largest picture, and what may go with it."""

Message = tuple[dict[str, Any], list[bytes]]


def pack(fields: dict[str, Any], blobs: Sequence[bytes] = ()) -> list[bytes]:
    """Return the parts of the message of *fields* and *blobs*, to be written one after the other."""
    head = json.dumps({**fields, "blobs": [len(blob) for blob in blobs]}).encode()
    return [len(head).to_bytes(4, "big") + head, *blobs]


class Reader:
    """Puts messages together from the blocks in which they come."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._head: tuple[dict[str, Any], list[int]] | None = None

    def take(self, block: bytes) -> Iterator[Message]:
        """Yield the messages that *block* makes whole. Raise ValueError where they are none."""
        self._held += block
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> Message | None:
        if self._head is None:
            if len(self._held) < 4:
                return None
            size = int.from_bytes(self._held[:4], "big")
            if size > MAX_HEAD:
                raise ValueError(f"a head of {size} bytes")
            if len(self._held) < 4 + size:
                return None
            self._head = _read_head(bytes(self._held[4 : 4 + size]))
            del self._held[: 4 + size]
        fields, sizes = self._head
        if len(self._held) < sum(sizes):
            return None
        blobs, at = [], 0
        for size in sizes:
            blobs.append(bytes(self._held[at : at + size]))
            at += size
        del self._held[:at]
        self._head = None
        return fields, blobs


def _read_head(text: bytes) -> tuple[dict[str, Any], list[int]]:
    try:
        fields = json.loads(text)
    except RecursionError:
        raise ValueError("a head nested too deep") from None
    sizes = fields.pop("blobs", None) if isinstance(fields, dict) else None
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError("a head without the lengths of what follows")
    if sum(sizes) > MAX_BLOBS:
        raise ValueError(f"a message of {sum(sizes)} bytes")
    return fields, sizes
