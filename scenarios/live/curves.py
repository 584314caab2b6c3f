"""Curves over run time: a point each tenth of a picture's period, the newest 1,200; what changed beside them.

At a picture a second that is the last 120 s. Points depend on run time alone, not on when the news came, so viewers
who came late, and a replay that was wound, see the same.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

MOST_POINTS = 1200
_STEPS = 10  # in a period
_LOSS_PERIODS = 10  # over which the share of lost packets is taken: fewer packets are noise
NAMES = {
    "age": ("age of the picture shown", "s"),
    "latency": ("capture to picture", "s"),
    "bit_rate": ("on the air", "bit/s"),
    "loss": ("packets lost", "%"),
    "queue": ("packets waiting", ""),
    "psnr": ("PSNR", "dB"),
    "miou": ("mIoU", ""),
}
"""What each curve is called, and its unit."""


@dataclass
class _Step:
    """What happened in one step of run time."""

    bits: int = 0
    ended: int = 0
    lost: int = 0
    busy_ns: int = 0


@dataclass
class Curves:
    """The curves of a session whose pictures come every *period_s*."""

    period_s: float
    points: dict[str, deque[tuple[int, float, float | None]]] = field(default_factory=dict)
    """(version, seconds of run time, value) by name."""

    def __post_init__(self) -> None:
        self.step_ns = max(1_000_000, int(self.period_s / _STEPS * 1e9))
        self._next_ns = 0
        self._steps: deque[_Step] = deque([_Step()])
        self._ended = self._lost = 0  # over all of them

    def due(self, until_ns: int) -> list[int]:
        """Return the times of points before *until_ns* that are to be drawn; but the newest `MOST_POINTS`."""
        left = -(-(until_ns - self._next_ns) // self.step_ns)
        if left <= 0:
            return []
        first = self._next_ns + max(0, left - MOST_POINTS) * self.step_ns
        self._next_ns += left * self.step_ns
        self.prune()
        return list(range(first, self._next_ns, self.step_ns))

    def add(self, name: str, version: int, at_ns: int, value: float | None) -> None:
        """Add a point."""
        held = self.points.setdefault(name, deque(maxlen=MOST_POINTS))
        held.append((version, at_ns / 1e9, value))

    def prune(self) -> None:
        """Let go of points that are older than `MOST_POINTS` steps."""
        oldest_s = (self._next_ns - MOST_POINTS * self.step_ns) / 1e9
        for held in self.points.values():
            while held and held[0][1] < oldest_s:
                held.popleft()

    @property
    def window_ns(self) -> int:
        """How far back points are kept."""
        return MOST_POINTS * self.step_ns

    def sent(self, size_bytes: int) -> None:
        """Bytes were put on the air."""
        self._steps[-1].bits += 8 * size_bytes

    def busy(self, transmitted_ns: int) -> None:
        """The narrowest hop transmitted for so long."""
        self._steps[-1].busy_ns += transmitted_ns

    def ended(self, *, lost: bool) -> None:
        """A packet on the way out came to its end."""
        self._steps[-1].ended += 1
        self._steps[-1].lost += lost
        self._ended += 1
        self._lost += lost

    def close_step(self) -> None:
        """The next step begins."""
        self._steps.append(_Step())
        if len(self._steps) > _LOSS_PERIODS * _STEPS:
            gone = self._steps.popleft()
            self._ended -= gone.ended
            self._lost -= gone.lost

    def bit_rate(self) -> float:
        """Return bit/s on the air over the last period."""
        return sum(step.bits for step in self._last()) / self._last_ns * 1e9

    def used_share(self) -> float:
        """Return the share of the last period in which the narrowest hop transmitted."""
        return min(1.0, sum(step.busy_ns for step in self._last()) / self._last_ns)

    def loss(self) -> float | None:
        """Return the share of packets that were lost of those that ended in the last ten periods."""
        return self._lost / self._ended if self._ended else None

    def _last(self) -> Iterator[_Step]:
        return islice(reversed(self._steps), _STEPS)

    @property
    def _last_ns(self) -> int:
        return min(len(self._steps), _STEPS) * self.step_ns

    def since(self, version: int) -> dict[str, Any]:
        """Return the points after *version* in the form that pages take."""
        curves = {}
        for name, held in self.points.items():
            new = []
            for stamp, at_s, value in reversed(held):
                if stamp <= version:
                    break
                new.append([round(at_s, 6), None if value is None else float(f"{value:.6g}")])
            if new:
                label, unit = NAMES[name]
                curves[name] = {"label": label, "unit": unit, "points": new[::-1]}
        return curves
