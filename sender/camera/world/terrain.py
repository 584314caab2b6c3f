"""The ground of a rendered world: periodic tiles of heights at five scales, filtered for any distance.

```
far   8 m cells    hills beside the valley of the drive             \\
mid   2 m          rolling ground, large craters, ridges of hills     } heights: what rays meet
near  0.25 m       dunes, small craters, where bedrock is            |
slab  0.04 m       cracked plates of the bedrock                    /
fine  0.032 m      ripples, grain                                      shading alone
```

A tile holds a pyramid of averaged copies; a sample is trilinear between them, as a graphics card would take it, so
that nothing flickers in the distance. Shadows that the ground casts on itself are part of the tiles: the sun of a
drive stands still. Hills are fractal noise of a power-law spectrum, folded into ridges (Musgrave, Kolb and Mace 1989).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from link.seeds import generator
from sender.camera.world.themes import GroundTheme

Field = NDArray[np.float32]

PERIOD_M = 4096.0
"""The ground repeats itself after this distance in x and in y; what stands on it does not."""
WINDING = ((3, 80.0), (8, 18.0), (19, 5.0), (43, 1.2))
"""The drive's path: waves on `PERIOD_M`, and their amplitudes in metres."""


@dataclass(frozen=True)
class Tile:
    """A periodic texture of several channels with its pyramid."""

    cell_m: float
    size: int
    table: Tensor
    """Shape (texels of all levels, channels), rows of a level one after the other."""
    levels: int

    @property
    def period_m(self) -> float:
        """Return after how many metres the tile repeats itself."""
        return self.cell_m * self.size

    def sample(self, x: Tensor, y: Tensor, level: Tensor | None = None) -> Tensor:
        """Return the channels at *x*, *y* (metres, shape (N,)) as (N, channels).

        *level* (N,) chooses the pyramid's copy, 0 the finest, fractions blend two; None: all from the finest.
        """
        if level is None:
            return self._bilinear(x, y, None)
        level = level.clamp(0.0, self.levels - 1.001)
        low = level.floor()
        blend = (level - low).unsqueeze(1)
        first = low.to(torch.int32)
        return torch.lerp(self._bilinear(x, y, first), self._bilinear(x, y, first + 1), blend)

    def _bilinear(self, x: Tensor, y: Tensor, level: Tensor | None) -> Tensor:
        if level is None:
            scale: Tensor | float = 1.0 / self.cell_m
            mask: Tensor | int = self.size - 1
            start: Tensor | int = 0
            width: Tensor | int = self.size
        else:
            width = torch.bitwise_right_shift(torch.full_like(level, self.size), level)
            scale = width.to(x.dtype) * (1.0 / self.period_m)
            mask = width - 1
            # texels before a level: size^2 (1 + 1/4 + ...) = 4/3 (size^2 - width^2)
            start = (4 * (self.size * self.size - width * width)) // 3
        across, down = x * scale - 0.5, y * scale - 0.5
        left, top = across.floor(), down.floor()
        right_part, lower_part = across - left, down - top
        column, row = left.to(torch.int32), top.to(torch.int32)
        column0, column1 = column & mask, (column + 1) & mask
        row0, row1 = (row & mask) * width + start, ((row + 1) & mask) * width + start
        if self.table.shape[1] == 1:
            flat = self.table[:, 0]
            upper = torch.lerp(flat[row0 + column0], flat[row0 + column1], right_part)
            lower = torch.lerp(flat[row1 + column0], flat[row1 + column1], right_part)
            return torch.lerp(upper, lower, lower_part).unsqueeze(1)
        right_part, lower_part = right_part.unsqueeze(1), lower_part.unsqueeze(1)
        upper = torch.lerp(self._rows(row0 + column0), self._rows(row0 + column1), right_part)
        lower = torch.lerp(self._rows(row1 + column0), self._rows(row1 + column1), right_part)
        return torch.lerp(upper, lower, lower_part)

    def _rows(self, index: Tensor) -> Tensor:
        return self.table.index_select(0, index)

    def on(self, device: str) -> "Tile":
        """Return the tile on *device*."""
        return Tile(self.cell_m, self.size, self.table.to(device), self.levels)


def tile(cell_m: float, *channels: Field) -> Tile:
    """Return a tile of *channels*, each (size, size) with a power of two, row = y, column = x."""
    stack = np.stack(channels, axis=-1).astype(np.float32)
    size = stack.shape[0]
    parts = [stack.reshape(-1, stack.shape[2])]
    while stack.shape[0] > 4:
        stack = 0.25 * (stack[0::2, 0::2] + stack[1::2, 0::2] + stack[0::2, 1::2] + stack[1::2, 1::2])
        parts.append(stack.reshape(-1, stack.shape[2]))
    return Tile(cell_m, size, torch.from_numpy(np.concatenate(parts).astype(np.float32)), len(parts))


@dataclass(frozen=True)
class Terrain:
    """The ground of one drive on one device. Heights in metres; gradients without unit."""

    far: Tile
    """h, hill (0 in the valley, 1 among hills), then dh/dx, dh/dy, lit, tone."""
    mid: Tile
    """h, ridges (times hill), dh/dx, dh/dy, ridges' d/dx, d/dy, lit, tone."""
    near: Tile
    """h, bedrock (over 0: bedrock), dh/dx, dh/dy, lit, tone, ripples (0 to 1)."""
    slab: Tile
    """h, dh/dx, dh/dy, tone, crack (1 in the middle of a crack)."""
    fine: Tile
    """Ripples' d/dx, d/dy, grain's d/dx, d/dy, tone."""
    shape: tuple[Tile, Tile, Tile, Tile]
    """The finest level of far, mid, near and slab, heights (and hill, ridges, bedrock) alone: what rays meet."""
    phases: tuple[float, ...]
    """Of the waves of the path."""
    track_phases: tuple[float, ...]

    def on(self, device: str) -> "Terrain":
        """Return the terrain on *device*."""
        far, mid, near, slab, fine = (
            part.on(device) for part in (self.far, self.mid, self.near, self.slab, self.fine)
        )
        shape = (
            self.shape[0].on(device),
            self.shape[1].on(device),
            self.shape[2].on(device),
            self.shape[3].on(device),
        )
        return Terrain(far, mid, near, slab, fine, shape, self.phases, self.track_phases)

    def height(self, x: Tensor, y: Tensor, detail: int = 2) -> Tensor:
        """Return the height in metres at *x*, *y* (metres, any one shape).

        *detail* 2: all that rays meet; 1: without the bedrock's plates; 0: without dunes and small craters as well.
        """
        flat_x, flat_y = x.reshape(-1), y.reshape(-1)
        far, mid = (part.sample(flat_x, flat_y) for part in self.shape[:2])
        height = far[:, 0] + mid[:, 0] + far[:, 1] * mid[:, 1]
        if detail >= 1:
            near = self.shape[2].sample(flat_x, flat_y)
            height = height + near[:, 0]
        if detail >= 2:
            height = height + self.shape[3].sample(flat_x, flat_y)[:, 0] * rise(near[:, 1])
        return height.reshape(x.shape)


def rise(bedrock: Tensor) -> Tensor:
    """Return how far bedrock stands out, 0 to 1, from the near tile's bedrock channel."""
    return (bedrock * 4.0 + 0.5).clamp(0.0, 1.0)


def winding(
    x: NDArray[np.float64], phases: tuple[float, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return y of the drive's path at *x*, in metres, and its slope dy/dx."""
    y, slope = np.zeros_like(x), np.zeros_like(x)
    for (waves, amplitude), phase in zip(WINDING, phases, strict=True):
        k = 2.0 * math.pi * waves / PERIOD_M
        y += amplitude * np.sin(k * x + phase)
        slope += amplitude * k * np.cos(k * x + phase)
    return y, slope


def build(
    ground: GroundTheme, seed: int, bedrock: float, wind: float, sun: tuple[float, float, float]
) -> Terrain:
    """Return the ground of drive *seed*: *bedrock* is its share, *wind* the ripples' bearing in rad.

    *sun* is the unit vector towards the sun, for the shadows that the ground casts.
    """
    rng = generator(seed, "world/terrain")
    phases = tuple(float(value) for value in rng.uniform(0.0, 2.0 * math.pi, len(WINDING)))
    track_phases = tuple(float(value) for value in rng.uniform(0.0, 2.0 * math.pi, 2))
    far_h, hill = _far(ground, rng, phases)
    mid_h, ridges = _mid(ground, rng)
    near_h, bed, rippled = _near(ground, rng, bedrock, wind)
    tones = [_noise(rng, size, 0.9, 2.0, size / 4.0) for size in (512, 512, 1024)]
    far = tile(8.0, far_h, hill, *_slopes(far_h, 8.0), _lit(far_h, 8.0, sun), tones[0])
    mid_slopes = (*_slopes(mid_h, 2.0), *_slopes(ridges, 2.0))
    mid = tile(2.0, mid_h, ridges, *mid_slopes, _lit(mid_h, 2.0, sun), tones[1])
    near = tile(0.25, near_h, bed, *_slopes(near_h, 0.25), _lit(near_h, 0.25, sun), tones[2], rippled)
    slab = _slab(rng)
    shape = (_finest(far, 2), _finest(mid, 2), _finest(near, 2), _finest(slab, 1))
    return Terrain(far, mid, near, slab, _fine(ground, rng, wind), shape, phases, track_phases)


def _finest(whole: Tile, channels: int) -> Tile:
    table = whole.table[: whole.size * whole.size, :channels].contiguous()
    return Tile(whole.cell_m, whole.size, table, 1)


def _far(ground: GroundTheme, rng: np.random.Generator, phases: tuple[float, ...]) -> tuple[Field, Field]:
    size, cell = 512, 8.0
    centre = (np.arange(size) + 0.5) * cell
    path, slope = winding(centre, phases)
    away = np.abs((centre[:, None] - path[None, :] + PERIOD_M / 2) % PERIOD_M - PERIOD_M / 2)
    away = away / np.sqrt(1.0 + slope[None, :] ** 2)
    away = away * (1.0 + 0.35 * _noise(rng, size, 2.0, 20.0, 120.0))  # valleys are not streets
    start, end = ground.valley_m
    hill = np.clip((away - start) / (end - start), 0.0, 1.0)
    hill = hill * hill * (3.0 - 2.0 * hill)
    folded = sum(
        weight * _folds(_noise(rng, size, 1.6, low, high))
        for weight, low, high in ((0.6, 40.0, 160.0), (0.3, 16.0, 48.0), (0.14, 6.0, 16.0))
    )
    domes = 0.62 + 0.30 * _noise(rng, size, 2.2, 24.0, 160.0)
    relief = ground.sharp * np.asarray(folded) + (1.0 - ground.sharp) * domes
    return (ground.hill_m * hill * np.maximum(relief, 0.0)).astype(np.float32), hill.astype(np.float32)


def _mid(ground: GroundTheme, rng: np.random.Generator) -> tuple[Field, Field]:
    size, cell = 512, 2.0
    height = ground.rolling_m * _noise(rng, size, 2.0, 10.0, 64.0)
    _craters(height, cell, ground.craters[1], (8.0, 32.0), rng)
    folded = _folds(_noise(rng, size, 1.5, 8.0, 48.0)) - 0.35
    detail = _noise(rng, size, 1.3, 3.0, 16.0)
    ridges = ground.hill_m * (0.10 * ground.sharp * folded + (0.022 - 0.012 * ground.sharp) * detail)
    return height, ridges.astype(np.float32)


def _near(
    ground: GroundTheme, rng: np.random.Generator, bedrock: float, wind: float
) -> tuple[Field, Field, Field]:
    size, cell = 1024, 0.25
    height = ground.rough_m * _noise(rng, size, 1.5, 4.0, 64.0)
    patches = _noise(rng, size, 1.8, 16.0, 90.0)
    bed = patches + 0.22 * _noise(rng, size, 1.2, 3.0, 14.0)
    bed = bed - np.quantile(bed[::4, ::4], 1.0 - bedrock).astype(np.float32)
    sandy = np.clip(0.5 - bed, 0.0, 1.0)
    if ground.dunes_m:
        crest = _waves(size, 60, wind, 0.9 * _noise(rng, size, 2.0, 24.0, 128.0))
        extent = np.clip(0.5 + _noise(rng, size, 2.0, 30.0, 160.0), 0.0, 1.0)
        height = height + ground.dunes_m * crest * extent * sandy
    _craters(height, cell, ground.craters[0], (0.9, 6.0), rng)
    height = height + 0.10 * np.clip(bed * 1.5, 0.0, 1.0)  # bedrock stands a little above the sand
    rippled = np.clip(0.55 + 0.8 * _noise(rng, size, 1.8, 24.0, 128.0), 0.0, 1.0) * sandy
    return height.astype(np.float32), bed.astype(np.float32), rippled.astype(np.float32)


def _fine(ground: GroundTheme, rng: np.random.Generator, wind: float) -> Tile:
    size, cell = 512, 0.032
    warp = 0.75 * _noise(rng, size, 2.0, 40.0, 256.0) + 0.14 * _noise(rng, size, 1.5, 8.0, 40.0)
    ripples = (
        ground.ripples_m * _waves(size, 46, wind, warp) * (0.75 + 0.3 * _noise(rng, size, 1.5, 20.0, 128.0))
    )
    grain = 0.0035 * _noise(rng, size, 1.0, 2.0, 24.0) + 0.004 * _noise(rng, size, 1.6, 12.0, 60.0)
    tone = 0.6 * _noise(rng, size, 0.7, 2.0, 32.0) + 0.4 * _noise(rng, size, 1.5, 16.0, 128.0)
    return tile(cell, *_slopes(ripples, cell), *_slopes(grain, cell), tone)


def _slab(rng: np.random.Generator) -> Tile:
    """Return plates of about a metre, each with its own height, tilt and tone, and cracks between them."""
    size, cell, across = 512, 0.04, 16
    pitch = size / across
    spots = (
        np.arange(across)[:, None, None] * [0, 1] + np.arange(across)[None, :, None] * [1, 0] + 0.5
    ) * pitch
    spots = spots + rng.uniform(-0.46, 0.46, spots.shape) * pitch
    up, tone = rng.uniform(0.0, 0.07, (across, across)), rng.uniform(-1.0, 1.0, (across, across))
    tilt = rng.normal(0.0, 0.035, (across, across, 2))
    bend = 3.4 * np.stack([_noise(rng, size, 1.6, 10.0, 60.0) for _ in range(2)], -1)
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) + 0.5 + bend  # x, y
    home = np.floor(grid / pitch).astype(np.int64)
    first = np.full((size, size), np.inf, np.float32)
    second = first.copy()
    height, shade = np.zeros_like(first), np.zeros_like(first)
    for row in range(-1, 2):
        for column in range(-1, 2):
            j, i = home[..., 1] + row, home[..., 0] + column
            turns = np.stack([np.floor_divide(i, across), np.floor_divide(j, across)], -1) * size
            i, j = i % across, j % across
            delta = grid - spots[j, i] - turns
            distance = np.hypot(delta[..., 0], delta[..., 1]).astype(np.float32)
            nearer = distance < first
            second = np.where(nearer, first, np.minimum(second, distance))
            level = up[j, i] + cell * (delta * tilt[j, i]).sum(-1)
            height = np.where(nearer, level, height).astype(np.float32)
            shade = np.where(nearer, tone[j, i], shade).astype(np.float32)
            first = np.where(nearer, distance, first)
    gap = (second - first) * cell  # metres, about twice the distance to the crack
    crack = np.clip(1.0 - gap / 0.11, 0.0, 1.0).astype(np.float32)
    height = (height * np.clip(gap / 0.16, 0.0, 1.0) + 0.004 * _noise(rng, size, 1.2, 2.0, 20.0)).astype(
        np.float32
    )
    shade = (0.7 * shade + 0.5 * _noise(rng, size, 1.0, 2.0, 60.0)).astype(np.float32)
    return tile(cell, height, *_slopes(height, cell), shade, crack)


def _noise(rng: np.random.Generator, size: int, power: float, shortest: float, longest: float) -> Field:
    """Return periodic noise (size, size) of unit variance; wavelengths in cells, amplitude ~ wavelength ** power."""
    white = rng.standard_normal((size, size), np.float32)
    spectrum = fft.rfft2(white)
    wave = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :]).astype(np.float32)
    wave[0, 0] = 1.0
    gain = wave ** np.float32(-power)
    gain *= np.exp(-((wave * np.float32(shortest) * 0.6) ** 4)) * (
        1.0 - np.exp(-((wave * np.float32(longest)) ** 4))
    )
    gain[0, 0] = 0.0
    field = fft.irfft2(spectrum * gain, (size, size))
    result: Field = (field / field.std()).astype(np.float32)
    return result


def _folds(noise: Field) -> Field:
    """Return *noise* folded into ridges, 0 to 1."""
    result: Field = (1.0 - np.minimum(np.abs(noise) / 1.4, 1.0)) ** 2
    return result


def _waves(size: int, count: int, bearing: float, warp: Field) -> Field:
    """Return about *count* asymmetric crests across a periodic tile, -0.5 to 0.5, bent by *warp* (turns)."""
    along = round(count * math.cos(bearing)), round(count * math.sin(bearing))
    place = np.arange(size) / size
    phase = 2.0 * math.pi * (along[0] * place[None, :] + along[1] * place[:, None]) + 2.0 * math.pi * warp
    crest = 0.5 * np.sin(phase + 0.45 * np.sin(phase)) + 0.12 * np.cos(2.0 * phase)
    result: Field = crest.astype(np.float32)
    return result


def _craters(
    height: Field, cell: float, count: int, radii_m: tuple[float, float], rng: np.random.Generator
) -> None:
    """Dig *count* craters into *height*, in place: bowls a fifth as deep as wide, with rims and blankets of ejecta."""
    size = height.shape[0]
    low, high = radii_m
    for _ in range(count):
        # cumulative counts fall with the square of the radius, as on real surfaces
        radius = 1.0 / math.sqrt(rng.uniform(1.0 / high**2, 1.0 / low**2)) / cell
        x, y = rng.uniform(0.0, size, 2)
        fresh = rng.uniform(0.25, 1.0)
        reach = math.ceil(2.2 * radius)
        columns, rows = np.arange(-reach, reach + 1) + int(x), np.arange(-reach, reach + 1) + int(y)
        away = np.hypot(columns[None, :] + 0.5 - x, rows[:, None] + 0.5 - y) / radius
        bowl = -0.36 * np.clip(1.0 - away**2, 0.0, None)
        rim = 0.075 * np.exp(-(((away - 1.0) / 0.24) ** 2)) + 0.03 * np.exp(-((away / 1.25) ** 4))
        window = np.ix_(rows % size, columns % size)
        height[window] += (fresh * radius * cell * (bowl + rim)).astype(np.float32)


def _slopes(height: Field, cell: float) -> tuple[Field, Field]:
    """Return dh/dx and dh/dy by central differences."""
    across = (np.roll(height, -1, 1) - np.roll(height, 1, 1)) / np.float32(2.0 * cell)
    down = (np.roll(height, -1, 0) - np.roll(height, 1, 0)) / np.float32(2.0 * cell)
    return across, down


def _lit(height: Field, cell: float, sun: tuple[float, float, float]) -> Field:
    """Return how much of the sun each cell sees past the rest of the tile, 0 to 1.

    The height over which the sun is seen is the maximum over t of h(p + t d) - t tan(elevation); doubling the span
    of t at each turn finds it in logarithmic time.
    """
    flat = math.hypot(sun[0], sun[1])
    if flat < 1e-6:
        return np.ones_like(height)
    east, north, drop = sun[0] / flat, sun[1] / flat, sun[2] / flat * cell
    horizon = _moved(height, 1.5 * east, 1.5 * north) - np.float32(1.5 * drop)
    span = 1.0
    most = float(height.max() - height.min())
    while span * drop < most and span < height.shape[0] / 2:
        np.maximum(horizon, _moved(horizon, span * east, span * north) - np.float32(span * drop), out=horizon)
        span *= 2.0
    soft = 0.35 * cell * max(0.25, sun[2])
    lit = np.clip((height - horizon) / soft + 0.5, 0.0, 1.0)
    result: Field = (lit * lit * (3.0 - 2.0 * lit)).astype(np.float32)
    return result


def _moved(field: Field, east: float, north: float) -> Field:
    """Return the periodic *field* as seen from *east*, *north* cells away, bilinear."""
    column, row = math.floor(east), math.floor(north)
    right, lower = np.float32(east - column), np.float32(north - row)
    whole = np.roll(field, (-row, -column), (0, 1))
    upper = whole + (np.roll(whole, -1, 1) - whole) * right
    result: Field = upper + (np.roll(upper, -1, 0) - upper) * lower
    return result
