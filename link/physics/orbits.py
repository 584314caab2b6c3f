"""Orbits: Kepler's ellipse, turned by the body's flattening; and tables of places.

The flattening (J2) turns the node, the pericentre and the mean anomaly at a steady rate: with k = 1.5 J2 (R/p)^2 n,
node -k cos i, pericentre k (2 - 2.5 sin^2 i), anomaly n + k sqrt(1 - e^2) (1 - 1.5 sin^2 i). Nothing else pulls: good
for days around Mars or the Earth (no drag), for days around the Moon (no Earth). (Vallado, Fundamentals of
Astrodynamics, section 9.6.)
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from link.errors import UsageError
from link.files import brief, read_within
from link.physics.bodies import FIGURES
from link.physics.ephemeris import Floats, Track
from link.places import Orbit
from link.terminal import shorten

_NEWTON, _ENOUGH = 30, 1e-12
"""Steps of Kepler's equation at most, and the change in radians that ends them: a micrometre in a low orbit's place."""
_MOST_BYTES, _MOST_LINES = 16 << 20, 200_000


@dataclass(frozen=True)
class Elements:
    """What an orbit comes to. Angles in radians, rates a second, at the run's start."""

    semi_major_km: float
    eccentricity: float
    inclination: float
    node: float
    node_rate: float
    argument: float
    argument_rate: float
    anomaly: float
    anomaly_rate: float

    @property
    def period_s(self) -> float:
        """From pericentre to pericentre."""
        return 2.0 * math.pi / self.anomaly_rate


def elements(orbit: Orbit) -> Elements:
    """Return what *orbit* comes to. Raise UsageError where it goes into the ground."""
    body = FIGURES[orbit.body]
    if orbit.semi_major_km is not None:
        major, eccentricity = orbit.semi_major_km, orbit.eccentricity or 0.0
    else:
        low = body.radius_km + (orbit.periapsis_km or 0.0)
        high = low if orbit.apoapsis_km is None else body.radius_km + orbit.apoapsis_km
        major, eccentricity = (low + high) / 2.0, (high - low) / (high + low)
    if (least := major * (1.0 - eccentricity)) < body.radius_km:
        raise UsageError(f"orbit: its pericentre, {least:.0f} km from the centre, is inside {orbit.body}")
    inclination = math.radians(orbit.inclination_deg)
    n = math.sqrt(body.mu_km3_s2 / major**3)
    k = 1.5 * body.j2 * (body.radius_km / (major * (1.0 - eccentricity**2))) ** 2 * n
    return Elements(
        major,
        eccentricity,
        inclination,
        math.radians(orbit.node_deg),
        -k * math.cos(inclination),
        math.radians(orbit.argument_deg),
        k * (2.0 - 2.5 * math.sin(inclination) ** 2),
        math.radians(orbit.anomaly_deg),
        n + k * math.sqrt(1.0 - eccentricity**2) * (1.0 - 1.5 * math.sin(inclination) ** 2),
    )


def orbit_track(orbit: Orbit) -> Track:
    """Return where *orbit* is, from the body's centre, in seconds after the start.

    Axes do not turn: z is the body's pole, x where its prime meridian is at the start. Raise UsageError where the
    orbit goes into the ground.
    """
    e = elements(orbit)

    def track(seconds: Floats) -> Floats:
        t = np.asarray(seconds, np.float64)
        mean = e.anomaly + e.anomaly_rate * t
        eccentric = mean + e.eccentricity * np.sin(mean)
        for _ in range(_NEWTON):
            step = eccentric - e.eccentricity * np.sin(eccentric) - mean
            step /= 1.0 - e.eccentricity * np.cos(eccentric)
            eccentric -= step
            if t.size == 0 or np.abs(step).max() < _ENOUGH:
                break
        x = e.semi_major_km * (np.cos(eccentric) - e.eccentricity)
        y = e.semi_major_km * math.sqrt(1.0 - e.eccentricity**2) * np.sin(eccentric)
        argument, node = e.argument + e.argument_rate * t, e.node + e.node_rate * t
        along = x * np.cos(argument) - y * np.sin(argument)  # from the node, in the orbit's plane
        across = x * np.sin(argument) + y * np.cos(argument)
        flat, high = across * math.cos(e.inclination), across * math.sin(e.inclination)
        return np.stack(
            [along * np.cos(node) - flat * np.sin(node), along * np.sin(node) + flat * np.cos(node), high], -1
        )

    return track


def read_track(path: Path, at: datetime) -> Track:
    """Return where the file at *path* says something is, in seconds after *at*; outside its times it raises UsageError.

    Lines are `UTC, x, y, z` in kilometres, rising in time; `#` begins a comment. Raise UsageError, by the line, where
    they are none.
    """
    name = brief(path)
    times: list[float] = []
    places: list[list[float]] = []
    for number, line in enumerate(read_within(path, _MOST_BYTES).decode("utf-8", "replace").splitlines(), 1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        words = [word.strip() for word in text.split(",")]
        try:
            when = datetime.fromisoformat(words[0])
            x, y, z = map(float, words[1:])
        except ValueError:
            shown = shorten(repr(text), 60)
            raise UsageError(f"{name}, line {number}: `UTC, x, y, z` was expected, not {shown}") from None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        times.append((when - at).total_seconds())
        places.append([x, y, z])
        if not all(map(math.isfinite, places[-1])):
            raise UsageError(f"{name}, line {number}: a place was expected, not {shorten(repr(text), 60)}")
        if len(times) > 1 and times[-1] <= times[-2]:
            raise UsageError(f"{name}, line {number}: its time is not after the one before")
        if len(times) > _MOST_LINES:
            raise UsageError(f"{name}: over {_MOST_LINES} lines")
    if len(times) < 2:
        raise UsageError(f"{name}: two places at least were expected")
    knots, values = np.array(times), np.array(places)

    def track(seconds: Floats) -> Floats:
        t = np.asarray(seconds, np.float64)
        if t.size and (t.min() < knots[0] or t.max() > knots[-1]):
            raise UsageError(
                f"{name}: its places are from {knots[0]:.0f} s to {knots[-1]:.0f} s of run time; "
                f"{t.min():.0f} s to {t.max():.0f} s are asked for"
            )
        return np.stack([np.interp(t, knots, values[:, axis]) for axis in range(3)], -1)

    return track
