"""The codec `findings`: what its sections hold, what a lost one costs, and runs in which no picture is looked at."""

import json
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pytest
from test_codec_pairs import picture
from typer.testing import CliRunner

from link import journal
from link.analysis.analyst import Analyst
from link.analysis.findings import DepthMap, Detections, Segments
from link.codecs import SYNTAXES, findings
from link.codecs.findings import LOG_STEPS, LONG_SIDES, form_of
from link.errors import UsageError
from link.fingerprint import fingerprint
from link.frame import Frame, Payload
from receiver.codecs.findings import FindingsReader
from scenarios import run as runs
from scenarios import schema
from scenarios.cli import app
from scenarios.commands.trust import with_own_models
from scenarios.scoring import pictures
from scenarios.sweep import work
from scenarios.sweep.plan import Request
from sender.codecs.findings import FindingsEncoder, fit_classes, fit_depth

SIZE = (64, 48)
NAMES = ("sky", "sand", "rock")


pytestmark = pytest.mark.usefixtures("cache_folder")


def plan_of(**changes):
    about = {"camera.width": SIZE[0], "camera.height": SIZE[1], "codec.name": "findings",
             "codec.frame_bytes": 200, "camera.frames": 3, "profile.device": "cpu"}  # fmt: skip
    return schema.load(
        "mars-relay", (), {**about, **{key.replace("__", "."): value for key, value in changes.items()}}
    )


def labels_of(seed=1):
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    labels = (y > 20 + 4 * np.sin(x / 7 + seed)).astype(np.uint8)
    labels[(x - 40) ** 2 + (y - 34) ** 2 < 60] = 2
    return labels


def depth_of(metric=True):
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    metres = 3.0 + 60.0 * np.exp(-y / 9.0) + 0.02 * x
    return DepthMap((metres if metric else 1.0 / metres).astype(np.float32), metric)


BOXES = Detections(
    np.array([[4.0, 8, 24, 30], [30, 5, 60, 45], [50, 40, 58, 47], [0, 0, 64, 48], [10, 10, 12, 12]]),
    np.array([2, 0, 1, 2, 1]),
    np.array([0.93, 0.8, 0.52, 0.31, 0.06]),
    NAMES,
)


# Classes


def test_a_class_map_is_what_most_pixels_of_each_cell_are():
    found = Segments(labels_of(), NAMES)
    exact = findings.write_classes(found, SIZE, LONG_SIDES.index(64))
    assert np.array_equal(findings.read_classes(exact, SIZE, NAMES).labels, found.labels)
    coarse = findings.read_classes(
        findings.write_classes(found, SIZE, LONG_SIDES.index(16)), SIZE, NAMES
    ).labels
    for row in range(0, 48, 4):
        for column in range(0, 64, 4):
            cell = coarse[row : row + 4, column : column + 4]
            most = np.bincount(found.labels[row : row + 4, column : column + 4].ravel(), minlength=3)
            assert (cell == cell[0, 0]).all() and most[cell[0, 0]] == most.max()


def test_more_bytes_are_a_finer_map():
    found = Segments(labels_of(), NAMES)
    right, sizes = [], []
    for budget in (8, 20, 40, 80, 400):
        data = fit_classes(found, budget, SIZE)
        assert 0 < len(data) <= budget
        sizes.append(len(data))
        right.append(float((findings.read_classes(data, SIZE, NAMES).labels == found.labels).mean()))
    assert right == sorted(right) and 0.7 < right[0] < 0.95 and right[-1] == 1.0
    assert sizes[1] > 12, "what the budget allows is used"
    assert fit_classes(found, 1, SIZE) == b""


# Depth


@pytest.mark.parametrize("step", range(len(LOG_STEPS)))
def test_depth_is_right_within_half_a_step(step):
    flat = DepthMap(np.full((48, 64), 7.3, np.float32), True)
    coded = findings.read_depth(findings.write_depth(flat, SIZE, 4, step), SIZE, SIZE)
    assert coded.metric and coded.values.shape == (48, 64)
    assert np.abs(np.log(coded.values / 7.3)).max() <= LOG_STEPS[step] / 2 + 1e-6


@pytest.mark.parametrize("metric", [True, False])
def test_more_bytes_are_nearer_depth(metric):
    found = depth_of(metric)
    whole = found.values / (1.0 if metric else float(found.values.max()))
    errors = []
    for budget in (8, 20, 60, 200):
        data = fit_depth(found, budget, SIZE)
        assert 0 < len(data) <= budget
        coded = findings.read_depth(data, SIZE, SIZE)
        errors.append(float(np.abs(np.log(np.maximum(coded.values, 1e-3) / whole)).mean()))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.1
    assert 0.05 < errors[0] < 1.5


def test_a_level_that_cannot_be_is_refused():
    data = bytearray(findings.write_depth(depth_of(), SIZE, 3, 3))
    data[1] = 0  # the first level: the others fall below 0
    with pytest.raises(ValueError, match="a level of depth of -"):
        findings.read_depth(bytes(data), SIZE, SIZE)


# Boxes


def overlap(one, other):
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = np.prod(np.clip(high - low, 0, None))
    return both / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - both)


@pytest.mark.parametrize(("fine", "least"), [(True, 0.9), (False, 0.6)])
def test_boxes_come_back_in_order_of_confidence(fine, least):
    sections = [findings.write_boxes(BOXES, SIZE, first, fine=fine) for first in (0, 4)]
    assert all(len(section) <= (24 if fine else 15) for section in sections)
    back = findings.read_boxes(sections[::-1], SIZE, NAMES)
    assert back is not None
    assert back.kinds.tolist() == BOXES.kinds.tolist() and back.names == NAMES
    assert np.abs(back.scores - BOXES.scores).max() <= (1 / 128 if fine else 1 / 32) + 1e-9
    assert (np.diff(back.scores) <= 0).all()
    for at in range(4):
        assert overlap(back.xyxy[at], BOXES.xyxy[at]) >= least
    alone = findings.read_boxes([b"\xff", sections[1]], SIZE, NAMES)
    assert alone is not None and alone.kinds.tolist() == [1]


def test_a_small_budget_sends_the_surest_boxes():
    plan = plan_of().session()
    encoder = FindingsEncoder(form_of(plan), {}, 60)
    counts = []
    for budget in (2, 6, 12, 16, 40):
        sections = encoder._boxes(BOXES, budget)
        assert sum(map(len, sections)) <= budget
        back = findings.read_boxes(sections, SIZE, NAMES)
        counts.append(0 if back is None else len(back.kinds))
        assert back is None or back.kinds.tolist() == BOXES.kinds.tolist()[: counts[-1]]
    assert counts == sorted(counts) and counts[0] == 0 < counts[1] and counts[-1] == 5


def test_no_box_is_told_from_no_section():
    none = Detections(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0), NAMES)
    data = findings.write_boxes(none, SIZE, 0, fine=True)
    assert 0 < len(data) <= 2
    empty = findings.read_boxes([data], SIZE, NAMES)
    assert empty is not None and len(empty.kinds) == 0
    assert findings.read_boxes([], SIZE, NAMES) is None
    assert findings.read_boxes([b""], SIZE, NAMES) is None or findings.read_boxes([b""], SIZE, NAMES) == empty


# Together


def test_each_task_stands_alone():
    plan = plan_of().session()
    payload = FindingsEncoder.from_session(plan).encode(Frame(0, 0, picture(*SIZE), "drawn"))
    own = form_of(plan)
    assert list(findings.read(payload, own)) == ["segmentation", "depth", "detection"]
    assert 150 < payload.size_bytes <= 200, "the budget is used"
    classes, depth, *boxes = payload.sections
    assert set(findings.read(Payload((None, depth, *boxes)), own)) == {"depth", "detection"}
    assert set(findings.read(Payload((classes, None)), own)) == {"segmentation"}
    told = {fields["task"]: kind for kind, fields, _ in FindingsReader(own).find(Payload((None, depth)))}
    assert told == {"segmentation": "not_found", "depth": "found", "detection": "not_found"}


def test_only_what_is_asked_for_is_sent():
    plan = plan_of(analysis=["detection"]).session()
    payload = FindingsEncoder.from_session(plan).encode(Frame(0, 0, picture(*SIZE), "drawn"))
    assert payload.sections[:2] == (b"", b"") and all(payload.sections[2:])
    assert fingerprint(plan) != fingerprint(plan_of().session())
    with pytest.raises(UsageError, match="analysis names no task"):
        FindingsEncoder.from_session(plan_of(analysis=[]).session())


def test_a_sender_of_findings_opens_the_models_that_the_link_names_and_no_files():
    plan = plan_of().session()
    assert with_own_models(plan, "sender", []).profile.depth == "depth-world"
    webp = plan.model_copy(update={"codec": plan.codec.model_copy(update={"name": "webp"})})
    assert with_own_models(webp, "sender", []).profile.depth is None
    named = plan.model_copy(update={"profile": plan.profile.model_copy(update={"depth": "/srv/secret"})})
    with pytest.raises(UsageError, match=r"'/srv/secret' for profile\.depth"):
        with_own_models(named, "sender", [])


# Runs


@pytest.fixture
def blind(monkeypatch):
    """Let no model look at a received picture."""

    def refuse(self, pixels):
        raise AssertionError("a picture was looked at")

    monkeypatch.setattr(Analyst, "look", refuse)


def test_a_run_of_findings_is_scored_by_them_alone(blind, tmp_path):
    scenario = plan_of()
    runs.prepare(tmp_path / "run", scenario)
    outcome = runs.run(scenario, tmp_path / "run", transport="inproc")
    assert outcome.error is None
    told = outcome.metrics
    assert told["frames"]["sent"] == 3 and set(told["bytes"]["payload"]) == {"classes", "depth", "boxes"}
    assert all(value is None for value in told["quality"].values())
    for name in [*pictures.EACH, *pictures.TOGETHER]:
        assert told["notes"][f"quality.{name}"].startswith("the codec sends no picture")
    for task, key in (("segmentation", "miou"), ("depth", "delta1"), ("detection", "map50")):
        scores = told["tasks"][task]
        assert scores["original"]["shown"] == 3
        assert 0.0 <= scores["truth"][key] <= 1.0
    assert told["tasks"]["depth"]["original"]["delta1"] > 0.9
    assert told["tasks"]["segmentation"]["original"]["aacc"] > 0.75
    own = told["verdict"]["own"]["tasks"]
    assert own["depth"]["delta1"] == pytest.approx(told["tasks"]["depth"]["truth"]["delta1"])
    page = (tmp_path / "run" / "report.html").read_text()
    assert "not sent at all: what the analysis models found in them went over 2 hops" in page
    assert "class map" in page and "no picture" in page
    book = journal.read(tmp_path / "run" / "run.mcap")
    assert Counter(event["kind"] for event in book.events)["found"] == 9
    done = CliRunner().invoke(app, ["inspect", str(tmp_path / "run"), "--json"])
    assert done.exit_code == 0, done.output
    packets = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = {section["kind"] for packet in packets for section in packet.get("sections") or ()}
    assert kinds == {"classes", "depth", "boxes"}


def test_findings_stand_in_a_sweep_beside_pictures(tmp_path):
    settings = (
        "camera.width=64",
        "camera.height=48",
        "camera.frames=2",
        "profile.device=cpu",
        "codec.frame_bytes=250",
    )
    vary = {"codec.name": ["findings", "webp"]}
    result = work.sweep(
        Request("mars-relay", settings, vary), work.Options(workers=0), Path(tmp_path / "sweep")
    )
    assert result.tally.done == 2
    rows = duckdb.sql(
        "SELECT codec, psnr_db, segmentation_original_aacc, depth_original_delta1 "
        f"FROM '{tmp_path / 'sweep' / 'cells.parquet'}' ORDER BY 1"
    ).fetchall()
    (name, psnr, classes, depth), (other, other_psnr, *_) = rows
    assert (name, other) == ("findings", "webp")
    assert psnr is None and other_psnr > 10
    assert classes > 0.75 and depth > 0.9
    assert SYNTAXES["findings"].facts.neural
