"""Data sets as sources: each found in the layout its authors publish, on toy copies of it."""

import os

import numpy as np
import pytest
from PIL import Image

from link.config import Camera
from link.errors import UsageError
from sender.camera import PREFIXES, Shot, Skipped, open_source
from sender.camera.layouts import LAYOUTS
from sender.camera.picture import PictureError, fit, size_of, window


def make(root, *paths, size=(16, 16)):
    for number, path in enumerate(paths):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number, 100, 200)).save(file)


def names(source, **fields):
    camera = Camera(source=source, width=16, height=16, **fields)
    items = list(open_source(camera, seed=1))
    assert all(isinstance(item, Shot) for item in items)
    return [item.name for item in items]


def refusal(source):
    with pytest.raises(UsageError) as caught:
        open_source(Camera(source=source, width=16, height=16), seed=1)
    text = str(caught.value)
    assert "\n" not in text
    return text


KITTI = "2011_09_26_drive_0002_sync"
TONEMAP = "ai_001_001/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg"
TREES = {  # kind -> (what lies there, what is shown of it)
    "camvid-plain": (
        ["0001TP_008550.png", "0001TP_008580.webp"],
        ["0001TP_008550.png", "0001TP_008580.webp"],
    ),
    "camvid-segnet": (["train/a.png", "trainannot/a.png", "test/b.png", "testannot/b.png"], ["test/b.png"]),
    "kitti-selection": (
        [
            f"val_selection_cropped/image/{KITTI}_image_0000000005_image_02.png",
            f"val_selection_cropped/groundtruth_depth/{KITTI}_groundtruth_depth_0000000005_image_02.png",
            f"val_selection_cropped/velodyne_raw/{KITTI}_velodyne_raw_0000000005_image_02.png",
        ],
        [f"val_selection_cropped/image/{KITTI}_image_0000000005_image_02.png"],
    ),
    "kitti-raw": (
        [
            f"val/{KITTI}/proj_depth/groundtruth/image_02/0000000005.png",
            f"val/{KITTI}/proj_depth/groundtruth/image_02/0000000006.png",  # its picture is not there
            f"2011_09_26/{KITTI}/image_02/data/0000000000.png",  # it is not annotated
            f"2011_09_26/{KITTI}/image_02/data/0000000005.png",
            f"2011_09_26/{KITTI}/image_03/data/0000000005.png",
        ],
        [f"2011_09_26/{KITTI}/image_02/data/0000000005.png"],
    ),
    "kitti-merged": (
        [
            f"val/{KITTI}/proj_depth/groundtruth/image_02/0000000005.png",
            f"val/{KITTI}/image_02/data/0000000005.png",
        ],
        [f"val/{KITTI}/image_02/data/0000000005.png"],
    ),
    "hypersim": (
        [TONEMAP, TONEMAP.replace("tonemap", "gamma"), TONEMAP.replace("final_preview", "geometry_preview")],
        [TONEMAP],
    ),
    "cityscapes": (
        [
            "leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png",
            "leftImg8bit/val/frankfurt/frankfurt_000001_000019_leftImg8bit.png",
            "leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png",
            "gtFine/val/lindau/lindau_000000_000019_gtFine_color.png",
        ],
        [
            "leftImg8bit/val/frankfurt/frankfurt_000001_000019_leftImg8bit.png",
            "leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png",
        ],
    ),
    "coco-2017": (
        ["val2017/000000000139.jpg", "train2017/000000000009.jpg"],
        ["val2017/000000000139.jpg"],
    ),
    "coco-yolo": (
        ["images/train2017/000000000009.jpg", "masks/000000000009.png"],
        ["images/train2017/000000000009.jpg"],
    ),
    "kodak": (["kodim02.png", "kodim01.png"], ["kodim01.png", "kodim02.png"]),
    "div2k": (
        ["DIV2K_valid_HR/0802.png", "DIV2K_valid_HR/0801.png", "DIV2K_train_HR/0001.png"],
        ["DIV2K_valid_HR/0801.png", "DIV2K_valid_HR/0802.png"],
    ),
    "clic-zips": (
        [
            "professional_valid_2020/valid/a.png",
            "mobile_valid_2020/valid/b.png",
            "professional_train_2020/c.png",
        ],
        ["mobile_valid_2020/valid/b.png", "professional_valid_2020/valid/a.png"],
    ),
    "clic-test-first": (["professional/test/a.png", "professional/valid/b.png"], ["professional/test/a.png"]),
    "clic-one-part": (["a.png", "b.png"], ["a.png", "b.png"]),
    "folder": (["2.png", "10.jpg", ".hidden.png", "within/3.png"], ["10.jpg", "2.png"]),
}


@pytest.mark.parametrize("case", TREES)
def test_pictures_are_found_in_the_published_layout(case, tmp_path):
    there, shown = TREES[case]
    kind = case.partition("-")[0]
    make(tmp_path / "set", *there)
    (tmp_path / "set" / "README.txt").write_text("no picture")
    assert names(f"{kind}:{tmp_path / 'set'}") == shown
    assert PREFIXES[kind].usage == f"{kind}:DIR"


def test_every_layout_is_tested():
    assert {case.partition("-")[0] for case in TREES} == set(LAYOUTS)


def test_a_deeper_folder_will_do(tmp_path):
    for kind, deep in (
        ("kitti", "val_selection_cropped"),
        ("cityscapes", "leftImg8bit/val"),
        ("hypersim", "ai_001_001"),
        ("div2k", "DIV2K_valid_HR"),
    ):
        case = "kitti-selection" if kind == "kitti" else kind
        there, shown = TREES[case]
        make(tmp_path / kind, *there)
        assert names(f"{kind}:{tmp_path / kind / deep}") == [name.removeprefix(f"{deep}/") for name in shown]


def test_pictures_come_in_order_and_as_many_as_asked_for(tmp_path):
    make(tmp_path, *(f"{number:02}.png" for number in range(5)))
    items = list(open_source(Camera(source=f"kodak:{tmp_path}", width=16, height=16, frames=3), seed=1))
    assert [int(item.pixels[0, 0, 0]) for item in items] == [0, 1, 2]
    assert {item.fitted for item in items} == {"as is"}


def test_a_broken_picture_is_skipped_by_its_whole_name(tmp_path):
    make(tmp_path, "test/a.png", "test/c.png")
    (tmp_path / "test" / "b.png").write_bytes(b"no picture")
    items = list(open_source(Camera(source=f"camvid:{tmp_path}", width=16, height=16), seed=1))
    assert [item.name for item in items] == ["test/a.png", "test/b.png", "test/c.png"]
    assert isinstance(items[1], Skipped)


def test_a_name_holds_whatever_the_working_folder_is(tmp_path, monkeypatch):
    make(tmp_path / "set", "a.png")
    monkeypatch.chdir(tmp_path / "set")
    for source in (".", "../set", str(tmp_path / "set"), f"{tmp_path}/set/"):
        assert names(f"folder:{source}") == ["a.png"]


@pytest.mark.parametrize("kind", LAYOUTS)
def test_what_is_not_there_is_said(kind, tmp_path):
    assert f"expected {kind}:DIR" in refusal(kind)
    assert f"expected {kind}:DIR" in refusal(f"{kind}:")
    missing = refusal(f"{kind}:{tmp_path / 'no'}")
    assert "no such folder" in missing
    assert f"--source {kind}:DIR" in missing
    (tmp_path / "file").write_text("x")
    assert "is no folder" in refusal(f"{kind}:{tmp_path / 'file'}")
    empty = refusal(f"{kind}:{tmp_path}")
    assert f"no pictures of {LAYOUTS[kind].title} there; expected {LAYOUTS[kind].expected}" in empty
    assert refusal(f"{kind}:{'x' * 300}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_is_said(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o000)
    assert "cannot be listed" in refusal(f"kodak:{tmp_path / 'locked'}")


# The window that a picture and its truth share.


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(
    ("own", "size"),
    [((48, 36), (64, 48)), ((50, 20), (32, 32)), ((17, 31), (64, 48)), ((200, 190), (16, 48))],
)
def test_the_window_is_where_the_picture_is_shown(how, own, size):
    """Of a picture whose pixels tell where they are, each pixel shown is from where the window says."""
    view = window(own, size[0], size[1], how)
    left, top, right, bottom = view.part
    assert 0 <= left < right <= own[0] and 0 <= top < bottom <= own[1]
    row, column = np.mgrid[0 : own[1], 0 : own[0]]
    drawn = np.stack([column, row, np.full_like(row, 255)], -1).astype(np.uint8)
    pixels, _ = fit(Image.fromarray(drawn), size[0], size[1], how)
    y, x = np.mgrid[0 : view.inner_height, 0 : view.inner_width]
    inside = pixels[view.place[1] : view.place[3], view.place[0] : view.place[2]].astype(float)
    scale = (right - left) / view.inner_width, (bottom - top) / view.inner_height
    for channel, start, cells in ((0, left, x), (1, top, y)):
        expected = start + (cells + 0.5) * scale[channel] - 0.5
        assert np.abs(inside[..., channel] - expected).max() <= 0.5 + scale[channel] / 4
    assert (inside[..., 2] == 255).all()
    assert int((pixels[..., 2] == 0).sum()) == size[0] * size[1] - view.inner_width * view.inner_height


def test_the_size_is_that_of_the_upright_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "turned.jpg", exif=exif)
    assert size_of(tmp_path / "turned.jpg") == (10, 20)
    (tmp_path / "text.png").write_text("x")
    for name in ("text.png", "missing.png"):
        with pytest.raises(PictureError):
            size_of(tmp_path / name)
