"""One channel that many share: who sends when, who hears whom, and what comes through.

    Medium      what is in the air (start, end, power, node); the verdict falls at the end of a reception
    Turns       when a node may send: ALOHA, slotted ALOHA, or non-persistent carrier sense; silence after a duty cycle
    Station     a node with a queue that keeps to its turns; the other senders of a channel
    compete     many stations alone, for throughput against load

A reception fails where another transmission overlaps it at the receiver, unless it is stronger than each of them by the
capture threshold, and where the receiver itself sends, or has yet to turn from sending to hearing. The models are those
of Abramson 1970 (pure ALOHA), Roberts 1975 (slotted) and Kleinrock and Tobagi 1975 (non-persistent CSMA); capture as in
LoRaSim (Bor et al. 2016): pair by pair, by power at the receiver. Times are whole nanoseconds; the medium has a clock
of its own, which whoever asks it winds up to the present (`advance`).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Literal

import numpy as np

from link.channel.draw import Uniform

Access = Literal["aloha", "slotted", "csma"]
Matrix = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Emission:
    """What a node has in the air from *start* to before *end*, in ns where it stands."""

    node: int
    start: int
    end: int
    power_db: float = 0.0
    """At the receiver, against any reference."""


class Medium:
    """What is in the air. *delay_ns*: from any node to any other, or rows of a matrix, node by node.

    *capture_db*: how much stronger than each other a reception must be to be understood; None: none ever is.
    *turnaround_ns*: how long a node that was sending is deaf for, and how long before it sends.
    """

    def __init__(
        self, delay_ns: int | Matrix = 0, *, capture_db: float | None = None, turnaround_ns: int = 0
    ) -> None:
        self.delay_ns = delay_ns
        self._capture_db = capture_db
        self._turnaround = turnaround_ns
        self._air: deque[Emission] = deque()  # in order of start
        self._longest = 0
        self._due: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = count()

    def delay(self, node: int, other: int) -> int:
        """Return how long what *node* sends takes to *other*, in ns."""
        if isinstance(self.delay_ns, int):
            return 0 if node == other else self.delay_ns
        return self.delay_ns[node][other]

    def at(self, when: int, work: Callable[[int], None]) -> None:
        """Have *work* done at *when* (ns), which it is told; in order of time, then of asking."""
        heappush(self._due, (when, next(self._order), work))

    def advance(self, now: int) -> None:
        """Let everything happen that is due up to and including *now*."""
        due = self._due
        while due and due[0][0] <= now:
            when, _, work = heappop(due)
            work(when)

    def begin(self, sent: Emission) -> None:
        """Take note of a transmission when it begins; starts never decrease."""
        self._longest = max(self._longest, sent.end - sent.start)
        furthest = self.delay_ns if isinstance(self.delay_ns, int) else max(map(max, self.delay_ns))
        over = sent.start - self._longest - 2 * furthest - self._turnaround
        while self._air and self._air[0].end < over:
            self._air.popleft()
        self._air.append(sent)

    def is_busy(self, node: int, now: int) -> bool:
        """Return whether *node* hears anybody else at *now*."""
        return any(
            other.node != node and other.start <= now - self.delay(other.node, node) < other.end
            for other in self._air
        )

    def is_received(self, sent: Emission, receiver: int) -> bool:
        """Return whether *receiver* understands *sent*; to be asked when its last bit has come there."""
        delay = self.delay(sent.node, receiver)
        start, end = sent.start + delay, sent.end + delay
        for other in self._air:
            if other is sent:
                continue
            if other.node == receiver:  # it is deaf
                if other.start - self._turnaround < end and start < other.end + self._turnaround:
                    return False
                continue
            off = self.delay(other.node, receiver)
            if other.start + off < end and start < other.end + off:
                capture = self._capture_db
                if capture is None or sent.power_db - other.power_db < capture:
                    return False
        return True


class Turns:
    """When *node* may send on *medium*. It asks before each transmission, and says when it sent."""

    def __init__(
        self, medium: Medium, node: int, access: Access, *, uniform: Uniform, duty_cycle: float = 1.0,
        slot_ns: int = 1, backoff_ns: int = 0,
    ) -> None:  # fmt: skip
        self._medium, self._node, self._access = medium, node, access
        self._uniform, self._slot, self._backoff = uniform, slot_ns, backoff_ns
        self._quiet = 1.0 / duty_cycle - 1.0
        self._silent_until = 0
        self.blocked = False
        """Whether the last answer was so since others were heard."""

    def permit(self, now: int) -> int:
        """Return *now* where the node may send now, otherwise when to ask again.

        `csma`: where it hears anybody, after a wait between nothing and twice the mean backoff, but a nanosecond.
        """
        self.blocked = False
        if now < self._silent_until:
            return self._silent_until
        if self._access == "slotted":
            return -(-now // self._slot) * self._slot
        if self._access == "csma" and self._medium.is_busy(self._node, now):
            self.blocked = True
            return now + 1 + int(self._uniform() * 2 * self._backoff)
        return now

    def sent(self, start: int, end: int) -> None:
        """Take note of a transmission: the node is silent for (1 / duty cycle - 1) times as long after it."""
        self._silent_until = end + int((end - start) * self._quiet + 0.5)


@dataclass
class Heard:
    """What came of the transmissions of stations."""

    tried: int = 0
    """How often a packet was to be sent, those included that found the channel busy and were given up."""
    sent: int = 0
    received: int = 0
    received_ns: int = 0
    """How long the transmissions that were received took, together."""


class Station:
    """A node that sends what it is offered to *receiver*, in turn, when it may.

    *power*: draws the power of a transmission at the receiver in dB. *limit*: packets that may wait. *patient*: whether
    a packet for which the channel is busy waits; otherwise it is given up.
    """

    def __init__(
        self, medium: Medium, node: int, receiver: int, turns: Turns, heard: Heard, *,
        power: Callable[[], float], limit: int = 1024, patient: bool = True,
    ) -> None:  # fmt: skip
        self._medium, self._node, self._receiver = medium, node, receiver
        self._turns, self._heard, self._power = turns, heard, power
        self._limit, self._patient = limit, patient
        self._waiting: deque[int] = deque()
        self._busy = False

    def offer(self, lasts_ns: int, now: int) -> None:
        """Take a packet that is on the transmitter for *lasts_ns* at *now*; one too many is given up."""
        if len(self._waiting) < self._limit:
            self._waiting.append(lasts_ns)
            if not self._busy:
                self._busy = True
                self._try(now)

    def _try(self, now: int) -> None:
        again = self._turns.permit(now)
        if again > now and (self._patient or not self._turns.blocked):
            self._medium.at(again, self._try)
            return
        self._heard.tried += 1
        lasts = self._waiting.popleft()
        if again > now:
            self._next(now)
            return
        sent = Emission(self._node, now, now + lasts, self._power())
        self._medium.begin(sent)
        self._turns.sent(now, sent.end)
        self._heard.sent += 1
        self._medium.at(sent.end, self._next)
        self._medium.at(sent.end + self._medium.delay(self._node, self._receiver), partial(self._came, sent))

    def _next(self, now: int) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            self._try(now)

    def _came(self, sent: Emission, _now: int) -> None:
        if self._medium.is_received(sent, self._receiver):
            self._heard.received += 1
            self._heard.received_ns += sent.end - sent.start


def compete(
    nodes: int, load: float, packet_ns: int, packets: int, rng: np.random.Generator, *,
    access: Access = "aloha", periodic: bool = False, delay_ns: int | Matrix = 0,
    capture_db: float | None = None, spread_db: float = 0.0, patient: bool = False,
) -> tuple[float, float]:  # fmt: skip
    """Let *nodes* stations of equal packets compete for one channel; return (offered load, throughput).

    Both are in units of the channel's rate: packet_ns times packets a second, tried and received. Together the stations
    offer *load*, until about *packets* were offered: by Poisson, or each with a period and a random phase. Node 0
    receives and sends nothing. *spread_db*: standard deviation of a packet's power at the receiver (shadowing).
    """
    medium = Medium(delay_ns, capture_db=capture_db)
    uniform, heard = Uniform(rng), Heard()

    def power() -> float:
        return float(rng.standard_normal() * spread_db) if spread_db else 0.0

    stations = []
    for node in range(1, nodes + 1):
        turns = Turns(medium, node, access, uniform=uniform, slot_ns=packet_ns, backoff_ns=3 * packet_ns)
        stations.append(Station(medium, node, 0, turns, heard, power=power, patient=patient))
    lasts_ns = int(packets / load * packet_ns)
    for station in stations:
        if periodic:
            period = nodes / load * packet_ns
            times = np.arange(rng.random() * period, lasts_ns, period)
        else:
            times = np.sort(rng.random(rng.poisson(packets / nodes)) * lasts_ns)
        for when in times.astype(np.int64).tolist():
            medium.at(when, partial(station.offer, packet_ns))
    medium.advance(2 * lasts_ns + 10 * packet_ns)
    return heard.tried * packet_ns / lasts_ns, heard.received_ns / lasts_ns
