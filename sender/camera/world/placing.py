"""Where things stand along a drive: a function of the drive's seed and of the place alone, without end.

Space is cut into cells; a hash of (seed, cell) says what is in a cell. So a view asks for the cells around it, and two
views of one drive agree about what they both see.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from link.seeds import generator
from sender.camera.world.terrain import PERIOD_M, winding

Real = NDArray[np.float64]

TRACK_WAVES = (((11, 7.0), (31, 5.5), (73, 1.5)), ((13, 9.0), (29, 6.5), (67, 2.0)))
"""Wheel tracks swing about the drive's path: waves on the ground's period, amplitudes in metres."""
GAUGE_M, WHEEL_M = 0.62, 0.17
"""Half the distance between the two lines of a track, and half the width of a line."""


@dataclass(frozen=True)
class Layer:
    """Rocks of one size."""

    cell_m: float
    reach_m: float
    mean: float
    """Rocks in a cell, on average."""
    radius_m: tuple[float, float]


LAYERS = (
    Layer(1.2, 11.0, 0.7, (0.045, 0.085)),
    Layer(3.0, 38.0, 1.3, (0.08, 0.21)),
    Layer(9.0, 110.0, 1.2, (0.19, 0.52)),
    Layer(26.0, 260.0, 0.55, (0.45, 1.25)),
)
STRIDE_M = 14.0
"""Built things: at most one on so many metres of the drive, on either side in turn."""
BUILT = (
    ("rover", 0.25, (3.6, 8.5)),
    ("flag", 0.24, (2.4, 5.5)),
    ("lander", 0.23, (4.6, 10.0)),
    ("habitat", 0.18, (7.5, 15.0)),
)
"""Class, its share of the places, and how far from the path it stands, in metres. The rest of the places is empty."""
SMALLEST = 0.0045
"""Rocks of a smaller radius, in rad as seen from the camera, are left to the ground's texture."""


@dataclass(frozen=True)
class Rocks:
    """Rocks around a place; arrays of one length."""

    x: Real
    y: Real
    radius_m: Real
    draws: Real
    """(rocks, 8): uniform numbers of each rock's own, for shape, turn and colour."""
    keys: NDArray[np.uint64]
    """One number a rock, the same in every view."""


@dataclass(frozen=True)
class Site:
    """A place where something was built."""

    kind: str
    number: int
    """Of the place along the drive; seeds the model's details."""
    x: float
    y: float
    heading: float


def mix_hash(*words: NDArray[np.uint64] | int) -> NDArray[np.uint64]:
    """Return a hash of *words*, element by element: the finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    state = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for word in words:
            value = np.uint64(word & 0xFFFFFFFFFFFFFFFF) if isinstance(word, int) else word
            state = (state ^ value) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


def uniform(keys: NDArray[np.uint64], stream: int) -> Real:
    """Return one number in [0, 1) for each key."""
    result: Real = (mix_hash(keys, stream) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return result


def track_offset(x: Real, number: int, phases: tuple[float, ...]) -> tuple[Real, Real]:
    """Return how far track *number* lies to the left of the path at *x*, in metres, and the slope of that."""
    y, slope = np.zeros_like(x), np.zeros_like(x)
    for turn, (waves, amplitude) in enumerate(TRACK_WAVES[number]):
        k = 2.0 * math.pi * waves / PERIOD_M
        phase = phases[number] * (1 + turn) + turn
        y += amplitude * np.sin(k * x + phase)
        slope += amplitude * k * np.cos(k * x + phase)
    return y, slope


class Placing:
    """What stands along one drive."""

    def __init__(
        self, seed: int, rocks: float, phases: tuple[float, ...], track_phases: tuple[float, ...]
    ) -> None:
        self._key = int(generator(seed, "world/places").integers(2**63))
        self._seed, self._rocks = seed, rocks
        self._phases, self._track_phases = phases, track_phases

    def sites(self, x: float, reach_m: float) -> list[Site]:
        """Return the built things within *reach_m* of *x* along the drive."""
        first, last = math.floor((x - reach_m) / STRIDE_M), math.floor((x + reach_m) / STRIDE_M)
        numbers = np.arange(first, last + 1)
        keys = mix_hash(numbers.astype(np.int64).view(np.uint64), self._key)
        draws = np.stack([uniform(keys, stream) for stream in range(4)], 1)
        found = []
        for number, draw in zip(numbers.tolist(), draws.tolist(), strict=True):
            share = draw[0]
            for kind, part, (low, high) in BUILT:
                if share < part:
                    place = (number + 0.2 + 0.6 * draw[1]) * STRIDE_M
                    y, slope = winding(np.array([place]), self._phases)
                    away = (low + (high - low) * draw[2] ** 1.3) * (1.0 if number % 2 else -1.0)
                    lean = math.hypot(1.0, slope[0])
                    at = (place - away * slope[0] / lean, y[0] + away / lean)
                    heading = 2.0 * math.pi * draw[3]
                    if kind == "habitat":  # its long side to the path
                        heading = (
                            math.atan(slope[0]) + 0.8 * (draw[3] - 0.5) + (math.pi if draw[3] < 0.5 else 0.0)
                        )
                    found.append(Site(kind, number, at[0], at[1], heading))
                    break
                share -= part
        return found

    def model_generator(self, site: Site) -> np.random.Generator:
        """Return the generator of the details of what stands at *site*."""
        return generator(self._seed, f"world/site/{site.number}")

    def rocks(self, x: float, y: float, yaw: float, spread: float, sites: list[tuple[Site, float]]) -> Rocks:
        """Return the rocks that the camera at *x*, *y* can tell, within *spread* rad of *yaw*, clear of *sites*.

        Each site comes with the radius that is clear.
        """
        found = [self._layer(layer, number, x, y, yaw, spread) for number, layer in enumerate(LAYERS)]
        rock_x, rock_y, radius, keys = (np.concatenate(parts) for parts in zip(*found, strict=True))
        keep = self._clear(rock_x, rock_y, radius)
        for site, free in sites:
            keep &= np.hypot(rock_x - site.x, rock_y - site.y) > free + radius
        rock_x, rock_y, radius, keys = rock_x[keep], rock_y[keep], radius[keep], keys[keep]
        draws = np.stack([uniform(keys, 16 + stream) for stream in range(8)], 1)
        return Rocks(rock_x, rock_y, radius, draws, keys)

    def _layer(
        self, layer: Layer, number: int, x: float, y: float, yaw: float, spread: float
    ) -> tuple[Real, Real, Real, NDArray[np.uint64]]:
        cell, reach = layer.cell_m, layer.reach_m
        columns = np.arange(math.floor((x - reach) / cell), math.floor((x + reach) / cell) + 1)
        rows = np.arange(math.floor((y - reach) / cell), math.floor((y + reach) / cell) + 1)
        column, row = (part.ravel() for part in np.meshgrid(columns, rows))
        away_x, away_y = (column + 0.5) * cell - x, (row + 0.5) * cell - y
        bearing = np.abs((np.arctan2(away_y, away_x) - yaw + math.pi) % (2.0 * math.pi) - math.pi)
        away = np.hypot(away_x, away_y)
        seen = (away < reach) & ((bearing < spread) | (away < 2.0 * cell + 3.0))
        column, row = column[seen].astype(np.int64), row[seen].astype(np.int64)
        home = mix_hash(column.view(np.uint64), row.view(np.uint64), self._key ^ (number + 1))
        # rocks lie in fields: a coarser lattice says how dense
        field = mix_hash(
            (column // 4).view(np.uint64), (row // 4).view(np.uint64), self._key ^ (number + 101)
        )
        mean = layer.mean * self._rocks * (0.25 + 1.5 * uniform(field, 0))
        counts = np.floor(mean + uniform(home, 1)).astype(np.int64)
        places = np.repeat(np.arange(len(home)), counts)
        turn = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        keys = mix_hash(home[places], turn.astype(np.uint64))
        rock_x = (column[places] + uniform(keys, 2)) * cell
        rock_y = (row[places] + uniform(keys, 3)) * cell
        low, high = layer.radius_m
        radius = low * (high / low) ** (uniform(keys, 4) ** 1.6)
        away = np.hypot(rock_x - x, rock_y - y)
        told = (radius > SMALLEST * away) & (away > 1.2 + radius)
        return rock_x[told], rock_y[told], radius[told], keys[told]

    def _clear(self, x: Real, y: Real, radius: Real) -> NDArray[np.bool_]:
        """Return which rocks lie neither where the rover drives nor, beyond pebbles, where another one drove."""
        path, slope = winding(x, self._phases)
        keep: NDArray[np.bool_] = np.abs(y - path) > (1.0 + radius) * np.hypot(1.0, slope)
        for number in range(len(TRACK_WAVES)):
            offset, turn = track_offset(x, number, self._track_phases)
            across = np.abs(y - path - offset) / np.hypot(1.0, slope + turn)
            keep &= np.abs(across - GAUGE_M) > WHEEL_M + radius
        return keep
