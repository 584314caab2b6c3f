"""A long session's journal in segments: bounded in size, nothing lost between them, each of them a journal."""

import asyncio
import json
from collections import deque

import numpy as np
import pytest
import toys
from mcap.reader import make_reader
from typer.testing import CliRunner

from link import journal, segments
from link.channel import NS
from link.conductor import ROLES, Conductor
from link.config import Session
from link.errors import UsageError
from link.events import Event
from link.live import LateEnd
from scenarios import schema
from scenarios.cli import app
from scenarios.commands.live import parse_size
from scenarios.live.replay import Replay
from scenarios.results.folder import is_journal
from scenarios.results.stored import open_run

LINK = {
    "hops": [
        {
            "name": "air", "rate_bps": 40000, "delay_s": 3.0, "loss": {"model": "bernoulli", "loss": 0.1},
            "duplicate_ratio": 0.1,
        }
    ],
    "mtu_bytes": 128,
    "return": {"rate_bps": 4000},
    "repair": {"arq": True},
}  # fmt: skip
FRAMES = 36


class NoisyDecoder(toys.ToyDecoder):
    """Pictures that no compression makes small."""

    def decode(self, payload):
        shown = super().decode(payload)
        return (
            None
            if shown is None
            else np.random.default_rng(len(self.payloads)).integers(0, 255, shown.shape, np.uint8)
        )


def play(folder, keep_bytes, *, changes=()):
    """Have a session of `FRAMES` pictures in *folder*, changed at (second, paths)."""
    plan = toys.session(LINK, period_s=2.0)
    plan = Session.model_validate({**plan.model_dump(mode="json", by_alias=True), "live": True})
    sender, receiver = toys.cores(plan, FRAMES, decoder=NoisyDecoder())
    answers = deque()
    ends = LateEnd(ROLES[0], sender, answers), LateEnd(ROLES[1], receiver, answers)
    head = {"scenario": plan.model_dump(mode="json", by_alias=True), "seed": plan.seed}
    folder.mkdir(exist_ok=True)
    waiting = deque(changes)
    sizes = []
    with journal.Journal(folder / "run.mcap", head, keep_bytes) as book:
        conductor = Conductor(plan, schema.traces(plan), *ends, book)
        while (now := conductor.next_ns) is not None:
            if waiting and now >= waiting[0][0] * NS:
                at, paths = waiting.popleft()
                conductor.catch_up(at * NS)
                conductor.change(paths, "test", at * NS)
                continue
            conductor.advance(max(now, conductor.now))
            while answers:
                answer = answers.popleft()
                conductor.answer(ROLES.index(answer.role), answer.output, conductor.now)
            sizes.append(sum(path.stat().st_size for path in folder.glob("*.mcap")))
        conductor.finish("finished")
    return sizes


def same(one, other):
    assert one.events == other.events
    assert (one.rows == other.rows).all() and one.data == other.data
    assert one.pictures == other.pictures and one.complete == other.complete


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    play(folder, None)
    return folder


def test_nothing_is_lost_between_segments(tmp_path, whole):
    play(tmp_path, 100_000_000)
    assert segments.segments(tmp_path) == [tmp_path / "run.mcap"]  # all that there was to keep
    size = (whole / "run.mcap").stat().st_size
    play(tmp_path, 3 * size)
    parts = segments.segments(tmp_path)
    assert len(parts) > 2 and parts[-1].name == "run.mcap" and parts[0].name == "run.0001.mcap"
    same(open_run(tmp_path), open_run(whole))
    assert list(segments.messages(tmp_path))[1][1] == list(segments.messages(whole))[1][1]


def test_total_stays_under_what_is_kept_and_the_oldest_go(tmp_path, whole):
    size = (whole / "run.mcap").stat().st_size
    keep = size // 2
    sizes = play(tmp_path, keep)
    assert max(sizes) <= keep and max(sizes) > keep // 2
    parts = segments.segments(tmp_path)
    numbers = [int(part.stem.partition(".")[2]) for part in parts[:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[0] > 1
    heads = [json.loads(next(data for topic, data, _ in segments.messages(part))) for part in parts]
    assert [head["segment"] for head in heads] == [*numbers, numbers[-1] + 1]
    # What is left is the end of the session, as it was.
    kept, all_of_it = open_run(tmp_path), open_run(whole)
    first = next(event["frame"] for event in kept.events if event["kind"] == "captured")
    assert 0 < first < FRAMES - 5 and kept.complete
    of_frames = [
        event for event in all_of_it.events if event["frame"] is not None and event["frame"] >= first
    ]
    assert [event for event in kept.events if event["frame"] is not None] == of_frames
    for side in ("sent", "received"):
        expected = {frame: data for frame, data in all_of_it.pictures[side].items() if frame >= first}
        assert kept.pictures[side] == expected and expected
    last = all_of_it.rows[np.isin(all_of_it.rows[:, 1], kept.rows[:, 1])]
    assert (last == kept.rows).all()


def test_each_segment_opens_by_itself(tmp_path, whole):
    play(tmp_path, (whole / "run.mcap").stat().st_size // 2)
    told = []
    for part in segments.segments(tmp_path):
        with part.open("rb") as file:
            summary = make_reader(file).get_summary()  # what Foxglove looks at first
        assert {channel.topic for channel in summary.channels.values()} == {
            "/scenario", "/events", "/sent", "/received", "/packets"
        }  # fmt: skip
        assert summary.statistics.message_count > 4
        run = open_run(part)
        captured = {event["frame"] for event in run.events if event["kind"] == "captured"}
        assert set(run.pictures["sent"]) == captured  # a picture's records are never parted
        assert set(run.pictures["received"]) <= captured
        shown = CliRunner().invoke(app, ["inspect", str(part), "--json"])
        assert shown.exit_code == 0 and shown.stdout.count("\n") >= len(run.data) - 1
        assert is_journal(part)
        told += asyncio.run(replayed(part))
    assert told == list(range(told[0], FRAMES))


async def replayed(path):
    """Play *path* at once into a room; return the frames that it then has pictures of."""
    replay = Replay(path, lambda: 0.0)
    room = await replay.furnish(replay.length_ns, local=True)
    shown = [number for number in room.frames.ring if room.pictures.get(f"sent-{number}")]
    await replay.close()
    return shown


def test_replay_goes_over_all_segments(tmp_path, whole):
    play(tmp_path, 3 * (whole / "run.mcap").stat().st_size)
    assert len(segments.segments(tmp_path)) > 2 and is_journal(tmp_path)
    assert asyncio.run(replayed(tmp_path)) == asyncio.run(replayed(whole)) == list(range(FRAMES))


def test_segment_begins_with_the_session_as_it_had_been_changed(tmp_path, whole):
    play(
        tmp_path, (whole / "run.mcap").stat().st_size // 2,
        changes=[(20, {"link.hops.0.rate_bps": 50000.0}), (31, {"link.hops.0.loss.loss": 0.2})],
    )  # fmt: skip
    kept = open_run(tmp_path)
    hop = kept.head["scenario"]["link"]["hops"][0]
    assert hop["rate_bps"] == 50000.0 and hop["loss"]["loss"] == 0.2
    assert all(event["kind"] != "changed" for event in kept.events)


def test_session_without_its_beginning_is_not_run_again(tmp_path, whole):
    play(tmp_path, (whole / "run.mcap").stat().st_size // 2)
    for path in (tmp_path, tmp_path / "run.mcap"):
        result = CliRunner().invoke(app, ["run", "--again", str(path), "--out", str(tmp_path / "again")])
        assert result.exit_code == 2 and "beginning was deleted (--keep)" in result.stderr
        assert result.stderr.count("\n") == 1 and not (tmp_path / "again").exists()


def test_missing_segment_is_named(tmp_path, whole):
    play(tmp_path, 3 * (whole / "run.mcap").stat().st_size)
    segments.segments(tmp_path)[1].unlink()
    with pytest.raises(UsageError, match=r"segment 3 of its session follows segment 1"):
        open_run(tmp_path)


def test_frames_that_never_arrive_fill_no_segment_for_ever(tmp_path):
    """Nothing is closed in an outage, so nothing is flushed for an acknowledgement."""
    head = {"scenario": toys.session(LINK).model_dump(mode="json", by_alias=True)}
    with journal.Journal(tmp_path / "run.mcap", head, 16 << 20) as book:
        for number in range(40):
            noise = np.random.default_rng(number).bytes(1 << 20)
            book.event(Event("captured", number, number, {}, b"\x89PNG" + noise))
        assert sum(path.stat().st_size for path in tmp_path.glob("*.mcap")) <= 16 << 20


@pytest.mark.parametrize(
    ("text", "size"), [("4.2MB", 4_200_000), ("2GB", 2 * 10**9), ("500 MB", 5 * 10**8), ("1.5G", 15 * 10**8)]
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "2 apples", "1MB", "-2GB", "1e9", "9999999GB", "nan"])
def test_sizes_that_are_none_are_refused(text):
    with pytest.raises(UsageError, match="--keep"):
        parse_size(text)
