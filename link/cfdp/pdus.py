"""Protocol data units of CFDP (CCSDS 727.0-B-5, section 5), byte for byte, both ways.

    1   version 1 (3 bits) | file data | toward the sender | unacknowledged | CRC | large file
    2   length of what follows the header, the CRC included
    1   0 | length of an entity's number - 1 (3) | 0 | length of the transaction's number - 1 (3)
        source, transaction, destination
        what it says: the code of a directive and its fields, or the offset and the bytes of a piece of the file
    2   CRC-16-CCITT over all of it, where the header says so

Offsets and sizes have four bytes, eight in large files. Options of the metadata and responses of file stores are not
written, and passed over where they come.
"""

import zlib
from binascii import crc_hqx
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

_CRC_BYTES = 2
_WIDE = 1 << 32
MOST_NAME_BYTES = 255
MOST_PDU_BYTES = 65_535


class CfdpError(ValueError):
    """The bytes are no PDU of CFDP, or not one for who was given them."""


class CfdpDirective(IntEnum):
    """What a PDU without file data says (5.2, table 5-4)."""

    END = 4
    FINISHED = 5
    ACK = 6
    METADATA = 7
    NAK = 8
    PROMPT = 9
    KEEP_ALIVE = 12


class CfdpCondition(IntEnum):
    """How a transaction ends (table 5-5)."""

    NO_ERROR = 0
    ACK_LIMIT = 1
    KEEP_ALIVE_LIMIT = 2
    INVALID_MODE = 3
    FILESTORE = 4
    CHECKSUM = 5
    FILE_SIZE = 6
    NAK_LIMIT = 7
    INACTIVITY = 8
    INVALID_STRUCTURE = 9
    CHECK_LIMIT = 10
    UNSUPPORTED_CHECKSUM = 11
    SUSPENDED = 14
    CANCELLED = 15


class CfdpChecksum(IntEnum):
    """How a file is checked (SANA, checksum identifiers)."""

    MODULAR = 0
    CRC32 = 3
    NULL = 15


def file_checksum(data: bytes, kind: CfdpChecksum) -> int:
    """Return the checksum of a whole file, 32 bits: the sum of its big-endian words, zlib's CRC-32, or 0 (4.2.2)."""
    if kind == CfdpChecksum.MODULAR:
        words = np.frombuffer(data + bytes(-len(data) % 4), ">u4")
        return int(words.sum(dtype=np.uint64)) % _WIDE
    return zlib.crc32(data) if kind == CfdpChecksum.CRC32 else 0


@dataclass(frozen=True)
class PduHead:
    """The header of a PDU, but for what follows from its body."""

    source: int
    """The entity that has the file."""
    sequence: int
    """The transaction's number there."""
    destination: int
    acknowledged: bool = True
    """Class 2."""
    toward_sender: bool = False
    checked: bool = True
    """Whether a CRC ends the PDU."""
    large: bool = False
    entity_bytes: int = 1
    """How many bytes the numbers of entities take."""
    sequence_bytes: int = 1

    @property
    def size_bytes(self) -> int:
        """The header's bytes, and those of the CRC."""
        return 4 + 2 * self.entity_bytes + self.sequence_bytes + _CRC_BYTES * self.checked

    @property
    def offset_bytes(self) -> int:
        """The bytes of an offset or a size in the file."""
        return 8 if self.large else 4


class MetadataPdu(NamedTuple):
    """What begins a transaction."""

    size: int
    source_name: bytes
    destination_name: bytes
    checksum: CfdpChecksum | None = CfdpChecksum.CRC32
    """None: of a kind that is not known here."""
    closure: bool = False
    """Whether the sender wants to be told the end in class 1."""


class FileDataPdu(NamedTuple):
    """A piece of the file."""

    offset: int
    data: bytes


class EndPdu(NamedTuple):
    """The end of the file, or of sending it (EOF)."""

    condition: CfdpCondition
    checksum: int
    size: int


class FinishedPdu(NamedTuple):
    """How it ended where the file goes."""

    condition: CfdpCondition
    complete: bool
    status: int
    """Of the file: 0 and 1 discarded, 2 kept, 3 not said."""


class AckPdu(NamedTuple):
    """An EOF or Finished came."""

    directive: CfdpDirective
    condition: CfdpCondition
    status: int
    """Of the transaction: 0 undefined, 1 active, 2 ended, 3 not known."""


class NakPdu(NamedTuple):
    """What is missing within a scope; (0, 0) is the metadata."""

    first: int
    end: int
    missing: tuple[tuple[int, int], ...]


class PassedPdu(NamedTuple):
    """A directive that nothing is done about: Prompt, Keep Alive."""

    directive: CfdpDirective


PduBody = MetadataPdu | FileDataPdu | EndPdu | FinishedPdu | AckPdu | NakPdu | PassedPdu


def pack(head: PduHead, body: PduBody) -> bytes:
    """Return the bytes of a PDU. Raise ValueError where a field is out of its range or it is too long."""
    inner = _pack_body(body, head.offset_bytes)
    length = len(inner) + _CRC_BYTES * head.checked
    if length > MOST_PDU_BYTES:
        raise ValueError(f"a PDU of {length} bytes and a header; at most {MOST_PDU_BYTES}")
    is_data = isinstance(body, FileDataPdu)
    first = 1 << 5 | is_data << 4 | head.toward_sender << 3 | (not head.acknowledged) << 2 | head.checked << 1
    widths = (head.entity_bytes - 1) << 4 | (head.sequence_bytes - 1)
    whole = bytes([first | head.large]) + _int(length, 2) + bytes([widths])
    whole += _int(head.source, head.entity_bytes) + _int(head.sequence, head.sequence_bytes)
    whole += _int(head.destination, head.entity_bytes) + inner
    return whole + _int(crc_hqx(whole, 0xFFFF), 2) if head.checked else whole


def _int(value: int, size: int) -> bytes:
    try:
        return value.to_bytes(size, "big")
    except OverflowError:
        raise ValueError(f"{value} does not fit {size} bytes of a PDU") from None


def _pack_body(body: PduBody, wide: int) -> bytes:
    match body:
        case FileDataPdu(offset, data):
            return _int(offset, wide) + data
        case MetadataPdu():
            if body.checksum is None:
                raise ValueError("a checksum that is not known is not announced")
            names = b"".join(_int(len(name), 1) + name for name in (body.source_name, body.destination_name))
            flags = bytes([CfdpDirective.METADATA, body.closure << 6 | body.checksum])
            return flags + _int(body.size, wide) + names
        case EndPdu(condition, checksum, size):
            return bytes([CfdpDirective.END, condition << 4]) + _int(checksum, 4) + _int(size, wide)
        case FinishedPdu(condition, complete, status):
            return bytes([CfdpDirective.FINISHED, condition << 4 | (not complete) << 2 | status & 3])
        case AckPdu(directive, condition, status):
            # Subtype 1 is Finished's as the other end of the transaction says it (5.2.4).
            kind = directive << 4 | (directive == CfdpDirective.FINISHED)
            return bytes([CfdpDirective.ACK, kind, condition << 4 | status & 3])
        case NakPdu(first, end, missing):
            pairs = b"".join(_int(low, wide) + _int(high, wide) for low, high in ((first, end), *missing))
            return bytes([CfdpDirective.NAK]) + pairs
        case PassedPdu():
            raise ValueError("this directive is not sent")


def most_requests(pdu_bytes: int, head: PduHead) -> int:
    """Return how many gaps a NAK of at most *pdu_bytes* names, at least one."""
    return max(1, (pdu_bytes - head.size_bytes - 1) // (2 * head.offset_bytes) - 1)


def most_data(pdu_bytes: int, head: PduHead) -> int:
    """Return how many bytes of the file a PDU of at most *pdu_bytes* holds; 0 or less: none."""
    return min(pdu_bytes, MOST_PDU_BYTES) - head.size_bytes - head.offset_bytes


def parse(data: bytes, *, must_check: bool = False) -> tuple[PduHead, PduBody]:
    """Return header and body of the PDU in *data*, the inverse of `pack`.

    *must_check*: one without a CRC is none. Where both ends have CRCs this is how a flipped flag of it is found.

    Raise CfdpError where it is none: damage that its CRC shows, another version or length, a field that is cut or out
    of range.
    """
    if len(data) < 4 or data[0] >> 5 != 1:
        raise CfdpError(f"{len(data)} bytes; a PDU has more, and version 1")
    entity_bytes, sequence_bytes = (data[3] >> 4 & 7) + 1, (data[3] & 7) + 1
    start = 4 + 2 * entity_bytes + sequence_bytes
    length = int.from_bytes(data[1:3], "big")
    if len(data) != start + length:
        raise CfdpError(f"{len(data)} bytes; {start + length} expected")
    checked = bool(data[0] >> 1 & 1)
    if must_check and not checked:
        raise CfdpError("a PDU without a checksum")
    if checked and crc_hqx(data, 0xFFFF):
        raise CfdpError("the checksum does not hold")
    middle = 4 + entity_bytes
    head = PduHead(
        int.from_bytes(data[4:middle], "big"),
        int.from_bytes(data[middle : middle + sequence_bytes], "big"),
        int.from_bytes(data[middle + sequence_bytes : start], "big"),
        acknowledged=not data[0] >> 2 & 1, toward_sender=bool(data[0] >> 3 & 1), checked=checked,
        large=bool(data[0] & 1), entity_bytes=entity_bytes, sequence_bytes=sequence_bytes,
    )  # fmt: skip
    fields = _Fields(data[start : len(data) - _CRC_BYTES * checked], head.offset_bytes)
    if data[0] >> 4 & 1:
        if data[3] >> 3 & 1:  # a record's state and metadata of the segment
            fields.take((fields.number(1)) & 0x3F)
        return head, FileDataPdu(fields.offset(), fields.rest())
    code = fields.number(1)
    if (reader := _READERS.get(code)) is None:
        raise CfdpError(f"unknown directive {code}")
    return head, reader(fields)


class _Fields:
    """Takes fields off the body of a PDU, from its begin on; raises CfdpError where it is cut."""

    def __init__(self, body: bytes, wide: int) -> None:
        self._body, self._at, self._wide = body, 0, wide

    def take(self, size: int) -> bytes:
        taken = self._body[self._at : self._at + size]
        if len(taken) < size:
            raise CfdpError(f"a PDU is cut: {len(taken)} bytes of a field of {size}")
        self._at += size
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def offset(self) -> int:
        return self.number(self._wide)

    def rest(self) -> bytes:
        return self.take(len(self._body) - self._at)

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def condition(self) -> tuple[CfdpCondition, int]:
        """Return the condition in a byte's upper half, and the lower half."""
        both = self.number(1)
        try:
            return CfdpCondition(both >> 4), both & 15
        except ValueError:
            raise CfdpError(f"unknown condition {both >> 4}") from None


def _read_metadata(fields: _Fields) -> MetadataPdu:
    flags = fields.number(1)
    size = fields.offset()
    names = [fields.take(fields.number(1)) for _ in range(2)]
    kind = flags & 15
    known = CfdpChecksum(kind) if kind in list(CfdpChecksum) else None
    return MetadataPdu(size, names[0], names[1], known, bool(flags >> 6 & 1))


def _read_end(fields: _Fields) -> EndPdu:
    condition, _ = fields.condition()
    return EndPdu(condition, fields.number(4), fields.offset())


def _read_finished(fields: _Fields) -> FinishedPdu:
    condition, low = fields.condition()
    return FinishedPdu(condition, not low >> 2 & 1, low & 3)


def _read_ack(fields: _Fields) -> AckPdu:
    code = fields.number(1) >> 4
    if code not in (CfdpDirective.END, CfdpDirective.FINISHED):
        raise CfdpError(f"an acknowledgement of directive {code}")
    condition, low = fields.condition()
    return AckPdu(CfdpDirective(code), condition, low & 3)


def _read_nak(fields: _Fields) -> NakPdu:
    first, end = fields.offset(), fields.offset()
    missing = []
    while fields.left:
        missing.append((fields.offset(), fields.offset()))
    if any(low > high for low, high in missing):
        raise CfdpError("a gap that ends before it begins")
    return NakPdu(first, end, tuple(missing))


_READERS: dict[int, Callable[[_Fields], PduBody]] = {
    CfdpDirective.METADATA: _read_metadata,
    CfdpDirective.END: _read_end,
    CfdpDirective.FINISHED: _read_finished,
    CfdpDirective.ACK: _read_ack,
    CfdpDirective.NAK: _read_nak,
    CfdpDirective.PROMPT: lambda _fields: PassedPdu(CfdpDirective.PROMPT),
    CfdpDirective.KEEP_ALIVE: lambda _fields: PassedPdu(CfdpDirective.KEEP_ALIVE),
}
