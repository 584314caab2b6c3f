"""Live sessions: the wall-clock loop, changes while it goes on, and the same run again. No wall clock is used here."""

import random
from collections import Counter, deque
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np
import pytest
from toys import ToyDecoder, ToyEncoder, kinds, no_clock, session, shots

from link import journal, live, timing
from link.again import DivergedError, rerun
from link.channel import NS, to_ns
from link.channel.channel import BACKWARD, FORWARD, Channel
from link.conductor import ROLES, Conductor
from link.config import Session
from link.errors import UsageError
from link.events import Fate
from link.fingerprint import fingerprint
from link.inputs import Answer, Change, Note, Timing, Turn
from link.live import LateEnd, Pace
from link.steering import MAX_CHANGES, lay
from receiver.receiver import Receiver
from scenarios import schema
from scenarios.live import again
from sender.sender import Sender

HOP = {"name": "space", "rate_bps": 4000, "delay_s": 1.5}


def plan(back=None, *, period_s: float = 1.0, frame_bytes: int = 400, **link: Any) -> Session:
    link = {"hops": [HOP], "mtu_bytes": 128, "return": back, **link}
    made = session(link, frame_bytes=frame_bytes, period_s=period_s)
    return made.model_copy(update={"live": True})


class Room:
    """A clock that nobody waits for, with ends that take their time and people who steer."""

    def __init__(self, seed: int = 0, slow=(0.0, 0.0), wishes=(), late: float = 0.0) -> None:
        self.now_s = 0.0
        self.answers: deque[Answer] = deque()
        self._rng = random.Random(seed)
        self._slow = dict(zip(ROLES, slow, strict=True))
        self._late = late
        self._coming: list = []
        self._order = count()
        self.refusals: list[str | None] = []
        for at_s, wish in wishes:
            heappush(self._coming, (at_s, next(self._order), wish))

    def clock(self) -> float:
        return self.now_s

    def receive(self, seconds: float):
        for answer in self.answers:
            takes = self._slow[answer.role] * self._rng.uniform(0.5, 1.5)
            heappush(self._coming, (self.now_s + takes, next(self._order), answer))
        self.answers.clear()
        until = self.now_s + seconds
        if self._coming and self._coming[0][0] <= until:
            at_s, _, came = heappop(self._coming)
            self.now_s = max(self.now_s, at_s)
            return came
        self.now_s = until + self._rng.uniform(0.0, self._late)
        return None


def ends(
    asked: Session, answers, frames: int, encoder=None, decoder=None, source=None
) -> tuple[LateEnd, LateEnd]:
    waits = timing.times(asked, schema.traces(asked))
    own = fingerprint(asked)
    given = shots(frames) if source is None else source
    sender = Sender(asked, waits, given, encoder or ToyEncoder(3, 100), own, no_clock)
    receiver = Receiver(asked, waits, decoder or ToyDecoder(), own, no_clock)
    return LateEnd("sender", sender, answers), LateEnd("receiver", receiver, answers)


def head(asked: Session) -> dict:
    return {"scenario": asked.model_dump(mode="json", by_alias=True), "seed": asked.seed}


def play(asked: Session, path, room: Room, frames: int = 8, factor: float = 1.0, **parts) -> journal.Run:
    with journal.Journal(path, head(asked)) as book:
        conductor = Conductor(asked, {}, *ends(asked, room.answers, frames, **parts), book)
        live.run(conductor, Pace(room.clock, factor), room.receive)
    return journal.read(path)


def play_again(path, out) -> int:
    stored = journal.read(path)
    asked = Session.model_validate(stored.head["scenario"])
    answers: deque[Answer] = deque()
    source = again.recorded_shots(stored)
    with journal.Journal(out, stored.head) as book:
        rerun(Conductor(asked, {}, *ends(asked, answers, 0, source=source), book), answers, stored.events)
    return again.compare(path, out, whole=stored.complete)


# Drawing too slowly


def test_a_slow_decoder_shows_fewer_pictures_and_none_that_are_old(tmp_path):
    asked = plan(period_s=0.1, hops=[{**HOP, "rate_bps": 200_000, "delay_s": 0.05}])
    run = play(asked, tmp_path / "run.mcap", Room(slow=(0.0, 0.5)), frames=200)
    drawn, left = kinds(run, "decoded"), kinds(run, "superseded")
    captured = {event["frame"]: event["time_ns"] for event in kinds(run, "captured")}
    ages = [(event["drawn_ns"] - captured[event["frame"]]) / NS for event in drawn]
    # A picture waits for the drawing before it (0.25 to 0.75 s), and is drawn itself.
    assert max(ages) < 0.75 + 0.75 + 0.1 + 0.1
    assert 20 < len(drawn) < 80
    assert len(drawn) + len(left) == len(kinds(run, "closed")) == 200
    assert all(event["by"] > event["frame"] for event in left)
    assert [event["frame"] for event in drawn] == sorted(event["frame"] for event in drawn)


def test_what_is_drawn_says_when_it_was_there_and_other_times_are_exact(tmp_path):
    run = play(plan(), tmp_path / "run.mcap", Room(slow=(0.0, 0.4), late=0.02))
    assert [event["time_ns"] for event in kinds(run, "captured")] == [at * NS for at in range(8)]
    for event in kinds(run, "decoded"):
        assert 0.2 * NS <= event["drawn_ns"] - event["time_ns"] <= 0.6 * NS
    answered = kinds(run, "answered")
    assert {event["end"] for event in answered} == set(ROLES)
    assert all(event["asked_ns"] <= event["time_ns"] for event in answered)


def test_a_sender_that_falls_behind_leaves_out_what_is_late(tmp_path):
    run = play(
        plan(period_s=0.1, hops=[{**HOP, "rate_bps": 1e6}]),
        tmp_path / "run.mcap",
        Room(slow=(0.35, 0.0)),
        100,
    )
    sent, skipped = kinds(run, "captured"), kinds(run, "skipped")
    assert len(sent) + len(skipped) == 100
    assert 20 < len(sent) < 40
    assert all(event["by"] == "clock" for event in skipped)
    names = [event["name"] for event in run.events if event["kind"] in ("captured", "skipped")]
    assert names == [f"toy#{at}" for at in range(100)]
    # The pictures keep to the clock: the n-th was taken in the n-th period or the one after.
    for event in sent:
        assert 0 <= event["time_ns"] - int(event["name"][4:]) * to_ns(0.1) < 0.1 * NS


def test_a_source_that_can_skip_makes_no_picture_for_nobody(tmp_path):
    class Slow:
        made = 0
        at = 0

        def __iter__(self):
            return self

        def __next__(self):
            if self.at >= 100:
                raise StopIteration
            self.made += 1
            self.at += 1
            return next(shots(1))

        def skip(self):
            self.at += 1
            return f"toy#{self.at - 1}" if self.at <= 100 else None

    source = Slow()
    run = play(plan(period_s=0.1), tmp_path / "run.mcap", Room(slow=(0.35, 0.0)), source=source)
    assert source.made == len(kinds(run, "captured")) < 40


def test_of_a_source_with_time_stamps_the_last_that_is_due_is_sent(tmp_path):
    def film():
        for number in range(50):
            yield next(shots(1)).__class__(
                f"film#{number}", np.zeros((48, 64, 3), np.uint8), number * to_ns(0.1), ""
            )

    asked = plan(hops=[{**HOP, "rate_bps": 1e6}])
    asked = asked.model_copy(update={"camera": asked.camera.model_copy(update={"period_s": None})})
    run = play(asked, tmp_path / "run.mcap", Room(slow=(0.35, 0.0)), source=film())
    *others, last = kinds(run, "captured")
    for event in others:
        assert 0 <= event["time_ns"] - event["source_pts_ns"] < to_ns(0.1)
    assert last["name"] == "film#49"  # however late: nothing newer comes
    assert len(kinds(run, "captured")) + len(kinds(run, "skipped")) == 50
    assert play_again(tmp_path / "run.mcap", tmp_path / "again.mcap") > 50


# Pace


def test_a_pause_stops_the_run_and_a_step_goes_to_the_next_picture(tmp_path):
    drawn = []

    def tell(label):
        return lambda refusal: drawn.append((label, refusal))

    wishes = [
        (2.2, Timing(Turn.PAUSE)),
        (50.0, Change({"camera.period_s": 0.5}, "test", tell("while it stands still"))),
        (60.0, Timing(Turn.PICTURE)),
        (90.0, Timing(Turn.RESUME)),
    ]
    run = play(plan(), tmp_path / "run.mcap", Room(wishes=wishes, slow=(0.01, 0.3)))
    changed = kinds(run, "changed")[0]
    assert changed["time_ns"] == pytest.approx(2.2 * NS, abs=0.1 * NS)
    assert drawn == [("while it stands still", None)]
    times = [event["time_ns"] / NS for event in kinds(run, "captured")]
    assert times[:3] == [0.0, 1.0, 2.0]
    assert np.diff(times)[2:].tolist() == pytest.approx([0.5] * 5, abs=0.3)  # not 48 s later
    assert play_again(tmp_path / "run.mcap", tmp_path / "again.mcap") > 20


def test_to_the_next_picture_waits_for_the_ends_and_leaves_nothing_out(tmp_path):
    wishes = [(0.1, Timing(Turn.PAUSE))] + [(60.0 * turn, Timing(Turn.PICTURE)) for turn in range(1, 9)]
    wishes.append((600.0, Timing(Turn.RESUME)))
    run = play(plan(), tmp_path / "run.mcap", Room(wishes=wishes, slow=(0.2, 3.0)))
    assert len(kinds(run, "decoded")) == 8
    assert not kinds(run, "superseded")
    assert not kinds(run, "skipped")


def test_a_factor_makes_the_run_faster_from_then_on(tmp_path):
    room = Room(wishes=[(2.0, Timing(factor=60.0))])
    run = play(plan(), tmp_path / "run.mcap", room, frames=302)
    assert kinds(run, "captured")[-1]["time_ns"] == 301 * NS
    assert room.now_s == pytest.approx(2.0 + 301 / 60, abs=0.5)
    with pytest.raises(UsageError, match="run seconds a second"):
        Pace(room.clock, 0.0)


def test_a_stop_ends_the_run_at_once(tmp_path):
    run = play(plan(), tmp_path / "run.mcap", Room(wishes=[(3.5, Timing(Turn.STOP))]), frames=100)
    assert len(kinds(run, "captured")) == 4
    assert run.complete and run.events[-1]["stopped"] is True
    assert play_again(tmp_path / "run.mcap", tmp_path / "again.mcap") > 10


def test_an_event_is_one_thing_that_was_due(tmp_path):
    wishes = [(0.5, Timing(Turn.PAUSE)), (1.0, Timing(Turn.EVENT)), (2.0, Timing(Turn.STOP))]
    asked = plan(hops=[{**HOP, "delay_s": 100.0}])
    run = play(asked, tmp_path / "run.mcap", Room(wishes=wishes))
    assert len(kinds(run, "captured")) <= 2
    # The first packets are on the transmitter until 0.73 s; the pause was at 0.5.
    assert 0.5 * NS < run.events[-1]["time_ns"] < 0.8 * NS


# Changes


def test_only_what_is_steered_can_be_changed_and_by_the_rules_of_the_scenario():
    asked = plan({"rate_bps": 100}, repair={"arq": True})
    changed, values = lay(asked, {"link.hops.0.rate_bps": 250, "link.return.delay_s": 2.0, "codec.steps": 8})
    assert (changed.link.hops[0].rate_bps, changed.link.return_.delay_s) == (250, 2.0)
    assert values == {"link.hops.0.rate_bps": (4000.0, 250.0), "link.return.delay_s": (None, 2.0)}
    for path in ("codec.channels", "codec.name", "seed", "camera.width", "link.hops.0.name", "link.mtu_bytes",
                 "name", "live", "profile.transform", "link.hops", "nothing", "link.hops.0.trace", "camera"):  # fmt: skip
        with pytest.raises(UsageError, match=f"{path}: cannot be changed while the run goes on"):
            lay(asked, {path: 1})
    for path, value, words in (
        ("link.hops.0.rate_bps", 0, "greater than or equal to 0.001, not '0'"),
        ("link.hops.0.rate_bps", "fast", "valid number"),
        ("link.hops.0.delay_s", -1, "greater than or equal to 0"),
        ("link.hops.1.delay_s", 1, "items 0 to 0, not '1'"),
        ("link.hops.0.loss", {"model": "none"}, "link.hops.0.loss"),
        ("link.hops.0.loss.loss", 0.5, "change it whole"),
        ("link.repair.fec", 5, "less than or equal to 4"),
        ("codec.steps", 0, "greater than or equal to 1"),
        ("codec.steps", None, "valid integer"),
        ("link.hops.0.outage", {"windows_s": [[2, 1]]}, "windows_s must be in order"),
    ):
        with pytest.raises(UsageError, match=words):
            lay(asked, {path: value})
    for asked_for in ({}, {f"codec.{at}": 1 for at in range(MAX_CHANGES + 1)}):
        with pytest.raises(UsageError, match="1 to 32"):
            lay(asked, asked_for)


def test_no_steered_field_is_in_the_fingerprint():
    from link.config import Camera, Codec
    from link.hops import Link, Repair
    from link.marks import Affects, fields_marked, steers

    for model in (Camera, Codec, Link, Repair, Session):
        steered = {name for name, field in model.model_fields.items() if steers(field)}
        assert steered and not steered & fields_marked(model, Affects.SYNTAX)


def test_a_refused_change_says_why_and_alters_nothing(tmp_path):
    said = []
    wishes = [
        (1.2, Change({"link.hops.0.rate_bps": -1}, "test", said.append)),
        (1.3, Change({"seed": 3}, "test", said.append)),
    ]
    run = play(plan(), tmp_path / "run.mcap", Room(wishes=wishes))
    assert not kinds(run, "changed")
    assert "greater than or equal to 0.001" in said[0]
    assert "cannot be changed" in said[1]
    with pytest.raises(UsageError, match="only a live session"):
        Conductor(plan().model_copy(update={"live": False}), {}, None, None, None).change({}, "test", 0)  # type: ignore[arg-type]


def crossings(run: journal.Run) -> list[tuple[int, int, int]]:
    """Return (arrival, waiting, air time) in ns of each packet that crossed the first hop, in order."""
    rows = run.rows[run.rows[:, 2] == Fate.CROSSED]
    return [(int(row[0]), int(row[4]), int(row[5])) for row in rows]


def test_a_rate_that_is_halved_doubles_the_air_time_of_the_next_packet(tmp_path):
    wishes = [(3.05, Change({"link.hops.0.rate_bps": 2000}, "test"))]
    run = play(plan(), tmp_path / "run.mcap", Room(wishes=wishes))
    at = kinds(run, "changed")[0]["time_ns"]
    before = {air for arrival, _, air in crossings(run) if arrival - to_ns(1.5) - air < at}
    after = {air for arrival, _, air in crossings(run) if arrival - to_ns(1.5) - air >= at}
    assert {2 * air for air in before} == after


def test_a_change_does_not_wait_for_the_backlog(tmp_path):
    """A packet that was queued before the change leaves at the new rate."""
    asked = plan(hops=[{**HOP, "rate_bps": 400}], period_s=1.0)
    wishes = [(8.0, Change({"link.hops.0.rate_bps": 40_000}, "test"))]
    run = play(asked, tmp_path / "run.mcap", Room(wishes=wishes))
    at = kinds(run, "changed")[0]["time_ns"]
    sent = run.rows[run.rows[:, 2] == Fate.SENT]
    assert (sent[:, 0] < at).sum() > 12
    assert crossings(run)[-1][0] < at + to_ns(1.5 + 2.6 + 1.0)


def test_loss_after_a_change_is_in_its_band(tmp_path):
    wishes = [(0.5, Change({"link.hops.0.loss": {"model": "bernoulli", "loss": 0.5}}, "test"))]
    asked = plan(period_s=0.1, hops=[{**HOP, "rate_bps": 1e6}])
    run = play(asked, tmp_path / "run.mcap", Room(wishes=wishes), frames=140)
    sent = run.rows[(run.rows[:, 2] == Fate.SENT) & (run.rows[:, 0] > to_ns(0.55))]
    lost = run.rows[run.rows[:, 2] == Fate.CHANNEL_LOSS]
    n = len(sent)
    assert n >= 400
    assert abs(len(lost) - n / 2) < 2.576 * (n / 4) ** 0.5
    assert (lost[:, 0] > to_ns(0.5)).all()


def test_no_packet_overtakes_another_when_a_delay_gets_shorter(tmp_path):
    wishes = [
        (20.0, Change({"link.hops.0.delay_s": 0.1}, "test")),
        (40.0, Change({"link.hops.0.delay_s": 3.0}, "test")),
    ]
    asked = plan(hops=[{**HOP, "delay_s": 15.0}], period_s=0.5)
    run = play(asked, tmp_path / "run.mcap", Room(wishes=wishes), frames=120)
    rows = run.rows[run.rows[:, 2] == Fate.CROSSED]
    assert (np.diff(rows[:, 1]) > 0).all()
    assert len(rows) == (run.rows[:, 2] == Fate.SENT).sum()


def test_an_outage_that_holds_a_hop_with_repair_of_its_own_lasts_until_it_is_released(tmp_path):
    down = {"windows_s": [[0, 1e8]], "hold": True}
    wishes = [
        (3.0, Change({"link.hops.0.outage": down}, "test")),
        (9.0, Change({"link.hops.0.outage": None}, "test")),
    ]
    asked = plan(hops=[{**HOP, "delay_s": 0.1, "retransmit": {"tries": 4}}])
    run = play(asked, tmp_path / "run.mcap", Room(wishes=wishes), frames=14)
    assert len(kinds(run, "decoded")) == 14
    assert run.rows[-1, 0] < to_ns(20.0)


@pytest.mark.parametrize("hold", [False, True])
def test_an_outage_lasts_until_it_is_released(hold, tmp_path):
    down = {"windows_s": [[0, 1e8]], "hold": hold}
    wishes = [
        (3.0, Change({"link.hops.0.outage": down}, "test")),
        (9.0, Change({"link.hops.0.outage": None}, "test")),
    ]
    run = play(plan(), tmp_path / "run.mcap", Room(wishes=wishes), frames=14)
    lost = run.rows[run.rows[:, 2] == Fate.OUTAGE]
    first, second = (event["time_ns"] for event in kinds(run, "changed"))
    crossed = np.array([arrival - to_ns(1.5) for arrival, _, _ in crossings(run)])
    assert not ((crossed > first) & (crossed < second)).any()
    assert (crossed > second).sum() > 5
    if hold:
        assert len(lost) == 0
        assert len(kinds(run, "decoded")) == 14
    else:
        assert ((lost[:, 0] >= first) & (lost[:, 0] <= second + to_ns(0.5))).all()
        assert len(lost) >= 15


def test_fec_can_be_turned_on_and_off(tmp_path):
    wishes = [
        (3.5, Change({"link.repair.fec": 0.5}, "test")),
        (7.5, Change({"link.repair.fec": 0.0}, "test")),
    ]
    run = play(plan(), tmp_path / "run.mcap", Room(wishes=wishes), frames=12)
    packets = [event["packets"] for event in kinds(run, "encoded")]
    assert packets[0] == packets[11] < max(packets[4:8])
    assert len(kinds(run, "decoded")) == 12
    assert all(event["complete"] for event in kinds(run, "closed"))


def test_a_change_of_the_receiver_reaches_its_decoder_with_the_next_picture(tmp_path):
    class Steps(ToyDecoder):
        now = 8

        def __init__(self):
            super().__init__()
            self.steps = []

        def adjust(self, asked):
            self.now = asked.codec.steps

        def decode(self, payload):
            self.steps.append(self.now)
            return super().decode(payload)

    decoder = Steps()
    play(
        plan(),
        tmp_path / "run.mcap",
        Room(wishes=[(4.0, Change({"codec.steps": 2}, "test"))]),
        decoder=decoder,
    )
    assert Counter(decoder.steps) == {8: 2, 2: 6} or Counter(decoder.steps) == {8: 3, 2: 5}


# The departure path


@pytest.mark.parametrize("name", schema.preset_names())
def test_a_steered_channel_treats_packets_as_an_unsteered_one(name):
    """The same set of fates, packet by packet, in every preset."""
    scenario = schema.load(name, ["camera.source=testcard"])
    rng = random.Random(name)
    sizes = [rng.randint(15, scenario.link.mtu_bytes - 5) for _ in range(400)]
    gaps = [rng.choice((0.0, 0.0, 0.1, 3.0)) for _ in sizes]
    found = []
    for steered in (False, True):
        data: list[bytes] = []
        channel = Channel(scenario.link, 7, schema.traces(scenario), data, steered=steered)
        at = 0
        for number, (size, gap) in enumerate(zip(sizes, gaps, strict=True)):
            at += to_ns(gap)
            channel.advance(at)
            packet = bytes([0x10 + number % 4]) + number.to_bytes(4, "big") + bytes(size)
            channel.send(packet, at, FORWARD)
            if scenario.link.return_ is not None and number % 5 == 0:
                channel.send(packet[:20], at, BACKWARD)
        while (due := channel.next_ns) is not None and due < to_ns(1e7):
            channel.advance(due)
        found.append(sorted(channel.rows))
    assert len(found[0]) > 400
    # Copies and repeats are numbered as they are made, which may be in another order.
    assert Counter((row[0], *row[2:]) for row in found[0]) == Counter((row[0], *row[2:]) for row in found[1])


# The same run again


def random_wish(rng: random.Random):
    paths = {
        "link.hops.0.rate_bps": lambda: rng.choice((500, 2000, 9000, 64000)),
        "link.hops.0.delay_s": lambda: rng.uniform(0.0, 4.0),
        "link.hops.0.bit_error_rate": lambda: rng.choice((0.0, 1e-4, 1e-3)),
        "link.hops.0.duplicate_ratio": lambda: rng.choice((0.0, 0.3)),
        "link.hops.0.loss": lambda: rng.choice((None, {"model": "bernoulli", "loss": 0.3})),
        "link.hops.0.jitter": lambda: rng.choice((None, {"model": "normal", "scale_s": 0.3, "reorder": True})),
        "link.hops.0.outage": lambda: rng.choice((None, {"windows_s": [[0, 1e6]], "hold": rng.random() < 0.5})),
        "link.return.rate_bps": lambda: rng.choice((50, 1000)),
        "link.repair.fec": lambda: rng.choice((0.0, 0.2, 1.0)),
        "link.repair.arq_rounds": lambda: rng.randint(1, 6),
        "link.deadline_s": lambda: rng.choice((None, 5.0, 30.0)),
        "camera.period_s": lambda: rng.choice((0.3, 1.0, 2.0)),
        "codec.steps": lambda: rng.randint(1, 8),
    }  # fmt: skip
    roll = rng.random()
    if roll < 0.15:
        return Timing(rng.choice((Turn.PICTURE, Turn.EVENT, Turn.PAUSE, Turn.RESUME)))
    if roll < 0.25:
        return Timing(Turn.RESUME, factor=rng.choice((0.5, 1.0, 8.0)))
    if roll < 0.35:
        return Note(f"look at {rng.randint(1, 9)}", "viewer 1")
    chosen = rng.sample(sorted(paths), rng.randint(1, 3))
    return Change({path: paths[path]() for path in chosen}, f"viewer {rng.randint(1, 3)}")


def steered_session(seed: int, path) -> journal.Run:
    rng = random.Random(seed)
    hop = {**HOP, "loss": {"model": "gilbert_elliott", "loss": 0.1, "mean_burst": 3}}
    if seed % 3 == 1:
        hop["retransmit"] = {"tries": 4}
    if seed % 3 == 2:
        hop["queue"] = {"classes": 2}
    asked = plan(
        {"rate_bps": 400},
        hops=[hop, {**HOP, "name": "ground", "rate_bps": 9000}],
        repair={"arq": True, "fec": rng.choice((0.0, 0.3)), "priorities": seed % 3 == 2},
    )
    wishes = [(rng.uniform(0.0, 14.0), random_wish(rng)) for _ in range(rng.randint(4, 12))]
    wishes += [(15.0, Timing(Turn.RESUME, factor=4.0)), (90.0, Timing(Turn.STOP))]
    slow = (rng.choice((0.0, 0.1, 1.7)), rng.choice((0.0, 0.4, 2.5)))
    return play(asked, path, Room(seed, slow, wishes, late=rng.choice((0.0, 0.3))), frames=14)


@pytest.mark.parametrize("seed", range(50))
def test_a_steered_session_runs_again_byte_for_byte(seed, tmp_path):
    run = steered_session(seed, tmp_path / "run.mcap")
    assert len(kinds(run, "answered")) > 3
    assert play_again(tmp_path / "run.mcap", tmp_path / "again.mcap") > 10
    assert (tmp_path / "run.mcap").read_bytes() == (tmp_path / "again.mcap").read_bytes()


def test_a_record_that_was_altered_is_named(tmp_path):
    run = steered_session(3, tmp_path / "run.mcap")
    answers: deque[Answer] = deque()
    asked = Session.model_validate(run.head["scenario"])
    altered = kinds(run, "answered")[9]
    altered["asked_ns"] += 1
    with (
        journal.Journal(tmp_path / "again.mcap", run.head) as book,
        pytest.raises(
            DivergedError, match=f"at {altered['time_ns']} ns what it was asked at {altered['asked_ns']}"
        ),
    ):
        parts = ends(asked, answers, 0, source=again.recorded_shots(run))
        rerun(Conductor(asked, {}, *parts, book), answers, run.events)
