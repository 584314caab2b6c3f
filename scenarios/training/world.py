"""Pictures of the rendered world to train on, with their truth: `farlink train world --out DIR`.

    DIR/NAME.png            the picture
    DIR_labels/NAME.png     the class of each pixel, numbers of `sender.camera.world.source.CLASSES`
    DIR_depth/NAME.npy      depth in metres, float16, inf where there is sky
    DIR_boxes/NAME.json     [{"kind", "box": [left, top, right, bottom], "visible_px"}, ...]

Drives are numbered from `FIRST_DRIVE` on, those that are held out from `FIRST_HELD_OUT` on; a scenario's seeds are
small numbers, so that nobody measures on a drive that a model has seen.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from link.errors import UsageError
from link.seeds import generator
from scenarios.training.data import Pictures
from scenarios.training.loop import storing
from sender.camera.world.source import THEMES, World
from sender.camera.world.view import THINGS

FIRST_DRIVE, FIRST_HELD_OUT = 1_000_000, 2_000_000
VIEWS = 12
"""Views of one drive: far apart, as neighbours teach little."""
REACH = 400
"""Frames of a drive that views are taken from."""


def render(out: Path, count: int, first: int, size: tuple[int, int], workers: int) -> Iterator[int]:
    """Render *count* views of drives from number *first* on into *out*; yield how many there are after each drive.

    What is there already is not rendered again. Raise StorageError where the disk is full.
    """
    for beside in ("", "_labels", "_depth", "_boxes"):
        with storing(out):
            out.with_name(out.name + beside).mkdir(parents=True, exist_ok=True)
    drives = range(first, first + -(-count // VIEWS))
    work = partial(_drive, out, size)
    done = 0
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for made in pool.map(work, drives):
            done += made
            yield min(done, count)


def _drive(out: Path, size: tuple[int, int], drive: int) -> int:
    torch.set_num_threads(1)
    theme = THEMES[drive % len(THEMES)]
    rng = generator(drive, "views")
    world = None
    for index in sorted(rng.choice(REACH, VIEWS, replace=False).tolist()):
        name = f"{theme}-{drive}-{index:03d}"
        if (out / f"{name}.png").is_file():
            continue
        world = world or World(theme, drive)
        view = world.view(index, *size)
        boxes = [
            {
                "kind": box.kind,
                "box": [box.left, box.top, box.right, box.bottom],
                "visible_px": box.visible_px,
            }
            for box in view.boxes
        ]
        with storing(out):
            beside(out, "boxes", name, "json").write_text(json.dumps(boxes))
            np.save(beside(out, "depth", name, "npy"), view.depth_m.astype(np.float16))
            Image.fromarray(view.labels).save(beside(out, "labels", name, "png"))
            Image.fromarray(view.pixels).save(out / f"{name}.png")
    return VIEWS


def beside(folder: Path, what: str, name: str, suffix: str) -> Path:
    """Return where the *what* of picture *name* lies."""
    return folder.with_name(f"{folder.name}_{what}") / f"{name}.{suffix}"


@dataclass(frozen=True)
class LabelledView:
    """A rendered picture with its truth."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    boxes: NDArray[np.float32]
    """Shape (things, 4): left, top, right, bottom in pixels."""
    kinds: NDArray[np.int64]
    """Shape (things,): numbers of `THINGS`."""

    def flipped(self) -> "LabelledView":
        """Return the view in a mirror."""
        wide = self.pixels.shape[1]
        left, right = wide - self.boxes[:, 2], wide - self.boxes[:, 0]
        boxes = np.stack([left, self.boxes[:, 1], right, self.boxes[:, 3]], 1)
        pixels, labels, depth_m = (
            np.ascontiguousarray(item[:, ::-1]) for item in (self.pixels, self.labels, self.depth_m)
        )
        return LabelledView(pixels, labels, depth_m, boxes, self.kinds)


class Views:
    """The rendered pictures of a folder. Raise UsageError where they lack their truth."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pictures = folder, Pictures.open(folder)
        self.names = [path.stem for path in self.pictures.files]
        for what, suffix in (("labels", "png"), ("depth", "npy"), ("boxes", "json")):
            missing = [name for name in self.names if not beside(folder, what, name, suffix).is_file()]
            if missing:
                raise UsageError(
                    f"{beside(folder, what, missing[0], suffix)}: missing; render with train world"
                )

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.names)

    def view(self, index: int) -> LabelledView:
        """Return view *index* with its truth."""
        picture, labels = self.pictures.read(index)
        name = self.names[index]
        found = json.loads(beside(self.folder, "boxes", name, "json").read_text())
        boxes = np.array([item["box"] for item in found], np.float32).reshape(-1, 4)
        kinds = np.array([THINGS.index(item["kind"]) for item in found], np.int64)
        depth = np.load(beside(self.folder, "depth", name, "npy"), allow_pickle=False).astype(np.float32)
        return LabelledView(np.asarray(picture), np.asarray(labels), depth, boxes, kinds)

    def random(self, rng: np.random.Generator) -> LabelledView:
        """Return a random view, mirrored half the time."""
        view = self.view(int(rng.integers(len(self))))
        return view.flipped() if rng.integers(2) else view


def pictures(views: list[LabelledView]) -> Tensor:
    """Return the pixels of *views* as (batch, 3, height, width), 0 to 1."""
    return torch.from_numpy(np.stack([view.pixels for view in views])).permute(0, 3, 1, 2).float() / 255.0
