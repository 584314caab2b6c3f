"""Fates of packets as a journal holds them: parallel columns of many rows, with the bytes of those that have some."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from link.events import WITH_BYTES, Fate, Row
from link.records import MAX_NS

FIELDS = ("time_ns", "packet", "fate", "hop", "waited_ns", "transmitted_ns")
_WITH_BYTES = frozenset(map(int, WITH_BYTES))


def _rows_class() -> Any:
    """Build the class of farlink.PacketRows: parallel columns, and the bytes of the rows that have some."""
    file = descriptor_pb2.FileDescriptorProto(
        name="farlink/PacketRows.proto", package="farlink", syntax="proto3"
    )
    message = file.message_type.add(name="PacketRows")
    kind = descriptor_pb2.FieldDescriptorProto
    for number, name in enumerate(FIELDS, 1):
        message.field.add(name=name, number=number, type=kind.TYPE_SINT64, label=kind.LABEL_REPEATED)
    message.field.add(name="data", number=len(FIELDS) + 1, type=kind.TYPE_BYTES, label=kind.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("farlink.PacketRows"))


PacketRows = _rows_class()


def pack(rows: Sequence[Row], data: Iterable[bytes]) -> bytes:
    """Return *rows* and the bytes of those in `WITH_BYTES` as a message, the same bytes every time."""
    batch = PacketRows()
    for name, column in zip(FIELDS, zip(*rows, strict=True), strict=True):
        getattr(batch, name).extend(column)
    batch.data.extend(data)
    return bytes(batch.SerializeToString(deterministic=True))


def parse(
    message: bytes, take: Callable[[int], None]
) -> tuple[NDArray[np.int64], Iterator[tuple[int, bytes]]]:
    """Return the rows in *message*, and number and bytes of each packet in it. Raise ValueError where it is damaged.

    *take* is told how many rows there are before they cost anything, and may raise.
    """
    try:
        batch = PacketRows.FromString(message)
    except DecodeError:
        raise ValueError("rows of packets are damaged") from None
    lengths = {len(getattr(batch, name)) for name in FIELDS}
    if len(lengths) != 1:
        raise ValueError("columns of rows differ in length")
    take(lengths.pop())
    sent = [number for number, fate in zip(batch.packet, batch.fate, strict=True) if fate in _WITH_BYTES]
    if len(sent) != len(batch.data):
        raise ValueError(f"{len(sent)} packets with the bytes of {len(batch.data)}")
    block = np.array([getattr(batch, name) for name in FIELDS], np.int64).T
    return block, zip(sent, batch.data, strict=True)


def sort(columns: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the rows of *columns* in time order. Raise ValueError where a time or a fate is none."""
    if not columns:
        return np.zeros((0, 6), np.int64)
    rows = np.concatenate(columns)
    times = rows[:, [0, 4, 5]]
    if rows.size and not (times.min() >= 0 and times.max() <= MAX_NS):
        raise ValueError(f"a row's time is not between 0 and {MAX_NS} ns")
    if not np.isin(rows[:, 2], list(Fate)).all():
        raise ValueError("a row with an unknown fate")
    return rows[np.argsort(rows[:, 0], kind="stable")]
