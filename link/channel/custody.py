"""A hop between nodes that repairs its own losses: custody of what is sent stays with the near side until it is across.

As `link.channel.sequenced`, and silent between contacts. What it gives up goes back to the node that sent it, and so
does what is not across when the last contact is over. What the far side says of the last contact's packets gets through
after it, so that none is sent twice for want of a report.
"""

from typing import Any

from link.channel import to_ns
from link.channel.hop import Hop
from link.channel.outage import Outages
from link.channel.sequenced import SequencedHop
from link.hops import HopConfig, Outage, ReturnHop
from link.seeds import generator


class Gaps(Outages):
    """Down between *contacts* (start and end in s, in order; None: always up), and when *other* is, which holds too."""

    def __init__(self, contacts: tuple[tuple[float, float], ...] | None, other: Outages | None) -> None:
        windows = []
        if contacts is not None:
            ends = [0.0, *(end for _, end in contacts)]
            pairs = zip(ends, (start for start, _ in contacts), strict=False)
            windows = [(end, start) for end, start in pairs if start > end]
        # Not one model that a scenario has: those of a year's passes are no more than its contacts.
        super().__init__(Outage.model_construct(windows_s=tuple(windows), hold=True), generator(0, ""))
        self.other = other
        self.last_ns = None if contacts is None else to_ns(contacts[-1][1])
        """When the last contact ends; None: never."""

    def hits(self, start: int, end: int) -> bool:
        """See `Outages.hits`."""
        return super().hits(start, end) or (self.other is not None and self.other.hits(start, end))

    def resumes(self, now: int) -> int:
        """See `Outages.resumes`: of the windows that are in the way the first one to begin is over."""
        windows = [self._first_after(now), None if self.other is None else self.other._first_after(now)]
        return min((window for window in windows if window is not None), default=(now, now))[1]


class CustodyHop(SequencedHop):
    """See `link.channel.sequenced.SequencedHop`; *contacts_s* are those of its configuration."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **{**more, "steered": True})
        self._close_gaps()

    def _close_gaps(self) -> None:
        config = self._config
        assert isinstance(config, HopConfig)
        self.unplanned = self._outages
        """Outages that no plan knows."""
        self._gaps = self._outages = Gaps(config.contacts_s, self.unplanned)
        self._back_outages = Gaps(config.contacts_s, self._back_outages)
        self._closing = False

    def adjust(self, config: HopConfig | ReturnHop, delay_s: float, turn: int, now: int) -> None:
        """See `Hop.adjust`."""
        was = self._config
        if isinstance(self._back_outages, Gaps):
            self._back_outages = self._back_outages.other
        self._outages = self.unplanned
        super().adjust(config, delay_s, turn, now)
        assert isinstance(config, HopConfig) and isinstance(was, HopConfig)
        self._close_gaps()

    @property
    def has_room(self) -> bool:
        """Whether the node may give it a packet: none waits, and one more may be unconfirmed."""
        return not len(self._queue) and len(self._sent) < self._window

    def _stall(self, offered: int, size: int) -> bool:
        last = self._gaps.last_ns
        if last is not None and self._rate.preview(offered, size)[1] > last:
            if not self._closing:
                self._closing = True
                self._then(max(offered, last) + self._answer_ns, self._close)
            return True
        return Hop._stall(self, offered, size)

    def _close(self) -> None:
        """Give back what is not across: no contact is left."""
        now = int(self._env.now)
        self._closing = False
        while self._sent:
            item = self._sent.popleft()
            crossed, item.ended = item.ended, True
            if self.on_end is not None:
                self.on_end(item.packet, crossed, now)
        self._cursor = 0
        while self._queue.head() is not None:
            waiting = self._queue.take()
            if self.on_end is not None:
                self.on_end(waiting.packet, False, now)
