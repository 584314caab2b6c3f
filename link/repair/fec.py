"""Erasure code over the packets of one frame: RaptorQ (RFC 6330), systematic, behind the packet checksum.

The data packets' bodies are the source symbols, padded to one width by 0x80 and zeros (ISO/IEC 7816-4),
so data packets travel as they are. A repair body is

    bytes 0-1   number of data packets of the frame, k
    bytes 2-    repair symbol

The symbol's number (ESI) is the packet's index in the frame, k and up. RFC 6330 works on symbols whose
width is a multiple of 8; the columns added for that are zero in every symbol, so they are cut off here
and put back there.
"""

from collections.abc import Mapping, Sequence

import raptorq

from link.packet import MAX_PACKETS

OVERHEAD_BYTES = 3
"""How much longer a repair body is than the longest data body of its frame."""
_ALIGN = 8
_MAX_BYTES = 8 << 20  # above this the library would split the frame into several source blocks


def encode(bodies: Sequence[bytes], count: int) -> list[bytes]:
    """Return *count* repair bodies for the data *bodies* of a frame.

    Raise ValueError where data and repair packets together exceed what a frame may have.
    """
    if not bodies or count <= 0:
        return []
    if len(bodies) + count > MAX_PACKETS:
        raise ValueError(f"{len(bodies)} data and {count} repair packets; at most {MAX_PACKETS} together")
    width = max(map(len, bodies)) + 1
    padded = width + -width % _ALIGN
    if padded * len(bodies) > _MAX_BYTES:
        raise ValueError(
            f"a frame of {padded * len(bodies)} bytes; the erasure code takes {_MAX_BYTES} at most"
        )
    encoder = raptorq.Encoder.with_defaults(b"".join(_pad(body, padded) for body in bodies), padded)
    repair = encoder.get_encoded_packets(count)[len(bodies) :]
    head = len(bodies).to_bytes(2, "big")
    return [head + packet[4 : 4 + width] for packet in repair]


def source_count(body: bytes) -> int:
    """Return the number of data packets that a repair *body* tells of. Raise ValueError where it cannot be one."""
    count = int.from_bytes(body[:2], "big")
    if len(body) < 3 or not 0 < count < MAX_PACKETS:
        raise ValueError(f"a repair body of {len(body)} bytes for {count} data packets")
    return count


def decode(data: Mapping[int, bytes], repair: Mapping[int, bytes]) -> dict[int, bytes] | None:
    """Return all data bodies of a frame by index, from some of them and *repair* bodies by packet index.

    None where they do not suffice or do not fit together. Give only bodies whose checksum held: RaptorQ
    does not notice a changed symbol.
    """
    if not repair:
        return None
    first = next(iter(repair.values()))
    count, width = source_count(first), len(first) - 2
    padded = width + -width % _ALIGN
    fits = all(len(body) == width + 2 and body[:2] == first[:2] for body in repair.values())
    if not fits or any(len(body) >= width for body in data.values()) or any(index >= count for index in data):
        return None
    if len(data) + len(repair) < count:
        return None
    zeros = bytes(padded - width)
    symbols = [(index, _pad(body, padded)) for index, body in data.items()]
    symbols += [(index, body[2:] + zeros) for index, body in repair.items() if index >= count]
    decoder = raptorq.Decoder.with_defaults(count * padded, padded)
    whole = None
    for index, symbol in symbols:
        # Payload ID of RFC 6330, 3.2: source block number 0, encoding symbol ID.
        whole = _decode_one(decoder, index.to_bytes(4, "big") + symbol)
        if whole is not None:
            break
    if whole is None or len(whole) != count * padded:
        return None
    bodies = {}
    for index in range(count):
        body = whole[index * padded : (index + 1) * padded].rstrip(b"\0")
        if not body.endswith(b"\x80"):
            return None
        bodies[index] = body[:-1]
    return bodies


def _decode_one(decoder: raptorq.Decoder, packet: bytes) -> bytes | None:
    try:
        found: bytes | None = decoder.decode(packet)
    except BaseException as error:
        # The library panics with a class that is no Exception (pyo3's PanicException) on input it cannot use.
        if type(error).__name__ != "PanicException":
            raise
        return None
    return found


def _pad(body: bytes, width: int) -> bytes:
    return body + b"\x80" + bytes(width - len(body) - 1)
