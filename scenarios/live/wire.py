"""Messages to viewers, and between the page and its helpers, as bytes.

u32 length | JSON | blobs       "blobs": how long each blob is, in order
"""

import json
import os
from collections.abc import Callable, Sequence
from typing import IO, Any

from link.stdin import take_stdin

Answer = Callable[[dict[str, Any], list[bytes]], tuple[dict[str, Any], list[bytes]]]


def pack(message: dict[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """Return the bytes of a message."""
    if blobs:
        message = {**message, "blobs": [len(blob) for blob in blobs]}
    text = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    return b"".join((len(text).to_bytes(4, "little"), text, *blobs))


def unpack(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return (message, blobs), the inverse of `pack`. Raise ValueError where it is no message."""
    length = int.from_bytes(data[:4], "little")
    message = json.loads(data[4 : 4 + length])
    at, blobs = 4 + length, []
    for size in message.pop("blobs", ()):
        blobs.append(data[at : at + size])
        at += size
    return message, blobs


def serve(answer: Answer, nice: int) -> None:
    """Answer each message on standard input on standard output, until that ends: what a helper's process does."""
    os.nice(nice)
    # What libraries print must not come between the answers.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    orders = take_stdin()
    while orders is not None and (task := _read(orders)) is not None:
        out.write(pack(*answer(*task)))
        out.flush()


def _read(pipe: IO[bytes]) -> tuple[dict[str, Any], list[bytes]] | None:
    head = pipe.read(4)
    if len(head) < 4:
        return None
    about: dict[str, Any] = json.loads(pipe.read(int.from_bytes(head, "little")))
    return about, [pipe.read(size) for size in about.pop("blobs", ())]
