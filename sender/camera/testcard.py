"""A moving test card, drawn by the project: made to show what a codec does to edges, colours and motion.

```
+-------------------------------------------+   TL  zone plate up to one half cycle per pixel
| (TL)        ,-------------.        (TR)   |   TR  clock; its hand turns 12 degrees a frame
|           /  colour bars    \\             |   BL  Siemens star
|          |  gratings 8..2 px  |     o     |   BR  hue wheel
|          |    frame number    |           |   o   ball on a closed path that crosses everything
|           \\  grey ramp, steps/            |
| (BL)        `-------------'        (BR)   |   ground: a smooth colour gradient under a grid
+-------------------------------------------+
```

What stands still is drawn once, in strips, so that a large card needs little more memory than its pixels;
each frame then draws its ball, hand and number into a copy.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from link.config import Camera
from link.errors import UsageError
from link.frame import Pixels
from link.seeds import generator
from link.terminal import shorten
from sender.camera.picture import Shot, Skipped

DEFAULT_FRAMES = 30
STRIP_ROWS = 128

Real = NDArray[np.float32]
Colour = tuple[float, float, float]

BARS: tuple[Colour, ...] = (
    (191, 191, 191),
    (191, 191, 0),
    (0, 191, 191),
    (0, 191, 0),
    (191, 0, 191),
    (191, 0, 0),
    (0, 0, 191),
)  # 75 % bars in order of luminance, as television has them
GRATING_PERIODS_PX = (8, 6, 4, 3, 2)
GREY_STEPS = 11
INK: Colour = (16, 18, 24)
PAPER: Colour = (240, 240, 236)
BALL: Colour = (255, 120, 20)
HAND: Colour = (230, 40, 40)


def check_bare(rest: str) -> None:
    """Raise UsageError where something follows the word testcard."""
    if rest:
        raise UsageError(
            f"camera.source {shorten(repr('testcard:' + rest))}: nothing may follow testcard; expected testcard"
        )


def open_testcard(rest: str, camera: Camera, seed: int) -> Iterator[Shot | Skipped]:
    """Return the frames of the test card for *seed*: `camera.frames`, or 30 of them.

    Raises UsageError where something follows the word testcard.
    """
    check_bare(rest)
    card = TestCard(camera.width, camera.height, seed)
    return (
        Shot(f"testcard#{number}", card.frame(number), None, "as is")
        for number in range(camera.frames or DEFAULT_FRAMES)
    )


@dataclass(frozen=True)
class _Disc:
    """A round field: centre and radius in pixels."""

    x: float
    y: float
    radius: float


Draw = Callable[[Real, Real, _Disc], Real]
"""Draws a disc at pixel centres x (1, columns) and y (rows, 1) from its own: (rows, columns, 3), 0 to 255."""


class TestCard:
    """The card of one size and seed; a function of the frame's number alone.

    The seed chooses the colours of the ground and where the hand and the ball start.
    """

    __test__ = False  # not a test, whatever pytest thinks of its name

    def __init__(self, width: int, height: int, seed: int) -> None:
        rng = generator(seed, "testcard")
        self.width, self.height = width, height
        self._hue = float(rng.uniform(0.0, 1.0))
        self._phase = rng.uniform(0.0, 2.0 * math.pi, size=3)
        least = min(width, height)
        self._centre = _Disc(width / 2, height / 2, 0.40 * least)
        margin = 0.025 * least
        reach = math.hypot(width / 2 - margin, height / 2 - margin)
        # a disc of radius r in the corner ends at (1 + sqrt 2) r from the corner's margin
        radius = max(1.0, min(0.17 * least, (reach - self._centre.radius - margin) / (1.0 + math.sqrt(2.0))))
        left, top = margin + radius, margin + radius
        right, bottom = width - left, height - top
        self._zone, self._clock = _Disc(left, top, radius), _Disc(right, top, radius)
        self._star, self._wheel = _Disc(left, bottom, radius), _Disc(right, bottom, radius)
        self._font = _font(int(0.30 * self._centre.radius))
        self._still: Pixels | None = None

    def frame(self, number: int) -> Pixels:
        """Return frame *number* as (height, width, 3) uint8."""
        if self._still is None:
            self._still = self._draw_still()
        pixels = self._still.copy()
        self._draw_number(pixels, number)
        self._draw_hand(pixels, number)
        self._draw_ball(pixels, number)
        return pixels

    def _draw_still(self) -> Pixels:
        pixels = np.empty((self.height, self.width, 3), np.uint8)
        x = np.arange(self.width, dtype=np.float32)[None, :] + np.float32(0.5)
        for top in range(0, self.height, STRIP_ROWS):
            bottom = min(self.height, top + STRIP_ROWS)
            y = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5)
            pixels[top:bottom] = _to_bytes(self._strip(x, y))
        return pixels

    def _strip(self, x: Real, y: Real) -> Real:
        """Draw everything that stands still at the pixel centres *x* (1, width), *y* (rows, 1)."""
        strip = self._ground(x, y)
        pitch = min(self.width, self.height) / 12.0
        if pitch >= 8.0:  # a finer grid would be all lines
            across = np.minimum((x - self.width / 2) % pitch, -(x - self.width / 2) % pitch)
            down = np.minimum((y - self.height / 2) % pitch, -(y - self.height / 2) % pitch)
            _blend(strip, 0.35 * np.clip(1.0 - np.minimum(across, down), 0, 1), PAPER)
        for disc, draw in (
            (self._centre, self._middle),
            (self._zone, _zone_plate),
            (self._clock, _clock_face),
            (self._star, _siemens_star),
            (self._wheel, _hue_wheel),
        ):
            _place(strip, x, y, disc, draw)
        return strip

    def _ground(self, x: Real, y: Real) -> Real:
        across, down = x / self.width, y / self.height
        hue = (self._hue + 0.22 * across + 0.13 * down).astype(np.float32)
        light = (0.30 + 0.45 * (1.0 - down) + 0.0 * across).astype(np.float32)
        return _hue_to_rgb(hue, np.float32(0.45) + 0.0 * hue, light)

    def _middle(self, x: Real, y: Real, disc: _Disc) -> Real:
        """The bands of the great circle; *x*, *y* are relative to its centre."""
        radius = disc.radius
        shape = np.broadcast_shapes(x.shape, y.shape)
        field = np.empty((*shape, 3), np.float32)
        field[:] = INK
        across = np.broadcast_to(x / radius, shape)  # -1 to 1
        down = np.broadcast_to(y / radius, shape)
        bars = np.asarray(BARS, np.float32)
        index = np.clip(((across * 0.5 + 0.5) * len(bars)).astype(int), 0, len(bars) - 1)
        grating = _gratings(np.broadcast_to(x, shape), radius)
        ramp = np.clip((across * 0.5 / 0.84 + 0.5) * 255.0, 0, 255)  # ends where the circle cuts the band
        steps = np.floor(np.clip(across * 0.5 / 0.74 + 0.5, 0, 0.9999) * GREY_STEPS) * (
            255.0 / (GREY_STEPS - 1)
        )
        for low, high, band in (
            (-1.0, -0.28, bars[index]),
            (-0.28, 0.06, np.repeat(grating[..., None], 3, axis=-1)),
            (0.44, 0.62, np.repeat(ramp[..., None], 3, axis=-1)),
            (0.62, 0.82, np.repeat(steps[..., None], 3, axis=-1)),
        ):
            inside = (down >= low) & (down < high)
            field[inside] = band[inside]
        return field

    def _draw_number(self, pixels: Pixels, number: int) -> None:
        if self._font is None:
            return
        text = f"{number:06d}"
        left, top, right, bottom = self._font.getbbox(text)
        size = (math.ceil(right - left), math.ceil(bottom - top))
        mask = Image.new("L", size, 0)
        ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=self._font)
        x = round(self._centre.x - size[0] / 2)
        y = round(self._centre.y + 0.25 * self._centre.radius - size[1] / 2)
        window = pixels[y : y + size[1], x : x + size[0]]
        _blend_bytes(window, np.asarray(mask, np.float32) / np.float32(255.0), PAPER)

    def _draw_hand(self, pixels: Pixels, number: int) -> None:
        disc = self._clock
        angle = 2.0 * math.pi * number / 30.0 + float(self._phase[0])
        tip_x, tip_y = math.sin(angle), -math.cos(angle)
        window, x, y = _window(pixels, disc)
        along = np.clip(x * tip_x + y * tip_y, 0.0, 0.80 * disc.radius)
        distance = np.hypot(x - along * tip_x, y - along * tip_y)
        _blend_bytes(window, np.clip(0.09 * disc.radius + 0.5 - distance, 0, 1), HAND)

    def _draw_ball(self, pixels: Pixels, number: int) -> None:
        radius = max(1.2, 0.055 * min(self.width, self.height))
        turn = 2.0 * math.pi * number
        x0 = self.width / 2 + (self.width / 2 - radius - 1) * math.sin(turn / 48.0 + float(self._phase[1]))
        y0 = self.height / 2 + (self.height / 2 - radius - 1) * math.sin(turn / 36.0 + float(self._phase[2]))
        window, x, y = _window(pixels, _Disc(x0, y0, radius + 1.0))
        light = np.hypot(x + 0.35 * radius, y + 0.40 * radius) / radius  # from the upper left
        shade = np.clip(1.12 - 0.62 * light, 0.15, 1.0)[..., None]
        gleam = np.clip(1.0 - light / 0.35, 0, 1)[..., None] * 0.8
        colour = (np.asarray(BALL, np.float32) * shade) * (1 - gleam) + 255.0 * gleam
        _blend_bytes(window, np.clip(radius + 0.5 - np.hypot(x, y), 0, 1), colour)


def _place(strip: Real, x: Real, y: Real, disc: _Disc, draw: "Draw") -> None:
    """Draw the round field *disc* with its rim onto the part of *strip* that it touches."""
    edge = disc.radius + 1.0
    columns = np.flatnonzero(np.abs(x[0] - disc.x) <= edge)
    rows = np.flatnonzero(np.abs(y[:, 0] - disc.y) <= edge)
    if not len(columns) or not len(rows):
        return
    across, down = slice(columns[0], columns[-1] + 1), slice(rows[0], rows[-1] + 1)
    dx, dy = x[:, across] - np.float32(disc.x), y[down] - np.float32(disc.y)
    distance = np.hypot(dx, dy)
    part = strip[down, across]
    rim = max(1.0, 0.035 * disc.radius)
    _blend(part, np.clip(disc.radius + 0.5 - distance, 0, 1), PAPER)
    _blend(part, np.clip(disc.radius - rim + 0.5 - distance, 0, 1), draw(dx, dy, disc))


def _gratings(x: Real, radius: float) -> Real:
    """Blocks of vertical lines, the coarsest on the left; *x* in pixels from the centre. 0 to 255."""
    blocks = len(GRATING_PERIODS_PX)
    block = np.clip(((x / radius * 0.5 + 0.5) * blocks).astype(int), 0, blocks - 1)
    period = np.asarray(GRATING_PERIODS_PX, np.float32)[block]
    column = np.floor(x + radius)
    lines: Real = np.where(column % period < period / 2, np.float32(230), np.float32(24))
    return lines


def _zone_plate(x: Real, y: Real, disc: _Disc) -> Real:
    """Rings that reach half a cycle per pixel at the rim: the local frequency is r / (2 radius)."""
    wave = 127.5 + 115.0 * np.cos((x * x + y * y) * np.float32(math.pi / (2.0 * disc.radius)))
    return np.repeat(wave[..., None], 3, axis=-1)


def _clock_face(x: Real, y: Real, disc: _Disc) -> Real:
    field = np.empty((*np.broadcast_shapes(x.shape, y.shape), 3), np.float32)
    field[:] = PAPER
    distance = np.hypot(x, y)
    twelfth = (np.arctan2(x, -y) / (2.0 * math.pi) * 12.0 + 0.5) % 1.0 - 0.5
    width = np.abs(twelfth) * (2.0 * math.pi / 12.0) * distance  # from the middle of the mark, in pixels
    mark = np.clip(0.045 * disc.radius + 0.5 - width, 0, 1) * (distance > 0.74 * disc.radius)
    _blend(field, mark, INK)
    return field


def _siemens_star(x: Real, y: Real, disc: _Disc) -> Real:
    """Twelve pairs of spokes, smooth where they are finer than a pixel."""
    distance = np.maximum(np.hypot(x, y), 0.5)
    wave = np.sin(12.0 * np.arctan2(y, x)) * distance / 12.0  # near an edge: the distance from it in pixels
    spokes = 20.0 + 215.0 * np.clip(wave + 0.5, 0, 1)
    return np.repeat(spokes[..., None], 3, axis=-1).astype(np.float32)


def _hue_wheel(x: Real, y: Real, disc: _Disc) -> Real:
    hue = (np.arctan2(y, x) / (2.0 * math.pi)).astype(np.float32)
    distance = np.clip(np.hypot(x, y) / disc.radius, 0, 1)
    return _hue_to_rgb(hue, distance, np.ones_like(distance))


def _hue_to_rgb(hue: Real, saturation: Real, value: Real) -> Real:
    """Return HSV, each about 0 to 1, as RGB 0 to 255 with a last axis of 3."""
    shift = np.asarray([0.0, 2.0 / 3.0, 1.0 / 3.0], np.float32)
    ramp = np.clip(np.abs(((hue[..., None] + shift) % 1.0) * 6.0 - 3.0) - 1.0, 0, 1)
    rgb: Real = 255.0 * value[..., None] * (1.0 - saturation[..., None] * (1.0 - ramp))
    return rgb


def _window(pixels: Pixels, disc: _Disc) -> tuple[Pixels, Real, Real]:
    """Return the part of *pixels* around *disc*, and its pixel centres relative to the disc's centre."""
    height, width, _ = pixels.shape
    left, right = max(0, math.floor(disc.x - disc.radius)), min(width, math.ceil(disc.x + disc.radius))
    top, bottom = max(0, math.floor(disc.y - disc.radius)), min(height, math.ceil(disc.y + disc.radius))
    x = np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5 - disc.x)
    y = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - disc.y)
    return pixels[top:bottom, left:right], x, y


def _blend(onto: Real, alpha: Real, colour: "Real | Colour") -> None:
    """Mix *colour* into *onto* (rows, columns, 3) in place; *alpha* (rows, columns) 0 to 1."""
    onto += alpha[..., None] * (np.asarray(colour, np.float32) - onto)


def _blend_bytes(onto: Pixels, alpha: Real, colour: "Real | Colour") -> None:
    real = onto.astype(np.float32)
    _blend(real, alpha, colour)
    onto[:] = _to_bytes(real)


def _to_bytes(real: Real) -> Pixels:
    return np.clip(np.rint(real), 0, 255).astype(np.uint8)


def _font(size_px: int) -> ImageFont.FreeTypeFont | None:
    """Return Pillow's own font, None where it would be too small to read or Pillow lacks FreeType."""
    if size_px < 7:
        return None
    font = ImageFont.load_default(size_px)
    return font if isinstance(font, ImageFont.FreeTypeFont) else None
