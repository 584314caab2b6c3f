"""Pictures from disk: a folder of them in order of name, or a single one."""

from collections.abc import Iterator
from pathlib import Path

from link.config import Camera
from link.errors import UsageError
from sender.camera.picture import EXTENSIONS, PictureError, Shot, Skipped, read_shot


def open_folder(path: Path, camera: Camera) -> Iterator[Shot | Skipped]:
    """Return the pictures directly in the folder *path*, in plain order of name.

    A picture is known by its extension; hidden files and folders within are left out. One that cannot be read
    is a Skipped. Raises UsageError where the folder holds no picture or cannot be listed.
    """
    try:
        paths = sorted((entry for entry in path.iterdir() if _is_listed(entry)), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"camera.source {str(path)!r}: cannot list the folder: {error.strerror}") from None
    if not paths:
        known = " ".join(sorted(EXTENSIONS))
        raise UsageError(f"camera.source {str(path)!r}: no pictures in this folder; expected {known}")
    return (_shot_or_skipped(entry, camera) for entry in paths)


def open_picture(path: Path, camera: Camera) -> Iterator[Shot | Skipped]:
    """Return the one picture at *path*. Raises UsageError where it cannot be read."""
    try:
        return iter([read_shot(path, camera.width, camera.height, camera.fit)])
    except PictureError as error:
        raise UsageError(f"camera.source {str(path)!r}: cannot read the picture: {error}") from None


def _is_listed(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix.lower() in EXTENSIONS and path.is_file()


def _shot_or_skipped(path: Path, camera: Camera) -> Shot | Skipped:
    try:
        return read_shot(path, camera.width, camera.height, camera.fit)
    except PictureError as error:
        return Skipped(path.name, str(error))
