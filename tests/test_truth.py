"""The truth of data sets: read from toy copies of their layouts, and fitted exactly as the picture is."""

import json
import sys
import types
from dataclasses import dataclass
from fractions import Fraction
from math import floor, hypot, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from link.bitstream.grammar import SCENES
from link.config import Camera
from link.errors import UsageError
from link.seeds import generator
from scenarios.scoring.boxes import Boxes
from scenarios.truth import labels, truth
from scenarios.truth import sets as truth_sets
from scenarios.truth.files import along_axis
from scenarios.truth.truth import Truth, TruthCache, domain_of, open_truth
from sender.camera import PREFIXES, Shot, open_source
from sender.camera.picture import window
from sender.camera.world.view import CLASSES, THINGS

SHARED = Path(__file__).parents[2] / "shared" / "data"
KITTI = "2011_09_26_drive_0002_sync"


def camera(source, size=(32, 24), **fields):
    return Camera(source=str(source), width=size[0], height=size[1], **fields)


def picture(path, size=(32, 24), colour=(1, 2, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def marks(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path)
    return path


def refusal(call, *args):
    with pytest.raises(UsageError) as caught:
        call(*args)
    text = str(caught.value)
    assert "\n" not in text
    return text


# The fit.


def by_hand(cells, own, size, how):
    """Fit by the definition, in fractions: each pixel's centre, traced back to the cell it lies in."""
    view = window(own, size[0], size[1], how)
    left, top, right, bottom = view.part
    fitted = np.full((size[1], size[0]), np.nan)
    for y in range(size[1]):
        for x in range(size[0]):
            across = Fraction(2 * (x - view.place[0]) + 1, 2 * (view.place[2] - view.place[0]))
            down = Fraction(2 * (y - view.place[1]) + 1, 2 * (view.place[3] - view.place[1]))
            if 0 < across < 1 and 0 < down < 1:
                column = floor(left + across * (right - left))
                row = floor(top + down * (bottom - top))
                fitted[y, x] = cells[row, column]
    return fitted


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("own", [(32, 24), (64, 48), (65, 48), (20, 31), (7, 5)])
def test_labels_and_depth_are_fitted_to_the_pixel(how, own, tmp_path):
    rng = generator(1, "fit")
    values = rng.integers(0, 11, (own[1], own[0]), dtype=np.uint8)
    depth = rng.uniform(1, 50, (own[1], own[0])).astype(np.float32)
    picture(tmp_path / "set" / "a.png", own)
    marks(tmp_path / "set_labels" / "a.png", values)
    (tmp_path / "set_labels" / "classes.txt").write_text("\n".join(labels.CAMVID))
    (tmp_path / "set_depth").mkdir()
    np.save(tmp_path / "set_depth" / "a.npy", depth)
    known: Any = open_truth(camera(f"folder:{tmp_path / 'set'}", fit=how), 1)
    found = known.of("a.png")
    assert found.labels.dtype == np.uint8 and found.depth_m.dtype == np.float32
    expected = by_hand(values, own, (32, 24), how)
    assert np.array_equal(found.labels, np.where(np.isnan(expected), 255, expected))
    assert np.array_equal(
        found.depth_m, by_hand(depth, own, (32, 24), how).astype(np.float32), equal_nan=True
    )
    assert found.boxes is None


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
def test_a_picture_and_its_truth_lie_over_each_other(how, tmp_path):
    """Regions that are drawn in the picture and in the truth are in the same place in both once fitted."""
    own, size = (230, 130), (96, 72)
    row, column = np.mgrid[0 : own[1], 0 : own[0]]
    things = (np.hypot(row - 60, column - 120) < 40).astype(np.uint8)
    things[20:90, 90:110] = 2
    (tmp_path / "set").mkdir()
    Image.fromarray(np.repeat(things[..., None] * 100, 3, -1)).save(tmp_path / "set" / "a.png")
    marks(tmp_path / "set_labels" / "a.png", things)
    (tmp_path / "set_labels" / "classes.txt").write_text("ground\nball\npost\n")
    (tmp_path / "set_boxes").mkdir()
    (tmp_path / "set_boxes" / "classes.txt").write_text("post\n")
    (tmp_path / "set_boxes" / "a.json").write_text('[{"kind": "post", "box": [90, 20, 110, 90]}]')
    source = camera(f"folder:{tmp_path / 'set'}", size, fit=how)
    shot = next(open_source(source, seed=1))
    assert isinstance(shot, Shot)
    found = open_truth(source, 1).of(shot.name)
    seen = np.rint(shot.pixels[..., 0] / 100).astype(np.uint8)
    bars = found.labels == 255
    assert bars.any() == (how == "pad")
    assert (seen[bars] == 0).all()
    assert (seen[~bars] == found.labels[~bars]).mean() > 0.97
    rows, columns = np.nonzero(seen == 2)
    edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert np.abs(found.boxes.xyxy[0] - edges).max() <= 1.0


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
def test_boxes_are_moved_clipped_and_ignored_by_rule(how):
    own, size = (200, 100), (120, 96)
    view = window(own, *size, how)
    rng = generator(2, "boxes")
    corners = rng.uniform((-20, -20), (220, 120), (400, 2, 2))
    rows = np.concatenate([corners.min(1), corners.max(1)], 1)
    crowd = rng.random(400) < 0.1
    found = truth.fit_boxes(Boxes.of(rows, np.arange(400), None, crowd), view)
    part, place = view.part, view.place
    x_scale = Fraction(place[2] - place[0], part[2] - part[0])
    y_scale = Fraction(place[3] - place[1], part[3] - part[1])
    expected = {}
    for kind, (left, top, right, bottom) in enumerate(rows.tolist()):
        inner = max(left, part[0]), max(top, part[1]), min(right, part[2]), min(bottom, part[3])
        wide, high = inner[2] - inner[0], inner[3] - inner[1]
        if wide <= 0 or high <= 0:
            continue
        little = wide * high < 0.25 * (right - left) * (bottom - top)
        small = min(wide * x_scale, high * y_scale) < 4
        moved = [
            (value - part[n % 2]) * (x_scale, y_scale)[n % 2] + place[n % 2] for n, value in enumerate(inner)
        ]
        expected[kind] = [float(value) for value in moved], bool(crowd[kind] or little or small)
    assert found.kinds.tolist() == list(expected)
    assert 50 < len(expected) < 400
    assert np.allclose(found.xyxy, [row for row, _ in expected.values()], atol=1e-9)
    assert found.ignored.tolist() == [ignored for _, ignored in expected.values()]
    assert found.ignored.any() and not found.ignored.all()
    assert (found.scores == 1).all()


# The sets.


def test_camvid_has_the_streets_classes(tmp_path):
    picture(tmp_path / "test" / "0001TP_008550.webp")
    values = np.arange(12, dtype=np.uint8).repeat(2)[:, None].repeat(32, 1)
    file = marks(tmp_path / "test_labels" / "0001TP_008550.png", values)
    known: Any = open_truth(camera(f"camvid:{tmp_path / 'test'}"), 1)
    assert known.label_names == tuple(SCENES["street"].nouns) and len(known.label_names) == 11
    assert known.label_names[0] == "sky" and known.label_names[8] == "car"
    assert (known.box_names, known.domain) == (None, "street")
    found = known.of("0001TP_008550.webp")
    assert found.depth_m is None and found.boxes is None
    assert found.labels[::2, 3].tolist() == [*range(11), 255]

    Image.fromarray(values, "L").convert("P").save(file)  # as the palette pictures of other tools
    again: Any = open_truth(camera(f"camvid:{tmp_path / 'test'}"), 1).of("0001TP_008550.webp")
    assert np.array_equal(again.labels, found.labels)


def test_camvid_in_segnets_folders(tmp_path):
    picture(tmp_path / "test" / "0001TP_008550.png")
    marks(tmp_path / "testannot" / "0001TP_008550.png", np.full((24, 32), 7, np.uint8))
    known = open_truth(camera(f"camvid:{tmp_path}"), 1)
    assert (known.of("test/0001TP_008550.png").labels == 7).all()


def test_camvids_sequences_end_where_the_numbers_jump():
    names = [
        "0001TP_008550.png", "0001TP_008580.png", "0001TP_008640.png", "0001TP_008701.png",
        "0006R0_f00930.png", "0006R0_f00931.png", "0016E5_00390.png", "0016E5_04350.png", "odd.png",
    ]  # fmt: skip
    found = truth_sets._camvid_sequences(names)
    groups = [found[name] for name in names]
    assert groups[0] == groups[1] == groups[2] != groups[3]
    assert groups[4] == groups[5] != groups[6] != groups[7]
    assert groups[8] == "odd.png"
    assert len(set(groups)) == 6


def test_kittis_depth_is_in_256ths_of_a_metre(tmp_path):
    folder = tmp_path / "val_selection_cropped"
    picture(folder / "image" / f"{KITTI}_image_0000000005_image_02.png")
    depth = np.zeros((24, 32), np.uint16)
    depth[6:], depth[0, 0] = 2560, 65535
    marks(folder / "groundtruth_depth" / f"{KITTI}_groundtruth_depth_0000000005_image_02.png", depth)
    known = open_truth(camera(f"kitti:{tmp_path}"), 1)
    name = f"val_selection_cropped/image/{KITTI}_image_0000000005_image_02.png"
    found = known.of(name)
    assert (known.label_names, known.box_names, known.domain) == (None, None, "street")
    assert (found.depth_m[6:] == 10).all() and np.isnan(found.depth_m[1:6]).all()
    assert found.depth_m[0, 0] == pytest.approx(65535 / 256)
    assert known.sequence(name) == "2011_09_26_drive_0002"


@pytest.mark.parametrize("base", ["2011_09_26", "raw/2011_09_26", "val"])
def test_kittis_annotated_drives(base, tmp_path):
    name = f"{base}/{KITTI}/image_02/data/0000000005.png"
    picture(tmp_path / name)
    marks(
        tmp_path / "val" / KITTI / "proj_depth/groundtruth/image_02/0000000005.png",
        np.full((24, 32), 512, np.uint16),
    )
    known = open_truth(camera(f"kitti:{tmp_path}"), 1)
    assert (known.of(name).depth_m == 2).all()
    assert known.sequence(name) == "2011_09_26_drive_0002"


def test_hypersims_distances_become_depth():
    """A wall that is 4 m ahead everywhere: the distance to each of its points, by Pythagoras."""
    width, height, focal = 1024, 768, 886.81
    rows = [[4 * sqrt(1 + hypot(x + 0.5 - 512, y + 0.5 - 384) ** 2 / focal**2) for x in range(0, width, 31)]
            for y in range(height)]  # fmt: skip
    distance = np.zeros((height, width), np.float32)
    distance[:, ::31] = rows
    depth = along_axis(distance)
    assert np.abs(depth[:, ::31] - 4).max() < 1e-5
    assert distance.max() > 4.8
    # 60 degrees across at any width: the corner of the picture is 30 degrees off the axis.
    small = along_axis(np.ones((2, 64), np.float32))
    assert small[0, 0] == pytest.approx(np.cos(np.arctan(np.tan(np.pi / 6) * 63 / 64)), rel=2e-4)
    assert np.isnan(along_axis(np.full((2, 2), np.nan, np.float32))).all()


def test_hypersim_needs_h5py(tmp_path, monkeypatch):
    picture(tmp_path / "ai_001_001/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg")
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "pip install 'farlink[datasets]'" in refusal(open_truth, camera(f"hypersim:{tmp_path}"), 1)


def test_hypersims_layout(tmp_path, monkeypatch):
    name = "ai_001_001/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg"
    picture(tmp_path / name)
    monkeypatch.setitem(sys.modules, "h5py", types.ModuleType("h5py"))
    source = camera(f"hypersim:{tmp_path}")
    missing = refusal(open_truth, source, 1)
    file = tmp_path / "ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5"
    assert missing.startswith(f"{file}: no such file")
    file.parent.mkdir()
    file.write_bytes(b"")
    known = open_truth(source, 1)
    assert known.domain == "indoor"
    assert known.sequence(name) == "ai_001_001/cam_00"


def test_hypersims_files(tmp_path):
    h5py = pytest.importorskip("h5py")
    name = "ai_001_001/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg"
    picture(tmp_path / name)
    file = tmp_path / "ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5"
    file.parent.mkdir()
    distance = np.full((24, 32), 2, np.float16)
    distance[3, 4] = np.nan
    with h5py.File(file, "w") as book:
        book["dataset"] = distance
    source = camera(f"hypersim:{tmp_path}")
    found: Any = open_truth(source, 1).of(name)
    assert np.isnan(found.depth_m[3, 4]) and np.isnan(found.depth_m).sum() == 1
    assert np.allclose(found.depth_m, along_axis(distance.astype(np.float32)), equal_nan=True)
    file.write_bytes(b"no hdf5")
    assert "cannot be read as Hypersim's depth" in refusal(open_truth(source, 1).of, name)


def test_cityscapes_ids_become_train_ids(tmp_path):
    name = "leftImg8bit/val/lindau/lindau_000002_000019_leftImg8bit.png"
    picture(tmp_path / name, (34, 2))
    ids = np.arange(34, dtype=np.uint8)[None].repeat(2, 0)
    marks(tmp_path / "gtFine/val/lindau/lindau_000002_000019_gtFine_labelIds.png", ids)
    known = open_truth(camera(f"cityscapes:{tmp_path}", (34, 16), fit="stretch"), 1)
    found = known.of(name).labels[0].tolist()
    given = {known.label_names[train]: number for number, train in enumerate(found) if train != 255}
    assert given == {
        "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
        "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26,
        "truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
    }  # fmt: skip
    assert known.sequence(name) == "lindau_000002"
    split = open_truth(camera(f"cityscapes:{tmp_path}/leftImg8bit/val", (34, 16), fit="stretch"), 1)
    assert split.of("lindau/lindau_000002_000019_leftImg8bit.png").labels[0].tolist() == found


COCO = {
    "images": [
        {"id": 7, "file_name": "000000000139.jpg", "width": 64, "height": 48},
        {"id": 9, "file_name": "000000000285.jpg", "width": 64, "height": 48},
    ],
    "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 90, "bbox": [2, 4, 20, 10], "iscrowd": 0, "area": 1},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 64, 48], "iscrowd": 1, "area": 1},
    ],
}


def coco(root, tree=COCO):
    for name in ("000000000139.jpg", "000000000285.jpg"):
        picture(root / "val2017" / name, (64, 48))
    (root / "annotations").mkdir(exist_ok=True)
    text = tree if isinstance(tree, str) else json.dumps(tree)
    (root / "annotations" / "instances_val2017.json").write_text(text)
    return camera(f"coco:{root}", (32, 24))


def test_cocos_boxes(tmp_path):
    known: Any = open_truth(coco(tmp_path), 1)
    assert known.box_names == ("person", "toothbrush")
    assert (known.label_names, known.domain) == (None, "coco")
    found = known.of("val2017/000000000139.jpg").boxes
    assert found.xyxy.tolist() == [[1, 2, 11, 7], [0, 0, 32, 24]]
    assert found.kinds.tolist() == [1, 0]
    assert found.ignored.tolist() == [False, True]
    assert len(known.of("val2017/000000000285.jpg").boxes) == 0
    assert known.sequence("val2017/000000000285.jpg") == "val2017/000000000285.jpg"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: json.dumps(tree)[:-20], "not valid JSON"),
        (lambda tree: "[" * 100_000, "not valid JSON"),
        (lambda tree: [tree], "not COCO's annotations"),
        (lambda tree: tree.pop("images") and tree, "missing 'images'"),
        (lambda tree: tree["annotations"][0].pop("bbox") and tree, "missing 'bbox'"),
        (lambda tree: tree["annotations"][0].update(category_id=5) or tree, "missing 5"),
        (lambda tree: tree["annotations"][0].update(image_id=5) or tree, "missing 5"),
        (lambda tree: tree["annotations"][0].update(bbox=[1, 2]) or tree, "not COCO's annotations"),
        (lambda tree: tree["annotations"][0].update(bbox=[1, 2, -3, 4]) or tree, "ends before it begins"),
        (
            lambda tree: tree["annotations"][0].update(bbox=[1, 2, float("nan"), 4]) or tree,
            "not four numbers",
        ),
        (lambda tree: {**tree, "categories": []}, "not COCO's annotations"),
    ],
)
def test_damaged_annotations_are_said_at_once(change, said, tmp_path):
    text = refusal(open_truth, coco(tmp_path, change(json.loads(json.dumps(COCO)))), 1)
    assert said in text
    assert text.startswith(str(tmp_path / "annotations" / "instances_val2017.json"))


def test_a_picture_that_cocos_annotations_do_not_know(tmp_path):
    known = open_truth(coco(tmp_path, {**COCO, "images": COCO["images"][:1]}), 1)
    assert "says nothing of the picture 000000000285.jpg" in refusal(known.of, "val2017/000000000285.jpg")
    wrong = [{**COCO["images"][0], "width": 99}, COCO["images"][1]]
    known = open_truth(coco(tmp_path, {**COCO, "images": wrong}), 1)
    assert "is 99x48, but its picture 64x48" in refusal(known.of, "val2017/000000000139.jpg")
    (tmp_path / "annotations" / "instances_val2017.json").unlink()
    assert "instances_val2017.json: no such file" in refusal(open_truth, camera(f"coco:{tmp_path}"), 1)


@pytest.mark.parametrize(
    ("pictures", "text"), [("images", "boxes"), ("images/train2017", "labels/train2017")]
)
def test_cocos_boxes_as_yolo_has_them(pictures, text, tmp_path):
    picture(tmp_path / pictures / "000000000009.jpg", (200, 100))
    picture(tmp_path / pictures / "000000000025.jpg", (200, 100))
    file = tmp_path / text / "000000000009.txt"
    file.parent.mkdir(parents=True)
    file.write_text("45 0.5 0.25 0.2 0.5\n\n0 0.1 0.5 0.1 0.2\n")
    source = camera(f"coco:{tmp_path}", (200, 100))
    known: Any = open_truth(source, 1)
    assert (
        len(known.box_names) == 80 and known.box_names[45] == "bowl" and known.box_names[79] == "toothbrush"
    )
    found = known.of(f"{pictures}/000000000009.jpg").boxes
    assert np.allclose(found.xyxy, [[80, 0, 120, 50], [10, 40, 30, 60]])
    assert found.kinds.tolist() == [45, 0]
    assert len(known.of(f"{pictures}/000000000025.jpg").boxes) == 0
    (tmp_path / "classes.yaml").write_text("names:\n  0: cup\n  1: plate\n")
    known = open_truth(source, 1)
    assert known.box_names == ("cup", "plate")
    said = refusal(known.of, f"{pictures}/000000000009.jpg")
    assert said == f"{file}:1: class 45 is not one of 0 to 1"
    file.write_text("0 0.5 0.5\n")
    assert f"{file}:1: expected `class x y width height`" in refusal(known.of, f"{pictures}/000000000009.jpg")
    (tmp_path / "classes.yaml").write_text("path: .\n")
    assert "expected `names`" in refusal(open_truth, source, 1)


# A plain folder.


@pytest.fixture
def folder(tmp_path):
    picture(tmp_path / "set" / "a.png")
    marks(tmp_path / "set_labels" / "a.png", np.full((24, 32), 1, np.uint8))
    (tmp_path / "set_labels" / "classes.txt").write_text("sand\nrock\n\n")
    marks(tmp_path / "set_depth" / "a.png", np.full((24, 32), 384, np.uint16))
    (tmp_path / "set_boxes").mkdir()
    (tmp_path / "set_boxes" / "classes.txt").write_text("rover\nflag\n")
    rows = [{"kind": "flag", "box": [1, 2, 9, 10]}, {"kind": "rover", "box": [0, 0, 8, 8], "ignored": True}]
    (tmp_path / "set_boxes" / "a.json").write_text(json.dumps(rows))
    return tmp_path


def of_folder(folder):
    return open_truth(camera(f"folder:{folder / 'set'}"), 1).of("a.png")


def test_a_folder_with_everything(folder):
    known = open_truth(camera(f"folder:{folder / 'set'}"), 1)
    assert (known.label_names, known.box_names, known.domain) == (
        ("sand", "rock"),
        ("rover", "flag"),
        "folder",
    )
    found = known.of("a.png")
    assert (found.labels == 1).all() and (found.depth_m == 1.5).all()
    assert found.boxes.xyxy.tolist() == [[1, 2, 9, 10], [0, 0, 8, 8]]
    assert found.boxes.kinds.tolist() == [1, 0]
    assert found.boxes.ignored.tolist() == [False, True]
    assert known.sequence("a.png") == "a.png"
    np.save(folder / "set_depth" / "a.npy", np.array([[np.inf, 0, np.nan, 2.5] * 8] * 24))
    assert np.array_equal(of_folder(folder).depth_m[0, :4], [np.nan, np.nan, np.nan, 2.5], equal_nan=True)


def test_a_folder_with_nothing_has_no_truth(tmp_path):
    picture(tmp_path / "set" / "a.png")
    assert open_truth(camera(f"folder:{tmp_path / 'set'}"), 1) is None


def _shrink(path, mode="L"):
    Image.new(mode, (31, 24)).save(path)


@pytest.mark.parametrize(
    ("part", "harm", "said"),
    [
        ("labels/a.png", Path.unlink, "no such file"),
        ("labels/a.png", _shrink, "is 31x24, but its picture 32x24"),
        ("labels/a.png", lambda path: marks(path, np.full((24, 32), 2, np.uint8)), "no classes: 2"),
        ("labels/a.png", lambda path: Image.new("RGB", (32, 24)).save(path), "of mode RGB; expected 8-bit"),
        ("labels/a.png", lambda path: path.write_bytes(path.read_bytes()[:50]), "cannot be read as a PNG"),
        ("labels/classes.txt", Path.unlink, "no such file"),
        ("labels/classes.txt", lambda path: path.write_text("a\nb\na\n"), "named twice"),
        ("labels/classes.txt", lambda path: path.write_text("\n"), "the names of 1 to 254 classes"),
        ("depth/a.png", Path.unlink, "no such file"),
        ("depth/a.png", _shrink, "is 31x24, but its picture 32x24"),
        ("depth/a.png", lambda path: Image.new("L", (32, 24)).save(path), "of mode L; expected 16-bit"),
        ("depth/a.npy", lambda path: np.save(path, np.ones((23, 32))), "is 32x23, but its picture 32x24"),
        ("depth/a.npy", lambda path: np.save(path, -np.ones((24, 32))), "depths below 0"),
        ("depth/a.npy", lambda path: np.save(path, np.ones((24, 32), int)), "an array of floats"),
        ("depth/a.npy", lambda path: np.save(path, np.array([{}]), allow_pickle=True), "cannot be read"),
        ("depth/a.npy", lambda path: path.write_bytes(b"\x93NUMPY"), "cannot be read"),
        ("boxes/a.json", Path.unlink, "no such file"),
        ("boxes/a.json", lambda path: path.write_text("[{"), "not valid JSON"),
        ("boxes/a.json", lambda path: path.write_text('{"kind": "flag"}'), "expected a list of"),
        ("boxes/a.json", lambda path: path.write_text('[{"kind": "tree", "box": [1, 2, 3, 4]}]'), "'tree' is not"),
        ("boxes/a.json", lambda path: path.write_text('[{"kind": "flag", "box": [1, 2, 3]}]'), "not four numbers"),
        ("boxes/a.json", lambda path: path.write_text('[{"kind": "flag", "box": [5, 2, 3, 4]}]'), "ends before"),
        ("boxes/classes.txt", Path.unlink, "no such file"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_folder_is_said(part, harm, said, folder):
    file = folder / f"set_{part}"
    harm(file)
    text = refusal(of_folder, folder)
    assert said in text
    assert text.startswith(str(file))


def test_missing_files_are_found_before_the_run_and_only_where_they_matter(folder):
    picture(folder / "set" / "b.png")
    assert "set_labels/b.png: no such file; expected for the picture" in refusal(of_folder, folder)
    assert open_truth(camera(f"folder:{folder / 'set'}", frames=1), 1) is not None


def test_a_name_is_one_of_the_sources(folder):
    picture(folder / "secret.png")
    known = open_truth(camera(f"folder:{folder / 'set'}"), 1)
    for call in (known.of, known.sequence):
        assert "is no picture of camera.source" in refusal(call, "../secret.png")


def test_a_picture_that_is_gone_is_said(folder):
    known = open_truth(camera(f"folder:{folder / 'set'}"), 1)
    (folder / "set" / "a.png").unlink()
    assert "cannot read the picture" in refusal(known.of, "a.png")


# The world.


@dataclass(frozen=True)
class ToyBox:
    kind: str
    left: float
    top: float
    right: float
    bottom: float
    visible_px: int = 50
    depth_m: float = 3.0


@pytest.fixture
def world(monkeypatch):
    """A stand-in for the rendered world, which counts what it is asked for."""
    made, views = [], []

    class World:
        def __init__(self, theme, seed):
            made.append((theme, seed))

        def view(self, index, width=256, height=192):
            views.append((index, width, height))
            depth = np.full((height, width), float(index + 1), np.float32)
            depth[0] = np.inf
            boxes = (ToyBox("flag", 1, 2, 3, 4), ToyBox("rock", 5, 6, 7, 8))
            return types.SimpleNamespace(
                depth_m=depth, labels=np.full((height, width), 3, np.uint8), boxes=boxes
            )

    module: Any = types.ModuleType("sender.camera.world.source")
    module.parse = lambda rest, seed: (rest, seed)
    module.World = World
    monkeypatch.setitem(sys.modules, "sender.camera.world.source", module)
    return made, views


def test_the_worlds_truth_is_rendered_once(world):
    made, views = world
    known = open_truth(camera("world:mars", (32, 24)), 7)
    assert (known.label_names, known.box_names) == (CLASSES, THINGS)
    assert known.domain == "world"
    found = known.of("world:mars:7#12")
    assert (found.depth_m[1:] == 13).all() and np.isinf(found.depth_m[0]).all()
    assert (found.labels == 3).all()
    assert found.boxes.kinds.tolist() == [THINGS.index("flag"), THINGS.index("rock")]
    assert found.boxes.xyxy.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert known.of("world:mars:7#12") is found
    known.of("world:mars:7#13")
    assert made == [("mars", 7)]
    assert views == [(12, 32, 24), (13, 32, 24)]
    assert known.sequence("world:mars:7#12") == known.sequence("world:mars:7#13") == "world:mars:7"
    assert known.sequence("world:moon:8#12") == "world:moon:8"
    for name in ("world:mars#1", "mars:7#1", "a.png"):
        assert "expected world:THEME:SEED#INDEX" in refusal(known.of, name)


def test_the_real_world_is_as_its_pictures_are():
    source = camera("world:mars:5", (64, 48), frames=2)
    known: Any = open_truth(source, 1)
    assert known.label_names[0] == "sky" and known.box_names[0] == "rock"
    shots = list(open_source(source, seed=1))
    assert [known.sequence(shot.name) for shot in shots] == ["world:mars:5"] * 2
    for shot in shots:
        found = known.of(shot.name)
        assert found.depth_m.shape == found.labels.shape == (48, 64)
        sky = found.labels == 0
        assert np.array_equal(sky, ~np.isfinite(found.depth_m)) and 0.05 < sky.mean() < 0.9
        for (left, top, right, bottom), kind in zip(found.boxes.xyxy, found.boxes.kinds, strict=True):
            inside = found.labels[int(top) : int(bottom), int(left) : int(right)]
            assert (inside == known.label_names.index(known.box_names[kind])).any()
    assert "unknown theme" in refusal(open_truth, camera("world:pluto"), 1)


def test_what_is_kept_has_a_bound(monkeypatch):
    asked = []

    class Toy:
        label_names: tuple[str, ...] | None = ("a",)
        box_names: tuple[str, ...] | None = None
        domain = "toy"

        def of(self, name):
            asked.append(name)
            return Truth(None, np.zeros((10, 10), np.uint8), None)

        def sequence(self, name):
            return name

    monkeypatch.setattr(truth, "KEPT_BYTES", 250)
    kept = TruthCache(Toy())
    for name in "ababcaba":
        kept.of(name)
    assert "".join(asked) == "abcab"  # c pushed out a; b, the older of two, had to go for a
    monkeypatch.setattr(truth, "KEPT_BYTES", 0)
    assert kept.of("c") is kept.of("c")  # the last one is kept whatever its size


# The table of sources.


def test_sources_without_truth(tmp_path):
    picture(tmp_path / "kodim01.png")
    for source in ("testcard", tmp_path, tmp_path / "kodim01.png", f"kodak:{tmp_path}", f"clic:{tmp_path}"):
        assert open_truth(camera(source), 1) is None
        assert domain_of(str(source)) is None


def test_every_source_with_truth_has_a_domain_and_is_a_source():
    assert all(domain_of(kind) for kind in truth_sets.SETS)
    assert set(truth_sets.SETS) <= set(PREFIXES)
    assert domain_of("camvid:no/such/folder") == "street"
    assert domain_of("world:mars:3") == "world"


def test_a_set_that_is_not_there_is_said(tmp_path):
    for kind in truth_sets.SETS:
        assert f"expected {kind}:DIR" in refusal(open_truth, camera(kind), 1)
        assert "no such folder" in refusal(open_truth, camera(f"{kind}:{tmp_path / 'no'}"), 1)
        assert "no pictures of" in refusal(open_truth, camera(f"{kind}:{tmp_path}"), 1)


# The real thing.


@pytest.mark.skipif(not (SHARED / "camvid").is_dir(), reason="the data sets are not part of the project")
def test_camvids_real_labels():
    source = camera(f"camvid:{SHARED / 'camvid' / 'test'}", (256, 192), frames=2)
    known: Any = open_truth(source, 1)
    shots = list(open_source(source, seed=1))
    assert [shot.name for shot in shots] == ["0001TP_008550.webp", "0001TP_008580.webp"]
    for shot in shots:
        found = known.of(shot.name).labels
        assert found.shape == shot.pixels.shape[:2] == (192, 256)
        assert set(np.unique(found)) <= {*range(11), 255}
        sky, road = found == 0, found == 3
        assert sky.mean() > 0.02 and road.mean() > 0.1
        assert shot.pixels[sky].mean() > shot.pixels[road].mean()  # a bright sky lies where it is labelled
    assert known.sequence(shots[0].name) == known.sequence(shots[1].name)
    everything = open_truth(source.model_copy(update={"frames": None}), 1)
    names = [shot.name for shot in open_source(camera(source.source, (16, 16)), seed=1)]
    assert len(names) == 62
    assert {everything.sequence(name) for name in names} == {"0001TP#8550"}


@pytest.mark.skipif(not (SHARED / "coco128").is_dir(), reason="the data sets are not part of the project")
def test_coco128s_real_boxes():
    source = camera(f"coco:{SHARED / 'coco128'}", (640, 480), fit="pad")
    known: Any = open_truth(source, 1)
    assert known.box_names == labels.COCO
    names = sorted(path.name for path in (SHARED / "coco128" / "images").iterdir())
    found = [known.of(f"images/{name}").boxes for name in names]
    lines = sum(len(path.read_text().split("\n")) - path.read_text().endswith("\n")
                for path in (SHARED / "coco128" / "boxes").iterdir())  # fmt: skip
    assert sum(map(len, found)) == lines > 900
    assert all((item.xyxy[:, 2:] <= (640, 480)).all() and (item.xyxy >= 0).all() for item in found)
    assert sum(len(item) == 0 for item in found) >= 2
    ignored = np.concatenate([item.ignored for item in found])
    assert 0 < ignored.mean() < 0.1
