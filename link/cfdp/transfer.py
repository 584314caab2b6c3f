"""A stored file over a scenario's link by CFDP, in virtual time: both ends, every hop, and what it all came to.

Each PDU is a packet of the link, in what its framing has around packets. The sender goes at the pace of the narrowest
hop and stops while an outage holds the first; nobody else is on the link. What an end waits for is the light time, the
way's air times and delays' tails, and the longest time that an outage or a contact plan may hold a packet.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from link import packet
from link.cfdp.pdus import CfdpChecksum, CfdpCondition, CfdpError, MetadataPdu, PduHead, most_data
from link.cfdp.receiving import CfdpReceiver
from link.cfdp.sending import CfdpSender
from link.cfdp.waits import CfdpEnd, CfdpSettings
from link.channel import NS, to_ns
from link.channel.channel import BACKWARD, FORWARD, Channel
from link.channel.delay import longest_down_ns, tail_ns
from link.channel.outage import Outages
from link.channel.path import duty_share, hop_loss, path_loss
from link.channel.rate import Trace
from link.config import Session
from link.errors import UsageError
from link.events import RADIATED, Fate
from link.hops import HopConfig, Link, ReturnHop
from link.repair.ltp_sessions import tries
from link.repair.sight import AnswerTimes
from link.seeds import generator
from link.timing import longest_hold_ns, times

SENDER, RECEIVER = 1, 2
"""The entities' numbers."""
MOST_BYTES = 1 << 26
_AIRS = 4
"""After how many air times of a PDU without one a row of them is over."""


@dataclass
class WayCounts:
    """PDUs of one direction: `sent + copies = delivered + damaged + the sum of dropped`."""

    sent: int = 0
    copies: int = 0
    """Made by the channel."""
    delivered: int = 0
    damaged: int = 0
    """Came, and a checksum did not hold."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason."""
    on_air_bytes: int = 0
    """Of those that left the first transmitter, with what is around them."""


@dataclass(frozen=True)
class FileTransfer:
    """What a transfer came to. Times in seconds since its begin."""

    condition: CfdpCondition | None
    """At the receiver; None: it never heard of the file."""
    sender_condition: CfdpCondition | None
    ended_s: float | None
    """When the receiver was done with it."""
    told_s: float | None
    """When the sender was."""
    data: bytes
    """What arrived, zeros where it is missing."""
    missing_bytes: int
    again_bytes: int
    """Of the file, sent more than once."""
    out: WayCounts
    back: WayCounts
    hops_bytes: int
    """What hops that repair their own losses put on the air by themselves."""
    pdu_bytes: int
    tries: int
    answer_s: float
    """How long an end waits for an answer."""
    pdus: tuple[tuple[int, bytes], ...]
    """(time in ns, PDU) of all that were sent, both ways."""

    @property
    def complete(self) -> bool:
        """Whether the file arrived whole, and its checksum holds."""
        return self.condition == CfdpCondition.NO_ERROR


class _Pace:
    """When an end may send on its first hop, as the hop itself will have it: the outages are the same draws."""

    def __init__(
        self, hop: HopConfig | ReturnHop, name: str, seed: int, rate_bps: float, narrowest_bps: float
    ) -> None:
        self._outages: Outages | None = None
        if hop.outage is not None and hop.outage.hold:
            self._outages = Outages(hop.outage, generator(seed, f"{name}.outage"))
        self._rate, self._narrowest = rate_bps, narrowest_bps

    def opens(self, now: int, size: int) -> int:
        """Return when what takes *size* bytes may be sent, at *now* or later."""
        at, outages = now, self._outages
        for _ in range(1000):
            if outages is None or not outages.hits(at, at + self.air_ns(size)):
                return at
            at = outages.resumes(at)
        return now  # it fits between none of so many outages: what becomes of it is the hop's to say

    def air_ns(self, size: int) -> int:
        return to_ns(size * 8 / self._rate)

    def turn_ns(self, size: int) -> int:
        """Return how long after *size* bytes the next may be sent."""
        return to_ns(size * 8 / self._narrowest)


def _rate_bps(hop: HopConfig, link: Link, traces: Mapping[str, Trace]) -> float:
    """Return what *hop* carries while it is up."""
    rate = hop.rate_bps if hop.rate_bps is not None else traces[hop.name].mean_bps
    return rate * duty_share(link, hop)


def _settings(session: Session, traces: Mapping[str, Trace], head: PduHead, size: int) -> CfdpSettings:
    link = session.link
    around = packet.overhead(link.framing, link.mtu_bytes) - packet.HEADER_BYTES
    waits = times(session, traces)
    airs = [to_ns(link.mtu_bytes * 8 / _rate_bps(hop, link, traces)) for hop in link.way]
    out_ns = to_ns(sum(hop.delay_s for hop in link.way)) + sum(airs) + waits.jitter_ns
    back, back_ns, loss = link.return_, 0, path_loss(link)
    answer_ns = longest_hold_ns(link)
    if back is not None:
        air_ns = to_ns(link.mtu_bytes * 8 / back.known_bps)
        back_ns = to_ns(link.back_delay_s) + air_ns + tail_ns(back.jitter)
        answer_ns += air_ns  # another PDU may be before it
        loss = 1.0 - (1.0 - loss) * (1.0 - hop_loss(back, link.mtu_bytes))
    most = tries(loss)
    ways: list[HopConfig | ReturnHop] = [*link.way, *([] if back is None else [back])]
    dark_ns = max(
        (longest_down_ns(hop.outage) for hop in ways if hop.outage is not None and not hop.outage.hold),
        default=0,
    )
    answer_ns += dark_ns // (most - 1)  # a blackout must not use up all tries
    return CfdpSettings(
        link.mtu_bytes - around, AnswerTimes(out_ns, back_ns, answer_ns),
        quiet_ns=_AIRS * max(airs) + waits.jitter_ns + longest_hold_ns(link),
        row_ns=ceil(size / max(1, most_data(link.mtu_bytes - around, head))) * max(airs),
        tries=most, most_bytes=MOST_BYTES, must_check=True,
    )  # fmt: skip


class _TransferRun:
    """The ends and the channel of one transfer."""

    def __init__(
        self, session: Session, traces: Mapping[str, Trace], near: CfdpSender, far: CfdpReceiver
    ) -> None:
        link, seed = session.link, session.seed
        self.hop_data: list[bytes] = []
        self.channel = Channel(link, seed, traces, self.hop_data)
        self.ends: tuple[CfdpEnd, CfdpEnd] = (near, far)
        self.counts = (WayCounts(), WayCounts())
        self.closed_ns: list[int | None] = [None, None]
        self._framing = link.framing
        self._wrappers = [
            packet.Wrapper(link.framing, feedback=feedback, lifetime_s=link.lifetime_s)
            for feedback in (False, True)
        ]
        rates = [_rate_bps(hop, link, traces) for hop in link.way]
        first = link.way[0]
        up_bps = (
            first.rate_bps if first.rate_bps is not None else rates[0]
        )  # a duty cycle's silence is after a PDU
        self._paces = [_Pace(first, f"hop.{first.name}", seed, up_bps, min(rates))]
        if link.return_ is not None:
            rate = link.return_.known_bps
            self._paces.append(_Pace(link.return_, "return", seed, rate, rate))
        self._mtu = link.mtu_bytes
        self._first = {at for at, (start, _) in enumerate(link.ends) if start == 0} | {-1}
        self._free = [0, 0]
        self.pdus: list[tuple[int, bytes]] = []
        self._sizes: dict[int, tuple[int, int]] = {}  # of PDUs under way: direction, bytes
        self._now = 0

    def run(self) -> None:
        """Run it to its end."""
        while True:
            for direction in range(len(self._paces)):
                self._send(direction)
            self._account()
            for number, end in enumerate(self.ends):
                if self.closed_ns[number] is None and end.condition is not None:
                    self.closed_ns[number] = self._now
            waits = [end.next_ns for end in self.ends] + [self.channel.next_ns]
            dues = [due for due in waits if due is not None] + [
                free for free in self._free if free > self._now
            ]
            if not dues:
                return
            self._now = max(self._now, min(dues))
            for number, direction, data in self.channel.advance(self._now):
                self._receive(number, direction, data)
            for end in self.ends:
                end.wake(self._now)

    def _send(self, direction: int) -> None:
        end, pace, now = self.ends[direction], self._paces[direction], self._now
        if self._free[direction] > now:
            return
        opens = pace.opens(now, self._mtu)
        if opens > now:
            self._free[direction] = opens
            return
        if (item := end.take(now)) is None:
            return
        data = self._wrappers[direction].wrap(item.data, now)
        self._sizes[self.channel.send(data, now, direction)] = direction, len(data)
        self.pdus.append((now, item.data))
        self.counts[direction].sent += 1
        end.sent(item, now + pace.air_ns(len(data)))
        self._free[direction] = now + max(1, pace.turn_ns(len(data)))

    def _receive(self, number: int, direction: int, data: bytes) -> None:
        counts = self.counts[direction]
        try:
            self.ends[1 - direction].receive(packet.unwrap(data, self._framing), self._now)
            counts.delivered += 1
        except (CfdpError, packet.PacketError):
            counts.damaged += 1

    def _account(self) -> None:
        """Count what became of packets, and forget it."""
        for _, number, fate, hop, _, _ in self.channel.rows:
            if fate == Fate.DUPLICATED:
                direction = BACKWARD if hop < 0 else FORWARD
                self.counts[direction].copies += 1
                self._sizes[number] = direction, 0  # copies are never on a transmitter
            elif (known := self._sizes.get(number)) is None:
                continue  # of a hop's own
            elif fate in RADIATED and hop in self._first:
                direction, size = known
                self.counts[direction].on_air_bytes += size
                self._sizes[number] = direction, 0
            if Fate(fate).is_drop and number in self._sizes:
                self.counts[self._sizes.pop(number)[0]].dropped[Fate(fate).name.lower()] += 1
        self.channel.rows.clear()


def transfer(
    session: Session, traces: Mapping[str, Trace], file: bytes, name: str, *, acknowledged: bool = True,
    closure: bool = False, checksum: CfdpChecksum = CfdpChecksum.CRC32,
) -> FileTransfer:  # fmt: skip
    """Return what sending *file* over the link of *session* comes to. *name* goes with it, 255 bytes at most.

    Raise UsageError where the link has no way back that is needed, its MTU holds no PDU, or the file is too large.
    """
    link = session.link
    if link.return_ is None and (acknowledged or closure):
        raise UsageError(
            "CFDP class 2, or with closure, needs a return channel: give link.return, or ask for class 1"
        )
    if len(file) > MOST_BYTES:
        raise UsageError(f"a file of {len(file)} bytes; at most {MOST_BYTES}")
    head = PduHead(SENDER, 1, RECEIVER, acknowledged)
    settings = _settings(session, traces, head, len(file))
    said = name.encode()[:255]
    try:
        near = CfdpSender(file, MetadataPdu(len(file), said, said, checksum, closure), head, settings)
    except ValueError as error:
        raise UsageError(f"{error}; raise link.mtu_bytes ({link.mtu_bytes})") from None
    far = CfdpReceiver(RECEIVER, settings)
    run = _TransferRun(session, traces, near, far)
    run.run()
    missing = sum(end - first for first, end in far.missing) if far.size is not None else len(file)
    closed = [None if time is None else time / NS for time in run.closed_ns]
    return FileTransfer(
        condition=far.condition, sender_condition=near.condition, ended_s=closed[RECEIVER - 1], told_s=closed[0],
        data=far.data, missing_bytes=missing, again_bytes=near.again_bytes, out=run.counts[0], back=run.counts[1],
        hops_bytes=sum(map(len, run.hop_data)), pdu_bytes=settings.pdu_bytes, tries=settings.tries,
        answer_s=settings.sight.round_trip_ns(0) / NS, pdus=tuple(run.pdus),
    )  # fmt: skip
