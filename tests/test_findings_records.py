"""Records of what models find: there and back exactly, damage told, drawn for Foxglove."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from link.analysis import findings
from link.analysis.detection import FcosModel
from link.analysis.fcos import FcosDetector
from link.analysis.findings import DepthMap, Detections, FindingError, Record, Segments
from link.annotations import SHOWN, SHOWN_FROM, annotations, least_shown
from link.errors import UsageError
from scenarios.live.frames import seen

# Records


def detections(count=3, seed=0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 30, (count, 2))
    xyxy = np.concatenate([corner, corner + rng.uniform(1, 20, (count, 2))], 1)
    return Detections(xyxy, rng.integers(0, 2, count), rng.uniform(0, 1, count), ("rock", "flag"))


def test_segments_come_back_exactly_and_show_in_colour():
    labels = np.random.default_rng(1).integers(0, 9, (30, 20)).astype(np.uint8)
    found = Segments(labels, tuple(f"class {number}" for number in range(9)))
    record = findings.write(found)
    back = findings.read(record)
    assert (back.labels == labels).all() and back.names == found.names
    with Image.open(__import__("io").BytesIO(record.picture)) as picture:
        shown = np.asarray(picture.convert("RGB"))
    assert (shown == findings.colours(found.names)[labels]).all()
    assert len({tuple(colour) for colour in findings.colours(found.names).tolist()}) == 9


@pytest.mark.parametrize(("metric", "most"), [(True, 93.5), (False, 4.5e-6)])
def test_depth_comes_back_to_a_65535th_of_its_largest(metric, most):
    values = np.random.default_rng(2).uniform(0, most, (25, 31)).astype(np.float32)
    values[0, 0] = most
    back = findings.read(findings.write(DepthMap(values, metric)))
    assert back.metric == metric and back.values.dtype == np.float32
    assert np.abs(back.values - values).max() <= most / 65535 * 0.51


def test_far_metres_are_cut_and_an_empty_depth_is_zero():
    far = np.array([[1.0, 5e6]], np.float32)
    assert findings.read(findings.write(DepthMap(far, True))).values.max() == pytest.approx(
        findings.FARTHEST_M
    )
    assert not findings.read(findings.write(DepthMap(np.zeros((2, 2), np.float32), False))).values.any()


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "not finite at 2 of 6"), (np.inf, "not finite"), (-1, "negative")]
)
def test_depth_that_is_no_depth_is_refused(value, words):
    values = np.ones((2, 3), np.float32)
    values[0, :2] = value
    with pytest.raises(FindingError, match=words):
        findings.write(DepthMap(values, True))


def test_boxes_come_back_to_a_hundredth_of_a_pixel():
    found = detections(5)
    record = findings.write(found)
    assert record.picture is None and json.loads(json.dumps(record.fields)) == record.fields
    back = findings.read(record)
    assert (
        np.abs(back.xyxy - found.xyxy).max() <= 0.00501
        and np.abs(back.scores - found.scores).max() <= 0.000051
    )
    assert (back.kinds == found.kinds).all() and back.names == found.names
    none = findings.read(findings.write(detections(0)))
    assert none.xyxy.shape == (0, 4)
    found.xyxy[0, 0] = np.nan
    with pytest.raises(FindingError, match="not finite"):
        findings.write(found)


@pytest.mark.parametrize(
    "found",
    [Segments(np.zeros((4, 5), np.uint8), ("a",)), DepthMap(np.ones((4, 5), np.float32), True), detections()],
)
def test_records_survive_a_cache(found):
    record = findings.write(found)
    assert findings.unpack(findings.pack(record)) == record


@pytest.mark.parametrize("data", [b"", b"not JSON\n", b"[1]\n"])
def test_a_damaged_cache_entry_is_told(data):
    with pytest.raises(FindingError):
        findings.unpack(data)


@pytest.mark.parametrize(
    "record", [Record({"names": ["a"]}, None), Record({"names": ["a"]}, b"no PNG"), Record({}, b"")]
)
def test_a_damaged_record_is_told(record):
    with pytest.raises(FindingError):
        findings.read(record)


def test_more_classes_than_a_byte_holds_are_refused():
    with pytest.raises(FindingError, match="300 classes"):
        findings.write(Segments(np.zeros((1, 1), np.uint8), tuple(map(str, range(300)))))


def test_boxes_are_drawn_for_foxglove_where_they_are_sure():
    from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations

    fields = findings.write(detections(6)).fields
    drawn = ImageAnnotations.FromString(annotations(fields, 1_500_000_000))
    sure = [at for at, score in enumerate(fields["scores"]) if score >= SHOWN]
    assert 0 < len(sure) < 6 and len(drawn.points) == len(drawn.texts) == len(sure)
    first = drawn.points[0]
    assert [(p.x, p.y) for p in first.points][::2] == [
        tuple(fields["boxes"][sure[0]][:2]), tuple(fields["boxes"][sure[0]][2:])
    ]  # fmt: skip
    assert first.timestamp.seconds == 1 and first.timestamp.nanos == 500_000_000
    assert (
        drawn.texts[0].text == f"{fields['names'][fields['kinds'][sure[0]]]} {fields['scores'][sure[0]]:.2f}"
    )


def test_a_model_says_from_which_score_on_its_boxes_are_drawn():
    from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations

    known = replace(detections(6), scores=np.array([0.9, 0.7, 0.5, 0.31, 0.2, 0.1]))
    silent = findings.write(known).fields
    assert SHOWN_FROM not in silent, "journals of models that say nothing are as they were"
    for least, count in ((None, 4), (0.6, 2), (0.0, 6), (0.7, 2)):
        record = findings.write(replace(known, shown_from=least))
        assert findings.read(record).shown_from == least
        assert len(ImageAnnotations.FromString(annotations(record.fields, 1)).points) == count
        assert len(seen(record.fields, None)["boxes"]) == count
    for bad in (1.5, "0.5", True, math.nan):
        with pytest.raises(FindingError, match="boxes shown from"):
            findings.read(Record({**silent, SHOWN_FROM: bad}, None))
        assert least_shown({SHOWN_FROM: bad}) == SHOWN


def test_the_score_of_a_detectors_config_stands_in_what_it_finds(tmp_path):
    FcosDetector(["rock"], [32, 32], [8, 8], [1, 1], features=32).save_pretrained(tmp_path)
    path, pixels = tmp_path / "config.json", np.zeros((32, 32, 3), np.uint8)
    assert FcosModel(tmp_path).find(pixels).shown_from is None
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "shown_score": 0.45}))
    assert FcosModel(tmp_path).find(pixels).shown_from == 0.45
    path.write_text(json.dumps({**settings, "shown_score": 45}))
    with pytest.raises(UsageError, match=r"shown_score in config\.json is 45"):
        FcosModel(tmp_path)
