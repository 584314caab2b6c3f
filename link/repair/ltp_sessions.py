"""What an LTP engine knows of its sessions (`link.repair.ltp`), and what it keeps to."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil, log

from link.repair.ltp_segments import (
    Cancel,
    DataSegment,
    ReportSegment,
    Segment,
    SessionId,
    Spans,
)

LEAST_TRIES, MOST_TRIES = 5, 64
_LOST = 1e-6  # the chance that every try is lost
_MEMORY_SEGMENTS = 256.0  # of the measured loss


@dataclass(frozen=True)
class LtpSettings:
    """What an engine keeps to."""

    segment_bytes: int
    """Data of a segment at most; its headers come on top, 8 to 16 bytes of them."""
    report_bytes: int = 256
    """A report at most; what takes more is split."""
    loss: float = 0.0
    """Share of segments that the scenario says are lost; what is measured counts where it is more."""
    least_quiet_ns: int = 600_000_000_000
    """Contact time without a word after which the rest of a session is given up, or what all tries of a segment and two
    more take where that is longer."""
    most_bytes: int = 1 << 26
    """Of a block that is received."""
    most_sessions: int = 4096
    """That are received at a time."""
    client: int = 1


@dataclass(frozen=True)
class LtpEvent:
    """What happened to a session."""

    kind: str
    """`piece` (a red segment is here), `red` (all of the red part is), `green` (a green segment is), `delivered` (the
    far end has all of the red part), `cancelled` (by either end, for `reason`)."""
    session: SessionId
    data: bytes = b""
    offset: int = 0
    reason: Cancel | None = None


@dataclass(frozen=True)
class Outgoing:
    """A segment to put on the air."""

    data: bytes
    timer: "Key | None" = None
    """What waits for its answer."""


Key = tuple[str, SessionId, int]
"""(`checkpoint`, `report`, `cancel` or `idle`, session, serial number): what a timer is for."""


@dataclass
class Timer:
    """A segment whose answer is waited for; None: any word of the session is."""

    segment: Segment | None
    tries: int = 0
    due_ns: int | None = None

    @property
    def waiting(self) -> Segment:
        """The segment, where there is one. Raise ValueError where there is none."""
        if self.segment is None:
            raise ValueError("no segment is waited for")
        return self.segment


class Timers:
    """Timers by what they are for, and which is due first."""

    def __init__(self) -> None:
        self._timers: dict[Key, Timer] = {}
        self._agenda: list[tuple[int, int, Key]] = []
        self._order = 0

    def get(self, key: Key) -> Timer | None:
        """Return the timer of *key*."""
        return self._timers.get(key)

    def begin(self, key: Key, segment: Segment | None) -> Timer:
        """Return the timer of *key*, made where there is none; nothing is due before `plan`."""
        return self._timers.setdefault(key, Timer(segment))

    def plan(self, key: Key, due: int) -> None:
        """Have the timer of *key* be due at *due*."""
        self._timers[key].due_ns = due
        self._order += 1
        heappush(self._agenda, (due, self._order, key))

    def end(self, key: Key) -> None:
        """Forget the timer of *key*, where there is one."""
        self._timers.pop(key, None)

    def of(self, session: SessionId, kinds: str = "checkpoint report cancel") -> list[Key]:
        """Return the keys of a session's timers of some *kinds*."""
        return [key for key in self._timers if key[1] == session and key[0] in kinds.split()]

    @property
    def waiting(self) -> bool:
        """Whether an answer is waited for, and not a word of a session alone."""
        return any(kind != "idle" for kind, _, _ in self._timers)

    @property
    def next_ns(self) -> int | None:
        """When the first is due."""
        while self._agenda:
            due, _, key = self._agenda[0]
            timer = self._timers.get(key)
            if timer is not None and timer.due_ns == due:
                return due
            heappop(self._agenda)
        return None

    def take(self) -> Key:
        """Return the key of the timer that is due first, which is not planned any more."""
        _, _, key = heappop(self._agenda)
        self._timers[key].due_ns = None
        return key


@dataclass
class Sending:
    """A session that this engine began."""

    block: bytes
    red: int
    bounds: tuple[int, ...] = ()
    """Where segments end at the latest besides where they are full, ascending."""
    claimed: Spans = field(default_factory=lambda: Spans([]))
    serial: int = 0
    cycles: int = 0
    reports: set[int] = field(default_factory=set)
    unsent: int = 0
    """Segments in the queue."""
    delivered: bool = False
    failed: Cancel | None = None


@dataclass
class Receiving:
    """A session that the far engine began."""

    pieces: dict[int, bytes] = field(default_factory=dict)
    have: Spans = field(default_factory=lambda: Spans([]))
    red: int | None = None
    end: int | None = None
    highest_red: int = 0
    lowest_green: int = 1 << 64
    serial: int = 0
    reported: int = 0
    """Upper bound of what checkpoints of the first transmission asked for."""
    scopes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """(lower, upper) of each report."""
    answered: dict[int, list[int]] = field(default_factory=dict)
    """Reports that answered a checkpoint."""
    delivered: bool = False
    failed: Cancel | None = None

    @property
    def whole(self) -> bool:
        """Whether all of the red part is here."""
        return self.red is not None and self.have.covers(0, self.red)

    def join(self) -> bytes:
        """Return the red part from its pieces, which may overlap."""
        joined = bytearray(self.red or 0)
        for offset, piece in self.pieces.items():
            joined[offset : offset + len(piece)] = piece
        return bytes(joined)

    def miscolored(self, segment: DataSegment) -> bool:
        """Return whether *segment* is red where the block is green, or the other way round."""
        if segment.red:
            beyond = self.red is not None and segment.end > self.red
            return beyond or segment.end > self.lowest_green
        return segment.offset < (self.red if self.red is not None else self.highest_red)


class MeasuredLoss:
    """The share of segments that reports lack, the last few hundred counting most; *least* at the least."""

    def __init__(self, least: float) -> None:
        self._least = least
        self._lost = self._heard = 0.0

    @property
    def share(self) -> float:
        """The larger of the configured and the measured one."""
        return max(self._least, self._lost / self._heard if self._heard else 0.0)

    def count(self, asked: int, missing: int) -> None:
        """Note that of *asked* segments *missing* did not come."""
        kept = max(0.0, 1.0 - asked / _MEMORY_SEGMENTS)
        self._lost, self._heard = kept * self._lost + missing, kept * self._heard + asked


def cut(first: int, end: int, bounds: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield the pieces of *first* to *end*, cut at the *bounds* between them and after *most* bytes."""
    edges = [*bounds[bisect_right(bounds, first) : bisect_left(bounds, end)], end]
    for edge in edges:
        while first < edge:
            yield first, min(first + most, edge)
            first += most
        first = edge


def tries(loss: float) -> int:
    """Return how often a segment is sent at most where *loss* of them get lost: at least 5, 12 at 30 %."""
    if loss <= 0.0:
        return LEAST_TRIES
    return min(MOST_TRIES, max(LEAST_TRIES, ceil(log(_LOST) / log(min(loss, 0.99)))))


def split_report(
    session: SessionId, checkpoint: int, lower: int, upper: int, have: Spans, mtu_bytes: int
) -> list[ReportSegment]:
    """Return the reports of what is there from *lower* to *upper*, each within the MTU, their scopes side by side.

    Their serial numbers are still to be given; room is left for numbers of up to 28 bits.
    """
    reports: list[ReportSegment] = []
    claims: list[tuple[int, int]] = []
    first = lower
    for claim in have.within(lower, upper):
        trial = ReportSegment(session, 1 << 27, checkpoint, first, upper, (*claims, claim))
        if claims and len(bytes(trial)) > mtu_bytes:
            reports.append(ReportSegment(session, 0, checkpoint, first, claim[0], tuple(claims)))
            first, claims = claim[0], []
        claims.append(claim)
    reports.append(ReportSegment(session, 0, checkpoint, first, upper, tuple(claims)))
    return reports
