"""Segments of the Licklider Transmission Protocol (RFC 5326; CCSDS 734.1-B-1), byte for byte, both ways.

    byte 0      version 0 (4 bits) | type (4)
    SDNV        engine that began the session, session number
    byte        header extensions (4 bits) | trailer extensions (4): 0, none are spoken
    data        SDNV client service, offset, length; of a checkpoint its serial number and that of the report that it
                answers, 0 for none; then the data
    report      SDNV serial, serial of the checkpoint, upper and lower bound, number of claims, (offset, length) each,
                offsets from the lower bound
    report-ack  SDNV serial of the report
    cancel      a byte, why; its acknowledgement has nothing

An SDNV has seven bits a byte, the highest first, and the top bit set but for the last. The types of cancels are those
of erratum 1657. Numbers are kept small: with those of 31 bits that RFC 5326 would have drawn at random for open
networks, 10,000 bytes in 1,400-byte segments cost 109 bytes of headers in place of 73.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

MAX_SDNV_BYTES = 10
"""64 bits, which is more than any offset."""
MAX_CLAIMS = 4096
HEADER_BYTES = 16
"""What a data segment adds to its data at most while numbers are small: 8 to 16 bytes."""


class Cancel(IntEnum):
    """Why a session was cancelled, as IANA lists it."""

    BY_USER = 0
    UNREACHABLE = 1
    """No contact follows in which an answer could come."""
    RETRANSMISSIONS = 2
    """A checkpoint or a report was sent as often as may be, and nobody answered."""
    MISCOLORED = 3
    """Green data where red data were, or the other way round."""
    BY_SYSTEM = 4
    CYCLES = 5
    """The red part was sent again too often in all."""


class SegmentType(IntEnum):
    """The low half of the first byte."""

    RED = 0
    CHECKPOINT = 1
    RED_END = 2
    BLOCK_END = 3
    GREEN = 4
    GREEN_END = 7
    REPORT = 8
    REPORT_ACK = 9
    SENDER_CANCEL = 12
    SENDER_CANCEL_ACK = 13
    RECEIVER_CANCEL = 14
    RECEIVER_CANCEL_ACK = 15


_CHECKPOINTS = (SegmentType.CHECKPOINT, SegmentType.RED_END, SegmentType.BLOCK_END)
_DATA = (SegmentType.RED, *_CHECKPOINTS, SegmentType.GREEN, SegmentType.GREEN_END)

SessionId = tuple[int, int]
"""(engine that began it, number)"""


def put_sdnv(value: int) -> bytes:
    """Return *value*, 0 or more, as an SDNV. Raise ValueError below 0 and above 64 bits."""
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{value} is no number of an SDNV")
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


def get_sdnv(data: bytes, at: int) -> tuple[int, int]:
    """Return the SDNV at *at* and the place after it. Raise ValueError where there is none."""
    value = 0
    for place in range(at, min(len(data), at + MAX_SDNV_BYTES)):
        value = value << 7 | data[place] & 0x7F
        if not data[place] & 0x80:
            if value >= 1 << 64:
                break
            return value, place + 1
    raise ValueError(f"no SDNV at byte {at} of {len(data)}")


@dataclass(frozen=True, slots=True)
class DataSegment:
    """A piece of a block."""

    session: SessionId
    type: SegmentType
    client: int
    offset: int
    data: bytes
    checkpoint: int = 0
    """Its serial number, above 0 for checkpoints alone."""
    report: int = 0
    """Serial number of the report that asked for it; 0: none."""

    @property
    def red(self) -> bool:
        """Whether it is repaired."""
        return self.type < SegmentType.GREEN

    @property
    def end(self) -> int:
        """The offset after its last byte."""
        return self.offset + len(self.data)

    def __bytes__(self) -> bytes:
        """Return what goes on the air."""
        numbers = [self.client, self.offset, len(self.data)]
        if self.type in _CHECKPOINTS:
            numbers += [self.checkpoint, self.report]
        return _head(self.type, self.session) + b"".join(map(put_sdnv, numbers)) + self.data


@dataclass(frozen=True, slots=True)
class ReportSegment:
    """What the receiving end has of the red part between two bounds."""

    session: SessionId
    serial: int
    checkpoint: int
    """Serial number of the checkpoint that asked; 0: none did."""
    lower: int
    upper: int
    claims: tuple[tuple[int, int], ...]
    """(first, end) of what is there, in offsets of the block, ascending."""

    def __bytes__(self) -> bytes:
        """Return what goes on the air."""
        numbers = [self.serial, self.checkpoint, self.upper, self.lower, len(self.claims)]
        for first, end in self.claims:
            numbers += [first - self.lower, end - first]
        return _head(SegmentType.REPORT, self.session) + b"".join(map(put_sdnv, numbers))


@dataclass(frozen=True, slots=True)
class ReportAck:
    """A report came."""

    session: SessionId
    serial: int

    def __bytes__(self) -> bytes:
        """Return what goes on the air."""
        return _head(SegmentType.REPORT_ACK, self.session) + put_sdnv(self.serial)


@dataclass(frozen=True, slots=True)
class CancelSegment:
    """The end of a session before its end."""

    session: SessionId
    by_sender: bool
    reason: int

    def __bytes__(self) -> bytes:
        """Return what goes on the air."""
        own = SegmentType.SENDER_CANCEL if self.by_sender else SegmentType.RECEIVER_CANCEL
        return _head(own, self.session) + bytes([self.reason])


@dataclass(frozen=True, slots=True)
class CancelAck:
    """A cancel came."""

    session: SessionId
    by_sender: bool
    """Whose cancel it was."""

    def __bytes__(self) -> bytes:
        """Return what goes on the air."""
        own = SegmentType.SENDER_CANCEL_ACK if self.by_sender else SegmentType.RECEIVER_CANCEL_ACK
        return _head(own, self.session)


Segment = DataSegment | ReportSegment | ReportAck | CancelSegment | CancelAck


def _head(kind: SegmentType, session: SessionId) -> bytes:
    return bytes([kind]) + put_sdnv(session[0]) + put_sdnv(session[1]) + b"\0"


def parse(data: bytes) -> Segment:
    """Return the segment that *data* is. Raise ValueError where it is none, or one with extensions."""
    if not data or data[0] >> 4:
        raise ValueError(f"{len(data)} bytes are no segment of version 0")
    try:
        kind = SegmentType(data[0])
    except ValueError:
        raise ValueError(f"segment type {data[0]} is not spoken") from None
    engine, at = get_sdnv(data, 1)
    number, at = get_sdnv(data, at)
    if at >= len(data) or data[at]:
        raise ValueError("no byte for extensions, or some that are not spoken")
    session, at = (engine, number), at + 1
    if kind in _DATA:
        return _parse_data(kind, session, data, at)
    if kind == SegmentType.REPORT:
        return _parse_report(session, data, at)
    if kind == SegmentType.REPORT_ACK:
        serial, at = get_sdnv(data, at)
        _expect_end(data, at)
        return ReportAck(session, serial)
    by_sender = kind in (SegmentType.SENDER_CANCEL, SegmentType.SENDER_CANCEL_ACK)
    if kind in (SegmentType.SENDER_CANCEL, SegmentType.RECEIVER_CANCEL):
        _expect_end(data, at + 1)
        return CancelSegment(session, by_sender, data[at])
    _expect_end(data, at)
    return CancelAck(session, by_sender)


def _parse_data(kind: SegmentType, session: SessionId, data: bytes, at: int) -> DataSegment:
    client, at = get_sdnv(data, at)
    offset, at = get_sdnv(data, at)
    length, at = get_sdnv(data, at)
    checkpoint = report = 0
    if kind in _CHECKPOINTS:
        checkpoint, at = get_sdnv(data, at)
        report, at = get_sdnv(data, at)
        if checkpoint == 0:
            raise ValueError("a checkpoint without a serial number")
    _expect_end(data, at + length)
    return DataSegment(session, kind, client, offset, data[at:], checkpoint, report)


def _parse_report(session: SessionId, data: bytes, at: int) -> ReportSegment:
    numbers = []
    for _ in range(5):
        number, at = get_sdnv(data, at)
        numbers.append(number)
    serial, checkpoint, upper, lower, count = numbers
    if count > MAX_CLAIMS or lower > upper or serial == 0:
        raise ValueError(f"a report with {count} claims from {lower} to {upper}")
    claims: list[tuple[int, int]] = []
    before = lower
    for _ in range(count):
        offset, at = get_sdnv(data, at)
        length, at = get_sdnv(data, at)
        first = lower + offset
        if first < before or length == 0 or first + length > upper:
            raise ValueError(f"a claim of {length} bytes at {first} in a report from {lower} to {upper}")
        before = first + length
        claims.append((first, before))
    _expect_end(data, at)
    return ReportSegment(session, serial, checkpoint, lower, upper, tuple(claims))


def _expect_end(data: bytes, at: int) -> None:
    if at != len(data):
        raise ValueError(f"a segment of {len(data)} bytes; {at} expected")


@dataclass(slots=True)
class Spans:
    """A set of byte ranges of a block, united where they touch."""

    ranges: list[tuple[int, int]]
    """(first, end), ascending, none touching the next."""

    def add(self, first: int, end: int) -> None:
        """Unite the set with one range."""
        if first >= end:
            return
        kept = []
        for low, high in self.ranges:
            if high < first or low > end:
                kept.append((low, high))
            else:
                first, end = min(first, low), max(end, high)
        self.ranges = sorted([*kept, (first, end)])

    def within(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of the ranges between *first* and *end*."""
        for low, high in self.ranges:
            if max(low, first) < min(high, end):
                yield max(low, first), min(high, end)

    def covers(self, first: int, end: int) -> bool:
        """Return whether nothing is missing between *first* and *end*."""
        return next(self.gaps(first, end), None) is None

    def gaps(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield what is missing between *first* and *end*."""
        for low, high in self.within(first, end):
            if first < low:
                yield first, low
            first = high
        if first < end:
            yield first, end
