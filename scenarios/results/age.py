"""Age of information: how old the newest picture shown is, at any time."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

_NS = 1e9


@dataclass(frozen=True)
class Age:
    """Age of information: at any time, how long ago the newest picture shown was taken."""

    updates: tuple[tuple[int, int], ...]
    """(shown_ns, captured_ns) of each picture that was newer than those shown before it."""
    end_ns: int
    mean_s: float | None
    peak_s: float | None


def age(shown: Iterable[tuple[int, int]], until_ns: int) -> Age:
    """Return the age of information of pictures *shown* (shown_ns, captured_ns) until *until_ns*.

    Kaul, Yates, Gruteser, "Real-time status: how often should one update?", INFOCOM 2012: the age is
    t - u(t), u(t) the time stamp of the newest update received by t, and its mean is the area under that
    sawtooth from the first picture on, over its duration, here summed in whole nanoseconds. The peak is the
    largest age that was reached.
    """
    updates: list[tuple[int, int]] = []
    for time, captured in sorted(shown):
        if not updates or captured > updates[-1][1]:
            updates.append((time, captured))
    if not updates:
        return Age((), until_ns, None, None)
    twice_area = 0
    for (start, captured), (stop, _) in pairwise([*updates, (until_ns, 0)]):
        twice_area += (stop - captured) ** 2 - (start - captured) ** 2
    span = until_ns - updates[0][0]
    mean_s = twice_area / (2 * span) / _NS if span else None
    peaks = [stop - captured for (_, captured), (stop, _) in pairwise([*updates, (until_ns, 0)]) if span]
    return Age(tuple(updates), until_ns, mean_s, max(peaks) / _NS if peaks else None)
