"""The way back of an LTP hop: one transmitter, losses and outages of its own, the hop's delay."""

from collections.abc import Callable
from functools import partial

import numpy as np
import simpy

from link.channel.hop import MAX_TRIED_WINDOWS, Hop
from link.channel.loss import LossModel, Lost, Timed, TimedLossModel
from link.channel.outage import Outages
from link.channel.rate import ConstantRate
from link.events import Fate, Row
from link.repair.ltp import LtpEngine
from link.repair.ltp_sessions import Outgoing


class WayBack:
    """Carries what *engine* says, by *hop*'s clock. *born* numbers a segment, *arrive* takes it at the near side.

    *look* is called when the engine has another timer, and calls `serve`.
    """

    def __init__(
        self, hop: Hop, engine: LtpEngine, rate: ConstantRate, loss: LossModel | None, rng: np.random.Generator,
        outages: Outages | None, *, rows: list[Row], number: int, born: Callable[[Fate, bytes, int], int],
        arrive: Callable[[bytes, int], None], look: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._hop, self._engine, self.rate, self.outages = hop, engine, rate, outages
        self._rows, self._number, self._born, self._arrive = rows, number, born, arrive
        self._look = look
        self._lost: Lost | None = None
        self._timed: Timed | None = None
        if isinstance(loss, TimedLossModel):
            self._timed = loss.draw_timed(rng, lambda now: self.rate.bits_by(now))
        elif loss is not None:
            self._lost = loss.draw(rng)
        self._busy = False
        self._held: Outgoing | None = None
        self._tried = 0
        self._release: simpy.Event | None = None

    def serve(self, now: int) -> None:
        """Send what is next, where the transmitter is free and no outage holds it."""
        if self._busy or self._release is not None:
            return
        item = self._held or self._engine.take(now)
        if item is None:
            return
        size, outages = len(item.data), self.outages
        start, end = self.rate.preview(now, size)
        if (
            outages is not None
            and outages.hold
            and self._tried < MAX_TRIED_WINDOWS
            and outages.hits(start, end)
        ):
            self._held, self._tried = item, self._tried + 1
            self._release = self._hop._at(outages.resumes(start), self._resumed)
            return
        self._held, self._tried, self._busy = None, 0, True
        number = self._born(Fate.REPORTED, item.data, now)
        start, end = self.rate.finish(now, size)
        self._hop._at(end, lambda _event: self._left(item, number, start - now, start, end))

    def _resumed(self, event: simpy.Event) -> None:
        self._release = None
        self.serve(int(event.env.now))

    def look_again(self, now: int) -> None:
        """Ask anew whether what an outage held may go."""
        if self._release is not None:
            self._hop._forget(self._release)
            self._release = None
            self.serve(now)

    def _left(self, item: Outgoing, number: int, waited: int, start: int, end: int) -> None:
        """Decide the fate of a segment whose last bit is on the way."""
        self._busy = False
        self._engine.sent(item, end)
        fate = None
        if self.outages is not None and self.outages.hits(start, end):
            fate = Fate.OUTAGE
        elif (self._lost is not None and self._lost()) or (
            self._timed is not None and self._timed.carry(item.data, start, end) is None
        ):
            fate = Fate.CHANNEL_LOSS
        if fate is not None:
            self._rows.append((end, number, int(fate), self._number, waited, end - start))
        else:
            come = partial(self._came, item.data, number, waited, end - start)
            arrival = end + self._hop.delay_at(end)
            self._hop._at(arrival, lambda _event: come(arrival))
        self._look(end)  # whose clock must know when the answer is due

    def _came(self, data: bytes, number: int, waited: int, lasted: int, now: int) -> None:
        self._rows.append((now, number, int(Fate.CROSSED), self._number, waited, lasted))
        self._rows.append((now, number, int(Fate.DELIVERED), self._number, 0, 0))
        self._arrive(data, now)
