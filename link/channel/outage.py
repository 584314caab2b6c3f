"""When a hop is down: given windows, or up and down in turn, fixed or exponential."""

from collections import deque
from collections.abc import Iterator

import numpy as np

from link.channel import to_ns
from link.config import Outage


class Outages:
    """Answers for times that never decrease, keeping only the windows around the present."""

    def __init__(self, config: Outage, rng: np.random.Generator) -> None:
        self.hold = config.hold
        self._coming = _windows(config, rng)
        self._known: deque[tuple[int, int]] = deque()

    def _first_after(self, now: int) -> tuple[int, int] | None:
        """Return the first window that ends after *now*; forget those before it."""
        while self._known and self._known[0][1] <= now:
            self._known.popleft()
        while not self._known:
            window = next(self._coming, None)
            if window is None:
                return None
            if window[1] > now:
                self._known.append(window)
        return self._known[0]

    def hits(self, start: int, end: int) -> bool:
        """Return whether the hop is down at any time from *start* to before *end*."""
        window = self._first_after(start)
        return window is not None and window[0] < max(end, start + 1)

    def resumes(self, now: int) -> int:
        """Return the end of the first window that ends after *now* (now itself where there is none)."""
        window = self._first_after(now)
        return now if window is None else window[1]


def _windows(config: Outage, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    if config.up_s is None or config.down_s is None:
        yield from ((to_ns(start), to_ns(end)) for start, end in config.windows_s)
        return
    at = 0
    while True:
        up, down = config.up_s, config.down_s
        if config.random:
            up, down = rng.exponential(up), rng.exponential(down)
        start = at + to_ns(up)
        at = max(start + to_ns(down), start + 1)
        yield start, at
