"""A journal's room at any time, what it costs, and viewers who wind a replay each for oneself."""

import asyncio
import io
import tracemalloc

import numpy as np
import pytest
import toys
from PIL import Image
from test_live_server import NS, NoisyDecoder, plain, serving, told
from test_sections import Encoder

from link import journal, png, records, timing
from link.bitstream import latent
from link.codecs import gsc
from link.conductor import Conductor
from link.config import Session
from link.errors import UsageError
from link.events import Event
from link.fingerprint import fingerprint
from receiver.receiver import Receiver
from scenarios import schema
from scenarios.live import frames, recording, showing, winding
from scenarios.live.recording import Recording
from scenarios.live.replay import Replay
from scenarios.live.winding import Winder
from sender.sender import Sender

FRAMES = 14


def depth_map(values):
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    return out.getvalue()


class Looker:
    """Finds classes, depths and boxes in every picture that is drawn."""

    def look(self, pixels):
        size, seed = (48, 64), int(pixels.sum()) % 1000
        rng = np.random.default_rng(seed)
        names = ["rock", "sand", "sky"]
        about = {"model": "toy", "stamp": "1"}
        labels = rng.integers(0, 3, size).astype(np.uint8)
        yield "found", {**about, "task": "segmentation", "names": names}, png.encode(labels)
        depths = rng.integers(1, 60000, size).astype(np.uint16)
        yield "found", {**about, "task": "depth", "scale": 0.001, "metric": True}, depth_map(depths)
        boxes = {"names": names, "boxes": [[1.0, 2.0, 30.0, 40.0]], "kinds": [seed % 3], "scores": [0.9]}
        yield "found", {**about, "task": "detection", **boxes}, None


@pytest.fixture(scope="module", params=["compact", "bp"])
def rich(tmp_path_factory, request):
    """A journal with captions, channels, losses, repairs, findings and a change."""
    patch = pytest.MonkeyPatch()
    patch.setattr(gsc, "load_tables", lambda folder, channels: latent.LatentTables.generic(channels))
    hop = {"name": "air", "rate_bps": 4000, "delay_s": 9.0, "loss": {"model": "bernoulli", "loss": 0.2}}
    plan = Session.model_validate(
        {
            "name": "toy",
            "camera": {"width": 64, "height": 48, "period_s": 5.0},
            "codec": {"name": "gsc", "caption": "vlm", "frame_bytes": 2000},
            "analysis": ["segmentation", "depth", "detection"],
            "link": {
                "framing": request.param, "hops": [hop], "mtu_bytes": {"compact": 100, "bp": 150}[request.param],
                "return": {"rate_bps": 500},
                "repair": {"arq": True, "arq_rounds": 1, "show_early": True},
            },
        }
    )  # fmt: skip
    path = tmp_path_factory.mktemp("rich") / "run.mcap"
    waits, own = timing.times(plan, schema.traces(plan)), fingerprint(plan)
    shots = (shot for number in range(FRAMES) for shot in toys.shots(1))
    sender = Sender(plan, waits, shots, Encoder(plan.codec), own, toys.no_clock)
    receiver = Receiver(plan, waits, NoisyDecoder(), own, toys.no_clock, Looker())
    with journal.Journal(path, {"scenario": plan.model_dump(mode="json", by_alias=True), "seed": 1}) as book:
        Conductor(plan, schema.traces(plan), sender, receiver, book).run()
    yield path
    patch.undo()


@pytest.mark.parametrize("kept", [5, frames.KEPT])
def test_wound_to_any_time_a_room_is_as_if_it_had_been_played(rich, kept, monkeypatch):
    """Also where frames have left the ring, and where the scout has left copies of itself on its way."""
    for module in (frames, recording):
        monkeypatch.setattr(module, "KEPT", kept)
    monkeypatch.setattr(winding, "LEAST_ROWS", 100)
    monkeypatch.setattr(winding, "_BATCH_ROWS", 30)
    held = Recording(rich)
    winder = Winder(held, local=True)
    rng = np.random.default_rng(5)
    kinds = set()
    for until_ns in (*rng.integers(0, held.length_ns, 12).tolist(), held.length_ns, 0):
        live, room = told(held, until_ns), winder.room_at(until_ns)
        assert plain(room) == plain(live)
        for picture in live.pictures._held.values():
            if picture.frame in live.frames.ring:
                lent = room.pictures.get(picture.name)
                assert lent is not None and lent.png == picture.png, picture.name
                kinds.add(picture.kind)
        # And it goes on as if it had: what is open is read when it is closed.
        further_ns = min(held.length_ns, until_ns + 20 * NS)
        for one in (live, room):
            one.take(held.between(until_ns, further_ns, pictures=True), 0.0)
        assert plain(room) == plain(live)
    assert kinds == {"sent", "received", "tiles", "segmentation", "depth"}
    assert len(winder._copies) > 3, "nobody began at a copy, so this test tells less than it says"
    assert len(winder._copies) <= winding.MOST_COPIES


def test_nothing_later_is_shown(rich):
    held = Recording(rich)
    room = Winder(held, local=True).room_at(held.length_ns // 3)
    newest = max(room.frames.ring)
    assert newest < FRAMES - 1
    assert room.pictures.get(f"sent-{newest}") is not None
    for name in (
        f"sent-{newest + 1}",
        f"received-{newest}",
        "received-",
        "sent-1e3",
        "../run-1",
        "detection-0",
    ):
        assert room.pictures.get(name) is None


PICTURE = (256, 256)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A journal of 24 MB: pictures of noise, which no compression makes smaller."""
    path = tmp_path_factory.mktemp("large") / "run.mcap"
    plan = toys.session({"hops": [{"name": "air", "rate_bps": 1e6}]}, period_s=1.0)
    rng = np.random.default_rng(1)
    with journal.Journal(path, {"scenario": plan.model_dump(mode="json", by_alias=True)}) as book:
        for number in range(60):
            at = number * NS
            noise = [png.encode(rng.integers(0, 255, (*PICTURE, 3), np.uint8)) for _ in range(2)]
            book.event(Event("captured", at, number, {"name": "noise"}, noise[0]))
            book.event(Event("decoded", at + 1, number, {"complete": True}, noise[1]))
            book.flush()
        book.event(Event("finished", 60 * NS))
    return path


def test_what_a_viewer_costs_is_bounded_whatever_the_journal_holds(large):
    """The recording keeps places and no pictures, a room what `Recording` says; a seek reads what it shows."""
    size = large.stat().st_size
    assert size > 20e6
    read = []
    tracemalloc.start()
    try:
        held = Recording(large)
        winder = Winder(held, local=True)
        opened, _ = tracemalloc.get_traced_memory()
        assert opened < 2_000_000
        rooms = [winder.room_at(number * 4 * NS + NS // 2) for number in range(showing.MOST_OWN)]
        for room in rooms:
            for number in room.frames.ring:
                assert room.pictures.get(f"received-{number}") is not None
            assert room.pictures.size_bytes <= 1_500_000 + 400_000
        used, _ = tracemalloc.get_traced_memory()
        assert used - opened < recording.CACHE_BYTES + 1_000_000 + showing.MOST_OWN * 6_000_000
    finally:
        tracemalloc.stop()
    unpack = records.unpack_at

    def counted(*args):
        chunk = unpack(*args)
        read.append(len(chunk))
        return chunk

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "unpack_at", counted)
        room = winder.room_at(50 * NS + NS // 2)
        assert len(room.frames.ring) == 51 and read == []
        for number in (3, 20, 50):
            assert room.pictures.get(f"received-{number}") is not None
        assert 0 < sum(read) < size / 10


def test_a_journal_that_was_altered_under_a_replay_ends_in_a_line(large, tmp_path):
    path = tmp_path / "run.mcap"
    path.write_bytes(large.read_bytes())
    held = Recording(path)
    with path.open("r+b") as file:
        file.seek(200_000)
        file.write(bytes(4_000_000))
    with pytest.raises(UsageError, match=r"altered|damaged|not a farlink journal"):
        Winder(held, local=True).room_at(20 * NS)


def follow(test):
    """Run *test* with a served replay of a journal."""

    async def go(path) -> None:
        replay = Replay(path, asyncio.get_running_loop().time, 1.0)
        async with serving(replay) as there:
            await test(replay, there)

    return lambda path: asyncio.run(asyncio.wait_for(go(path), 40.0))


async def clock(page, wanted=lambda clock: True):
    """Return the next clock that is as *wanted*."""
    while True:
        message = await page.next()
        if message["type"] in ("state", "tick") and wanted(message["clock"]):
            return message["clock"]


def test_each_viewer_winds_pauses_and_speeds_up_for_oneself(rich):
    @follow
    async def test(replay, there) -> None:
        async with there.page() as one, there.page("watch") as other, there.page() as still:
            at_ns = replay.length_ns // 2
            # Who may only watch may wind what nobody else sees.
            assert await other.ask({"do": "seek", "ns": at_ns, "id": 1}) is None
            state = await other.next("state")
            assert state["clock"]["run_ns"] >= at_ns and state["frames"]
            assert await one.ask({"do": "pace", "turn": "pause", "factor": None, "id": 2}) is None
            paused = await clock(one, lambda clock: clock["paused"])
            assert paused["run_ns"] < at_ns
            assert await one.ask({"do": "pace", "turn": None, "factor": 60.0, "id": 3}) is None
            assert await one.ask({"do": "pace", "turn": "picture", "factor": None, "id": 4}) is None
            stepped = await clock(one, lambda clock: clock["run_ns"] > paused["run_ns"])
            assert stepped["paused"] and stepped["factor"] == 60.0
            for page, least_ns, most_ns in ((still, 0, 9 * NS), (other, at_ns, at_ns + 9 * NS)):
                now = await clock(page)
                assert least_ns <= now["run_ns"] <= most_ns
                assert not now["paused"] and now["factor"] == 1.0
            assert "watching" in await other.ask({"do": "mark", "text": "here", "id": 5})
            assert "cannot be changed" in await one.ask(
                {"do": "change", "paths": {"codec.steps": 1}, "id": 6}
            )
            assert len(there.server.showings()) == 3
        while there.server.viewers:
            await asyncio.sleep(0.02)
        assert there.server.showings() == [there.server.shared]
        before = len(asyncio.all_tasks())
        # Who comes when nobody looks on sees it from the start.
        async with there.page() as late:
            assert (await clock(late))["run_ns"] < 5 * NS
        assert len(asyncio.all_tasks()) <= before + 3

    test(rich)


def test_as_many_wind_a_replay_as_there_are_rooms_and_others_look_on(rich, monkeypatch):
    from scenarios.live import server

    monkeypatch.setattr(server, "MOST_OWN", 2)

    @follow
    async def test(replay, there) -> None:
        seek = {"do": "seek", "ns": 30 * NS, "id": 1}
        async with there.page() as third:
            async with there.page() as first, there.page() as second:
                assert await first.ask(seek) is None and await second.ask(seek) is None
                refused = await third.ask(seek)
                assert refused.startswith("2 viewers wind this replay")
                assert (await clock(third))["run_ns"] < 9 * NS  # it goes on as before
                assert await second.ask(seek) is None  # who has a room keeps it
            while len(there.server.viewers) > 1:
                await asyncio.sleep(0.02)
            assert await third.ask(seek) is None
            assert (await third.next("state"))["clock"]["run_ns"] >= 30 * NS

    test(rich)


def test_a_seek_beyond_the_end_is_the_end_and_playing_on_begins_anew(rich):
    @follow
    async def test(replay, there) -> None:
        async with there.page() as page:
            assert await page.ask({"do": "seek", "ns": 10**15, "id": 1}) is None
            ended = await clock(page, lambda clock: clock["done"])
            assert ended["run_ns"] == replay.length_ns
            assert await page.ask({"do": "pace", "turn": "resume", "factor": None, "id": 2}) is None
            assert (await clock(page, lambda clock: not clock["done"]))["run_ns"] < replay.length_ns // 2

    test(rich)
