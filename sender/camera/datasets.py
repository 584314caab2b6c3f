"""Data sets as sources: their pictures in order, each called by its path within the set.

    cityscapes:DIR -> layouts.find -> Shot("leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png", ...)

The sender sees pictures alone. The name is what the scenario finds labels, depth and boxes by.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from link.config import Camera
from sender.camera.layouts import find, find_root, name_of
from sender.camera.picture import PictureError, Shot, Skipped, read_shot


def make_opener(kind: str) -> Callable[[str, Camera, int], Iterator[Shot | Skipped]]:
    """Return what opens the data set *kind*, a row of `layouts.LAYOUTS`, for `sender.camera.PREFIXES`."""

    def open_dataset(rest: str, camera: Camera, seed: int) -> Iterator[Shot | Skipped]:
        folder = find_root(kind, rest)
        return (_shot(folder, path, camera) for path in find(kind, folder))

    return open_dataset


def _shot(folder: Path, path: Path, camera: Camera) -> Shot | Skipped:
    name = name_of(folder, path)
    try:
        return replace(read_shot(path, camera.width, camera.height, camera.fit), name=name)
    except PictureError as error:
        return Skipped(name, str(error))
