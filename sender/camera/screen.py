"""This machine's screen: `screen` is its first monitor, `screen:N` the N-th. Needs farlink[screen]."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event
from typing import Any

from PIL import Image

from link.config import Camera
from link.errors import UsageError
from link.terminal import shorten
from sender.camera.picture import Shot, Skipped, check_size, fit, one_line

BREATH_S = 0.1  # between two pictures, where a scenario has no period: a screen makes nobody wait


def check_monitor(rest: str) -> None:
    """Raise UsageError where what follows `screen:` is no number of a monitor, from 1."""
    if rest and not (rest.isascii() and rest.isdigit() and len(rest) <= 2 and int(rest) > 0):
        raise UsageError(
            f"camera.source {shorten(repr('screen:' + rest))}: expected the number of a monitor: screen:1"
        )


def _grabber() -> Any:
    """Return mss's grabber of this machine's screen; raise ImportError, or what mss raises where there is none."""
    import mss

    return mss.MSS() if hasattr(mss, "MSS") else mss.mss()  # which older versions have alone


def open_screen(
    rest: str, camera: Camera, seed: int, *, grabber: Callable[[], Any] | None = None
) -> Iterator[Shot | Skipped]:
    """Return what monitor *rest* shows whenever it is asked for, without end.

    *grabber* stands in for `_grabber`. Raise UsageError where farlink[screen], a screen or the monitor is missing.
    """
    del seed
    check_monitor(rest)
    where = f"camera.source {'screen:' + rest if rest else 'screen'!r}"
    try:
        grab = (grabber or _grabber)()
    except ImportError:
        raise UsageError(f"{where}: the screen needs an extra: pip install 'farlink[screen]'") from None
    except Exception as error:  # mss's own kinds differ between systems
        raise UsageError(f"{where}: no screen can be read here: {one_line(error)}") from None
    try:
        monitors = grab.monitors[1:]  # the first stands for all of them together
    except Exception as error:  # as above
        raise UsageError(f"{where}: no screen can be read here: {one_line(error)}") from None
    number = int(rest or 1)
    if number > len(monitors):
        raise UsageError(f"{where}: this machine has {len(monitors)} monitors")
    return _Screen(grab, monitors[number - 1], f"screen:{number}", camera)


class _Screen(Iterator[Shot | Skipped]):
    def __init__(self, grab: Any, monitor: Any, name: str, camera: Camera) -> None:
        self._grab, self._monitor, self._name, self._camera = grab, monitor, name, camera
        self._count = 0

    def skip(self) -> str:
        """See `sender.camera.picture.Skippable`."""
        self._count += 1
        return f"{self._name}#{self._count - 1}"

    def __next__(self) -> Shot | Skipped:
        if self._camera.period_s is None and self._count:
            Event().wait(BREATH_S)
        label = self.skip()
        try:
            shown = self._grab.grab(self._monitor)
            check_size(*shown.size)
            image = Image.frombytes("RGB", tuple(shown.size), bytes(shown.bgra), "raw", "BGRX")
            pixels, fitted = fit(image, self._camera.width, self._camera.height, self._camera.fit)
        except Exception as error:  # mss's own kinds differ between systems
            return Skipped(label, one_line(error))
        return Shot(label, pixels, None, fitted)

    def __del__(self) -> None:
        with suppress(Exception):
            self._grab.close()
