"""What a live session's journal is given, given to pages as well: a journal's face, with an ear on it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from link import messages
from link.events import WITH_BYTES, Event, Row

if TYPE_CHECKING:
    from link.journal import Journal

MAX_ROWS = 100_000
"""Rows that are kept for pages between two messages: more than a second of the busiest link; the oldest go."""


@dataclass(frozen=True)
class LinkNews:
    """What happened since the last message."""

    now_ns: int
    factor: float
    paused: bool
    jumping: str | None
    """`event` or `picture`, while the run is on its way there."""
    events: Sequence[Event] = ()
    rows: Sequence[Row] = ()
    data: Sequence[bytes] = ()
    """The bytes of the rows in `link.events.WITH_BYTES`, in their order."""
    left_out: int = 0
    """Rows that were too many."""


class Tap:
    """Writes what it is given into *journal*; from `listen` on it keeps it for `take` as well."""

    def __init__(self, journal: "Journal") -> None:
        self._journal = journal
        self._listening = False
        self._rows: list[Row] = []
        self._data: list[bytes] = []
        self._events: list[Event] = []
        self._left_out = 0

    def listen(self, on: bool) -> None:
        """Keep what comes for `take`, or forget it."""
        self._listening = on
        if not on:
            self._clear()

    def packets(self, rows: list[Row], data: list[bytes]) -> None:
        """See `Journal.packets`."""
        if self._listening:
            if len(self._rows) + len(rows) > MAX_ROWS:
                self._left_out += len(self._rows)
                self._rows.clear()
                self._data.clear()
            self._rows += rows
            self._data += data
        self._journal.packets(rows, data)

    def event(self, event: Event) -> None:
        """See `Journal.event`."""
        if self._listening:
            self._events.append(event)
        self._journal.event(event)

    def flush(self) -> None:
        """See `Journal.flush`."""
        self._journal.flush()

    def take(self, now_ns: int, factor: float, paused: bool, jumping: str | None) -> LinkNews:
        """Return what has come since the last call."""
        news = LinkNews(
            now_ns, factor, paused, jumping, self._events[:], self._rows[:], self._data[:], self._left_out
        )
        self._clear()
        return news

    def _clear(self) -> None:
        self._rows.clear()
        self._data.clear()
        self._events.clear()
        self._left_out = 0


def pack_news(news: LinkNews) -> list[bytes]:
    """Return the `news` message of *news*: its JSON, rows as little-endian int64, packets end to end, pictures."""
    events = [
        {**dataclasses.asdict(dataclasses.replace(event, picture=None)), "picture": event.picture is not None}
        for event in news.events
    ]
    pictures = [event.picture for event in news.events if event.picture is not None]
    fields: dict[str, Any] = {
        "now_ns": news.now_ns,
        "factor": news.factor,
        "paused": news.paused,
        "jumping": news.jumping,
        "events": events,
        "sizes": [len(item) for item in news.data],
        "left_out": news.left_out,
    }
    rows = np.array(news.rows, "<i8").reshape(-1, 6).tobytes()
    return messages.pack(b"news", fields, [rows, b"".join(news.data), *pictures])


def unpack_news(fields: dict[str, Any], blobs: list[bytes]) -> LinkNews:
    """Return what `pack_news` packed. Raise ValueError where it does not fit together."""
    told = messages.NewsTold.read(fields)
    if len(blobs) != 2 + sum(item.picture for item in told.events):
        raise ValueError(f"news: {len(blobs)} byte strings came, other than are named")
    rows: list[Row] = [tuple(row) for row in np.frombuffer(blobs[0], "<i8").reshape(-1, 6).tolist()]
    if sum(row[2] in WITH_BYTES for row in rows) != len(told.sizes) or sum(told.sizes) != len(blobs[1]):
        raise ValueError("news: packets and rows do not fit together")
    ends = np.cumsum([0, *told.sizes]).tolist()
    data = [blobs[1][start:end] for start, end in pairwise(ends)]
    pictures = iter(blobs[2:])
    events = [
        Event(item.kind, item.time_ns, item.frame, item.fields, next(pictures) if item.picture else None)
        for item in told.events
    ]
    return LinkNews(told.now_ns, told.factor, told.paused, told.jumping, events, rows, data, told.left_out)
