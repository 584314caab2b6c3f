"""Where a session goes besides the page: sinks take the news that the room takes, and may never hold it up.

    news --take--> one slot (pictures: the newest of each topic; events and rows: bounded) --thread, 10/s--> publish

A sink that is slow, or whose listener is, thus gets fewer pictures and, of a flood, the newest events and rows.
"""

import io
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from link import png
from link.events import WITH_BYTES, Event, Row
from scenarios.live.news import News

FINDINGS = "/findings/"
"""Where the journal has what models found (`link.journal`)."""

EVERY_S = 0.1
_MOST_EVENTS, _MOST_ROWS = 2000, 20_000


@dataclass
class Batch:
    """What has come since the last one."""

    head: Mapping[str, Any]
    now_ns: int
    fresh: bool = False
    """Whether all that was told before is void."""
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=_MOST_EVENTS))
    """In order, without their pictures."""
    rows: deque[Row] = field(default_factory=lambda: deque(maxlen=_MOST_ROWS))
    data: dict[int, bytes] = field(default_factory=dict)
    """Bytes of packets, by number, of those in *rows* and perhaps of others."""
    pictures: dict[str, Event] = field(default_factory=dict)
    """The newest event with a picture by topic of the journal."""

    def bytes_of_rows(self) -> tuple[list[Row], list[bytes]]:
        """Return the rows, and the bytes of those that have some; a row whose bytes have gone is left out."""
        rows = [row for row in self.rows if row[2] not in WITH_BYTES or row[1] in self.data]
        return rows, [self.data[row[1]] for row in rows if row[2] in WITH_BYTES]


class Sink(ABC):
    """Publishes batches from a thread of its own, which `start` begins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slot: Batch | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: Exception | None = None
        """Why nothing is published any more."""

    @abstractmethod
    def open(self) -> str:
        """Begin, and return a line that says where the session is to be seen. Raise UsageError where it cannot."""

    @abstractmethod
    def publish(self, batch: Batch) -> None:
        """Hand *batch* on. Runs in the sink's thread."""

    def close(self) -> None:
        """Publish what is left, and end. Does nothing a second time."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def start(self) -> str:
        """Open it, and publish from now on; return the line of `open`."""
        line = self.open()
        self._thread = threading.Thread(target=self._work, name=type(self).__name__, daemon=True)
        self._thread.start()
        return line

    def take(self, news: News, head: Mapping[str, Any]) -> None:
        """Take *news* of the session that *head* begins. Waits for nobody."""
        with self._lock:
            batch = self._slot
            if batch is None or news.fresh:
                batch = self._slot = Batch(head, news.now_ns, news.fresh)
            batch.head, batch.now_ns = head, news.now_ns
            batch.data.update(news.data)
            while len(batch.data) > _MOST_ROWS:
                del batch.data[next(iter(batch.data))]
            batch.rows.extend(news.rows)
            for event in news.events:
                if event.picture is not None:
                    batch.pictures[topic_of(event)] = event
                batch.events.append(Event(event.kind, event.time_ns, event.frame, event.fields))

    def _work(self) -> None:
        while not self._stop.wait(EVERY_S):
            if not self._publish():
                return
        self._publish()

    def _publish(self) -> bool:
        with self._lock:
            batch, self._slot = self._slot, None
        if batch is None:
            return True
        try:
            self.publish(batch)
        except Exception as error:  # a library's own; the session goes on without the sink
            self.failure = error
            return False
        return True


def topic_of(event: Event) -> str:
    """Return the journal's topic for the picture, or the boxes, of *event*."""
    if event.kind == "found":
        return f"{FINDINGS}{event.fields['task']}"
    return "/sent" if event.kind == "captured" else "/received"


def picture_file(topic: str, data: bytes) -> tuple[str, bytes]:
    """Return (format, bytes) of the PNG file *data* for a viewer: maps as they are, else as JPEG 95."""
    if topic.startswith(FINDINGS):
        return "png", data
    out = io.BytesIO()
    Image.fromarray(png.decode(data)).save(out, "JPEG", quality=95, subsampling="4:4:4")
    return "jpeg", out.getvalue()
