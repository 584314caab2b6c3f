"""What viewers are sent: a room's state, and what is new since a version of it, beside its pictures (`wire.py`)."""

from collections.abc import Iterable, Sequence
from typing import Any

from link.codecs import SYNTAXES
from scenarios.live import keep_up
from scenarios.live.controls import KEEP_UP, controls, state_of
from scenarios.live.frames import FINAL
from scenarios.live.pictures import ShownPicture
from scenarios.live.room import Room
from scenarios.live.wire import pack as pack
from scenarios.live.wire import unpack as unpack
from scenarios.report.sections import COLUMNS
from scenarios.words import plain

PROTOCOL = 1
_PHOTO_BYTES = 60_000


def state(
    room: Room,
    *,
    mode: str,
    duration_ns: int | None,
    may_steer: bool,
    wall_s: float,
) -> tuple[dict[str, Any], list[bytes]]:
    """Return everything that a page knows, and the blobs beside it."""
    session, about = room.session, room.head["scenario"]
    link = session.link
    message = {
        "type": "state",
        "protocol": PROTOCOL,
        "mode": mode,
        "may_steer": may_steer,
        "title": plain(str(about.get("title") or session.name)),
        "codec": session.codec.name,
        "source": plain(session.camera.source),
        "tasks": list(room.loaded),
        "size": [session.camera.width, session.camera.height],
        "hops": [
            {
                "name": hop.name,
                "rate_bps": hop.rate_bps,
                "delay_s": hop.delay_s,
                "trace": _trace_name(hop.trace),
            }
            for hop in link.hops
        ],
        "back": _back(room),
        "mtu_bytes": link.mtu_bytes,
        "controls": [
            *controls(session, room.loaded),
            *([] if room.keeps_up is None else [state_of(KEEP_UP, keep_up.PATH, "drawing", room.keeps_up)]),
        ],
        "channels": session.codec.channels,
        "codecs": list(SYNTAXES),
        "tiles": SYNTAXES[session.codec.name].facts.tiles is not None,
        "duration_ns": duration_ns,
    }
    new, blobs = news_since(room, -1, wall_s)
    return {**message, **new}, blobs


def _back(room: Room) -> dict[str, Any] | None:
    link = room.session.link
    if link.return_ is None:
        return None
    return {"rate_bps": link.return_.rate_bps, "delay_s": link.back_delay_s}


def _trace_name(trace: str | None) -> str | None:
    """Return what a trace is called: where it lies is nobody's business."""
    return None if trace is None else str(plain(trace.replace("\\", "/").rpartition("/")[2]))


def tick(room: Room, since: int, wall_s: float) -> tuple[dict[str, Any], list[bytes]]:
    """Return what is new after version *since*, which the room still `knows`, and the blobs beside it."""
    new, blobs = news_since(room, since, wall_s)
    return {"type": "tick", **new}, blobs


def news_since(room: Room, since: int, wall_s: float) -> tuple[dict[str, Any], list[bytes]]:
    """Return the keys that states and ticks have in common; those that have nothing new are left out."""
    waiting, flying = room.waiting()
    rows = newer(room.rows, since)
    message: dict[str, Any] = {
        "clock": {**tell_time(room), "wall_s": round(wall_s, 3)},
        "packets": newer(room.packets, since),
        "rows": rows,
        "rows_left_out": max(0, room.rows_since(since) - len(rows)) if since >= 0 else 0,
        "frames": room.frame_json(since),
        "curves": room.curves.since(since),
        "marks": newer(room.marks, since),
        "values": {path: value for path, (version, value) in room.values.items() if version > since},
        "log": newer(room.log, since),
    }
    message = {key: value for key, value in message.items() if value}
    message |= {"queues": waiting, "flying": flying, "totals": count_all(room), "meter": measure(room)}
    for name, (version, value) in (("rival", room.rival), ("story", room.story), ("ends", room.ends)):
        if version > since:
            message[name] = value
    described: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for picture in pictures_since(room, since):
        described.append(describe(room, picture, len(blobs), blobs))
    if described:
        message["pictures"] = described
    return message, blobs


def count_all(room: Room) -> dict[str, int]:
    """Return the counters of the whole session."""
    counts = room.frames.counts
    return {
        "sent": room.frames.sent,
        **{name: counts[name] for name in FINAL},
        "skipped": room.skipped,
        "on_air_bytes": sum(room.crossing.uses.values()),
        "packets_sent": room.crossing.sent,
        "packets_lost": room.crossing.lost,
    }


def measure(room: Room) -> dict[str, Any]:
    """Return how much of the narrowest hop is used, and what it would take for a photo."""
    narrowest, rate = room.narrowest()
    rate = room.moving.rate(narrowest, room.news.now_ns) or rate
    return {
        "used_share": room.curves.used_share(),
        "bit_rate": room.curves.bit_rate(),
        "rate_bps": rate,
        "photo_s": None if not rate else _PHOTO_BYTES * 8 / rate,
    }


def tell_time(room: Room) -> dict[str, Any]:
    """Return how the session's time stands; seconds of the wall are whoever knows them to add."""
    news = room.news
    draw_s = news.draw_s if news.draw_s is not None else room.draw_s
    period_s = room.session.camera.period_s
    limit = news.limit_factor
    if limit is None and draw_s and period_s and not news.done:
        limit = period_s / draw_s
    return {
        "run_ns": news.now_ns,
        "factor": news.factor,
        "paused": news.paused,
        "jumping": news.jumping,
        "limit_factor": limit,
        "draw_s": draw_s,
        "done": news.done,
        "lost": None if news.lost is None else plain(news.lost),
    }


def pictures_since(room: Room, since: int) -> list[ShownPicture]:
    """Return of the pictures of each kind that came after *since* that of the newest frame.

    With a received one comes the one that was sent: a viewer who is slow may have missed it, and without it there is
    nothing to compare with.
    """
    names: dict[str, str] = {}
    for name in newer(room.gallery.new, since):
        kind, _, number = name.rpartition("-")
        if kind not in names or int(number) >= int(names[kind].rpartition("-")[2]):
            names[kind] = name
    if (received := names.get("received")) is not None:
        of = received.rpartition("-")[2]
        names |= {"original": f"sent-{of}", "made of": f"tiles-{of}"}
    found = [room.pictures.get(name) for name in dict.fromkeys(names.values())]
    return [picture for picture in found if picture is not None]


def describe(
    room: Room, picture: ShownPicture, at: int, blobs: list[bytes], *, lossless: bool = False
) -> dict[str, Any]:
    """Add *picture* to *blobs* and return what a message says of it."""
    mime, data, exact = room.pictures.file(picture, lossless=lossless)
    blobs.append(data)
    about = {
        "id": picture.name,
        "frame": picture.frame,
        "kind": picture.kind,
        "mime": mime,
        "blob": at,
        "lossless": exact,
    }
    return {**about, **({"columns": COLUMNS} if picture.kind == "tiles" else {})}


def newer(held: Iterable[tuple[int, Any]], since: int) -> list[Any]:
    """Return the items of *held* (version, item), which is in the order of versions, after *since*."""
    items = held if isinstance(held, Sequence) else list(held)
    found = []
    for version, item in reversed(items):
        if version <= since:
            break
        found.append(item)
    return found[::-1]
