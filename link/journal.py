"""The journal of a run: an MCAP file, the only source of every result.

Topics, in the order in which they first appear:

    /scenario   JSON      first record: resolved scenario, seed, versions, fingerprint
    /events     JSON      one record for each `link.events.Event`
    /sent       foxglove.CompressedImage (protobuf)   frames as the encoder got them, PNG
    /received   foxglove.CompressedImage (protobuf)   frames as the decoder made them, PNG
    /packets    farlink.PacketRows (protobuf)         fates of packets in columns, and every packet's bytes
    /findings/segmentation, /findings/depth   foxglove.CompressedImage   maps that models found in /received, PNG
    /findings/detection                       foxglove.ImageAnnotations  boxes, which the event beside them holds

A journal is a function of scenario and seed: times are the run's own, and the wall clock is nowhere in it.
Whatever a closed frame needs is flushed to the operating system before its receipt leaves, so a killed process
loses nothing that was acknowledged. `read` takes whole files and those that a crash cut short.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from google.protobuf.message import DecodeError
from mcap.data_stream import RecordBuilder
from mcap.records import Chunk, DataEnd, Footer
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import MCAP0_MAGIC, Writer
from mcap_protobuf.schema import register_schema
from numpy.typing import NDArray

from link import records
from link.annotations import annotations, compressed_image
from link.errors import StorageError, UsageError
from link.events import BIRTHS, Event, Row
from link.packet_rows import PacketRows, pack, parse, sort
from link.segments import Keeper, begin_head, messages, number_of

FINDINGS = "/findings/"
_BATCH = 4096
_MAX_INDEXED = 20_000
_RESERVE_BYTES = 256 * 1024
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG}


class Journal:
    """Writes a journal. Use as a context manager; leaving it finishes the file.

    A reserve of 256 KiB lies beside the file while it is written. When the disk is full the reserve is given
    up, the file is cut back to its last whole chunk and finished, and StorageError is raised.

    With *keep_bytes* it goes on in a new segment whenever one is full, and deletes the oldest (`link.segments`).
    """

    def __init__(self, path: Path, head: dict[str, Any], keep_bytes: int | None = None) -> None:
        self.path = path
        self._head = head
        self._changes: list[dict[str, Any]] = []
        self._keeper = None if keep_bytes is None else Keeper(path, keep_bytes)
        self._reserve = path.with_suffix(".reserve")
        self._file = _begin(path)
        try:
            self._reserve.write_bytes(os.urandom(_RESERVE_BYTES))
        except OSError as error:
            for made in (self._reserve, path):
                with contextlib.suppress(OSError):
                    made.unlink()
            self._file.close()
            raise StorageError(f"cannot write {path}: {error.strerror}") from error
        self._rows: list[Row] = []
        self._data: list[bytes] = []
        self._failed = False
        self._closed = False
        self._now = 0
        with self._guard():
            self._start(head)

    def _start(self, head: dict[str, Any]) -> None:
        """Begin the file, or the segment, with *head*."""
        self._unindexed = False
        self._writer = Writer(self._file)
        self._writer.start(profile="", library="farlink")
        self._channels = {"/scenario": self._json("farlink.Scenario", "/scenario")}
        self._channels["/events"] = self._json("farlink.Event", "/events")
        image = register_schema(self._writer, CompressedImage)
        for topic in ("/sent", "/received"):
            self._channels[topic] = self._writer.register_channel(topic, "protobuf", image)
        rows = register_schema(self._writer, PacketRows)
        self._channels["/packets"] = self._writer.register_channel("/packets", "protobuf", rows)
        self._add("/scenario", json.dumps(head, sort_keys=True).encode())
        self._writer.flush()  # type: ignore[no-untyped-call]

    def _json(self, name: str, topic: str) -> int:
        schema = self._writer.register_schema(name, "jsonschema", b'{"type": "object"}')
        return int(self._writer.register_channel(topic, "json", schema))

    def _add(self, topic: str, data: bytes) -> None:
        self._writer.add_message(self._channels[topic], self._now, data, self._now)

    def packets(self, rows: list[Row], data: list[bytes]) -> None:
        """Add fates, in order; *data* holds the bytes of those in `WITH_BYTES`. Both lists are emptied."""
        self._rows += rows
        self._data += data
        rows.clear()
        data.clear()
        if len(self._rows) >= _BATCH:
            with self._guard():
                self._write_rows()

    def _write_rows(self) -> None:
        if not self._rows:
            return
        batch = pack(self._rows, self._data)
        self._now = max(self._now, self._rows[0][0])
        self._rows.clear()
        self._data.clear()
        self._add("/packets", batch)

    def event(self, event: Event) -> None:
        """Add *event* and its picture; the packets added before it come before it in the file."""
        with self._guard():
            self._write_rows()
            self._now = max(self._now, event.time_ns)
            record = {"kind": event.kind, "time_ns": event.time_ns, "frame": event.frame, **event.fields}
            self._add("/events", json.dumps(record, sort_keys=True).encode())
            if event.picture is not None:
                image = compressed_image(event.picture, "png", event.time_ns)
                self._add(self._topic(event, CompressedImage), image)
            elif "boxes" in event.fields:
                boxes = annotations(event.fields, event.time_ns)
                self._add(self._topic(event, ImageAnnotations), boxes)
            if event.kind == "changed":
                self._changes.append({path: new for path, (_, new) in event.fields["paths"].items()})
            full = self._keeper is not None and self._file.tell() >= self._keeper.segment_bytes
            if full or event.kind == "aborted":
                self.flush()

    def _topic(self, event: Event, message: Any) -> str:
        """Return where *event*'s picture or boxes go; a topic of findings is made when the first one comes."""
        if event.kind != "found":
            return "/sent" if event.kind == "captured" else "/received"
        topic = f"{FINDINGS}{event.fields['task']}"
        if topic not in self._channels:
            schema = register_schema(self._writer, message)
            self._channels[topic] = self._writer.register_channel(topic, "protobuf", schema)
        return topic

    def flush(self) -> None:
        """Hand all that was added to the operating system."""
        with self._guard():
            self._write_rows()
            self._writer.flush()  # type: ignore[no-untyped-call]
            self._trim_index()
            if self._keeper is not None and self._file.tell() >= self._keeper.segment_bytes:
                self._turn_over(self._keeper)

    def _turn_over(self, keeper: Keeper) -> None:
        """Finish the segment and go on in a new one."""
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._file.close()
        self._closed = True  # should the next one not begin, what there is is whole
        keeper.put_away()
        self._file = _begin(self.path)
        self._closed = False
        self._head = begin_head(self._head, keeper.number, self._changes)
        self._changes.clear()
        self._start(self._head)

    def _trim_index(self) -> None:
        """Give up the file's index once it would cost memory for ever; readers then read from the start.

        The library keeps an entry for each chunk and has no call to stop it.
        """
        index = self._writer._Writer__chunk_indices  # type: ignore[attr-defined]
        if self._unindexed or len(index) > _MAX_INDEXED:
            self._unindexed = True
            index.clear()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._failed or error.errno not in _DISK_ERRORS:
                raise
            self._failed = True
            self._mend()
            raise StorageError(
                f"cannot write {self.path}: {error.strerror}; what was written is kept"
            ) from error

    def _mend(self) -> None:
        """Free the reserve, cut the file back to its last whole chunk and give it an end."""
        self._closed = True
        self._reserve.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._file.close()
        recover(self.path)

    def close(self) -> None:
        """Finish the file. Does nothing a second time."""
        if self._closed:
            return
        with self._guard():
            self.flush()
            self._writer.finish()  # type: ignore[no-untyped-call]
            self._file.close()
        self._closed = True
        self._reserve.unlink(missing_ok=True)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def digest(path: Path) -> str:
    """Return the SHA-256 of the journal's bytes in hexadecimal: the same for the same scenario and seed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(run: "Run") -> dict[str, str]:
    """Return the SHA-256 of each of the two parts of *run*, in hexadecimal.

    `link`: what was sent when, what became of it, and every event but findings, which is equal on every machine for
    the same scenario and seed. `pictures`: pictures and findings, which are floating point's work: equal on the same
    kind of processor only. What the first record says (versions, paths) is in neither.
    """
    link, pictures = hashlib.sha256(), hashlib.sha256()
    for event in run.events:
        seen = event["kind"] in ("found", "not_found")
        (pictures if seen else link).update(json.dumps(event, sort_keys=True).encode() + b"\n")
    link.update(np.ascontiguousarray(run.rows, "<i8").tobytes())
    for number in sorted(run.data):
        link.update(f"{number} {len(run.data[number])}\n".encode() + run.data[number])
    for topic, held in sorted({**run.pictures, **run.findings}.items()):
        for frame in sorted(held):
            pictures.update(f"{topic} {frame} {len(held[frame])}\n".encode() + held[frame])
    return {"link": link.hexdigest(), "pictures": pictures.hexdigest()}


@dataclass(frozen=True)
class Run:
    """A journal in memory."""

    head: dict[str, Any]
    """The first record: scenario, seed, versions, fingerprint."""
    events: list[dict[str, Any]]
    rows: NDArray[np.int64]
    """Shape (rows, 6), int64, the columns of `link.events.Row`, in time order."""
    data: dict[int, bytes]
    """Bytes of each packet as it was sent, by its number; also of what a hop sent again, and of its reports."""
    pictures: dict[str, dict[int, bytes]]
    """PNG files by topic (`sent`, `received`) and frame number; of a picture that was refined the last."""
    complete: bool
    """Whether the run came to its end (its last event is `finished`)."""
    findings: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """PNG files of the maps that models found in received pictures, by task and frame number."""


def read(path: Path, *, pictures: bool = True) -> Run:
    """Read a journal, whole or cut short; of a run's folder all of its segments.

    Raise UsageError where it is none, holds more than `link.records` allows a file of its size, or a record in it is
    not what a journal's are; so whoever reads the run may trust the types that `link.records` names.
    """
    head: dict[str, Any] = {}
    events: list[dict[str, Any]] = []
    columns: list[NDArray[np.int64]] = []
    data: dict[int, bytes] = {}
    images: dict[str, dict[int, bytes]] = {"sent": {}, "received": {}}
    findings: dict[str, dict[int, bytes]] = {}
    with records.refusing(path):
        for topic, message, bounds in messages(path):
            if topic == "/scenario":
                head = records.parse_json(message)
            elif topic == "/events":
                event = records.parse_event(message)
                events.append(event)
                if event["kind"] in ("found", "not_found"):  # what was seen in the picture before is no more
                    findings.get(event["task"], {}).pop(event["frame"], None)
            elif topic == "/packets":
                block, kept = parse(message, bounds.take_rows)
                columns.append(block)
                data.update(kept)
            elif pictures and (held := _held(topic, images, findings)) is not None:
                held[_frame_before(events)] = shown = picture(message)
                bounds.take_pixels(records.count_pixels(shown))
        rows = sort(columns)
        if number_of(head) > 1:  # of packets that were sent before it no more is known than their ends
            rows = rows[np.isin(rows[:, 1], rows[np.isin(rows[:, 2], BIRTHS), 1])]
    if not head:
        raise UsageError(f"{path}: not a farlink journal: its first record is no scenario")
    complete = bool(events) and events[-1]["kind"] == "finished"
    return Run(head, events, rows, data, images, complete, findings)


def _held(
    topic: str, images: dict[str, dict[int, bytes]], findings: dict[str, dict[int, bytes]]
) -> dict[int, bytes] | None:
    """Return where the pictures of *topic* are kept; None for boxes, which stand in the event, and what is unknown."""
    if topic.startswith(FINDINGS) and not topic.endswith("/detection"):
        return findings.setdefault(topic.removeprefix(FINDINGS), {})
    return images.get(topic.removeprefix("/"))


def _frame_before(events: list[dict[str, Any]]) -> int:
    """Return the frame of the event that a picture belongs to, which stands right before it."""
    if not events or events[-1]["frame"] is None:
        raise ValueError("a picture that belongs to no frame")
    return int(events[-1]["frame"])


def picture(message: bytes) -> bytes:
    """Return the file in a picture's record. Raise ValueError where it is damaged."""
    try:
        return bytes(CompressedImage.FromString(message).data)
    except DecodeError:
        raise ValueError("a picture's record is damaged") from None


def _begin(path: Path) -> IO[bytes]:
    """Return *path*, opened empty and held. Raise StorageError where it cannot be, or another run writes it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not truncated before it is known that nobody writes it.
        file: IO[bytes] = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "wb")
        if not _hold(file):
            file.close()
            raise StorageError(f"cannot write {path}: another run is writing it")
        file.truncate(0)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    return file


def _hold(file: IO[bytes]) -> bool:
    """Hold *file* until it is closed; return whether nobody else does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def recover(path: Path) -> bool:
    """Give a journal that was cut short its end, in place; return whether it needed that.

    Whole chunks stay as they are, what follows the last of them is cut off, and the end that is written has
    no index: it takes a few bytes, so it fits on a full disk. Raise StorageError where even that fails, and UsageError
    where a run is writing the file, which is then left alone.
    """
    with path.open("rb") as file:
        if not _hold(file):
            raise UsageError(f"{path}: a run is writing it")
        return _recover(path, file)


def _recover(path: Path, file: IO[bytes]) -> bool:
    whole = file.tell()
    try:
        for record in StreamReader(file, emit_chunks=True, validate_crcs=True).records:
            if isinstance(record, Chunk):
                breakup_chunk(record, validate_crc=True)
                whole = file.tell()
        return False
    except Exception:
        pass  # whatever the reader stumbles over, the file is cut there
    if whole == 0:
        raise StorageError(f"{path}: nothing of the journal can be recovered")
    end = RecordBuilder()
    DataEnd(0).write(end)
    Footer(summary_start=0, summary_offset_start=0, summary_crc=0).write(end)
    try:
        os.truncate(path, whole)
        with path.open("ab") as rest:
            rest.write(end.end() + MCAP0_MAGIC)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise StorageError(f"cannot mend {path}: {error.strerror}") from error
    return True
