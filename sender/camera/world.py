"""A rendered world: what a camera on a rover sees that drives over Mars, the Moon or the sea floor, with exact truth.

```
theme, seed -> ground (tiles), path, sun, placing          once a drive
index -> pose -> rays -> ground or part -> surface -> light -> film -> pixels
                             `-> depth, labels, boxes, caption
```

A view is a function of (theme, seed, index, width, height) alone. The drive never ends: the ground repeats itself after
4 km, what stands on it does not. Rays and light are in `cast` and `light`, heights in `terrain`, things in `bodies` and
`placing`, the themes' numbers in `themes`; the renderer needs torch and is loaded when the first world is made.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from link.config import Camera
from link.errors import UsageError
from link.frame import Pixels
from sender.camera.picture import Shot, Skipped

THEMES = ("mars", "moon", "seafloor")
CLASSES = ("sky", "sand", "bedrock", "rock", "track", "lander", "habitat", "rover", "flag")
"""Semantic classes; the place is the number in `View.labels`. Ripples and craters are sand; water is sky."""
THINGS = ("rock", "lander", "habitat", "rover", "flag")
"""Classes that have boxes."""
DEFAULT_FRAMES = 30


@dataclass(frozen=True)
class Pose:
    """Where the camera is and where it looks."""

    x_m: float
    """East, in metres from the drive's origin."""
    y_m: float
    z_m: float
    """Height above the datum; the camera is about 1.8 m above the ground."""
    yaw_rad: float
    """Bearing of the optical axis, from east towards north."""
    pitch_rad: float
    """Of the optical axis above the horizon; negative looks down."""
    roll_rad: float
    """About the optical axis; positive lowers the right side."""
    fov_rad: float
    """Vertical field of view."""


@dataclass(frozen=True)
class Box:
    """A thing in a view: the tight box around its visible pixels."""

    kind: str
    """One of `THINGS`."""
    left: float
    top: float
    right: float
    """Exclusive, as `bottom`."""
    bottom: float
    visible_px: int
    """Pixels that show it."""
    depth_m: float
    """Median depth of these pixels."""


@dataclass(frozen=True)
class View:
    """A rendered picture and the truth about it."""

    pixels: Pixels
    """(height, width, 3)."""
    depth_m: NDArray[np.float32]
    """(height, width), metres along the optical axis (not along the ray) at pixel centres; inf where there is sky."""
    labels: NDArray[np.uint8]
    """(height, width), numbers of `CLASSES` at pixel centres."""
    boxes: tuple[Box, ...]
    """Largest first. Rocks of fewer than 40 visible pixels at 256x192 (in proportion elsewhere) have none."""
    pose: Pose
    caption: str
    """One phrase in English, from what is in view."""


class World:
    """One drive through one world: theme and seed choose ground, sun, path and what stands along it.

    Making one takes most of a second; keep it for its views. Raises UsageError for an unknown theme.
    """

    def __init__(self, theme: str, seed: int) -> None:
        if theme not in THEMES:
            raise UsageError(f"world theme {theme!r}: {_expected(theme)}")
        from sender.camera.drive import Drive  # torch takes a second, which --help does not have

        self.theme, self.seed = theme, seed
        self._drive = Drive(theme, seed)

    def view(self, index: int, width: int = 256, height: int = 192) -> View:
        """Return frame *index* (0, 1, 2, ... without end) of the drive. Raises UsageError for a negative one."""
        return self.views([index], width, height)[0]

    def views(
        self, indices: Sequence[int], width: int = 256, height: int = 192, device: str = "cpu"
    ) -> list[View]:
        """Return several frames, rendered on *device* (`cpu`, `cuda`, ...).

        On a CPU the frames are those of `view`, to the byte. A GPU renders several at once, and its arithmetic
        differs in the last bits, which moves an edge here and there by a pixel. Raises UsageError for a negative index
        or a size under 16 pixels.
        """
        if min(indices, default=0) < 0:
            raise UsageError(f"world frame {min(indices)}: expected 0 or more")
        if width < 16 or height < 16:
            raise UsageError(f"world size {width}x{height}: expected at least 16x16")
        return self._drive.views(indices, width, height, device)


def open_world(rest: str, camera: Camera, seed: int) -> Iterator[Shot | Skipped]:
    """Return the frames of `world:THEME` (the drive is the scenario's *seed*) or `world:THEME:DRIVE`.

    `camera.frames` of them, or 30. Raises UsageError for an unknown theme or a drive that is no number.
    """
    theme, number = parse(rest, seed)
    return _shots(theme, number, camera)


def parse(rest: str, seed: int) -> tuple[str, int]:
    """Return theme and drive of what follows `world:`. Raises UsageError in one line."""
    theme, colon, number = rest.partition(":")
    where = f"camera.source {'world:' + rest!r}"
    if theme not in THEMES:
        raise UsageError(f"{where}: unknown theme {theme!r}; {_expected(theme)}")
    if not colon:
        return theme, seed
    if not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise UsageError(f"{where}: the drive {number!r} is no number; expected world:{theme}:7")
    return theme, int(number)


def _shots(theme: str, number: int, camera: Camera) -> Iterator[Shot | Skipped]:
    world = World(theme, number)
    for index in range(camera.frames or DEFAULT_FRAMES):
        pixels = world.view(index, camera.width, camera.height).pixels
        yield Shot(f"world:{theme}:{number}#{index}", pixels, None, "as is")


def _expected(theme: str) -> str:
    near = difflib.get_close_matches(theme.lower(), THEMES, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"expected one of {', '.join(THEMES)}{hint}"
