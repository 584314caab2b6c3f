"""Where frames come from: one function opens any source, and every source gives pictures of one size.

```
camera.source -> open_source -> Shot(name, pixels, pts_ns, fitted) | Skipped(name, reason) -> ...
```

A source is named by a prefix (a row of `PREFIXES`, which is the only list of them) or by a path. Errors that
the user can mend are raised by `open_source` itself; what breaks later is a `Skipped` and does not end
the run.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any

from link.config import Camera
from link.errors import UsageError
from link.terminal import shorten
from sender.camera.address import SCHEMES, check_address, check_browser
from sender.camera.datasets import make_opener
from sender.camera.folder import open_folder, open_picture
from sender.camera.layouts import LAYOUTS, check_rest
from sender.camera.picture import Shot, Skippable, Skipped, is_picture
from sender.camera.world.source import open_world, parse

__all__ = [
    "PREFIXES",
    "Prefix",
    "Shot",
    "Skipped",
    "check_source_name",
    "is_allowed",
    "is_live",
    "open_source",
    "place_of",
]


@dataclass(frozen=True)
class Prefix:
    """A kind of source that is named rather than found at a path."""

    usage: str
    """How it is written, for error messages: `webcam:N`."""
    check: Callable[[str], object]
    """Takes what follows the colon; raises UsageError where that can be no source, whatever files there are."""
    open: Callable[[str, Camera, int], Iterator[Shot | Skipped]]
    """Takes what follows the colon, the camera and the seed; raises UsageError at once."""
    draws: bool = False
    """Whether it draws its pictures itself, and opens nothing of this machine."""
    live: bool = False
    """Whether it shows what is to be seen now: nobody can have the same pictures of it again."""
    guarded: bool = False
    """Whether a pattern allows it only where the pattern begins with its prefix: addresses, and what a screen shows."""
    place: Callable[[str], Path] = Path
    """Where the files lie that it reads, given what follows the colon."""


def _late(module: str, name: str) -> Callable[..., Any]:
    """Return what calls *name* of *module* in this package, which is loaded for that.

    FFmpeg's libraries take 19 MB, fonts 2: a process that opens no video and draws no card does without them.
    """

    def call(*arguments: Any) -> Any:
        return getattr(import_module(f"{__name__}.{module}"), name)(*arguments)

    return call


def _stream(scheme: str) -> Prefix:
    usage = f"{scheme}://HOST:PORT" if scheme == "tcp" else f"{scheme}://HOST/PATH"
    opened = partial(_late("stream", "open_stream"), scheme)
    return Prefix(usage, partial(check_address, scheme), opened, live=True, guarded=True)


def _bag_of(rest: str) -> Path:
    found: Path = _late("rosbag", "split_bag")(rest)[0]
    return found


_OWN: Mapping[str, Prefix] = {
    "testcard": Prefix(
        "testcard", _late("testcard", "check_bare"), _late("testcard", "open_testcard"), draws=True
    ),
    "webcam": Prefix("webcam:N", _late("webcam", "check_number"), _late("webcam", "open_webcam"), live=True),
    "world": Prefix("world:THEME", partial(parse, seed=0), open_world, draws=True),
    "screen": Prefix(
        "screen[:N]",
        _late("screen", "check_monitor"),
        _late("screen", "open_screen"),
        live=True,
        guarded=True,
    ),
    **{scheme: _stream(scheme) for scheme in SCHEMES},
    "browser": Prefix("browser", check_browser, _late("stream", "open_browser"), live=True, guarded=True),
    "journal": Prefix("journal:RUN", _late("recorded", "check_run"), _late("recorded", "open_recorded")),
    "rosbag": Prefix(
        "rosbag:DIR[:TOPIC]", _late("rosbag", "check_bag"), _late("rosbag", "open_rosbag"), place=_bag_of
    ),
}


class _Prefixes(Mapping[str, Prefix]):
    """farlink's own kinds of source, then a row for each data set of `LAYOUTS`."""

    def __getitem__(self, name: str) -> Prefix:
        if name in LAYOUTS:
            return Prefix(f"{name}:DIR", partial(check_rest, name), make_opener(name))
        return _OWN[name]

    def __iter__(self) -> Iterator[str]:
        yield from _OWN
        yield from LAYOUTS

    def __len__(self) -> int:
        return len(_OWN) + len(LAYOUTS)


PREFIXES = _Prefixes()


def is_allowed(source: str, patterns: Sequence[str]) -> bool:
    """Return whether somebody else may choose *source*: one that is drawn, or one that a pattern allows.

    `*` in a pattern stands for anything, slashes too, but for a way up (`..`), which is allowed only as it is written;
    and for an address or the screen the pattern must itself begin with its prefix, as `rtsp://camera.local/*` does.
    """
    if draws(source):
        return True
    prefix = source.partition(":")[0]
    if prefix in PREFIXES and PREFIXES[prefix].guarded:
        patterns = [pattern for pattern in patterns if pattern.partition(":")[0] == prefix]
    rest = source.partition(":")[2]
    if ".." in PurePath(source).parts or ".." in PurePath(rest).parts:
        return source in patterns
    return any(fnmatchcase(source, pattern) for pattern in patterns)


def draws(source: str) -> bool:
    """Return whether *source* names a kind that draws its pictures itself, without end."""
    prefix = source.partition(":")[0]
    return prefix in PREFIXES and PREFIXES[prefix].draws


def is_live(source: str) -> bool:
    """Return whether *source* shows what is to be seen now: a device, a screen, a camera at an address."""
    prefix = source.partition(":")[0]
    return prefix in PREFIXES and PREFIXES[prefix].live


def place_of(source: str) -> Path:
    """Return where the files of *source* lie, if it has any."""
    prefix, _, rest = source.partition(":")
    return PREFIXES[prefix].place(rest) if prefix in PREFIXES else Path(source)


def open_source(camera: Camera, *, seed: int) -> Iterator[Shot | Skipped]:
    """Open the source that *camera* names and return its pictures in order, fitted to its size.

    Ends after `camera.frames` shots or at the end of the source. Pictures are read when they are asked for.
    Raises UsageError at once, with one line that says what was expected, where there is nothing to read:
    an unknown prefix, a missing or unreadable file, an empty folder, a webcam that cannot be opened.
    """
    check_source_name(camera.source)
    return _Limited(_open(camera, seed), camera.frames)


def check_source_name(source: str) -> None:
    """Raise UsageError where *source* names none by its looks: an unknown prefix, a theme that there is not, ...

    Whether the files are there that it names is not asked.
    """
    prefix, colon, rest = source.partition(":")
    if prefix in PREFIXES:
        PREFIXES[prefix].check(rest)
    elif not source:
        raise UsageError(f"camera.source '': no such file or folder; {_expected()}")
    # One letter is a drive: C:\pictures.
    elif colon and len(prefix) > 1 and prefix.isidentifier() and not os.path.lexists(source):
        raise UsageError(f"camera.source {_shown(source)}: unknown prefix {_shown(prefix)}; {_expected()}")


def _expected() -> str:
    return f"expected {', '.join(row.usage for row in PREFIXES.values())} or a path"


def _shown(source: str) -> str:
    return shorten(repr(source))


def _open(camera: Camera, seed: int) -> Iterator[Shot | Skipped]:
    prefix, _, rest = camera.source.partition(":")
    if prefix in PREFIXES:
        return PREFIXES[prefix].open(rest, camera, seed)
    path = Path(camera.source)
    kind = _kind(path)
    if kind == "folder":
        return open_folder(path, camera)
    if kind == "file":
        opened: Iterator[Shot | Skipped] = (
            open_picture if is_picture(path) else _late("video", "open_video")
        )(path, camera)
        return opened
    if kind == "special":
        raise UsageError(f"camera.source {_shown(camera.source)} is neither a file nor a folder")
    raise UsageError(f"camera.source {_shown(camera.source)}: no such file or folder; {_expected()}")


def _kind(path: Path) -> str:
    try:
        if path.is_dir():
            return "folder"
        if path.is_file():
            return "file"
        return "special" if path.exists() else "missing"
    except OSError as error:  # a name too long, a folder that may not be entered
        raise UsageError(f"camera.source {_shown(str(path))}: {error.strerror}") from None


class _Limited(Iterator[Shot | Skipped]):
    """The first *frames* shots of *source* (None: all), and what could not be read between them."""

    def __init__(self, source: Iterator[Shot | Skipped], frames: int | None) -> None:
        self._source, self._left = source, frames

    def _count(self) -> None:
        if self._left is not None:
            self._left -= 1

    def __next__(self) -> Shot | Skipped:
        if self._left == 0:
            raise StopIteration
        item = next(self._source)
        if isinstance(item, Shot):
            self._count()
        return item

    def skip(self) -> str | None:
        """See `sender.camera.picture.Skippable`; a source that is not skippable reads the picture."""
        if self._left == 0:
            return None
        if isinstance(self._source, Skippable):
            name = self._source.skip()
        else:
            name = next((item.name for item in self._source if isinstance(item, Shot)), None)
        if name is not None:
            self._count()
        return name
