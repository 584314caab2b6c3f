"""What an analysis is made of: names of classes, scores of a frame, which model is run, what is drawn over pictures."""

import numpy as np
import pytest

from link.analysis.analyst import SHIPPED, Chosen, cache_key
from link.analysis.findings import DepthMap, Detections, Segments
from link.errors import UsageError
from scenarios import schema
from scenarios.report import overlays
from scenarios.results import frame_stats
from scenarios.scoring.boxes import Boxes
from scenarios.scoring.tasks import TASKS
from scenarios.truth.names import NONE, match_classes


def test_names_that_differ_between_sets_mean_the_same():
    camvid = ("sky", "building", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist")
    model = ("Road", "sidewalk", "vegetation", "traffic sign", "wall", "truck", "person", "rider", "train")
    assert [camvid[at] if at != NONE else None for at in match_classes(model, camvid)[:9]] == [
        "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist", None
    ]  # fmt: skip
    assert match_classes(camvid, ("wall", "rider", "bicycle"))[9] == 1, (
        "a cyclist is a rider before a bicycle"
    )
    assert match_classes(("wall",), ("fence", "wall"))[0] == 1, "the own name comes first"
    assert match_classes(("tvmonitor", "traffic_light"), ("traffic light", "tv"))[:2].tolist() == [1, 0]


def test_relative_depth_is_aligned_before_it_is_scored():
    true = np.random.default_rng(5).uniform(1, 30, (20, 30)).astype(np.float32)
    near = DepthMap((3.0 / true + 0.7).astype(np.float32), False)
    kept = frame_stats.stats_of("depth", DepthMap(true, True), near, "street")
    assert kept["deltas"][0] == pytest.approx(1.0) and kept["errors"][0] < 1e-3
    other = DepthMap((near.values * 5 + 2).astype(np.float32), False)
    same = frame_stats.stats_of("depth", near, other, "street", of_model=True)
    assert same["deltas"][0] == pytest.approx(1.0)
    noise = DepthMap(np.random.default_rng(6).uniform(0.1, 3, true.shape).astype(np.float32), False)
    assert frame_stats.stats_of("depth", near, noise, "street", of_model=True)["deltas"][0] < 0.9


def test_boxes_that_are_sure_on_the_original_are_what_should_be_found():
    xyxy = np.array([[0, 0, 10, 10], [20, 20, 30, 30.0]])
    true = Detections(xyxy, np.array([0, 1]), np.array([0.9, 0.2]), ("rock", "flag"))
    stats = frame_stats._detection(true, true, True)
    assert len(stats["truth"]) == 1
    assert TASKS["detection"].scores([stats])["map50"] == pytest.approx(1.0)
    assert TASKS["detection"].scores([frame_stats._detection(true, None, True)])["map50"] == 0.0
    other = Detections(xyxy[:1], np.array([1]), np.array([0.8]), ("flag", "boulder"))
    with pytest.raises(ValueError, match="names none"):
        frame_stats._detection(true, Detections(xyxy, np.array([0, 0]), np.array([1.0, 1]), ("fish",)), True)
    assert TASKS["detection"].scores([frame_stats._detection(true, other, True)])["map50"] == 0.0


def test_the_source_decides_which_of_the_shipped_models_is_run():
    def named(source, tasks, **more):
        profile = schema.load("mars-relay", (), {"camera.source": source, "analysis": tasks, **more}).profile
        return [getattr(profile, task) for task in tasks]

    every = ["segmentation", "depth", "detection"]
    assert named("world:mars", every) == ["segmentation-world", "depth-world", "detection-world"]
    assert named("world:moon:7", every, **{"codec.profile": "flux"}) == named("world:mars", every)
    assert named("camvid:x", ["segmentation"]) == ["segmentation-street"]
    assert named("cityscapes:x", ["segmentation"], **{"codec.profile": "flux"}) == ["flux/segmentation"]
    assert named("kitti:x", ["depth"], **{"codec.profile": "flux"}) == ["flux/depth"]
    assert named("camvid:x", ["depth"], **{"profile.depth": "flux/depth"}) == ["flux/depth"]


@pytest.mark.parametrize(
    ("source", "task"), [("camvid:x", "depth"), ("testcard", "segmentation"), ("kitti:x", "detection")]
)
def test_a_task_without_a_model_for_the_source_is_refused_at_the_start(source, task):
    with pytest.raises(
        UsageError, match=rf"no {task} model comes with farlink.*--set profile\.{task}=FOLDER"
    ):
        schema.load("mars-relay", (), {"camera.source": source, "analysis": [task]})


def test_classes_are_painted_over_the_picture_and_unknown_ones_left():
    picture = np.full((2, 2, 3), 100, np.uint8)
    labels = np.array([[0, 1], [255, 0]], np.uint8)
    painted = overlays.painted(Segments(labels, ("sky", "thing")), picture)
    assert (painted[1, 0] == 100).all() and (painted[0, 0] != 100).any()
    assert (painted[0, 0] == painted[1, 1]).all() and (painted[0, 0] != painted[0, 1]).any()


def test_near_is_brighter_than_far_and_nothing_is_grey():
    metres = DepthMap(np.array([[1.0, 5.0, 20.0, np.inf, np.nan]], np.float32), True)
    inverse = DepthMap(1.0 / np.array([[1.0, 5.0, 20.0, np.inf, np.nan]], np.float32), False)
    for found, span in ((metres, (1.0, 20.0)), (inverse, (0.2, 4.0))):
        shades = overlays.depth_colours(found, span)[0].astype(int).sum(-1)
        assert shades[0] > shades[1] > shades[2] and shades[3] == shades[4] == 228 + 231 + 235


def test_scores_that_are_not_there_are_a_dash():
    tasks = {
        "depth": {"model": "m", "truth": None, "original": {"delta1": 0.5}, "ideal": None},
        "detection": None,
    }
    rows = overlays.table(tasks)
    assert rows[0].values == ("–", "0.500", "–") and rows[0].task == "depth (m)" and rows[1].task == ""
    assert overlays.table({"depth": {"model": "m", "truth": None, "original": None, "ideal": None}}) == []


def test_what_a_cache_is_asked_for_is_named_by_the_picture():
    item = Chosen("depth", "toy", SHIPPED, "0" * 16)
    one = np.zeros((4, 4, 3), np.uint8)
    assert cache_key(item, one) == cache_key(item, one.copy()) != cache_key(item, np.ones_like(one))


def test_boxes_of_a_truth_keep_what_is_to_be_ignored():
    true = frame_stats.TrueBoxes(
        np.array([[0, 0, 9, 9.0]]), np.array([0]), np.ones(1), ("rock",), np.array([True])
    )
    found = Detections(np.array([[0, 0, 9, 9.0]]), np.array([0]), np.array([0.9]), ("rock",))
    own = TASKS["detection"].frame(
        Boxes.of([[0, 0, 9, 9]], [0], None, [True]), Boxes.of([[0, 0, 9, 9]], [0], [0.9])
    )
    assert frame_stats._detection(true, found, False) == own


def test_the_surest_boxes_are_shown_and_the_others_counted():
    xyxy = np.array([[10 * at, 16, 10 * at + 8, 40] for at in range(9)], np.float64)
    scores = np.array([0.31, 0.9, 0.32, 0.8, 0.7, 0.95, 0.6, 0.33, 0.01])
    found = Detections(xyxy, np.zeros(9, int), scores, ("rock",))
    grey = np.full((64, 96, 3), 90, np.uint8)
    drawn = np.asarray(overlays._boxed(found, grey, (96, 64)))
    changed = (drawn[36] != grey[36]).any(1)  # a line through all the boxes and no words
    shown = {at for at in range(9) if changed[10 * at : 10 * at + 2].any()}
    assert shown == {1, 3, 4, 5, 6}
    few = Detections(xyxy[:2], np.zeros(2, int), scores[:2], ("rock",))
    below = np.asarray(overlays._boxed(few, grey, (96, 64)))[50:]
    assert (below == grey[50:]).all()
    assert (drawn[50:] != grey[50:]).any()  # the words that say how many there are
