"""What happens in a run: one row for each fate of a packet, one event for each fate of a frame."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Fate(IntEnum):
    """What became of a packet. Values are written to journals: never renumber."""

    SENT = 0
    """Handed to the channel."""
    CROSSED = 1
    """Came out of a hop intact or with flipped bits, after waiting, transmission and propagation."""
    DUPLICATED = 2
    """The hop made a copy, which has a number of its own."""
    DELIVERED = 3
    """Accepted by the far end."""
    REPEATED = 4
    """An attempt of a hop that failed and was followed by another, under a number of its own (`retransmit`)."""
    REPORTED = 5
    """The far side of a hop said what it has, by a packet of the hop's own (`retransmit`). With LTP also what the near
    side says besides data, and the cancelling of sessions."""
    STORED = 6
    """A node keeps it until a contact; *hop* is the node's number, *waited_ns* how long it is expected to wait."""
    SEGMENT = 7
    """A hop put a data segment of LTP on the air: a packet, or a try that failed, in a header (`retransmit: ltp`)."""

    QUEUE_FULL = 16
    CHANNEL_LOSS = 17
    OUTAGE = 18
    BAD_CHECKSUM = 19
    """Bits were flipped: the far end discarded it."""
    MALFORMED = 20
    DUPLICATE = 21
    """The far end had it already."""
    DEADLINE = 22
    """Came after its frame was closed."""
    VERSION = 23
    PEER_SLOW = 24
    """The receiving process did not take it in time (wall-clock runs)."""
    IN_FLIGHT = 25
    """Still on its way when the run was cut short."""
    OUT_OF_ORDER = 26
    """The far side of a hop discarded it, for one before it was missing (`retransmit`)."""
    EXPIRED = 27
    """Its lifetime was over: found when it came to a node, or was to leave it."""
    STORE_FULL = 28
    """A node's store had no room for it."""
    NO_ROUTE = 29
    """No contacts to come lead from the node to the far end."""
    COLLISION = 30
    """It met another transmission at its receiver, or the receiver was sending itself (`medium`)."""
    NO_ANSWER = 31
    """A hop gave it up: it was sent as often as may be, or no contact follows for an answer (`retransmit: ltp`)."""
    CANCELLED = 32
    """The far side of a hop does not take it: its session was over there (`retransmit: ltp`)."""

    @property
    def is_drop(self) -> bool:
        """Whether the packet's way ended here."""
        return self >= Fate.QUEUE_FULL


VERDICTS = frozenset(
    {Fate.DELIVERED, Fate.BAD_CHECKSUM, Fate.MALFORMED, Fate.DUPLICATE, Fate.DEADLINE, Fate.VERSION}
)
"""What an end says of a packet that it was given; all else is said by the channel."""

WITH_BYTES = (Fate.SENT, Fate.REPEATED, Fate.REPORTED, Fate.SEGMENT)
"""The rows beside which a packet's bytes stand in the journal."""
BIRTHS = (*WITH_BYTES, Fate.DUPLICATED)
"""The rows with which a number begins; each has one end."""
RADIATED = (Fate.CROSSED, Fate.CHANNEL_LOSS, Fate.OUTAGE, Fate.COLLISION)
"""The rows at a hop that say that a packet left its transmitter."""

KINDS: dict[str, frozenset[str]] = {
    "sender": frozenset(
        {"captured", "skipped", "warned", "encoded", "resent", "gave_up", "acknowledged", "exhausted"}
    ),
    "receiver": frozenset(
        {"nak", "ack", "damaged", "closed", "decoded", "superseded", "found", "not_found", "warned"}
    ),
    "link": frozenset({"aborted", "finished", "changed", "marked", "answered"}),
}
"""The kinds of events that each end says, and the link; link/README.md has what they mean."""

Row = tuple[int, int, int, int, int, int]
"""(time_ns, packet, fate, hop, waited_ns, transmitted_ns): a packet's fate at *time_ns*.

*packet* is its number in the channel, counted over both directions. *hop* counts from 0 on the way out and is
-1 on the way back; SENT and the far end's verdicts carry the first hop of their direction. *waited_ns* is the
time in the hop's queue, *transmitted_ns* the time on its transmitter. Both are 0 for a packet that never went
on the air, and *transmitted_ns* may be 0 for one that shared a trace's delivery opportunity.
"""


@dataclass(frozen=True)
class Event:
    """Something that happened to a frame, or to the run."""

    kind: str
    """One of `KINDS` of the end that says it, or of the link."""
    time_ns: int
    frame: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    picture: bytes | None = None
    """A PNG file, for captured and decoded, and for what was found where that is a map."""


DRAWN = ("decoded", "found", "not_found")
"""Kinds of event that take drawing: in a live session their `drawn_ns` says when they were there to be seen."""


@dataclass
class Output:
    """What a core answers to a step."""

    packets: list[bytes] = field(default_factory=list)
    """Packets to hand to the channel, in order."""
    events: list[Event] = field(default_factory=list)
    verdicts: list[tuple[int, int]] = field(default_factory=list)
    """(packet number, Fate) for each packet that was given."""
    next_ns: int | None = None
    """When the core wants to be stepped next, if nothing arrives before."""
    timings: dict[str, float] = field(default_factory=dict)
    """Wall-clock seconds spent, by name; never written to the journal."""
