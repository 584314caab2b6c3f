"""Files of labels, depth and boxes, read at the size of the picture they belong to.

Every function raises UsageError in one line with the file's path, where the file is missing or damaged, of
another size than the picture, or says what cannot be. Sizes are (width, height) in pixels.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from link.errors import UsageError
from scenarios import document
from scenarios.scoring.boxes import Boxes
from scenarios.truth.labels import Table
from sender.camera.picture import PictureError, check_size, one_line

Labels = NDArray[np.uint8]
Depth = NDArray[np.float32]
Size = tuple[int, int]

KITTI_SCALE = 256.0
"""Of a 16-bit depth picture: its value over this is metres, 0 is unknown (KITTI depth devkit)."""
HYPERSIM_FOCAL_PX, HYPERSIM_WIDTH_PX = 886.81, 1024
"""Focal length and width of Hypersim's pictures: 60 degrees across (apple/ml-hypersim, issue 9)."""
MAX_BOXES = 10_000


def read_labels(path: Path, size: Size, table: Table) -> Labels:
    """Return the label picture at *path*: 8 bits, grey or palette, each value looked up in *table*.

    Shape (height, width); 255 where not labelled.
    """
    given = _picture(path, size, ("L", "P"), "8-bit class numbers, one channel")
    labels: Table = table[given]
    if (labels < 0).any():
        wrong = ", ".join(map(str, np.unique(given[labels < 0])[:5].tolist()))
        raise UsageError(f"{path}: holds class numbers that are no classes: {wrong}")
    return labels.astype(np.uint8)


def read_depth_png(path: Path, size: Size) -> Depth:
    """Return the depth picture at *path*, KITTI's convention: 16 bits, metres times 256, 0 where unknown.

    Shape (height, width), metres, nan where unknown.
    """
    given = _picture(path, size, ("I", "I;16", "I;16B", "I;16L"), "16-bit depth, one channel")
    metres = given.astype(np.float32) / np.float32(KITTI_SCALE)
    metres[given == 0] = np.nan
    return metres


def read_depth_npy(path: Path, size: Size) -> Depth:
    """Return the depth array at *path*: floats, shape (height, width), metres; 0, nan and inf are unknown."""
    try:
        given = np.load(path, mmap_mode="r", allow_pickle=False)  # the header is checked before it is read
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: cannot be read as an array: {one_line(error)}") from None
    if not isinstance(given, np.ndarray) or given.dtype.kind != "f" or given.ndim != 2:
        raise UsageError(f"{path}: expected an array of floats of shape (height, width)")
    _same_size(path, (given.shape[1], given.shape[0]), size)
    return _metres(path, np.array(given, np.float32))


def read_hypersim_depth(path: Path, size: Size) -> Depth:
    """Return the depth of a Hypersim frame from its `depth_meters.hdf5`, along the optical axis.

    Shape (height, width), metres, nan where there is nothing. Raise UsageError also where h5py is missing.
    """
    need_h5py()
    import h5py

    try:
        with h5py.File(path, "r") as file:
            given = file["dataset"]
            if given.ndim != 2:
                raise UsageError(f"{path}: expected an array of shape (height, width), not {given.shape}")
            _same_size(path, (given.shape[1], given.shape[0]), size)
            distance = np.asarray(given[:], np.float32)
    except (OSError, KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise UsageError(f"{path}: cannot be read as Hypersim's depth: {one_line(error)}") from None
    return _metres(path, along_axis(distance))


def need_h5py() -> None:
    """Raise UsageError where the package that reads Hypersim's depth is not installed."""
    try:
        import h5py  # noqa: F401
    except ImportError:
        raise UsageError(
            "Hypersim's depth needs the package h5py, which is not installed: pip install 'farlink[datasets]'"
        ) from None


def along_axis(distance_m: Depth, focal_px: float | None = None) -> Depth:
    """Return the depth along the optical axis of distances to the camera's centre.

    *distance_m* has shape (height, width); the optical axis meets the picture's middle, and *focal_px* is
    Hypersim's, scaled with the width, where not given. depth = distance * f / sqrt(x^2 + y^2 + f^2), with x and y
    from the middle to a pixel's centre (Roberts et al. 2021: "depth_meters" are Euclidean distances).
    """
    height, width = distance_m.shape
    focal = focal_px if focal_px is not None else HYPERSIM_FOCAL_PX * width / HYPERSIM_WIDTH_PX
    x = np.arange(width) + 0.5 - width / 2
    y = np.arange(height)[:, None] + 0.5 - height / 2
    return np.asarray(distance_m * (focal / np.sqrt(x * x + y * y + focal * focal)), np.float32)


def read_yolo_boxes(path: Path, size: Size, count: int) -> Boxes:
    """Return the boxes of a YOLO text file: lines of `class x y width height`, all four shares of the picture.

    No file is no box, as Ultralytics has it. *count* is the number of classes.
    """
    if not path.is_file():
        return Boxes.none()
    rows, kinds = [], []
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            kind = int(words[0])
            x, y, width, height = map(float, words[1:])
        except ValueError:
            raise UsageError(f"{path}:{number}: expected `class x y width height`") from None
        if not 0 <= kind < count:
            raise UsageError(f"{path}:{number}: class {kind} is not one of 0 to {count - 1}")
        row = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        rows.append([value * size[n % 2] for n, value in enumerate(row)])
        kinds.append(kind)
    return _boxes(path, rows, kinds, [False] * len(kinds))


def read_box_list(path: Path, names: Sequence[str]) -> Boxes:
    """Return the boxes of a JSON list of `{"kind": NAME, "box": [left, top, right, bottom]}`, in pixels.

    `"ignored": true` marks what is neither right nor wrong to find. *names* are the kinds there are.
    """
    tree = _json(path)
    try:
        rows = [[float(value) for value in item["box"]] for item in tree]
        kinds = [item["kind"] for item in tree]
        ignored = [bool(item.get("ignored", False)) for item in tree]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(
            f'{path}: expected a list of {{"kind": NAME, "box": [left, top, right, bottom]}}'
        ) from None
    for kind in kinds:
        if kind not in names:
            raise UsageError(f"{path}: kind {kind!r} is not one of those in classes.txt")
    return _boxes(path, rows, [names.index(kind) for kind in kinds], ignored)


@dataclass(frozen=True)
class CocoBoxes:
    """What an `instances_*.json` says of each picture."""

    path: Path
    names: tuple[str, ...]
    """The categories in order of their ids; a box's kind is the place here."""
    sizes: dict[str, Size]
    """Of each picture, by file name."""
    found: dict[str, Boxes]
    """By file name; pictures without an object are missing."""

    def of(self, name: str, size: Size) -> Boxes:
        """Return the boxes of the picture called *name*, which has the size *size*."""
        if name not in self.sizes:
            raise UsageError(f"{self.path}: says nothing of the picture {name}")
        _same_size(self.path, self.sizes[name], size, f"{name}: ")
        return self.found.get(name, Boxes.none())


def read_coco(path: Path) -> CocoBoxes:
    """Return the boxes of a COCO annotation file; regions marked `iscrowd` are ignored ones."""
    tree = _json(path)
    try:
        ids = sorted((int(item["id"]), str(item["name"])) for item in tree["categories"])
        kinds = {number: place for place, (number, _name) in enumerate(ids)}
        files = {item["id"]: str(item["file_name"]) for item in tree["images"]}
        sizes = {str(item["file_name"]): (int(item["width"]), int(item["height"])) for item in tree["images"]}
        rows: dict[str, list[tuple[list[float], int, bool]]] = {}
        for item in tree["annotations"]:
            left, top, width, height = map(float, item["bbox"])
            row = ([left, top, left + width, top + height], kinds[item["category_id"]], bool(item["iscrowd"]))
            rows.setdefault(files[item["image_id"]], []).append(row)
    except (KeyError, TypeError, ValueError) as error:
        said = f"missing {error}" if isinstance(error, KeyError) else one_line(error)
        raise UsageError(f"{path}: not COCO's annotations of instances: {said}") from None
    if not kinds:
        raise UsageError(f"{path}: names no categories")
    boxes_by_picture = {
        name: _boxes(path, [row for row, _, _ in given], [k for _, k, _ in given], [c for _, _, c in given])
        for name, given in rows.items()
    }
    return CocoBoxes(path, tuple(name for _number, name in ids), sizes, boxes_by_picture)


def read_names(path: Path) -> tuple[str, ...]:
    """Return the class names in *path*: a line each (.txt), or the `names` of a YOLO data file (.yaml)."""
    text = _text(path)
    if path.suffix == ".txt":
        names = [line.strip() for line in text.splitlines() if line.strip()]
    else:
        try:
            given = document.parse(text, str(path))["names"]
            names = [given[n] for n in range(len(given))]  # a list, or a mapping from 0 on
        except (KeyError, TypeError):
            raise UsageError(f"{path}: expected `names`, the classes from 0 on") from None
    if not names or len(names) > 254 or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{path}: expected the names of 1 to 254 classes")
    if len(set(names)) < len(names):
        raise UsageError(f"{path}: a class is named twice")
    return tuple(names)


def _boxes(path: Path, rows: list[list[float]], kinds: list[int], ignored: list[bool]) -> Boxes:
    if len(rows) > MAX_BOXES:
        raise UsageError(f"{path}: {len(rows)} boxes; expected at most {MAX_BOXES}")
    if any(len(row) != 4 or not all(map(np.isfinite, row)) for row in rows):
        raise UsageError(f"{path}: a box is not four numbers")
    if any(row[2] < row[0] or row[3] < row[1] for row in rows):
        raise UsageError(f"{path}: a box ends before it begins")
    return Boxes.of(rows, kinds, None, ignored)


def _metres(path: Path, given: Depth) -> Depth:
    if (given < 0).any():
        raise UsageError(f"{path}: holds depths below 0")
    given[~np.isfinite(given) | (given == 0)] = np.nan
    return given


def _picture(path: Path, size: Size, modes: tuple[str, ...], expected: str) -> NDArray[Any]:
    """Return the values of a PNG of one channel, checked by its header before it is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("PNG",)) as image:
                check_size(*image.size)
                _same_size(path, image.size, size)
                if image.mode not in modes:
                    raise UsageError(f"{path}: is a picture of mode {image.mode}; expected {expected}")
                return np.asarray(image)
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except PictureError as error:
        raise UsageError(f"{path}: {error}") from None
    except Exception as error:  # Pillow's readers raise a dozen types for damaged files
        raise UsageError(f"{path}: cannot be read as a PNG: {one_line(error)}") from None


def _same_size(path: Path, own: Size, picture: Size, of: str = "") -> None:
    if own != picture:
        raise UsageError(f"{path}: {of}is {own[0]}x{own[1]}, but its picture {picture[0]}x{picture[1]}")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {one_line(error)}") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not valid JSON: {one_line(error)}") from None
