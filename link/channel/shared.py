"""A hop whose transmitter takes turns with others on one channel, and the others (`link.channel.medium`).

The others are senders like this one: each sends what this one sends, packet for packet, as much later as is drawn for
it anew each time that this sender is given packets, up to `spread_s`. Their packets are no part of the run: they cost
ours the channel. What they do is reckoned when somebody asks, so they keep nothing going.
"""

from functools import partial
from typing import Any

import numpy as np
import simpy

from link.channel import NS, to_ns
from link.channel.draw import Uniform
from link.channel.hop import Hop
from link.channel.medium import Emission, Heard, Medium, Station, Turns
from link.events import Fate
from link.hops import HopConfig, ReturnHop
from link.nodes import SharedMedium
from link.seeds import generator

NEAR, FAR, OTHERS = 0, 1, 2
"""Nodes of the medium: this sender, its receiver, and from here on the other senders."""


def air_ns(size_bytes: int, rate_bps: float) -> int:
    """Return how long *size_bytes* are on a transmitter of *rate_bps*."""
    return round(size_bytes * 8 * NS / rate_bps)


class Shared:
    """A medium as *about* says, with the other senders on it. *delay_s*: from node to node; *mtu_bytes* fill a slot."""

    def __init__(
        self, about: SharedMedium, seed: int, *, rate_bps: float, delay_s: float, mtu_bytes: int, limit: int
    ) -> None:
        self.medium = Medium(
            to_ns(delay_s), capture_db=about.capture_db, turnaround_ns=to_ns(about.turnaround_s)
        )
        self._about, self._seed = about, seed
        slot_s = about.slot_s if about.slot_s is not None else mtu_bytes * 8 / rate_bps
        self._slot_ns = max(1, to_ns(slot_s))
        backoff_s = about.backoff_s if about.backoff_s is not None else slot_s
        self._backoff_ns = to_ns(backoff_s)
        self._rate_bps = rate_bps
        self._offsets = generator(seed, "medium.others")
        self._told_ns = -1
        self._after: list[int] = []
        self.heard = Heard()
        """What came of the others' transmissions."""
        self._others = [
            Station(self.medium, node, FAR, self.turns(node), self.heard, power=self.power(node), limit=limit)
            for node in range(OTHERS, OTHERS + about.senders - 1)
        ]

    def node(self, place: int) -> int:
        """Return the node of the medium whose transmitter is that of hop number *place* of those that are on it."""
        return NEAR if place == 0 else OTHERS + self._about.senders - 2 + place

    def turns(self, node: int) -> Turns:
        """Return when *node* may send."""
        about = self._about
        uniform = Uniform(generator(self._seed, f"medium.backoff.{node}"))
        return Turns(
            self.medium, node, about.access, uniform=uniform, duty_cycle=about.duty_cycle,
            slot_ns=self._slot_ns, backoff_ns=self._backoff_ns,
        )  # fmt: skip

    def power(self, node: int) -> "Power":
        """Return what draws the power of *node*'s transmissions at their receiver."""
        return Power(self._about.power_spread_db, generator(self._seed, f"medium.power.{node}"))

    def follow(self, size_bytes: int, now: int) -> None:
        """Have each of the others send *size_bytes* too, some time from *now* on."""
        if not self._others:
            return
        if now != self._told_ns:
            self._told_ns = now
            spread = to_ns(self._about.spread_s or 0.0)
            self._after = (self._offsets.random(len(self._others)) * spread).astype(np.int64).tolist()
        lasts = air_ns(size_bytes, self._rate_bps)
        for station, after in zip(self._others, self._after, strict=True):
            self.medium.at(now + after, partial(station.offer, lasts))


class Power:
    """Draws in dB, normal around nothing with deviation *spread_db*."""

    def __init__(self, spread_db: float, rng: np.random.Generator) -> None:
        self._spread, self._rng = spread_db, rng

    def __call__(self) -> float:
        """Return the next one."""
        return float(self._rng.standard_normal() * self._spread) if self._spread else 0.0


class SharedHop(Hop):
    """See `link.channel.hop.Hop`. *node* sends on *shared* to *receiver*; *leads*: the others do as it does."""

    def __init__(
        self, env: simpy.Environment, config: HopConfig | ReturnHop, *arguments: Any,
        shared: Shared, node: int, receiver: int, leads: bool, **more: Any,
    ) -> None:  # fmt: skip
        # Each departure is an event of the clock: a packet that waits for its turn may be overtaken by one that comes.
        super().__init__(env, config, *arguments, **{**more, "steered": True})
        self._shared, self._node, self._receiver, self._leads = shared, node, receiver, leads
        self._medium = shared.medium
        self._turns, self._power = shared.turns(node), shared.power(node)
        self._sending: Emission | None = None

    def put(self, packet: int, data: bytes, now: int) -> None:
        """See `Hop.put`."""
        self._medium.advance(now)
        if self._leads:
            self._shared.follow(len(data), now)
        super().put(packet, data, now)

    def adjust(self, config: HopConfig | ReturnHop, delay_s: float, turn: int, now: int) -> None:
        """See `Hop.adjust`; the medium's delay is that of the way out."""
        if self._leads:
            self._medium.delay_ns = to_ns(delay_s)
        super().adjust(config, delay_s, turn, now)

    def _stall(self, offered: int, size: int) -> bool:
        if super()._stall(offered, size):
            return True
        start, _ = self._rate.preview(offered, size)
        self._medium.advance(start)
        again = self._turns.permit(start)
        if again <= start:
            return False
        self._due = True
        self._release = self._at(again, self._outage_over)
        return True

    def _transmit(self, now: int, size: int) -> tuple[int, int]:
        start, end = super()._transmit(now, size)
        self._sending = Emission(self._node, start, end, self._power())
        self._medium.begin(self._sending)
        self._turns.sent(start, end)
        return start, end

    def _leave(self, packet: int, data: bytes, since: int, start: int, end: int) -> None:
        """Wait for the end of the reception, since only then is known what it met."""
        sent = self._sending
        assert sent is not None
        arrival = end + self._medium.delay(self._node, self._receiver)
        self._at(arrival, partial(self._judge, sent, packet, data, since, arrival))

    def _judge(
        self, sent: Emission, packet: int, data: bytes, since: int, now: int, _event: simpy.Event
    ) -> None:
        self._medium.advance(now - 1)  # what begins now does not overlap any more
        if self._medium.is_received(sent, self._receiver):
            super()._leave(packet, data, since, sent.start, sent.end)
            return
        row = (now, packet, int(Fate.COLLISION), self._number, sent.start - since, sent.end - sent.start)
        self._rows.append(row)
