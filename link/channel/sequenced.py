"""A hop that repairs its own losses: packets in sequence, go back N, as the COP-P of Proximity-1 (CCSDS 211.0-B-6).

    near side   sends up to a window of packets unconfirmed; goes back to the oldest of them when a report says that
                one is missing, or when none came in time
    far side    takes the packet that is next in sequence and discards every other; reports what it expects next

An attempt that failed and is followed by another is written down as a copy with a number of its own (REPEATED) that
was dropped for its reason, so that a packet keeps its number until it is across or given up. Reports are packets of
the hop's own (REPORTED), with a rate and losses of their own. After a packet was given up the sequence goes on behind
it, as SET V(R) does; that order rides on the next packet.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import simpy

from link.channel import to_ns
from link.channel.delay import tail_ns
from link.channel.hop import MAX_TRIED_WINDOWS, Hop
from link.channel.loss import Lost, Timed, TimedLossModel
from link.channel.outage import Outages
from link.channel.path import hop_rate_bps
from link.channel.queue import PriorityQueue, Waiting
from link.channel.rate import ConstantRate
from link.events import Fate
from link.hops import HopConfig as HopConfig
from link.hops import ReturnHop
from link.retransmit import Retransmit
from link.seeds import generator


@dataclass
class _Unconfirmed:
    """A packet that the near side has sent and has no report of."""

    sequence: int
    packet: int
    data: bytes
    since: int
    attempts: int = 0
    turns: int = 0
    """How often the near side went back to it."""
    end_ns: int = 0
    """When its last attempt left the transmitter."""
    lasted_ns: int = 0
    """How long that attempt was on it."""
    ended: bool = False
    """Whether it is across, or was dropped for good."""


class SequencedHop(Hop):
    """See `link.channel.hop.Hop`. *data* takes the bytes of the rows that are REPEATED or REPORTED, in their order.

    *mean_bps* is the hop's mean rate, which reports have where the configuration gives them no other.
    """

    def __init__(
        self,
        env: simpy.Environment,
        config: HopConfig,
        *arguments: Any,
        data: list[bytes],
        mean_bps: float,
        **more: Any,
    ) -> None:
        super().__init__(env, config, *arguments, **more)
        about = config.retransmit
        assert isinstance(about, Retransmit)
        name, seed = more["name"], more["seed"]
        self._data = data
        self._tries, self._window, self._report_bytes = about.tries, about.window, about.report_bytes
        self._back = ConstantRate(about.report_rate_bps or mean_bps)
        self._back_lost: Lost | None = None
        self._back_timed: Timed | None = None
        rng = generator(seed, f"{name}.reports.loss")
        if isinstance(about.loss, TimedLossModel):
            self._back_timed = about.loss.draw_timed(rng, lambda now: self._back.bits_by(now))
        elif about.loss is not None:
            self._back_lost = about.loss.draw(rng)
        self._back_outages = None
        if config.outage:  # the same windows as on the way out, asked for at times of its own
            self._back_outages = Outages(config.outage, generator(seed, f"{name}.outage"))
        self._answer_ns = self._wait_ns(about.report_rate_bps or mean_bps)
        self._queue = PriorityQueue(self._limit, config.queue.classes)
        self._sent: deque[_Unconfirmed] = deque()
        self._cursor = 0  # of those, the one to send next
        self._next_sequence = 0
        self._busy = False
        self._expected = 0  # by the far side
        self._gap = False
        self._reporting = self._report_due = False
        self._held_report: tuple[int, tuple[int, bool, int]] | None = None
        self._report_release: simpy.Event | None = None
        self.on_end: Callable[[int, bool, int], None] | None = None
        """Told (packet, whether it is across, when) of each that needs no more of this hop, which drops none then."""

    def _wait_ns(self, report_bps: float) -> int:
        """Return how long after an attempt its report may come; a report may wait for one before it."""
        report_ns = to_ns(self._report_bytes * 8 / report_bps)
        return 2 * self._delay + tail_ns(self._config.jitter) + 2 * report_ns + 1

    def adjust(self, config: HopConfig | ReturnHop, delay_s: float, turn: int, now: int) -> None:
        """See `Hop.adjust`; reports have the hop's new rate where they have none of their own."""
        assert isinstance(config, HopConfig) and isinstance(config.retransmit, Retransmit)
        if config.outage != self._config.outage:
            self._back_outages = None
            if config.outage:
                self._back_outages = Outages(config.outage, self._stream("outage", turn))
        if config.retransmit.report_rate_bps is None and config.rate_bps is not None:
            self._back = self._back.at(hop_rate_bps(config, {}))
        super().adjust(config, delay_s, turn, now)
        self._answer_ns = self._wait_ns(self._back.rate_bps)
        if self._report_release is not None and self._held_report is not None:
            self._forget(self._report_release)
            self._send_report(*self._held_report, now)

    # The near side

    def _serve(self, now: int) -> None:
        self._go(now)

    def put(self, packet: int, data: bytes, now: int) -> None:
        """Take *packet* at *now*, which never decreases."""
        for gone in self._queue.put(Waiting(packet, data, now), self._classify(data)):
            waited = now - gone.since_ns
            self._rows.append((now, gone.packet, int(Fate.QUEUE_FULL), self._number, waited, 0))
        self._go(now)

    def _go(self, now: int) -> None:
        """Send what is next, where the transmitter is free and something may be sent."""
        if self._busy or self._due:
            return
        again = self._cursor < len(self._sent)
        head = None if len(self._sent) >= self._window else self._queue.head()
        if not again and head is None:
            return
        if self._steered:
            next_data = self._sent[self._cursor].data if again else head.data if head else b""
            if self._stall(max(now, self._released), len(next_data)):
                return
        if not again:
            fresh = self._queue.take()
            item = _Unconfirmed(self._next_sequence, fresh.packet, fresh.data, fresh.since_ns)
            self._next_sequence += 1
            self._sent.append(item)
        item = self._sent[self._cursor]
        self._cursor += 1
        self._busy = True
        start, end = self._transmit(now, len(item.data))
        item.attempts += 1
        item.end_ns, item.lasted_ns = end, end - start
        self._then(end, partial(self._left, item, self._sent[0].sequence, start, end))

    def _left(self, item: _Unconfirmed, base: int, start: int, end: int) -> None:
        """Decide the fate of an attempt whose last bit is on the way."""
        self._busy = False
        waited, lasted = start - item.since, end - start
        if self._outages is not None and self._outages.hits(start, end):
            self._failed(item, end, Fate.OUTAGE, waited, lasted)
        elif self._lost is not None and self._lost():
            self._failed(item, end, Fate.CHANNEL_LOSS, waited, lasted)
        elif (came := self._cross(item.data, start, end)) is None:
            self._failed(item, end, Fate.CHANNEL_LOSS, waited, lasted)
        else:
            damaged = came != item.data or (self._flip is not None and self._flip(came) != came)
            arrival = end + self.delay_at(end)
            if self._jitter is not None:
                arrival += self._jitter()
                if not self._reorder:
                    arrival = self._last_arrival = max(arrival, self._last_arrival)
            self._then(arrival, partial(self._came, item, base, arrival, damaged, waited, lasted))
            if self._copy and self._copy_draw() < self._copy:
                twin = self._fresh()
                self._rows.append((end, twin, int(Fate.DUPLICATED), self._number, 0, 0))
                self._then(arrival, partial(self._discard_copy, twin, arrival))
        if self._sent and item is self._sent[0]:
            self._watch(end)
        self._go(end)

    def _failed(self, item: _Unconfirmed, now: int, fate: Fate, waited: int, lasted: int) -> None:
        """Write down a failed attempt: as the packet's end where no other follows, else as that of a copy."""
        # One that has not ended is unconfirmed, so there is an oldest.
        last = not item.ended and item.turns >= self._tries - 1 and item is self._sent[0]
        if last and self.on_end is None:
            item.ended = True
            self._rows.append((now, item.packet, int(fate), self._number, waited, lasted))
            return
        twin = self._fresh()
        self._rows.append((now, twin, int(Fate.REPEATED), self._number, 0, 0))
        self._data.append(item.data)
        self._rows.append((now, twin, int(fate), self._number, waited, lasted))

    def _watch(self, now: int) -> None:
        """Have the oldest unconfirmed packet looked after when its report is overdue."""
        if self._sent and self._cursor > 0:
            item = self._sent[0]
            # Where others follow, the next packet's report says the same, and one that was lost costs nothing.
            more = item.lasted_ns if self._cursor < len(self._sent) or self._queue.head() is not None else 0
            due = max(now, item.end_ns + self._answer_ns + more)
            self._then(due, partial(self._overdue, item, item.attempts, due))

    def _overdue(self, item: _Unconfirmed, attempt: int, now: int) -> None:
        if self._sent and self._sent[0] is item and item.attempts == attempt and self._cursor > 0:
            self._go_back(now)

    def _go_back(self, now: int) -> None:
        """Send everything again from the oldest unconfirmed packet on, or give that one up."""
        item = self._sent[0]
        item.turns += 1
        if item.turns >= self._tries:
            if self.on_end is not None:
                crossed, item.ended = item.ended, True
                self._then(now, partial(self.on_end, item.packet, crossed, now))
            elif not item.ended:  # its last attempt is still on its way, so late that nobody waits for it
                item.ended = True
                self._rows.append((now, item.packet, int(Fate.CHANNEL_LOSS), self._number, 0, 0))
            self._sent.popleft()
        self._cursor = 0
        self._go(now)

    def _heard(self, expected: int, gap: bool, said_ns: int, now: int) -> None:
        """Take a report: what the far side expected next at *said_ns*, and whether something else came instead."""
        before = len(self._sent)
        while self._sent and self._sent[0].sequence < expected:
            item = self._sent.popleft()
            if self.on_end is not None:
                self._then(now, partial(self.on_end, item.packet, True, now))
            self._cursor = max(0, self._cursor - 1)
        oldest = self._sent[0] if self._sent else None
        if gap and oldest is not None and oldest.sequence == expected and self._cursor > 0:
            # What was sent again since then may have crossed the report on its way.
            if said_ns >= oldest.end_ns + self.delay_at(oldest.end_ns):
                self._go_back(now)
                return
        if len(self._sent) < before:
            self._watch(now)
        self._go(now)

    # The far side

    def _came(self, item: _Unconfirmed, base: int, now: int, damaged: bool, waited: int, lasted: int) -> None:
        """Take an attempt that reached the far side, sent when *base* was the oldest unconfirmed."""
        if damaged:
            self._failed(item, now, Fate.BAD_CHECKSUM, waited, lasted)
            return
        self._expected = max(self._expected, base)
        self._gap = item.sequence > self._expected
        if self._gap:
            self._failed(item, now, Fate.OUT_OF_ORDER, waited, lasted)
        elif item.sequence < self._expected or item.ended:
            self._expected = max(self._expected, item.sequence + 1)
            self._failed(item, now, Fate.DUPLICATE, waited, lasted)
        else:
            self._expected += 1
            item.ended = True
            self._rows.append((now, item.packet, int(Fate.CROSSED), self._number, waited, lasted))
            self._sink(item.packet, item.data, now)
        self._report_due = True
        self._report(now)

    def _discard_copy(self, twin: int, now: int) -> None:
        """The copy that the hop made comes right after its packet, and is not next in sequence any more."""
        self._rows.append((now, twin, int(Fate.DUPLICATE), self._number, 0, 0))

    def _report(self, now: int) -> None:
        """Send the newest report, where one is due and none is on the transmitter."""
        if self._reporting or not self._report_due:
            return
        self._report_due, self._reporting = False, True
        number = self._fresh()
        self._rows.append((now, number, int(Fate.REPORTED), self._number, 0, 0))
        self._data.append(bytes(self._report_bytes))
        self._send_report(number, (self._expected, self._gap, now), now)

    def _send_report(self, number: int, said: tuple[int, bool, int], now: int, tried: int = 0) -> None:
        """Put a report on the transmitter, when no outage holds it any more."""
        outages = self._back_outages
        start, end = self._back.preview(now, self._report_bytes)
        if outages is not None and outages.hold and tried < MAX_TRIED_WINDOWS and outages.hits(start, end):
            self._held_report = number, said
            again = partial(self._try_report, number, said, tried + 1)
            self._report_release = self._at(outages.resumes(start), again)
            return
        self._report_release = None
        start, end = self._back.finish(now, self._report_bytes)
        self._then(end, partial(self._reported, number, said, start, end))

    def _try_report(self, number: int, said: tuple[int, bool, int], tried: int, _event: simpy.Event) -> None:
        self._send_report(number, said, int(self._env.now), tried)

    def _reported(self, number: int, said: tuple[int, bool, int], start: int, end: int) -> None:
        """Decide the fate of a report whose last bit is on the way."""
        self._reporting = False
        waited, lasted = start - said[2], end - start
        if self._back_outages is not None and self._back_outages.hits(start, end):
            self._rows.append((end, number, int(Fate.OUTAGE), self._number, waited, lasted))
        elif (self._back_lost is not None and self._back_lost()) or (
            self._back_timed is not None
            and self._back_timed.carry(bytes(self._report_bytes), start, end) is None
        ):
            self._rows.append((end, number, int(Fate.CHANNEL_LOSS), self._number, waited, lasted))
        else:
            arrival = end + self.delay_at(end)
            self._then(arrival, partial(self._take_report, number, said, arrival, waited, lasted))
        self._report(end)

    def _take_report(
        self, number: int, said: tuple[int, bool, int], now: int, waited: int, lasted: int
    ) -> None:
        self._rows.append((now, number, int(Fate.CROSSED), self._number, waited, lasted))
        self._rows.append((now, number, int(Fate.DELIVERED), self._number, 0, 0))
        self._heard(*said, now)

    def _then(self, when: int, work: Callable[[], None]) -> None:
        self._at(when, lambda _event: work())
