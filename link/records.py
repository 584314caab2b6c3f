"""The records of a journal, read within bounds and checked one by one, so that all that read a run may trust it.

A journal may come from anybody. What one of farlink's own holds follows from its size: runs of 10,000s of frames and
of 100,000s of packets unpack to 1.2 to 2.3 times their files and have 120 bytes of file a message and 40 a row. So a
file may unpack to 16 MiB and 32 times its size, and hold 10,000 messages and one more each 16 bytes, 20,000 rows and
one more each byte, pictures of 4 megapixels and 200 pixels more each byte (a photograph has 1 to 2 a byte, a flat
picture up to 300). What goes beyond that is refused before it is paid for.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, Annotated, Any, Literal, NamedTuple

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Message
from mcap.stream_reader import StreamReader
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from link.errors import UsageError
from link.files import check_file
from link.frame import MAX_PIXELS

UNPACKED_BYTES, UNPACKED_RATIO = 16 << 20, 32
"""What a journal may unpack to: so many bytes, and so many more for each of its own."""
MESSAGES, MESSAGE_BYTES = 10_000, 16
"""How many messages it may have: so many, and one more for each so many bytes."""
ROWS = 20_000
"""How many rows of packets it may have: so many, and one more for each byte."""
PIXELS, BYTE_PIXELS = 4_000_000, 200
"""Of all its pictures together: so many, and so many more for each byte."""
JSON_BYTES = 4 << 20
"""Of a record in JSON: an event with the boxes of a picture has some kilobytes."""
JSON_DEPTH = 32
MAX_NS = 10**18
"""The last time of a run, 31 years from its start: times add up without leaving 64 bits."""

_RECORD_BYTES, _CHUNK_BYTES = 9, 40
"""Of a record before its content, and of a chunk's content without its data and the name of its compression."""
TEXT = 10_000
"""Characters of a text."""


def _text(value: Any) -> str:
    # Halves of surrogate pairs, which names of files may hold, are no text to pydantic.
    if not isinstance(value, str) or len(value) > TEXT:
        raise ValueError(f"a text of at most {TEXT} characters was expected")
    return value


Text = Annotated[str, PlainValidator(_text)]
Time = Annotated[int, Field(ge=0, le=MAX_NS)]
FrameNumber = Annotated[int, Field(ge=0, lt=1 << 31)]
Size = Annotated[int, Field(ge=0, lt=1 << 31)]


class Recorded(BaseModel):
    """Base of what stands in a journal: the types that readers rely on. Other versions may add keys."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True)


class _EventRecord(Recorded):
    kind: Text
    time_ns: Time
    frame: FrameNumber | None


class _CapturedRecord(_EventRecord):
    frame: FrameNumber
    name: Text = ""
    fitted: Text = ""
    source_pts_ns: Time | None = None
    sender: Text = ""


class _EncodedRecord(_EventRecord):
    frame: FrameNumber
    sections: Annotated[list[Size], Field(max_length=1024)]
    reason: Text | None = None


class _ClosedRecord(_EventRecord):
    frame: FrameNumber
    complete: bool = False
    sections: Annotated[list[bool], Field(max_length=1025)] = []


class _DecodedRecord(_EventRecord):
    frame: FrameNumber
    complete: bool
    drawn_ns: Time | None = None
    refines: bool = False
    sections: Annotated[list[bool], Field(max_length=1025)] | None = None


class _LookRecord(_EventRecord):
    frame: FrameNumber
    task: Text
    model: Text
    stamp: Text = ""


class _NotFoundRecord(_LookRecord):
    reason: Text


class _ToldRecord(_EventRecord):
    by: Text = ""
    reason: Text = ""


class _SkippedRecord(_ToldRecord):
    name: Text = ""
    source_pts_ns: Time | None = None


class _SupersededRecord(_EventRecord):
    frame: FrameNumber
    by: FrameNumber


class _ChangedRecord(_EventRecord):
    paths: Annotated[
        dict[Text, Annotated[list[Any], Field(min_length=2, max_length=2)]], Field(max_length=64)
    ]
    by: Text


class _MarkedRecord(_EventRecord):
    text: Text
    by: Text


class _AnsweredRecord(_EventRecord):
    end: Literal["sender", "receiver"]
    asked_ns: Time


_EVENTS: Mapping[str, type[_EventRecord]] = {
    "captured": _CapturedRecord,
    "encoded": _EncodedRecord,
    "closed": _ClosedRecord,
    "decoded": _DecodedRecord,
    "found": _LookRecord,
    "not_found": _NotFoundRecord,
    "skipped": _SkippedRecord,
    "superseded": _SupersededRecord,
    "changed": _ChangedRecord,
    "marked": _MarkedRecord,
    "answered": _AnsweredRecord,
    "aborted": _ToldRecord,
}
"""What readers rely on in an event, by its kind; of other kinds they read nothing but when and of which frame."""


class MessagePlace(NamedTuple):
    """Where a message lies in its file, so that it can be had again without what stands before it."""

    at: int
    """Of the record of its chunk; of the message's own data where it is in none."""
    size: int
    """Of the chunk's record; 0 where it is in none."""
    start: int
    """Of its data in the unpacked chunk."""
    length: int


class JournalBounds:
    """What a journal at *path* of *size_bytes* may still hold."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = self._path = path
        self.place = MessagePlace(0, 0, 0, 0)
        """Where the message lies that `messages` yielded last."""
        self.unpacked_bytes = UNPACKED_BYTES + UNPACKED_RATIO * size_bytes
        self._messages = MESSAGES + size_bytes // MESSAGE_BYTES
        self._rows = ROWS + size_bytes
        self._pixels = PIXELS + BYTE_PIXELS * size_bytes

    def take_message(self) -> None:
        """Count a message. Raise UsageError where it is one too many."""
        self._messages -= 1
        if self._messages < 0:
            raise UsageError(
                f"{self._path}: not a farlink journal: more messages than a file of its size has"
            )

    def take_rows(self, count: int) -> None:
        """Count rows of packets. Raise UsageError where they are too many."""
        self._rows -= count
        self._refuse_below_0(self._rows, "rows of packets")

    def take_pixels(self, count: int) -> None:
        """Count the pixels of a picture. Raise UsageError where they are too many."""
        self._pixels -= count
        self._refuse_below_0(self._pixels, "pixels")

    def _refuse_below_0(self, left: int, what: str) -> None:
        if left < 0:
            raise UsageError(f"{self._path}: not a farlink journal: more {what} than a file of its size has")

    def unpack(self, chunk: Chunk) -> bytes:
        """Return what *chunk* holds. Raise UsageError where that is too much, ValueError where it is damaged."""
        if chunk.uncompressed_size > self.unpacked_bytes:
            raise UsageError(
                f"{self._path}: not a farlink journal: it unpacks to more than {UNPACKED_RATIO} times its size"
            )
        self.unpacked_bytes -= chunk.uncompressed_size
        # One byte more than is due shows that there is more, whatever the compressed data say of themselves.
        most = chunk.uncompressed_size + 1
        if chunk.compression == "zstd":
            with zstandard.ZstdDecompressor().stream_reader(chunk.data) as stream:
                data = stream.read(most)
        elif chunk.compression == "lz4":
            data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=most)
        elif chunk.compression == "":
            data = chunk.data
        else:
            raise ValueError(f"unknown compression {chunk.compression!r}")
        if len(data) != chunk.uncompressed_size:
            raise ValueError(f"a chunk of {chunk.uncompressed_size} bytes unpacks to others")
        if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
            raise ValueError("a chunk's checksum does not hold")
        return data


def messages(path: Path) -> Iterator[tuple[str, bytes, JournalBounds]]:
    """Yield topic, bytes and bounds of each message of the journal at *path*, to its end or the first damage.

    Raise UsageError where it cannot be read, or holds more than a journal of its size does.
    """
    topics: dict[int, str] = {}
    size_bytes = check_file(path)
    try:
        with path.open("rb") as file:
            bounds = JournalBounds(path, size_bytes)
            reader = StreamReader(file, emit_chunks=True, validate_crcs=True, record_size_limit=size_bytes)
            for outer in reader.records:
                at, size = file.tell(), 0
                if isinstance(outer, Chunk):
                    size = _RECORD_BYTES + _CHUNK_BYTES + len(outer.compression) + len(outer.data)
                inner = _inside(bounds.unpack(outer)) if isinstance(outer, Chunk) else ((outer, 0),)
                for record, end in inner:
                    if isinstance(record, Channel):
                        topics[record.id] = record.topic
                    elif isinstance(record, Message):
                        bounds.take_message()
                        if record.channel_id in topics:
                            length = len(record.data)
                            first = at - (size or length)
                            bounds.place = MessagePlace(first, size, end - length if size else 0, length)
                            yield topics[record.channel_id], record.data, bounds
    except OSError as error:
        raise UsageError(f"{path}: cannot read the journal: {error.strerror}") from error
    except UsageError:
        raise
    except Exception:
        return  # whatever the reader stumbles over, the file is cut or damaged there


def unpack_at(file: IO[bytes], path: Path, place: MessagePlace) -> bytes:
    """Return the unpacked chunk at *place* of the journal *file*, which `messages` has read to its end before.

    Raise UsageError where there is no such chunk any more.
    """
    try:
        file.seek(place.at)
        data = file.read(place.size or place.length)
        if not place.size:
            return data
        stream = ReadDataStream(BytesIO(data))
        if stream.read1() != Opcode.CHUNK or stream.read8() != place.size - _RECORD_BYTES:
            raise ValueError("no chunk is there")
        return JournalBounds(path, os.fstat(file.fileno()).st_size).unpack(Chunk.read(stream))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the journal: {error.strerror}") from error
    except UsageError:
        raise
    except Exception:
        raise UsageError(f"{path}: the journal was altered after it was opened") from None


def _inside(chunk: bytes) -> Iterator[tuple[Channel | Message, int]]:
    """Yield the records in an unpacked *chunk*, one by one, and where each ends.

    The library's own loop makes all of them at once.
    """
    stream = ReadDataStream(BytesIO(chunk))
    while stream.count < len(chunk):
        opcode, length = stream.read1(), stream.read8()
        if opcode == Opcode.CHANNEL:
            yield Channel.read(stream), stream.count
        elif opcode == Opcode.MESSAGE:
            yield Message.read(stream, length), stream.count
        else:
            stream.read(length)


def parse_json(data: bytes) -> dict[str, Any]:
    """Return the object in *data*: finite numbers, not too deep. Raise ValueError where it is none."""
    if len(data) > JSON_BYTES:
        raise ValueError(f"{len(data)} bytes of JSON; at most {JSON_BYTES}")
    try:
        tree = json.loads(data.decode(), parse_constant=_refuse, parse_float=_finite)
        deep = not _shallow(tree, JSON_DEPTH)
    except RecursionError:
        deep = True
    if deep:
        raise ValueError(f"nested more than {JSON_DEPTH} deep")
    if not isinstance(tree, dict):
        raise ValueError("no object of JSON")
    return tree


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]} is too large")
    return value


def _shallow(tree: Any, depth: int) -> bool:
    level = [tree] if isinstance(tree, (dict, list)) else []
    for _ in range(depth):
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [item for items in inner for item in items if isinstance(item, (dict, list))]
        if not level:
            return True
    return not level


def parse_event(data: bytes) -> dict[str, Any]:
    """Return the event in *data*. Raise ValueError where a field that readers rely on is missing or of another type."""
    tree = parse_json(data)
    check_event(tree)
    return tree


def check_event(tree: dict[str, Any]) -> None:
    """Raise ValueError where the event in *tree* lacks a field that readers rely on, or has one of another type."""
    kind = tree.get("kind")
    check(
        _EVENTS.get(kind, _EventRecord) if isinstance(kind, str) else _EventRecord,
        tree,
        f"event {kind!r:.40}",
    )


def check(model: type[BaseModel], tree: Any, what: str) -> None:
    """Raise ValueError, with the first field that is wrong in *what*, where *tree* is none of *model*."""
    try:
        model.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:200]
        raise ValueError(f"{what}: {where}: {first['msg'].lower()}") from None


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn the ValueError of a record into the UsageError of the journal at *path*."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{path}: not a journal that farlink reads: {error}") from None


def count_pixels(picture: bytes) -> int:
    """Return how many pixels a PNG file says it has. Raise ValueError where it is none, or over `MAX_PIXELS`."""
    width, height = int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")
    if picture[:8] != b"\x89PNG\r\n\x1a\n" or picture[12:16] != b"IHDR":
        raise ValueError("a picture is no PNG file")
    if not 1 <= width * height <= MAX_PIXELS:
        raise ValueError(f"a picture of {width}x{height}; at most {MAX_PIXELS} pixels are read")
    return width * height
