"""Several senders at one end, and what receives them at the other: a core each, which knows of no other.

Each core numbers its frames from 0. On the way between them frame n of sender k is number n * stride + k, which is what
packets, events and journals say: the low bits tell whose a packet is, and it costs no byte. Numbers do not wrap, since
a session with several senders has no more frames than the wire has numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from link import packet
from link.config import Session
from link.end import Core
from link.events import Event, Fate, Output
from link.timing import Times


@dataclass
class _Member:
    """One of the cores, its sender's name, and when it wants to be stepped."""

    core: Core
    name: str
    due_ns: int | None
    adjusted: bool = False


class Team:
    """The *cores* of the senders of *session*, or of what receives each of them, in their order, as one end.

    *short* is the short fingerprint; *due_ns* when the cores want to be stepped first.
    """

    def __init__(self, session: Session, cores: Sequence[Core], short: int, due_ns: int | None) -> None:
        self._stride, self._framing, self._short = session.stride, session.link.framing, short
        self._members = [
            _Member(core, sender.name, due_ns) for core, sender in zip(cores, session.senders, strict=True)
        ]
        self._heard = 0  # whose packet was whole last

    def step(self, now: int, arrivals: list[tuple[int, bytes]]) -> Output:
        """See `link.end.Core`: each core has its own packets, and is stepped where it has some or is due."""
        out = Output()
        shares: list[list[tuple[int, bytes]]] = [[] for _ in self._members]
        for number, data in arrivals:
            whose, own = self._take(data)
            if whose < len(shares):
                shares[whose].append((number, own))
            else:
                out.verdicts.append((number, int(Fate.MALFORMED)))
        for place, (member, share) in enumerate(zip(self._members, shares, strict=True)):
            if share or member.adjusted or (member.due_ns is not None and member.due_ns <= now):
                member.adjusted = False
                self._add(out, place, member, member.core.step(now, share))
        out.next_ns = min((one.due_ns for one in self._members if one.due_ns is not None), default=None)
        return out

    def adjust(self, session: Session, times: Times) -> None:
        """See `link.end.End.adjust`."""
        for member in self._members:
            member.core.adjust(session, times)
            member.adjusted = True

    def _take(self, data: bytes) -> tuple[int, bytes]:
        """Return whose packet *data* is, and the packet as its core numbers it.

        What is none goes to a core that had one which was whole: it knows that the two ends agree, and takes the rest
        for damage. Before that it is the first one's.
        """
        try:
            inner = packet.parse(packet.unwrap(data, self._framing), self._short)
        except ValueError:
            return self._heard, data
        frame, whose = divmod(inner.frame, self._stride)
        self._heard = whose if whose < len(self._members) else self._heard
        return whose, self._renumbered(data, inner, frame)

    def _renumbered(self, data: bytes, inner: packet.Packet, frame: int) -> bytes:
        return packet.rewrap(data, replace(inner, frame=frame).pack(self._short), self._framing)

    def _add(self, out: Output, place: int, member: _Member, more: Output) -> None:
        """Add to *out* what the core at *place* answered, its frames by the numbers that all know them by."""
        member.due_ns = more.next_ns
        out.verdicts += more.verdicts
        for data in more.packets:
            inner = packet.parse(packet.unwrap(data, self._framing), self._short)
            out.packets.append(self._renumbered(data, inner, inner.frame * self._stride + place))
        for event in more.events:
            frame = None if event.frame is None else event.frame * self._stride + place
            out.events.append(
                replace(event, frame=frame, fields={**event.fields, **_signed(event, member.name)})
            )
        for name, seconds in more.timings.items():
            out.timings[name] = out.timings.get(name, 0.0) + seconds


def _signed(event: Event, name: str) -> dict[str, str]:
    """Return what an event of a team says besides: whose camera took the frame, or did not."""
    return {"sender": name} if event.kind in ("captured", "skipped", "warned", "exhausted") else {}
