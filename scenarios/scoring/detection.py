"""Detection: AP as COCO defines it (Lin et al. 2014), P and R as Ultralytics reports them.

What is found in a frame is matched with its truth once, at ten overlaps; what remains is sorting and summing, in
which a frame's weight is a factor. So a bootstrap costs little, and one code makes the scores and their intervals.
by_pycocotools() makes the same APs with the reference code.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from link.records import Recorded
from scenarios.scoring.boxes import Boxes
from scenarios.scoring.stats import Scores, Stats, Weights, check_weights, field, mean_known, plain, ratio

OVERLAPS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST_BOXES = 100
"""Of each class in a frame, by score: COCO's maxDets."""
CONFIDENCES = np.linspace(0.0, 1.0, 1000)
SMOOTHING = 101
"""Confidences that F1 is averaged over before its highest point is taken: a tenth of them, as Ultralytics has it."""
_AT_ONCE = 2_000_000  # numbers in an array: resamples are taken in parts of this size
_KEYS = ("map50_95", "map50", "map75", "precision", "recall")


_Box = Annotated[list[Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=6, max_length=6)]


class DetectionStats(Recorded):
    """What `Detection.frame` keeps, as it stands in a table."""

    truth: list[_Box]
    found: list[_Box] | None

    @model_validator(mode="after")
    def _known_kinds(self) -> "DetectionStats":
        if any(not (row[0] >= 0 and row[0] == int(row[0])) for row in (*self.truth, *(self.found or ()))):
            raise ValueError("a class that is no number of one")
        return self


class Detection:
    """Scores of boxes. What a frame keeps: [class, left, top, right, bottom, ignored or score] of each box."""

    name = "detection"
    form = DetectionStats
    primary = "map50_95"
    beside = ()
    higher_is_better: Mapping[str, bool] = MappingProxyType(dict.fromkeys(_KEYS, True))
    labels: Mapping[str, str] = MappingProxyType(
        dict(zip(_KEYS, ("mAP50-95", "mAP50", "mAP75", "precision", "recall"), strict=True))
    )

    def frame(self, truth: Boxes, found: Boxes | None) -> Stats:
        """Keep the boxes of one frame, to 0.01 pixels and scores to 1e-6. *found* None: nothing was shown."""
        stats: Stats = {"truth": _rows(truth, truth.ignored.astype(np.int64)), "found": None}
        if found is not None:
            kept = np.concatenate(
                [np.zeros(0, np.int64), *(_best(found, kind) for kind in np.unique(found.kinds))]
            )
            best = Boxes(found.xyxy[kept], found.kinds[kept], found.scores[kept], found.ignored[kept])
            stats["found"] = _rows(best, best.scores)
        return stats

    def pool(self, frames: Sequence[Stats]) -> "DetectionPool":
        """Match the boxes of the frames."""
        return DetectionPool(frames)

    def scores(self, frames: Sequence[Stats]) -> Scores:
        """Return map50_95, map50, map75, precision, recall of all frames together, 0 to 1.

        Means over the classes that have truth. Precision and recall are those at overlap 0.5 and at the one
        confidence where F1, averaged over the classes and smoothed, is highest.
        """
        return plain(self.pool(frames))

    def counts(self, frames: Sequence[Stats]) -> dict[str, int]:
        """Return how many frames there are, how many were shown, and how many boxes there are and were found."""
        found = [field(stats, "found", "detection") for stats in frames]
        return {
            "frames": len(frames),
            "shown": sum(boxes is not None for boxes in found),
            "boxes": sum(not row[5] for stats in frames for row in stats["truth"]),
            "boxes_found": sum(len(boxes or ()) for boxes in found),
        }


def _best(boxes: Boxes, kind: int) -> NDArray[np.int64]:
    """Return the places of the highest scores of *kind*, highest first."""
    places = np.flatnonzero(boxes.kinds == kind)
    order = np.argsort(-boxes.scores[places], kind="stable")[:MOST_BOXES]
    return np.asarray(places[order])


def _rows(boxes: Boxes, last: NDArray[Any]) -> list[list[float]]:
    corners = boxes.xyxy.round(2).tolist()
    values = last.round(6).tolist()
    kinds = boxes.kinds.tolist()
    return [[kind, *box, value] for kind, box, value in zip(kinds, corners, values, strict=True)]


@dataclass(frozen=True)
class _Kind:
    """All that was found of one class, highest score first, and how much of it there is."""

    frame: NDArray[np.int64]
    """(D,): where each was found."""
    score: NDArray[np.float64]
    right: NDArray[np.bool_]
    """(overlaps, D): matched with truth that counts."""
    ignored: NDArray[np.bool_]
    """(overlaps, D): matched with an ignored region."""
    there: NDArray[np.float64]
    """(frames,): boxes of truth that count."""


class DetectionPool:
    """The matches of the frames, class by class."""

    def __init__(self, frames: Sequence[Stats]) -> None:
        self.frames = len(frames)
        rows = {
            key: [np.asarray(field(s, key, "detection") or [], np.float64).reshape(-1, 6) for s in frames]
            for key in ("truth", "found")
        }
        counted = [part[part[:, 5] == 0, 0] for part in rows["truth"]]
        kinds = np.unique(np.concatenate([np.zeros(0), *counted])).astype(int).tolist()
        # What is found of a class without truth counts nowhere: neither COCO nor Ultralytics averages over it.
        self.kinds = {kind: self._read(kind, rows["truth"], rows["found"]) for kind in kinds}

    def _read(self, kind: int, truths: list[NDArray[np.float64]], founds: list[NDArray[np.float64]]) -> _Kind:
        frame, score, right, ignored = [], [], [], []
        there = np.zeros(self.frames)
        for number, (truth, found) in enumerate(zip(truths, founds, strict=True)):
            true, guess = truth[truth[:, 0] == kind], found[found[:, 0] == kind]
            guess = guess[np.argsort(-guess[:, 5], kind="stable")[:MOST_BOXES]]
            there[number] = (true[:, 5] == 0).sum()
            matched, passed = match(true[:, 1:5], true[:, 5] != 0, guess[:, 1:5])
            frame.append(np.full(len(guess), number))
            score.append(guess[:, 5])
            right.append(matched)
            ignored.append(passed)
        scores = np.concatenate(score)
        order = np.argsort(-scores, kind="stable")
        return _Kind(
            np.concatenate(frame)[order],
            scores[order],
            np.concatenate(right, 1)[:, order],
            np.concatenate(ignored, 1)[:, order],
            there,
        )

    def scores(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return each score, (resamples,); nan where no truth is in a resample."""
        check_weights(self.frames, weights)
        longest = max((len(kind.frame) for kind in self.kinds.values()), default=0)
        step = max(1, _AT_ONCE // max(longest, len(CONFIDENCES)))
        parts = [self._part(weights[at : at + step]) for at in range(0, len(weights), step)]
        return {key: np.concatenate([part[key] for part in parts]) for key in _KEYS}

    def _part(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        resamples = len(weights)
        precise = np.full((resamples, len(OVERLAPS), max(1, len(self.kinds))), np.nan)
        curves = np.zeros((3, resamples, len(CONFIDENCES)))
        present = np.zeros(resamples)
        for column, kind in enumerate(self.kinds.values()):
            there = weights @ kind.there
            counted = weights[:, kind.frame]
            precise[:, :, column] = _average_precision(kind, counted, there)
            curves += np.where((there > 0)[:, None], _confidence_curves(kind, counted, there), 0.0)
            present += there > 0
        means = mean_known(precise)
        p, r = _at_best_f1(curves, present)
        return {
            "map50_95": means.mean(1),
            "map50": means[:, 0],
            "map75": means[:, 5],
            "precision": p,
            "recall": r,
        }


def match(
    truth: NDArray[np.float64], ignored: NDArray[np.bool_], found: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Match boxes of one class in one frame as COCO does, at each of OVERLAPS.

    *truth* (G, 4) and *found* (D, 4; highest score first) are left, top, right, bottom. Each found box takes the
    free true box that it overlaps most; failing that it may lie in an *ignored* region, which is never used up.
    Return two (overlaps, D): matched with truth that counts; in an ignored region.
    """
    right = np.zeros((len(OVERLAPS), len(found)), bool)
    passed = np.zeros_like(right)
    overlap = _overlaps(found, truth, ignored)
    real, regions = overlap[:, ~ignored], overlap[:, ignored]
    free = np.ones((len(OVERLAPS), real.shape[1]), bool)
    for number in np.flatnonzero((overlap >= OVERLAPS[0]).any(1)):
        possible = free & (real[number] >= OVERLAPS[:, None])
        hit = possible.any(1)
        if hit.any():
            value = np.where(possible, real[number], -1.0)
            last_best = real.shape[1] - 1 - value[:, ::-1].argmax(1)  # of equals COCO takes the last
            free[hit, last_best[hit]] = False
        right[:, number] = hit
        passed[:, number] = ~hit & (regions[number] >= OVERLAPS[:, None]).any(1)
    return right, passed


def _overlaps(
    found: NDArray[np.float64], truth: NDArray[np.float64], ignored: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return intersection over union, (D, G); over an ignored region, over the found box alone."""
    sizes_f, sizes_t = found[:, 2:] - found[:, :2], truth[:, 2:] - truth[:, :2]
    # left + width instead of right: pycocotools holds boxes so, and an overlap on a threshold must round alike.
    ends = np.minimum((found[:, :2] + sizes_f)[:, None], (truth[:, :2] + sizes_t)[None])
    sides = (ends - np.maximum(found[:, None, :2], truth[None, :, :2])).clip(min=0.0)
    both = sides[..., 0] * sides[..., 1]
    area_f, area_t = sizes_f.prod(1)[:, None], sizes_t.prod(1)[None]
    return np.nan_to_num(ratio(both, np.where(ignored[None], area_f, area_f + area_t - both)))


def _average_precision(
    kind: _Kind, counted: NDArray[np.float64], there: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return AP, (resamples, overlaps): the mean over 101 recalls of the best precision at that recall or more.

    *counted* (resamples, D) are the weights of the found boxes, *there* (resamples,) the weight of the truth.
    Only right boxes are looked at: recall changes at no other, and precision is highest there.
    """
    averages = np.full((len(counted), len(OVERLAPS)), np.nan)
    some = there > 0
    before: bytes | None = None
    total = counted
    for number, (right, ignored) in enumerate(zip(kind.right, kind.ignored, strict=True)):
        if ignored.tobytes() != before:
            before, total = ignored.tobytes(), np.cumsum(np.where(ignored, 0.0, counted), 1)
        places = np.flatnonzero(right)
        hits = np.cumsum(counted[:, places], 1)
        precision = np.nan_to_num(ratio(hits, total[:, places]))
        best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        recall = np.nan_to_num(ratio(hits, there[:, None]))
        reached = np.searchsorted(RECALLS, recall.ravel(), side="right").reshape(recall.shape)
        steps = np.diff(reached, axis=1, prepend=0)
        averages[some, number] = ((best * steps).sum(1) / len(RECALLS))[some]
    return averages


def _confidence_curves(
    kind: _Kind, counted: NDArray[np.float64], there: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return F1, precision, recall at overlap 0.5, (3, resamples, CONFIDENCES), of what has that confidence or more.

    Where nothing has so much, precision is 1; where nothing was found at all, 0.
    """
    least = np.searchsorted(-kind.score, -CONFIDENCES, side="right")

    def summed(which: NDArray[np.bool_]) -> NDArray[np.float64]:
        sums = np.cumsum(np.where(which, counted, 0.0), 1)
        return np.concatenate([np.zeros((len(counted), 1)), sums], 1)

    hits, total = summed(kind.right[0]), summed(~kind.ignored[0])
    nothing = np.where(total[:, -1:] > 0, 1.0, 0.0)
    precision = ratio(hits, total)
    precision = np.where(np.isnan(precision), nothing, precision)
    recall = np.nan_to_num(ratio(hits, there[:, None]))
    f1 = np.nan_to_num(ratio(2.0 * precision * recall, precision + recall))
    return np.stack([f1, precision, recall])[:, :, least]


def _at_best_f1(
    curves: NDArray[np.float64], present: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision and recall, (resamples,), from *curves* summed over the *present* classes."""
    half = SMOOTHING // 2
    wide = np.pad(curves[0], ((0, 0), (half, half)), mode="edge")
    sums = np.cumsum(np.pad(wide, ((0, 0), (1, 0))), 1)
    smooth = sums[:, SMOOTHING:] - sums[:, :-SMOOTHING]
    # Sums that differ by rounding alone are one plateau: its lowest confidence is taken.
    best = (smooth >= smooth.max(1, keepdims=True) - 1e-9).argmax(1)
    rows = np.arange(len(best))
    return ratio(curves[1, rows, best], present), ratio(curves[2, rows, best], present)


def by_pycocotools(frames: Sequence[Stats]) -> Scores:
    """Return map50_95, map50, map75 of the frames, made by pycocotools' COCOeval: the check on this module."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image, stats in enumerate(frames):
        for key, rows in (("truth", truth), ("found", found)):
            for kind, left, top, right, bottom, last in stats[key] or ():
                size = (right - left, bottom - top)
                row = {
                    "id": len(rows) + 1,
                    "image_id": image,
                    "category_id": int(kind),
                    "bbox": [left, top, *size],
                }
                more = {"iscrowd": int(last)} if key == "truth" else {"score": last}
                rows.append({**row, "area": size[0] * size[1], **more})
    if not any(row["iscrowd"] == 0 for row in truth):
        return {"map50_95": None, "map50": None, "map75": None}
    kinds = sorted({row["category_id"] for row in (*truth, *found)})
    data = {
        "images": [{"id": image} for image in range(len(frames))],
        "annotations": truth,
        "categories": [{"id": kind} for kind in kinds],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it tells its progress on stdout, which is for results
        books = []
        for rows in (truth, found):
            book = COCO()
            book.dataset = {**data, "annotations": rows}
            book.createIndex()
            books.append(book)
        judge = COCOeval(*books, "bbox")
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, -1]

    def mean(part: NDArray[np.float64]) -> float | None:
        known = part[part > -1]
        return float(known.mean()) if known.size else None

    return {"map50_95": mean(precision), "map50": mean(precision[0]), "map75": mean(precision[5])}
