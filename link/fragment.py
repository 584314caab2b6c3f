"""Sections to packet bodies and back, with holes.

A body is a row of chunks. A chunk is a flag byte, numbers as varints (`link.varint`), and bytes:

    flag    bit 7  the chunk reaches to the end of the body (no length follows)
            bit 6  the chunk is a piece of a section (a piece number follows)
            bits 0-5  section number; 63: a varint with the number less 63 follows
    piece   piece number << 1 | whether it is the section's last
    length  bytes of the chunk

Every body can be read by itself, so a lost packet costs the sections it carried and no other. Small
sections share a body; a section is cut only where it does not fit into an empty one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from link import varint
from link.frame import Payload
from link.packet import MAX_PACKETS

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


def fragment(sections: Sequence[bytes], body_bytes: int) -> list[bytes]:
    """Return the bodies, of at most *body_bytes* each, that carry *sections* in their order.

    Raise ValueError where there are more than 1024 sections or more bodies than a frame may have.
    """
    if len(sections) > MAX_SECTIONS:
        raise ValueError(f"{len(sections)} sections; at most {MAX_SECTIONS}")
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
    if len(bodies) > MAX_PACKETS:
        raise ValueError(f"{len(bodies)} packets for one frame; at most {MAX_PACKETS}")
    return [_body(chunks) for chunks in bodies]


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


def chunks(body: bytes) -> list[Chunk]:
    """Return the chunks of *body*. Raise ValueError where it is not a row of chunks."""
    return [
        Chunk(section, piece, final, body[start:end]) for section, piece, final, start, end in _spans(body)
    ]


def sizes(body: bytes) -> list[tuple[int, int]]:
    """Return (section, bytes) of each chunk of *body*. Raise ValueError where it is not a row of chunks."""
    return [(section, end - start) for section, _piece, _final, start, end in _spans(body)]


def _spans(body: bytes) -> Iterator[tuple[int, int, bool, int, int]]:
    """Yield (section, piece, final, start, end) of each chunk of *body*."""
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
    read are taken as lost.
    """
    pieces: dict[int, dict[int, bytes]] = {}
    ends: dict[int, int] = {}
    tail = count is not None and count - 1 in bodies
    for index in sorted(bodies):
        try:
            body_chunks = chunks(bodies[index])
        except ValueError:
            tail = tail and index != (count or 0) - 1
            continue
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
    if not tail:
        sections.append(None)
    return Payload(tuple(sections))
