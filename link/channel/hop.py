"""One hop: queue -> transmitter -> outage -> loss, bit errors, copies -> propagation -> the next hop.

A single class is first in, first out, so the time on the transmitter is known when a packet arrives, and the
only event on SimPy's clock is its arrival at the far side. Several classes need an event for each departure
as well, since a packet that comes later may leave earlier; and so does a hop whose rate, losses or outages may
change while packets wait for it (`adjust`).
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from heapq import heapify, heappop, heappush

import numpy as np
import simpy

from link.channel import to_ns
from link.channel.bits import BitErrors
from link.channel.delay import MovingDelay, jitter
from link.channel.draw import Uniform
from link.channel.drift import ErrorSteps
from link.channel.loss import LossModel, Lost, Timed, TimedLossModel
from link.channel.outage import Outages
from link.channel.queue import PriorityQueue, Waiting
from link.channel.rate import ConstantRate, Rate
from link.events import Fate, Row
from link.hops import HopConfig as HopConfig
from link.hops import ReturnHop
from link.seeds import generator

# Members of an enumeration cost more to look up than the rest of a row.
_QUEUE_FULL, _OUTAGE, _CHANNEL_LOSS = int(Fate.QUEUE_FULL), int(Fate.OUTAGE), int(Fate.CHANNEL_LOSS)
_DUPLICATED, _CROSSED = int(Fate.DUPLICATED), int(Fate.CROSSED)
_NORMAL = simpy.events.NORMAL
MAX_TRIED_WINDOWS = 1000
"""A packet that fits between none of so many outages is sent all the same, and lost."""

Sink = Callable[[int, bytes, int], None]
"""Takes (packet number, bytes, time in ns)."""


class Hop:
    """One hop on SimPy's clock. *number* is its place in the journal; *fresh* numbers the copies it makes.

    *steered*: whether it may be adjusted while packets wait for it.
    """

    def __init__(
        self,
        env: simpy.Environment,
        config: HopConfig | ReturnHop,
        rate: Rate,
        *,
        number: int,
        name: str,
        seed: int,
        delay_s: float,
        rows: list[Row],
        fresh: Callable[[], int],
        classify: Callable[[bytes], int],
        sink: Sink,
        steered: bool = False,
    ) -> None:
        self._env = env
        self._config = config
        self._seed, self._name, self._steered = seed, name, steered
        self._rate = rate
        self._number = number
        if config.delay is not None and not config.delay_knots_ns:
            raise ValueError(f"{name}: its delay was not reckoned (scenarios.schema.resolve)")
        self._delay = to_ns(delay_s)
        self._moving = MovingDelay(config.delay_knots_ns) if config.delay_knots_ns else None
        self._rows = rows
        self._fresh = fresh
        self._classify = classify
        self._sink = sink
        self._lost: Lost | None = None
        self._timed: Timed | None = None
        self._drift: ErrorSteps | None = None
        self._draw_loss(config.loss)
        self._flip = None
        if config.bit_error_rate:
            self._flip = BitErrors(config.bit_error_rate, self._stream("bits"))
        if steps := config.budget_steps:
            self._drift, self._by_time = ErrorSteps(steps, self._flip, self._timed), True
        self._copy = config.duplicate_ratio
        self._copy_draw = Uniform(self._stream("copies"))
        self._jitter = jitter(config.jitter, self._stream("jitter")) if config.jitter else None
        self._reorder = bool(config.jitter and config.jitter.reorder)
        self._outages = Outages(config.outage, self._stream("outage")) if config.outage else None
        self._limit = config.queue.limit_bytes
        self._departures: deque[tuple[int, int]] = deque()  # (start of transmission, bytes), FIFO only
        self._queued = 0
        self._classes: PriorityQueue | None = None
        if config.queue.classes > 1 or steered:
            self._classes = PriorityQueue(self._limit, config.queue.classes)
        self._busy_until = 0
        self._due = False  # whether a departure is on the clock
        self._stalls, self._released = 0, 0  # how often an outage held the next packet, and until when
        self._release: simpy.Event | None = None
        # One event, used again and again: a new one for each packet would be half of its cost.
        self._arrival = simpy.Event(env)
        self._arrival._ok, self._arrival._value = True, None
        self._on_arrival: list[Callable[[simpy.Event], None]] = [self._arrived]
        # With nothing to decide about a packet, its way is arithmetic.
        self._plain = not (
            self._lost
            or self._timed
            or self._flip
            or self._copy
            or self._jitter
            or self._outages
            or self._moving
        )
        self._flying: deque[tuple[int, int, bytes, int, int]] = deque()  # in order of arrival
        self._overtaking: list[tuple[int, int, bytes, int, int]] = []  # a heap, where packets may overtake
        self._last_arrival = 0

    def delay_at(self, end: int) -> int:
        """Return how long a packet is on its way whose last bit is sent at *end*."""
        return self._delay if self._moving is None else self._moving.at(end)

    def _stream(self, part: str, turn: int = 0) -> np.random.Generator:
        """Return the random numbers of *part* of this hop, after its *turn*-th change."""
        return generator(self._seed, f"{self._name}.{part}" + (f".{turn}" if turn else ""))

    def _draw_loss(self, model: LossModel | None, turn: int = 0) -> None:
        """Begin to lose packets as *model* says, from the numbers of the *turn*-th change."""
        self._lost, self._timed = None, None
        if isinstance(model, TimedLossModel):
            # By way of the hop: its transmitter may be another one after a change.
            self._timed = model.draw_timed(self._stream("loss", turn), lambda now: self._rate.bits_by(now))
        elif model is not None:
            self._lost = model.draw(self._stream("loss", turn))
        self._by_time = self._timed is not None or self._drift is not None

    def _cross(self, data: bytes, start: int, end: int) -> bytes | None:
        """Return what is left of a packet by what depends on its time on the air, None where it is lost."""
        if self._drift is not None:
            self._drift.go(start)
        return data if self._timed is None else self._timed.carry(data, start, end)

    def adjust(self, config: HopConfig | ReturnHop, delay_s: float, turn: int, now: int) -> None:
        """Go on as *config* says, from the next packet on: of a steered hop alone.

        Random models that changed begin anew, with numbers of their own for the *turn*-th change. A delay that gets
        shorter lets no packet overtake another. Raise ValueError where the hop is not steered.
        """
        if not self._steered:
            raise ValueError(f"{self._name}: the hop was not made to be adjusted")
        was, self._config = self._config, config
        if isinstance(self._rate, ConstantRate) and config.rate_bps is not None:
            self._rate = self._rate.at(config.rate_bps)
        if config.loss != was.loss:
            self._draw_loss(config.loss, turn)
        if config.bit_error_rate != was.bit_error_rate:
            rate = config.bit_error_rate
            self._flip = BitErrors(rate, self._stream("bits", turn)) if rate else None
        self._copy = config.duplicate_ratio
        if config.jitter != was.jitter:
            self._jitter = jitter(config.jitter, self._stream("jitter", turn)) if config.jitter else None
            self._reorder = bool(config.jitter and config.jitter.reorder)
        if config.outage != was.outage:
            self._outages = Outages(config.outage, self._stream("outage", turn)) if config.outage else None
        if to_ns(delay_s) != self._delay:
            self._moving = None  # whoever sets a delay by hand has it constant
        self._delay = to_ns(delay_s)
        self._resume(now)

    def _resume(self, now: int) -> None:
        """Look again whether what an outage held may go."""
        if self._release is None:
            return
        self._forget(self._release)
        self._stalls, self._due, self._released, self._release = 0, False, now, None
        self._serve(now)

    def _forget(self, event: simpy.Event) -> None:
        """Take *event* off the clock: there it would be a time at which something is still to happen."""
        queue = self._env._queue
        queue[:] = [entry for entry in queue if entry[3] is not event]
        heapify(queue)

    def put(self, packet: int, data: bytes, now: int) -> None:
        """Take *packet* at *now*, which never decreases."""
        if self._classes is not None:
            for gone in self._classes.put(Waiting(packet, data, now), self._classify(data)):
                self._rows.append((now, gone.packet, _QUEUE_FULL, self._number, now - gone.since_ns, 0))
            self._serve(now)
            return
        size = len(data)
        departures = self._departures
        while departures and departures[0][0] <= now:
            self._queued -= departures.popleft()[1]
        if self._queued + size > self._limit:
            self._rows.append((now, packet, _QUEUE_FULL, self._number, 0, 0))
            return
        start, end = self._rate.finish(now, size) if self._plain else self._transmit(now, size)
        if start > now:
            departures.append((start, size))
            self._queued += size
        if not self._plain:
            self._leave(packet, data, now, start, end)
            return
        flying = self._flying  # `_deliver`, without the call
        flying.append((end + self._delay, packet, data, start - now, end - start))
        if len(flying) == 1:
            self._wake(end + self._delay)

    def _transmit(self, now: int, size: int) -> tuple[int, int]:
        outages = self._outages
        if outages is None or not outages.hold or self._steered:  # which has waited already
            return self._rate.finish(now, size)
        for _ in range(MAX_TRIED_WINDOWS):
            start, end = self._rate.preview(now, size)
            if not outages.hits(start, end):
                break
            now = outages.resumes(start)
        return self._rate.finish(now, size)

    def _serve(self, now: int) -> None:
        """Start the next transmission of the priority queue, or put its start on the clock."""
        queue = self._classes
        assert queue is not None
        while not self._due and (head := queue.head()) is not None:
            if self._busy_until > now:
                self._due = True
                self._at(self._busy_until, self._departed)
                return
            # Offered at its own time, not now: what the clock rounds up must not add up.
            offered = max(head.since_ns, self._released)
            if self._steered and self._stall(offered, len(head.data)):
                return
            queue.take()
            start, end = self._transmit(offered, len(head.data))
            self._busy_until = end
            if self._steered:
                # What becomes of it is decided when its last bit is sent, by what holds then.
                self._due = True
                self._at(end, partial(self._last_bit, head, start, end))
                return
            self._leave(head.packet, head.data, head.since_ns, start, end)

    def _stall(self, offered: int, size: int) -> bool:
        """Whether an outage holds the next packet, which was *offered* then; look again when it ends."""
        outages = self._outages
        if outages is None or not outages.hold or self._stalls >= MAX_TRIED_WINDOWS:
            self._stalls = 0
            return False
        start, end = self._rate.preview(offered, size)
        if not outages.hits(start, end):
            self._stalls = 0
            return False
        self._stalls += 1
        self._due = True
        self._release = self._at(outages.resumes(start), self._outage_over)
        return True

    def _outage_over(self, _event: simpy.Event) -> None:
        self._due, self._release, self._released = False, None, int(self._env.now)
        self._serve(self._released)

    def _last_bit(self, head: Waiting, start: int, end: int, _event: simpy.Event) -> None:
        self._due = False
        self._leave(head.packet, head.data, head.since_ns, start, end)
        self._serve(end)

    def _departed(self, _event: simpy.Event) -> None:
        self._due = False
        self._serve(int(self._env.now))

    def _leave(self, packet: int, data: bytes, since: int, start: int, end: int) -> None:
        """Decide the fate of a packet whose last bit is on the way at *end*."""
        if self._outages is not None and self._outages.hits(start, end):
            self._rows.append((end, packet, _OUTAGE, self._number, start - since, end - start))
            return
        if self._lost is not None and self._lost():
            self._rows.append((end, packet, _CHANNEL_LOSS, self._number, start - since, end - start))
            return
        if self._by_time:
            left = self._cross(data, start, end)
            if left is None:
                self._rows.append((end, packet, _CHANNEL_LOSS, self._number, start - since, end - start))
                return
            data = left
        if self._copy and self._copy_draw() < self._copy:
            twin = self._fresh()
            self._rows.append((end, twin, _DUPLICATED, self._number, 0, 0))
            self._fly(twin, data, end, 0, 0)
        self._fly(packet, data, end, start - since, end - start)

    def _fly(self, packet: int, data: bytes, end: int, waited: int, lasted: int) -> None:
        if self._flip is not None:
            data = self._flip(data)
        arrival = end + self.delay_at(end)
        if self._jitter is not None:
            arrival += self._jitter()
            if self._reorder:
                heappush(self._overtaking, (arrival, packet, data, waited, lasted))
                self._at(arrival, self._arrived_early)
                return
        # Jitter does not let a packet overtake another, and neither does a delay that got shorter.
        if arrival < self._last_arrival:
            arrival = self._last_arrival
        self._last_arrival = arrival
        self._deliver(arrival, packet, data, waited, lasted)

    def _deliver(self, arrival: int, packet: int, data: bytes, waited: int, lasted: int) -> None:
        """Have the packet arrive in its turn. One event on the clock serves all that are on their way."""
        flying = self._flying
        flying.append((arrival, packet, data, waited, lasted))
        if len(flying) == 1:
            self._wake(arrival)

    def _wake(self, when: int) -> None:
        """Put the one event of arrivals in order on the clock again."""
        env = self._env
        self._arrival.callbacks = self._on_arrival
        heappush(env._queue, (max(when, env._now), _NORMAL, next(env._eid), self._arrival))

    def _at(self, when: int, callback: Callable[[simpy.Event], None]) -> simpy.Event:
        event = simpy.Timeout(self._env, max(0, when - self._env.now))
        event.callbacks.append(callback)
        return event

    def _arrived(self, _event: simpy.Event) -> None:
        flying, note, sink = self._flying, self._rows.append, self._sink
        now = when = flying[0][0]
        while when == now:
            _, packet, data, waited, lasted = flying.popleft()
            note((now, packet, _CROSSED, self._number, waited, lasted))
            sink(packet, data, now)
            if not flying:
                return
            when = flying[0][0]
        env, arrival = self._env, self._arrival  # `_wake`, without the call: it is not yet *when*
        arrival.callbacks = self._on_arrival
        heappush(env._queue, (when, _NORMAL, next(env._eid), arrival))

    def _arrived_early(self, _event: simpy.Event) -> None:
        now, packet, data, waited, lasted = heappop(self._overtaking)
        self._rows.append((now, packet, _CROSSED, self._number, waited, lasted))
        self._sink(packet, data, now)
