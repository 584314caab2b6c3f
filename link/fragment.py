"""Sections to packet bodies and back, with holes.

A body is a row of chunks. A chunk is a flag byte, numbers as varints (`link.varint`), and bytes:

    flag    bit 7  the chunk reaches to the end of the body (no length follows)
            bit 6  the chunk is a piece of a section (a piece number follows)
            bits 0-5  section number; 63: a varint with the number less 63 follows
    piece   piece number << 1 | whether it is the section's last
    length  bytes of the chunk

The body of a frame's last data packet ends with eight bytes more, BLAKE2b-64 (RFC 7693) over the frame's number and
its sections with their lengths. A frame of which all packets arrived is called complete only where that holds: what
32 bits of checksum a packet let through once in four billion times, packets of two frames put together, or a frame
taken for another is found by it. A part of a frame is not covered: each of its packets has its own checksum.

Every body can be read by itself, so a lost packet costs the sections it carried and no other. Small
sections share a body; a section is cut only where it does not fit into an empty one.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from link import varint
from link.frame import Payload
from link.packet import HASH_BYTES, MAX_PACKETS

MAX_SECTIONS = 1024
_TO_END, _PIECE, _EXTENDED = 0x80, 0x40, 0x3F


@dataclass(frozen=True, slots=True)
class Chunk:
    """A section or a piece of one, as it stands in a body."""

    section: int
    piece: int
    """0 for a whole section."""
    final: bool
    data: bytes


def fragment(sections: Sequence[bytes], body_bytes: int, frame: int) -> list[bytes]:
    """Return the bodies, of at most *body_bytes* each, that carry *sections* in their order.

    *frame* is the full number of the frame, of which the wire carries the low bits. The hash stands at the end of the
    last body, or in one of its own where there is no room. No sections, no bodies.
    Raise ValueError where there are more than 1024 sections or more bodies than a frame may have, or the hash does not
    fit into one.
    """
    if body_bytes < HASH_BYTES:
        raise ValueError(f"bodies of {body_bytes} bytes; at least {HASH_BYTES} are needed")
    if len(sections) > MAX_SECTIONS:
        raise ValueError(f"{len(sections)} sections; at most {MAX_SECTIONS}")
    made = [_body(row) for row in _rows(sections, body_bytes)]
    if made and len(made[-1]) + HASH_BYTES > body_bytes:
        made.append(b"")
    if len(made) > MAX_PACKETS:
        raise ValueError(f"{len(made)} packets for one frame; at most {MAX_PACKETS}")
    if made:
        made[-1] += _hash(sections, frame)
    return made


def _rows(sections: Sequence[bytes], body_bytes: int) -> list[list[Chunk]]:
    """Return the chunks of each body."""
    bodies: list[list[Chunk]] = [[]]
    room = body_bytes

    def add(chunk: Chunk) -> None:
        nonlocal room
        bodies[-1].append(chunk)
        room -= len(_head(chunk, to_end=False)) + len(chunk.data)

    def fresh() -> None:
        nonlocal room
        if bodies[-1]:
            bodies.append([])
        room = body_bytes

    for number, data in enumerate(sections):
        whole = Chunk(number, 0, True, data)
        if len(_head(whole, to_end=True)) + len(data) > body_bytes:
            if room < min(32, body_bytes):
                fresh()
            at = piece = 0
            while at < len(data):
                head = len(_head(Chunk(number, piece, True, b"x"), to_end=True, cut=True))
                take = min(len(data) - at, room - head)
                if take < 1 or len(bodies) > MAX_PACKETS:
                    raise ValueError(
                        f"a section of {len(data)} bytes in packets of {body_bytes}; at most {MAX_PACKETS} packets"
                    )
                final = at + take == len(data)
                chunk = Chunk(number, piece, final, data[at : at + take])
                bodies[-1].append(chunk)
                room -= len(_head(chunk, to_end=False, cut=True)) + take
                at, piece = at + take, piece + 1
                if not final:
                    fresh()
            continue
        # The last chunk of a body has no length, so what fits with a short head fits.
        if len(_head(whole, to_end=True)) + len(data) > room:
            fresh()
        if len(bodies) > MAX_PACKETS:
            break
        add(whole)
    if not bodies[-1]:
        bodies.pop()
    return bodies


def _hash(sections: Sequence[bytes], frame: int) -> bytes:
    digest = hashlib.blake2b(frame.to_bytes(8, "big"), digest_size=HASH_BYTES)
    for section in sections:
        digest.update(len(section).to_bytes(4, "big"))
        digest.update(section)
    return digest.digest()


def verify(payload: Payload, last: bytes, frame: int) -> bool:
    """Return whether *payload* is all that was sent of *frame*, its full number, by the hash at the end of *last*.

    *last* is the frame's last body.
    """
    sections = [section for section in payload.sections if section is not None]
    return payload.complete and last[-HASH_BYTES:] == _hash(sections, frame)


def _head(chunk: Chunk, *, to_end: bool, cut: bool = False) -> bytes:
    cut = cut or chunk.piece > 0 or not chunk.final
    extended = chunk.section >= _EXTENDED
    flag = (_TO_END if to_end else 0) | (_PIECE if cut else 0) | (_EXTENDED if extended else chunk.section)
    head = bytes([flag])
    if extended:
        head += varint.put(chunk.section - _EXTENDED)
    if cut:
        head += varint.put(chunk.piece << 1 | chunk.final)
    if not to_end:
        head += varint.put(len(chunk.data))
    return head


def _body(chunks: Sequence[Chunk]) -> bytes:
    return b"".join(
        _head(chunk, to_end=at == len(chunks) - 1) + chunk.data for at, chunk in enumerate(chunks)
    )


def chunks(body: bytes, *, last: bool) -> list[Chunk]:
    """Return the chunks of *body*, which has a hash behind them where it is the frame's *last*.

    Raise ValueError where it is not a row of chunks.
    """
    return [
        Chunk(section, piece, final, body[start:end])
        for section, piece, final, start, end in _spans(body, last)
    ]


def sizes(body: bytes, *, last: bool) -> list[tuple[int, int]]:
    """Return (section, bytes) of each chunk of *body*, as `chunks` finds them. Raise ValueError as it does."""
    return [(section, end - start) for section, _piece, _final, start, end in _spans(body, last)]


def _spans(body: bytes, last: bool) -> Iterator[tuple[int, int, bool, int, int]]:
    """Yield (section, piece, final, start, end) of each chunk of *body*."""
    if last:
        if len(body) < HASH_BYTES:
            raise ValueError(f"a last body of {len(body)} bytes; its hash alone has {HASH_BYTES}")
        body = body[:-HASH_BYTES]
    at = 0
    while at < len(body):
        flag = body[at]
        at += 1
        section = flag & _EXTENDED
        if section == _EXTENDED:
            more, at = varint.get(body, at)
            section += more
        if section >= MAX_SECTIONS:
            raise ValueError(f"section {section}; at most {MAX_SECTIONS - 1}")
        piece, final = 0, True
        if flag & _PIECE:
            value, at = varint.get(body, at)
            piece, final = value >> 1, bool(value & 1)
            if piece >= MAX_PACKETS:
                raise ValueError(f"piece {piece}; at most {MAX_PACKETS - 1}")
        length = len(body) - at
        if not flag & _TO_END:
            length, at = varint.get(body, at)
        if at + length > len(body):
            raise ValueError(f"a chunk of {length} bytes at offset {at} in a body of {len(body)}")
        yield section, piece, final, at, at + length
        at += length


def reassemble(bodies: Mapping[int, bytes], count: int | None) -> Payload:
    """Return the sections in *bodies* (by packet index), None for each that lacks a piece.

    *count* is the number of data packets of the frame where it is known; where it is not, or where the
    last one is missing, a None at the end stands for all that may have followed. Bodies that cannot be
    read are taken as lost. Whether the whole is what was sent says `verify`.
    """
    pieces: dict[int, dict[int, bytes]] = {}
    ends: dict[int, int] = {}
    read = set()
    for index in sorted(bodies):
        try:
            body_chunks = chunks(bodies[index], last=index + 1 == count)
        except ValueError:
            continue
        read.add(index)
        for chunk in body_chunks:
            pieces.setdefault(chunk.section, {}).setdefault(chunk.piece, chunk.data)
            if chunk.final:
                ends.setdefault(chunk.section, chunk.piece)
    sections: list[bytes | None] = []
    for number in range(max(pieces, default=-1) + 1):
        have = pieces.get(number, {})
        end = ends.get(number)
        whole = end is not None and all(at in have for at in range(end + 1))
        sections.append(b"".join(have[at] for at in range(end + 1)) if whole and end is not None else None)
    if count is None or count - 1 not in read:
        sections.append(None)
    elif len(bodies[count - 1]) == HASH_BYTES and count - 2 not in read:
        sections.append(None)  # the hash stands alone, and what was before it is missing
    return Payload(tuple(sections))
