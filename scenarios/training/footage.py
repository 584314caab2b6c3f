"""One's own pictures, made ready to train on: upright, no larger than is learned from, with labels, some held out.

    OUT/data/train, OUT/data/train_labels     what is learned from
    OUT/data/val, OUT/data/val_labels         the last tenth: of a drive its end, which looks like no other picture

Labels are those in `DIR_labels`, one class number a pixel as in `sender.captioner.CLASSES`, else what the shipped
segmentation model sees: enough for the captions, which it would write of them anyway.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from link.errors import UsageError
from scenarios.training.data import open_image
from scenarios.training.loop import storing
from scenarios.training.request import SHIPPED
from sender.camera.picture import PictureError, is_picture, read_rgb

ZOOM = 2
"""Pictures are kept at up to so many times the frame's size: windows of them are what is learned from."""
HELD_OUT = 10
"""One picture in so many is held out, one at least."""
QUALITY = 95


def prepare(folder: Path, out: Path, size: tuple[int, int], say: Callable[[str], None]) -> bool:
    """Write what is learned from of the pictures in *folder* to *out*, once; return whether they came with labels.

    Raise UsageError where there are not two pictures, or a label is missing; StorageError where the disk is full.
    """
    labels = folder.with_name(folder.name + "_labels")
    if out.is_dir():
        return labels.is_dir()
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and is_picture(path)]
    if len(files) < 2:
        raise UsageError(f"--pictures {folder}: {len(files) or 'no'} pictures there; at least 2 are needed")
    new = out.with_name(out.name + ".new")
    with storing(out):
        shutil.rmtree(new, ignore_errors=True)
        for name in ("train", "train_labels", "val", "val_labels"):
            (new / name).mkdir(parents=True)
    first_held = len(files) - max(1, len(files) // HELD_OUT)
    segment = None if labels.is_dir() else _shipped_segmenter()
    kept = 0
    for number, path in enumerate(files):
        try:
            picture, _ = read_rgb(path)
        except PictureError as error:
            say(f'{{"left_out": "{path.name}"}}')
            if number in (0, first_held):  # there must be one of each kind
                raise UsageError(f"{path}: {error}") from None
            continue
        part = "train" if number < first_held else "val"
        picture = picture.resize(_kept_size(picture.size, size), Image.Resampling.LANCZOS)
        classes = (
            _read_labels(labels / f"{path.stem}.png", picture.size) if segment is None else segment(picture)
        )
        with storing(out):
            picture.save(new / part / f"{number:06d}.webp", quality=QUALITY)
            classes.save(new / f"{part}_labels" / f"{number:06d}.png")
        kept += 1
    with storing(out):
        new.rename(out)
    say(
        f'{{"pictures": {kept}, "held_out": {len(files) - first_held}, "labels": {str(labels.is_dir()).lower()}}}'
    )
    return labels.is_dir()


def _kept_size(picture: tuple[int, int], frame: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, max(ZOOM * frame[0] / picture[0], ZOOM * frame[1] / picture[1]))
    return max(1, round(picture[0] * scale)), max(1, round(picture[1] * scale))


def _read_labels(path: Path, size: tuple[int, int]) -> Image.Image:
    if not path.is_file():
        raise UsageError(f"{path}: no such label file, though {path.parent} exists")
    return open_image(path).resize(size, Image.Resampling.NEAREST)


def _shipped_segmenter() -> Callable[[Image.Image], Image.Image]:
    from sender.segmenter import Segmenter

    model = Segmenter(SHIPPED["segmenter"])

    def segment(picture: Image.Image) -> Image.Image:
        return Image.fromarray(model.segment(np.asarray(picture)))

    return segment
