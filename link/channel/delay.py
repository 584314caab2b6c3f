"""Delays that change as the ends of a hop move, and extra delay per packet, by distribution."""

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from link.channel import NS, to_ns
from link.hops import Jitter, Outage

_BLOCK = 1024
_PARETO_SHAPE = 3.0

# Half-normal and exponential tails: 8 scales are exceeded by 1 packet in 3,000 at the most.
TAIL = {"uniform": 1.0, "normal": 4.0, "exponential": 8.0, "pareto": 20.0}
"""How many scales of each distribution hardly any draw exceeds."""


def tail_ns(config: Jitter | None) -> int:
    """Return the extra delay in nanoseconds that hardly any packet exceeds."""
    return 0 if config is None else to_ns(config.scale_s * TAIL[config.model])


def longest_down_ns(outage: Outage | None) -> int:
    """Return how long *outage* hardly ever lasts longer than, in nanoseconds; 0 for none."""
    if outage is None:
        return 0
    if outage.down_s is not None:
        return to_ns(outage.down_s * (TAIL["exponential"] if outage.random else 1.0))
    return to_ns(max((end - start for start, end in outage.windows_s), default=0.0))


def jitter(config: Jitter, rng: np.random.Generator) -> Callable[[], int]:
    """Return a function that draws the next packet's extra delay in nanoseconds (never negative)."""
    scale = config.scale_s * NS
    left: list[int] = []

    def block() -> NDArray[np.float64]:
        if config.model == "uniform":
            return np.asarray(rng.random(_BLOCK) * scale)
        if config.model == "normal":
            return np.asarray(np.abs(rng.standard_normal(_BLOCK)) * scale)
        if config.model == "exponential":
            return np.asarray(rng.standard_exponential(_BLOCK) * scale)
        return np.asarray(rng.pareto(_PARETO_SHAPE, _BLOCK) * scale * (_PARETO_SHAPE - 1.0))

    def draw() -> int:
        if not left:
            left.extend(np.rint(block()).astype(np.int64).tolist()[::-1])
        return left.pop()

    return draw


class MovingDelay:
    """A delay by the time of sending: knots in whole nanoseconds, linear in between, beyond them as at the nearest."""

    def __init__(self, knots: Sequence[tuple[int, int]]) -> None:
        self._times = [sent for sent, _ in knots]
        self._delays = [delay for _, delay in knots]

    def at(self, sent: int) -> int:
        """Return how long what is sent at *sent* is on its way, in nanoseconds, rounded down."""
        times, delays = self._times, self._delays
        place = bisect_right(times, sent)
        if place == 0:
            return delays[0]
        if place == len(times):
            return delays[-1]
        early = times[place - 1]
        before = delays[place - 1]
        return before + (delays[place] - before) * (sent - early) // (times[place] - early)
