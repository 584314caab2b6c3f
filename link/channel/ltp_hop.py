"""A hop that repairs its own losses by LTP (RFC 5326): blocks of packets, whose red part is sent until it is across.

    put -> queue -> [the transmitter is free: what waits is a block] -> near engine -> segments -> far engine -> sink
                                                                        near engine <- reports <- far engine

A segment holds one packet, so that one that is lost costs no other, and a packet goes on as soon as it is across. What
is on the air is written down as the segment (SEGMENT), header and all, with an end of its own. The packet in it has a
row beside that, as on any hop: CROSSED, or its drop where it is green. Tries of red packets that failed are copies
under numbers of their own (REPEATED). Reports, their acknowledgements and cancels are packets of the hop's (REPORTED).
The engines are in `link.repair.ltp`; what a session was cancelled for is the fate of the packets that are not across.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import simpy

from link.channel import to_ns
from link.channel.custody import Gaps
from link.channel.delay import longest_down_ns
from link.channel.hop import Hop
from link.channel.ltp_back import WayBack
from link.channel.ltp_blocks import FAULTS, Carried, LtpBlock, make_sights
from link.channel.outage import Outages
from link.channel.path import exchange_loss, hop_rate_bps
from link.channel.queue import PriorityQueue, Waiting
from link.channel.rate import ConstantRate
from link.events import Fate
from link.hops import HopConfig, ReturnHop
from link.packet import MAX_BYTES, RED_CLASSES
from link.repair.ltp import LtpEngine
from link.repair.ltp_segments import HEADER_BYTES, DataSegment, SessionId, parse
from link.repair.ltp_sessions import LtpSettings, Outgoing
from link.retransmit import LtpRetransmit
from link.seeds import generator

_NEAR, _FAR = 1, 2  # engines
_BLOCKS = 1024  # that are remembered when all is known of them


class LtpHop(Hop):
    """See `link.channel.hop.Hop`. *data* takes the bytes of the rows that have some, in their order.

    *mean_bps* is the hop's mean rate, which the way back has where the configuration gives it no other. *mtu_bytes* is
    the longest packet, and report. *custody*: the hop leads from a node, which knows its contacts, but no outage of it.
    """

    def __init__(
        self, env: simpy.Environment, config: HopConfig, *arguments: Any,
        data: list[bytes], mean_bps: float, mtu_bytes: int, custody: bool, **more: Any,
    ) -> None:  # fmt: skip
        # What is next is decided when the transmitter is free, and what becomes of it when its last bit is sent.
        super().__init__(env, config, *arguments, **{**more, "steered": True})
        about = config.retransmit
        assert isinstance(about, LtpRetransmit)
        self._data, self._about, self._mtu, self._custody = data, about, mtu_bytes, custody
        self._queue = PriorityQueue(self._limit, config.queue.classes)
        rate = ConstantRate(about.report_rate_bps or mean_bps)
        # What is waited for an answer to is lost where either is.
        loss = exchange_loss(config, about, mtu_bytes + HEADER_BYTES, rate.rate_bps)
        # Another block may go before an answer, and an outage that nobody knows of hold it.
        quiet = to_ns(4 * (about.block_bytes + mtu_bytes) * 8 / mean_bps) + longest_down_ns(config.outage)
        settings = LtpSettings(MAX_BYTES, mtu_bytes, min(loss, 0.95), least_quiet_ns=quiet)
        near, far = make_sights(config, self.delay_at, mean_bps, rate.rate_bps, mtu_bytes, nodes=custody)
        self._near, self._far = LtpEngine(_NEAR, settings, near), LtpEngine(_FAR, settings, far)
        rng = generator(more["seed"], f"{more['name']}.reports.loss")
        self._back = WayBack(
            self, self._far, rate, about.loss, rng, self._draw_back_outages(config),
            rows=self._rows, number=self._number, born=self._born, arrive=self._heard, look=self._look,
        )  # fmt: skip
        self._close_gaps(config)
        self._blocks: OrderedDict[SessionId, LtpBlock] = OrderedDict()
        self._next: tuple[Outgoing, DataSegment | None, Carried | None] | None = None
        self._unsent = 0  # bytes of packets in blocks that were never on the air
        self._busy = self._awake = self._closed = False
        self._alarm: tuple[int, simpy.Event] | None = None
        self.on_end: Callable[[int, bool, int], None] | None = None
        """Told (packet, whether it is across, when) of each that needs no more of this hop, which drops none then."""
        self.on_room: Callable[[int], None] | None = None
        """Told when there is room for more."""

    # What is known beforehand

    def _draw_back_outages(self, config: HopConfig, turn: int = 0) -> Outages | None:
        """Return the windows of the way out once more, which are asked for at times of their own."""
        return Outages(config.outage, self._stream("outage", turn)) if config.outage else None

    def _close_gaps(self, config: HopConfig) -> None:
        self.unplanned = self._outages
        """Outages that no plan knows."""
        self._last_ns: int | None = None
        if self._custody:
            gaps = Gaps(config.contacts_s, self.unplanned)
            self._outages, self._last_ns = gaps, gaps.last_ns
            self._back.outages = Gaps(config.contacts_s, self._back.outages)
        self._closing = False

    def adjust(self, config: HopConfig | ReturnHop, delay_s: float, turn: int, now: int) -> None:
        """See `Hop.adjust`; the way back has the hop's new rate where it has none of its own."""
        was = self._config
        assert isinstance(config, HopConfig) and isinstance(config.retransmit, LtpRetransmit)
        back = self._back
        if isinstance(back.outages, Gaps):
            self._outages, back.outages = self.unplanned, back.outages.other
        if config.outage != was.outage:
            back.outages = self._draw_back_outages(config, turn)
        mean_bps = back.rate.rate_bps if config.rate_bps is None else hop_rate_bps(config, {})
        if config.retransmit.report_rate_bps is None:
            back.rate = back.rate.at(mean_bps)
        held, self._release = self._release, None  # which is looked at when all is changed
        super().adjust(config, delay_s, turn, now)
        self._close_gaps(config)
        self._near.sight, self._far.sight = make_sights(
            config, self.delay_at, mean_bps, back.rate.rate_bps, self._mtu, nodes=self._custody
        )
        self._release = held
        self._resume(now)
        back.look_again(now)

    # The near side

    def put(self, packet: int, data: bytes, now: int) -> None:
        """Take *packet* at *now*, which never decreases."""
        for gone in self._queue.put(Waiting(packet, data, now), self._classify(data)):
            self._rows.append((now, gone.packet, int(Fate.QUEUE_FULL), self._number, now - gone.since_ns, 0))
        if not self._awake:
            self._awake = True  # when all that comes at this instant is here
            self._at(now, self._begin)

    def _begin(self, _event: simpy.Event) -> None:
        self._awake = False
        self._go(int(self._env.now))

    @property
    def has_room(self) -> bool:
        """Whether a node may give it another packet."""
        most = min(self._about.block_bytes, self._limit - self._mtu + 1)
        return not self._closed and self._queue.size_bytes < most

    def preview(self, now: int, size: int) -> tuple[int, int]:
        """Return when a packet of *size* bytes would begin and end on the air, behind all that waits."""
        waiting = self._queue.size_bytes + self._unsent
        return self._rate.preview(now, waiting + (waiting // self._mtu + 1) * HEADER_BYTES + size)

    def _serve(self, now: int) -> None:
        self._go(now)

    def _stall(self, offered: int, size: int) -> bool:
        if self._last_ns is not None and self._rate.preview(offered, size)[1] > self._last_ns:
            if not self._closing:
                self._closing = True
                tail = self._near.sight.round_trip_ns(max(offered, self._last_ns))
                self._at(max(offered, self._last_ns) + tail, self._close)
            return True
        return super()._stall(offered, size)

    def _go(self, now: int) -> None:
        """Send what is next, where the transmitter is free and something may be sent."""
        if self._busy or self._due or self._closed:
            return
        if self._next is None:
            taken = self._near.take(now)
            if taken is None:
                head = self._queue.head()
                if head is None or self._stall(max(now, self._released), len(head.data) + HEADER_BYTES):
                    return
                self._make_block(now)
                taken = self._near.take(now)
                if self.on_room is not None:
                    self._at(now, self._tell_room)
            if taken is None:
                return
            segment = parse(taken.data)
            carried = None
            if isinstance(segment, DataSegment):
                carried = self._blocks[segment.session].carried[segment.offset]
                carried.flying += 1
                self._unsent -= 0 if carried.begun else carried.size
                carried.begun = True
            self._next = taken, segment if isinstance(segment, DataSegment) else None, carried
        item, data, carried = self._next
        if self._stall(max(now, self._released), len(item.data)):
            return
        self._next, self._busy = None, True
        number = self._born(Fate.REPORTED if data is None else Fate.SEGMENT, item.data, now)
        start, end = self._transmit(now, len(item.data))
        self._at(end, lambda _event: self._left(item, data, carried, number, start, end))

    def _tell_room(self, _event: simpy.Event) -> None:
        if self.on_room is not None:
            self.on_room(int(self._env.now))

    def _born(self, fate: Fate, data: bytes, now: int) -> int:
        number = self._fresh()
        self._rows.append((now, number, int(fate), self._number, 0, 0))
        self._data.append(data)
        return number

    def _make_block(self, now: int) -> None:
        """Begin a session with what waits, the red packets first."""
        taken = [self._queue.take()]
        size = len(taken[0].data)
        while (head := self._queue.head()) is not None and size + len(head.data) <= self._about.block_bytes:
            size += len(head.data)
            taken.append(self._queue.take())
        red = [item for item in taken if self._classify(item.data) < RED_CLASSES]
        green = [item for item in taken if self._classify(item.data) >= RED_CLASSES]
        block, at, bounds = LtpBlock(), 0, []
        for item in (*red, *green):
            block.carried[at] = Carried(
                item.packet, item.since_ns, len(block.carried) < len(red), len(item.data)
            )
            at += len(item.data)
            bounds.append(at)
        whole = b"".join(item.data for item in (*red, *green))
        self._unsent += size
        session = self._near.send(whole, sum(len(item.data) for item in red), now, bounds)
        self._blocks[session] = block
        while len(self._blocks) > _BLOCKS and next(iter(self._blocks.values())).over:
            self._blocks.popitem(last=False)

    def _left(
        self, item: Outgoing, segment: DataSegment | None, carried: Carried | None, number: int, start: int, end: int
    ) -> None:  # fmt: skip
        """Decide the fate of a segment whose last bit is on the way."""
        self._busy = False
        self._near.sent(item, end)
        waited, lasted = start - (carried.since if carried is not None else start), end - start
        fate = None
        left: bytes | None = item.data
        if self._outages is not None and self._outages.hits(start, end):
            fate = Fate.OUTAGE
        elif (self._lost is not None and self._lost()) or (
            left := self._cross(item.data, start, end)
        ) is None:
            fate = Fate.CHANNEL_LOSS
        if fate is not None or left is None:
            self._lose(segment, carried, number, fate or Fate.CHANNEL_LOSS, end, waited, lasted)
        else:
            damaged = left != item.data or (self._flip is not None and self._flip(left) != left)
            arrival = end + self.delay_at(end)
            if self._jitter is not None:
                arrival += self._jitter()
            if self._jitter is None or not self._reorder:
                arrival = self._last_arrival = max(arrival, self._last_arrival)
            come = partial(self._came, item.data, segment, carried, number, damaged, waited, lasted)
            self._at(arrival, lambda _event: come(arrival))
            if self._copy and self._copy_draw() < self._copy:
                twin = self._fresh()
                self._rows.append((end, twin, int(Fate.DUPLICATED), self._number, 0, 0))
                again = None if damaged else item.data
                self._at(arrival, lambda _event: self._came_again(again, twin, arrival))
        if carried is not None and not carried.red:
            self._tell(carried, True, end)  # nobody has it in custody any more
        self._look(end)

    def _came(
        self, data: bytes, segment: DataSegment | None, carried: Carried | None, number: int, damaged: bool,
        waited: int, lasted: int, now: int,
    ) -> None:  # fmt: skip
        """Take a segment that reached the far side."""
        if damaged:
            self._lose(segment, carried, number, Fate.BAD_CHECKSUM, now, waited, lasted)
            return
        self._rows.append((now, number, int(Fate.CROSSED), self._number, waited, lasted))
        self._rows.append((now, number, int(Fate.DELIVERED), self._number, 0, 0))
        self._far.receive(data, now)
        if segment is not None and carried is not None:
            place = segment.session, segment.offset
            new = any(
                (event.session, event.offset) == place and event.kind in ("piece", "green")
                for event in self._far.events
            )
            if new and not carried.ended:
                carried.flying -= 1
                carried.ended = True
                self._rows.append((now, carried.packet, int(Fate.CROSSED), self._number, waited, lasted))
                self._settle(segment.session, carried, now)
                self._sink(carried.packet, segment.data, now)
            else:
                fate = Fate.DUPLICATE if carried.ended else Fate.CANCELLED
                self._failed(segment, carried, fate, now, waited, lasted)
        self._look(now)

    def _came_again(self, data: bytes | None, twin: int, now: int) -> None:
        """Take a copy that the hop made: the far engine sees it, and has it already."""
        self._rows.append((now, twin, int(Fate.DUPLICATE), self._number, 0, 0))
        if data is not None:
            self._far.receive(data, now)
            self._look(now)

    def _heard(self, data: bytes, now: int) -> None:
        self._near.receive(data, now)
        self._look(now)

    def _lose(
        self, segment: DataSegment | None, carried: Carried | None, number: int, fate: Fate, now: int, waited: int,
        lasted: int,
    ) -> None:  # fmt: skip
        """Write down a segment that did not come, and the try of the packet in it."""
        self._rows.append((now, number, int(fate), self._number, waited, lasted))
        if segment is not None and carried is not None:
            self._failed(segment, carried, fate, now, waited, lasted)

    def _failed(
        self, segment: DataSegment, carried: Carried, fate: Fate, now: int, waited: int, lasted: int
    ) -> None:
        """Write down a try that failed: as the end of a green packet, which has no other, else as that of a copy."""
        carried.flying -= 1
        if carried.red or carried.ended:
            twin = self._born(Fate.REPEATED, segment.data, now)
            self._rows.append((now, twin, int(fate), self._number, waited, lasted))
            self._settle(segment.session, carried, now)
            return
        carried.ended = True
        if fate not in (Fate.OUTAGE, Fate.CHANNEL_LOSS):  # which say that it was on the air
            self._rows.append((now, carried.packet, int(Fate.CROSSED), self._number, waited, lasted))
            waited = lasted = 0
        self._rows.append((now, carried.packet, int(fate), self._number, waited, lasted))

    def _settle(self, session: SessionId, carried: Carried, now: int) -> None:
        """Drop a packet of a session that was cancelled, or give it back, once none of its segments is on its way."""
        fault = self._blocks[session].fault
        if fault is None or carried.flying:
            return
        self._tell(carried, carried.ended, now)
        if not carried.ended and self.on_end is None:
            self._rows.append((now, carried.packet, int(fault), self._number, now - carried.since, 0))
        carried.ended = True

    def _tell(self, carried: Carried, crossed: bool, now: int) -> None:
        """Have whoever has a packet in custody know that this hop is done with it."""
        if not carried.told and self.on_end is not None:
            packet, tell = carried.packet, self.on_end
            self._at(now, lambda _event: tell(packet, crossed, now))
        carried.told = True

    def _close(self, _event: simpy.Event) -> None:
        """Give back what is not across: no contact is left."""
        now = int(self._env.now)
        if not self._closing:
            return
        self._closed = True
        for block in self._blocks.values():
            for carried in block.carried.values():
                self._tell(carried, carried.ended, now)
                carried.ended = True
        while self._queue.head() is not None:
            waiting = self._queue.take()
            if self.on_end is not None:
                self.on_end(waiting.packet, False, now)
        self._look(now)

    # Both

    def _look(self, now: int) -> None:
        """Take what the engines say, and let each of them send."""
        events = self._near.events
        self._near.events, self._far.events = [], []
        for event in events:
            block = self._blocks[event.session]
            if event.kind == "cancelled":
                block.fault = FAULTS.get(event.reason, Fate.CANCELLED)
            for carried in block.carried.values():
                if event.kind == "cancelled":
                    self._unsent -= 0 if carried.begun else carried.size
                    carried.begun = True
                    self._settle(event.session, carried, now)
                elif event.kind == "delivered" and carried.red:
                    self._tell(carried, True, now)
        self._go(now)
        if not self._closed:
            self._back.serve(now)
        self._plan(now)

    def _plan(self, now: int) -> None:
        """Have the engines woken when something is due, and only then: else a run would not end."""
        near, far = self._near, self._far
        dues = [due for due in (near.next_ns, far.next_ns) if due is not None]
        # Where nothing is under way, all that the far side does is to wait for green packets that were lost.
        idle = not near.sessions and not near.timers.waiting and not far.timers.waiting
        due = None if self._closed or idle else min(dues, default=None)
        if self._alarm is not None:
            if due is not None and self._alarm[0] <= max(due, now):
                return
            self._forget(self._alarm[1])
            self._alarm = None
        if due is not None:
            due = max(due, now)
            self._alarm = due, self._at(due, self._woken)

    def _woken(self, _event: simpy.Event) -> None:
        now = int(self._env.now)
        self._alarm = None
        self._near.wake(now)
        self._far.wake(now)
        self._look(now)
