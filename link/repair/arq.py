"""Retransmission on request: feedback bodies, the receiver's clock for asking, the sender's store.

Feedback names one frame (in the packet header) and its body says what is wanted:

    empty       the frame is complete (ACK)
    otherwise   varints: how many packets suffice (0: all that are named), then pairs of gap and run:
                skip `gap` indices, ask for `run`; a run of 0 at the end asks for all from there on (NAK)

The receiver asks again after a round trip, a fixed number of times, and gives up at the frame's deadline;
the sender gives up when the frame is too old to arrive in time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from link import varint
from link.packet import MAX_PACKETS


@dataclass(frozen=True)
class RepairRequest:
    """What a NAK asks for. An ACK asks for nothing."""

    missing: tuple[int, ...]
    open_from: int | None = None
    """All packets from this index on are wanted too."""
    enough: int = 0
    """How many of them suffice, where an erasure code makes up for the rest; 0: all."""

    @property
    def complete(self) -> bool:
        """Whether this is an ACK."""
        return not self.missing and self.open_from is None

    def pack(self, room_bytes: int) -> bytes:
        """Return the body, leaving out the least important wishes where it would exceed *room_bytes*."""
        if self.complete:
            return b""
        body = varint.put(self.enough)
        at = 0
        for start, run in _runs(self.missing):
            more = varint.put(start - at) + varint.put(run)
            if len(body) + len(more) > room_bytes:
                return body
            body += more
            at = start + run
        if self.open_from is not None:
            more = varint.put(max(0, self.open_from - at)) + varint.put(0)
            if len(body) + len(more) <= room_bytes:
                body += more
        return body


def parse(body: bytes) -> RepairRequest:
    """Return the request in a feedback *body*. Raise ValueError where it is not one."""
    if not body:
        return RepairRequest(())
    enough, at = varint.get(body, 0)
    missing: list[int] = []
    index = 0
    while at < len(body):
        gap, at = varint.get(body, at)
        run, at = varint.get(body, at)
        index += gap
        if index + run > MAX_PACKETS:
            raise ValueError(f"packet {index + run}; a frame has at most {MAX_PACKETS}")
        if run == 0:
            if at != len(body):
                raise ValueError("an open end stands before the end")
            return RepairRequest(tuple(missing), index, enough)
        missing.extend(range(index, index + run))
        index += run
    if not missing:
        raise ValueError("a NAK that asks for nothing")
    return RepairRequest(tuple(missing), None, enough)


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and runs[-1][0] + runs[-1][1] == index:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((index, 1))
    return runs


@dataclass
class AskTimer:
    """When the receiver next asks for one frame. Times in nanoseconds."""

    hold_ns: int
    """Wait after the first sign of a hole: jitter may still bring the packet."""
    again_ns: int
    """Wait for an answer before asking again."""
    quiet_ns: int
    """Silence after which the rest of the frame is taken as lost."""
    rounds: int
    """How often to ask at most."""
    due_ns: int | None = None
    asked: int = 0

    def heard(self, now: int, *, end_seen: bool) -> None:
        """Note a packet of the frame; *end_seen*: nothing more is to be expected unasked."""
        if self.asked >= self.rounds:
            return
        if self.asked == 0:
            self.due_ns = now + (self.hold_ns if end_seen else self.quiet_ns)

    def passed(self, now: int) -> None:
        """Note that a later frame has begun, so this one's packets should all be here."""
        if self.asked == 0 and self.rounds and (self.due_ns is None or self.due_ns > now + self.hold_ns):
            self.due_ns = now + self.hold_ns

    def fired(self, now: int) -> None:
        """Note that a request was sent."""
        self.asked += 1
        self.due_ns = now + self.again_ns if self.asked < self.rounds else None


@dataclass
class Outbox:
    """The sender's store of one frame's packets until they are acknowledged or too old."""

    packets: list[bytes]
    """Data packets by index, before framing."""
    deadline_ns: int
    sent_ns: dict[int, int] = field(default_factory=dict)
    """When an index was last sent again."""

    def missing(self, request: RepairRequest) -> list[int]:
        """Return the indices that had not arrived when *request* was made."""
        wanted = [index for index in request.missing if index < len(self.packets)]
        if request.open_from is not None:
            wanted += range(request.open_from, len(self.packets))
        return wanted

    def answer(self, request: RepairRequest, now: int, *, not_before_ns: int) -> list[int]:
        """Return the indices to send again; one sent since *not_before_ns* is still on its way."""
        wanted = self.missing(request)
        if request.enough:
            wanted = wanted[: request.enough]
        wanted = [index for index in wanted if self.sent_ns.get(index, -1) < not_before_ns]
        for index in wanted:
            self.sent_ns[index] = now
        return wanted
