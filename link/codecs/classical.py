"""The classical still-picture codecs: what their sections hold, and the byte work both ends share.

```
jpeg2000   [SOC SIZ COD QCD SOT SOD layer 1] [layer 2] ... [layer n]     EOC is put back by the receiver
jpeg       [SOI ... first scan] [section_bytes more] ... [the rest]      one section where not progressive
webp avif  [the file]
```

A lost tail of `jpeg2000` or `jpeg` costs detail only; what follows a hole is not used. Files are held to the
narrow form that our encoder writes: what else their formats allow never reaches a decoder library.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from link.codecs.syntax import CodecFacts, PayloadSyntax
from link.config import Codec, Session
from link.frame import Payload

TITLES = {
    "jpeg2000": "raw codestream in quality layers, one section each: a lost tail costs detail only",
    "webp": "one file, all or nothing: the strongest classical baseline where nothing is lost",
    "avif": "one file, all or nothing; at 256x192 it begins at about 400 bytes",
    "jpeg": "progressive, cut into scans where that costs little",
}
NAMES = tuple(TITLES)

SYNTAX_VERSION = 1

MAX_LAYERS = 16
"""Most quality layers of a JPEG 2000 codestream: each costs a byte or more per packet, and time to decode."""

MAX_LEVELS = 5
"""Most wavelet decompositions: what OpenJPEG makes by default."""

MAX_SCANS = 16
"""Most scans of a JPEG: libjpeg's own script has 10, and each costs a pass over the whole picture."""

MAX_PIECES = 64
"""Most sections after a JPEG's first: where `section_bytes` asks for more, the pieces are larger."""

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class ClassicalSyntax(PayloadSyntax):
    """The payload syntax of one classical codec: every section is a piece of the picture's file."""

    name: str
    facts: CodecFacts

    def tables(self, session: Session) -> bytes:
        """Return name and version of the syntax; there are no tables of ours, the files carry their own."""
        return f"classical/{self.name}/{SYNTAX_VERSION}".encode()

    def kind(self, codec: Codec, number: int) -> str:
        """Return `picture`, whatever the section."""
        return "picture"

    def worth_showing(self, codec: Codec, payload: Payload) -> bool:
        """Return whether the file's beginning is there, without which no section can be used."""
        return bool(leading(payload.sections))


def syntax(name: str) -> ClassicalSyntax:
    """Return the payload syntax of codec *name*, one of `NAMES`."""
    return ClassicalSyntax(name, CodecFacts(TITLES[name], {"picture": "picture"}))


def leading(sections: tuple[bytes | None, ...]) -> list[bytes]:
    """Return the sections before the first hole."""
    head: list[bytes] = []
    for section in sections:
        if section is None:
            break
        head.append(section)
    return head


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


# JPEG 2000: a raw codestream, ISO/IEC 15444-1 Annex A. All main headers of ours have one form (irreversible,
# LRCP, one tile, no precincts, three components of 8 bits), so that fields lie at fixed offsets.

_SIZ_BYTES = 49
_COD_AT = 2 + _SIZ_BYTES
_QCD_AT = _COD_AT + 14
_LAYERS_AT = _COD_AT + 6
_LEVELS_AT = _COD_AT + 9
_SOT_BYTES = 12
_EOC = b"\xff\xd9"


def jpeg2000_header_bytes(levels: int) -> int:
    """Return the bytes before the first packet, SOC to SOD, with *levels* decompositions: 86 to 116."""
    return _QCD_AT + 5 + 2 * (3 * levels + 1) + _SOT_BYTES + 2


def _siz(width: int, height: int) -> bytes:
    """SIZ, A.5.1: no offsets, one tile, three unsigned 8-bit components without subsampling."""
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"\xff\x51\x00\x2f\x00\x00" + size + bytes(8) + size + bytes(8) + b"\x00\x03" + b"\x07\x01\x01" * 3


def _cod(layers: int, levels: int) -> bytes:
    """COD, A.6.1: LRCP, colour transform, 64x64 code blocks, 9-7 wavelet, default precincts."""
    return b"\xff\x52\x00\x0c\x00\x00" + layers.to_bytes(2, "big") + bytes((1, levels, 4, 4, 0, 0))


def _sot(body_bytes: int) -> bytes:
    """SOT, A.4.2, of the only part of the only tile, and SOD. Psot counts from SOT to the end of the data."""
    psot = _SOT_BYTES + 2 + body_bytes
    return b"\xff\x90\x00\x0a\x00\x00" + psot.to_bytes(4, "big") + b"\x00\x01\xff\x93"


def jpeg2000_size(data: bytes) -> Size:
    """Return width and height of a codestream, or of its first section.

    Raises ValueError where SIZ, COD or QCD differ from the one form that we write.
    """
    _need(len(data) > _QCD_AT + 5, f"{len(data)} bytes are no JPEG 2000 main header")
    width, height = _u32(data, 8), _u32(data, 12)
    layers, levels = _u16(data, _LAYERS_AT), data[_LEVELS_AT]
    _need(0 < width < 65536 and 0 < height < 65536, f"SIZ says {width}x{height}")
    _need(data[:2] == b"\xff\x4f" and data[2:_COD_AT] == _siz(width, height), "SOC or SIZ is not ours")
    _need(0 < layers <= MAX_LAYERS and levels <= MAX_LEVELS, f"COD says {layers} layers, {levels} levels")
    _need(data[_COD_AT:_QCD_AT] == _cod(layers, levels), "COD is not ours")
    quantization = b"\xff\x5c" + (3 + 2 * (3 * levels + 1)).to_bytes(2, "big") + b"\x42"
    _need(data[_QCD_AT : _QCD_AT + 5] == quantization, "QCD is not ours")
    return width, height


def _packet_lengths(segment: bytes) -> list[int]:
    """Lengths of packets from the Iplt bytes of PLT, A.7.3: 7 bits a byte, the top bit says 'goes on'."""
    lengths, value = [], 0
    for byte in segment:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            lengths.append(value)
            value = 0
    return lengths


def jpeg2000_sections(codestream: bytes) -> tuple[bytes, ...]:
    """Cut OpenJPEG's *codestream*, written with PLT marker segments, into sections.

    Section 0 is the main header, SOT, SOD and the first layer; section n is layer n + 1. COM, PLT and EOC are
    left out. Raises ValueError where the stream has not the form that we ask OpenJPEG for.
    """
    jpeg2000_size(codestream)
    layers, levels = _u16(codestream, _LAYERS_AT), codestream[_LEVELS_AT]
    at = _QCD_AT + 2 + _u16(codestream, _QCD_AT + 2)
    header = codestream[:at]
    while codestream[at : at + 2] == b"\xff\x64":
        at += 2 + _u16(codestream, at + 2)
    _need(codestream[at : at + 2] == b"\xff\x90", f"no SOT at byte {at}")
    end = at + _u32(codestream, at + 6)
    at += _SOT_BYTES
    lengths = b""
    while codestream[at : at + 2] == b"\xff\x58":
        length = _u16(codestream, at + 2)
        lengths += codestream[at + 5 : at + 2 + length]
        at += 2 + length
    _need(codestream[at : at + 2] == b"\xff\x93", f"no SOD at byte {at}")
    at += 2
    packets = _packet_lengths(lengths)
    per_layer = 3 * (levels + 1)
    _need(len(packets) == per_layer * layers, f"{len(packets)} packets in {layers} layers of {per_layer}")
    _need(at + sum(packets) == end and codestream[end:] == _EOC, "PLT and Psot disagree")
    sections = []
    for layer in range(layers):
        size = sum(packets[layer * per_layer : (layer + 1) * per_layer])
        sections.append(codestream[at : at + size])
        at += size
    sections[0] = header + _sot(sum(packets)) + sections[0]
    return tuple(sections)


def jpeg2000_rebuild(sections: list[bytes]) -> bytes:
    """Return a whole codestream from the first sections of one: layer count and Psot set, EOC put back.

    Raises ValueError where the first section has not our form.
    """
    _need(bool(sections), "the first section is missing")
    first = sections[0]
    jpeg2000_size(first)
    layers = min(len(sections), _u16(first, _LAYERS_AT))
    levels = first[_LEVELS_AT]
    body_at = jpeg2000_header_bytes(levels)
    sot_at = body_at - _SOT_BYTES - 2
    _need(first[sot_at:body_at] == _sot(_u32(first, sot_at + 6) - _SOT_BYTES - 2), "SOT or SOD is not ours")
    body = first[body_at:] + b"".join(sections[1:layers])
    cod = _cod(layers, levels)
    return first[:_COD_AT] + cod + first[_QCD_AT:sot_at] + _sot(len(body)) + body + _EOC


# JPEG: ISO/IEC 10918-1 Annex B, baseline or progressive, 4:2:0, without application segments.

_EOI = b"\xff\xd9"


@dataclass(frozen=True)
class JpegForm:
    """What a walk over the markers of a JPEG, or of its prefix, finds."""

    size: Size
    first_scan_end: int
    """Bytes up to the marker after the first scan."""
    usable: int
    """Bytes up to EOI, or to the first segment that is cut off or not ours."""


def jpeg_strip(data: bytes) -> bytes:
    """Return *data* without its JFIF segment (18 bytes that the pixels do not need)."""
    return data[:2] + data[4 + _u16(data, 4) :] if data[2:4] == b"\xff\xe0" else data


def _scan_end(data: bytes, at: int) -> int:
    """Where the next marker is, from *at* within entropy-coded data; `len(data)` if there is none."""
    while (at := data.find(b"\xff", at)) >= 0 and data[at + 1 : at + 2] == b"\x00":
        at += 2
    return len(data) if at < 0 else at


def jpeg_form(data: bytes) -> JpegForm:
    """Walk the markers of a JPEG file or of a prefix.

    Raises ValueError where the prefix ends before its first scan begins, or is not of our form until there.
    """
    _need(data[:2] == b"\xff\xd8", "no SOI")
    at, scans, first_scan_end = 2, 0, 0
    size: Size | None = None
    while scans < MAX_SCANS and at + 4 <= len(data):
        marker, length = data[at : at + 2], _u16(data, at + 2)
        if length < 2 or at + 2 + length > len(data):
            break
        if marker in (b"\xff\xc0", b"\xff\xc2") and size is None:
            height, width = _u16(data, at + 5), _u16(data, at + 7)
            _need(width > 0 and height > 0, f"SOF says {width}x{height}")
            form = b"\x08" + data[at + 5 : at + 9] + b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
            _need(data[at + 4 : at + 2 + length] == form, "SOF is not ours")
            size = width, height
        elif marker == b"\xff\xda" and size is not None:
            end = _scan_end(data, at + 2 + length)
            if not scans:
                first_scan_end = end
            scans += 1
            at = end
            continue
        elif marker not in (b"\xff\xdb", b"\xff\xc4"):
            break
        at += 2 + length
    _need(scans > 0 and size is not None, "no scan of our form")
    assert size is not None
    return JpegForm(size, first_scan_end, at)


def jpeg_sections(data: bytes, section_bytes: int) -> tuple[bytes, ...]:
    """Cut a JPEG after its first scan and then every *section_bytes* or, of a large one, more.

    Raises ValueError like `jpeg_form`.
    """
    start = jpeg_form(data).first_scan_end
    if data[start:] == _EOI:
        return (data,)
    section_bytes = max(section_bytes, -(-(len(data) - start) // MAX_PIECES))
    cuts = [0, *range(start, len(data), section_bytes), len(data)]
    return tuple(data[a:b] for a, b in pairwise(cuts))


def jpeg_rebuild(sections: list[bytes]) -> bytes:
    """Return a JPEG that ends well from the first sections of one. Raises ValueError like `jpeg_form`."""
    data = b"".join(sections)
    return data[: jpeg_form(data).usable] + _EOI


# WebP: RIFF with a single lossy key frame, RFC 9649 section 2.5, RFC 6386 section 9.1.


def webp_size(data: bytes) -> Size:
    """Return width and height of a lossy WebP file. Raises ValueError on any other form."""
    _need(len(data) >= 30 and data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8 ", "no lossy WebP")
    riff, chunk = int.from_bytes(data[4:8], "little"), int.from_bytes(data[16:20], "little")
    _need(riff == len(data) - 8 and chunk + chunk % 2 == len(data) - 20, "RIFF sizes and bytes disagree")
    _need(data[20] & 1 == 0 and data[23:26] == b"\x9d\x01\x2a", "no VP8 key frame")
    width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
    _need(0 < width < 0x4000 and 0 < height < 0x4000, "VP8 scaling is not ours")
    return width, height


# AVIF: ISO/IEC 23000-22 with one item; AV1 bitstream specification section 5.5 (sequence header).


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the payload of each top-level box."""
    at = 0
    while at < len(data):
        size = _u32(data, at)
        _need(8 <= size <= len(data) - at, f"a box of {size} bytes at byte {at}")
        yield data[at + 4 : at + 8], at + 8, at + size
        at += size


def _obus(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Header byte and payload of each open bitstream unit."""
    at = 0
    while at < len(data):
        header, at = data[at], at + 1
        size = shift = 0
        while True:
            _need(at < len(data) and shift <= 28, "an OBU is cut off")
            byte, at = data[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        _need(size <= len(data) - at, f"an OBU of {size} bytes at byte {at}")
        yield header, data[at : at + size]
        at += size


def avif_size(data: bytes) -> Size:
    """Return width and height of an AVIF file with one still picture. Raises ValueError on any other form.

    The size is the one that the AV1 sequence header gives, for that is what a decoder allocates.
    """
    boxes = list(_boxes(data))
    _need([kind for kind, _, _ in boxes] == [b"ftyp", b"meta", b"mdat"], "boxes are not ftyp, meta, mdat")
    _, (_, meta_at, meta_end), (_, at, end) = boxes
    meta = data[meta_at:meta_end]
    place = b"\x00\x01\x00\x00\x00\x01" + at.to_bytes(4, "big") + (end - at).to_bytes(4, "big")
    one_item = b"iloc\x00\x00\x00\x00\x44\x00\x00\x01" + place
    _need(meta.count(b"iloc") == 1 and one_item in meta, "iloc does not name the whole mdat")
    _need(meta.count(b"infe") == meta.count(b"ispe") == 1, "more than one item")
    obus = list(_obus(data[at:end]))
    _need([header for header, _ in obus] == [0x12, 0x0A, 0x32], "OBUs are not delimiter, sequence, frame")
    sequence = obus[1][1].ljust(7, b"\x00")
    bits = int.from_bytes(sequence[:7], "big")
    _need(bits >> 51 == 0b00011, "no still picture with a reduced header in the main profile")
    width_bits, height_bits = (bits >> 42 & 15) + 1, (bits >> 38 & 15) + 1
    width = (bits >> 38 - width_bits & (1 << width_bits) - 1) + 1
    height = (bits >> 38 - width_bits - height_bits & (1 << height_bits) - 1) + 1
    place_of_size = meta.index(b"ispe") + 8
    _need(
        (_u32(meta, place_of_size), _u32(meta, place_of_size + 4)) == (width, height), "ispe and AV1 disagree"
    )
    return width, height


def picture_size(name: str, data: bytes) -> Size:
    """Return width and height of a whole file of codec *name*. Raises ValueError on another form."""
    match name:
        case "jpeg2000":
            return jpeg2000_size(data)
        case "jpeg":
            return jpeg_form(data).size
        case "webp":
            return webp_size(data)
        case _:
            return avif_size(data)


def rebuild(name: str, sections: tuple[bytes | None, ...]) -> bytes:
    """Return a whole file of codec *name* from the sections that came.

    Raises ValueError where they hold no picture, or one whose form is not ours.
    """
    head = leading(sections)
    _need(bool(head), "the first section is missing")
    match name:
        case "jpeg2000":
            return jpeg2000_rebuild(head)
        case "jpeg":
            return jpeg_rebuild(head)
        case _:
            return head[0]
