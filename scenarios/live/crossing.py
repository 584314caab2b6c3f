"""Packets as they cross the link, one row after the other: of which frame each is, what its bytes were for.

The rules are those of `scenarios.results.traffic`, which reads a whole journal at once; here memory is bounded, so a
session may go on for hours. What is added up is equal as long as no frame is repaired after `packet.FRAMES` others.
"""

from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from link import fragment, packet
from link.events import RADIATED, Fate, Row
from link.packet import Kind
from scenarios.results.hop_packets import split_segment
from scenarios.results.traffic import USELESS, uses

MOST_FLYING = 1 << 15
"""Packets without an end that are remembered."""
_BORN = {Fate.SENT, Fate.REPEATED, Fate.REPORTED, Fate.DUPLICATED}
OVERHEAD = ("header", "fec", "repair", "feedback")


@dataclass(slots=True)
class Passing:
    """A packet that has no end yet."""

    number: int
    frame: int | None
    index: int
    kind: str
    """`data`, `fec`, `feedback`, `report` (of a hop), `copy`."""
    section: str
    """The kind of section that a data packet begins with; empty for others."""
    size_bytes: int
    forward: bool
    sent_ns: int
    by_end: bool
    """Whether a sender or receiver sent it; else a hop did by itself."""
    again: bool = False
    on_air: bool = False
    data: bytes | None = None
    """Kept until it is on the air, for what its bytes were for."""


@dataclass(slots=True)
class Account:
    """What a frame's packets came to."""

    captured_ns: int
    seen: int = 0
    """A bit for each packet index that was sent."""
    without_end: int = 0
    """Its packets on the way out that have no end."""
    delivered: int = 0
    uses: Counter[str] = field(default_factory=Counter)
    """Bytes on the air by kind of section, and by `OVERHEAD`."""

    @property
    def on_air(self) -> int:
        """All bytes on the air on its behalf."""
        return sum(self.uses.values())


@dataclass(frozen=True)
class Ended:
    """A packet that came to its end, or was put on the air, with what the room does about it."""

    passing: Passing
    fate: Fate
    first_air: bool
    """Whether it was put on the air just now."""
    end: bool


class Crossing:
    """The packets of a session. *kind_of*, *firsts*: `section_kind`, `first_hops` of `scenarios.results.traffic`."""

    def __init__(self, framing: str, kind_of: Callable[[int], str], firsts: Iterable[int]) -> None:
        self._framing, self._kind_of = framing, kind_of
        self._airs = frozenset((-1, *firsts))
        self._passing: OrderedDict[int, Passing] = OrderedDict()
        self._segments: OrderedDict[int, None] = OrderedDict()  # of LTP, without an end
        self.accounts: OrderedDict[int, Account] = OrderedDict()
        """By frame, as many as the wire can tell apart."""
        self._captured: list[int] = []
        self._numbers: list[int] = []
        self.uses: Counter[str] = Counter()
        """Bytes on the air of the whole session."""
        self.sent = self.lost = 0
        """Packets that the sender sent; of these, those that never came to the far end in one piece."""

    @property
    def flying(self) -> Mapping[int, Passing]:
        """Packets without an end, by number, in the order of sending."""
        return self._passing

    def capture(self, frame: int, at_ns: int) -> None:
        """A frame was captured; what is sent from now on may be of it."""
        self.accounts[frame] = Account(at_ns)
        self._captured.append(at_ns)
        self._numbers.append(frame)
        while len(self.accounts) > packet.FRAMES:
            self.accounts.popitem(last=False)
        if len(self._captured) > 2 * packet.FRAMES:
            del self._captured[: packet.FRAMES], self._numbers[: packet.FRAMES]

    def born(self, row: Row, data: bytes | None) -> Passing | None:
        """Return the packet that *row* says was made; None where the row says something else."""
        time, number, fate, hop, _, _ = row
        if fate not in _BORN:
            return None
        forward = hop >= 0
        passing = Passing(number, None, 0, "copy", "", 0, forward, time, False)
        if data is not None:
            passing.size_bytes = len(data)
            passing.kind = "report"
            if fate != Fate.REPORTED:
                self._read(passing, data, time)
            passing.by_end = fate == Fate.SENT
        if passing.by_end:
            self._count_sent(passing, data or b"")
        elif fate in (Fate.REPEATED, Fate.REPORTED):  # of hops, which stand in the sum whole
            self._add(passing.frame, "repair" if fate == Fate.REPEATED else "feedback", passing.size_bytes)
        self._passing[number] = passing
        while len(self._passing) > MOST_FLYING:
            self._passing.popitem(last=False)
        return passing

    def header_of(self, row: Row, data: bytes | None) -> int | None:
        """Return the bytes of the header of the LTP segment that *row* is about, 0 but where it begins; None: of none.

        The packet in a segment has rows of its own: what is drawn is that.
        """
        number, fate = row[1], row[2]
        if fate == Fate.SEGMENT and data is not None:
            header, inner = split_segment(data)
            passing = Passing(number, None, 0, "segment", "", len(header), True, row[0], False)
            self._read(passing, inner, row[0])
            self._add(passing.frame, "header", len(header))
            self._segments[number] = None
            while len(self._segments) > MOST_FLYING:
                self._segments.popitem(last=False)
            return len(header)
        if number not in self._segments:
            return None
        if fate == Fate.DELIVERED or Fate(fate).is_drop:
            del self._segments[number]
        return 0

    def _read(self, passing: Passing, data: bytes, time: int) -> None:
        try:
            parsed = packet.peek(packet.unwrap(data, self._framing))
        except ValueError:
            passing.kind = "?"
            return
        at = bisect_right(self._captured, time) - 1
        newest = self._numbers[at] if at >= 0 else 0
        frame = packet.frame_until(parsed.frame, newest)
        # Who looks on from later on has not heard of the frames before.
        passing.frame, passing.index = frame if frame >= 0 else None, parsed.index
        passing.kind = parsed.kind.name.lower()
        if parsed.kind == Kind.DATA:
            try:
                chunks = fragment.sizes(parsed.body, last=parsed.last)
            except ValueError:
                return
            passing.section = self._kind_of(chunks[0][0]) if chunks else ""

    def _count_sent(self, passing: Passing, data: bytes) -> None:
        passing.data = data
        if not passing.forward:
            return
        self.sent += 1
        account = self.accounts.get(passing.frame if passing.frame is not None else -1)
        if account is None:
            passing.again = True  # its frame is long gone: only a repair is so late
            return
        bit = 1 << passing.index
        passing.again = bool(account.seen & bit)
        account.seen |= bit
        account.without_end += 1

    def _add(self, frame: int | None, what: str, size: int) -> None:
        self.uses[what] += size
        account = None if frame is None else self.accounts.get(frame)
        if account is not None:
            account.uses[what] += size

    def follow(self, row: Row) -> Ended | None:
        """Take a row about a packet that was born before; None where nothing is known of it."""
        _, number, value, hop, _, _ = row
        passing = self._passing.get(number)
        if passing is None or value in _BORN:
            return None
        fate = Fate(value)
        first_air = hop in self._airs and fate in RADIATED and passing.by_end and not passing.on_air
        if first_air:
            passing.on_air = True
            self._count_air(passing)
        end = fate == Fate.DELIVERED or fate.is_drop
        if end:
            del self._passing[number]
            passing.data = None
            if passing.by_end and passing.forward:
                self._count_end(passing, fate)
        return Ended(passing, fate, first_air, end)

    def _count_air(self, passing: Passing) -> None:
        data, passing.data = passing.data or b"", None
        kind = Kind[passing.kind.upper()] if passing.kind.upper() in Kind.__members__ else Kind.FEC
        try:
            parts = list(
                uses(data, self._framing, kind, self._kind_of, forward=passing.forward, again=passing.again)
            )
        except ValueError:  # not of our format: nothing is known of it but its size
            parts = [("header", "", len(data))]
        for what, section, size in parts:
            self._add(passing.frame, section if what == "payload" else what, size)

    def _count_end(self, passing: Passing, fate: Fate) -> None:
        self.lost += fate.is_drop and fate not in USELESS
        account = self.accounts.get(passing.frame if passing.frame is not None else -1)
        if account is not None:
            account.without_end -= 1
            account.delivered += fate == Fate.DELIVERED


def known_uses(counted: Mapping[str, int]) -> dict[str, Any]:
    """Return *counted* bytes with every one of `OVERHEAD`, in the order in which people read them."""
    kinds = {name: size for name, size in counted.items() if name not in OVERHEAD}
    return {**kinds, **{name: counted.get(name, 0) for name in OVERHEAD}}
