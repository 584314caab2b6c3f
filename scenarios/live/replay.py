"""A journal as a session: any journal of `run`, `sweep` or live, at any pace, forwards and back.

Packets and events are kept in memory, pictures in a file without a name: a journal of an hour has half a gigabyte
of them.
"""

import asyncio
import tempfile
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np

from link import journal, records, segments
from link.errors import UsageError
from link.events import WITH_BYTES, Event
from link.inputs import Timing, Turn
from link.journal import FINDINGS
from link.live import Pace
from scenarios.live.frames import KEPT
from scenarios.live.news import Mode, News, Source
from scenarios.results.stored import open_run

TICK_S = 0.1
_PACES = (1.0, 10.0, 60.0, 600.0, 3600.0)
_LONG_S = 180.0  # that a replay should take at most, where nobody says otherwise


class Replay(Source):
    """The journal at *path*, or all segments of a run's folder. *clock* counts seconds from anywhere.

    Raise UsageError where there is none.
    *factor* None: such that it takes three minutes at most.
    """

    mode: Mode = "replay"

    def __init__(self, path: Path, clock: Callable[[], float], factor: float | None = None) -> None:
        stored = open_run(path, pictures=False)
        self.head = stored.head
        self._rows, self._data = stored.rows, stored.data
        self._row_times = np.ascontiguousarray(self._rows[:, 0])
        self._file = tempfile.TemporaryFile()
        self._pictures: dict[int, tuple[int, int]] = {}  # by the number of their event
        self._by_name: dict[tuple[str, int], int] = {}
        self._events = [_event(record) for record in stored.events]
        with records.refusing(path):
            self._spool(path)
        self._event_times: list[int] = []
        latest = 0
        for event in self._events:  # what an end answers late has the time at which it was asked
            latest = max(latest, event.time_ns)
            self._event_times.append(latest)
        last_row = int(self._row_times[-1]) if len(self._row_times) else 0
        self.length_ns = self.duration_ns = max(latest, last_row)
        """Of the journal."""
        self.whole = stored.complete
        if factor is None:
            fitting = [pace for pace in _PACES if self.length_ns / 1e9 / pace <= _LONG_S]
            factor = fitting[0] if fitting else _PACES[-1]
        self._pace = Pace(clock, factor)
        self._reached = 0
        self._told: int | None = None  # run time of the last news
        self._wake = asyncio.Event()
        self._closed = False

    def _spool(self, path: Path) -> None:
        """Put the journal's pictures into the file; each stands right after its event."""
        at = -1
        for topic, message, bounds in segments.messages(path):
            if topic == "/events":
                at += 1
            elif topic in ("/sent", "/received") or (
                topic.startswith(FINDINGS) and not topic.endswith("/detection")
            ):
                data = journal.picture(message)
                bounds.take_pixels(records.count_pixels(data))
                self._pictures[at] = self._file.tell(), len(data)
                self._file.write(data)
                kind = topic.rpartition("/")[2]
                self._by_name[kind, int(self._events[at].frame or 0)] = at

    def _load(self, at: int) -> bytes | None:
        if at not in self._pictures:
            return None
        start, size = self._pictures[at]
        self._file.seek(start)
        return self._file.read(size)

    def picture(self, kind: str, frame: int) -> bytes | None:
        """See `Source.picture`: any picture of the journal, as it was drawn last."""
        at = self._by_name.get((kind, frame))
        if at is None or self._event_times[at] > (self._told or 0):
            return None
        return self._load(at)

    async def news(self) -> AsyncIterator[News]:
        """See `Source.news`."""
        yield self._between(0, fresh=True)
        while not self._closed:
            ended = self._told == self.length_ns
            wait = None if self._pace.paused or ended else TICK_S
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
            except TimeoutError:
                pass
            self._wake.clear()
            if not self._closed:
                yield self._advance()

    def _advance(self) -> News:
        """Return the news up to where the pace has got."""
        now = min(self.length_ns, self._pace.now_ns(self._reached))
        self._reached = now
        return self._between(now, fresh=self._told is None or now < self._told)

    def _between(self, now: int, *, fresh: bool) -> News:
        """Return what happened after the last news, or from the start where *fresh*, until *now*."""
        before = -1 if fresh or self._told is None else self._told
        self._told = now
        low, high = np.searchsorted(self._row_times, (before, now), side="right").tolist()
        rows = [tuple(row) for row in self._rows[low:high].tolist()]
        born = {row[1] for row in rows if row[2] in WITH_BYTES}
        first, last = (bisect_right(self._event_times, time) for time in (before, now))
        events = self._with_pictures(first, last)
        return News(
            now, self._pace.factor, self._pace.paused, None, events, rows,  # type: ignore[arg-type]
            {number: self._data[number] for number in born if number in self._data},
            fresh=fresh, done=now == self.length_ns, lost=self._lost(last),
        )  # fmt: skip

    def _with_pictures(self, first: int, last: int) -> list[Event]:
        """Return events *first* to *last* with the pictures of the newest frames, which are all that a room keeps."""
        captured = [at for at in range(first, last) if self._events[at].kind == "captured"]
        oldest = captured[-KEPT] if len(captured) > KEPT else first
        least = self._events[oldest].frame or 0 if len(captured) > KEPT else -1
        events = []
        for at in range(first, last):
            event = self._events[at]
            if at in self._pictures and (event.frame or 0) >= least:
                event = Event(event.kind, event.time_ns, event.frame, event.fields, self._load(at))
            events.append(event)
        return events

    def _lost(self, last: int) -> str | None:
        if last < len(self._events) or self.whole:
            return None
        final = self._events[-1] if self._events else None
        if final is not None and final.kind == "aborted":
            return str(final.fields.get("reason", ""))
        return "the journal ends before the run does"

    async def pace(self, turn: str | None, factor: float | None) -> str | None:
        """See `Source.pace`; a step goes to the next event, or to the next picture that was drawn."""
        if turn == "stop":
            return "a replay goes on until it is closed"
        now = min(self.length_ns, self._pace.now_ns(self._reached))
        try:
            self._pace.take(Timing(Turn.RESUME if turn == "resume" else None, factor), now)
        except UsageError as error:
            return str(error)
        self._reached = now
        if turn == "pause":
            self._pace.take(Timing(Turn.PAUSE), now)
        elif turn in ("event", "picture"):
            self._go(self._next(now, turn), pause=turn == "event" or self._pace.paused)
        elif turn == "resume" and now == self.length_ns:
            self._go(0, pause=False)
        self._wake.set()
        return None

    def _next(self, now: int, turn: str) -> int:
        """Return the time of the next event, or of the next picture; the journal's end where there is none."""
        at = bisect_right(self._event_times, now)
        if turn == "picture":
            drawn = (one for one in range(at, len(self._events)) if self._events[one].kind == "decoded")
            found = next(drawn, None)
            return self.length_ns if found is None else self._event_times[found]
        row = int(np.searchsorted(self._row_times, now, side="right"))
        times = [*self._event_times[at : at + 1], *self._row_times[row : row + 1].tolist()]
        return min(times, default=self.length_ns)

    async def seek(self, ns: int) -> str | None:
        """See `Source.seek`."""
        self._go(max(0, min(ns, self.length_ns)), pause=self._pace.paused)
        return None

    def _go(self, ns: int, *, pause: bool) -> None:
        self._reached = ns
        if pause:
            self._pace.take(Timing(Turn.PAUSE), ns)
        self._pace.anchor(ns)
        self._wake.set()

    async def close(self) -> None:
        """See `Source.close`."""
        self._closed = True
        self._wake.set()


def _event(record: dict[str, Any]) -> Event:
    about = dict(record)
    return Event(about.pop("kind"), about.pop("time_ns"), about.pop("frame", None), about)
