"""Bundles of the Bundle Protocol, version 7 (RFC 9171): primary block, extension blocks, payload; checksums.

    9f  primary [7, flags, CRC type, to, from, report to, [created, sequence], lifetime, (offset, total,) CRC]
        blocks  [type, number, flags, CRC type, data, CRC] ..., the payload (type 1, number 1) last
    ff

Names of endpoints are `ipn:NODE.SERVICE` and `dtn:none`, or another `dtn:` name. Times are milliseconds since
2000-01-01 UTC. BPv7 has no custody: hops have it (`link.channel.custody`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from link import cbor

VERSION = 7
PAYLOAD, PREVIOUS_NODE, AGE, HOP_COUNT = 1, 6, 7, 10
"""Types of blocks (RFC 9171, 9.1)."""
FRAGMENT = 1
"""The flag of a fragment."""
MUST_NOT_FRAGMENT = 4
MAX_BLOCKS = 64
_MS = 1 << 63


class BundleError(ValueError):
    """The bytes are no bundle, or a checksum does not hold."""


class BundleDamage(BundleError):
    """A block's checksum does not hold."""


class Crc(IntEnum):
    """Checksums of blocks."""

    NONE = 0
    X25 = 1
    """CRC-16/X.25."""
    CASTAGNOLI = 2
    """CRC-32C."""


_WIDTHS = {Crc.NONE: 0, Crc.X25: 2, Crc.CASTAGNOLI: 4}


def _table(polynomial: int) -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        table.append(value)
    return table


_TABLES = {Crc.X25: _table(0x8408), Crc.CASTAGNOLI: _table(0x82F63B78)}


def checksum(data: bytes, kind: Crc) -> bytes:
    """Return the checksum of *data*, in network order; nothing for NONE."""
    width = _WIDTHS[kind]
    if not width:
        return b""
    ones = (1 << 8 * width) - 1
    table, value = _TABLES[kind], ones
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return (value ^ ones).to_bytes(width, "big")


@dataclass(frozen=True)
class ExtensionBlock:
    """An extension block."""

    kind: int
    """Of `PREVIOUS_NODE`, `AGE`, `HOP_COUNT`, or any other but the payload's."""
    number: int
    """2 or more, each once."""
    data: bytes
    flags: int = 0
    crc: Crc = Crc.X25


@dataclass(frozen=True)
class Bundle:
    """A bundle."""

    destination: str
    source: str
    payload: bytes
    created_ms: int
    """Since 2000-01-01 UTC; 0 where the source has no clock."""
    lifetime_ms: int
    sequence: int = 0
    report_to: str = "dtn:none"
    flags: int = MUST_NOT_FRAGMENT
    crc: Crc = Crc.X25
    """Of the primary block and the payload."""
    payload_crc: Crc | None = None
    """Of the payload, where it has another."""
    fragment: tuple[int, int] | None = None
    """(offset of the payload, bytes of the whole) where the flag says that this is one."""
    blocks: tuple[ExtensionBlock, ...] = ()

    def pack(self) -> bytes:
        """Return its bytes. Raise ValueError where a field is out of range or the fields do not fit together."""
        if bool(self.flags & FRAGMENT) != (self.fragment is not None):
            raise ValueError("the flag of a fragment and its offset go together")
        if not 0 <= self.created_ms < _MS or not 0 <= self.lifetime_ms < _MS:
            raise ValueError("a time of a bundle is out of range")
        primary = [
            VERSION, self.flags, int(self.crc), _endpoint(self.destination), _endpoint(self.source),
            _endpoint(self.report_to), [self.created_ms, self.sequence], self.lifetime_ms, *(self.fragment or ()),
        ]  # fmt: skip
        whole = b"\x9f" + _sealed(primary, self.crc)
        for block in self.blocks:
            whole += _sealed([block.kind, block.number, block.flags, int(block.crc), block.data], block.crc)
        crc = self.crc if self.payload_crc is None else self.payload_crc
        return whole + _sealed([PAYLOAD, 1, 0, int(crc), self.payload], crc) + b"\xff"


def _sealed(fields: list[object], crc: Crc) -> bytes:
    """Return a block with its checksum, which is reckoned with zeros in its place."""
    width = _WIDTHS[crc]
    if not width:
        return cbor.pack(fields)
    block = cbor.pack([*fields, bytes(width)])
    return block[:-width] + checksum(block, crc)


def _endpoint(name: str) -> list[object]:
    if name == "dtn:none":
        return [1, 0]
    if name.startswith("dtn:"):
        return [1, name.removeprefix("dtn:")]
    found = re.fullmatch(r"ipn:(0|[1-9][0-9]{0,19})\.(0|[1-9][0-9]{0,19})", name)
    if found is None:
        raise ValueError(f"{name[:80]!r} is no endpoint: ipn:NODE.SERVICE or dtn:NAME was expected")
    return [2, [int(found[1]), int(found[2])]]


def _endpoint_name(item: object) -> str:
    if item == [1, 0]:
        return "dtn:none"
    match item:
        case [1, str(name)] if name and len(name) <= 1024:
            return f"dtn:{name}"
        case [2, [int(node), int(service)]]:
            return f"ipn:{node}.{service}"
    raise BundleError("a bundle's endpoint is none")


def parse(data: bytes) -> Bundle:
    """Return the bundle in *data*, the inverse of `Bundle.pack`.

    Raise BundleError where it is none: damage that a checksum shows, a version, order or number of blocks that is not
    RFC 9171's, anything behind its end.
    """
    try:
        return _parse(data)
    except BundleError:
        raise
    except (ValueError, TypeError) as error:
        raise BundleError(f"no bundle: {error}") from None


def _parse(data: bytes) -> Bundle:
    if data[:1] != b"\x9f":
        raise BundleError("a bundle begins with an array of no stated length")
    at, found = 1, []
    while data[at : at + 1] != b"\xff":
        start = at
        fields, at = cbor.parse(data, at)
        if not isinstance(fields, list):
            raise BundleError("a block of a bundle is no array")
        found.append((fields, data[start:at]))
        if len(found) > MAX_BLOCKS:
            raise BundleError(f"more than {MAX_BLOCKS} blocks")
    if at + 1 != len(data):
        raise BundleError(f"{len(data) - at - 1} bytes behind the end of a bundle")
    if len(found) < 2:
        raise BundleError("a bundle has a primary block and a payload")
    (primary, whole), *rest = found
    if len(primary) < 8 or primary[0] != VERSION:
        raise BundleError("no primary block of version 7")
    flags, crc = _number(primary[1]), Crc(_number(primary[2]))
    places = 10 if flags & FRAGMENT else 8
    _check(primary, whole, places, crc)
    created = primary[6]
    if not isinstance(created, list) or len(created) != 2:
        raise BundleError("a bundle's time of creation is none")
    blocks = [_block(fields, raw) for fields, raw in rest]
    numbers = [block.number for block in blocks]
    if [block.kind == PAYLOAD for block in blocks] != [False] * (len(blocks) - 1) + [True]:
        raise BundleError("a bundle has one payload, and it is last")
    if numbers[-1] != 1 or len(set(numbers)) != len(numbers) or min(numbers) < 1:
        raise BundleError("numbers of blocks: 1 for the payload, others once each")
    return Bundle(
        destination=_endpoint_name(primary[3]), source=_endpoint_name(primary[4]), payload=blocks[-1].data,
        created_ms=_time(created[0]), lifetime_ms=_time(primary[7]), sequence=_number(created[1]),
        report_to=_endpoint_name(primary[5]), flags=flags, crc=crc,
        payload_crc=None if blocks[-1].crc == crc else blocks[-1].crc,
        fragment=(_number(primary[8]), _number(primary[9])) if flags & FRAGMENT else None,
        blocks=tuple(blocks[:-1]),
    )  # fmt: skip


def _block(fields: Sequence[object], raw: bytes) -> ExtensionBlock:
    if len(fields) < 5 or not isinstance(fields[4], bytes):
        raise BundleError("a block of a bundle has a type, a number, flags, a checksum's type and data")
    crc = Crc(_number(fields[3]))
    _check(fields, raw, 5, crc)
    return ExtensionBlock(_number(fields[0]), _number(fields[1]), fields[4], _number(fields[2]), crc)


def _check(fields: Sequence[object], raw: bytes, places: int, crc: Crc) -> None:
    """Raise BundleError where a block has not *places* fields and a checksum that holds."""
    width = _WIDTHS[crc]
    if len(fields) != places + bool(width):
        raise BundleError(f"a block of {len(fields)} fields")
    if width:
        said = fields[-1]
        if not isinstance(said, bytes) or len(said) != width:
            raise BundleError("a block's checksum has another width than its type")
        if raw[-width:] != said or checksum(raw[:-width] + bytes(width), crc) != said:
            raise BundleDamage("the checksum does not hold")


def _time(item: object) -> int:
    if (time := _number(item)) >= _MS:
        raise BundleError("a time of a bundle is out of range")
    return time


def _number(item: object) -> int:
    if not isinstance(item, int):
        raise BundleError("a number was expected in a bundle")
    return item
