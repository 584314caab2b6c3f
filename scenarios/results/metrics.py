"""From a journal to numbers: what was sent, what arrived, what it cost. Pure functions of a `Run`.

Every packet that was sent, and every copy that the channel made, has one end: delivered, or one drop with a
reason. Every byte on the air stands in exactly one place of the breakdown:

    payload   chunk data of data packets, by kind of section      header   packet and chunk headers
    fec       bodies of repair packets                            repair   packets sent again, whole, by an end or a hop
    feedback  packets on the way back and reports of hops, whole

A packet counts as on the air when it left the first transmitter of its direction, whatever became of it
there. That is told by its fate and not by its time on the transmitter, which is 0 for the packets that share
an opportunity of a trace.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from link import fragment, packet
from link.codecs import SYNTAXES
from link.config import Codec
from link.events import BIRTHS, Fate
from link.journal import Run
from link.packet import Kind
from scenarios.results.age import Age as Age
from scenarios.results.age import age as age
from scenarios.results.hop_packets import HopPacket, hop_figures, hop_packets
from scenarios.results.judge import Analysis, analyse
from scenarios.scoring.quality import Scores, score
from scenarios.words import scaling

NS = 1e9
_RADIATED = (Fate.CROSSED, Fate.CHANNEL_LOSS, Fate.OUTAGE)
_USELESS = (Fate.DUPLICATE, Fate.DEADLINE)  # these reached the far end intact, and were of no use to it


@dataclass(frozen=True, slots=True)
class Sent:
    """A packet that an end handed to the channel, and what became of it."""

    number: int
    forward: bool
    sent_ns: int
    frame: int
    """The full frame number, not the 14 bits of the wire."""
    index: int
    kind: Kind
    size_bytes: int
    again: bool
    """Whether a packet of this frame and index had been sent before."""
    on_air: bool
    end: Fate
    """DELIVERED, or the reason of its drop; IN_FLIGHT where the journal ends first."""

    @property
    def lost(self) -> bool:
        """Whether it never came to the far end in one piece."""
        return self.end.is_drop and self.end not in _USELESS


@dataclass(frozen=True, slots=True)
class FrameRow:
    """What became of one frame."""

    frame: int
    name: str
    captured_ns: int
    shown_ns: int | None
    status: str
    """complete, partial (shown with sections missing) or lost (nothing shown)."""
    sections_sent: int
    sections_received: int
    payload_bytes: int
    """Payload on the air: what its data packets carried the first time they were sent."""
    on_air_bytes: int
    """Everything on the air on its behalf, feedback included, reports of hops left out."""
    packets_sent: int
    packets_lost: int
    """Of these, the ones that never came to the far end in one piece."""
    resent: int
    """Of these, the ones that had been sent before."""
    psnr_db: float | None
    ms_ssim: float | None
    lpips: float | None

    @property
    def latency_s(self) -> float | None:
        """Seconds from capture to the picture at the far end."""
        return None if self.shown_ns is None else (self.shown_ns - self.captured_ns) / NS


@dataclass(frozen=True)
class Breakdown:
    """Bytes on the air, by what they were for."""

    payload: dict[str, int]
    header: int
    fec: int
    repair: int
    feedback: int

    @property
    def on_air(self) -> int:
        """All of them."""
        return sum(self.payload.values()) + self.header + self.fec + self.repair + self.feedback


def scenario(run: Run) -> dict[str, Any]:
    """Return the resolved scenario of *run*."""
    found: dict[str, Any] = run.head["scenario"]
    return found


def end_ns(run: Run) -> int:
    """Return the time of the last thing that the journal holds."""
    last_row = int(run.rows[-1, 0]) if len(run.rows) else 0
    return max([last_row, *(int(event["time_ns"]) for event in run.events)])


def _ends(run: Run) -> dict[int, list[Fate]]:
    """Return the ends of each packet: one, or none where the journal was cut short."""
    ends: dict[int, list[Fate]] = {}
    rows = run.rows[(run.rows[:, 2] == Fate.DELIVERED) | (run.rows[:, 2] >= Fate.QUEUE_FULL)]
    for number, fate in rows[:, 1:3].tolist():
        ends.setdefault(number, []).append(Fate(fate))
    return ends


def _copies(run: Run) -> list[tuple[int, bool]]:
    """Return (number, forward) of each copy that the channel made.

    The far end's verdicts name no direction; the row that says DUPLICATED does.
    """
    rows = run.rows[run.rows[:, 2] == Fate.DUPLICATED]
    return [(number, hop >= 0) for number, hop in rows[:, [1, 3]].tolist()]


def packets(run: Run) -> list[Sent]:
    """Return every packet that an end sent, in the order of sending."""
    framing = scenario(run)["link"]["framing"]
    rows = run.rows
    first_hop = (rows[:, 3] == 0) | (rows[:, 3] == -1)
    on_air = set(rows[first_hop & np.isin(rows[:, 2], _RADIATED), 1].tolist())
    ends = _ends(run)
    seen: set[tuple[int, int]] = set()
    shots = [(event["time_ns"], event["frame"]) for event in run.events if event["kind"] == "captured"]
    captured, numbers = [time for time, _ in shots], [frame for _, frame in shots]
    found = []
    for time, number, hop in rows[rows[:, 2] == Fate.SENT][:, [0, 1, 3]].tolist():
        data = run.data[number]
        head = packet.peek(packet.unwrap(data, framing))
        forward = hop >= 0
        # Nobody sends or asks for a frame that is not yet captured.
        newest = bisect_right(captured, time) - 1
        frame = packet.frame_until(head.frame, numbers[newest] if newest >= 0 else 0)
        again = False
        if forward:
            again = (frame, head.index) in seen
            seen.add((frame, head.index))
        end = ends.get(number, [Fate.IN_FLIGHT])[0]
        found.append(
            Sent(number, forward, time, frame, head.index, head.kind, len(data), again, number in on_air, end)
        )
    return found


def conserved(run: Run) -> None:
    """Raise AssertionError, naming the packet, where packets do not add up.

    Each number is sent or made as a copy once, and ends once (in a run that was cut short: at most once), and
    in both directions sent + duplicated = delivered + the sum of the drops.
    """
    rows = run.rows
    births = Counter(rows[np.isin(rows[:, 2], BIRTHS), 1].tolist())
    ends = _ends(run)
    for number, times in births.items():
        if times != 1:
            raise AssertionError(f"packet {number} was sent {times} times under one number")
        if len(ends.get(number, [])) > 1:
            raise AssertionError(f"packet {number} has ends {', '.join(fate.name for fate in ends[number])}")
        if run.complete and number not in ends:
            raise AssertionError(f"packet {number} has no end, and the run is finished")
    unknown = set(rows[:, 1].tolist()) - set(births)
    if unknown:
        raise AssertionError(f"packet {min(unknown)} has a fate and was never sent")
    for forward in (True, False):
        count = counts(run, packets(run), forward=forward)
        there = count["delivered"] + sum(count["dropped"].values())
        if count["sent"] + count["duplicated"] != there:
            raise AssertionError(f"{count['sent']} sent and {count['duplicated']} copies, but {there} ends")


def counts(run: Run, sent: Iterable[Sent], *, forward: bool) -> dict[str, Any]:
    """Return sent, delivered, dropped by reason, and duplicated of one direction."""
    ends = [item.end for item in sent if item.forward == forward]
    total = len(ends)
    by_copy = _ends(run)
    copies = [number for number, out in _copies(run) if out == forward]
    ends += [by_copy.get(number, [Fate.IN_FLIGHT])[0] for number in copies]
    fates = Counter(ends)
    return {
        "sent": total,
        "delivered": fates[Fate.DELIVERED],
        "dropped": {fate.name.lower(): fates[fate] for fate in Fate if fate.is_drop and fates[fate]},
        "duplicated": len(copies),
    }


def section_kind(about: dict[str, Any]) -> Callable[[int], str]:
    """Return what tells the kind of a section by its number; *about* is the resolved scenario."""
    try:
        codec = Codec.model_validate(about["codec"])
        return partial(SYNTAXES[codec.name].kind, codec)
    except (ValueError, KeyError):  # a journal of another version
        return lambda _number: "unknown"


def by_hops(run: Run, sent: Iterable[Sent]) -> list[HopPacket]:
    """Return what hops put on the air by themselves; *sent* is what the ends did."""
    return hop_packets(run, {run.data[item.number]: item.frame for item in sent if item.forward})


def breakdown(run: Run, sent: Iterable[Sent], own: Sequence[HopPacket] = ()) -> Breakdown:
    """Return what the bytes of *sent* that were on the air, and those of hops' *own* packets, were for."""
    framing = scenario(run)["link"]["framing"]
    head = packet.overhead(framing)
    kind_of = section_kind(scenario(run))
    payload: Counter[str] = Counter()
    header = fec = repair = feedback = 0
    for item in sent:
        if not item.on_air:
            continue
        if not item.forward:
            feedback += item.size_bytes
        elif item.again:
            repair += item.size_bytes
        elif item.kind == Kind.DATA:
            body = packet.peek(packet.unwrap(run.data[item.number], framing)).body
            held = 0
            for chunk in fragment.chunks(body):
                payload[kind_of(chunk.section)] += len(chunk.data)
                held += len(chunk.data)
            header += item.size_bytes - held
        else:
            fec += item.size_bytes - head
            header += head
    repair += sum(item.size_bytes for item in own if not item.report)
    feedback += sum(item.size_bytes for item in own if item.report)
    return Breakdown(dict(sorted(payload.items())), header, fec, repair, feedback)


def frame_rows(run: Run, scores: Scores | None = None, sent: Sequence[Sent] | None = None) -> list[FrameRow]:
    """Return one row for each frame that was encoded. *scores* of the pictures are made where not given."""
    scores = score(run) if scores is None else scores
    events: dict[str, dict[int, dict[str, Any]]] = {}
    for event in run.events:
        if event["frame"] is not None:
            events.setdefault(event["kind"], {}).setdefault(event["frame"], event)
    by_frame: dict[int, list[Sent]] = {}
    sent = packets(run) if sent is None else sent
    for item in sent:
        by_frame.setdefault(item.frame, []).append(item)
    repeats: dict[int, list[HopPacket]] = {}
    for own in by_hops(run, sent):
        if own.frame is not None:
            repeats.setdefault(own.frame, []).append(own)
    rows = []
    for number, encoded in sorted(events.get("encoded", {}).items()):
        captured = events["captured"][number]
        closed = events.get("closed", {}).get(number, {})
        decoded = events.get("decoded", {}).get(number)
        mine = by_frame.get(number, [])
        out = [item for item in mine if item.forward]
        cost = breakdown(run, mine, repeats.get(number, ()))
        quality = scores.by_frame.get(number)
        status = "lost" if decoded is None else "complete" if closed.get("complete") else "partial"
        rows.append(
            FrameRow(
                frame=number,
                name=captured.get("name", ""),
                captured_ns=captured["time_ns"],
                shown_ns=None if decoded is None else decoded["time_ns"],
                status=status,
                sections_sent=len(encoded["sections"]),
                sections_received=sum(closed.get("sections", ())),
                payload_bytes=sum(cost.payload.values()),
                on_air_bytes=cost.on_air,
                packets_sent=len(out),
                packets_lost=sum(item.lost for item in out),
                resent=sum(item.again for item in out),
                psnr_db=quality.psnr_db if quality else None,
                ms_ssim=quality.ms_ssim if quality else None,
                lpips=quality.lpips if quality else None,
            )
        )
    return rows


def measure(run: Run, scores: Scores | None = None, analysis: Analysis | None = None) -> dict[str, Any]:
    """Return the figures of *run* as `farlink run --json` prints them; `notes` gives the reason of each null.

    *scores* (`scoring.quality.score`) and *analysis* (`results.judge.analyse`) are made where not given.
    """
    scores = score(run) if scores is None else scores
    analysis = analyse(run) if analysis is None else analysis
    sent = packets(run)
    rows = frame_rows(run, scores, sent)
    own = by_hops(run, sent)
    cost = breakdown(run, sent, own)
    about = scenario(run)
    camera, codec, link = about["camera"], about["codec"], about["link"]
    notes = {**analysis.notes, **({"coded_size": how} if (how := scaling(run.head)) else {})}
    status = Counter(row.status for row in rows)
    pixels = len(rows) * camera["width"] * camera["height"]
    payload = sum(cost.payload.values())
    feedback = None
    if link.get("return") is not None:
        feedback = counts(run, sent, forward=False)
    else:
        notes["feedback"] = "the link has no way back"
    syntax = SYNTAXES.get(codec["name"])  # None: a journal of another version
    profile = codec.get("profile") if syntax is None or syntax.facts.neural else None
    if profile is None:
        notes["profile"] = "the codec has no neural parts"
    if not pixels:
        notes["bpp"] = "no frame was sent"
    _note_cut(run, rows, notes)
    return {
        "scenario": about["name"],
        "codec": codec["name"],
        "seed": about["seed"],
        "profile": profile,
        "frames": {"sent": len(rows), **{name: status[name] for name in ("complete", "partial", "lost")}},
        "packets": counts(run, sent, forward=True),
        "feedback": feedback,
        "hops": hop_figures(own, [hop["name"] for hop in link["hops"]]),
        "bytes": {
            "on_air": cost.on_air,
            "payload": cost.payload,
            "header": cost.header,
            "fec": cost.fec,
            "repair": cost.repair,
            "feedback": cost.feedback,
        },
        "bpp": {
            "payload": payload * 8 / pixels if pixels else None,
            "on_air": cost.on_air * 8 / pixels if pixels else None,
        },
        "latency_s": _latency(rows, notes),
        "age_s": _age(run, rows, notes),
        "quality": _quality(rows, scores, notes),
        "tasks": analysis.tasks,
        "speed": {"virtual_s": end_ns(run) / NS},
        "cut_short": cut_reason(run),
        "notes": notes,
    }


def cut_reason(run: Run) -> str | None:
    """Return why the run did not come to its end; None where it did."""
    if run.complete:
        return None
    last = run.events[-1] if run.events else {}
    if last.get("kind") == "aborted":
        return str(last.get("reason", ""))
    return "the journal ends before the run does"


def _note_cut(run: Run, rows: list[FrameRow], notes: dict[str, str]) -> None:
    if run.complete:
        return
    closed = {event["frame"] for event in run.events if event["kind"] == "closed"}
    still = sum(row.frame not in closed for row in rows)
    notes["frames"] = f"the run was cut short: {still} of the frames counted as lost were still on their way"


def _latency(rows: list[FrameRow], notes: dict[str, str]) -> dict[str, float | None]:
    values = [row.latency_s for row in rows if row.latency_s is not None]
    if not values:
        notes["latency_s"] = "no picture was shown"
        return {"p50": None, "p95": None, "max": None}
    p50, p95 = np.percentile(values, (50, 95)).tolist()
    return {"p50": p50, "p95": p95, "max": max(values)}


def shown_age(run: Run, rows: Iterable[FrameRow]) -> Age:
    """Return the age of information of a run, until its last picture was taken and its newest one shown.

    What follows is the mending of older pictures and the waiting for receipts: nothing newer can come.
    """
    found = list(rows)
    shown = [(row.shown_ns, row.captured_ns) for row in found if row.shown_ns is not None]
    if not run.complete or not shown:
        return age(shown, end_ns(run))
    newest = max(captured for _, captured in shown)
    update = min(at for at, captured in shown if captured == newest)
    return age(shown, max(update, max(row.captured_ns for row in found)))


def _age(run: Run, rows: list[FrameRow], notes: dict[str, str]) -> dict[str, float | None]:
    found = shown_age(run, rows)
    if not found.updates:
        notes["age_s"] = "no picture was shown"
    else:
        if found.mean_s is None:
            notes["age_s.mean"] = "no time passes between the first picture shown and the last"
        if found.peak_s is None:
            notes["age_s.peak"] = "no time passes between the first picture shown and the last"
    return {"mean": found.mean_s, "peak": found.peak_s}


def _quality(rows: list[FrameRow], scores: Scores, notes: dict[str, str]) -> dict[str, float | None]:
    """Return the mean of each score over the shown frames that have it, and note how many these are."""
    shown = [row for row in rows if row.shown_ns is not None]
    means: dict[str, float | None] = {}
    for name in ("psnr_db", "ms_ssim", "lpips"):
        values = [value for row in shown if (value := getattr(row, name)) is not None]
        means[name] = sum(values) / len(values) if values else None
        if name in scores.notes:
            notes[f"quality.{name}"] = scores.notes[name]
        elif not values and shown:
            notes[f"quality.{name}"] = "no pair of pictures could be compared"
    if shown:
        notes["quality"] = f"means over the {len(shown)} shown of {len(rows)} frames"
    else:
        notes["quality"] = "no picture was shown"
    return means
