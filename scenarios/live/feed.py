"""To each viewer as much as it takes: one message in its slot, two that it has not acknowledged, no queue.

A viewer is a version of the room: what it is given is all that is new since then. So who is slow is given fewer
pictures and longer lists of rows, and nothing grows; viewers at the same version share one message.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from scenarios.live import messages
from scenarios.live.room import Room

MOST_UNACKNOWLEDGED = 2
BEAT_S = 0.1
RUNNING_S, STILL_S = 0.2, 1.0
"""How long a viewer goes without a message at most, where time runs and where it does not."""
SILENT_S = 60.0
"""A viewer that acknowledges nothing for so long is let go."""
_MOST_ANSWERS = 64
_MOST_FETCHES = 8

Describe = Callable[[bool], tuple[dict[str, Any], list[bytes]]]
"""Gives the state, for who may steer and who may not."""


class Viewer:
    """One page that looks on."""

    def __init__(
        self, *, may_steer: bool, by: str, now_s: float, abort: Callable[[], None] = lambda: None
    ) -> None:
        self.may_steer, self.by = may_steer, by
        self.abort = abort
        """Ends its connection at once, whatever is still to be written."""
        self.version: int | None = None
        """What it was told last; None: it needs the state."""
        self.slot: bytes | None = None
        self.answers: deque[bytes] = deque(maxlen=_MOST_ANSWERS)
        self.fetches: dict[str, None] = {}
        self.wake = asyncio.Event()
        self.heard_s = now_s
        """When it acknowledged last, or had nothing to."""
        self._unacknowledged: deque[int] = deque()
        self._sent_s = -1e9

    @property
    def unacknowledged(self) -> int:
        """How many messages it has not acknowledged."""
        return len(self._unacknowledged)

    def acknowledge(self, seq: int, now_s: float) -> None:
        """It has read the messages up to *seq*."""
        while self._unacknowledged and self._unacknowledged[0] <= seq:
            self._unacknowledged.popleft()
            self.heard_s = now_s

    def answer(self, message: dict[str, Any]) -> None:
        """Send an answer to a command before all else; of too many the oldest is dropped."""
        self.answers.append(messages.pack(message))
        self.wake.set()

    def fetch(self, name: str) -> bool:
        """Want the lossless picture *name* with the next message; return whether there was room for the wish."""
        if len(self.fetches) >= _MOST_FETCHES:
            return False
        self.fetches[name] = None
        return True

    def due(self, version: int, now_s: float, *, still: bool) -> bool:
        """Whether it is to be given a message now."""
        if self.slot is not None or len(self._unacknowledged) >= MOST_UNACKNOWLEDGED:
            return False
        late = now_s - self._sent_s >= (STILL_S if still else RUNNING_S)
        return self.version is None or version > self.version or late or bool(self.fetches)

    def give(self, seq: int, version: int, data: bytes, now_s: float) -> None:
        """Put a message into its slot."""
        if not self._unacknowledged:
            self.heard_s = now_s
        self._unacknowledged.append(seq)
        self.slot, self.version, self._sent_s = data, version, now_s
        self.wake.set()

    def take(self) -> list[bytes]:
        """Return what is to be written to its socket, in order, and let go of it."""
        data = list(self.answers)
        self.answers.clear()
        if self.slot is not None:
            data.append(self.slot)
            self.slot = None
        self.wake.clear()
        return data


class Feed:
    """Gives viewers what is new in a room. *describe* gives the state; *lost* a picture that the room let go of."""

    def __init__(self, describe: Describe, lost: Callable[[str, int], bytes | None]) -> None:
        self._describe, self._lost = describe, lost
        self._seq = 0

    def beat(self, room: Room, viewers: Iterable[Viewer], wall_s: float, now_s: float) -> None:
        """Fill the slots of those *viewers* who are due; *wall_s* is how long the session goes on."""
        made: dict[tuple[int | None, bool], tuple[int, bytes]] = {}
        still = room.news.paused or room.news.done
        for viewer in viewers:
            if not viewer.due(room.version, now_s, still=still):
                continue
            if viewer.version is not None and not room.knows(viewer.version):
                viewer.version = None
            key = viewer.version, viewer.may_steer and viewer.version is None
            if viewer.fetches:
                seq, data = self._make(room, viewer, wall_s)
            else:
                if key not in made:
                    made[key] = self._make(room, viewer, wall_s)
                seq, data = made[key]
            viewer.give(seq, room.version, data, now_s)

    def _make(self, room: Room, viewer: Viewer, wall_s: float) -> tuple[int, bytes]:
        self._seq += 1
        if viewer.version is None:
            message, blobs = self._describe(viewer.may_steer)
        else:
            message, blobs = messages.tick(room, viewer.version, wall_s)
        for name in viewer.fetches:
            self._add(room, name, message, blobs)
        viewer.fetches.clear()
        return self._seq, messages.pack({**message, "seq": self._seq}, blobs)

    def _add(self, room: Room, name: str, message: dict[str, Any], blobs: list[bytes]) -> None:
        """Add the picture that a viewer asked for, losslessly where it can still be had."""
        kind, _, number = name.rpartition("-")
        picture = room.pictures.get(name)
        described: dict[str, Any] | None = None
        if picture is not None and picture.png is not None:
            described = messages.describe(room, picture, len(blobs), blobs, lossless=True)
        elif number.isascii() and number.isdigit() and len(number) < 10:
            if (data := self._lost(kind, int(number))) is not None:
                described = {
                    "id": name, "frame": int(number), "kind": kind, "mime": "image/png", "blob": len(blobs),
                    "lossless": True,
                }  # fmt: skip
                blobs.append(data)
            elif picture is not None:
                described = messages.describe(room, picture, len(blobs), blobs)
        if described is not None:
            message.setdefault("pictures", []).append(described)
