"""The wire: every offset of every header is in this file and nowhere else, and so is what headers cost.

A compact packet, format version 3, is eight bytes of header and a body:

    byte  0     version (3 bits) | kind (2) | priority (2) | last data packet of its frame, or repair of its block (1)
    bytes 1-3   frame number, low 14 bits | packet index within the frame (10)
    bytes 4-7   CRC-32 (ISO-HDLC) of bytes 0-3 and the body, XOR the short fingerprint of the sender
    bytes 8-    body: chunks of sections, a repair symbol, or feedback

The body of a frame's last data packet ends with eight bytes that are a hash over the frame (`link.fragment`).

The fingerprint costs no byte: a packet from an end with other tables fails the check by the same amount
every time, and that amount is the XOR of the two fingerprints. Bodies stand in `link.fragment` (data),
`link.repair.fec` (repair symbols) and `link.repair.arq` (feedback).

With `ccsds` framing the same packet is the user data of a CCSDS Space Packet (CCSDS 133.0-B-2, 4.1), with `uslp` this
Space Packet is in a transfer frame (`link.uslp`), and with `bp` the packet is in a bundle (`link.bundled`).
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from spacepackets.ccsds.spacepacket import PacketType, SpacePacketHeader

from link import bundled, uslp
from link.bundle import BundleDamage

Framing = Literal["compact", "ccsds", "uslp", "bp"]
"""What packets are in on the air."""

VERSION = 3
HEADER_BYTES = 8
FRAMES = 1 << 14
"""Frame numbers on the wire wrap here."""
MAX_PACKETS = 1 << 10
"""Packets of one frame at most, repair packets included."""
MAX_BYTES = 65535
PRIORITIES = 4
RED_CLASSES = 2
"""Of these, the first so many are red on a hop with `retransmit: ltp`."""

CHUNK_BYTES = 2
"""What a section's head in a body costs as a rule (`link.fragment`); the last one of a body is shorter."""
CHUNK_ROOM_BYTES = 4
"""The least body that a chunk's head and a byte of it fit into."""
HASH_BYTES = 8
"""What the hash over a frame adds to the body of its last data packet, or to one of its own (`link.fragment`)."""
FEC_BYTES = 4
"""How much longer a repair body may be than the longest data body of its block (`link.repair.fec`)."""
WINDOW_BYTES = 2
"""How much longer still, where it names a window of its block."""
REQUEST_BYTES = 8
"""The body of a usual request (`link.repair.arq`)."""

CCSDS_HEADER_BYTES = 6
CCSDS_APID = 0x2A0
CCSDS_SEQUENCES = 1 << 14

_BEFORE = {"compact": 0, "ccsds": CCSDS_HEADER_BYTES, "uslp": uslp.BEFORE_BYTES + CCSDS_HEADER_BYTES}
_AROUND = {"compact": 0, "ccsds": CCSDS_HEADER_BYTES, "uslp": uslp.AROUND_BYTES + CCSDS_HEADER_BYTES}
"""Bytes before a packet, and before and behind it together, where these do not vary."""

_HEAD = struct.Struct(">I")
_CRC = struct.Struct(">I")


class Kind(IntEnum):
    """What a packet's body is."""

    DATA = 0
    FEC = 1
    FEEDBACK = 2


class PacketError(ValueError):
    """The bytes are not a packet of this format."""


class TruncatedError(PacketError):
    """Fewer bytes than the header says or needs."""


class ChecksumError(PacketError):
    """The checksum does not hold. *implied* is the fingerprint that would make it hold."""

    def __init__(self, implied: int) -> None:
        super().__init__("the checksum does not hold")
        self.implied = implied


class DamagedError(PacketError):
    """A checksum of what is around a packet does not hold."""


class VersionError(PacketError):
    """An intact packet of another format version or of an unknown kind."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One compact packet."""

    kind: Kind
    frame: int
    """0 to 16383."""
    index: int
    """0 to 1023; data packets first, then the repair packets of the same frame."""
    body: bytes
    priority: int = 0
    """Class of service, 0 (first to be served) to 3."""
    last: bool = False
    """Whether this is the frame's last data packet, or the last repair packet of its block."""

    def pack(self, fingerprint: int) -> bytes:
        """Return the packet's bytes under the short *fingerprint* (32 bits).

        Raise ValueError where a field is out of its range or the packet would exceed 65,535 bytes.
        """
        if not (
            0 <= self.frame < FRAMES and 0 <= self.index < MAX_PACKETS and 0 <= self.priority < PRIORITIES
        ):
            raise ValueError(
                f"out of range: frame {self.frame}, index {self.index}, priority {self.priority}"
            )
        if len(self.body) > MAX_BYTES - HEADER_BYTES:
            raise ValueError(f"a body of {len(self.body)} bytes is over {MAX_BYTES - HEADER_BYTES}")
        first = VERSION << 5 | self.kind << 3 | self.priority << 1 | self.last
        head = _HEAD.pack(first << 24 | self.frame << 10 | self.index)
        return head + _CRC.pack(zlib.crc32(self.body, zlib.crc32(head)) ^ fingerprint) + self.body


def parse(data: bytes, fingerprint: int) -> Packet:
    """Return the packet in *data*, the inverse of `Packet.pack`.

    Raise TruncatedError, ChecksumError (any damage, or another fingerprint) or VersionError.
    """
    if len(data) < HEADER_BYTES:
        raise TruncatedError(f"{len(data)} bytes; a packet has at least {HEADER_BYTES}")
    if len(data) > MAX_BYTES:
        raise TruncatedError(f"{len(data)} bytes; a packet has at most {MAX_BYTES}")
    head, body = data[:4], data[HEADER_BYTES:]
    implied = _CRC.unpack_from(data, 4)[0] ^ zlib.crc32(body, zlib.crc32(head))
    if implied != fingerprint:
        raise ChecksumError(implied)
    return _fields(head, body)


def peek(data: bytes) -> Packet:
    """Return the packet in *data* without checking its sum; for readers of a journal, never of a link."""
    if len(data) < HEADER_BYTES:
        raise TruncatedError(f"{len(data)} bytes; a packet has at least {HEADER_BYTES}")
    return _fields(data[:4], data[HEADER_BYTES:])


def heads(data: Sequence[bytes], framing: str) -> NDArray[np.int64]:
    """Return kind, low bits of the frame number and index of many packets, (packets, 3): what `peek` reads of each.

    Raise TruncatedError, PacketError or VersionError for the first packet that is none.
    """
    if framing == "bp":
        firsts = [item[(at := bundled.payload_at(item)) : at + 4] for item in data]
    else:
        at = _BEFORE[framing]
        firsts = [item[at : at + 4] for item in data]
    words = np.frombuffer(b"".join(firsts), ">u4").astype(np.int64)
    kinds = words >> 27 & 3
    if len(words) != len(data) or ((words >> 29 != VERSION) | (kinds == 3)).any():
        for item in data:
            peek(unwrap(item, framing))
        raise TruncatedError("a packet is shorter than its header")
    return np.stack([kinds, words >> 10 & 0x3FFF, words & 0x3FF], 1)


def _fields(head: bytes, body: bytes) -> Packet:
    word = _HEAD.unpack(head)[0]
    if word >> 29 != VERSION:
        raise VersionError(f"format version {word >> 29}; this farlink speaks {VERSION}")
    kind = word >> 27 & 3
    if kind == 3:
        raise VersionError("unknown packet kind 3")
    return Packet(Kind(kind), word >> 10 & 0x3FFF, word & 0x3FF, body, word >> 25 & 3, bool(word >> 24 & 1))


def _start(data: bytes, framing: str) -> int:
    """Return where the packet begins in what is on the air, whether or not there is so much of it."""
    return bundled.payload_at(data) if framing == "bp" else _BEFORE[framing]


def priority(data: bytes, framing: str) -> int:
    """Return the class of service that a queue reads from the packet's first byte; 3 where there is none."""
    at = 0 if framing == "compact" else _start(data, framing)
    return data[at] >> 1 & 3 if len(data) > at else PRIORITIES - 1


def rank(data: bytes, framing: str) -> tuple[int, int]:
    """Return what a node's store reads of a packet: its class of service, and its place in its frame, 0 to 1023.

    The first sections of a frame matter most, and its repair packets come last. (3, 1023) where there is no packet.
    """
    at = 0 if framing == "compact" else _start(data, framing)
    if len(data) < at + 4:
        return PRIORITIES - 1, MAX_PACKETS - 1
    return data[at] >> 1 & 3, (data[at + 2] & 3) << 8 | data[at + 3]


def overhead(framing: str, mtu_bytes: int = MAX_BYTES) -> int:
    """Return the header bytes of a packet under *framing*, on the air at most *mtu_bytes* long.

    What a bundle costs varies by up to eight bytes with its numbers: this is the most. `head_bytes` counts one.
    """
    return HEADER_BYTES + (bundled.most_around(mtu_bytes) if framing == "bp" else _AROUND[framing])


def request_bytes(framing: str) -> int:
    """Return how long a usual request is on the air."""
    return REQUEST_BYTES + _full_overhead(REQUEST_BYTES, framing)


def head_bytes(data: bytes, framing: str) -> int:
    """Return how many bytes of a packet on the air are not its body."""
    if framing == "bp":
        return bundled.payload_at(data) + HEADER_BYTES + 1
    return HEADER_BYTES + _AROUND[framing]


def body_bytes(mtu_bytes: int, framing: str, *, repair_bytes: int = 0) -> int:
    """Return how many bytes the body of a data packet may have, where a repair body is *repair_bytes* longer."""
    return mtu_bytes - overhead(framing, mtu_bytes) - repair_bytes


def least_mtu_bytes(framing: str, *, repair_bytes: int = 0) -> int:
    """Return the smallest MTU into which a section can be cut and a frame's hash fits."""
    body = max(CHUNK_ROOM_BYTES, HASH_BYTES) + repair_bytes
    # The smallest packets have the shortest heads: less would not do.
    return next(mtu for mtu in range(body, MAX_BYTES) if body_bytes(mtu, framing) >= body)


def section_bytes(mtu_bytes: int, framing: str, *, repair_bytes: int = 0) -> int:
    """Return the size of a section that fills the body of a packet, its head included."""
    return body_bytes(mtu_bytes, framing, repair_bytes=repair_bytes) - CHUNK_ROOM_BYTES


def air_bytes(payload_bytes: int, body_bytes: int, framing: str, fec: float = 0.0) -> int:
    """Return about how many bytes a payload puts on the air, in bodies of *body_bytes* and with a share *fec* more."""
    content = payload_bytes + HASH_BYTES
    packets = ceil(content / (body_bytes - CHUNK_BYTES))
    return ceil((content + packets * (_full_overhead(body_bytes, framing) + CHUNK_BYTES)) * (1.0 + fec))


def payload_bytes(air_bytes: float, body_bytes: int, framing: str, fec: float = 0.0) -> int:
    """Return about how large a payload *air_bytes* on the air carry, the inverse of `air_bytes`."""
    air = body_bytes + _full_overhead(body_bytes, framing)
    content = int(air_bytes / (1.0 + fec) * (body_bytes - CHUNK_BYTES) / air)
    return max(0, content - HASH_BYTES)


def _full_overhead(body_bytes: int, framing: str) -> int:
    """Return the header bytes of a packet that is filled by a body of *body_bytes*."""
    size = HEADER_BYTES + body_bytes
    return HEADER_BYTES + (bundled.most_bytes(size) if framing == "bp" else _AROUND[framing])


def most_payload_bytes(body_bytes: int, fec: float = 0.0) -> int:
    """Return about how large a payload a frame's `MAX_PACKETS` carry, repair packets of a share *fec* among them."""
    return int((MAX_PACKETS - 1) / (1.0 + fec)) * (body_bytes - CHUNK_ROOM_BYTES + 1)


def wrap(
    packet: bytes, framing: str, sequence: int, *, feedback: bool, created_ms: int = 0,
    lifetime_ms: int = bundled.MOST_LIFETIME_MS,
) -> bytes:  # fmt: skip
    """Return what goes on the air: *packet* itself, or what *framing* has around it (telecommand for feedback).

    *sequence* counts packets, those of one millisecond of the run, *created_ms*, where they are bundles.
    """
    if framing == "compact":
        return packet
    if framing == "bp":
        return bundled.wrap(packet, created_ms, sequence % bundled.SEQUENCES, lifetime_ms, feedback=feedback)
    kind = PacketType.TC if feedback else PacketType.TM
    header = SpacePacketHeader(kind, CCSDS_APID, sequence % CCSDS_SEQUENCES, len(packet) - 1)
    space_packet = bytes(header.pack()) + packet
    return space_packet if framing == "ccsds" else uslp.wrap(space_packet, sequence, feedback=feedback)


class Wrapper:
    """Wraps the packets of an end one after the other, and numbers them.

    *feedback*: the end that receives frames. *lifetime_s* is how long bundles say that they are of use.
    """

    def __init__(self, framing: str, *, feedback: bool, lifetime_s: float | None = None) -> None:
        self._framing, self._feedback = framing, feedback
        most = bundled.MOST_LIFETIME_MS
        self._lifetime_ms = most if lifetime_s is None else max(1, min(ceil(lifetime_s * 1e3), most))
        self._sequence = 0
        self._ms = 0

    def wrap(self, packet: bytes, now: int) -> bytes:
        """Return what goes on the air for the compact *packet* that is sent at *now* (ns)."""
        ms = now // 1_000_000
        if self._framing == "bp" and ms != self._ms:
            self._ms, self._sequence = ms, 0
        self._sequence += 1
        return wrap(
            packet, self._framing, self._sequence - 1, feedback=self._feedback, created_ms=ms,
            lifetime_ms=self._lifetime_ms,
        )  # fmt: skip


def unwrap(data: bytes, framing: str) -> bytes:
    """Return the compact packet in *data*, the inverse of `wrap`.

    Raise TruncatedError where the Space Packet's length is not that of the data, DamagedError where a checksum of
    what is around it does not hold, PacketError where it is not farlink's.
    """
    try:
        match framing:
            case "compact":
                return data
            case "bp":
                return bundled.unwrap(data)
            case "uslp":
                data = uslp.unwrap(data)
    except (BundleDamage, uslp.FrameDamage) as error:
        raise DamagedError(str(error)) from None
    except ValueError as error:
        raise PacketError(str(error)) from None
    return _unwrap_space_packet(data)


def rewrap(data: bytes, packet: bytes, framing: str) -> bytes:
    """Return *data*, which `wrap` made, with *packet* in place of the one in it, which is as long."""
    if framing == "bp":
        return data[: bundled.payload_at(data)] + packet + data[-1:]  # the payload block has no checksum
    if framing == "uslp":
        return uslp.rewrap(data, data[uslp.BEFORE_BYTES :][:CCSDS_HEADER_BYTES] + packet)
    return data[: overhead(framing) - HEADER_BYTES] + packet


def _unwrap_space_packet(data: bytes) -> bytes:
    if len(data) < CCSDS_HEADER_BYTES + HEADER_BYTES:
        raise TruncatedError(f"{len(data)} bytes; at least {CCSDS_HEADER_BYTES + HEADER_BYTES} expected")
    first, _sequence, length = struct.unpack_from(">HHH", data)
    if first >> 13 or first & 0x7FF != CCSDS_APID:
        raise PacketError(f"not a farlink Space Packet: version {first >> 13}, APID {first & 0x7FF:#x}")
    if length + 1 != len(data) - CCSDS_HEADER_BYTES:
        raise TruncatedError(f"{len(data) - CCSDS_HEADER_BYTES} bytes of data; {length + 1} expected")
    return data[CCSDS_HEADER_BYTES:]


_LATE = 1024  # frames by which a packet may come after newer ones


def frame_after(low: int, newest: int) -> int:
    """Return the frame number with the low 14 bits *low* for a receiver that has seen *newest*.

    Late packets are late by few frames, while an outage may swallow thousands, so the window reaches from 1,024
    frames back to 15,359 ahead.
    """
    base = max(0, newest - _LATE)
    return base + (low - base) % FRAMES


def frame_until(low: int, newest: int) -> int:
    """Return the frame number with the low 14 bits *low* that is not after *newest*; negative: there is none."""
    return newest - (newest - low) % FRAMES
