"""From a journal to numbers: what was sent, what arrived, what it cost, how long it took. Pure functions of a `Run`."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from link.codecs import SYNTAXES
from link.journal import Run
from scenarios.results.age import Age as Age
from scenarios.results.age import age as age
from scenarios.results.judge import Analysis
from scenarios.results.traffic import Breakdown, Traffic, scenario
from scenarios.scoring import pictures
from scenarios.scoring.pairs import Scores
from scenarios.words import scaling

NS = 1e9
STATUSES = ("complete", "partial", "lost", "superseded")
"""What becomes of a frame: shown whole, shown with sections missing, nothing shown; and, in live runs alone, arrived
and not drawn, since a newer one came with it."""


def count_words(frames: Mapping[str, int]) -> str:
    """Return in words how many *frames* had each of the statuses that the run knows."""
    return ", ".join(f"{frames[name]} {name}" for name in STATUSES if frames[name] or name != "superseded")


@dataclass(frozen=True, slots=True)
class FrameRow:
    """What became of one frame."""

    frame: int
    name: str
    sender: str
    """Whose it is, of several senders; empty of one."""
    captured_ns: int
    shown_ns: int | None
    """When a picture of it was first shown."""
    refined_ns: int | None
    """When the final picture took that one's place; None: it is the final one."""
    status: str
    """One of `STATUSES`."""
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
    scores: Mapping[str, float | None]
    """Those of `pictures.EACH` that it has."""

    @property
    def latency_s(self) -> float | None:
        """Seconds from capture to the first picture at the far end."""
        return None if self.shown_ns is None else (self.shown_ns - self.captured_ns) / NS

    @property
    def refined_after_s(self) -> float | None:
        """Seconds from capture to the picture that replaced the first one; None: none did."""
        return None if self.refined_ns is None else (self.refined_ns - self.captured_ns) / NS


def end_ns(run: Run) -> int:
    """Return the time of the last thing that the journal holds."""
    last_row = int(run.rows[-1, 0]) if len(run.rows) else 0
    return max([last_row, *(int(event["time_ns"]) for event in run.events)])


def _there_ns(decoded: Mapping[str, Any]) -> int:
    """Return when a picture was there to be seen: a live session's says how long the drawing took."""
    return int(decoded.get("drawn_ns", decoded["time_ns"]))


def frame_rows(run: Run, sent: Traffic, scores: Scores) -> list[FrameRow]:
    """Return one row for each frame that was encoded."""
    events: dict[str, dict[int, dict[str, Any]]] = {}
    for event in run.events:
        if event["frame"] is not None:
            events.setdefault(event["kind"], {}).setdefault(event["frame"], event)
    refined = {
        event["frame"]: _there_ns(event)
        for event in run.events
        if event["kind"] == "decoded" and event.get("refines")
    }
    nothing = Breakdown({})
    rows = []
    for number, encoded in sorted(events.get("encoded", {}).items()):
        captured = events["captured"][number]
        decoded = events.get("decoded", {}).get(number)
        closed = events.get("closed", {}).get(number, {})
        had = closed or decoded or {}  # where the run was cut short, what it was first shown of
        out = [item for item in sent.by_frame.get(number, ()) if item.forward]
        cost = sent.cost_by_frame.get(number, nothing)
        status = "lost" if number not in events.get("superseded", {}) else "superseded"
        if decoded is not None:
            status = "complete" if closed.get("complete") else "partial"
        rows.append(
            FrameRow(
                frame=number,
                name=captured.get("name", ""),
                sender=captured.get("sender", ""),
                captured_ns=captured["time_ns"],
                shown_ns=None if decoded is None else _there_ns(decoded),
                refined_ns=refined.get(number),
                status=status,
                sections_sent=len(encoded["sections"]),
                sections_received=sum(had.get("sections", ())),
                payload_bytes=sum(cost.payload.values()),
                on_air_bytes=cost.on_air,
                packets_sent=len(out),
                packets_lost=sum(item.lost for item in out),
                resent=sum(item.again for item in out),
                scores=scores.by_frame.get(number, {}),
            )
        )
    return rows


def camera_s(run: Run) -> float | None:
    """Return how long the camera ran: each frame stands for the time until the next; None where that is not known.

    Frames that rate control left out, or that came too late to be sent, are counted in: the camera took them.
    """
    times = [event["time_ns"] for event in run.events if event["kind"] == "captured"]
    skipped = [event["time_ns"] for event in run.events if event["kind"] == "skipped" and "by" in event]
    taken = sorted(times + skipped)
    if len(taken) > 1 and taken[-1] > taken[0]:
        span_ns = int(taken[-1]) - int(taken[0])
        return span_ns / NS * len(taken) / (len(taken) - 1)
    period_s = scenario(run)["camera"].get("period_s")
    return float(period_s) * len(taken) if taken and period_s else None


def unfit(run: Run) -> list[str]:
    """Return the reason of each frame that the codec could not make as small as the budget, so nothing was sent."""
    return [
        str(event["reason"])
        for event in run.events
        if event["kind"] == "encoded" and not event["sections"] and event.get("reason")
    ]


def sender_figures(run: Run, rows: Sequence[FrameRow]) -> dict[str, Any]:
    """Return what became of the frames of each of several senders, by name, in their order; empty of one sender.

    `latency_s` and `age_s` are means; that of the run counts whatever picture is the newest, from whomever.
    """
    figures: dict[str, Any] = {}
    for about in scenario(run).get("senders", ()):
        mine = [row for row in rows if row.sender == about["name"]]
        status = Counter(row.status for row in mine)
        waits = [wait for row in mine if (wait := row.latency_s) is not None]
        shown = [(row.shown_ns, row.captured_ns) for row in mine if row.shown_ns is not None]
        figures[about["name"]] = {
            "frames": {"sent": len(mine), **{name: status[name] for name in STATUSES}},
            "on_air_bytes": sum(row.on_air_bytes for row in mine),
            "latency_s": sum(waits) / len(waits) if waits else None,
            "age_s": age(shown, end_ns(run)).mean_s,
        }
    return figures


def measure(
    run: Run, sent: Traffic, rows: list[FrameRow], scores: Scores, analysis: Analysis
) -> dict[str, Any]:
    """Return the figures of *run* as `farlink run --json` prints them; `notes` gives the reason of each null."""
    cost = sent.cost
    about = scenario(run)
    camera, codec, link = about["camera"], about["codec"], about["link"]
    notes = {**analysis.notes, **({"coded_size": how} if (how := scaling(run.head)) else {})}
    status = Counter(row.status for row in rows)
    pixels = len(rows) * camera["width"] * camera["height"]
    payload = sum(cost.payload.values())
    if link.get("return") is None:
        notes["feedback"] = "the link has no way back"
    syntax = SYNTAXES.get(codec["name"])  # None: a journal of another version
    profile = codec.get("profile") if syntax is None or syntax.facts.neural else None
    if profile is None:
        notes["profile"] = "the codec has no neural parts"
    if not pixels:
        notes["bpp"] = "no frame was sent"
    seconds = camera_s(run)
    if seconds is None:
        notes["on_air_bps"] = "the pictures have no pace"
    if reasons := unfit(run):
        notes["unfit"] = f"{len(reasons)} of {len(rows)} frames were not sent: {reasons[0]}"
    _note_cut(run, rows, notes)
    return {
        "scenario": about["name"],
        "codec": codec["name"],
        "seed": about["seed"],
        "profile": profile,
        "frames": {"sent": len(rows), **{name: status[name] for name in STATUSES}},
        "packets": dict(sent.forward),
        "feedback": None if link.get("return") is None else dict(sent.back),
        "hops": dict(sent.hops),
        **({"nodes": dict(sent.nodes)} if sent.nodes else {}),
        **({"senders": by_sender} if (by_sender := sender_figures(run, rows)) else {}),
        "bytes": {
            "on_air": cost.on_air,
            "payload": dict(cost.payload),
            "header": cost.header,
            "fec": cost.fec,
            "repair": cost.repair,
            "feedback": cost.feedback,
        },
        "bpp": {
            "payload": payload * 8 / pixels if pixels else None,
            "on_air": cost.on_air * 8 / pixels if pixels else None,
        },
        "on_air_bps": None if seconds is None else cost.on_air * 8 / seconds,
        "latency_s": _latency(rows, notes),
        "refined_s": _refined(rows, notes),
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
    still = sum(row.status == "lost" and row.frame not in closed for row in rows)
    notes["frames"] = f"the run was cut short: {still} of the frames counted as lost were still on their way"


def nearest_rank(values: Sequence[float], share: float) -> float:
    """Return the least of *values* within which at least *share* of them lie (the nearest-rank percentile).

    It is one of the values, so `95 % within X` holds to the letter; an interpolated percentile would not.
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(round(share * len(ordered), 9)) - 1)]


def _latency(rows: list[FrameRow], notes: dict[str, str]) -> dict[str, float | None]:
    """Return how long pictures took from capture to being first shown, whole or in part."""
    values = [row.latency_s for row in rows if row.latency_s is not None]
    if not values:
        notes["latency_s"] = "no picture was shown"
        return {"p50": None, "p95": None, "max": None}
    return {"p50": nearest_rank(values, 0.5), "p95": nearest_rank(values, 0.95), "max": max(values)}


def _refined(rows: list[FrameRow], notes: dict[str, str]) -> dict[str, float | int | None]:
    """Return how many pictures were shown in part and refined later, and how long after capture that was."""
    values = [value for row in rows if (value := row.refined_after_s) is not None]
    if not values:
        notes["refined_s"] = "no picture was refined after it was shown"
        return {"frames": 0, "p50": None, "max": None}
    return {"frames": len(values), "p50": nearest_rank(values, 0.5), "max": max(values)}


def shown_age(run: Run, rows: Iterable[FrameRow]) -> Age:
    """Return the age of information of a run, until its last picture was taken and its newest one shown.

    A picture counts from when it is first shown: refined, it is no newer.
    What follows is the mending of older pictures and the waiting for receipts: nothing newer can come.
    """
    every = list(rows)
    shown = [(row.shown_ns, row.captured_ns) for row in every if row.shown_ns is not None]
    if not run.complete or not shown:
        return age(shown, end_ns(run))
    newest = max(captured for _, captured in shown)
    update = min(at for at, captured in shown if captured == newest)
    return age(shown, max(update, max(row.captured_ns for row in every)))


def _age(run: Run, rows: list[FrameRow], notes: dict[str, str]) -> dict[str, float | None]:
    view_age = shown_age(run, rows)
    if not view_age.updates:
        notes["age_s"] = "no picture was shown"
    else:
        if view_age.mean_s is None:
            notes["age_s.mean"] = "no time passes between the first picture shown and the last"
        if view_age.peak_s is None:
            notes["age_s.peak"] = "no time passes between the first picture shown and the last"
    return {"mean": view_age.mean_s, "peak": view_age.peak_s}


def _quality(rows: list[FrameRow], scores: Scores, notes: dict[str, str]) -> dict[str, float | None]:
    """Return the mean of each score over the shown frames that have it, the set's scores; note what is missing."""
    shown = [row for row in rows if row.shown_ns is not None]
    quality: dict[str, float | None] = {}
    for name in pictures.EACH:
        values = [value for row in shown if (value := row.scores.get(name)) is not None]
        quality[name] = sum(values) / len(values) if values else None
        why = scores.notes.get(name) or ("" if values else "no pair of pictures could be compared")
        if values and len(values) < len(shown):
            why = f"mean over {len(values)} of the {len(shown)} shown" + (f": {why}" if why else "")
        if why and (shown or name in scores.notes):
            notes[f"quality.{name}"] = why
    quality |= {name: scores.of_set.get(name) for name in pictures.TOGETHER}
    notes |= {f"quality.{name}": scores.notes[name] for name in pictures.TOGETHER if name in scores.notes}
    if shown:
        notes["quality"] = f"means over shown frames; {len(shown)} of {len(rows)} frames were shown"
    else:
        notes["quality"] = "no picture was shown"
    return quality
