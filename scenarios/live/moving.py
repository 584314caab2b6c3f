"""Delays and rates of hops whose ends move, as they are now: what the page says of them, and reckons with."""

import copy
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

from link.channel import NS, to_ns
from link.channel.delay import MovingDelay
from link.config import Session

_FIGURES = 6
"""So many of a figure are told: a light time of ten minutes to a millisecond."""


class MovingFigures:
    """The figures of *session* that change by themselves, by the path of their field."""

    def __init__(self, session: Session) -> None:
        link = session.link
        hops = [(f"link.hops.{at}", hop.delay_knots_ns) for at, hop in enumerate(link.hops)]
        if link.return_ is not None:
            hops.append(("link.return", link.return_.delay_knots_ns))
        self._delays = {f"{path}.delay_s": MovingDelay(knots) for path, knots in hops if knots}
        self._rates = {
            f"link.hops.{at}.rate_bps": [(to_ns(time_s), bps) for time_s, bps, _ in hop.budget_steps]
            for at, hop in enumerate(link.hops)
            if hop.budget_steps is not None
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> "MovingFigures":
        made = copy.copy(self)
        made._delays = dict(self._delays)  # what is in them never changes
        return made

    def __bool__(self) -> bool:
        return bool(self._delays or self._rates)

    def hold(self, paths: Iterable[str]) -> None:
        """The fields at *paths* were set by hand: such a delay stays as it is (`link.channel.hop.Hop.adjust`)."""
        for path in paths:
            self._delays.pop(path, None)

    def at(self, now_ns: int) -> dict[str, float]:
        """Return each figure of what is sent at *now_ns*, in seconds or bit/s, by path."""
        told = {path: delay.at(now_ns) / NS for path, delay in self._delays.items()}
        for path, steps in self._rates.items():
            told[path] = steps[max(0, bisect_right(steps, now_ns, key=lambda step: step[0]) - 1)][1]
        return {path: float(f"{value:.{_FIGURES}g}") for path, value in told.items()}

    def rate(self, hop: int, now_ns: int) -> float | None:
        """Return the rate of hop number *hop* at *now_ns* in bit/s; None where it does not change by itself."""
        return self.at(now_ns).get(f"link.hops.{hop}.rate_bps") if self._rates else None
