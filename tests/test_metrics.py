"""Figures of hand-made runs, checked against numbers worked out by hand or by brute force."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from link import fragment, png
from link.events import Fate
from link.frame import Pixels
from link.journal import Run
from link.packet import HEADER_BYTES, Kind, Packet, wrap
from scenarios.results import cell, metrics, traffic
from scenarios.results.cell import RunResult
from scenarios.results.judge import analyse
from scenarios.scoring import pairs, pictures, quality
from scenarios.scoring.pairs import Scores

S = 1_000_000_000
WIDTH, HEIGHT = 20, 16
NO_SCORES = Scores({}, {})


def scenario(**link: Any) -> dict[str, Any]:
    base = {
        "framing": "compact",
        "mtu_bytes": 64,
        "hops": [{"name": "up", "rate_bps": 100.0, "delay_s": 1.0}],
        "return": {"rate_bps": 10.0},
        "repair": {"fec": 0.5, "arq": True, "arq_rounds": 1, "priorities": False},
    }
    return {
        "name": "by-hand",
        "camera": {"source": "testcard", "width": WIDTH, "height": HEIGHT, "period_s": 10.0},
        "codec": {"name": "jpeg2000"},
        "link": base | link,
        "seed": 7,
    }


class Book:
    """Makes a Run: packets get numbers in order, rows and events the times that are told."""

    def __init__(self, about: dict[str, Any] | None = None) -> None:
        self.about = about or scenario()
        self.rows: list[tuple[int, int, int, int, int, int]] = []
        self.events: list[dict[str, Any]] = []
        self.data: dict[int, bytes] = {}
        self.count = 0

    def event(self, kind: str, time: int, frame: int | None = None, **fields: Any) -> None:
        self.events.append({"kind": kind, "time_ns": time, "frame": frame, **fields})

    def packet(self, time: int, item: Packet, ends: list[tuple[int, Fate, int]], back: bool = False) -> int:
        """Send *item*; *ends* are (time, fate, nanoseconds on the transmitter)."""
        number = self.count
        self.count += 1
        data = wrap(item.pack(0), self.about["link"]["framing"], number, feedback=back)
        self.data[number] = data
        self.rows.append((time, number, Fate.SENT, -1 if back else 0, 0, 0))
        for when, fate, lasted in ends:
            self.rows.append((when, number, fate, -1 if back else 0, 0, lasted))
        return number

    def copy(self, time: int, end: Fate, back: bool = False) -> None:
        number = self.count
        self.count += 1
        hop = -1 if back else 0
        self.rows += [(time, number, Fate.DUPLICATED, hop, 0, 0), (time + S, number, Fate.CROSSED, hop, 0, 0)]
        self.rows.append((time + S, number, end, 0, 0, 0))

    def run(self, complete: bool = True) -> Run:
        rows = np.array(self.rows, np.int64).reshape(-1, 6)
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        return Run(
            {"scenario": self.about}, self.events, rows, self.data, {"sent": {}, "received": {}}, complete
        )


def result_of(run: Run, scores: Scores = NO_SCORES) -> RunResult:
    """Return everything there is to say of *run*, with *scores* of its pictures."""
    return cell.make(run, analyse, lambda _link: {}, lambda _run: scores)


def measure(run: Run, scores: Scores = NO_SCORES) -> dict[str, Any]:
    return result_of(run, scores).figures


def arrives(time: int, end: Fate = Fate.DELIVERED) -> list[tuple[int, Fate, int]]:
    return [(time, Fate.CROSSED, S), (time, end, 0)]


def data(frame: int, index: int, body: bytes, last: bool = False) -> Packet:
    return Packet(Kind.DATA, frame, index, body, last=last)


SECTIONS = [b"a" * 10, b"b" * 30]
BODIES = fragment.fragment(SECTIONS, 21, 0)


def story() -> Book:
    """Three frames: complete after a resend, partial, lost; a copy, a late packet, and a queue that was full.

    BODIES are 10 bytes in 11, and 30 in two more with the hash: what stands in them is read by `fragment.chunks`.
    """
    book = Book()
    for frame in range(3):
        book.event("captured", frame * 10 * S, frame, name=f"f{frame}")
        book.event("encoded", frame * 10 * S, frame, sections=[10, 30], packets=3)
    # Frame 0: packet 1 is lost, asked for and sent again.
    book.packet(0, data(0, 0, BODIES[0]), arrives(2 * S))
    book.packet(0, data(0, 1, BODIES[1]), [(2 * S, Fate.CHANNEL_LOSS, S)])
    book.packet(0, data(0, 2, BODIES[2], last=True), arrives(3 * S))
    book.packet(0, Packet(Kind.FEC, 0, 3, b"f" * 17), arrives(3 * S, Fate.BAD_CHECKSUM))
    book.packet(3 * S, Packet(Kind.FEEDBACK, 0, 0, b"?" * 5), arrives(4 * S), back=True)
    book.packet(4 * S, data(0, 1, BODIES[1]), arrives(5 * S))
    book.copy(4 * S, Fate.DUPLICATE)
    book.event("closed", 5 * S, 0, complete=True, sections=[True, True], packets=3)
    book.event("decoded", 5 * S, 0, complete=True)
    # Frame 1: packet 2 never leaves the queue.
    book.packet(10 * S, data(1, 0, BODIES[0]), arrives(12 * S))
    book.packet(10 * S, data(1, 1, BODIES[1]), arrives(25 * S, Fate.DEADLINE))
    book.packet(10 * S, data(1, 2, BODIES[2], last=True), [(10 * S, Fate.QUEUE_FULL, 0)])
    book.event("closed", 14 * S, 1, complete=False, sections=[True, False], packets=1)
    book.event("decoded", 14 * S, 1, complete=False)
    # Frame 2: the link is down.
    book.packet(20 * S, data(2, 0, BODIES[0]), [(21 * S, Fate.OUTAGE, S)])
    book.packet(20 * S, Packet(Kind.FEEDBACK, 1, 0, b""), [(21 * S, Fate.CHANNEL_LOSS, S)], back=True)
    book.event("finished", 30 * S)
    return book


def held(body: bytes) -> int:
    return sum(len(chunk.data) for chunk in fragment.chunks(body, last=body == BODIES[-1]))


def test_every_figure_of_a_run_made_by_hand() -> None:
    scores = Scores(
        {0: {"psnr_db": 30.0, "ms_ssim": 0.9}, 1: {"psnr_db": 20.0, "ms_ssim": 0.7}},
        {"lpips": "no weights"},
    )
    run = story().run()
    traffic.check_conservation(run)
    found = measure(run, scores)
    assert found["frames"] == {"sent": 3, "complete": 1, "partial": 1, "lost": 1, "superseded": 0}
    assert found["packets"] == {
        "sent": 9,
        "delivered": 4,
        "dropped": {
            "queue_full": 1, "channel_loss": 1, "outage": 1, "bad_checksum": 1, "duplicate": 1, "deadline": 1,
        },
        "duplicated": 1,
    }  # fmt: skip
    assert found["feedback"] == {
        "sent": 2,
        "delivered": 1,
        "dropped": {"channel_loss": 1},
        "duplicated": 0,
    }
    payload = 40 + held(BODIES[0]) + held(BODIES[1]) + held(BODIES[0])  # frames 0, 1, 2
    bodies = sum(map(len, BODIES)) + len(BODIES[0]) + len(BODIES[1]) + len(BODIES[0])
    again = HEADER_BYTES + len(BODIES[1])
    back = 2 * HEADER_BYTES + 5
    assert found["bytes"] == {
        "on_air": bodies + 6 * HEADER_BYTES + HEADER_BYTES + 17 + again + back,
        "payload": {"picture": payload},
        "header": bodies - payload + 7 * HEADER_BYTES,
        "fec": 17,
        "repair": again,
        "feedback": back,
    }
    pixels = 3 * WIDTH * HEIGHT
    assert found["bpp"] == {"payload": payload * 8 / pixels, "on_air": found["bytes"]["on_air"] * 8 / pixels}
    assert found["latency_s"] == {"p50": 4.0, "p95": 5.0, "max": 5.0}  # nearest ranks of 4 and 5
    # From 5 s (age 5) to 14 s (age 14), then from age 4 to age 10 at 20 s, when the last picture was taken.
    assert found["age_s"] == {"mean": (9 * 9.5 + 6 * 7) / 15, "peak": 14.0}
    known = {"psnr_db": 25.0, "ms_ssim": pytest.approx(0.8)}
    assert found["quality"] == {**dict.fromkeys(pictures.table()), **known}
    assert found["notes"]["quality.lpips"] == "no weights"
    assert "2 of 3 frames were shown" in found["notes"]["quality"]
    assert found["speed"] == {"virtual_s": 30.0}
    assert (found["scenario"], found["codec"], found["seed"], found["profile"]) == (
        "by-hand",
        "jpeg2000",
        7,
        None,
    )


def test_rows_of_frames_add_up_to_the_run() -> None:
    run = story().run()
    rows = result_of(run).rows
    found = measure(run)
    assert [row.status for row in rows] == ["complete", "partial", "lost"]
    assert sum(row.on_air_bytes for row in rows) == found["bytes"]["on_air"]
    assert sum(row.payload_bytes for row in rows) == sum(found["bytes"]["payload"].values())
    assert [(row.packets_sent, row.packets_lost, row.resent) for row in rows] == [
        (5, 2, 1),
        (3, 1, 0),
        (1, 1, 0),
    ]
    assert [row.sections_received for row in rows] == [2, 1, 0]
    assert rows[0].latency_s == 5.0
    assert rows[2].latency_s is None


def refined_story() -> Book:
    """The story, with frame 0 shown in part at 3 s and refined when it is repaired at 5 s."""
    book = story()
    at = next(n for n, event in enumerate(book.events) if event["kind"] == "decoded")
    book.events[at]["refines"] = True
    early = {"kind": "decoded", "time_ns": 3 * S, "frame": 0, "complete": False, "sections": [True, False]}
    book.events.insert(at - 1, early)
    return book


def test_waiting_and_age_count_to_the_first_picture_and_the_refined_one_has_its_own_time() -> None:
    found, plain = result_of(refined_story().run()), result_of(story().run())
    first, second, third = found.rows
    assert (first.shown_ns, first.refined_ns, first.status) == (3 * S, 5 * S, "complete")
    assert (first.latency_s, first.refined_after_s, first.sections_received) == (3.0, 5.0, 2)
    assert second.refined_ns is third.refined_ns is None
    assert found.figures["latency_s"] == {"p50": 3.0, "p95": 4.0, "max": 4.0}
    assert found.figures["refined_s"] == {"frames": 1, "p50": 5.0, "max": 5.0}
    assert plain.figures["refined_s"] == {"frames": 0, "p50": None, "max": None}
    assert plain.figures["notes"]["refined_s"] and "refined_s" not in found.figures["notes"]
    # From 3 s (age 3) to 14 s (age 14), then from age 4 to age 10 at 20 s.
    assert found.figures["age_s"] == {"mean": (11 * 8.5 + 6 * 7) / 17, "peak": 14.0}
    assert [row["refined_s"] for row in cell.frames(found)] == [5.0, None, None]
    assert [row["shown_s"] for row in cell.frames(found)] == [3.0, 14.0, None]
    assert found.figures["frames"] == plain.figures["frames"]


def test_a_run_that_is_cut_short_before_the_repair_keeps_the_first_picture() -> None:
    book = refined_story()
    book.events = [event for event in book.events if event["frame"] is None or event["time_ns"] < 5 * S]
    book.events = [*[event for event in book.events if event["kind"] != "finished"]]
    book.event("aborted", 4 * S, reason="gone")
    found = result_of(book.run(complete=False))
    assert [(row.status, row.sections_received, row.refined_ns) for row in found.rows] == [
        ("partial", 1, None)
    ]
    assert "0 of the frames" in found.figures["notes"]["frames"]


def test_ccsds_headers_are_counted() -> None:
    book = Book(scenario(framing="ccsds"))
    book.event("captured", 0, 0, name="x")
    book.event("encoded", 0, 0, sections=[6], packets=1)
    body = fragment.fragment([b"s" * 6], 20, 0)[0]
    book.packet(0, data(0, 0, body, last=True), arrives(S))
    book.event("finished", S)
    assert measure(book.run())["bytes"] == {
        "on_air": 14 + len(body), "payload": {"picture": 6}, "header": 14 + len(body) - 6, "fec": 0,
        "repair": 0, "feedback": 0,
    }  # fmt: skip


def test_packets_that_take_no_time_on_a_trace_are_on_the_air() -> None:
    book = Book()
    book.event("captured", 0, 0, name="x")
    book.event("encoded", 0, 0, sections=[6], packets=1)
    number = book.packet(0, data(0, 0, b"\x80" + b"s" * 6), [(S, Fate.CROSSED, 0), (S, Fate.DELIVERED, 0)])
    book.event("finished", S)
    run = book.run()
    assert measure(run)["bytes"]["on_air"] == len(run.data[number])


def test_frame_numbers_go_past_the_14_bits_of_the_wire() -> None:
    book = Book()
    numbers = list(range(0, 24_001, 4000))
    for frame in numbers:
        book.event("captured", frame * S, frame, name="x")
        book.event("encoded", frame * S, frame, sections=[6], packets=1)
        book.packet(frame * S, data(frame % (1 << 14), 0, b"\x80abcdef"), arrives((frame + 1) * S))
    run = book.run()
    assert [item.frame for item in traffic.packets(run)] == numbers
    assert not any(item.again for item in traffic.packets(run))
    assert [row.packets_sent for row in result_of(run).rows] == [1] * len(numbers)


def test_a_run_that_was_cut_short() -> None:
    book = story()
    book.events.pop()
    book.event("aborted", 30 * S, reason="gone")
    book.packet(29 * S, data(2, 1, BODIES[1]), [])
    book.packet(29 * S, Packet(Kind.FEEDBACK, 2, 0, b""), [(30 * S, Fate.IN_FLIGHT, 0)], back=True)
    run = book.run(complete=False)
    traffic.check_conservation(run)
    found = measure(run)
    assert found["packets"]["dropped"]["in_flight"] == 1
    assert found["feedback"]["dropped"]["in_flight"] == 1
    # Frame 2 was never closed.
    assert "1 of the frames" in found["notes"]["frames"]
    air = measure(story().run(), NO_SCORES)["bytes"]["on_air"]
    assert found["bytes"]["on_air"] == air  # what has not been heard of is not counted as on the air


def test_no_frame_at_all() -> None:
    book = Book(scenario(**{"return": None}))
    book.event("finished", 0)
    run = book.run()
    traffic.check_conservation(run)
    found = measure(run)
    assert found["frames"] == {"sent": 0, "complete": 0, "partial": 0, "lost": 0, "superseded": 0}
    assert found["feedback"] is None
    assert found["bpp"] == {"payload": None, "on_air": None}
    assert found["latency_s"] == {"p50": None, "p95": None, "max": None}
    assert found["age_s"] == {"mean": None, "peak": None}
    assert set(found["notes"]) >= {"bpp", "feedback", "latency_s", "age_s", "quality"}


@pytest.mark.parametrize("break_it", ["two ends", "no end", "unknown", "sent twice"])
def test_packets_that_do_not_add_up_are_found(break_it: str) -> None:
    run = story().run()
    traffic.check_conservation(run)
    rows = run.rows.tolist()
    if break_it == "two ends":
        rows.append([30 * S, 0, Fate.DUPLICATE, 0, 0, 0])
    elif break_it == "no end":
        rows = [row for row in rows if not (row[1] == 0 and row[2] == Fate.DELIVERED)]
    elif break_it == "unknown":
        rows.append([30 * S, 99, Fate.DELIVERED, 0, 0, 0])
    else:
        rows.append([30 * S, 0, Fate.SENT, 0, 0, 0])
    with pytest.raises(AssertionError, match="packet"):
        traffic.check_conservation(replace(run, rows=np.array(rows, np.int64)))


def test_age_against_a_sampled_sawtooth() -> None:
    # The third picture is older than the one on the screen: it changes nothing.
    shown = [(5, 0), (11, 10), (13, 4), (30, 20), (31, 28)]
    until = 50
    found = metrics.age([(time * S, captured * S) for time, captured in shown], until * S)
    steps = 200_000
    times = shown[0][0] + (np.arange(steps) + 0.5) * (until - shown[0][0]) / steps
    newest = np.array([max(captured for at, captured in shown if at <= time) for time in times.tolist()])
    ages = times - newest
    assert found.mean_s == pytest.approx(ages.mean(), rel=1e-5)
    assert found.peak_s == pytest.approx(ages.max(), abs=1e-3)
    assert len(found.updates) == 4


def test_age_of_one_picture() -> None:
    found = metrics.age([(5 * S, S)], 15 * S)
    assert found.mean_s == 9.0
    assert found.peak_s == 14.0
    instant = metrics.age([(5 * S, S)], 5 * S)
    assert (instant.mean_s, instant.peak_s) == (None, None)


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_psnr_against_nested_loops() -> None:
    a, b = picture(1), picture(2)
    total = 0
    for row in range(HEIGHT):
        for column in range(WIDTH):
            for channel in range(3):
                total += (int(a[row, column, channel]) - int(b[row, column, channel])) ** 2
    expected = 10 * math.log10(255**2 * a.size / total)
    assert quality.psnr_db(a, b) == pytest.approx(expected, abs=1e-9)
    assert quality.psnr_db(a, a) is None


def with_pictures(sent: list[Pixels], received: dict[int, Pixels]) -> Run:
    pictures = {
        "sent": {at: png.encode(pixels) for at, pixels in enumerate(sent)},
        "received": {at: png.encode(pixels) for at, pixels in received.items()},
    }
    return replace(story().run(), pictures=pictures)


def test_scores_say_why_they_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(
        pictures.EACH["lpips"], missing=lambda: "the AlexNet weights of this farlink are missing"
    )
    monkeypatch.setitem(pictures.EACH, "lpips", missing)
    run = with_pictures([picture(1), picture(2), picture(3)], {0: picture(1), 1: picture(9)})
    scores = pairs.score(run)
    assert sorted(scores.by_frame) == [0, 1]
    assert scores.by_frame[0]["psnr_db"] is None
    assert scores.by_frame[1]["psnr_db"] == quality.psnr_db(picture(2), picture(9))
    assert "infinite" in scores.notes["psnr_db"]
    assert "20x16" in scores.notes["ms_ssim"]
    found = measure(run, scores)
    assert found["quality"]["psnr_db"] == scores.by_frame[1]["psnr_db"]
    assert found["quality"]["ms_ssim"] is None
    assert found["notes"]["quality.lpips"].startswith("the AlexNet weights")


def test_pictures_of_another_size_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(pictures.EACH["lpips"], missing=lambda: "none")
    monkeypatch.setitem(pictures.EACH, "lpips", missing)
    scores = pairs.score(with_pictures([picture(1)], {0: picture(1, 8, 8)}))
    assert scores.by_frame == {}
    assert "another size" in scores.notes["psnr_db"]


@pytest.mark.slow
def test_ms_ssim_falls_with_noise_and_does_not_depend_on_the_batch() -> None:
    y, x = np.mgrid[0:176, 0:176]
    base = np.stack([x, y, (x + y) // 2], axis=2).astype(np.uint8)
    noise = np.random.default_rng(1).normal(0, 1, base.shape)
    noisy = [np.clip(base + noise * scale, 0, 255).astype(np.uint8) for scale in (0, 8, 40)]
    values = quality.ms_ssim([(at, base, other) for at, other in enumerate(noisy)])
    assert values[0] == pytest.approx(1.0, abs=1e-6)
    assert 0.99 > values[1] > values[2] > 0.0
    assert quality.ms_ssim([(0, base, noisy[1])])[0] == pytest.approx(values[1], abs=1e-5)
