"""A packet as the payload of a bundle of its own (`framing: bp`; RFC 9171), and the packet out of such a bundle.

A primary block with a CRC-16 as the RFC demands, the payload block without one, since the packet has its own checksum:

    9f 89 07 04 01 | destination 5 | source 5 | report to dtn:none 3 | created 10, sequence 1-3 | lifetime 1-5 | CRC 3
       85 01 01 00 00 | length 1-3 | the packet | ff

Frames go from `ipn:1.1` to `ipn:2.1`, feedback the other way. Run time 0 is `EPOCH_MS`; the sequence number counts the
bundles that an end makes within a millisecond. Numbers are in CBOR's shortest form, as the RFC has it, so that what is
around a packet is 40 to 48 bytes: `most_bytes` says how many at most.
"""

from link.bundle import PAYLOAD, Bundle, BundleError, Crc, checksum, parse

NEAR, FAR = "ipn:1.1", "ipn:2.1"
"""The endpoints that send frames and that receive them."""
EPOCH_MS = 820_540_800_000
"""Run time 0, 2026-01-01 UTC, in a bundle's milliseconds since 2000."""
MOST_LIFETIME_MS = (1 << 32) - 1
"""49.7 days: what is said where a scenario limits no lifetime. Longer ones would cost four bytes more."""
SEQUENCES = 1 << 16
MOST_BYTES = 37 + 3 + 5 + 3
"""Around a packet, where the three numbers whose width varies are as wide as they get: sequence, lifetime, length."""

_TO_TIME = 20  # bytes of a bundle before the eight of its time
_TO_SEQUENCE = 28
_CRC_BYTES = 3  # a primary block's CRC-16, a byte string
_LAST_NUMBER = b"\x1b"  # the last byte that a number begins with
_PAYLOAD_HEAD = bytes([0x85, PAYLOAD, 1, 0, int(Crc.NONE)])


def wrap(packet: bytes, created_ms: int, sequence: int, lifetime_ms: int, *, feedback: bool) -> bytes:
    """Return *packet* in a bundle: made *created_ms* after the run began, number *sequence* of that millisecond.

    Raise ValueError where one of them is out of its range.
    """
    source, destination = (FAR, NEAR) if feedback else (NEAR, FAR)
    return Bundle(
        destination, source, packet, EPOCH_MS + created_ms, lifetime_ms, sequence, payload_crc=Crc.NONE
    ).pack()


_HEADS = tuple(wrap(b"", 0, 0, 0, feedback=feedback)[:_TO_TIME] for feedback in (False, True))


def payload_at(data: bytes) -> int:
    """Return where the packet begins in a bundle that `wrap` made; beyond the end where *data* is cut short."""
    at = _TO_SEQUENCE
    for _ in range(2):
        at += _width(data, at)
    at += _CRC_BYTES + len(_PAYLOAD_HEAD)
    return at + _width(data, at)


def _width(data: bytes, at: int) -> int:
    """Return how many bytes the head of a CBOR item at *at* takes."""
    if at >= len(data) or (more := (data[at] & 31) - 24) < 0:
        return 1
    return 1 + (1 << (more & 3))


def unwrap(data: bytes) -> bytes:
    """Return the packet in *data*, the inverse of `wrap`.

    Raise BundleDamage where a block's checksum does not hold, BundleError where it is no bundle, or another's.
    """
    lifetime_at = _TO_SEQUENCE + _width(data, _TO_SEQUENCE)
    end = lifetime_at + _width(data, lifetime_at)
    at = payload_at(data)
    if (
        data[:_TO_TIME] in _HEADS
        and data[_TO_TIME : _TO_TIME + 1] < b"\x80"  # of a time that this module reads
        and data[_TO_SEQUENCE : _TO_SEQUENCE + 1] <= _LAST_NUMBER
        and data[lifetime_at : lifetime_at + 1] <= _LAST_NUMBER
        and data[end : end + 1] == b"\x42"
        and data[end + 1 : end + _CRC_BYTES] == checksum(data[1:end] + b"\x42\0\0", Crc.X25)
        and data[end + _CRC_BYTES : at] == _PAYLOAD_HEAD + _byte_head(len(data) - at - 1)
        and data[-1:] == b"\xff"
    ):
        return data[at:-1]
    found = parse(data)
    raise BundleError(f"not a farlink bundle: from {found.source} to {found.destination}")


def _byte_head(size: int) -> bytes:
    """Return the head of a CBOR byte string of *size* bytes, up to 65,535."""
    if size < 24:
        return bytes([0x40 | max(0, size)])
    return bytes([0x58, size]) if size < 256 else b"\x59" + size.to_bytes(2, "big")


def most_bytes(packet_bytes: int) -> int:
    """Return how many bytes at most are around a packet of *packet_bytes*."""
    return MOST_BYTES - 3 + len(_byte_head(packet_bytes))


def most_around(bundle_bytes: int) -> int:
    """Return how many bytes at most are around a packet whose bundle may have *bundle_bytes*."""
    for head, below in ((1, 24), (2, 256)):
        if bundle_bytes - (MOST_BYTES - 3 + head) < below:
            return MOST_BYTES - 3 + head
    return MOST_BYTES
