"""A Space Packet in a transfer frame of its own (`framing: uslp`), of variable length, and behind a sync marker.

The Unified Space Data Link Protocol (CCSDS 732.1-B-2, 4.1), without insert zone, security and operational control
field, so that a frame costs `AROUND_BYTES` besides the Space Packet:

    4   attached sync marker 1ACFFC1D (CCSDS 131.0-B), which a receiver finds frames by
    7   version 12 | spacecraft 16 | source 1 | virtual channel 6 | MAP 4 | 0 || length - 1 || flags, count's length
    2   virtual channel frame count
    1   data field: no segmentation, Space Packets
    2   frame error control field, CRC-16-CCITT over the frame without the marker
"""

from binascii import crc_hqx

MARKER = bytes.fromhex("1acffc1d")
COUNTS = 1 << 16
"""Frames are counted modulo this."""
SPACECRAFT = 0x2A0
BEFORE_BYTES = len(MARKER) + 7 + 2 + 1
_CHECK_BYTES = 2
AROUND_BYTES = BEFORE_BYTES + _CHECK_BYTES
_VERSION = 12
_DATA_FIELD = 0b111_00000  # whole packets, not cut; of the Space Packet Protocol
_FLAGS = 1 << 7 | 2  # expedited: farlink repairs what it wants repaired; no control field; two bytes of count
_OUT, _BACK = 0, 1  # virtual channels


class FrameDamage(ValueError):
    """The frame error control field does not hold."""


def _head(size: int, count: int, *, feedback: bool) -> bytes:
    """Return marker and headers of the frame around a Space Packet of *size* bytes."""
    # The spacecraft is the frame's source on the way to the Earth, its destination on the way back.
    first = _VERSION << 28 | SPACECRAFT << 12 | feedback << 11 | (_BACK if feedback else _OUT) << 5
    length = size + AROUND_BYTES - len(MARKER) - 1
    middle = first.to_bytes(4, "big") + length.to_bytes(2, "big") + bytes([_FLAGS])
    return MARKER + middle + count.to_bytes(2, "big") + bytes([_DATA_FIELD])


def wrap(space_packet: bytes, count: int, *, feedback: bool) -> bytes:
    """Return *space_packet* in the *count*-th frame of its virtual channel."""
    return _checked(_head(len(space_packet), count % COUNTS, feedback=feedback) + space_packet)


def rewrap(data: bytes, space_packet: bytes) -> bytes:
    """Return the frame *data* with *space_packet* in place of the one in it, which is as long."""
    return _checked(data[:BEFORE_BYTES] + space_packet)


def _checked(frame: bytes) -> bytes:
    return frame + crc_hqx(frame[len(MARKER) :], 0xFFFF).to_bytes(_CHECK_BYTES, "big")


def unwrap(data: bytes) -> bytes:
    """Return the Space Packet in *data*, the inverse of `wrap`.

    Raise FrameDamage where the frame's checksum does not hold, ValueError where it is none of farlink's.
    """
    if len(data) < AROUND_BYTES:
        raise ValueError(f"{len(data)} bytes; a frame has at least {AROUND_BYTES}")
    if data[: len(MARKER)] != MARKER:
        raise ValueError("no sync marker")
    if crc_hqx(data[len(MARKER) :], 0xFFFF):
        raise FrameDamage("the frame's checksum does not hold")
    size = len(data) - AROUND_BYTES
    count = int.from_bytes(data[BEFORE_BYTES - 3 : BEFORE_BYTES - 1], "big")
    if not any(data[:BEFORE_BYTES] == _head(size, count, feedback=feedback) for feedback in (False, True)):
        raise ValueError("not a farlink transfer frame")
    return data[BEFORE_BYTES:-_CHECK_BYTES]
