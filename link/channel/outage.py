"""When a hop is down: given windows, or up and down in turn, fixed or exponential.

What was between two packets costs the same however long it was: up and down in turn are reckoned by eras of
`ERA_TURNS` turns, and an era that nobody asks about is passed over. Fixed turns go on from era to era as if there were
none. Exponential times have no memory, so each era after the first begins anew in the stationary state, with a
generator of its own: the windows are the same whoever asks, and when.
"""

from collections import deque
from collections.abc import Iterator

import numpy as np

from link.channel import to_ns
from link.hops import Outage
from link.plans.timetable import FOREVER_NS

ERA_TURNS = 1024


def windows_up(outage: Outage) -> list[tuple[int, int]]:
    """Return when the hop is up around the given windows of *outage*: (start, end) in ns, the last for ever."""
    edges = [0, *(to_ns(edge) for window in outage.windows_s for edge in window), FOREVER_NS]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]


class Outages:
    """Answers for times that never decrease, keeping only the windows around the present."""

    def __init__(self, config: Outage, rng: np.random.Generator) -> None:
        self.hold = config.hold
        self._eras: _Eras | None = None
        self._coming: Iterator[tuple[int, int]]
        if config.up_s is None or config.down_s is None:
            self._coming = ((to_ns(start), to_ns(end)) for start, end in config.windows_s)
        else:
            self._eras = _Eras(config.up_s, config.down_s, rng if config.random else None)
            self._coming = self._eras.windows(0)
        self._era = 0
        self._known: deque[tuple[int, int]] = deque()

    def _first_after(self, now: int) -> tuple[int, int] | None:
        """Return the first window that ends after *now*; forget those before it."""
        while self._known and self._known[0][1] <= now:
            self._known.popleft()
        if not self._known and self._eras is not None and now // self._eras.era_ns > self._era:
            self._era = now // self._eras.era_ns
            self._coming = self._eras.windows(self._era)
        while not self._known:
            window = next(self._coming, None)
            if window is None:
                if self._eras is None:
                    return None
                self._era += 1
                self._coming = self._eras.windows(self._era)
            elif window[1] > now:
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


class _Eras:
    """The windows of up and down in turn, era by era. *rng*: both are means of exponential times; None: fixed."""

    def __init__(self, up_s: float, down_s: float, rng: np.random.Generator | None) -> None:
        self._up, self._down = to_ns(up_s), to_ns(down_s)
        self._means = up_s, down_s
        self._rng = rng
        self.era_ns = ERA_TURNS * (self._up + self._down)
        """How long an era is."""

    def windows(self, era: int) -> Iterator[tuple[int, int]]:
        """Yield (start, end) in ns of the outages in *era*, in order; none is empty."""
        begin = era * self.era_ns
        if self._rng is None:
            for turn in range(ERA_TURNS):
                end = begin + (turn + 1) * (self._up + self._down)
                yield end - self._down, end
            return
        rng, at, end = self._rng, begin, begin + self.era_ns
        is_up = True
        if era:
            entropy = rng.bit_generator.seed_seq.entropy  # type: ignore[attr-defined]
            rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy, spawn_key=(era,))))
            is_up = bool(rng.random() * sum(self._means) < self._means[0])
        while True:
            start = at + to_ns(rng.exponential(self._means[0])) if is_up else at
            if start >= end:
                return
            at = max(start + to_ns(rng.exponential(self._means[1])), start + 1)
            yield start, min(at, end)
            if at >= end:
                return
            is_up = True
