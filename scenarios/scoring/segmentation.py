"""Semantic segmentation: aAcc, mIoU, mAcc from a confusion matrix of whole numbers.

Counts are pooled over all frames before anything is divided, as in the PASCAL VOC and Cityscapes benchmarks
(Everingham et al. 2010; Cordts et al. 2016) and in MMSegmentation, whose names the scores carry.

A decoder that draws may draw what is not there. `invented` is the share of the labelled pixels of the pictures shown
where the model sees a class that neither the truth has there nor the model itself in the original: what it mistakes in
originals, too, is the model's fault and does not count. `invented_rare` is the part of it that are rare classes, of
less than `RARE` of the labelled pixels of the whole set, or of none: small things, which an operator acts on.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from link.records import Recorded
from scenarios.scoring.stats import (
    Scores,
    Stats,
    Weights,
    check_sizes,
    check_weights,
    field,
    mean_known,
    plain,
    ratio,
)

UNKNOWN = 255
"""In truth: not labelled, left out. In findings: no answer, never right."""
RARE = 0.02
"""The share of a set's labelled pixels below which a class is rare."""

_Count = Annotated[int, Field(ge=0, le=1 << 40)]


class SegmentationStats(Recorded):
    """What `Segmentation.frame` keeps, as it stands in a table."""

    classes: Annotated[int, Field(ge=1, le=UNKNOWN)]
    cells: list[Annotated[list[_Count], Field(min_length=3, max_length=3)]]
    invented: list[Annotated[list[_Count], Field(min_length=2, max_length=2)]] | None = None

    @model_validator(mode="after")
    def _known_classes(self) -> "SegmentationStats":
        if any(true >= self.classes or found > self.classes for true, found, _ in self.cells):
            raise ValueError(f"a pair of classes beyond the {self.classes}")
        if any(kind >= self.classes for kind, _ in self.invented or ()):
            raise ValueError(f"an invented class beyond the {self.classes}")
        return self


class Segmentation:
    """Scores of label maps. What a frame keeps: its classes, and [true, found, pixels] for each pair that occurs.

    Where it is known what the model finds in the original, `invented` too: [found, pixels] of each class that is not
    there.
    """

    name = "segmentation"
    form = SegmentationStats
    primary = "miou"
    beside = ("invented", "invented_rare")
    higher_is_better: Mapping[str, bool] = MappingProxyType(
        {"miou": True, "aacc": True, "macc": True, "invented": False, "invented_rare": False}
    )
    labels: Mapping[str, str] = MappingProxyType(
        {
            "miou": "mIoU",
            "macc": "mAcc",
            "aacc": "aAcc",
            "invented": "invented",
            "invented_rare": "invented (rare classes)",
        }
    )

    def frame(
        self,
        truth: NDArray[np.uint8],
        found: NDArray[np.uint8] | None,
        *,
        classes: int,
        original: NDArray[np.uint8] | None = None,
    ) -> Stats:
        """Count the pixels of one frame.

        *truth* (H, W) holds 0 to classes - 1, or 255 where not labelled; *found*, of the same size, likewise, with
        255 where there is no answer. None: nothing was shown, so no pixel has an answer. *original* is what the same
        model finds in the picture as it was; without it, or with nothing shown, what was invented is not known.
        Raise ValueError for maps of different sizes and for other numbers.
        """
        if not 1 <= classes <= UNKNOWN:
            raise ValueError(f"{classes} classes: 1 to {UNKNOWN} expected")
        _check_labels("truth", truth, classes)
        shown = found is not None
        if found is None:
            found = np.full_like(truth, UNKNOWN)
        check_sizes("a label map", truth, found)
        _check_labels("findings", found, classes)
        known = truth != UNKNOWN
        answers = np.minimum(found[known].astype(np.int64), classes)
        pairs = truth[known].astype(np.int64) * (classes + 1) + answers
        counts = np.bincount(pairs, minlength=classes * (classes + 1))
        cells = [[*divmod(int(at), classes + 1), int(counts[at])] for at in np.flatnonzero(counts)]
        stats: Stats = {"classes": classes, "cells": cells}
        if shown and original is not None:
            check_sizes("a label map of the original", truth, original)
            _check_labels("findings in the original", original, classes)
            nowhere = known & (found != UNKNOWN) & (found != truth) & (found != original)
            invented = np.bincount(found[nowhere], minlength=classes)
            stats["invented"] = [[int(at), int(invented[at])] for at in np.flatnonzero(invented)]
        return stats

    def pool(self, frames: Sequence[Stats]) -> "SegmentationPool":
        """Read the frames. Raise ValueError where they do not have the same classes."""
        return SegmentationPool(frames)

    def scores(self, frames: Sequence[Stats]) -> Scores:
        """Return aacc, miou, macc, invented, invented_rare of all frames together, 0 to 1.

        miou is the mean over the classes that occur in truth or in findings, macc over those in truth: a class
        that is nowhere is left out. What was invented is of the frames that know it.
        """
        return plain(self.pool(frames))

    def counts(self, frames: Sequence[Stats]) -> dict[str, int]:
        """Return how many frames have a labelled pixel, and in how many of them something was answered."""
        return self.pool(frames).counts()

    def per_class(self, frames: Sequence[Stats]) -> dict[str, list[float | None]]:
        """Return `iou` and `accuracy` of each class; None for one that does not occur."""
        pool = self.pool(frames)
        iou, accuracy = pool.by_class(np.ones((1, pool.frames)))
        rows = {"iou": iou[0], "accuracy": accuracy[0]}
        return {key: [None if np.isnan(x) else float(x) for x in row] for key, row in rows.items()}


class SegmentationPool:
    """The confusion matrices of the frames: (frames, K, K + 1), true class by found, the last column no answer."""

    def __init__(self, frames: Sequence[Stats]) -> None:
        kinds = sorted({int(field(stats, "classes", "segmentation")) for stats in frames})
        if len(kinds) > 1:
            raise ValueError(f"frames of {kinds[0]} and of {kinds[1]} classes cannot be scored together")
        self.frames = len(frames)
        self.classes = kinds[0] if kinds else 1
        self.confusion = np.zeros((self.frames, self.classes, self.classes + 1))
        self.invented = np.zeros((self.frames, self.classes))
        """(frames, K): pixels at which a class was found that is not there."""
        self.compared = np.zeros(self.frames, bool)
        """(frames,): whether that is known."""
        for number, stats in enumerate(frames):
            for true, found, pixels in field(stats, "cells", "segmentation"):
                self.confusion[number, true, found] = pixels
            if (invented := stats.get("invented")) is not None:
                self.compared[number] = True
                for kind, pixels in invented:
                    self.invented[number, kind] = pixels

    def counts(self) -> dict[str, int]:
        """Return how many frames count, and how many of them hold an answer."""
        known = self.confusion.sum((1, 2)) > 0
        answered = self.confusion[:, :, : self.classes].sum((1, 2)) > 0
        return {"frames": int(known.sum()), "shown": int((known & answered).sum())}

    def _pooled(self, weights: Weights) -> NDArray[np.float64]:
        check_weights(self.frames, weights)
        flat = weights @ self.confusion.reshape(self.frames, self.classes * (self.classes + 1))
        return flat.reshape(len(weights), self.classes, self.classes + 1)

    def by_class(self, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the IoU and the accuracy of each class, (resamples, classes); nan where it does not occur."""
        return _by_class(self._pooled(weights))

    def scores(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return miou, aacc, macc, invented, invented_rare, each (resamples,)."""
        pooled = self._pooled(weights)
        iou, accuracy = _by_class(pooled)
        right = np.einsum("rkk->r", pooled[:, :, : self.classes])
        invented = weights @ self.invented
        labelled = weights @ (self.confusion.sum((1, 2)) * self.compared)
        return {
            "miou": mean_known(iou),
            "aacc": ratio(right, pooled.sum((1, 2))),
            "macc": mean_known(accuracy),
            "invented": ratio(invented.sum(1), labelled),
            "invented_rare": ratio(invented[:, self.rare()].sum(1), labelled),
        }

    def rare(self) -> NDArray[np.bool_]:
        """Return which classes are rare in the truth of all frames, (K,): of the set, whatever a resample has."""
        pixels = self.confusion.sum((0, 2))
        return np.asarray(pixels < RARE * pixels.sum())


def _by_class(pooled: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    answers = pooled[:, :, :-1]
    right = np.einsum("rkk->rk", answers)
    true, found = pooled.sum(2), answers.sum(1)
    return ratio(right, true + found - right), ratio(right, true)


def _check_labels(what: str, labels: NDArray[np.uint8], classes: int) -> None:
    wrong = labels[(labels >= classes) & (labels != UNKNOWN)]
    if wrong.size:
        raise ValueError(
            f"{what}: {wrong.size} pixels have the label {int(wrong.max())}; "
            f"0 to {classes - 1} expected, or {UNKNOWN} for none"
        )
