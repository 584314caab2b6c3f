"""Pictures to train on: read once, kept as they are, cut at random for every step.

A folder of pictures, or of pictures with labels beside it (`DIR` and `DIR_labels`, one PNG of class numbers
a picture), as the data sets of `camvid:` and its like lie on disk.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from link.errors import UsageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

KEPT_BYTES = 1 << 30
"""Decoded pictures up to this many bytes are kept; those beyond are read again for each use."""

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Cut:
    """One training example."""

    pixels: NDArray[np.uint8]
    """Shape (height, width, 3)."""
    labels: Labels | None
    """Shape (height, width), class numbers; None where the set has none."""


@dataclass
class Pictures:
    """The pictures of one folder, each with its labels where `FOLDER_labels` exists."""

    files: list[Path]
    labels: list[Path | None]
    _kept: dict[int, tuple[Image.Image, Image.Image | None]] = field(default_factory=dict)
    _bytes: int = 0

    @classmethod
    def open(cls, folder: Path, *, leave_out: str | None = None, only: str | None = None) -> "Pictures":
        """Return the pictures in *folder*, but those whose names begin with *leave_out*, or *only* those that do.

        Raise UsageError where there are none, or a label is missing.
        """
        files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            raise UsageError(f"{folder}: no pictures there ({', '.join(SUFFIXES)} are read)")
        if leave_out is not None:
            files = [path for path in files if not path.name.startswith(leave_out)]
        if only is not None:
            files = [path for path in files if path.name.startswith(only)]
        if not files:
            named = f"but {leave_out}*" if only is None else f"named {only}*"
            raise UsageError(f"{folder}: no pictures there {named}")
        beside = folder.with_name(folder.name + "_labels")
        labels: list[Path | None] = [None] * len(files)
        if beside.is_dir():
            labels = [beside / f"{path.stem}.png" for path in files]
            missing = [path for path in labels if path is not None and not path.is_file()]
            if missing:
                raise UsageError(f"{missing[0]}: no such label file, though {beside} exists")
        return cls(files, labels)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.files)

    def read(self, index: int) -> tuple[Image.Image, Image.Image | None]:
        """Return picture *index* and its labels."""
        if index in self._kept:
            return self._kept[index]
        picture = open_image(self.files[index]).convert("RGB")
        path = self.labels[index]
        labels = None if path is None else open_image(path)
        size = picture.width * picture.height * (3 if labels is None else 4)
        if self._bytes + size <= KEPT_BYTES:
            self._bytes += size
            self._kept[index] = picture, labels
        return picture, labels

    def whole(self, index: int, size: tuple[int, int]) -> Cut:
        """Return picture *index* at *size* (width, height): the largest window of that shape in its middle."""
        return whole_cut(*self.read(index), size)

    def random_cut(
        self, rng: np.random.Generator, size: tuple[int, int], zoom: tuple[float, float] = (1.0, 1.4)
    ) -> Cut:
        """Return a random window of a random picture, scaled to *size* (width, height), flipped half the time.

        *zoom* bounds how many times smaller the window is than the largest that fits.
        """
        return random_cut(rng, *self.read(int(rng.integers(len(self.files)))), size, zoom)


def open_image(path: Path) -> Image.Image:
    """Return the picture in *path*. Raise UsageError where it cannot be read."""
    try:
        with Image.open(path) as file:
            file.load()
            return file.copy()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: cannot be read as a picture: {error}") from None


def whole_cut(picture: Image.Image, labels: Image.Image | None, size: tuple[int, int]) -> Cut:
    """Return the largest window of the shape of *size* in the middle of *picture*, at *size*."""
    wide, high = _window(picture.size, size)
    left, top = (picture.width - wide) / 2, (picture.height - high) / 2
    return _cut(picture, labels, (left, top, left + wide, top + high), size, flip=False)


def random_cut(
    rng: np.random.Generator,
    picture: Image.Image,
    labels: Image.Image | None,
    size: tuple[int, int],
    zoom: tuple[float, float],
    *,
    flips: bool = True,
) -> Cut:
    """Return a window of *picture* as `Pictures.random_cut` does, flipped half the time if *flips*."""
    wide, high = _window(picture.size, size)
    factor = rng.uniform(*zoom)
    wide, high = wide / factor, high / factor
    left = rng.uniform(0, picture.width - wide)
    top = rng.uniform(0, picture.height - high)
    box = (left, top, left + wide, top + high)
    return _cut(picture, labels, box, size, flip=flips and bool(rng.integers(2)))


def _window(picture: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
    """Width and height of the largest window of the shape of *size* in *picture*."""
    scale = min(picture[0] / size[0], picture[1] / size[1])
    return min(size[0] * scale, picture[0]), min(size[1] * scale, picture[1])


def _cut(
    picture: Image.Image,
    labels: Image.Image | None,
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    *,
    flip: bool,
) -> Cut:
    pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=2.0))
    classes = None if labels is None else np.asarray(labels.resize(size, Image.Resampling.NEAREST, box=box))
    if flip:
        pixels = pixels[:, ::-1]
        classes = None if classes is None else classes[:, ::-1]
    return Cut(np.ascontiguousarray(pixels), None if classes is None else np.ascontiguousarray(classes))


def draw_mixed(
    rng: np.random.Generator,
    sets: list[tuple[float, Callable[[np.random.Generator], Cut]]],
    count: int,
) -> list[Cut]:
    """Return *count* cuts, each from one of *sets* drawn by its weight."""
    weights = np.array([weight for weight, _ in sets])
    picks = rng.choice(len(sets), size=count, p=weights / weights.sum())
    return [sets[pick][1](rng) for pick in picks]


def to_tensor(cuts: list[Cut]) -> torch.Tensor:
    """Return the pixels of *cuts* as (batch, 3, height, width), 0 to 1."""
    return torch.from_numpy(np.stack([cut.pixels for cut in cuts])).permute(0, 3, 1, 2).float().div_(255.0)
