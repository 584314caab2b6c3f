"""Where places are, in time: sites that turn with their body, orbits, tables, bodies among the stars.

Two ends at one body meet in the body's own axes, which do not turn (z its pole, x where its prime meridian is at the
start): no ephemeris is needed. All others meet in ICRS axes about the solar system's barycentre.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from link.errors import UsageError
from link.physics.bodies import FIGURES
from link.physics.ephemeris import BODIES, Floats, Track, astropy_modules, body_track, times_at
from link.physics.orbits import elements, orbit_track, read_track
from link.physics.stations import ALIASES, MASK_DEG, STATIONS_M, Vector, site_km, station_km
from link.places import Place

_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)
_DAY_S = 86_400.0

Axes = Callable[[Floats], Floats]
"""Matrices, shape (N, 3, 3), that take a body's own axes to ICRS."""


@dataclass(frozen=True)
class PlacedEnd:
    """One end of a hop, in time."""

    label: str
    body: str
    local: Track
    """From the body's centre, in its own axes."""
    up: Track | None
    """Of a site: unit vectors upwards, in the same axes; None: it is none."""
    mask: float
    """Of a site, in radians: the elevation below which nothing is seen."""
    period_s: float | None
    """Of an orbit."""
    axes: Axes | None
    """None: `local` is in ICRS axes."""
    is_centre: bool = False

    def among_stars(self, at: datetime) -> Track:
        """Return where it is from the barycentre, in ICRS axes."""
        centre = body_track(self.body, at)
        return lambda seconds: centre(seconds) + self.turned(self.local, seconds)

    def turned(self, track: Track, seconds: Floats) -> Floats:
        """Return vectors of the body's own axes in ICRS axes."""
        vectors = track(seconds)
        if self.axes is None:
            return vectors
        return np.asarray(np.einsum("nij,nj->ni", self.axes(np.asarray(seconds, np.float64)), vectors))


def place_end(place: Place, at: datetime, folder: Path | None = None) -> PlacedEnd:
    """Return *place* in time, from *at* on; a table's file may lie in *folder*.

    Raise UsageError where there is no such body or station, an orbit goes into the ground, or a file is none.
    """
    if place.site is not None:
        fixed, up = site_km(place.site)
        label = f"{place.site.body} {place.site.latitude_deg:g} {place.site.longitude_deg:g}"
        return _turning(label, place.site.body, fixed, up, math.radians(place.site.mask_deg), at)
    if place.orbit is not None:
        body = place.orbit.body
        period_s = elements(place.orbit).period_s
        return PlacedEnd(
            f"{body} orbiter", body, orbit_track(place.orbit), None, 0.0, period_s, _axes(body, at)
        )
    if place.table is not None:
        path = Path(place.table.file)
        if not path.is_file() and folder is not None:
            path = folder / path
        return PlacedEnd(path.stem, place.table.body, read_track(path, at), None, 0.0, None, None)
    name = place.name or ""
    if name in STATIONS_M or name in ALIASES:
        fixed, up = station_km(name)
        return _turning(name, "earth", fixed, up, math.radians(MASK_DEG), at)
    if name not in BODIES:
        known = ", ".join((*BODIES, *STATIONS_M, *ALIASES))
        raise UsageError(f"there is no body and no station {name}; there are {known}")
    return PlacedEnd(name, name, lambda seconds: np.zeros((len(seconds), 3)), None, 0.0, None, None, True)


def _turning(label: str, body: str, fixed: Vector, up: Vector, mask: float, at: datetime) -> PlacedEnd:
    rate = 2.0 * math.pi / FIGURES[body].day_s

    def turn(vector: Vector) -> Track:
        def track(seconds: Floats) -> Floats:
            angle = rate * np.asarray(seconds, np.float64)
            cos, sin = np.cos(angle), np.sin(angle)
            x, y, z = vector
            return np.stack([x * cos - y * sin, x * sin + y * cos, np.full_like(angle, z)], -1)

        return track

    return PlacedEnd(label, body, turn(fixed), turn(up), mask, None, _axes(body, at))


def _axes(body: str, at: datetime) -> Axes:
    """Return the matrices from the axes of *body*, x where its prime meridian is at *at*, to ICRS."""
    if body == "earth":
        return _axes_of_earth(at)
    figures = FIGURES[body]
    node, lean = math.radians(figures.pole_deg[0] + 90.0), math.radians(90.0 - figures.pole_deg[1])
    days = (at - _J2000).total_seconds() / _DAY_S
    meridian = math.radians((figures.meridian_deg[0] + figures.meridian_deg[1] * days) % 360.0)
    matrix = _about_z(node) @ _about_x(lean) @ _about_z(meridian)
    return lambda seconds: np.broadcast_to(matrix, (len(seconds), 3, 3))


def _axes_of_earth(at: datetime) -> Axes:
    """Precession and nutation (IAU 2006/2000A) once a day, the Earth's rotation angle by UTC in UT1's place.

    UT1 differs from UTC by at most 0.9 s, that is 0.0038 degrees; the day's matrix is off by 0.0001 degrees at most.
    """
    days: dict[int, Any] = {}

    def axes(seconds: Floats) -> Floats:
        astropy_modules()
        import erfa

        if not days:
            start = times_at(at, np.zeros(1))[0]
            days[-1] = _about_z(float(erfa.era00(start.utc.jd1, start.utc.jd2)))
        which = np.floor(seconds / _DAY_S).astype(np.int64)
        matrices = np.empty((len(seconds), 3, 3))
        for day in np.unique(which):
            key = int(day) if day >= 0 else int(day) - 1  # -1 is taken
            if key not in days:
                noon = times_at(at, np.array([(day + 0.5) * _DAY_S]))[0].tt
                days[key] = np.asarray(erfa.c2i06a(noon.jd1, noon.jd2)).T @ days[-1]
            matrices[which == day] = days[key]
        return matrices

    return axes


def _about_z(angle: float) -> Floats:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _about_x(angle: float) -> Floats:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
