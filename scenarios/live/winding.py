"""A replay's room at any time, as if the journal had been played until then.

One room, the scout, goes through the journal once, as far as anybody has wanted, and leaves copies of itself on the
way. A room at a time begins as the last copy before it, takes what happened since, and then looks at the pictures
of the frames that it keeps. So no seek takes more than a share of the journal once it was gone through, and none reads
pictures but those. Counters, accounts and curves come from the same code as those of a room that plays.
"""

from scenarios.live.curves import MOST_POINTS
from scenarios.live.recording import Recording
from scenarios.live.room import Room

MOST_COPIES = 16
"""Copies that the scout leaves at most, of up to 2 MB each."""
LEAST_ROWS = 20_000
"""Rows between two of them at least: a fifth of a second's work."""
_BATCH_ROWS = 4000


class Winder:
    """Gives rooms of *recording*. *local* is that of `Room`. Used by one thread at a time."""

    def __init__(self, recording: Recording, *, local: bool) -> None:
        self._recording, self._local = recording, local
        total = sum(recording.count(recording.length_ns))
        self._stride = max(LEAST_ROWS, -(-total // MOST_COPIES))
        self._scout_ns, self._scout = -1, self._begin()
        self._copies: list[tuple[int, Room]] = []

    def _begin(self) -> Room:
        return Room(self._recording.head, local=self._local, library=self._recording).blind()

    def room_at(self, ns: int) -> Room:
        """Return a room as it is at *ns*, which goes its own way from there."""
        ns = max(0, min(ns, self._recording.length_ns))
        if self._scout_ns <= ns:
            self._advance(self._scout, self._scout_ns, ns, leave=True)
            self._scout_ns = ns
            room = self._scout.copy()
        else:
            at, copied = max(
                ((at, copied) for at, copied in self._copies if at <= ns), default=(-1, None), key=_time
            )
            room = self._begin() if copied is None else copied.copy()
            self._advance(room, at, ns, leave=False)
        room.look(self._recording.seen(ns, 2 * room.curves.window_ns, MOST_POINTS))
        return room

    def _advance(self, room: Room, before_ns: int, ns: int, *, leave: bool) -> None:
        """Have *room* take what happened after *before_ns* until *ns*, a batch at a time.

        *leave*: it leaves copies of itself on the way.
        """
        recording = self._recording
        left = sum(recording.count(self._copies[-1][0])) if self._copies else 0
        while before_ns < ns:
            until_ns = min(ns, recording.after(before_ns, _BATCH_ROWS))
            room.take(recording.between(before_ns, until_ns, pictures=False), 0.0)
            before_ns = until_ns
            done = sum(recording.count(before_ns))
            if leave and done - left >= self._stride:
                self._copies.append((before_ns, room.copy()))
                left = done


def _time(item: tuple[int, Room | None]) -> int:
    return item[0]
