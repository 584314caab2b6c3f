"""A rendered world: what a camera on a rover sees that drives over Mars, the Moon or the sea floor, with exact truth.

```
theme, seed -> ground (tiles), path, sun, placing          once a drive
index -> pose -> rays -> ground or part -> surface -> light -> film -> pixels
                             `-> depth, labels, boxes, caption
```

A view is a function of (theme, seed, index, width, height) alone. The drive never ends: the ground repeats itself after
4 km, what stands on it does not. What a view is stands in `view`; rays and light are in `cast` and `light`, heights in
`terrain`, things in `bodies` and `placing`, the themes' numbers in `themes`; the renderer needs torch and is loaded
when the first world is made.
"""

import difflib
from collections.abc import Iterator, Sequence

from link.config import Camera
from link.errors import UsageError
from link.terminal import shorten
from sender.camera.picture import Shot, Skipped
from sender.camera.world.view import View

THEMES = ("mars", "moon", "seafloor")
DEFAULT_FRAMES = 30


class World:
    """One drive through one world: theme and seed choose ground, sun, path and what stands along it.

    Making one takes most of a second; keep it for its views. Raises UsageError for an unknown theme.
    """

    def __init__(self, theme: str, seed: int) -> None:
        if theme not in THEMES:
            raise UsageError(f"world theme {theme!r}: {_expected(theme)}")
        from sender.camera.world.drive import Drive  # torch takes a second, which --help does not have

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
    return _Views(theme, number, camera)


def parse(rest: str, seed: int) -> tuple[str, int]:
    """Return theme and drive of what follows `world:`. Raises UsageError in one line."""
    theme, colon, number = rest.partition(":")
    where = f"camera.source {shorten(repr('world:' + rest))}"
    if theme not in THEMES:
        raise UsageError(f"{where}: unknown theme {shorten(repr(theme))}; {_expected(theme)}")
    if not colon:
        return theme, seed
    if not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise UsageError(f"{where}: the drive {shorten(repr(number))} is no number; expected world:{theme}:7")
    return theme, int(number)


class _Views(Iterator[Shot | Skipped]):
    """The frames of a drive. A frame is rendered when it is asked for; one that is skipped costs nothing."""

    def __init__(self, theme: str, number: int, camera: Camera) -> None:
        self._theme, self._number, self._camera = theme, number, camera
        self._world: World | None = None
        self._index = 0

    def _take(self) -> str:
        if self._index == (self._camera.frames or DEFAULT_FRAMES):
            raise StopIteration
        self._index += 1
        return f"world:{self._theme}:{self._number}#{self._index - 1}"

    def __next__(self) -> Shot:
        name = self._take()
        if self._world is None:
            self._world = World(self._theme, self._number)
        view = self._world.view(self._index - 1, self._camera.width, self._camera.height)
        return Shot(name, view.pixels, None, "as is")

    def skip(self) -> str | None:
        """See `sender.camera.picture.Skippable`."""
        try:
            return self._take()
        except StopIteration:
            return None


def _expected(theme: str) -> str:
    near = difflib.get_close_matches(theme.lower(), THEMES, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"expected one of {', '.join(THEMES)}{hint}"
