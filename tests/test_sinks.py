"""Sinks: what Foxglove and Rerun are told of a session is what its journal holds, and neither can hold it up."""

import asyncio
import io
import json
import struct
import threading

import aiohttp
import numpy as np
import pytest
import toys
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from PIL import Image

from link import journal, png
from link.errors import UsageError
from link.events import Event, Fate
from link.packet_rows import PacketRows
from scenarios.cli import _with_defaults
from scenarios.live.news import News
from scenarios.live.sinks import Sink

PLAN = toys.session({"hops": [{"name": "air", "rate_bps": 9000}]}, period_s=1.0)
HEAD = {"scenario": PLAN.model_dump(mode="json", by_alias=True), "seed": 1}
PIXELS = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
PNG = png.encode(PIXELS)
BOXES = {"task": "detection", "boxes": [[1, 2, 30, 40]], "kinds": [0], "names": ["rock"], "scores": [0.9]}


def news(number, **more):
    """A picture sent and drawn, a packet on its way, boxes that were found."""
    at = number * 10**9
    events = [
        Event("captured", at, number, {"name": "toy"}, PNG),
        Event("decoded", at + 1, number, {"complete": True}, PNG),
        Event("found", at + 2, number, BOXES),
        Event("found", at + 2, number, {"task": "segmentation"}, PNG),
    ]
    rows = [(at, number, int(Fate.SENT), 0, 0, 0), (at + 1, number, int(Fate.CROSSED), 0, 0, 0)]
    return News(at + 2, 1.0, False, None, events, rows, {number: bytes([number % 256]) * 5}, **more)


class Slow(Sink):
    """A sink whose listener is slow."""

    def __init__(self):
        super().__init__()
        self.goes_on = threading.Event()
        self.batches = []

    def open(self):
        return "slow"

    def publish(self, batch):
        self.batches.append(batch)
        self.goes_on.wait(10)


def test_slow_sink_holds_nothing_up_and_gets_the_newest():
    sink = Slow()
    sink.start()
    for number in range(3000):
        sink.take(news(number), HEAD)
    sink.goes_on.set()
    sink.close()
    last = sink.batches[-1]
    assert len(sink.batches) <= 30
    assert {event.frame for event in last.pictures.values()} == {2999}
    assert set(last.pictures) == {"/sent", "/received", "/findings/segmentation"}
    assert len(last.events) == 2000 and last.events[-1].frame == 2999  # the newest of a flood
    assert all(event.picture is None for event in last.events)
    rows, data = last.bytes_of_rows()
    assert len(rows) == 2 * len(data) and rows[-1][1] == 2999 and data[-1] == bytes([2999 % 256]) * 5


def test_fresh_session_voids_what_waited():
    sink = Slow()
    for number in range(3):
        sink.take(news(number), HEAD)
    sink.take(news(9, fresh=True), HEAD)
    assert {event.frame for event in sink._slot.events} == {9} and sink._slot.fresh


def test_failing_sink_is_let_go_of():
    class Broken(Slow):
        def publish(self, batch):
            raise RuntimeError("gone")

    sink = Broken()
    sink.start()
    sink.take(news(1), HEAD)
    sink._thread.join(5)
    assert str(sink.failure) == "gone"
    sink.take(news(2), HEAD)
    sink.close()


# Foxglove


@pytest.fixture
def foxglove():
    pytest.importorskip("foxglove")
    from scenarios.live.foxglove import FoxgloveSink

    sink = FoxgloveSink(0)
    line = sink.start()
    yield sink, line.partition(" ")[2]
    sink.close()


def test_foxglove_client_reads_channels_and_messages(foxglove, tmp_path):
    sink, url = foxglove
    assert url.startswith("ws://127.0.0.1:")
    with journal.Journal(tmp_path / "run.mcap", HEAD) as book:
        for event in news(7).events:
            book.event(event)

    async def look():
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(url, protocols=["foxglove.sdk.v1"]) as channel,
        ):
            assert channel.protocol == "foxglove.sdk.v1"
            told = json.loads((await channel.receive(10)).data)
            assert told["op"] == "serverInfo" and told["capabilities"] == []  # nothing can be written
            channels = {}
            while not {"/scenario", "/events", "/sent", "/received", "/packets"} <= channels.keys():
                told = json.loads((await channel.receive(10)).data)
                if told["op"] == "advertise":
                    channels |= {one["topic"]: one for one in told["channels"]}
            wanted = {number: one for number, one in enumerate(channels.values(), 1)}
            asked = [{"id": number, "channelId": one["id"]} for number, one in wanted.items()]
            await channel.send_json({"op": "subscribe", "subscriptions": asked})
            got = {}
            while not {"/scenario", "/events", "/sent", "/received", "/packets"} <= got.keys():
                sink.take(news(7, fresh=True), HEAD)
                message = await channel.receive(10)
                if message.type is aiohttp.WSMsgType.BINARY and message.data[0] == 1:
                    _, number, at = struct.unpack_from("<BIQ", message.data)
                    got.setdefault(wanted[number]["topic"], (at, message.data[13:]))
            return channels, got

    channels, got = asyncio.run(look())
    kinds = {topic: (one["schemaName"], one["encoding"]) for topic, one in channels.items()}
    with (tmp_path / "run.mcap").open("rb") as file:  # as in the journal
        from mcap.reader import make_reader

        summary = make_reader(file).get_summary()
    stored = {
        one.topic: (summary.schemas[one.schema_id].name, one.message_encoding)
        for one in summary.channels.values()
    }
    assert {topic: kind for topic, kind in stored.items() if topic in kinds} == kinds
    assert json.loads(got["/scenario"][1]) == HEAD
    event = json.loads(got["/events"][1])
    assert event["kind"] == "captured" and event["frame"] == 7 and got["/events"][0] == 7 * 10**9
    picture = CompressedImage.FromString(got["/sent"][1])
    assert picture.format == "jpeg" and picture.timestamp.seconds == 7
    shown = np.asarray(Image.open(io.BytesIO(picture.data)).convert("RGB")).astype(int)
    assert shown.shape == PIXELS.shape and np.abs(shown - PIXELS).mean() < 15
    rows = PacketRows.FromString(got["/packets"][1])
    assert list(rows.packet) == [7, 7] and list(rows.data) == [b"\x07" * 5]


def test_foxglove_takes_nothing_from_a_client(foxglove):
    _, url = foxglove

    async def ask():
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(url, protocols=["foxglove.sdk.v1"]) as channel,
        ):
            await channel.send_json(
                {
                    "op": "advertise",
                    "channels": [{"id": 1, "topic": "/x", "encoding": "json", "schemaName": ""}],
                }
            )
            await channel.send_json({"op": "setParameters", "parameters": [{"name": "a", "value": 1}]})
            statuses = []
            while len(statuses) < 2:
                message = await channel.receive(10)
                if (
                    message.type is aiohttp.WSMsgType.TEXT
                    and (told := json.loads(message.data))["op"] == "status"
                ):
                    statuses.append(told)
            return statuses

    assert all(told["level"] == 2 for told in asyncio.run(ask()))  # refused, with an error


def test_foxglove_port_that_is_taken_is_said(foxglove):
    from scenarios.live.foxglove import FoxgloveSink

    sink, _ = foxglove
    with pytest.raises(UsageError, match=f"--foxglove {sink.port}"):
        FoxgloveSink(sink.port).start()


def test_missing_extras_are_named(monkeypatch):
    import sys

    from scenarios.live.foxglove import FoxgloveSink
    from scenarios.live.rerun import RerunSink

    for name, sink in (("foxglove", FoxgloveSink(0)), ("rerun", RerunSink())):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UsageError, match=rf"pip install 'farlink\[{name}\]'"):
            sink.start()
        sink.close()


# Rerun


def test_rerun_file_holds_the_session(tmp_path):
    rerun = pytest.importorskip("rerun")
    dataframe = pytest.importorskip("rerun.dataframe")
    from scenarios.live.rerun import RerunSink

    assert rerun
    sink = RerunSink(tmp_path / "session.rrd")
    assert sink.start() == f"Rerun: {tmp_path}/session.rrd"
    sink.take(news(3), HEAD)
    sink.close()
    recording = dataframe.load_recording(tmp_path / "session.rrd")
    held = {str(column.entity_path).strip("/") for column in recording.schema().component_columns()}
    assert {
        "sent",
        "received",
        "events",
        "findings/detection",
        "findings/segmentation",
        "packets/sent",
        "scenario",
    } <= held
    table = recording.view(index="run", contents="/**").select().read_all()
    assert table.num_rows >= 3


# the command line


def test_options_may_be_given_without_their_values():
    assert _with_defaults(["live", "--foxglove", "--rerun", "mars-relay"]) == [
        "live",
        "--foxglove",
        "8766",
        "--rerun",
        "",
        "mars-relay",
    ]
    assert _with_defaults(["live", "--rerun", "a.rrd", "--foxglove", "9000"]) == [
        "live",
        "--rerun",
        "a.rrd",
        "--foxglove",
        "9000",
    ]
    assert _with_defaults(["run", "--realtime"]) == ["run", "--realtime", "1"]
