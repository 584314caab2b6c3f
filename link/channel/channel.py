"""The whole channel: hops in a row on the way out, one return channel, on one SimPy clock.

    send(FORWARD) -> hop 0 -> hop 1 -> ... -> arrivals
    arrivals <-           return           <- send(BACKWARD)

The channel has no idea of sockets or wall clocks: it is given packets and times and gives back arrivals.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from heapq import heappop
from typing import Any

import simpy

from link.channel import to_ns
from link.channel.custody import CustodyHop
from link.channel.hop import Hop, Sink
from link.channel.ltp_hop import LtpHop
from link.channel.network import Network
from link.channel.path import hop_rate_bps
from link.channel.rate import ConstantRate, Rate, SteppedRate, Trace, TraceRate
from link.channel.sequenced import SequencedHop
from link.channel.shared import FAR, NEAR, Shared, SharedHop
from link.events import Fate, Row
from link.hops import HopConfig, Link, ReturnHop
from link.nodes import share_open
from link.packet import priority
from link.retransmit import LtpRetransmit

FORWARD, BACKWARD = 0, 1


Arrival = tuple[int, int, bytes]
"""(packet number, direction, bytes): a packet that came out at an end."""

_SENT = int(Fate.SENT)


class Channel:
    """Both directions of *link* under *seed*. *traces* holds the trace of each hop that names one.

    *data* is given the bytes of the rows that the channel makes and that have some: not of SENT, whose sender has them.
    *steered*: whether `adjust` may be called; a packet's departures are events of the clock then. *origins*: the nodes
    of several senders, by number, where the link has nodes.
    """

    def __init__(
        self,
        link: Link,
        seed: int,
        traces: Mapping[str, Trace] | None = None,
        data: list[bytes] | None = None,
        *,
        steered: bool = False,
        origins: Sequence[int] = (0,),
    ) -> None:
        self._env = simpy.Environment(initial_time=0)
        self.rows: list[Row] = []
        """Fates since the owner last took them away."""
        self._count = 0
        self._arrivals: list[Arrival] = []
        self._entries: list[Sink | None] = [None, None]
        self._hops: list[Hop] = []
        classify = partial(priority, framing=link.framing)
        sink: Sink = self._arrive
        common: dict[str, Any] = {
            "seed": seed, "rows": self.rows, "fresh": self._fresh, "classify": classify, "steered": steered,
        }  # fmt: skip
        self._traces = traces or {}
        self._link = link
        own = [] if data is None else data
        shared = self._share_medium(link, seed)
        self._network = Network(link, self.rows, sink, origins) if link.nodes else None
        for number, config in reversed(list(enumerate(link.hops))):
            rate: Rate = TraceRate(self._traces[config.name]) if config.rate_bps is None else pace(config)
            name = f"hop.{config.name}"
            if self._network is not None:
                sink = self._network.sink(number)
            about: dict[str, Any] = {"number": number, "name": name, "delay_s": config.delay_s, "sink": sink}
            hop: Hop
            place = next((at for at, one in enumerate(link.shared_hops) if one is config), None)
            if shared is not None and place is not None:
                about |= {"shared": shared, "node": shared.node(place), "receiver": FAR, "leads": not place}
                hop = SharedHop(self._env, config, rate, **common, **about)
            elif config.retransmit is None:
                hop = Hop(self._env, config, rate, **common, **about)
            else:
                mean_bps = hop_rate_bps(config, self._traces) / share_open(config.contacts_s)
                kind: Callable[..., Hop] = SequencedHop if self._network is None else CustodyHop
                if isinstance(config.retransmit, LtpRetransmit):
                    custody = self._network is not None
                    kind = partial(LtpHop, mtu_bytes=link.mtu_bytes, custody=custody)
                hop = kind(self._env, config, rate, **common, **about, data=own, mean_bps=mean_bps)
            sink = hop.put
            self._entries[FORWARD] = hop.put
            self._hops.insert(0, hop)
        if self._network is not None:
            self._network.join(self._hops)
            self._entries[FORWARD] = self._network.entry
        self._back = self._make_return(link, common, shared)
        if self._back is not None:
            self._entries[BACKWARD] = self._back.put

    def _make_return(self, link: Link, common: dict[str, Any], shared: Shared | None) -> Hop | None:
        back = link.return_
        if back is None:
            return None
        sink: Sink = self._come_back
        about: dict[str, Any] = {
            "number": -1,
            "name": "return",
            "delay_s": link.back_delay_s,
            "sink": sink,
        }
        rate = pace(back)
        if shared is None or link.medium is None or link.medium.duplex == "full":
            return Hop(self._env, back, rate, **common, **about)
        about |= {"shared": shared, "node": FAR, "receiver": NEAR, "leads": False}
        return SharedHop(self._env, back, rate, **common, **about)

    def _share_medium(self, link: Link, seed: int) -> Shared | None:
        hop = link.shared_hop
        if hop is None or link.medium is None:
            return None
        assert hop.rate_bps is not None
        return Shared(
            link.medium, seed, rate_bps=hop.rate_bps, delay_s=hop.delay_s, mtu_bytes=link.mtu_bytes,
            limit=max(1, hop.queue.limit_bytes // link.mtu_bytes),
        )  # fmt: skip

    def adjust(self, link: Link, turn: int, now: int) -> None:
        """Carry packets as *link* says from *now* on: the same hops, by name, with other figures.

        *turn* is the number of the change, from 1 on. All that is due before *now* must have happened. Raise
        ValueError where the channel was not made to be adjusted.
        """
        was, self._link = self._link, link
        for hop, old, new in zip(self._hops, was.hops, link.hops, strict=True):
            if new != old:
                hop.adjust(new, new.delay_s, turn, now)
        if self._network is not None:
            self._network.adjust(link)
        back = self._back
        if back is not None and link.return_ is not None:
            delay_s = link.back_delay_s
            if link.return_ != was.return_ or delay_s != was.back_delay_s:
                back.adjust(link.return_, delay_s, turn, now)

    def _fresh(self) -> int:
        self._count += 1
        return self._count - 1

    def _arrive(self, packet: int, data: bytes, now: int) -> None:
        self._arrivals.append((packet, FORWARD, data))

    def _come_back(self, packet: int, data: bytes, now: int) -> None:
        self._arrivals.append((packet, BACKWARD, data))

    def send(self, data: bytes, now: int, direction: int = FORWARD) -> int:
        """Put *data* on the first hop of *direction* at *now*; return the packet's number.

        Raise ValueError for BACKWARD on a one-way link.
        """
        put = self._entries[direction]
        if put is None:
            raise ValueError("this link has no return channel")
        packet = self._count
        self._count = packet + 1
        self.rows.append((now, packet, _SENT, -direction, 0, 0))
        put(packet, data, now)
        return packet

    @property
    def next_ns(self) -> int | None:
        """When something happens next, if nothing is sent before; None: never."""
        when = self._env.peek()
        return None if when == float("inf") else int(when)

    def advance(self, now: int) -> list[Arrival]:
        """Let everything up to and including *now* happen; return what arrived at the ends."""
        env = self._env
        queue = env._queue
        while queue and queue[0][0] <= now:  # SimPy's step(): the calls would be a tenth of a packet's time
            env._now, _, _, event = heappop(queue)
            callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]  # as SimPy does
            for callback in callbacks:
                callback(event)
            if not event._ok:
                raise event._value
        arrived = self._arrivals[:]
        self._arrivals.clear()
        return arrived


def pace(hop: HopConfig | ReturnHop) -> Rate:
    """Return the transmitter of a hop that has no trace. Raise ValueError where its budget was not reckoned."""
    if hop.rate_bps is None:
        raise ValueError("the budget of a hop was not reckoned (scenarios.schema.resolve)")
    if hop.budget_steps is None:
        return ConstantRate(hop.rate_bps)
    return SteppedRate([(to_ns(time_s), bps) for time_s, bps, _ in hop.budget_steps])
