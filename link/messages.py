"""Messages between processes: a verb, a JSON object, and byte strings. No pickle, nothing executable.

peer -> link   hello   {role, wire}                link -> peer   welcome  {session, times}
               ready   {fingerprint, source}                      step     {now, packets, session?, times?} + packets
               done    {...} + packets + pictures                 bye      {error}
               error   {exit_code, message}                       ping     {}
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from link.events import Event, Fate, Output

MAX_PARTS = 4096
VERBS = frozenset({b"hello", b"ready", b"done", b"error", b"welcome", b"step", b"bye", b"ping"})


def pack(verb: bytes, fields: dict[str, Any], blobs: Sequence[bytes] = ()) -> list[bytes]:
    """Return the parts of one message."""
    return [verb, json.dumps(fields).encode(), *blobs]


def unpack(parts: Sequence[bytes]) -> tuple[bytes, dict[str, Any], list[bytes]]:
    """Return (verb, fields, blobs). Raise ValueError for anything that is no message."""
    if not 2 <= len(parts) <= MAX_PARTS or parts[0] not in VERBS:
        raise ValueError("no message of farlink's")
    try:
        fields = json.loads(parts[1])
    except RecursionError:
        raise ValueError("a message nested too deep") from None
    if not isinstance(fields, dict):
        raise ValueError("a message's fields are no object")
    return parts[0], fields, list(parts[2:])


def pack_output(out: Output) -> list[bytes]:
    """Return the `done` message that carries *out*."""
    pictures = [event.picture for event in out.events if event.picture is not None]
    events = [
        {**dataclasses.asdict(dataclasses.replace(event, picture=None)), "picture": event.picture is not None}
        for event in out.events
    ]
    fields = {
        "packets": len(out.packets),
        "events": events,
        "verdicts": [[number, int(fate)] for number, fate in out.verdicts],
        "next_ns": out.next_ns,
        "timings": out.timings,
    }
    return pack(b"done", fields, [*out.packets, *pictures])


def unpack_output(fields: dict[str, Any], blobs: list[bytes]) -> Output:
    """Return the output in a `done` message, the inverse of `pack_output`. Raise ValueError where it is none."""
    try:
        count = int(fields["packets"])
        pictures = iter(blobs[count:])
        events = []
        for item in fields["events"]:
            picture = next(pictures) if item["picture"] else None
            events.append(
                Event(str(item["kind"]), int(item["time_ns"]), item["frame"], dict(item["fields"]), picture)
            )
        verdicts = [(int(number), Fate(fate)) for number, fate in fields["verdicts"]]
        next_ns = None if fields["next_ns"] is None else int(fields["next_ns"])
        timings = {str(name): float(value) for name, value in fields["timings"].items()}
        return Output(blobs[:count], events, [(a, int(b)) for a, b in verdicts], next_ns, timings)
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ValueError(f"not an output: {error!r}") from None
