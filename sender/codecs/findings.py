"""Findings, sending end: the analysis models look at the frame on board, and what they find is made to fit.

Boxes first, since each is a few bytes, then depth, then the class map on the finest grid that the rest has room for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from link.analysis import analyst
from link.analysis.analyst import AnalysisModel
from link.analysis.findings import DepthMap, Detections, Found, Segments
from link.codecs import findings
from link.codecs.findings import BOXES, LOG_STEPS, LONG_SIDES, FindingsForm
from link.config import Codec, Session, Task
from link.device import pick_device
from link.errors import BudgetError, PartialError
from link.frame import Frame, Payload
from link.pretrained import first_line

SHARES: dict[Task, int] = {"detection": 3, "depth": 2, "segmentation": 5}
"""How the budget is divided among the tasks that are asked for; what one leaves goes on to the next."""
LEAST_SCORE = 0.05
"""Boxes that are less sure are not sent."""
_FINEST_DEPTH = LONG_SIDES.index(96)
_BEYOND = 1 << 20

_LEAST_BYTES = 4


class FindingsEncoder:
    """Encodes what *models* find in a frame, within *frame_bytes* (None: as finely as can be)."""

    def __init__(self, own: FindingsForm, models: dict[Task, AnalysisModel], frame_bytes: int | None) -> None:
        self._own, self._models = own, models
        self._budget = frame_bytes or _BEYOND

    @classmethod
    def from_session(cls, session: Session) -> "FindingsEncoder":
        """Return the encoder that *session* asks for.

        Raise UsageError where it names no task, ModelMissingError or UsageError where a model cannot be loaded.
        """
        own = findings.form_of(session)
        device = pick_device(session.profile.device)
        loaded = {task: analyst.load(item, device) for task, item in own.models.items()}
        return cls(own, loaded, session.codec.frame_bytes)

    def adjust(self, codec: Codec) -> None:
        """See `sender.encoder.SteeredEncoder.adjust`; the bytes of a frame are all that can change."""
        self._budget = codec.frame_bytes or _BEYOND

    def encode(self, frame: Frame) -> Payload:
        """Return the sections of *frame*. Raise BudgetError where none fits, PartialError where a model fails."""
        found = {task: self._look(model, task, frame) for task, model in self._models.items()}
        return Payload(tuple(self._fit(found, frame)))

    def _look(self, model: AnalysisModel, task: Task, frame: Frame) -> Found:
        try:
            return analyst.check_shape(model.find(frame.pixels), frame.pixels.shape[:2])
        except Exception as error:  # a network's ways to fail on a picture are torch's, not ours
            line = first_line(error)
            raise PartialError(
                f"frame {frame.number} ({frame.name}): the {task} model failed: {line}"
            ) from None

    def _fit(self, found: dict[Task, Found], frame: Frame) -> list[bytes]:
        left, parts = self._budget, sum(SHARES[task] for task in found)
        boxes: Sequence[bytes] = ()
        depth = classes = b""
        if isinstance(things := found.get("detection"), Detections):
            boxes = self._boxes(things, left * SHARES["detection"] // parts)
            parts -= SHARES["detection"]
            left -= sum(map(len, boxes))
        if isinstance(far := found.get("depth"), DepthMap):
            depth = fit_depth(far, left * SHARES["depth"] // parts, self._own.size)
            left -= len(depth)
        if isinstance(segments := found.get("segmentation"), Segments):
            classes = fit_classes(segments, left, self._own.size)
            left -= len(classes)
            if isinstance(far, DepthMap) and left > len(depth) // 4:  # a grid is seldom as large as its room
                depth = fit_depth(far, left + len(depth), self._own.size) or depth
        if not (classes or depth or boxes):
            raise BudgetError(
                f"codec findings: frame_bytes {self._budget} is too small for frame {frame.number} ({frame.name}): "
                f"about {_LEAST_BYTES} bytes are needed"
            )
        return [classes, depth, *boxes] if boxes or depth else [classes]

    def _boxes(self, things: Detections, budget: int) -> list[bytes]:
        sure = things.scores >= LEAST_SCORE
        kept = Detections(things.xyxy[sure], things.kinds[sure], things.scores[sure], things.names)
        firsts = range(0, max(1, len(kept.kinds)), BOXES)
        fine = [findings.write_boxes(kept, self._own.size, first, fine=True) for first in firsts]
        if sum(map(len, fine)) <= budget:
            return fine
        made: list[bytes] = []
        for first in firsts:
            for most in range(BOXES, 0, -1):
                data = findings.write_boxes(kept, self._own.size, first, fine=False, most=most)
                if len(data) <= budget:
                    made.append(data)
                    budget -= len(data)
                    break
            if not made or most < BOXES:
                break
        return made


def fit_classes(found: Segments, budget: int, size: tuple[int, int]) -> bytes:
    """Return the section on the finest grid that *budget* has room for; no bytes where none fits."""
    thin, best = Segments(_thin(found.labels), found.names), b""
    for number in _grids(size):
        data = findings.write_classes(thin, size, number, ("contexts",))
        if len(data) > budget:
            break
        best = data
    return min(best, findings.write_classes(thin, size, best[0]), key=len) if best else best


def fit_depth(found: DepthMap, budget: int, size: tuple[int, int]) -> bytes:
    """Return the section of depth that *budget* has room for which is nearest to *found*; no bytes where none fits."""
    thin = DepthMap(_thin(found.values), found.metric)
    height, width = thin.values.shape
    best, worst = b"", np.inf
    for number in _grids(size):
        fitted = False
        for step in range(len(LOG_STEPS)):
            data = findings.write_depth(thin, size, number, step)
            if len(data) > budget:
                break
            fitted = True
            error = _distance(thin, findings.read_depth(data, (width, height), size))
            if error < worst:
                best, worst = data, error
        if not fitted or number == _FINEST_DEPTH:
            break
    return best


def _distance(found: DepthMap, coded: DepthMap) -> float:
    """Return how far *coded* is off, the mean over pixels: of its logarithm, or of the share of the nearest."""
    if found.metric:
        near = np.maximum(found.values, findings.NEAREST_M)
        return float(np.abs(np.log(coded.values / near)).mean())
    return float(np.abs(coded.values - found.values / max(float(found.values.max()), 1e-9)).mean())


def _grids(size: tuple[int, int]) -> range:
    """Return the grids whose cells are at least a pixel, and the first that would be finer."""
    return range(min(len(LONG_SIDES), sum(side < max(size) for side in LONG_SIDES) + 1))


def _thin(values: NDArray[Any]) -> NDArray[Any]:
    """Return every n-th pixel of *values*, about as many as the finest grid has cells: a search looks at them often."""
    every = max(1, max(values.shape) // LONG_SIDES[-1])
    return values[::every, ::every]
