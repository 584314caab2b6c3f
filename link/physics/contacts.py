"""When two ends see each other: rises and sets, by root finding on a coarse grid, all at once.

One ray is looked at: it leaves the sender at t and is at the receiver a light time later. It is free where it is above
the horizon (mask) of each end that is a site, passes no body's disc, and, between planets, does not come from within
some degrees of the Sun. Refraction is left out (0.1 degrees at a mask of 10 degrees), and mountains.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from link.channel import NS
from link.physics.bodies import RADII_KM
from link.physics.ephemeris import C_KM_S, Floats, Track, body_track, sent_delays_s
from link.physics.tracks import PlacedEnd

_BISECTIONS = 40
"""Of a step of 300 s: to a nanosecond."""
_STEPS_A_TURN = 240
_STEP_S = 300.0
"""Where no end is in an orbit: stations rise and set over hours."""
_SECTIONS = 40
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True)
class Pass:
    """A time in which the ends see each other, in seconds after the start, as the sender counts it."""

    start_s: float
    end_s: float
    highest_deg: float | None
    """The highest elevation at the site; at the receiver's where both are sites. None: there is no site."""
    nearest_km: float
    """The shortest way of light."""

    @property
    def duration_s(self) -> float:
        """How long it lasts."""
        return self.end_s - self.start_s


class LineOfSight:
    """What *sender* and *receiver* see of each other from *at* on.

    *sun_deg*: how near the Sun the sender may be in the receiver's sky, where they are at different planets.
    """

    def __init__(self, sender: PlacedEnd, receiver: PlacedEnd, at: datetime, sun_deg: float = 2.0) -> None:
        self._ends = sender, receiver
        self._local = sender.body == receiver.body and None not in (sender.axes, receiver.axes)
        self._sender: Track
        self._receiver: Track
        if self._local:
            self._sender, self._receiver = sender.local, receiver.local
        else:
            self._sender, self._receiver = sender.among_stars(at), receiver.among_stars(at)
        # Where an end is a site its body's horizon is the mask; a centre's own body would hide it always.
        grounds = {end.body for end in self._ends if end.up is not None or end.is_centre}
        self._discs: dict[str, tuple[Track, float, bool]] = {}
        for near, end in zip((True, False), self._ends, strict=True):
            if end.body not in grounds:
                track: Track = _centre if self._local else body_track(end.body, at)
                self._discs[end.body] = track, RADII_KM[end.body], near
        planets = {"earth" if end.body == "moon" else end.body for end in self._ends}
        self._sun = None
        if sun_deg > 0.0 and len(planets) > 1 and "sun" not in planets:
            self._sun = body_track("sun", at), math.radians(sun_deg)

    def delays_s(self, sent_s: Floats) -> Floats:
        """Return the light time of what is sent at each of *sent_s*, shape (N,)."""
        return sent_delays_s(self._sender, self._receiver, sent_s)

    def _ray(self, sent_s: Floats) -> tuple[Floats, Floats, Floats]:
        """Return (where each ray leaves, where it arrives, when)."""
        received_s = sent_s + self.delays_s(sent_s)
        return self._sender(sent_s), self._receiver(received_s), received_s

    def _elevations(self, sent_s: Floats, ray: tuple[Floats, Floats, Floats]) -> list[tuple[Floats, float]]:
        """Return (elevations in radians, mask) at each end that is a site, the receiver last."""
        start, end, received_s = ray
        way = end - start
        way /= np.linalg.norm(way, axis=1)[:, None]
        found = []
        for place, when, towards in ((self._ends[0], sent_s, way), (self._ends[1], received_s, -way)):
            if place.up is not None:
                up = place.up(when) if self._local else place.turned(place.up, when)
                found.append((np.arcsin(np.clip(np.einsum("ij,ij->i", towards, up), -1.0, 1.0)), place.mask))
        return found

    def clearance(self, sent_s: Floats) -> Floats:
        """Return by how much each ray is free, shape (N,): over 0 it arrives. The unit differs by what is nearest."""
        ray = start, end, received_s = self._ray(sent_s)
        free = np.full(len(sent_s), np.inf)
        for elevations, mask in self._elevations(sent_s, ray):
            free = np.minimum(free, elevations - mask)
        way = end - start
        squared = np.einsum("ij,ij->i", way, way)
        for track, radius, near in self._discs.values():
            centre = track(sent_s if near else received_s)  # where it is when the ray is at the end about it
            t = np.clip(np.einsum("ij,ij->i", centre - start, way) / squared, 0.0, 1.0)
            miss = np.linalg.norm(start + t[:, None] * way - centre, axis=1)
            free = np.minimum(free, miss / radius - 1.0)
        if self._sun is not None:
            track, least = self._sun
            towards, sun = start - end, track(received_s) - end
            cosine = np.einsum("ij,ij->i", towards, sun)
            cosine /= np.linalg.norm(towards, axis=1) * np.linalg.norm(sun, axis=1)
            free = np.minimum(free, np.arccos(np.clip(cosine, -1.0, 1.0)) - least)
        return free

    @property
    def step_s(self) -> float:
        """How finely sight is looked at before its changes are found exactly."""
        periods = [end.period_s for end in self._ends if end.period_s is not None]
        return min([_STEP_S, *(period / _STEPS_A_TURN for period in periods)])

    def passes(self, until_s: float, from_s: float = 0.0) -> list[Pass]:
        """Return when the ends see each other from *from_s* to *until_s*, what reaches over either end cut there."""
        windows = find_windows(self.clearance, until_s, self.step_s, from_s)
        return [self._about(start, end) for start, end in windows]

    def _about(self, start_s: float, end_s: float) -> Pass:
        times = np.linspace(start_s, end_s, 257)
        away = self.delays_s(times) * C_KM_S
        nearest = int(np.argmin(away))
        highest = None
        if sites := self._elevations(times, self._ray(times)):
            highest = math.degrees(float(_top(times, sites[-1][0])))
        return Pass(start_s, end_s, highest, float(away[nearest]))


def _centre(seconds: Floats) -> Floats:
    return np.zeros((len(seconds), 3))


def _top(times: Floats, values: Floats) -> float:
    """Return the highest of *values*, by the parabola through it and its neighbours."""
    at = int(np.argmax(values))
    if not 0 < at < len(times) - 1:
        return float(values[at])
    before, here, after = values[at - 1 : at + 2]
    bend = before - 2.0 * here + after
    return float(here if bend >= 0.0 else here - (after - before) ** 2 / (8.0 * bend))


def find_windows(
    clearance: Callable[[Floats], Floats], until_s: float, step_s: float, from_s: float = 0.0
) -> list[tuple[float, float]]:
    """Return the times (start, end) from *from_s* to *until_s* at which *clearance* is over 0.

    It is looked at every *step_s*; where it is highest below 0 between two looks, its peak is looked for, so that a
    pass shorter than the step is not missed. Changes are found by halving, all at once.
    """
    count = max(2, math.ceil((until_s - from_s) / step_s) + 1)
    grid = np.linspace(from_s, until_s, count)
    values = clearance(grid)
    middle = values[1:-1]
    peaks = np.flatnonzero((middle <= 0.0) & (middle >= values[:-2]) & (middle >= values[2:])) + 1
    if len(peaks):
        tops = _peaks(clearance, grid[peaks - 1], grid[peaks + 1])
        over = clearance(tops)
        grid, values = np.concatenate([grid, tops[over > 0.0]]), np.concatenate([values, over[over > 0.0]])
        order = np.argsort(grid, kind="stable")
        grid, values = grid[order], values[order]
    up = values > 0.0
    changes = np.flatnonzero(up[1:] != up[:-1])
    low, high, rising = grid[changes], grid[changes + 1], up[changes + 1]
    if len(changes):
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2.0
            later = (clearance(middle) > 0.0) != rising
            low, high = np.where(later, middle, low), np.where(later, high, middle)
    roots = ((low + high) / 2.0).tolist()
    edges = ([from_s] if up[0] else []) + roots + ([until_s] if up[-1] else [])
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end > start]


def _peaks(clearance: Callable[[Floats], Floats], low: Floats, high: Floats) -> Floats:
    """Return where *clearance* is highest between each of *low* and *high*, by golden sections."""
    for _ in range(_SECTIONS):
        first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        right = clearance(first) < clearance(second)
        low, high = np.where(right, first, low), np.where(right, high, second)
    return (low + high) / 2.0


def spacing_s(sight: LineOfSight) -> float:
    """Return how far apart knots need to be: 10 s with a low orbit at an end, else a minute."""
    return 60.0 if sight.step_s >= 60.0 else 10.0


def knots(
    sight: LineOfSight, until_s: float, windows: list[tuple[float, float]] | None, most: int
) -> tuple[tuple[int, int], ...]:
    """Return (sent, delay) in whole nanoseconds, rising; linear in between, beyond them as at the nearest.

    A minute apart, or 10 s with an orbit at an end: linear in between is then within 15 ns between planets, 50 ns from
    a turning station, 0.13 microseconds from a low orbit to another planet, 1.5 to a site right below it. *windows*:
    only these times are asked for. Where that would be over *most* knots they are further apart.
    """
    spacing = spacing_s(sight)
    spans = windows if windows else [(0.0, until_s)]
    spacing = max(spacing, sum(end - start for start, end in spans) / max(1, most - 2 * len(spans)))
    times = [np.linspace(start, end, max(2, math.ceil((end - start) / spacing) + 1)) for start, end in spans]
    sent = np.unique(np.concatenate(times))
    delays = sight.delays_s(sent)
    rows = zip(
        np.rint(sent * NS).astype(np.int64).tolist(),
        np.rint(delays * NS).astype(np.int64).tolist(),
        strict=True,
    )
    return tuple(dict(rows).items())
