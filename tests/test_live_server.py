"""The live page's server without a browser: its room against the results of the same journal, viewers, attacks."""

import asyncio
import contextlib
import io
import itertools
import json
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import numpy as np
import psutil
import pytest
import toys
from PIL import Image
from typer.testing import CliRunner

from link import journal, png
from link.config import Camera, Codec, Session
from link.errors import UsageError
from link.events import Event, Fate
from link.fingerprint import fingerprint
from link.hops import HopConfig, Link, Repair, ReturnHop
from link.marks import steers
from link.steering import lay
from scenarios.cli import app
from scenarios.live import boxes, controls, frames, gate, keep_up, messages, pictures, referee, rival, wishes
from scenarios.live.crossing import MOST_FLYING
from scenarios.live.feed import Feed, Viewer
from scenarios.live.frames import atlas
from scenarios.live.helper import Helper
from scenarios.live.listener import listen, tls_context
from scenarios.live.news import News, Source
from scenarios.live.recording import Recording
from scenarios.live.replay import Replay
from scenarios.live.room import MOST_ROWS, Room
from scenarios.live.server import MOST_VIEWERS, LiveServer, running
from scenarios.results import metrics, traffic
from scenarios.results.hop_packets import BY_HOPS
from scenarios.scoring.pairs import Scores
from scenarios.scoring.quality import psnr_db

NS = 10**9
LINKS = {
    "lossy": {
        "hops": [
            {"name": "near", "rate_bps": 20000, "delay_s": 0.5, "loss": {"model": "bernoulli", "loss": 0.2}},
            {"name": "far", "rate_bps": 9000, "delay_s": 4.0, "bit_error_rate": 1e-5, "duplicate_ratio": 0.1},
        ],
        "mtu_bytes": 128,
        "return": {"rate_bps": 1000, "loss": {"model": "bernoulli", "loss": 0.1}},
        "repair": {"arq": True, "fec": 0.3},
    },
    "by the hop": {
        "hops": [
            {
                "name": "near", "rate_bps": 3000, "delay_s": 0.1, "retransmit": {},
                "loss": {"model": "bernoulli", "loss": 0.2},
            },
            {"name": "far", "rate_bps": 2500, "delay_s": 30.0},
        ],
        "framing": "ccsds",
        "mtu_bytes": 100,
    },
    "by LTP": {
        "hops": [
            {
                "name": "near", "rate_bps": 3000, "delay_s": 0.1, "loss": {"model": "bernoulli", "loss": 0.2},
                "retransmit": {"protocol": "ltp", "loss": {"model": "bernoulli", "loss": 0.1}},
            },
            {
                "name": "far", "rate_bps": 2500, "delay_s": 30.0, "retransmit": "ltp", "duplicate_ratio": 0.1,
                "bit_error_rate": 1e-4,
            },
        ],
        "mtu_bytes": 100,
        "repair": {"fec": 0.1, "red": 0.5},
    },
    "two routes": {
        "nodes": [{"name": "rover"}, {"name": "low"}, {"name": "high"}, {"name": "earth"}],
        "hops": [
            {"name": "rover-low", "between": ["rover", "low"], "rate_bps": 3000, "contacts_s": [[0, 20]]},
            {
                "name": "rover-high", "between": ["rover", "high"], "rate_bps": 2000, "contacts_s": [[20, 300]],
                "loss": {"model": "bernoulli", "loss": 0.2},
            },
            {"name": "low-earth", "between": ["low", "earth"], "rate_bps": 4000, "delay_s": 2.0},
            {"name": "high-earth", "between": ["high", "earth"], "rate_bps": 4000, "delay_s": 3.0},
        ],
        "mtu_bytes": 100,
    },
    "one way": {
        "hops": [
            {
                "name": "air", "rate_bps": 4000, "delay_s": 1.0, "queue": {"limit_bytes": 1500},
                "loss": {"model": "gilbert_elliott", "loss": 0.6, "mean_burst": 30},
            }
        ],
        "mtu_bytes": 128,
    },
}  # fmt: skip


class Camera16:
    """Shots with something in them, and a decoder that shows a little else."""

    @staticmethod
    def pixels(number: int) -> np.ndarray:
        return np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)


class NoisyDecoder(toys.ToyDecoder):
    def decode(self, payload):
        shown = super().decode(payload)
        return None if shown is None else np.full_like(shown, len(self.payloads) % 200 + 20)


@pytest.fixture(params=sorted(LINKS))
def run(request, tmp_path):
    plan = toys.session(LINKS[request.param], period_s=5.0)
    path = tmp_path / "run.mcap"
    return path, toys.run(plan, path, 12, decoder=NoisyDecoder())


@pytest.fixture
def path(tmp_path):
    plan = toys.session(LINKS["lossy"], period_s=5.0)
    toys.run(plan, tmp_path / "run.mcap", 12, decoder=NoisyDecoder())
    return tmp_path / "run.mcap"


SHARES = (0.7013, 0.0517, 1.0, 0.5019, 0.0)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def enter(replay: Replay, room: Room, news: News, wall_s: float = 0.0) -> Room:
    """Return the room that takes *news* of *replay*: *room*, or one that was wound to where they begin."""
    wound = await replay.furnish(news.now_ns, local=True) if news.fresh else None
    if wound is None:
        room.take(news, wall_s)
        return room
    wound.resume(news)
    return wound


async def tell(replay: Replay, until_ns: int, clock: Clock, step_s: float = 0.7) -> Room:
    """Return a room that heard of *replay* step by step until *until_ns*."""
    room = Room(replay.head, local=True)
    async for news in replay.news():
        room = await enter(replay, room, news, clock.now_s)
        if news.now_ns >= until_ns:
            break
        left_s = (until_ns - news.now_ns) / NS / news.factor
        clock.now_s += min(step_s, left_s + 1e-9)
        replay._wake.set()
    return room


def shown(path, until_ns: int | None = None, factor: float = 3.0) -> Room:
    """Return the room of a journal that was played until *until_ns*."""

    async def play() -> Room:
        clock = Clock()
        replay = Replay(path, clock, factor)
        return await tell(replay, replay.length_ns if until_ns is None else until_ns, clock)

    return asyncio.run(play())


def told(recording: Recording, until_ns: int, steps: int = 7) -> Room:
    """Return a room that was told of all that is in a journal until *until_ns*, with its pictures, as of a live run."""
    room = Room(recording.head, local=True)
    times = [-1, *np.linspace(0, until_ns, steps).astype(int).tolist()]
    for before, until in itertools.pairwise(times):
        room.take(recording.between(before, until, pictures=True), 0.0)
    return room


def plain(room: Room) -> dict:
    """Return the state of *room* without what says how it came about."""
    message, blobs = messages.state(room, mode="replay", duration_ns=1, may_steer=True, wall_s=0.0)
    assert len(blobs) == len(message.get("pictures", ()))
    message["pictures"] = sorted(picture["id"] for picture in message.get("pictures", ()))
    message["clock"].pop("factor")
    return message


def test_a_room_says_what_the_results_of_its_journal_say(run):
    path, stored = run
    room = shown(path)
    state, sent = plain(room), traffic.traffic(stored)
    rows = {row.frame: row for row in metrics.frame_rows(stored, sent, Scores({}, {}, {}))}
    totals = state["totals"]
    assert totals["on_air_bytes"] == sent.cost.on_air > 0
    others = {name: getattr(sent.cost, name) for name in ("header", "fec", "repair", "feedback")}
    assert dict(room.crossing.uses) == {
        name: size for name, size in {**sent.cost.payload, **others}.items() if size
    }
    assert totals["packets_sent"] == sent.forward["sent"]
    assert totals["packets_lost"] == sum(row.packets_lost for row in rows.values())
    assert totals["packets_lost"] or sent.hops, "nothing was lost, so this test tells nothing"
    assert totals["sent"] == len(rows) == len(state["frames"])
    for status in metrics.STATUSES:
        assert totals[status] == sum(row.status == status for row in rows.values())
    for frame in state["frames"]:
        row, cost = rows[frame["frame"]], sent.cost_by_frame[frame["frame"]]
        assert frame["on_air"] == row.on_air_bytes == sum(frame["bytes"].values())
        assert {kind: frame["bytes"].get(kind, 0) for kind in cost.payload} == dict(cost.payload)
        assert frame["status"].replace("refined", "complete") == row.status
        assert (frame["drawn_ns"], frame["captured_ns"], frame["name"]) == (
            row.shown_ns,
            row.captured_ns,
            row.name,
        )
        received = stored.pictures["received"].get(frame["frame"])
        if received is not None:
            original = png.decode(stored.pictures["sent"][frame["frame"]])
            assert frame["scores"]["psnr_db"] == psnr_db(original, png.decode(received))
    assert state["queues"] == [0] * len(room.session.link.hops) and state["flying"] == 0


def test_curves_are_ages_and_rates_of_the_run(run):
    path, stored = run
    room = shown(path)
    curves = plain(room)["curves"]
    drawn = [(e["time_ns"], e["frame"]) for e in toys.kinds(stored, "decoded")]
    captured = {e["frame"]: e["time_ns"] for e in toys.kinds(stored, "captured")}
    for at_s, value in curves["age"]["points"]:
        newest = max(captured[frame] for at, frame in drawn if at <= round(at_s * NS))
        assert value == pytest.approx(at_s - newest / NS, rel=1e-5)
    step_ns, sent = room.curves.step_ns, {item.number for item in traffic.packets(stored)}
    radiated = (Fate.CROSSED, Fate.CHANNEL_LOSS, Fate.OUTAGE)
    firsts = (-1, 0, 1) if len(stored.head["scenario"]["link"].get("nodes", ())) else (-1, 0)
    headers = {
        own.number: own.size_bytes
        for own in traffic.by_hops(stored, traffic.packets(stored))
        if own.kind == "segment"
    }
    air = [
        (at, headers.get(number, len(stored.data[number])))
        for at, number, fate, hop, _, _ in stored.rows.tolist()
        if (number in sent and hop in firsts and fate in radiated) or fate in BY_HOPS
    ]
    for number, (at_s, value) in enumerate(curves["bit_rate"]["points"]):
        span_ns, until_ns = step_ns * min(10, number + 1), round(at_s * NS)
        bits = sum(8 * size for at, size in air if until_ns - span_ns < at <= until_ns)
        assert value == pytest.approx(bits / (span_ns / NS), rel=1e-5)
    rows = metrics.frame_rows(stored, traffic.traffic(stored), Scores({}, {}, {}))
    latencies = sorted(row.latency_s for row in rows if row.latency_s is not None)
    assert sorted(value for _, value in curves["latency"]["points"]) == pytest.approx(latencies, rel=1e-5)


def test_how_the_news_are_cut_changes_nothing(run):
    path, _ = run
    fast, slow = plain(shown(path, factor=1000.0)), plain(shown(path, factor=0.4))
    assert fast == slow


def test_seeking_both_ways_shows_what_playing_shows(run):
    """Against a room that plays, and one that was told of it all as of a live run and kept its pictures."""
    path, _ = run
    recording = Recording(path)

    async def wind() -> None:
        replay = Replay(recording, Clock(), 3.0)
        room, news = Room(replay.head, local=True), replay.news()
        room = await enter(replay, room, await anext(news))
        frames = []
        for share in SHARES:
            until_ns = int(share * replay.length_ns)
            assert await replay.seek(until_ns) is None
            room = await enter(replay, room, await anext(news))
            live = told(recording, until_ns)
            played = await asyncio.to_thread(shown, path, until_ns)
            states = [plain(one) for one in (room, played, live)]
            assert [one.pop("clock")["run_ns"] for one in states] == pytest.approx([until_ns] * 3, abs=1000)
            assert states[0] == states[1] == states[2]
            assert live.pictures._held
            for picture in live.pictures._held.values():  # each that a live page would hold
                lent = room.pictures.get(picture.name)
                assert lent is not None and lent.png == picture.png, picture.name
            frames.append(len(states[0]["frames"]))
        assert frames[0] > frames[1] > 0

    asyncio.run(wind())


def test_a_replay_pauses_steps_and_keeps_its_pace(path):
    async def play() -> None:
        clock = Clock()
        replay = Replay(path, clock, 1.0)
        stored = journal.read(path)
        news = replay.news()
        assert (await anext(news)).now_ns == 0
        clock.now_s = 2.0
        replay._wake.set()
        assert (await anext(news)).now_ns == 2 * NS
        await replay.pace("pause", None)
        clock.now_s = 5.0
        told = await anext(news)
        assert told.now_ns == 2 * NS and told.paused
        await replay.pace("picture", None)
        first = min(event["time_ns"] for event in toys.kinds(stored, "decoded"))
        told = await anext(news)
        assert told.now_ns == first and told.paused and "decoded" in {event.kind for event in told.events}
        await replay.pace("event", None)
        times = sorted(
            {row[0] for row in stored.rows.tolist()} | {event["time_ns"] for event in stored.events}
        )
        assert (await anext(news)).now_ns == next(at for at in times if at > first)
        await replay.pace("resume", 60.0)
        before = (await anext(news)).now_ns
        clock.now_s += 0.1
        replay._wake.set()
        assert (await anext(news)).now_ns == pytest.approx(before + 6 * NS, abs=1000)
        assert "expected" in await replay.pace(None, 0.0)
        assert await replay.change({"link.hops.0.rate_bps": 1}, "x") is not None

    asyncio.run(play())


def test_a_live_journal_is_shown_when_its_pictures_were_drawn(tmp_path):
    events = [
        Event("captured", 0, 0, {"name": "a"}, png.encode(Camera16.pixels(0))),
        Event("answered", 2 * NS, None, {"end": "sender", "asked_ns": 0}),
        Event("encoded", 0, 0, {"sections": [5], "packets": 1}),
        Event("answered", 9 * NS, None, {"end": "receiver", "asked_ns": 4 * NS}),
        Event("closed", 4 * NS, 0, {"complete": True, "sections": [True], "packets": 1}),
        Event("decoded", 4 * NS, 0, {"complete": True, "drawn_ns": 9 * NS}, png.encode(Camera16.pixels(1))),
        Event("finished", 10 * NS),
    ]
    plan = toys.session(LINKS["one way"], period_s=1.0)
    with journal.Journal(
        tmp_path / "run.mcap", {"scenario": plan.model_dump(mode="json", by_alias=True)}
    ) as book:
        for event in events:
            book.event(event)
    assert plain(shown(tmp_path / "run.mcap", 8 * NS))["frames"][0]["status"] == "sent"
    state = plain(shown(tmp_path / "run.mcap"))
    assert state["frames"][0]["drawn_ns"] == 9 * NS
    assert state["curves"]["age"]["points"][0] == [9.0, 9.0]


def test_what_crossed_the_link_is_read_from_its_packets(tmp_path, monkeypatch):
    from test_sections import Encoder

    from link.bitstream import latent
    from link.codecs import gsc
    from scenarios.report import sections

    monkeypatch.setattr(gsc, "load_tables", lambda folder, channels: latent.LatentTables.generic(channels))
    hop = {"name": "hop", "rate_bps": 2000, "loss": {"model": "pattern", "pattern": "..x"}}
    plan = Session.model_validate(
        {
            "name": "toy",
            "camera": {"width": 256, "height": 192, "period_s": 60.0},
            "codec": {"name": "gsc", "caption": "vlm", "frame_bytes": 2000},
            "link": {"hops": [hop], "mtu_bytes": 100},
        }
    )
    stored = toys.run(plan, tmp_path / "run.mcap", 3, Encoder(plan.codec))
    made_of = sections.sections(stored, traffic.packets(stored), range(3))
    state = plain(shown(tmp_path / "run.mcap", factor=60.0))
    lost = 0
    for frame in state["frames"]:
        known = made_of[frame["frame"]]
        assert frame["caption"] == known.caption and frame["caption_arrived"] == known.caption_arrived
        assert sum(one["bytes"] for one in frame["channels"]) == known.sizes["channels"]
        assert [one["channel"] for one in frame["channels"]] == list(range(8))
        lost += sum(not one["arrived"] for one in frame["channels"])
    assert lost > 0, "the loss pattern must cost channels, or this test tells nothing"
    assert "tiles-2" in state["pictures"]


def test_a_tile_fills_three_quarters_of_its_cell_from_the_top():
    """As the page cuts it out."""
    maps = {channel: np.full((3, 4), channel - 5, np.int32) for channel in (0, 9)}
    sheet = png.decode(atlas(SimpleNamespace(maps=maps)))  # type: ignore[arg-type]
    side = sheet.shape[1] // 8
    assert sheet.shape == (2 * side, 8 * side, 3)
    for channel in maps:
        cell = sheet[channel // 8 * side :, channel % 8 * side :][:side, :side]
        assert cell[: 3 * side // 4].reshape(-1, 3).any(axis=1).all() and not cell[3 * side // 4 :].any()


# Viewers of every pace.


def state_of(room: Room):
    return lambda steers: messages.state(room, mode="live", duration_ns=None, may_steer=steers, wall_s=0.0)


class Reader:
    """What a page makes of its messages."""

    def __init__(self) -> None:
        self.known: dict = {}
        self.seqs: list[int] = []
        self.pictures: list[str] = []
        self.rows = self.left_out = 0

    def read(self, data: bytes) -> None:
        message, _ = messages.unpack(data)
        self.seqs.append(message["seq"])
        if message["type"] == "state":
            self.known, self.pictures, self.rows, self.left_out = {"frames": {}, "curves": {}}, [], 0, 0
        self.rows += len(message.get("rows", ()))
        self.left_out += message.get("rows_left_out", 0)
        self.known["totals"] = message["totals"]
        self.known["clock"] = message["clock"]
        self.known.setdefault("values", {}).update(message.get("values", {}))
        self.known["frames"].update({frame["frame"]: frame for frame in message.get("frames", ())})
        for name, curve in message.get("curves", {}).items():
            self.known["curves"].setdefault(name, []).extend(map(tuple, curve["points"]))
        self.pictures += [one["id"] for one in message.get("pictures", ())]


def test_a_slow_viewer_loses_pictures_and_no_figure(path):
    async def look_on() -> None:
        clock = Clock()
        replay = Replay(path, clock, 20.0)
        room = await replay.furnish(0, local=True)
        feed = Feed(state_of(room), replay.picture)
        viewers = {pace: Viewer(may_steer=True, by=str(pace), now_s=0.0) for pace in (1, 3, 11)}
        readers = {pace: Reader() for pace in viewers}
        beats = 0
        async for news in replay.news():
            if not news.fresh:
                room.take(news, clock.now_s)
            feed.beat(room, viewers.values(), 0.0, clock.now_s)
            beats += 1
            for pace, viewer in viewers.items():
                assert viewer.unacknowledged <= 2
                if beats % pace == 0 or news.done:
                    for data in viewer.take():
                        readers[pace].read(data)
                    viewer.acknowledge(readers[pace].seqs[-1] if readers[pace].seqs else 0, clock.now_s)
            if news.done:
                break
            clock.now_s += 0.1
            replay._wake.set()
        for _ in range(2):  # what was still to be said
            clock.now_s += 2.0
            feed.beat(room, viewers.values(), 0.0, clock.now_s)
            for pace, viewer in viewers.items():
                for data in viewer.take():
                    readers[pace].read(data)
                viewer.acknowledge(readers[pace].seqs[-1], clock.now_s)
        quick, slow = readers[1], readers[11]
        assert quick.known == readers[3].known == slow.known
        assert quick.known["frames"] == {frame["frame"]: frame for frame in plain(room)["frames"]}
        assert quick.rows + quick.left_out == slow.rows + slow.left_out == room.rows_seen
        assert len(slow.seqs) < len(quick.seqs) / 3
        assert len(slow.pictures) < len(quick.pictures)
        received = [name for name in slow.pictures if name.startswith("received")]
        assert received, "a slow viewer must see pictures"
        for name in received:  # never without what it is to be compared with
            assert f"sent-{name.partition('-')[2]}" in slow.pictures

    asyncio.run(look_on())


def rows_news(first: int, count: int, now_ns: int) -> News:
    rows = [(now_ns, number, int(Fate.SENT), 0, 0, 0) for number in range(first, first + count)]
    return News(
        now_ns, 1.0, False, None, [], rows, {number: b"\x40\0\0\0\0\0\0\0x" for _, number, *_ in rows}
    )


def head(link=None, **codec) -> dict:
    plan = toys.session(link or LINKS["lossy"], period_s=1.0).model_copy(update={"live": True})
    return {"scenario": plan.model_dump(mode="json", by_alias=True), "fingerprint": fingerprint(plan)}


def test_rows_over_a_message_are_counted():
    room = Room(head(), local=True)
    room.take(rows_news(0, 10, NS), 0.0)
    since = room.version
    for turn in range(5):
        room.take(rows_news(10 + 1000 * turn, 1000, (turn + 2) * NS), 0.0)
    message, _ = messages.tick(room, since, 0.0)
    assert len(message["rows"]) == MOST_ROWS and message["rows_left_out"] == 5000 - MOST_ROWS


@pytest.mark.parametrize("data", [b"", b"\x40", b"\x40" + bytes(7), b"\x40" + bytes(7) + b"x", b"\xff" * 40])
def test_a_packet_that_nobody_can_read_is_counted(data):
    room = Room(head(), local=True)
    rows = [(NS, 0, int(Fate.SENT), 0, 0, 0), (2 * NS, 0, int(Fate.CROSSED), 0, 0, 9)]
    rows += [(3 * NS, 0, int(Fate.MALFORMED), 1, 0, 0)]
    room.take(News(3 * NS, 1.0, False, None, [], rows, {0: data}), 0.0)
    totals = plain(room)["totals"]
    assert (totals["packets_sent"], totals["packets_lost"], totals["on_air_bytes"]) == (1, 1, len(data))


@pytest.mark.parametrize("share", [0.1, 0.35, 0.6])
def test_who_comes_in_the_middle_sees_what_follows(run, share):
    """As a page that joins a link elsewhere: frames and packets of before are not known, and harm nothing."""
    path, stored = run
    from_ns = int(share * metrics.end_ns(stored))
    events = [event for event in stored.events if event["time_ns"] >= from_ns]
    rows = [tuple(row) for row in stored.rows.tolist() if row[0] >= from_ns]
    room = Room(stored.head, local=True)
    told = [
        Event(
            event["kind"], event["time_ns"], event["frame"], {k: v for k, v in event.items() if k != "kind"}
        )
        for event in events
    ]
    until = metrics.end_ns(stored)
    room.take(News(until, 1.0, False, None, told, rows, stored.data), 0.0)  # type: ignore[arg-type]
    state = plain(room)
    captured = {event["frame"] for event in events if event["kind"] == "captured"}
    whole = {frame["frame"]: frame for frame in plain(shown(path))["frames"]}
    assert {frame["frame"] for frame in state.get("frames", ())} == captured
    for frame in state.get("frames", ()):
        assert (frame["status"], frame["drawn_ns"]) == (
            whole[frame["frame"]]["status"],
            whole[frame["frame"]]["drawn_ns"],
        )


def test_damaged_pictures_are_passed_on_and_never_end_a_session():
    room = Room(head(), local=False)
    whole = png.encode(Camera16.pixels(0))
    for frame, data in enumerate((b"", b"x", whole[:40], whole[:-20], whole[:60] + b"\0" * 900)):
        about = {"task": "depth", "model": "m", "metric": True, "scale": 1.0}
        of_classes = {"task": "segmentation", "model": "m", "names": ["sky"]}
        events = [
            Event("captured", frame, frame, {"name": "x"}, data),
            Event("decoded", frame, frame, {"complete": True}, data),
            Event("found", frame, frame, about, data),
            Event("found", frame, frame, of_classes, data),
        ]
        room.take(News(frame, 1.0, False, None, events), 0.0)
        sent, blobs = messages.tick(room, room.version - 1, 0.0)
        assert {one["kind"] for one in sent["pictures"]} >= {"sent", "received"}
        assert blobs[0] == data if sent["pictures"][0]["lossless"] else blobs[0][:2] == b"\xff\xd8"
    small = pictures.PictureRing(local=False, most_bytes=3 * len(whole))
    for frame in range(20):
        small.add("sent", frame, whole[:-20] if frame % 2 else whole, 0.0)
    assert small.size_bytes <= 3 * len(whole)


def test_a_room_stays_small_for_hours():
    """Thousands of frames with pictures and packets that never arrive: everything is bounded."""
    room = Room(head(), local=True)
    picture = png.encode(Camera16.pixels(0))

    def minutes(first: int, last: int) -> None:
        number = 40 * first
        for frame in range(first, last):
            now = frame * NS
            news = rows_news(number, 40, now)
            number += 40
            news.events.append(Event("captured", now, frame, {"name": "x" * 40}, picture))
            news.events.append(Event("encoded", now, frame, {"sections": [9], "packets": 40}))
            news.events.append(Event("decoded", now, frame, {"complete": False, "sections": []}, picture))
            news.events.append(Event("warned", now, None, {"reason": "y" * 500}))
            room.take(news, float(frame))

    minutes(0, 1500)  # until all that is bounded is full
    size = len(messages.pack(*state_of(room)(True)))
    before = psutil.Process().memory_info().rss
    minutes(1500, 3000)
    # Of 126 MB that went through; what is remembered of each frame is 0.4 kB.
    assert psutil.Process().memory_info().rss - before < 10_000_000
    assert len(messages.pack(*state_of(room)(True))) < 1.2 * size
    assert room.pictures.size_bytes <= pictures.MOST_BYTES
    assert len(room.frames.ring) == 300 and len(room.crossing.flying) == MOST_FLYING
    assert plain(room)["totals"]["sent"] == 3000


def test_pictures_are_left_as_they_are_where_few_and_near():
    data = png.encode(Camera16.pixels(3))
    near, far = pictures.PictureRing(local=True), pictures.PictureRing(local=False)
    assert near.file(near.add("sent", 0, data, 0.0)) == ("image/png", data, True)
    near.add("sent", 1, data, 0.1)
    third = near.add("sent", 2, data, 0.2)
    mime, coded, lossless = near.file(third)
    assert (mime, lossless) == ("image/jpeg", False) and coded[:2] == b"\xff\xd8"
    assert near.file(third, lossless=True)[2]  # on a click
    assert near.add("sent", 3, data, 1.3).keeps
    assert far.file(far.add("sent", 0, data, 0.0))[0] == "image/jpeg"
    small = pictures.PictureRing(local=True, most_bytes=3 * len(data))
    for frame in range(20):
        small.add("sent", frame, data, 10.0 * frame)
    assert small.size_bytes <= 3 * len(data) and small.get("sent-19").png == data


def test_the_rival_gets_the_bytes_that_the_frame_cost():
    x = np.linspace(0, 250, 256)
    data = png.encode(np.stack([np.tile(x, (192, 1))] * 3, axis=-1).astype(np.uint8))
    made, shown = rival.encode(data, 400, "gsc")
    assert (made["codec"], made["words"]) == ("WebP", None) and 0 < made["bytes"] <= 400
    assert shown is not None and png.size(shown) == (192, 256)
    none, shown = rival.encode(data, 5, "webp")
    assert shown is None and none["bytes"] == 0 and none["codec"] == ""
    assert "JPEG 2000 cannot go under" in none["words"] and "AVIF cannot go under" in none["words"]
    assert "WebP" not in none["words"]


def test_a_helper_works_in_a_process_that_ends_with_the_page():
    picture = png.encode(np.tile(np.linspace(0, 250, 64).astype(np.uint8), (48, 1))[..., None].repeat(3, 2))
    about = {"budget_bytes": 400, "codec": "gsc"}

    async def compete() -> list[tuple[int, str, int]]:
        told = []
        done = asyncio.Event()

        async def tell(task, made, blobs) -> None:
            told.append((task["frame"], made["codec"], len(blobs)))
            done.set()

        helper = Helper("scenarios.live.rival", tell)
        work = asyncio.create_task(helper.run())
        helper.offer({**about, "frame": 0}, [b"no picture"])  # it dies of that, and is begun anew
        while helper._child is None:
            await asyncio.sleep(0.01)
        first = helper._child
        await asyncio.wait_for(first.wait(), 20.0)
        helper.offer({**about, "frame": 1}, [picture])
        await asyncio.wait_for(done.wait(), 20.0)
        child = helper._child
        assert child is not None and child.pid != first.pid
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert child.returncode is not None
        return told

    assert asyncio.run(compete()) == [(1, "WebP", 1)]


def test_the_newest_task_of_a_helper_wins():
    slow = (
        "import time\nfrom scenarios.live.wire import serve\n"
        "def answer(task, blobs):\n    time.sleep(0.05)\n    return {}, blobs\nserve(answer, 0)"
    )

    async def race() -> list[int]:
        told: list[int] = []
        done = asyncio.Event()

        async def tell(task, made, blobs) -> None:
            assert made == {} and blobs == [b"x", b""]
            told.append(task["frame"])
            if task["frame"] == 9:
                done.set()

        helper = Helper("", tell, command=(sys.executable, "-c", slow))
        work = asyncio.create_task(helper.run())
        for frame in range(10):
            helper.offer({"frame": frame}, [b"x", b""])
            await asyncio.sleep(0.001)
        await asyncio.wait_for(done.wait(), 20.0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        return told

    told = asyncio.run(race())
    assert told[-1] == 9 and len(told) <= 4


def _grey(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    return out.getvalue()


def test_the_referee_says_what_is_true_and_what_findings_are_worth_against_it(tmp_path):
    from link.analysis import findings

    labels = (np.arange(48)[:, None].repeat(64, 1) // 16).astype(np.uint8)
    depth_m = np.linspace(2.0, 40.0, 48, dtype=np.float32)[:, None].repeat(64, 1)
    depth_m[0] = np.inf
    for kind in ("", "_labels", "_depth", "_boxes"):
        (tmp_path / f"drive{kind}").mkdir()
    (tmp_path / "drive" / "a.png").write_bytes(png.encode(Camera16.pixels(1)))
    (tmp_path / "drive_labels" / "a.png").write_bytes(_grey(labels))
    (tmp_path / "drive_labels" / "classes.txt").write_text("sky\nsand\nrock\n")
    np.save(tmp_path / "drive_depth" / "a.npy", depth_m)
    (tmp_path / "drive_boxes" / "a.json").write_text('[{"kind": "rock", "box": [10, 30, 30, 44]}]')
    (tmp_path / "drive_boxes" / "classes.txt").write_text("rock\n")
    camera = Camera(source=f"folder:{tmp_path / 'drive'}", width=64, height=48, period_s=1.0, frames=1)
    names = ("sky", "sand", "rock")
    wrong = labels.copy()
    wrong[:, :16] = 0
    made = [findings.write(findings.Segments(found, names)) for found in (labels, wrong)]
    made.append(findings.write(findings.DepthMap(np.minimum(depth_m, 1000.0), True)))
    boxes = findings.Detections(np.array([[10.0, 30, 30, 44]]), np.array([0]), np.ones(1), ("rock",))
    task: dict[str, Any] = {"camera": camera.model_dump(mode="json"), "seed": 1, "name": "a.png"}
    judge = referee.Referee()

    def judged(**found):
        fields = {name: record.fields for name, record in found.items()}
        maps = [record.picture for record in found.values() if record.picture is not None]
        return judge.answer({**task, "found": fields}, maps)

    told, maps = judged(segmentation=made[0], depth=made[2], detection=findings.write(boxes))
    assert told["scores"]["miou"] == 1.0 and told["scores"]["delta1"] > 0.99
    assert told["kinds"] == ["truth_segmentation", "truth_depth"]
    assert [png.size(data) for data in maps] == [(48, 64)] * 2 and maps[0] == made[0].picture
    assert told["boxes"] == [[10.0, 30.0, 30.0, 44.0, "rock", 1.0]] and told["scores"]["map50_95"] == 1.0
    worse, _ = judged(segmentation=made[1])
    assert 0.0 < worse["scores"]["miou"] < 0.95
    task["name"] = "nowhere#1"
    assert judged(segmentation=made[0]) == ({"scores": {}, "boxes": None, "kinds": []}, [])
    task["camera"] = {**task["camera"], "source": "testcard"}
    assert judged(segmentation=made[0])[1] == []


def test_what_is_true_reaches_the_page_and_its_curve(path):
    room = shown(path)
    frame = next(one for one in room.frames.ring.values() if one.drawn_ns is not None)
    before = room.version
    told = {"scores": {"miou": 0.5}, "boxes": [[1, 2, 3, 4, "rock", 1.0]], "kinds": ["truth_segmentation"]}
    room.tell_truth(frame.number, told, [png.encode(Camera16.pixels(1))], 1.0)
    new, _ = messages.tick(room, before, 1.0)
    assert new["frames"][0]["scores"]["miou"] == 0.5 and new["frames"][0]["true_boxes"] == told["boxes"]
    assert new["curves"]["miou"]["points"] == [[pytest.approx(frame.drawn_ns / NS, abs=1e-6), 0.5]]
    assert [one["kind"] for one in new["pictures"]] == ["truth_segmentation"]
    room.tell_truth(10**6, told, [b""], 1.0)  # of a frame that is not kept
    assert not messages.tick(room, before + 1, 1.0)[0].get("frames")


def test_who_comes_late_is_shown_the_newest_frame_even_where_an_older_one_was_drawn_last(path):
    room = shown(path)
    drawn = [frame.number for frame in room.frames.ring.values() if frame.drawn_ns is not None]
    assert len(drawn) > 2
    room._drawn("received", drawn[0], png.encode(Camera16.pixels(1)), 1.0)  # its repair came late
    first = {picture.kind: picture.frame for picture in messages.pictures_since(room, -1)}
    assert first["received"] == first["sent"] == drawn[-1]
    room.version += 1
    room._drawn("received", drawn[0], png.encode(Camera16.pixels(1)), 1.0)
    assert {picture.frame for picture in messages.pictures_since(room, room.version - 1)} == {drawn[0]}


# Keeping up.


class Receiver:
    """Draws pictures in *fixed_s* and *step_s* a step, in periods of `period_s`; the rule says how many steps."""

    def __init__(self, fixed_s: float, step_s: float) -> None:
        self.fixed_s, self.step_s, self.period_s, self.steps, self.now_s = fixed_s, step_s, 1.0, 8, 0.0
        self.rule = keep_up.StepRule(8)
        self.course = [8]

    def draw(self, count: int) -> list[int]:
        """Draw *count* pictures; return how the number of steps went."""
        self.course = [self.steps]
        for _ in range(count):
            took_s = self.fixed_s + self.step_s * self.steps
            asked = self.rule.take(int(self.now_s * NS), took_s / self.period_s)
            self.now_s += max(self.period_s, took_s)
            if asked is not None:
                self.steps = asked
                self.rule.set(asked, int(self.now_s * NS), by=keep_up.BY)
                self.course.append(asked)
        return self.course


def test_steps_are_lowered_until_drawing_fits_and_raised_when_there_is_room():
    slow = Receiver(0.3, 0.1)
    assert slow.draw(40) == [8, 4]  # 1.1 s, then 0.7 s of a second: it stays there
    slow.period_s = 0.45
    assert slow.draw(40) == [4, 2, 1] and slow.draw(40) == [
        1
    ]  # 0.4 s is still over 80 %, and one step is the least
    slow.period_s = 5.0
    assert slow.draw(40) == [1, 2, 4, 8] and slow.draw(40) == [8]  # never over what it began with
    for fixed_s in np.linspace(0.0, 1.2, 13):
        for step_s in np.linspace(0.01, 0.3, 13):
            course = Receiver(fixed_s, step_s).draw(200)
            assert course == sorted(course, reverse=True), (
                "what was lowered must not be raised and lowered again"
            )


def test_what_a_person_sets_is_what_keeping_up_goes_back_to():
    quick = Receiver(0.0, 0.01)
    quick.steps = 2
    quick.rule.set(2, 0, by="viewer 1")
    assert quick.draw(40) == [2]
    quick.steps = 12
    quick.rule.set(12, int(quick.now_s * NS), by="story")
    assert quick.draw(10) == [12]
    quick.step_s = 0.11
    assert quick.draw(20) == [12, 8, 4]  # to the powers of two
    quick.step_s = 0.001
    assert quick.draw(40) == [4, 8, 12]


def test_the_server_lowers_steps_and_a_viewer_has_the_last_word():
    class Slow(FakeSession):
        keeps_up = True

        def __init__(self) -> None:
            super().__init__()
            self.session = Session.model_validate(
                {
                    "name": "toy", "live": True, "camera": {"width": 256, "height": 192, "period_s": 1.0},
                    "codec": {"name": "gsc", "steps": 8}, "link": LINKS["one way"],
                }
            )  # fmt: skip
            self.head = {"scenario": self.session.model_dump(mode="json", by_alias=True)}
            self.frame = 0

        async def draw(self, count: int, took_s: float) -> None:
            """Tell of *count* pictures that took *took_s*, and let what follows happen."""
            for _ in range(count):
                self.now_ns += NS
                begun = self.now_ns
                about = {"drawn_ns": begun + int(took_s * NS), "complete": True}
                self.frame += 1
                await self.queue.put(
                    News(self.now_ns, 1.0, False, None, [Event("decoded", begun, self.frame, about)])
                )
                while not self.queue.empty():
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)

    async def go() -> None:
        source = Slow()
        async with serving(source) as there, there.page() as page:
            stated = {one["path"]: one for one in page.state["controls"]}
            assert stated["keep_up"]["value"] is True and stated["keep_up"]["kind"] == "switch"
            await source.draw(3, 0.9)
            assert source.changes == [{"codec.steps": 4}]
            assert await page.ask({"do": "change", "paths": {"keep_up": False}, "id": 1}) is None
            await source.draw(4, 0.9)
            assert len(source.changes) == 1
            assert "neither on nor off" in str(
                await page.ask({"do": "change", "paths": {"keep_up": 3}, "id": 2})
            )
            assert await page.ask({"do": "change", "paths": {"keep_up": True}, "id": 3}) is None
            await source.draw(2, 0.9)
            assert source.changes[1:] == [{"codec.steps": 2}]
            source.now_ns += NS
            await source.queue.put(News(source.now_ns, 1.0, True, None))  # who stands still is not slow
            await source.draw(1, 5.0)
            assert len(source.changes) == 2

    asyncio.run(asyncio.wait_for(go(), 50.0))


def test_one_slow_picture_and_the_first_one_change_nothing():
    rule = keep_up.StepRule(8)
    assert [rule.take(0, share) for share in (9.0, 0.9, 0.5, 0.9, 0.5)] == [None] * 5
    assert rule.take(0, 0.9) is None and rule.take(0, 0.9) == 4
    rule.set(4, NS, by=keep_up.BY)
    assert [rule.take(NS - 1, 2.0) for _ in range(9)] == [None] * 9  # begun with the steps of before


# Controls.


def test_every_steered_field_has_a_control():
    models = (HopConfig, ReturnHop, Repair, Link, Codec, Camera, Session)
    steered = {
        f"{model.__name__}.{field.alias or name}"
        for model in models
        for name, field in model.model_fields.items()
        if steers(field) is not None
    }
    assert controls.fields() == steered


def test_controls_say_and_set_what_the_session_has():
    plan = toys.session(LINKS["lossy"], period_s=1.0).model_copy(update={"live": True})
    made = {one["path"]: one for one in controls.controls(plan, ["depth"])}
    assert made["link.hops.0.loss.loss"]["value"] == 0.2 and made["link.hops.1.loss.loss"]["value"] == 0.0
    assert made["link.return.delay_s"]["value"] == 4.5
    assert made["analysis.depth"]["value"] is False and "codec.steps" not in made
    assert all(one["min"] <= one["value"] <= one["max"] for one in made.values() if one["kind"] == "range")
    now = plan
    for asked in (
        {"link.hops.1.loss.loss": 0.5},
        {"link.hops.0.loss.loss": 0.1, "link.hops.0.jitter.scale_s": 0.3},
        {"link.hops.0.outage": "hold"},
        {"link.return.outage": "lose"},
    ):
        now, changed = lay(now, controls.wished(now, plan, asked))
        assert changed
        values = controls.control_values(now, ())
        assert {path: values[path] for path in asked} == asked
    now, _ = lay(
        now, controls.wished(now, plan, {"link.hops.0.outage": "up", "link.hops.0.jitter.scale_s": 0})
    )
    assert now.link.hops[0].outage is None and now.link.hops[0].jitter is None
    with pytest.raises(UsageError):
        lay(now, controls.wished(now, plan, {"codec.name": "webp"}))


def test_a_change_is_a_mark_and_a_value():
    room = Room(head(), local=True)
    room.take(News(NS, 1.0, False, None), 0.0)
    since = room.version
    paths = {"link.hops.0.loss.loss": [0.2, 0.4], "link.hops.1.rate_bps": [9000.0, 250.0]}
    room.take(
        News(2 * NS, 1.0, False, None, [Event("changed", 2 * NS, None, {"paths": paths, "by": "me"})]), 0.0
    )
    message, _ = messages.tick(room, since, 0.0)
    assert [mark["text"] for mark in message["marks"]] == [
        "loss of near 20 % → 40 %",
        "rate of far 9 kbit/s → 250 bit/s",
    ]
    assert message["values"] == {"link.hops.0.loss.loss": 0.4, "link.hops.1.rate_bps": 250.0}
    assert message["meter"]["rate_bps"] == 250.0 and message["meter"]["photo_s"] == 1920.0


def test_of_boxes_on_the_same_thing_the_surest_is_drawn_and_the_rest_is_counted():
    rock, inside, beside = [10, 10, 50, 50], [12, 12, 40, 40], [45, 10, 90, 50]
    fields = {
        "task": "detection", "model": "toy", "names": ["rock", "rover"],
        "boxes": [inside, rock, inside, beside, rock, [5, 5, 5, 9]],
        "kinds": [0, 0, 1, 0, 0, 0], "scores": [0.5, 0.9, 0.6, 0.4, 0.2, 0.35],
    }  # fmt: skip
    before = json.dumps(fields)
    told = frames.seen(fields, None)
    # Another class on the same thing is drawn, a neighbour that shares a ninth too, what is less sure than 0.3 not.
    assert told["boxes"] == [
        [*rock, "rock", 0.9], [*inside, "rover", 0.6], [*beside, "rock", 0.4], [5, 5, 5, 9, "rock", 0.35]
    ]  # fmt: skip
    assert told["left_out"] == 2 and told["words"] == ["rock", "rover"]
    assert json.dumps(fields) == before, "scores count every box"
    # The detector's own bound counts, and no more are drawn than a picture bears.
    assert [box[5] for box in frames.seen({**fields, "shown_from": 0.55}, None)["boxes"]] == [0.9, 0.6]
    apart = [[20 * at, 0, 20 * at + 10, 10] for at in range(100)]
    many = {**fields, "boxes": apart, "kinds": [0] * 100, "scores": np.linspace(0.3, 0.9, 100).tolist()}
    told = frames.seen(many, None)
    assert [box[0] for box in told["boxes"]] == [20 * at for at in range(99, 99 - boxes.MOST_BOXES, -1)]
    assert told["left_out"] == 100 - boxes.MOST_BOXES


def moving_session() -> dict:
    """A first record whose first hop gets farther, 10 to 30 s in 100 s, and whose second gets slower after 40 s."""
    radio = {
        "medium": "radio", "frequency_hz": 4e8, "power_w": 1.0, "transmit_gain_dbi": 0, "receive_gain_dbi": 0,
        "system_k": 500, "distance_at_km": [[0, 100], [80, 1000]], "modulation": "bpsk", "code": "conv-7-1/2",
        "wanted_error_rate": 1e-6, "rates_bps": [2000, 8000],
    }  # fmt: skip
    knots = [[0, 10 * NS], [100 * NS, 30 * NS]]
    link = {
        "hops": [
            {"name": "far", "rate_bps": 9000, "delay_s": 30.0, "delay_knots_ns": knots},
            {"name": "near", "rate_bps": 6000, "delay_s": 0.5, "budget": radio, "budget_steps": [[0, 8000, 0], [40, 2000, 0]]},
        ],
        "return": {"rate_bps": 100, "delay_s": 31.0, "delay_knots_ns": [[0, 11 * NS], [100 * NS, 31 * NS]]},
    }  # fmt: skip
    plan = toys.session(link).model_copy(update={"live": True})
    return {"scenario": plan.model_dump(mode="json", by_alias=True), "fingerprint": fingerprint(plan)}


def test_figures_that_change_by_themselves_are_told_as_they_are_now():
    """Not the longest of the run, which stands in the session; until a hand sets them, as the channel has it."""
    room = Room(moving_session(), local=True)
    state, _ = messages.state(room, mode="live", duration_ns=None, may_steer=True, wall_s=0.0)
    assert state["values"]["link.hops.0.delay_s"] == 10.0 and state["meter"]["rate_bps"] == 8000.0
    for at_s, delay_s, rate_bps in (
        (25, 15.0, 8000.0),
        (39.9, 17.98, 8000.0),
        (40, 18.0, 2000.0),
        (300, 30.0, 2000.0),
    ):
        since = room.version
        room.take(News(int(at_s * NS), 1.0, False, None), 0.0)
        message, _ = messages.tick(room, since, 0.0)
        assert message["values"]["link.hops.0.delay_s"] == delay_s
        assert message["values"]["link.return.delay_s"] == pytest.approx(delay_s + 1)
        assert message["meter"]["rate_bps"] == rate_bps
        late, _ = messages.state(room, mode="live", duration_ns=None, may_steer=True, wall_s=0.0)
        assert (
            late["values"]["link.hops.0.delay_s"] == delay_s
            and late["values"]["link.hops.1.rate_bps"] == rate_bps
        )
    since = room.version
    room.take(News(301 * NS, 1.0, False, None), 0.0)
    assert "values" not in messages.tick(room, since, 0.0)[0], "what does not move is not told again"
    event = Event("changed", 302 * NS, None, {"paths": {"link.hops.0.delay_s": [30.0, 5.0]}, "by": "me"})
    room.take(News(302 * NS, 1.0, False, None, [event]), 0.0)
    room.take(News(10 * NS, 1.0, False, None), 0.0)
    values = {path: value for path, (_, value) in room.values.items()}
    assert values["link.hops.0.delay_s"] == 5.0 and values["link.return.delay_s"] == 13.0


# The server.


class FakeSession(Source):
    """A session that a test tells of."""

    def __init__(self) -> None:
        self.head = head()
        self.queue: asyncio.Queue[News | None] = asyncio.Queue()
        self.changes: list[dict] = []
        self.paces: list = []
        self.opened: list = []
        self.session = Session.model_validate(self.head["scenario"])
        self.now_ns = 0

    async def news(self) -> AsyncIterator[News]:
        yield News(0, 1.0, False, None, fresh=True)
        while (news := await self.queue.get()) is not None:
            yield news

    async def change(self, paths, by):
        try:
            self.session, values = lay(self.session, paths)
        except UsageError as error:
            return str(error)
        self.changes.append(dict(paths))
        self.now_ns += NS // 100
        event = Event("changed", self.now_ns, None, {"paths": values, "by": by})
        await self.queue.put(News(self.now_ns, 1.0, False, None, [event]))
        return None

    async def mark(self, text, by):
        event = Event("marked", self.now_ns, None, {"text": text, "by": by})
        await self.queue.put(News(self.now_ns, 1.0, False, None, [event]))
        return None

    async def pace(self, turn, factor):
        self.paces.append((turn, factor))
        return None

    async def open(self, what, name):
        self.opened.append((what, name))
        return "not in the list"


class Page:
    """A viewer's side of the websocket."""

    def __init__(self, channel: aiohttp.ClientWebSocketResponse) -> None:
        self.channel = channel
        self.reader = Reader()
        self.state: dict = {}
        self.values: dict = {}

    async def next(self, kind: str | None = None, *, acks: bool = True) -> dict:
        while True:
            got = await self.channel.receive(10.0)
            assert got.type is aiohttp.WSMsgType.BINARY, got
            message, blobs = messages.unpack(got.data)
            message["blobs"] = blobs
            if message["type"] in ("state", "tick"):
                if message["type"] == "state":
                    self.state = message
                    self.values = {one["path"]: one["value"] for one in message["controls"]}
                self.values.update(message.get("values", {}))
                if acks:
                    await self.say({"do": "ack", "seq": message["seq"]})
            if kind in (None, message["type"]):
                return message

    async def say(self, wish) -> None:
        await self.channel.send_str(wish if isinstance(wish, str) else json.dumps(wish))

    async def ask(self, wish) -> str | None:
        await self.say(wish)
        return (await self.next("echo"))["refused"]


class Served:
    def __init__(self, server: LiveServer, client: aiohttp.ClientSession, port: int) -> None:
        self.server, self.client, self.port = server, client, port
        self.base = f"http://127.0.0.1:{port}"

    def headers(self, role: str = "steer", **more: str) -> dict:
        own = {"Origin": self.base, "Cookie": f"{self.server.gate.cookie}={self.server.gate.tokens[role]}"}
        return {name: value for name, value in {**own, **more}.items() if value}

    @contextlib.asynccontextmanager
    async def page(self, role: str = "steer"):
        async with self.client.ws_connect(f"{self.base}/live", headers=self.headers(role)) as channel:
            page = Page(channel)
            await page.next("state")
            yield page


@contextlib.asynccontextmanager
async def serving(source: Source, **settings):
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = LiveServer(source, gate.Gate("127.0.0.1", port, False, **settings), local=True)
    async with (
        running(server, listener),
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):
        yield Served(server, client, port)


def served(test):
    """Run *test* with a served session that it tells of."""

    async def go() -> None:
        source = FakeSession()
        async with serving(source) as there:
            await test(source, there)

    asyncio.run(asyncio.wait_for(go(), 50.0))


def test_a_token_becomes_a_cookie_and_nothing_is_served_without():
    async def test(source, there) -> None:
        steer = there.server.gate.tokens["steer"]
        for address in (
            "/",
            "/live",
            "/static/index.html",
            "/?token=",
            "/?token=wrong",
            f"/static/x?token={steer}",
        ):
            async with there.client.get(there.base + address, headers={"Origin": there.base}) as got:
                assert got.status == 401
        for cookie in ("x", steer[:-1], steer + "x"):
            headers = {"Cookie": f"{there.server.gate.cookie}={cookie}"}
            async with there.client.get(there.base, headers=headers) as got:
                assert got.status == 401
        async with there.client.get(f"{there.base}/?token={steer}") as got:
            assert got.status == 200 and got.headers["Refresh"] == "0; url=/"
            cookie = got.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
        headers = {"Cookie": cookie.partition(";")[0]}
        async with there.client.get(there.base, headers=headers) as got:
            assert got.status == 200 and got.content_type == "text/html"
            assert "<title>" in await got.text()

    served(test)


def test_every_answer_has_the_headers_that_keep_others_out():
    async def test(source, there) -> None:
        for address, status in (
            ("/", 200),
            ("/favicon.ico", 204),
            ("/static/nothing", 404),
            ("/nothing", 404),
            ("/?token=x", 401),
        ):
            async with there.client.get(there.base + address, headers=there.headers()) as got:
                assert got.status == status
                for name, value in gate.HEADERS.items():
                    assert got.headers[name] == value
        async with there.client.post(there.base, headers=there.headers()) as got:
            assert got.status == 405 and got.headers["X-Content-Type-Options"] == "nosniff"
        async with there.client.ws_connect(f"{there.base}/live", headers=there.headers()) as channel:
            assert channel._response.headers["Cache-Control"] == "no-store"

    served(test)
    for part in ("default-src 'none'", "script-src 'self'", "img-src 'self' blob:", "frame-ancestors 'none'"):
        assert part in gate.CSP
    assert "unsafe" not in gate.CSP and "*" not in gate.CSP


def test_other_origins_and_hosts_are_turned_away():
    async def test(source, there) -> None:
        origins = (
            "http://evil.example",
            "null",
            "http://127.0.0.1:1",
            "https://127.0.0.1:" + str(there.port),
            "",
        )
        for origin in origins:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with there.client.ws_connect(
                    f"{there.base}/live", headers=there.headers(Origin=origin)
                ):
                    pass
            assert refused.value.status == 403
        for host in (
            "evil.example",
            f"evil.example:{there.port}",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "[::2]:80",
        ):
            for address in (
                "/",
                "/live",
                "/static/index.html",
                "/?token=" + there.server.gate.tokens["steer"],
            ):
                async with there.client.get(there.base + address, headers=there.headers(Host=host)) as got:
                    assert got.status == 421, (host, address)
        host = f"localhost:{there.port}"
        own = there.headers(Host=host, Origin=f"http://{host}")
        async with there.client.ws_connect(f"{there.base}/live", headers=own) as channel:
            assert (await Page(channel).next())["type"] == "state"

    served(test)


def raw(port: int, request: bytes) -> bytes:
    """Send *request* as it stands and return the answer's first line."""
    with socket.create_connection(("127.0.0.1", port), 5.0) as channel:
        channel.sendall(request)
        return channel.recv(4096).partition(b"\r\n")[0]


def test_no_path_leads_out_of_the_table():
    async def test(source, there) -> None:
        cookie = there.headers()["Cookie"]
        paths = (
            "/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/server.py", "/static//etc/passwd",
            "/static/%2fetc%2fpasswd", "/static/....//server.py", "/static/%252e%252e%252fserver.py",
            "/static/index.html%00.js", "/static/..\\server.py", "/static/..%5cserver.py", "/static/", "/static",
            "/static/.", "/static/INDEX.HTML",
        )  # fmt: skip
        for address in paths:
            request = f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1:{there.port}\r\nCookie: {cookie}\r\n\r\n"
            line = await asyncio.to_thread(raw, there.port, request.encode())
            assert line.split()[1] == b"404", (address, line)
        for name in there.server._static:
            async with there.client.get(f"{there.base}/static/{name}", headers=there.headers()) as got:
                assert got.status == 200

    served(test)


NO_WISHES = (
    "[]", "null", "NaN", "1", '"x"', "", "{", "{}", '{"do":null}', '{"do":"ack"}', '{"do":"ack","seq":-1}',
    '{"do":"ack","seq":true}', '{"do":"ack","seq":1e400}', '{"do":"pace","factor":NaN}', '{"do":"pace","factor":1e400}',
    '{"do":"pace","factor":-Infinity}', '{"do":"pace","turn":"sideways"}', '{"do":"change","paths":{}}',
    '{"do":"change","paths":[1]}', '{"do":"change","paths":{"a":[1]}}', '{"do":"change","paths":{"a":{"b":1}}}',
    '{"do":"change","paths":{"a":1e400}}', '{"do":"change","paths":{"a":' + "9" * 400 + "}}",
    "[" * 4000, '{"a":' * 600, '{"do":"change","paths":{"a":' + "[" * 3000 + "}}", '{"do":"seek","ns":1.5}',
    '{"do":"seek","ns":"1"}', '{"do":"open","what":"file","name":"/etc/passwd"}', '{"do":"fetch","id":5}',
    '{"do":"mark","text":"' + "x" * 81 + '"}', '{"do":"mark","text":"x","more":1}', '{"do":"\\ud800"}', "\x00",
)  # fmt: skip


def test_what_is_no_command_is_refused_and_the_connection_lives():
    async def test(source, there) -> None:
        async with there.page() as page:
            for text in NO_WISHES:
                refused = await page.ask(text)
                assert refused and len(refused) < 300 and "\n" not in refused, text[:40]
            for blob in (b"", b"\0", b'{"do":"pace"}', bytes(range(256))):
                await page.channel.send_bytes(blob)
                assert "text was expected" in (await page.next("echo"))["refused"]
            assert source.changes == source.paces == source.opened == []
            assert await page.ask({"do": "pace", "turn": "pause", "id": 1}) is None
            assert source.paces == [("pause", None)]

    served(test)


@pytest.mark.parametrize("text", NO_WISHES)
def test_no_wish_is_read_as_one(text):
    with pytest.raises(ValueError):
        wishes.read(text)


def test_large_messages_end_the_connection_and_cost_nothing():
    async def test(source, there) -> None:
        async with there.page() as page:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with contextlib.suppress(ConnectionError):
                await page.channel.send_str("x" * 10_000_000)
            while (got := await page.channel.receive(5.0)).type is aiohttp.WSMsgType.BINARY:
                pass
            assert got.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
            assert page.channel.close_code in (1009, 1006)
        sent = await asyncio.to_thread(announce, there, 1 << 30)
        assert sent < 4_000_000
        assert (
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000
        )  # this process sends it as well
        async with there.page() as page:
            assert await page.ask({"do": "pace", "turn": "pause"}) is None

    served(test)


def shake_hands(there, port_socket: socket.socket, role: str = "steer") -> None:
    """Open a websocket by hand."""
    headers = {**there.headers(role), "Host": f"127.0.0.1:{there.port}"}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    lines += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
    port_socket.sendall(("GET /live HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode())


def announce(there, size: int) -> int:
    """Announce a message of *size* bytes and send it until cut off; return how much went out."""
    with socket.create_connection(("127.0.0.1", there.port), 5.0) as channel:
        shake_hands(there, channel)
        channel.recv(4096)
        channel.sendall(bytes([0x81, 0xFF]) + size.to_bytes(8, "big") + b"\0\0\0\0")
        sent = 0
        try:
            while sent < 64_000_000:
                sent += channel.send(b"x" * 65_536)
        except OSError:
            pass
        return sent


def test_fifty_viewers_who_never_read_cost_little_and_the_next_is_turned_away():
    async def test(source, there) -> None:
        rng = np.random.default_rng(1)
        channels = []
        async with there.page() as page:
            for _ in range(MOST_VIEWERS - 1):
                channel = socket.create_connection(("127.0.0.1", there.port), 5.0)
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                shake_hands(there, channel, "watch")
                channels.append(channel)
            while len(there.server.viewers) < MOST_VIEWERS:
                await asyncio.sleep(0.02)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with there.client.ws_connect(f"{there.base}/live", headers=there.headers()):
                    pass
            assert refused.value.status == 503
            data = png.encode(rng.integers(0, 255, (192, 256, 3), np.uint8))

            async def go_on(first: int, last: int) -> None:
                for frame in range(first, last):
                    at = frame * NS
                    await source.queue.put(
                        News(at, 1.0, False, None, [Event("captured", at, frame, {"name": "x"}, data)])
                    )
                    await page.next("tick")

            await go_on(0, 5)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            await go_on(5, 45)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 20_000, "40 pictures of 150 kB for 49 viewers would be 290 MB"
            assert all(viewer.unacknowledged <= 2 for viewer in there.server.viewers)
        for channel in channels:
            channel.close()
        while there.server.viewers:
            await asyncio.sleep(0.02)
        async with there.page() as page:
            assert page.state["frames"][-1]["frame"] == 44

    served(test)


def test_a_page_that_never_acknowledges_gets_two_messages_and_is_let_go(monkeypatch):
    from scenarios.live import showing

    async def test(source, there) -> None:
        async with there.client.ws_connect(f"{there.base}/live", headers=there.headers()) as channel:
            page = Page(channel)
            await page.next("state", acks=False)
            await page.next("tick", acks=False)
            for turn in range(10):
                await source.queue.put(rows_news(100 * turn, 100, turn * NS))
            with pytest.raises(asyncio.TimeoutError):
                await channel.receive(0.6)
            monkeypatch.setattr(showing, "SILENT_S", 0.5)
            assert (await channel.receive(3.0)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
            assert not there.server.viewers

    served(test)


def test_a_flood_of_changes_is_twenty_a_second_and_the_newest_wins():
    async def test(source, there) -> None:
        async with there.page() as page:
            started = time.monotonic()
            for number in range(400):
                path = f"link.hops.{number % 2}.rate_bps"
                await page.say({"do": "change", "paths": {path: 1000 + number}, "id": number})
            echoes: dict = {}
            while len(echoes) < 40 and 399 not in echoes:
                echo = await page.next("echo")
                echoes[echo["id"]] = echo["refused"]
            while page.values["link.hops.1.rate_bps"] != 1399 or page.values["link.hops.0.rate_bps"] != 1398:
                await page.next("tick")
            took = time.monotonic() - started
            assert len(source.changes) <= 20 * took + 2
            assert set(echoes.values()) == {None}
            many = [page.say({"do": "pace", "factor": 1.0 + n, "id": 1000 + n}) for n in range(60)]
            await asyncio.gather(*many)
            refused = [(await page.next("echo"))["refused"] for _ in range(60)]
            assert sum(one is None for one in refused) <= 30
            assert any(one and "20 commands a second" in one for one in refused)

    served(test)


def test_a_change_is_echoed_to_all_and_refused_in_the_rules_own_words():
    async def test(source, there) -> None:
        async with there.page() as one, there.page("watch") as other:
            assert one.state["may_steer"] and not other.state["may_steer"]
            assert await one.ask({"do": "change", "paths": {"link.hops.0.rate_bps": 250}, "id": 1}) is None
            while other.values["link.hops.0.rate_bps"] != 250:
                await other.next("tick")
            refused = await one.ask({"do": "change", "paths": {"link.hops.0.rate_bps": 0}, "id": 2})
            assert refused == "link.hops.0.rate_bps: input should be greater than or equal to 0.001, not '0'"
            assert "cannot be changed" in await one.ask(
                {"do": "change", "paths": {"codec.name": "webp"}, "id": 3}
            )
            assert "no such" in await one.ask({"do": "change", "paths": {"link.hops.0.rate_bps.x": 1}})
            for forged in (
                {"do": "change", "paths": {"link.hops.0.rate_bps": 9}, "id": 4},
                {"do": "pace", "turn": "pause", "id": 5},
                {"do": "open", "what": "preset", "name": "lunar-relay", "id": 6},
                {"do": "mark", "text": "x", "id": 7},
                {"do": "seek", "ns": 0, "id": 8},
            ):
                assert "for watching" in await other.ask(forged)
            assert (
                source.changes == [{"link.hops.0.rate_bps": 250}] and not source.paces and not source.opened
            )
            assert (
                await one.ask({"do": "open", "what": "preset", "name": "../../etc", "id": 9})
                == "not in the list"
            )
            assert await one.ask({"do": "mark", "text": "here \u202e<b>", "id": 10}) is None
            while not (marks := (await other.next("tick")).get("marks")):
                pass
            assert marks[-1]["text"] == "here \\u202e<b>"

    served(test)


def test_nobody_steers_where_nobody_may():
    async def go() -> None:
        source = FakeSession()
        async with serving(source, watch_only=True) as there, there.page("steer") as page:
            assert not page.state["may_steer"]
            assert "for watching" in await page.ask({"do": "pace", "turn": "pause"})

    asyncio.run(asyncio.wait_for(go(), 20.0))


def test_a_late_viewer_is_told_what_an_early_one_knows():
    async def test(source, there) -> None:
        data = png.encode(Camera16.pixels(1))
        async with there.page() as early:
            known = Reader()
            known.known = {"frames": {}, "curves": {}}
            for frame in range(8):
                at = frame * NS
                events = [
                    Event("captured", at, frame, {"name": f"shot \x1b[31m <img> {frame}"}, data),
                    Event("encoded", at, frame, {"sections": [9], "packets": 1}),
                    Event("decoded", at, frame, {"complete": True, "drawn_ns": at}, data),
                ]
                await source.queue.put(News(at, 1.0, False, None, events))
            assert await early.ask({"do": "change", "paths": {"link.hops.0.loss.loss": 0.3}, "id": 1}) is None
            frames: dict = {frame["frame"]: frame for frame in early.state.get("frames", ())}
            curves: dict = {name: curve["points"] for name, curve in early.state.get("curves", {}).items()}
            while len(frames) < 8 or early.values["link.hops.0.loss.loss"] != 0.3:
                tick = await early.next("tick")
                frames |= {frame["frame"]: frame for frame in tick.get("frames", ())}
                for name, curve in tick.get("curves", {}).items():
                    curves.setdefault(name, []).extend(curve["points"])
            async with there.page("watch") as late:
                assert {frame["frame"]: frame for frame in late.state["frames"]} == frames
                assert {name: curve["points"] for name, curve in late.state["curves"].items()} == curves
                assert late.values == early.values
                assert {"sent-7", "received-7"} <= {one["id"] for one in late.state["pictures"]}
                assert frames[0]["name"] == "shot \\x1b[31m <img> 0"
                await late.say({"do": "fetch", "id": "sent-2"})
                while not (found := (await late.next("tick")).get("pictures")):
                    pass
                assert [(one["id"], one["lossless"]) for one in found] == [("sent-2", True)]

    served(test)


def test_the_end_of_a_session_is_said():
    async def test(source, there) -> None:
        async with there.page() as page:
            await source.queue.put(News(5 * NS, 1.0, False, None, done=True, lost="the sender was killed"))
            while not (clock := (await page.next("tick"))["clock"])["done"]:
                pass
            assert clock["lost"] == "the sender was killed"

    served(test)


def test_a_replay_is_served_from_end_to_end(path):
    async def go() -> None:
        replay = Replay(path, asyncio.get_running_loop().time, 5.0)
        async with serving(replay) as there, there.page() as page:
            assert page.state["mode"] == "replay" and page.state["duration_ns"] == replay.duration_ns
            assert await page.ask({"do": "seek", "ns": replay.length_ns, "id": 1}) is None
            while not page.reader.known or not page.reader.known["clock"]["done"]:
                message = await page.next()
                if message["type"] in ("state", "tick"):
                    page.reader.known["clock"] = message["clock"]
                    totals = message["totals"]
            assert totals == (await asyncio.to_thread(lambda: plain(shown(path))))["totals"]
            assert await page.ask({"do": "seek", "ns": 0, "id": 2}) is None
            again = await page.next("state")
            assert again["clock"]["run_ns"] < replay.length_ns
            assert "cannot be changed" in await page.ask(
                {"do": "change", "paths": {"link.hops.0.rate_bps": 9}}
            )

    asyncio.run(asyncio.wait_for(go(), 30.0))


HEAVY = (
    "torch", "av", "scipy", "matplotlib", "pandas", "transformers", "duckdb", "cv2", "jinja2", "compressai",
    "sender.codecs.classical", "receiver.receiver", "simpy",
)  # fmt: skip


def loaded(program: str) -> str:
    """Return which of `HEAVY`, and of protobuf, a process has that ran *program*."""
    watched = (*HEAVY, "google.protobuf")
    told = f"import sys\nprint([name for name in {watched} if name in sys.modules])\n"
    done = subprocess.run(
        [sys.executable, "-c", program + told], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_a_replay_loads_only_what_it_serves_with(path):
    assert loaded(f"""
import asyncio
from pathlib import Path
import scenarios.cli, scenarios.commands.live
from scenarios.live import gate, messages
from scenarios.live.recording import Recording
from scenarios.live.replay import Replay
from scenarios.live.listener import listen
from scenarios.live.server import LiveServer, running

async def go():
    replay = Replay(Path({str(path)!r}), asyncio.get_running_loop().time, 1e6)
    server = LiveServer(replay, gate.Gate("127.0.0.1", 1, False), local=True)
    async with running(server, listen("127.0.0.1", 0)):
        while not server.room.news.done:
            await asyncio.sleep(0.05)
        messages.pack(*server.shared.state(True))

asyncio.run(go())
""") in ("['google.protobuf']", "['simpy', 'google.protobuf']")


def test_a_live_page_loads_only_what_it_serves_with():
    """With protobuf, FFmpeg's libraries and a rival's encoders it would take 70 MB more."""
    assert (
        loaded("""
import scenarios.cli, scenarios.commands.live, scenarios.live.own, scenarios.live.server
from scenarios import run as runs
from scenarios.live.room import Room
from scenarios.live.start import prepare
from scenarios.live.stories import plan_of, read_story

plan = prepare(plan_of(read_story("mars")))  # what a session of its own takes before it begins
runs.check_source(plan)
Room(runs.head(plan), local=True)
""")
        == "[]"
    )


def test_beyond_loopback_takes_tls(tmp_path):
    runner = CliRunner()
    for host in ("0.0.0.0", "192.0.2.7", "[::]"):
        with pytest.raises(UsageError, match=r"--tls CERT KEY.*ssh -L 9000:127\.0\.0\.1:9000"):
            gate.check_bind(*gate.parse_address(f"{host}:9000"), tls=False)
        gate.check_bind(*gate.parse_address(f"{host}:9000"), tls=True)
    for host in ("127.0.0.1", "localhost", "[::1]"):
        gate.check_bind(*gate.parse_address(f"{host}:9000"), tls=False)
    for wrong in ("8765", "host:", ":80", "host:x", "host:70000"):
        with pytest.raises(UsageError):
            gate.parse_address(wrong)
    got = runner.invoke(app, ["live", "x.mcap", "--bind", "0.0.0.0:1"])
    assert got.exit_code == 2 and "ssh -L" in got.output
    far = gate.Gate("0.0.0.0", 9000, True)
    assert far.knows_host("192.0.2.7:9000") and not far.knows_host("evil.example:9000")
    assert far.knows_origin("https://192.0.2.7:9000", "192.0.2.7:9000")
    assert not far.knows_origin("http://192.0.2.7:9000", "192.0.2.7:9000")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_tls_serves_beyond_loopback_and_its_cookie_is_secure(path, tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        *name,
    ]
    subprocess.run(
        [*make, "-keyout", key, "-out", certificate, "-days", "2"], check=True, capture_output=True
    )
    with pytest.raises(UsageError, match="--tls"):
        tls_context(str(tmp_path / "none.pem"), str(key))

    async def go() -> None:
        listener = listen("0.0.0.0", 0)
        port = listener.getsockname()[1]
        own = gate.Gate("0.0.0.0", port, True)
        server = LiveServer(Replay(path, asyncio.get_running_loop().time), own, local=False)
        trusted = ssl.create_default_context(cafile=str(certificate))
        base = f"https://127.0.0.1:{port}"
        async with (
            running(server, listener, tls_context(str(certificate), str(key))),
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=trusted), cookie_jar=aiohttp.DummyCookieJar()
            ) as client,
        ):
            async with client.get(f"{base}/?token={own.tokens['steer']}") as got:
                cookie = got.headers["Set-Cookie"]
                assert got.status == 200 and "Secure" in cookie
            headers = {"Cookie": cookie.partition(";")[0], "Origin": base}
            async with client.ws_connect(f"{base}/live", headers=headers) as channel:
                assert (await Page(channel).next())["type"] == "state"
            async with client.get(base, headers={**headers, "Host": "evil.example"}) as got:
                assert got.status == 421
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await client.ws_connect(
                    f"{base}/live", headers={**headers, "Origin": base.replace("https", "http")}
                )

    asyncio.run(asyncio.wait_for(go(), 20.0))


def test_a_journal_is_replayed_by_the_command(path):
    """The links are printed, the page answers, Ctrl-C ends it."""
    command = [sys.executable, "-c", "from scenarios.cli import main; main()", "live", str(path)]
    options = ["--bind", "127.0.0.1:0", "--no-open", "--json"]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            lines = []
            while not lines or lines[-1].rstrip() != "}":
                line = child.stdout.readline()
                assert line, child.stderr.read()
                lines.append(line)
            links = json.loads("".join(lines))["links"]
            assert links.keys() == {"steer", "watch"}

            async def visit() -> int:
                async with aiohttp.ClientSession() as client, client.get(links["watch"]) as got:
                    return got.status

            assert asyncio.run(visit()) == 200
        finally:
            child.send_signal(2)
            child.wait(10)
    for more in (["--set", "seed=2"], ["--source", "testcard"]):
        got = CliRunner().invoke(app, ["live", str(path), *more])
        assert got.exit_code == 2 and "replayed as it is" in got.output
