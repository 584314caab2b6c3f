"""Rows and events of a session in the order of run time, whatever the order in which they are told."""

from link.events import WITH_BYTES, Event, Row
from scenarios.live.news import News

_FIRST = {"captured": 0}
Happened = tuple[int, int, Row | None, Event | None]
"""(run time, rank among what has this time, a row or an event)."""


class Order:
    """Sorts the news of one session; rows that say what is still to come wait for it.

    An event counts from when those before it had happened: an end answers late, and all that it says at once. A frame
    is captured before its packets are sent, and these before it is said that they were.
    """

    def __init__(self) -> None:
        self._pending: list[Row] = []
        self._now_ns = 0
        self.awaited: set[int] = set()
        """Packets whose birth is still to come."""

    def sort(self, news: News) -> list[Happened]:
        """Return what has happened by the time of *news*, in order."""
        rows = self._pending + [
            (int(a), int(b), int(c), int(d), int(e), int(f)) for a, b, c, d, e, f in news.rows
        ]
        self._pending = [row for row in rows if row[0] > news.now_ns]
        items: list[Happened] = [(row[0], 1, row, None) for row in rows if row[0] <= news.now_ns]
        for event in news.events:
            self._now_ns = max(self._now_ns, event.time_ns)
            items.append((self._now_ns, _FIRST.get(event.kind, 2), None, event))
        self.awaited = {row[1] for row in self._pending if row[2] in WITH_BYTES}
        return sorted(items, key=lambda item: item[:2])
