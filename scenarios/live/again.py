"""`farlink run --again`: the run of a journal once more, with its own pictures, and whether it came to the same."""

import json
from collections import deque
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np

from link import journal, segments
from link.again import DivergedError, rerun
from link.channel import NS
from link.conductor import ROLES, Conductor
from link.errors import FarlinkError, UsageError
from link.events import Event
from link.frame import Pixels
from link.inputs import Answer
from link.live import LateEnd
from link.png import decode as decode_png
from link.timing import times
from scenarios import run as runs
from scenarios.schema import Scenario
from sender.camera.picture import Shot, Skipped

_FAR_NS = 1 << 62


def read_scenario(stored: journal.Run, path: Path) -> Scenario:
    """Return the scenario of the journal *stored*. Raise UsageError where this farlink does not understand it."""
    try:
        return Scenario.model_validate(stored.head["scenario"])
    except (KeyError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"{path}: a scenario that this farlink cannot run again: {line}") from None


def run_again(source: Path, out: Path, progress: runs.Progress = lambda _record: None) -> int:
    """Run the journal *source* again into *out*/run.mcap and compare; return how many records are equal.

    *source* is a journal, or a run's folder.
    The pictures, and what the camera left out, are the journal's. Of one that was cut short what there is must come
    again. Raise DivergedError, which names the first record that is not the same, FingerprintError where the models
    of this machine are others, UsageError where the journal cannot be run.
    """
    stored = journal.read(source)
    scenario = read_scenario(stored, source)
    segments.check_whole(stored.head, source)
    runs.check_fingerprint(scenario, stored.head)
    session = scenario.session()
    traces = runs.known_traces(stored.head, session.link, source if source.is_dir() else source.parent)
    waits = times(session, traces)

    from receiver.__main__ import build as build_receiver
    from sender.__main__ import build as build_sender

    sender, _ = build_sender(session, waits, shots=recorded_shots(stored))
    receiver, _ = build_receiver(session, waits)
    answers: deque[Answer] = deque()
    ends = LateEnd(ROLES[0], sender, answers), LateEnd(ROLES[1], receiver, answers)

    def tell(event: Event) -> None:
        progress({"kind": event.kind, "frame": event.frame, "time_ns": event.time_ns, **event.fields})

    with journal.Journal(out / "run.mcap", stored.head) as book:
        if session.live:
            rerun(Conductor(session, traces, *ends, book, tell), answers, stored.events)
        else:
            _run_plainly(Conductor(session, traces, sender, receiver, book, tell))
    return compare(source, out / "run.mcap", whole=stored.complete)


def _run_plainly(conductor: Conductor) -> None:
    try:
        conductor.run()
    except FarlinkError as error:
        conductor.finish("aborted", reason=str(error))


def recorded_shots(stored: journal.Run) -> Iterator[Shot | Skipped]:
    """Yield what the camera of the journal *stored* gave, in order; of what was left out no more than its name."""
    camera = stored.head["scenario"]["camera"]
    nothing = np.zeros((camera["height"], camera["width"], 3), np.uint8)
    for event in stored.events:
        if event["kind"] == "captured":
            picture = stored.pictures["sent"].get(event["frame"])
            if picture is None:
                raise UsageError(
                    f"the journal has no picture of frame {event['frame']}, which it says was captured"
                )
            pixels: Pixels = decode_png(picture)
            yield Shot(event.get("name", ""), pixels, event.get("source_pts_ns"), event.get("fitted", ""))
        elif event["kind"] == "skipped" and "by" in event:  # by rate control, or because it was late
            yield Shot(event.get("name", ""), nothing, event.get("source_pts_ns"), "")
        elif event["kind"] == "skipped":
            yield Skipped(event.get("name", ""), event.get("reason", ""))
    if all(event["kind"] != "exhausted" for event in stored.events):
        # The camera had more to give when the run was ended, and the sender may have waited for the next.
        yield Shot("", nothing, _FAR_NS, "")


def _records(path: Path) -> Iterator[tuple[str, bytes]]:
    return ((topic, data) for topic, data, _ in segments.messages(path))


def compare(first: Path, second: Path, *, whole: bool) -> int:
    """Return how many records the journals *first* and *second* have in common, where that is all of the first.

    *whole*: the second must not have more. The scenario that stands first in each is not looked at. Raise
    DivergedError.
    """
    count = 0
    for one, other in zip_longest(_records(first), _records(second)):
        if one is None and not whole:
            return count
        if one is not None and other is not None and one[0] == other[0] == "/scenario":
            continue
        if one != other:
            raise DivergedError(f"record {count + 1} is not the same: {_difference(one, other)}")
        count += 1
    return count


def _difference(one: tuple[str, bytes] | None, other: tuple[str, bytes] | None) -> str:
    """Return in words what two records that should be equal are."""
    if one is None or other is None:
        name, rest = ("again", other) if one is None else ("the first time", one)
        return f"{_name(rest)} only {name}"
    if one[0] == other[0] == "/events":
        was, now = json.loads(one[1]), json.loads(other[1])
        if was["kind"] == now["kind"]:
            keys = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
            what = ", ".join(f"{key} {was.get(key)!r}, now {now.get(key)!r}" for key in keys[:2])
            return f"{_name(one)}: {what}"[:300]
    if one[0] == other[0]:
        return f"{_name(one)}: other bytes"
    return f"{_name(one)}, now {_name(other)}"


def _name(record: tuple[str, bytes] | None) -> str:
    if record is None:
        return "nothing"
    topic, data = record
    if topic != "/events":
        return {
            "/packets": "fates of packets",
            "/sent": "a sent picture",
            "/received": "a received picture",
        }.get(topic, topic)
    event = json.loads(data)
    frame = "" if event["frame"] is None else f" of frame {event['frame']}"
    return f"{event['kind']}{frame} at {event['time_ns'] / NS:.6f} s"
