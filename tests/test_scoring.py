"""Task scores against independent implementations: torchmetrics, pycocotools, and loops that a reader can check."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
from torchmetrics.detection import MeanAveragePrecision

from scenarios.scoring import bootstrap, detection
from scenarios.scoring.boxes import Boxes
from scenarios.scoring.depth import Depth
from scenarios.scoring.detection import Detection, by_pycocotools
from scenarios.scoring.segmentation import Segmentation
from scenarios.scoring.tasks import TASKS

SEEDS = range(6)
SEGMENTATION, DEPTH, DETECTION = Segmentation(), Depth(), Detection()
UNCOMPARED = {"invented": None, "invented_rare": None}
"""What segmentation scores where it is not known what the model finds in the originals."""


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def again(stats: dict[str, Any]) -> dict[str, Any]:
    """As it is read back from a table."""
    return json.loads(json.dumps(stats))


# Segmentation


def labels(rng: np.random.Generator, classes: int, empty: int | None = None) -> np.ndarray:
    found = rng.integers(0, classes, (12, 17)).astype(np.uint8)
    if empty is not None:
        found[found == empty] = (empty + 1) % classes
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_segmentation_agrees_with_torchmetrics(seed):
    rng = generator(seed)
    pairs = [(labels(rng, 5, 2), labels(rng, 5, 2)) for _ in range(4)]
    for marked, _ in pairs:
        marked[rng.random(marked.shape) < 0.1] = 255
    scores = SEGMENTATION.scores([again(SEGMENTATION.frame(t, f, classes=5)) for t, f in pairs])
    truth, found = (
        torch.from_numpy(np.stack([pair[at] for pair in pairs]).astype(np.int64)) for at in (0, 1)
    )
    known = truth != 255
    truth, found = truth[known], found[known]
    assert scores["miou"] == pytest.approx(
        MulticlassJaccardIndex(5, average="macro")(found, truth).item(), abs=1e-6
    )
    assert scores["aacc"] == pytest.approx(
        MulticlassAccuracy(5, average="micro")(found, truth).item(), abs=1e-6
    )
    assert scores["macc"] == pytest.approx(
        MulticlassAccuracy(5, average="macro")(found, truth).item(), abs=1e-6
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_segmentation_agrees_with_loops(seed):
    rng = generator(seed)
    truths = [labels(rng, 4, 3) for _ in range(3)]
    founds = [labels(rng, 4) for _ in range(3)]
    truths[0][rng.random(truths[0].shape) < 0.2] = 255
    founds[1][rng.random(founds[1].shape) < 0.2] = 255  # no answer
    triples = [(t, f) for a, b in zip(truths, founds) for t, f in zip(a.ravel(), b.ravel()) if t != 255]
    ious, accuracies = [], []
    for kind in range(4):
        both = sum(t == kind and f == kind for t, f in triples)
        either = sum(t == kind or f == kind for t, f in triples)
        there = sum(t == kind for t, f in triples)
        ious.append(both / either if either else None)
        accuracies.append(both / there if there else None)
    stats = [SEGMENTATION.frame(t, f, classes=4) for t, f in zip(truths, founds)]
    scores, each = SEGMENTATION.scores(stats), SEGMENTATION.per_class(stats)
    assert scores["miou"] == pytest.approx(np.mean([x for x in ious if x is not None]), abs=1e-12)
    assert scores["macc"] == pytest.approx(np.mean([x for x in accuracies if x is not None]), abs=1e-12)
    assert scores["aacc"] == pytest.approx(sum(t == f for t, f in triples) / len(triples), abs=1e-12)
    assert each["iou"] == pytest.approx(ious) and each["accuracy"][3] is None


def test_a_class_that_is_nowhere_is_left_out_and_one_that_is_only_found_counts_as_wrong():
    truth = np.zeros((4, 4), np.uint8)
    right = SEGMENTATION.frame(truth, truth, classes=3)
    assert SEGMENTATION.scores([right]) == {"miou": 1.0, "aacc": 1.0, "macc": 1.0, **UNCOMPARED}
    found = truth.copy()
    found[0] = 2
    scores = SEGMENTATION.scores([SEGMENTATION.frame(truth, found, classes=3)])
    assert scores == {"miou": pytest.approx(0.375), "aacc": 0.75, "macc": 0.75, **UNCOMPARED}


def test_nothing_shown_is_nothing_right():
    truth = labels(generator(0), 3)
    lost = SEGMENTATION.frame(truth, None, classes=3)
    assert SEGMENTATION.scores([lost]) == {"miou": 0.0, "aacc": 0.0, "macc": 0.0, **UNCOMPARED}
    shown = SEGMENTATION.frame(truth, truth, classes=3)
    assert SEGMENTATION.scores([lost, shown])["miou"] == pytest.approx(0.5)
    assert SEGMENTATION.counts([lost, shown]) == {"frames": 2, "shown": 1}


def test_nothing_labelled_is_no_score():
    unknown = SEGMENTATION.frame(np.full((3, 3), 255, np.uint8), np.zeros((3, 3), np.uint8), classes=3)
    assert SEGMENTATION.scores([unknown]) == {"miou": None, "aacc": None, "macc": None, **UNCOMPARED}
    assert SEGMENTATION.scores([]) == {"miou": None, "aacc": None, "macc": None, **UNCOMPARED}


def triple(columns: dict[tuple[int, int, int], int]) -> tuple[np.ndarray, ...]:
    """Return truth, original and received, maps of 20 rows, with so many columns of each (true, original, received)."""
    kinds = np.repeat(np.array(list(columns), np.uint8), list(columns.values()), axis=0)
    return tuple(np.tile(kinds[:, at], (20, 1)) for at in range(3))


def test_what_was_invented_is_neither_true_nor_seen_in_the_original():
    # Of 100 columns 62 are class 0, 37 class 1, and one, below 2 %, is class 2; class 3 is nowhere.
    truth, original, received = triple(
        {
            (0, 0, 0): 50,  # right
            (0, 0, 1): 4,  # invented, not rare
            (0, 1, 1): 3,  # the model's own mistake
            (0, 0, 2): 5,  # invented, rare
            (1, 1, 3): 2,  # invented, of a class that is nowhere
            (1, 2, 2): 6,  # the model's own mistake, of a rare class
            (1, 1, 255): 10,  # no answer
            (1, 1, 1): 18,
            (1, 0, 2): 1,  # invented, rare: the original was mistaken for something else
            (2, 2, 0): 1,  # left out, which is itself a wrong class 0
        }
    )
    stats = again(SEGMENTATION.frame(truth, received, classes=4, original=original))
    assert stats["invented"] == [[0, 20], [1, 80], [2, 120], [3, 40]]
    scores = SEGMENTATION.scores([stats])
    assert scores["invented"] == pytest.approx(0.13) and scores["invented_rare"] == pytest.approx(0.08)
    nothing = SEGMENTATION.scores([SEGMENTATION.frame(truth, original, classes=4, original=original)])
    assert nothing["invented"] == nothing["invented_rare"] == 0.0
    with pytest.raises(ValueError, match=r"findings in the original: .* label 7"):
        SEGMENTATION.frame(truth, received, classes=4, original=np.full_like(truth, 7))


def test_what_was_invented_is_of_labelled_pixels_of_pictures_that_were_shown():
    truth, original, received = triple({(0, 0, 1): 10, (255, 0, 1): 10, (1, 1, 1): 80})
    shown = SEGMENTATION.frame(truth, received, classes=2, original=original)
    lost = SEGMENTATION.frame(truth, None, classes=2, original=original)
    uncompared = SEGMENTATION.frame(truth, received, classes=2)
    assert "invented" not in lost and "invented" not in uncompared
    alone = SEGMENTATION.scores([shown])
    assert alone["invented"] == pytest.approx(10 / 90)
    mixed = SEGMENTATION.scores([shown, lost, uncompared])
    assert mixed["invented"] == alone["invented"] and mixed["miou"] != alone["miou"]
    assert SEGMENTATION.scores([lost, uncompared])["invented"] is None, "not known is not none"


def test_what_is_rare_is_rare_in_the_set_not_in_a_frame():
    # Class 1 is a fiftieth of the second frame's pixels, and with the first frame's a fifth of both.
    often = SEGMENTATION.frame(*triple({(0, 0, 0): 60, (1, 1, 1): 40})[::2], classes=2)
    truth, original, received = triple({(0, 0, 0): 89, (0, 0, 1): 10, (1, 1, 1): 1})
    seldom = SEGMENTATION.frame(truth, received, classes=2, original=original)
    assert SEGMENTATION.scores([seldom])["invented_rare"] == pytest.approx(0.1)
    both = SEGMENTATION.scores([often, seldom])
    assert both["invented_rare"] == 0.0 and both["invented"] == pytest.approx(0.1)
    spans = bootstrap.intervals(SEGMENTATION, [seldom, often] * 8, list("abcdefghijklmnop"), 1)
    assert spans["invented_rare"] == (0.0, 0.0)
    assert list(spans["invented"] or ()) == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("bad", [[[2, 5]], [[0]], [[0, -1]], "none"])
def test_stored_numbers_of_what_was_invented_are_checked(bad):
    stats = SEGMENTATION.frame(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), classes=2)
    with pytest.raises(ValueError):
        Segmentation.form.model_validate({**stats, "invented": bad})
    Segmentation.form.model_validate({**stats, "invented": [[1, 3]]})


def test_label_maps_that_do_not_fit_are_refused():
    small, large = np.zeros((3, 4), np.uint8), np.zeros((6, 8), np.uint8)
    with pytest.raises(ValueError, match=r"8x6.*4x3"):
        SEGMENTATION.frame(small, large, classes=3)
    with pytest.raises(ValueError, match="truth: 12 pixels have the label 7; 0 to 2 expected"):
        SEGMENTATION.frame(np.full_like(small, 7), small, classes=3)
    with pytest.raises(ValueError, match="findings: 12 pixels"):
        SEGMENTATION.frame(small, np.full_like(small, 3), classes=3)
    with pytest.raises(ValueError, match="3 and of 4 classes"):
        SEGMENTATION.scores([SEGMENTATION.frame(small, small, classes=k) for k in (3, 4)])
    with pytest.raises(ValueError, match="not those of segmentation"):
        SEGMENTATION.scores([{"pixels": 3}])


# Depth


def depths(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0.5, 90.0, (9, 11)).astype(np.float32)


@pytest.mark.parametrize("seed", SEEDS)
def test_depth_agrees_with_loops(seed):
    rng = generator(seed)
    rows, stats = [], []
    for _ in range(3):
        truth = depths(rng)
        found = (truth * rng.uniform(0.6, 1.6, truth.shape)).astype(np.float32)
        found[0, 0] = -1.0
        truth[1, :3] = np.nan, np.inf, 0.0
        stats.append(again(DEPTH.frame(truth, found)))
        values = []
        for t, f in zip(truth.ravel().tolist(), found.ravel().tolist()):
            if math.isfinite(t) and 1e-3 <= t <= 80.0:
                f = min(max(f, 1e-3), 80.0)
                worse = max(f / t, t / f)
                values.append(
                    [
                        *(worse < 1.25**k for k in (1, 2, 3)),
                        abs(f - t) / t,
                        (f - t) ** 2,
                        math.log(f / t) ** 2,
                    ]
                )
        row = np.mean(np.array(values, float), 0)
        rows.append([*row[:4], math.sqrt(row[4]), math.sqrt(row[5])])
    scores = DEPTH.scores(stats)
    assert list(scores.values()) == pytest.approx(np.mean(rows, 0), abs=1e-7)
    assert list(scores) == ["delta1", "delta2", "delta3", "abs_rel", "rmse", "rmse_log"]
    assert all(0 < DEPTH.scores([one])["delta1"] < 1 for one in stats)


def test_a_lost_frame_has_no_right_pixel_and_no_error():
    truth = depths(generator(1)) / 2
    shown, lost = DEPTH.frame(truth, truth * 1.1), DEPTH.frame(truth, None)
    scores = DEPTH.scores([shown, lost])
    assert scores["delta1"] == 0.5
    assert scores["abs_rel"] == pytest.approx(0.1, abs=1e-6)
    assert DEPTH.counts([shown, lost]) == {"frames": 2, "shown": 1}
    only = DEPTH.scores([lost])
    assert only["delta1"] == 0.0 and only["rmse"] is None
    assert DEPTH.higher_is_better["delta1"] and not DEPTH.higher_is_better["rmse"]


def test_relative_findings_are_aligned():
    truth = depths(generator(2)) / 2
    assert DEPTH.scores([DEPTH.frame(truth, truth * 0.2, align="median")])["rmse"] == pytest.approx(
        0, abs=1e-4
    )
    inverse = (7.0 / truth + 3.0).astype(np.float32)
    scores = DEPTH.scores([DEPTH.frame(truth, inverse, align="scale_shift")])
    assert scores["delta1"] == 1.0 and scores["abs_rel"] < 1e-3
    assert DEPTH.scores([DEPTH.frame(truth, inverse)])["delta1"] < 0.5


def test_scale_and_shift_are_the_least_squares_fit():
    rng = generator(3)
    truth, found = depths(rng)[:8] / 2, rng.uniform(1, 2, (8, 11)).astype(np.float32)
    known = truth.ravel() < 40
    truth[truth >= 40] = np.nan
    design = np.stack([found.ravel()[known], np.ones(known.sum())], 1)
    fit, *_ = np.linalg.lstsq(design, 1 / truth.ravel()[known].astype(np.float64), rcond=None)
    guess = np.full(truth.shape, 1.0)
    guess.ravel()[known] = 1 / np.clip(design @ fit, 1 / 80, 1e3)
    expected = DEPTH.scores([DEPTH.frame(truth, guess)])
    found_scores = DEPTH.scores([DEPTH.frame(truth, found, align="scale_shift")])
    assert list(found_scores.values()) == pytest.approx(list(expected.values()), abs=1e-6)
    flat = DEPTH.frame(truth, np.ones_like(truth), align="scale_shift")  # nothing to fit: the mean inverse
    assert 0 <= DEPTH.scores([flat])["delta1"] <= 1


def test_bad_depth_is_refused():
    truth = depths(generator(4))
    found = truth.copy()
    found[0, :2] = np.nan
    with pytest.raises(ValueError, match="2 of 99 depths found are not numbers"):
        DEPTH.frame(truth, found)
    with pytest.raises(ValueError, match=r"4x3.*11x9"):
        DEPTH.frame(truth, np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match=r"'nearly'.*none, median, scale_shift"):
        DEPTH.frame(truth, truth, align="nearly")
    with pytest.raises(ValueError, match=r"median.*-"):
        DEPTH.frame(truth, -truth, align="median")
    infinite = np.full_like(truth, np.inf)
    assert DEPTH.frame(truth, infinite)["errors"] is not None  # further than all: clamped
    with pytest.raises(ValueError, match="99 of 99"):
        DEPTH.frame(truth, infinite, align="scale_shift")


def test_no_known_depth_is_no_score():
    nothing = DEPTH.frame(np.full((2, 2), np.inf, np.float32), np.ones((2, 2), np.float32))
    assert set(DEPTH.scores([nothing]).values()) == {None}
    assert DEPTH.counts([nothing]) == {"frames": 0, "shown": 0}


# Detection


def scene(
    rng: np.random.Generator, kinds: int = 3, crowd: float = 0.0, most: int = 7, ties: bool = False
) -> tuple[Boxes, Boxes]:
    """Truth, and findings near some of it, doubled, of another class, or anywhere."""
    count = int(rng.integers(0, most))
    corner = rng.uniform(0, 150, (count, 2))
    truth = np.concatenate([corner, corner + rng.uniform(8, 60, (count, 2))], 1).round(2)
    kind = rng.integers(0, kinds, count)
    picked = rng.integers(0, max(1, count), 2 * count)[: 2 * count]
    near = truth[picked] + rng.normal(0, 3, (len(picked), 4)) if count else np.zeros((0, 4))
    other = rng.uniform(0, 150, (4, 2))
    found = np.concatenate([near, np.concatenate([other, other + rng.uniform(5, 60, (4, 2))], 1)])
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    found_kind = np.concatenate([kind[picked] if count else np.zeros(0, int), rng.integers(0, kinds, 4)])
    scores = rng.random(len(found))
    return (
        Boxes.of(truth, kind, ignored=rng.random(count) < crowd),
        Boxes.of(found.round(2), found_kind, scores.round(1) if ties else scores),
    )


def scenes(seed: int, count: int, **options: Any) -> list[tuple[Boxes, Boxes]]:
    rng = generator(seed)
    return [scene(rng, **options) for _ in range(count)]


@pytest.mark.parametrize("crowd", [0.0, 0.3])
@pytest.mark.parametrize("seed", SEEDS)
def test_detection_agrees_with_pycocotools(seed, crowd):
    stats = [again(DETECTION.frame(*pair)) for pair in scenes(seed, 12, crowd=crowd, ties=seed % 2 == 1)]
    stats[3]["found"] = None  # a lost frame
    own, other = DETECTION.scores(stats), by_pycocotools(stats)
    assert 0.02 < own["map50"] < 0.98
    for key, value in other.items():
        assert own[key] == pytest.approx(value, abs=1e-9), key


def test_detection_agrees_with_torchmetrics():
    pairs = scenes(40, 15)
    judge = MeanAveragePrecision(backend="pycocotools")
    for truth, found in pairs:
        row = [
            {"boxes": torch.from_numpy(boxes.xyxy).float(), "labels": torch.from_numpy(boxes.kinds)}
            for boxes in (found, truth)
        ]
        row[0]["scores"] = torch.from_numpy(found.scores).float()
        judge.update(row[:1], row[1:])
    theirs = judge.compute()
    own = DETECTION.scores([DETECTION.frame(*pair) for pair in pairs])
    for key, name in (("map50_95", "map"), ("map50", "map_50"), ("map75", "map_75")):
        assert own[key] == pytest.approx(theirs[name].item(), abs=1e-6)


def test_equal_overlaps_and_overlaps_on_the_threshold_are_taken_as_coco_takes_them():
    first: list[list[float]] = [[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 40, 10], [60.1, 0, 80.3, 10.7]]
    second: list[list[float]] = [[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 30, 10], [60.1, 0, 80.3, 5.35]]
    truth = Boxes.of(first, [0] * 4)
    found = Boxes.of(
        second,
        [0] * 4,
        [0.9, 0.8, 0.7, 0.6],
    )
    stats = [DETECTION.frame(truth, found)]
    assert DETECTION.scores(stats)["map50"] == pytest.approx(by_pycocotools(stats)["map50"], abs=1e-12)
    # The first overlaps both alike and takes the last, which leaves none for the second.
    truth = Boxes.of([[0, 0, 10, 10], [4, 0, 14, 10]], [0, 0])
    stats = [DETECTION.frame(truth, Boxes.of([[2, 0, 12, 10], [4, 0, 14, 10]], [0, 0], [0.9, 0.8]))]
    for scores in (DETECTION.scores(stats), by_pycocotools(stats)):
        assert scores["map50"] == pytest.approx(51 / 101, abs=1e-12)


def test_only_the_hundred_best_boxes_of_a_class_count():
    rng = generator(8)
    corner = rng.uniform(0, 300, (150, 2))
    truth = Boxes.of(np.concatenate([corner, corner + 20], 1).round(2), [0] * 150)
    found = Boxes.of(truth.xyxy, truth.kinds, rng.random(150))
    stats = [DETECTION.frame(truth, found)]
    assert len(stats[0]["found"]) == 100
    assert DETECTION.scores(stats)["map50"] == pytest.approx(by_pycocotools(stats)["map50"], abs=1e-9)


def by_hand_f1(stats: list[dict[str, Any]]) -> tuple[float, float]:
    """Precision and recall at overlap 0.5 and at the confidence of the highest smoothed F1, by loops."""
    kinds = sorted({row[0] for s in stats for row in s["truth"]})
    table = np.zeros((3, len(kinds), 1000))
    for at, kind in enumerate(kinds):
        hits: list[tuple[float, bool]] = []
        there = sum(row[0] == kind for s in stats for row in s["truth"])
        for s in stats:
            true = np.array([row[1:5] for row in s["truth"] if row[0] == kind]).reshape(-1, 4)
            guess = sorted((row for row in s["found"] or () if row[0] == kind), key=lambda row: -row[5])
            used: set[int] = set()
            for row in guess:
                best, chosen = 0.5, None
                for number, box in enumerate(true):
                    width = min(row[3], box[2]) - max(row[1], box[0])
                    height = min(row[4], box[3]) - max(row[2], box[1])
                    both = max(0.0, width) * max(0.0, height)
                    area = (row[3] - row[1]) * (row[4] - row[2]) + (box[2] - box[0]) * (box[3] - box[1])
                    if number not in used and both / (area - both) >= best:
                        best, chosen = both / (area - both), number
                used |= {chosen} if chosen is not None else set()
                hits.append((row[5], chosen is not None))
        for step, least in enumerate(np.linspace(0, 1, 1000)):
            taken = [hit for score, hit in hits if score >= least]
            precision = sum(taken) / len(taken) if taken else float(bool(hits))
            recall = sum(taken) / there
            f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
            table[:, at, step] = f1, precision, recall
    f1, precision, recall = table.mean(1)
    smooth = [np.pad(f1, 50, mode="edge")[at : at + 101].mean() for at in range(1000)]
    best_at = int(np.argmax(np.array(smooth) >= max(smooth) - 1e-9 / 101 / len(kinds)))
    return precision[best_at], recall[best_at]


@pytest.mark.parametrize("seed", range(3))
def test_precision_and_recall_agree_with_loops(seed):
    stats = [DETECTION.frame(*pair) for pair in scenes(seed + 60, 8)]
    scores = DETECTION.scores(stats)
    assert (scores["precision"], scores["recall"]) == pytest.approx(by_hand_f1(stats), abs=1e-9)


def test_perfect_nothing_and_lost_frames():
    truth = Boxes.of([[0, 0, 10, 10], [20, 20, 50, 50]], [0, 1])
    whole = DETECTION.scores([DETECTION.frame(truth, Boxes.of(truth.xyxy, truth.kinds, [0.9, 0.8]))])
    assert list(whole.values()) == pytest.approx([1.0] * 5)
    for nothing in (None, Boxes.none(), Boxes.of([[0, 0, 9, 10]], [5], [0.9])):
        assert list(DETECTION.scores([DETECTION.frame(truth, nothing)]).values()) == [0.0] * 5
    lost = [DETECTION.frame(truth, None), DETECTION.frame(Boxes.none(), Boxes.none())]
    assert DETECTION.counts(lost) == {"frames": 2, "shown": 1, "boxes": 2, "boxes_found": 0}


def test_frames_without_truth_have_no_score_and_boxes_found_there_are_wrong_elsewhere():
    empty = DETECTION.frame(Boxes.none(), Boxes.of([[0, 0, 9, 9]], [0], [0.99]))
    assert set(DETECTION.scores([empty]).values()) == {None}
    assert by_pycocotools([empty])["map50"] is None
    truth = Boxes.of([[0, 0, 10, 10]], [0])
    right = DETECTION.frame(truth, Boxes.of(truth.xyxy, [0], [0.5]))
    assert DETECTION.scores([empty, right])["map50"] == pytest.approx(0.5)


def test_boxes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 boxes have kinds"):
        Boxes.of([[0, 0, 1, 1], [0, 0, 2, 2]], [1])
    with pytest.raises(ValueError, match="1 of 1 boxes"):
        Boxes.of([[0, 0, np.nan, 1]], [1])
    with pytest.raises(ValueError, match="class -1"):
        Boxes.of([[0, 0, 1, 1]], [-1])


# Weights and intervals


def some(task: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = generator(seed)
    if task == "segmentation":
        return [SEGMENTATION.frame(labels(rng, 4), labels(rng, 4), classes=4) for _ in range(count)]
    if task == "depth":
        return [DEPTH.frame(depths(rng), depths(rng) if n % 5 else None) for n in range(count)]
    return [DETECTION.frame(*scene(rng, crowd=0.2)) for _ in range(count)]


@pytest.mark.parametrize("name", TASKS)
def test_a_weight_is_as_good_as_a_copy(name):
    task, frames = TASKS[name], some(name, 9)
    counts = generator(5).integers(0, 4, (20, 9))
    counts[0] = [0, 0, 0, 0, 1, 0, 0, 0, 0]
    found = task.pool(frames).scores(counts.astype(float))
    assert set(found) == set(task.higher_is_better)
    for number, row in enumerate(counts):
        copies = [frame for frame, times in zip(frames, row) for _ in range(times)]
        for key, value in task.scores(copies).items():
            expected = math.nan if value is None else value
            assert found[key][number] == pytest.approx(expected, abs=1e-9, nan_ok=True), key


@pytest.mark.parametrize("name", TASKS)
def test_resamples_taken_in_parts_are_the_same(name, monkeypatch):
    task, frames = TASKS[name], some(name, 12)
    clusters = [n // 2 for n in range(12)]
    whole = bootstrap.intervals(task, frames, clusters, 3, 50)
    monkeypatch.setattr(detection, "_AT_ONCE", 4000)
    assert bootstrap.intervals(task, frames, clusters, 3, 50) == whole
    assert bootstrap.interval(task, frames, clusters, task.primary, 3, 50) == whole[task.primary]
    assert bootstrap.intervals(task, frames, clusters, 4, 50) != whole
    value = task.scores(frames)[task.primary]
    within = whole[task.primary]
    assert within is not None
    low, high = within
    assert low < value < high


def plain_depth(values: np.ndarray) -> list[dict[str, Any]]:
    return [{"pixels": 1, "deltas": [float(value)] * 3, "errors": None} for value in values]


def covered(draw: Any, clusters: list[int], truth: float, trials: int = 200) -> float:
    inside = 0
    for trial in range(trials):
        found = bootstrap.interval(DEPTH, plain_depth(draw(generator(trial))), clusters, "delta1", trial, 300)
        assert found is not None
        low, high = found
        inside += low <= truth <= high
    return inside / trials


def test_intervals_cover_a_known_mean_over_clusters():
    def draw(rng: np.random.Generator) -> np.ndarray:
        return np.repeat(rng.normal(0.5, 0.1, 24), 5) + rng.normal(0, 0.02, 120)

    assert 0.85 <= covered(draw, [n // 5 for n in range(120)], 0.5) <= 0.99


def test_intervals_cover_a_known_mean_over_blocks():
    def draw(rng: np.random.Generator) -> np.ndarray:
        noise = rng.normal(0, 0.1, 162)
        return 0.5 + (noise[:-2] + noise[1:-1] + noise[2:]) / 3  # each frame like its neighbours

    assert 0.85 <= covered(draw, [n // 80 for n in range(160)], 0.5) <= 0.99


def width(values: np.ndarray, clusters: list[int], **more: Any) -> float:
    found = bootstrap.interval(DEPTH, plain_depth(values), clusters, "delta1", 1, **more)
    assert found is not None
    return found[1] - found[0]


def test_copies_in_a_cluster_do_not_narrow_the_interval():
    values = generator(9).random(20)
    one, ten = width(values, list(range(20))), width(np.repeat(values, 10), [n // 10 for n in range(200)])
    assert ten == pytest.approx(one)
    assert width(np.repeat(values, 10), list(range(200))) < 0.5 * one


def test_blocks_keep_what_frames_share_with_their_neighbours():
    smooth = np.sin(np.arange(200) / 8.0)
    shuffled = generator(2).permutation(smooth)
    assert width(smooth, [0] * 200) > 1.5 * width(shuffled, [0] * 200)


def test_the_same_frame_under_several_seeds_is_drawn_together():
    values = generator(9).random(40)
    one = width(values, [0] * 40)
    moments = [n % 40 for n in range(120)]
    assert width(np.tile(values, 3), [0] * 120, moments=moments) == pytest.approx(one)
    assert width(np.tile(values, 3), [0] * 120) < one


def test_weights_draw_every_frame_equally_often():
    clusters = [0] * 3 + [1] * 20 + [2] * 17
    drawn = bootstrap.weights(clusters, 1, 4000)
    assert drawn.shape == (4000, 40)
    assert drawn.sum(1).mean() == pytest.approx(40, rel=0.1)
    assert drawn.mean(0).min() == pytest.approx(drawn.mean(0).max(), rel=0.15)
    whole = bootstrap.weights([n // 4 for n in range(40)], 1, 50)
    assert (whole.sum(1) == 40).all()
    assert (whole.reshape(50, 10, 4) == whole.reshape(50, 10, 4)[:, :, :1]).all()


def test_no_interval_where_there_is_none():
    assert bootstrap.interval(DEPTH, plain_depth(np.ones(1)), [0], "delta1", 1) is None
    assert bootstrap.interval(DEPTH, [], [], "delta1", 1) is None
    lost = [DEPTH.frame(depths(generator(n)), None) for n in range(9)]
    found = bootstrap.intervals(DEPTH, lost, list(range(9)), 1, 50)
    assert found["delta1"] == (0.0, 0.0) and found["rmse"] is None


def test_bad_questions_are_refused():
    frames = plain_depth(np.ones(4))
    with pytest.raises(ValueError, match="no score 'miou'"):
        bootstrap.interval(DEPTH, frames, [0] * 4, "miou", 1)
    with pytest.raises(ValueError, match="4 frames have 3 clusters"):
        bootstrap.interval(DEPTH, frames, [0] * 3, "delta1", 1)
    with pytest.raises(ValueError, match="level is 95"):
        bootstrap.interval(DEPTH, frames, [0] * 4, "delta1", 1, level=95)
    with pytest.raises(ValueError, match="4 frames have 2 moments"):
        bootstrap.interval(DEPTH, frames, [0] * 4, "delta1", 1, moments=[1, 2])
    with pytest.raises(ValueError, match="0 resamples"):
        bootstrap.interval(DEPTH, frames, [0] * 4, "delta1", 1, resamples=0)
    with pytest.raises(ValueError, match=r"\(resamples, 4\)"):
        DEPTH.pool(frames).scores(np.ones((2, 3)))


def test_the_table_has_what_others_read():
    assert list(TASKS) == ["segmentation", "depth", "detection"]
    for name, task in TASKS.items():
        assert task.name == name and task.primary in task.higher_is_better
        assert set(task.scores(some(name, 3))) == set(task.higher_is_better)
