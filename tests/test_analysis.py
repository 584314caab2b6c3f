"""What models find: loaders on toy weights in the real layouts, wrong folders, names, the analyst."""

import json
import sys
import types

import numpy as np
import pytest
import sights
import torch
from test_findings_records import detections

from link.analysis import analyst
from link.analysis.analyst import Analyst, Chosen, choose, load
from link.analysis.depth import DepthModel
from link.analysis.detection import DetectionModel, FcosModel, YoloModel, tidy_boxes
from link.analysis.findings import DepthMap, Segments
from link.analysis.segmentation import SegmentationModel
from link.errors import ModelMissingError, UsageError

SHAPE = (40, 72, 3)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a folder with one model of each kind."""
    root = tmp_path_factory.mktemp("models")
    sights.upernet(root / "upernet")
    sights.mask2former(root / "mask2former")
    sights.glpn(root / "glpn")
    sights.depth_anything(root / "relative")
    sights.depth_anything(root / "metric", "metric")
    sights.upernet(root / "bins", ("1 m", "4 m", "16 m"), depth_bins_m=[1.0, 4.0, 16.0])
    sights.rtdetr(root / "rtdetr")
    sights.fcos(root / "fcos")
    return root


@pytest.fixture
def pixels():
    """Return noise, darker to the left."""
    noise = np.random.default_rng(7).integers(0, 256, SHAPE)
    return (noise * np.linspace(0.1, 1.0, SHAPE[1])[:, None]).astype(np.uint8)


# Loaders


@pytest.mark.parametrize("name", ["upernet", "mask2former"])
def test_segmentation_gives_a_class_for_each_pixel(name, folders, pixels):
    model = SegmentationModel(folders / name)
    found = model.find(pixels)
    assert found.labels.shape == SHAPE[:2] and found.labels.dtype == np.uint8
    assert found.names == sights.NAMES and found.labels.max() < len(sights.NAMES)
    again = SegmentationModel(folders / name).find(pixels)
    assert (found.labels == again.labels).all()
    other = model.find(255 - pixels)
    assert name == "mask2former" or (other.labels != found.labels).any(), "the picture does not matter"


def test_logits_are_enlarged_to_the_picture_before_the_class_is_chosen(folders, pixels):
    model = SegmentationModel(folders / "upernet")
    processor, network = model._processor, model._model
    given = processor(images=pixels.copy(), return_tensors="pt")["pixel_values"]
    logits = network(pixel_values=given).logits
    wide = torch.nn.functional.interpolate(logits, SHAPE[:2], mode="bilinear", align_corners=False)
    assert (model.find(pixels).labels == wide[0].argmax(0).numpy()).all()


@pytest.mark.parametrize(
    ("name", "metric"), [("glpn", True), ("relative", False), ("metric", True), ("bins", True)]
)
def test_depth_models_say_whether_they_tell_metres(name, metric, folders, pixels):
    model = DepthModel(folders / name)
    found = model.find(pixels)
    assert found.values.shape == SHAPE[:2] and found.values.dtype == np.float32
    assert found.metric == model.metric == metric
    assert np.isfinite(found.values).all() and found.values.min() >= 0.0 and found.values.max() > 0.0


def test_bins_are_between_the_nearest_and_the_farthest(folders, pixels):
    values = DepthModel(folders / "bins").find(pixels).values
    assert values.min() >= 1.0 and values.max() <= 16.0 and np.ptp(values) > 0.1


def test_depth_anything_says_in_its_configuration_what_its_depth_is(folders, tmp_path):
    config = json.loads((folders / "relative" / "config.json").read_text())
    assert config.pop("depth_estimation_type") == "relative"
    assert DepthModel(folders / "relative").metric is False
    for path in (folders / "relative").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert DepthModel(tmp_path).metric is False, "MiDaS-like models are relative unless they say otherwise"


@pytest.mark.parametrize(("kind", "name"), [(DetectionModel, "rtdetr"), (FcosModel, "fcos")])
def test_detection_gives_boxes_inside_the_picture_the_surest_first(kind, name, folders, pixels):
    found = kind(folders / name).find(pixels)
    assert len(found.kinds) == len(found.scores) == len(found.xyxy) > 0
    assert found.names == sights.THINGS and set(found.kinds.tolist()) <= {0, 1}
    assert (np.diff(found.scores) <= 0).all() and found.scores.max() <= 1.0
    assert (found.xyxy >= 0).all() and (found.xyxy[:, [2, 3]] <= [SHAPE[1], SHAPE[0]]).all()
    assert (found.xyxy[:, 2:] > found.xyxy[:, :2]).all()


def test_boxes_are_cut_to_the_picture_and_those_outside_are_dropped():
    boxes = np.array([[-5, 2, 4, 6], [70, 0, 90, 10], [80, 0, 90, 10], [1, 1, 2, 2]], np.float32)
    found = tidy_boxes(boxes, np.array([0, 1, 1, 0]), np.array([0.2, 0.9, 0.8, 0.5]), ("a", "b"), SHAPE[:2])
    assert found.xyxy.tolist() == [[70, 0, 72, 10], [1, 1, 2, 2], [0, 2, 4, 6]]
    assert found.scores.tolist() == [0.9, 0.5, 0.2] and found.kinds.tolist() == [1, 0, 0]


class _FakeYolo:
    names = types.MappingProxyType({0: "person", 1: "car"})

    def __init__(self, path, task):
        assert task == "detect"
        if open(path, "rb").read() != b"weights":
            raise RuntimeError("not a checkpoint\nsecond line")

    def predict(self, picture, conf, max_det, device, verbose):
        self.seen = picture
        boxes = torch.tensor([[1.0, 2.0, 30.0, 20.0]])
        parts = types.SimpleNamespace(xyxy=boxes, cls=torch.tensor([1.0]), conf=torch.tensor([0.75]))
        return [types.SimpleNamespace(boxes=parts)]


def test_yolo_is_imported_only_where_it_is_asked_for_and_installed(tmp_path, monkeypatch, pixels):
    assert "ultralytics" not in sys.modules
    weights = tmp_path / "yolo11n.pt"
    with pytest.raises(ModelMissingError, match="no such file"):
        choose("detection", str(weights))
    weights.write_bytes(b"weights")
    chosen = choose("detection", str(weights))
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(ModelMissingError, match=r"AGPL-3\.0: pip install ultralytics"):
        load(chosen, "cpu")
    monkeypatch.setitem(sys.modules, "ultralytics", types.SimpleNamespace(YOLO=_FakeYolo))
    model = load(chosen, "cpu")
    assert isinstance(model, YoloModel)
    found = model.find(pixels)
    assert (model._model.seen == pixels[..., ::-1]).all(), "blue first"
    assert (
        found.names == ("person", "car") and found.kinds.tolist() == [1] and found.scores.tolist() == [0.75]
    )
    weights.write_bytes(b"other")
    with pytest.raises(UsageError, match=r"cannot be read as a YOLO model: not a checkpoint$"):
        load(chosen, "cpu")
    with pytest.raises(UsageError, match=r"\.pt files are for detection"):
        load(Chosen("depth", "x", weights, "0"), "cpu")


# Wrong folders


def copied(folder, out, leave=(), **changed):
    out.mkdir()
    for path in folder.iterdir():
        if path.name not in leave:
            (out / path.name).write_bytes(path.read_bytes())
    if changed:
        config = json.loads((out / "config.json").read_text())
        (out / "config.json").write_text(json.dumps({**config, **changed}))
    return out


@pytest.mark.parametrize(
    ("kind", "name", "leave", "error", "words"),
    [
        (SegmentationModel, "upernet", ("config.json",), ModelMissingError, "config.json is missing"),
        (SegmentationModel, "upernet", ("model.safetensors",), ModelMissingError, "no weights there"),
        (DepthModel, "glpn", ("preprocessor_config.json",), ModelMissingError, "no preprocessor_config.json"),
        (SegmentationModel, "glpn", (), UsageError, "a glpn model, which is no segmentation model"),
        (DepthModel, "rtdetr", (), UsageError, "a rt_detr_v2 model, which is no depth model"),
        (DetectionModel, "upernet", (), UsageError, "a upernet model, which is no detection model"),
        (FcosModel, "rtdetr", (), UsageError, "cannot be read as a detection model"),
    ],
)  # fmt: skip
def test_a_wrong_folder_is_named_with_what_is_wrong(kind, name, leave, error, words, folders, tmp_path):
    folder = copied(folders / name, tmp_path / "model", leave)
    with pytest.raises(error, match=words) as caught:
        kind(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [SegmentationModel, DetectionModel, FcosModel])
def test_weights_that_are_missing_or_damaged_are_told(kind, folders, tmp_path):
    from safetensors.torch import load_file, save_file

    name = {SegmentationModel: "upernet", DetectionModel: "rtdetr", FcosModel: "fcos"}[kind]
    folder = copied(folders / name, tmp_path / "model")
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights.pop(next(key for key in sorted(weights) if key.endswith("weight")))
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(
        (ModelMissingError, UsageError), match=r"1 weights of the .* are missing|cannot be read"
    ):
        kind(folder)
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(UsageError, match="cannot be read"):
        kind(folder)


def test_a_configuration_that_is_no_models_is_told(folders, tmp_path):
    folder = copied(folders / "upernet", tmp_path / "model")
    for text, words in (
        ("{", "cannot be read"),
        ("[1]", "names no model_type"),
        ("{}", "names no model_type"),
    ):
        (folder / "config.json").write_text(text)
        with pytest.raises(UsageError, match=words):
            SegmentationModel(folder)


@pytest.mark.parametrize(
    ("bins", "words"), [([1.0, -2.0, 3.0], "over 0"), ([1.0], "1 depth_bins_m for 3 classes")]
)
def test_bins_that_do_not_fit_are_told(bins, words, folders, tmp_path):
    with pytest.raises(UsageError, match=words):
        DepthModel(copied(folders / "bins", tmp_path / "model", depth_bins_m=bins))


# Names


def test_names_of_models_are_places(tmp_path, monkeypatch):
    monkeypatch.setenv("FARLINK_MODELS", str(tmp_path))
    assert analyst.place("segmentation-world") == analyst.SHIPPED / "segmentation-world"
    assert analyst.place("flux/depth") == tmp_path / "flux" / "depth"
    assert str(analyst.place("mine/depth")) == "mine/depth"
    with pytest.raises(ModelMissingError, match="farlink models pull flux/depth"):
        choose("depth", "flux/depth")
    with pytest.raises(ModelMissingError, match=r"mine/depth: no model is there"):
        choose("depth", "mine/depth")


def test_the_stamp_is_of_what_is_in_the_folder_not_of_where_it_lies(folders, tmp_path):
    first = choose("segmentation", str(folders / "upernet"))
    moved = choose("segmentation", str(copied(folders / "upernet", tmp_path / "elsewhere")))
    assert first.stamp == moved.stamp and len(first.stamp) == 16 and moved.name == "elsewhere"
    changed = copied(folders / "upernet", tmp_path / "changed", hidden_size=9)
    assert choose("segmentation", str(changed)).stamp != first.stamp


# The analyst


class Toy:
    """A model that counts its calls and gives what it was given."""

    def __init__(self, found):
        self.found, self.calls = found, 0

    def find(self, pixels):
        self.calls += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class Memory(dict):
    """A cache."""

    def put(self, key, data):
        self[key] = data


def chosen(task="segmentation"):
    return Chosen(task, "toy", analyst.SHIPPED, "0123456789abcdef")


def test_a_failing_model_says_so_and_the_others_go_on(pixels):
    depth = Toy(DepthMap(np.full(SHAPE[:2], np.nan, np.float32), True))
    wrong = Toy(Segments(np.zeros((3, 3), np.uint8), ("a",)))
    broken = Toy(RuntimeError("out of memory\nand so on"))
    good = Toy(detections())
    seen = Analyst(
        [
            (chosen("segmentation"), wrong),
            (chosen("depth"), depth),
            (chosen("depth"), broken),
            (chosen("detection"), good),
        ]
    ).look(pixels)
    assert [kind for kind, _, _ in seen] == ["not_found"] * 3 + ["found"]
    reasons = [fields.get("reason") for _, fields, _ in seen]
    assert reasons[0] == "labels of shape (3, 3) for a picture of (40, 72)"
    assert reasons[1] == "depth is not finite at 2880 of 2880 pixels" and reasons[2] == "out of memory"
    assert seen[3][1]["stamp"] == "0123456789abcdef" and seen[3][1]["model"] == "toy"


def test_no_picture_is_looked_at_twice(pixels):
    model, cache = Toy(Segments(np.zeros(SHAPE[:2], np.uint8), ("a",))), Memory()
    one = Analyst([(chosen(), model)], cache)
    first = one.look(pixels)
    assert first == one.look(pixels) and model.calls == 1 and len(cache) == 1
    one.look(pixels[::-1])
    assert model.calls == 2
    cache[next(iter(cache))] = b"damaged"
    assert one.look(pixels) == first and model.calls == 3, "a damaged entry is made again"


def test_the_key_of_the_cache_is_of_picture_task_and_model(pixels):
    keys = {
        analyst.cache_key(item, given)
        for item in (chosen(), chosen("depth"), Chosen("segmentation", "toy", analyst.SHIPPED, "f" * 16))
        for given in (pixels, pixels.reshape(SHAPE[1], SHAPE[0], 3), 255 - pixels)
    }
    assert len(keys) == 9
