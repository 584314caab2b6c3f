"""A journal that is replayed: what it holds, by run time, and where in its file, for all who look on at once.

One reading at the start checks everything and notes where each record lies. In memory are kept the rows of packets (48
bytes each), and of events, packets and pictures what says where they are (up to 300 bytes each). Pictures, which are
most of a journal, are read from their chunks of its file when they are wanted; events and the bytes of packets, which
a seek goes through, from a file without a name. MCAP's own index would not do: a journal cut short has none, a long one
gives it up, and its times are those at which records were written, which for rows of packets are not their own.
"""

import shutil
import sys
import tempfile
import threading
from bisect import bisect_right
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from link import journal, records, segments
from link.events import WITH_BYTES, Event
from link.journal import FINDINGS
from link.packet_rows import parse
from scenarios.live.frames import KEPT
from scenarios.live.news import News
from scenarios.live.pictures import psnr, shown_depth
from scenarios.results.stored import open_run

CACHE_BYTES = 8 << 20
"""Of unpacked chunks, for all viewers together."""
_MOST_BATCHES = 4
_BORN = np.array(sorted(map(int, WITH_BYTES)))
_MADE = ("sent", "received")
_SEEN = ("captured", "encoded", "decoded", "found", "not_found")
"""Kinds of events beside which there is something to be seen."""

Numbers = NDArray[np.int64]


class Recording:
    """The journal at *path*, or all segments of a run's folder. Raise UsageError where there is none."""

    def __init__(self, path: Path) -> None:
        stored = open_run(path, pictures=False)
        self.head = stored.head
        self.rows = stored.rows
        """All rows, in the order of their times."""
        self.whole = stored.complete
        """Whether the run came to its end."""
        final = stored.events[-1] if stored.events else None
        self.reason = "the journal ends before the run does"
        """Why it did not."""
        if final is not None and final["kind"] == "aborted":
            self.reason = str(final.get("reason", ""))
        self.row_times = np.ascontiguousarray(self.rows[:, 0])
        # What an end answers late has the time at which it was asked: an event counts from when those before it did.
        times = np.fromiter((event["time_ns"] for event in stored.events), np.int64, len(stored.events))
        self.event_times: Numbers = np.maximum.accumulate(times) if len(times) else times
        self._kinds = [sys.intern(event["kind"]) for event in stored.events]
        self._frames = [event.get("frame") for event in stored.events]
        captured = [at for at, kind in enumerate(self._kinds) if kind == "captured"]
        self.captured = np.array(captured, np.int64)
        """The numbers of the events with which frames begin."""
        self._order = {self._frames[at]: order for order, at in enumerate(captured)}
        del stored
        self.length_ns = int(max([0, *self.event_times[-1:].tolist(), *self.row_times[-1:].tolist()]))
        self._files: list[tuple[Path, IO[bytes]]] = []
        self._chunks: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._batches: OrderedDict[int, dict[int, bytes]] = OrderedDict()
        self._lock = threading.Lock()  # of files and caches
        self._spool: IO[bytes] = tempfile.TemporaryFile()
        self._psnr: dict[int, float | None] = {}
        self._pictures: dict[tuple[str, int], list[int]] = {}  # numbers of the events, in order
        with records.refusing(path):
            self._note_places(path)

    def _note_places(self, path: Path) -> None:
        """Note where events, their pictures, and the bytes of packets lie."""
        events, batches = [0], [0]  # where each begins in the spool, and where the next would
        pictures: dict[int, tuple[int, ...]] = {}
        numbers: list[int] = []
        of: list[int] = []
        with tempfile.TemporaryFile() as blocks:
            for topic, message, bounds in segments.messages(path):
                if not self._files or self._files[-1][0] != bounds.path:
                    self._files.append((bounds.path, bounds.path.open("rb")))
                if topic == "/events":
                    events.append(events[-1] + self._spool.write(message))
                elif topic == "/packets":
                    born = [number for number, _ in parse(message, bounds.take_rows)[1]]
                    numbers += born
                    of += [len(batches) - 1] * len(born)
                    batches.append(batches[-1] + blocks.write(message))
                elif topic in ("/sent", "/received") or (
                    topic.startswith(FINDINGS) and not topic.endswith("/detection")
                ):
                    bounds.take_pixels(records.count_pixels(journal.picture(message)))
                    at = len(events) - 2
                    pictures[at] = (len(self._files) - 1, *bounds.place)
                    kind = sys.intern(topic.rpartition("/")[2])
                    self._pictures.setdefault((kind, int(self._frames[at] or 0)), []).append(at)
            blocks.seek(0)
            shutil.copyfileobj(blocks, self._spool)
        self._events: Numbers = np.array(events, np.int64)
        self._batch_places: Numbers = np.array(batches, np.int64) + events[-1]
        by_number = np.argsort(np.array(numbers, np.int64), kind="stable")
        self._numbers: Numbers = np.array(numbers, np.int64)[by_number]
        self._batch_of: Numbers = np.array(of, np.int64)[by_number]
        self._picture_events: Numbers = np.array(sorted(pictures), np.int64)
        # The number of the file, then `link.records.MessagePlace`.
        self._places: Numbers = np.array([pictures[at] for at in sorted(pictures)], np.int64).reshape(-1, 5)

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            for file in (self._spool, *(file for _, file in self._files)):
                file.close()

    def _spooled(self, ends: Numbers, at: int) -> bytes:
        start, end = ends[at : at + 2].tolist()
        self._spool.seek(start)
        return self._spool.read(end - start)

    def _read(self, at: int) -> bytes:
        """Return the message of picture *at*, counted from 0."""
        number, *rest = self._places[at].tolist()
        place = records.MessagePlace(*rest)
        key = number, place.at
        chunk = self._chunks.pop(key, None)
        if chunk is None:
            path, file = self._files[number]
            chunk = records.unpack_at(file, path, place)
            held = sum(map(len, self._chunks.values())) + len(chunk)
            while self._chunks and held > CACHE_BYTES:
                held -= len(self._chunks.popitem(last=False)[1])
        self._chunks[key] = chunk
        return chunk[place.start : place.start + place.length]

    def packet(self, number: int) -> bytes | None:
        """Return the bytes of packet *number*; None where none stand in the journal."""
        at = int(np.searchsorted(self._numbers, number))
        if at == len(self._numbers) or self._numbers[at] != number:
            return None
        batch = int(self._batch_of[at])
        with self._lock:
            held = self._batches.pop(batch, None)
            if held is None:
                held = dict(parse(self._spooled(self._batch_places, batch), lambda count: None)[1])
                while len(self._batches) >= _MOST_BATCHES:
                    self._batches.popitem(last=False)
            self._batches[batch] = held
            return held.get(number)

    def _picture(self, at: int) -> bytes | None:
        """Return the PNG file beside event *at*."""
        found = int(np.searchsorted(self._picture_events, at))
        if found == len(self._picture_events) or self._picture_events[found] != at:
            return None
        with self._lock:
            return journal.picture(self._read(found))

    def _latest(self, kind: str, frame: int, until_ns: int) -> int | None:
        """Return the number of the event beside which the picture stands that was the latest at *until_ns*."""
        held = self._pictures.get((kind, frame), [])
        at = bisect_right(held, until_ns, key=lambda event: int(self.event_times[event])) - 1
        return held[at] if at >= 0 else None

    def has(self, kind: str, frame: int, until_ns: int) -> bool:
        """Whether `picture` would give one."""
        return self._latest(kind, frame, until_ns) is not None

    def picture(self, kind: str, frame: int, until_ns: int) -> bytes | None:
        """Return the PNG of *frame* as viewers are shown it at *until_ns*: `sent`, `received`, or the task of a map."""
        at = self._latest(kind, frame, until_ns)
        data = None if at is None else self._picture(at)
        if data is None or at is None or kind in _MADE:
            return data
        fields = self._event(at).fields
        if "scale" not in fields:
            return data
        try:
            return shown_depth(data, metric=bool(fields.get("metric")))
        except Exception:  # Pillow's reader raises a dozen types for damaged files
            return None

    def psnr(self, frame: int, until_ns: int) -> float | None:
        """Return the PSNR in dB of the received picture of *frame* as it was at *until_ns*; each is reckoned once."""
        at = self._latest("received", frame, until_ns)
        sent = self._latest("sent", frame, until_ns)
        if at is None or sent is None:
            return None
        if at not in self._psnr:
            shown, original = self._picture(at), self._picture(sent)
            self._psnr[at] = None if shown is None or original is None else psnr(original, shown)
        return self._psnr[at]

    def _event(self, at: int, *, pictures: bool = False) -> Event:
        with self._lock:
            about = records.parse_json(self._spooled(self._events, at))
        kind, time_ns, frame = about.pop("kind"), about.pop("time_ns"), about.pop("frame", None)
        return Event(kind, time_ns, frame, about, self._picture(at) if pictures else None)

    def count(self, now_ns: int) -> tuple[int, int]:
        """Return how many rows and events there are until *now_ns*."""
        row, event = (
            int(np.searchsorted(times, now_ns, side="right")) for times in (self.row_times, self.event_times)
        )
        return row, event

    def between(self, before_ns: int, now_ns: int, *, pictures: bool) -> News:
        """Return what happened after *before_ns* until *now_ns*; without *pictures* events come alone."""
        (low, first), (high, last) = self.count(before_ns), self.count(now_ns)
        block = self.rows[low:high]
        born = np.unique(block[np.isin(block[:, 2], _BORN), 1]).tolist()
        data = {number: held for number in born if (held := self.packet(number)) is not None}
        events = [self._event(at, pictures=pictures) for at in range(first, last)]
        rows: Any = [tuple(row) for row in block.tolist()]
        return News(now_ns, 1.0, False, None, events, rows, data)

    def after(self, now_ns: int, most: int) -> int:
        """Return a time after *now_ns* by which about *most* rows, and as many events, happen at most."""
        ends = [self.length_ns]
        for times, at in zip((self.row_times, self.event_times), self.count(now_ns), strict=True):
            if at + most < len(times):
                ends.append(int(times[at + most]))
        return max(now_ns + 1, min(ends))

    def next_ns(self, now_ns: int, kind: str | None = None) -> int:
        """Return when something happens next, or an event of *kind*; the journal's end where nothing does."""
        row, event = self.count(now_ns)
        if kind is not None:
            found = next((at for at in range(event, len(self._kinds)) if self._kinds[at] == kind), None)
            return self.length_ns if found is None else int(self.event_times[found])
        times = [*self.event_times[event : event + 1].tolist(), *self.row_times[row : row + 1].tolist()]
        return min(times, default=self.length_ns)

    def seen(self, until_ns: int, window_ns: int, most: int) -> list[tuple[int, Event]]:
        """Return the events that say what is to be seen at *until_ns*, each behind the time from which it counts.

        They are those of the frames that a room keeps, and of the newest *most* pictures that were drawn in the last
        *window_ns*.

        Maps come with them, other pictures do not.
        """
        last = self.count(until_ns)[1]
        kept = self._captured_before(last)
        if not kept:
            return []
        oldest = max(0, kept - KEPT)
        first = int(self.captured[oldest])
        window = int(np.searchsorted(self.event_times, until_ns - window_ns))
        drawn = [at for at in range(window, last) if self._kinds[at] == "decoded" and self._kept(at, 0)]
        wanted = set(drawn[-most:])
        wanted |= {at for at in range(first, last) if self._kinds[at] in _SEEN and self._kept(at, oldest)}
        return [
            (int(self.event_times[at]), self._event(at, pictures=self._kinds[at] == "found"))
            for at in sorted(wanted)
        ]

    def _captured_before(self, event: int) -> int:
        """Return how many frames were captured before event *event*."""
        return int(np.searchsorted(self.captured, event))

    def _kept(self, at: int, oldest: int) -> bool:
        """Whether a room kept the frame of event *at* when that happened, and it is not older than the *oldest*."""
        order = self._order.get(self._frames[at])
        return order is not None and order >= oldest and self._captured_before(at + 1) - order <= KEPT
