"""Files as somebody would make them who means harm, and farlink's commands run on them in this process."""

import contextlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.records import Channel, Chunk, DataEnd, Footer, Header, Message, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import MCAP0_MAGIC, IndexType, Writer

from scenarios import cli

CODES = {0, 2, 3, 4, 5}
"""How a command may end on a file that is not what it should be: never with 1, a traceback, and never with the disk."""

NASTY: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 255, 4096, 2**31, 2**63, -(2**63), 10**18, 10**30, 10**400, 0.5, -0.5, 1e300, math.nan,
    math.inf, -math.inf, "", "x", "\0", "\ud800", "\u202e\x1b[31m", "9" * 5000, "a/" * 3000, "/dev/zero", "../../x",
    [], [[]], [None], [True, False], [1, 2, 3], ["x"] * 3, {}, {"a": 1}, {"model": "x"}, {"model": []}, [{}],
)  # fmt: skip


class _Printed(io.StringIO):
    """What is printed, with a file's number as a real output has."""

    def fileno(self) -> int:
        return os.open(os.devnull, os.O_WRONLY)


def call(*arguments: Any) -> tuple[int, str, str]:
    """Run `farlink` with *arguments*; return exit code, stdout and stderr. Whatever else it raises is a traceback."""
    out, err = _Printed(), _Printed()
    before = sys.argv
    sys.argv = ["farlink", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as end:
        return int(end.code or 0), out.getvalue(), err.getvalue()
    finally:
        sys.argv = before
    raise AssertionError("the command did not exit")


def attempt(*arguments: Any, most_s: float = 2.0) -> int:
    """Run `farlink`; return its exit code. Raise AssertionError where it is none of `CODES`, or took too long."""
    started = time.process_time()  # of this process: others may keep the machine busy
    code, _, err = call(*arguments)
    spent = time.process_time() - started
    assert code in CODES, (code, err)
    if code:
        assert err.strip(), "an exit code without a word"
    assert spent < most_s, f"{spent:.1f} s"
    return code


def mutate_bytes(data: bytes, rng: Any) -> bytes:
    """Return *data* with a few bytes changed, cut, doubled, moved or put in."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        way, at = int(rng.integers(6)), int(rng.integers(len(found) + 1))
        length = int(rng.integers(1, 2 ** int(rng.integers(1, 10))))
        if way == 0:
            for place in rng.integers(0, max(1, len(found)), min(length, 8)).tolist():
                if place < len(found):
                    found[place] ^= 1 << int(rng.integers(8))
        elif way == 1:
            del found[at:]
        elif way == 2:
            found[at:at] = rng.bytes(length)
        elif way == 3:
            found[at : at + length] = rng.choice([0, 255, 127, 128]).item().to_bytes(1, "big") * length
        elif way == 4:
            found[at:at] = found[at : at + length]
        else:
            del found[at : at + length]
    return bytes(found)


def mutate_tree(tree: Any, rng: Any) -> Any:
    """Return a copy of the JSON *tree* with one value replaced by a nasty one, left out, or put in twice."""
    copy = json.loads(json.dumps(tree))
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(copy)
    if not places:
        return NASTY[int(rng.integers(len(NASTY)))]
    node, key = places[int(rng.integers(len(places)))]
    way = int(rng.integers(8))
    if way == 0:
        del node[key]
    elif way == 1 and isinstance(node, list):
        node.insert(key, node[key])
    elif way == 2:
        for _ in range(int(rng.integers(1, 200))):
            node[key] = [node[key]]
    elif way == 3:
        other, at = places[int(rng.integers(len(places)))]
        node[key] = json.loads(json.dumps(other[at]))
    elif way == 4 and isinstance(node[key], int | float) and not isinstance(node[key], bool):
        node[key] = [node[key] * 2, -node[key], node[key] + 1, node[key] * 10**6, 0][int(rng.integers(5))]
    else:
        node[key] = NASTY[int(rng.integers(len(NASTY)))]
    return copy


def records(path: Path) -> list[tuple[str, str, bytes, bytes]]:
    """Return topic, encoding, schema and bytes of each message of the journal at *path*."""
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    found = []
    with path.open("rb") as file:
        for record in StreamReader(file).records:
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                channel = channels[record.channel_id]
                found.append((channel.topic, channel.message_encoding, b"", record.data))
    return found


def write_records(
    path: Path,
    messages: list[tuple[str, str, bytes, bytes]],
    *,
    indexed: bool = True,
) -> None:
    """Write *messages*, as `records` gives them, as a well-formed MCAP file."""
    with path.open("wb") as file:
        if indexed:
            writer = Writer(file)
        else:
            writer = Writer(file, index_types=IndexType.NONE, chunk_size=1 << 30)
        writer.start()
        topics: dict[str, int] = {}
        for topic, encoding, schema, data in messages:
            if topic not in topics:
                number = writer.register_schema(topic, "x", schema)
                topics[topic] = writer.register_channel(topic, encoding, number)
            writer.add_message(topics[topic], 0, data, 0)
        writer.finish()


def write_bomb(path: Path, unpacked: int, declared: int | None = None) -> None:
    """Write an MCAP file with one chunk of zeros that unpacks to *unpacked* bytes, or says *declared*."""
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    block = bytes(1 << 24)
    data = b"".join(packer.compress(block) for _ in range(unpacked >> 24)) + packer.flush()
    builder = RecordBuilder()
    Header("", "").write(builder)
    size = (unpacked >> 24) << 24
    Chunk("zstd", data, 0, 0, 0, declared or size).write(builder)
    DataEnd(0).write(builder)
    Footer(0, 0, 0).write(builder)
    path.write_bytes(MCAP0_MAGIC + builder.end() + MCAP0_MAGIC)


def mutate_journal(
    messages: list[tuple[str, str, bytes, bytes]], rng: Any
) -> list[tuple[str, str, bytes, bytes]]:
    """Return *messages* with one or two of them changed: well-formed JSON of other types, or other bytes."""
    found, intact = list(messages), {data for *_, data in messages}
    for _ in range(int(rng.integers(1, 3))):
        at = int(rng.integers(len(found)))
        topic, encoding, schema, data = found[at]
        way = int(rng.integers(12))
        if way == 0:
            del found[at]
        elif way == 1:
            found.insert(int(rng.integers(len(found) + 1)), found[at])
        elif encoding == "json" and way > 2 and data in intact:
            data = json.dumps(mutate_tree(json.loads(data), rng)).encode()
            found[at] = (topic, encoding, schema, data)
        else:
            found[at] = (topic, encoding, schema, mutate_bytes(data, rng))
        if not found:
            break
    return found


@contextlib.contextmanager
def named(what: str, seed: int) -> Iterator[Callable[[int], None]]:
    """Give a function that notes which number a campaign is at; where it breaks, that and the seed are printed."""
    at = [0]
    try:
        yield lambda number: at.__setitem__(0, number)
    except BaseException:
        print(f"{what}: seed {seed}, number {at[0]}")
        raise
