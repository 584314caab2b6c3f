"""The queue in front of a transmitter: drop-tail in bytes, with strict priority classes.

A packet that does not fit is dropped, unless packets of a lower class wait: then the newest of the lowest
class make room.
"""

from collections import deque
from typing import NamedTuple

from link.packet import PRIORITIES


class Waiting(NamedTuple):
    """A packet in the queue."""

    packet: int
    """Its number in the channel."""
    data: bytes
    since_ns: int


class PriorityQueue:
    """Classes 0 (served first) to *classes* - 1, sharing *limit_bytes*.

    The four priorities of packets are spread over the classes there are: with two, 0 and 1 go first.
    """

    def __init__(self, limit_bytes: int, classes: int) -> None:
        self._limit = limit_bytes
        self._lines: list[deque[Waiting]] = [deque() for _ in range(classes)]
        self._bytes = 0

    def __len__(self) -> int:
        return sum(map(len, self._lines))

    @property
    def size_bytes(self) -> int:
        """Of all that waits."""
        return self._bytes

    def put(self, item: Waiting, priority: int) -> list[Waiting]:
        """Queue *item*; return what is dropped for it (perhaps itself)."""
        own = priority * len(self._lines) // PRIORITIES
        lower = sum(len(waiting.data) for line in self._lines[own + 1 :] for waiting in line)
        if self._bytes - lower + len(item.data) > self._limit:
            return [item]
        dropped = []
        for line in reversed(self._lines[own + 1 :]):
            while line and self._bytes + len(item.data) > self._limit:
                victim = line.pop()
                self._bytes -= len(victim.data)
                dropped.append(victim)
        self._lines[own].append(item)
        self._bytes += len(item.data)
        return dropped

    def head(self) -> Waiting | None:
        """Return the packet that is served next, leaving it."""
        return next((line[0] for line in self._lines if line), None)

    def take(self) -> Waiting:
        """Remove and return the packet that is served next. Raise IndexError where none waits."""
        for line in self._lines:
            if line:
                item = line.popleft()
                self._bytes -= len(item.data)
                return item
        raise IndexError("the queue is empty")
