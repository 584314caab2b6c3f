"""What one frame's findings are beside what is true of it: the numbers that a task keeps of the frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from link.analysis.findings import DepthMap, Detections, Found, Segments
from scenarios.scoring.boxes import Boxes
from scenarios.scoring.stats import Stats
from scenarios.scoring.tasks import TASKS
from scenarios.truth.names import NONE, match_classes
from scenarios.truth.truth import Truth, Truths

SURE = 0.5
"""Score from which on a box that was found in the sent picture counts as there, for `original`."""
MAX_DEPTH_M: Mapping[str, float] = {"indoor": 20.0}
"""What lies further is left out, by the domain of the source; elsewhere KITTI's limit."""
FARTHEST_M = 80.0


def true_of(task: str, truths: Truths, truth: Truth) -> Found | None:
    """Return what *truth* says for *task*, in the form of findings; None where it says nothing."""
    if task == "segmentation" and truth.labels is not None and truths.label_names is not None:
        return Segments(truth.labels, truths.label_names)
    if task == "depth" and truth.depth_m is not None:
        return DepthMap(truth.depth_m, True)
    if task == "detection" and truth.boxes is not None and truths.box_names is not None:
        boxes = truth.boxes
        return TrueBoxes(boxes.xyxy, boxes.kinds, boxes.scores, truths.box_names, boxes.ignored)
    return None


@dataclass(frozen=True)
class TrueBoxes(Detections):
    """Boxes of a truth, some of which mark regions where findings are neither right nor wrong."""

    ignored: NDArray[np.bool_]
    """(things,)."""


def stats_of(
    task: str,
    true: Found,
    found: Found | None,
    domain: str,
    *,
    of_model: bool = False,
    original: Found | None = None,
) -> Stats:
    """Return the numbers of one frame of *domain* for *task*; *found* None: nothing was shown, or found.

    *of_model*: *true* is itself a model's finding. *original* is what the model found in the picture as it was sent,
    for what is made of both. Raise ValueError where they do not belong together.
    """
    if task == "segmentation":
        return _segmentation(true, found, original)
    return _depth(true, found, domain) if task == "depth" else _detection(true, found, of_model)


def _depth(true: Found, found: Found | None, domain: str) -> Stats:
    assert isinstance(true, DepthMap) and isinstance(found, DepthMap | None)
    score = partial(TASKS["depth"].frame, max_depth_m=MAX_DEPTH_M.get(domain, FARTHEST_M))
    if not true.metric or (found is not None and not found.metric):
        metres = true.values if true.metric else _relative_depth(true)
        return score(metres, None if found is None else found.values, align="scale_shift")
    return score(true.values, None if found is None else found.values)


def _segmentation(true: Found, found: Found | None, original: Found | None) -> Stats:
    assert isinstance(true, Segments)
    assert isinstance(found, Segments | None) and isinstance(original, Segments | None)
    labels, before = (
        None if one is None else _meant(one.names, true.names)[one.labels] for one in (found, original)
    )
    return TASKS["segmentation"].frame(true.labels, labels, classes=len(true.names), original=before)


def _detection(true: Found, found: Found | None, of_model: bool) -> Stats:
    assert isinstance(true, Detections) and isinstance(found, Detections | None)
    there = np.ones(len(true.kinds), bool) if not of_model else true.scores >= SURE
    ignored = true.ignored if isinstance(true, TrueBoxes) else np.zeros(len(true.kinds), bool)
    boxes = Boxes.of(true.xyxy[there], true.kinds[there], None, ignored[there])
    if found is None:
        return TASKS["detection"].frame(boxes, None)
    kinds = _meant(found.names, true.names)[found.kinds]
    said = kinds != NONE
    return TASKS["detection"].frame(boxes, Boxes.of(found.xyxy[said], kinds[said], found.scores[said]))


def _meant(model: Sequence[str], truth: Sequence[str]) -> Any:
    if list(model) == list(truth):
        return np.arange(256, dtype=np.uint8)
    numbers = match_classes(model, truth)
    if (numbers == NONE).all():
        raise ValueError(
            f"the model names none of the truth's classes: it has {', '.join(model[:6])}, ..., "
            f"the truth {', '.join(truth[:6])}, ..."
        )
    return numbers


def _relative_depth(depth: DepthMap) -> Any:
    """Return depth in multiples of its median, of relative inverse depth; infinite where that is 0."""
    near = depth.values.astype(np.float64)
    positive = near[near > 0]
    middle = float(np.median(positive)) if positive.size else 1.0
    return np.divide(middle, near, out=np.full(near.shape, np.inf), where=near > 0).astype(np.float32)
