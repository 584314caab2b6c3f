"""Findings, receiving end: nothing is looked at, since what was found is what came; what is shown is drawn from it."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from link.analysis.findings import DepthMap, Detections, Found, Segments, colours, write
from link.codecs import findings
from link.codecs.findings import FindingsForm
from link.config import Session, Task
from link.frame import Payload, Pixels

_BARE = (52, 58, 64)
_SURE = 0.3
"""Boxes that are less sure are not drawn."""


class FindingsDecoder:
    """Draws what arrived of the findings: classes in colour, lighter where it is near, boxes upon them."""

    def __init__(self, own: FindingsForm) -> None:
        self._own = own

    @classmethod
    def from_session(cls, session: Session) -> "FindingsDecoder":
        """Return the decoder of *session*. Raise UsageError, ModelMissingError as `findings.form_of` does."""
        return cls(findings.form_of(session))

    def decode(self, payload: Payload) -> Pixels | None:
        """Return the drawing, None where no finding arrived."""
        found = findings.read(payload, self._own)
        return draw(found, self._own.size) if found else None


class FindingsReader:
    """Gives what arrived in place of what models would find in a picture."""

    def __init__(self, own: FindingsForm) -> None:
        self._own = own
        self._tasks = set(own.models)

    @classmethod
    def from_session(cls, session: Session) -> "FindingsReader":
        """Return the reader of *session*. Raise UsageError, ModelMissingError as `findings.form_of` does."""
        return cls(findings.form_of(session))

    def adjust(self, session: Session) -> None:
        """Give the findings of `session.analysis` alone, of those that are sent."""
        self._tasks = set(session.analysis)

    def find(self, payload: Payload) -> list[tuple[str, dict[str, Any], bytes | None]]:
        """Return (kind, fields, PNG) for each task: `found`, or `not_found` where nothing of it arrived."""
        found = findings.read(payload, self._own)
        seen: list[tuple[str, dict[str, Any], bytes | None]] = []
        for task, model in self._own.models.items():
            if task not in self._tasks:
                continue
            about = {"task": task, "model": model.name, "stamp": model.stamp}
            if task in found:
                record = write(found[task])
                seen.append(("found", {**about, **record.fields}, record.picture))
            else:
                reason = "nothing of it was sent within the budget, or it was lost"
                seen.append(("not_found", {**about, "reason": reason}, None))
        return seen


def draw(found: dict[Task, Found], size: tuple[int, int]) -> Pixels:
    """Return *found* as a picture of *size* (width, height)."""
    width, height = size
    canvas = np.full((height, width, 3), _BARE, np.float64)
    segments, depth, things = (found.get(task) for task in ("segmentation", "depth", "detection"))
    if isinstance(segments, Segments):
        canvas = colours(segments.names)[segments.labels].astype(np.float64)
    if isinstance(depth, DepthMap):
        canvas *= 0.55 + 0.65 * _nearness(depth)[..., None]
    picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    if isinstance(things, Detections):
        pen, paint = ImageDraw.Draw(picture), colours(things.names)
        for box, kind, score in zip(
            things.xyxy.tolist(), things.kinds.tolist(), things.scores.tolist(), strict=True
        ):
            if score >= _SURE and box[2] > box[0] and box[3] > box[1]:
                pen.rectangle(box, outline=(255, 255, 255), width=2)
                pen.rectangle([box[0] + 1, box[1] + 1, max(box[0] + 1, box[2] - 1), max(box[1] + 1, box[3] - 1)],
                              outline=tuple(int(value) for value in paint[kind]))  # fmt: skip
    return np.array(picture, np.uint8)


def _nearness(depth: DepthMap) -> Any:
    """Return 1 where it is nearest, 0 where it is farthest."""
    values = depth.values.astype(np.float64)
    near = -np.log(np.maximum(values, findings.NEAREST_M)) if depth.metric else values
    span = float(near.max() - near.min())
    return (near - near.min()) / span if span > 0 else np.full(near.shape, 0.5)
