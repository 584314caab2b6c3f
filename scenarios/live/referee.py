"""What is true of a frame, and what its findings are worth against that. A process of its own (`helper.py`).

    {camera, seed, name, found: {task: fields}} + PNG of each map      of one frame that the receiver's models looked at
    -> {scores: {miou, ...}, boxes} + PNG of the truth, as pages show it

A rendered world is drawn once more for its truth, which takes as long as the picture did: the page waits for none of
it, and frames that come meanwhile are left out.
"""

from typing import Any

import numpy as np

from link.analysis.findings import (
    FARTHEST_M,
    DepthMap,
    Detections,
    FindingError,
    Found,
    Record,
    Segments,
    read,
    write,
)
from link.config import Camera
from link.errors import FarlinkError
from scenarios.live.pictures import shown_depth
from scenarios.live.wire import serve
from scenarios.results.frame_stats import stats_of, true_of
from scenarios.scoring.tasks import TASKS
from scenarios.truth.truth import Truths, open_truth

_NICE = 15  # whoever draws pictures goes first
_MOST_BOXES = 100


class Referee:
    """Knows the truth of one source at a time."""

    def __init__(self) -> None:
        self._source: tuple[Any, int] | None = None
        self._truths: Truths | None = None

    def answer(self, task: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Return what the truth says of a frame; nothing where there is none, or none that can be read."""
        source = task["camera"], task["seed"]
        if source != self._source:
            self._source = source
            try:
                self._truths = open_truth(Camera.model_validate(task["camera"]), task["seed"])
            except (ValueError, FarlinkError):  # of another version, or not on this machine
                self._truths = None
        made: dict[str, Any] = {"scores": {}, "boxes": None, "kinds": []}
        pictures: list[bytes] = []
        if self._truths is None:
            return made, pictures
        try:
            truth = self._truths.of(task["name"])
        except FarlinkError:
            return made, pictures
        maps = iter(blobs)
        for name, fields in task["found"].items():
            data = None if "boxes" in fields else next(maps)
            true = true_of(name, self._truths, truth)
            if true is None or name not in TASKS:
                continue
            made["scores"] |= _scores(name, true, Record(fields, data), self._truths.domain)
            if isinstance(true, Detections):
                boxes = zip(true.xyxy.tolist(), true.kinds.tolist(), strict=True)
                made["boxes"] = [[*box, true.names[kind], 1.0] for box, kind in boxes][:_MOST_BOXES]
            else:
                made["kinds"].append(f"truth_{name}")
                pictures.append(_picture(true))
        return made, pictures


def _scores(task: str, true: Found, record: Record, domain: str) -> dict[str, float]:
    """Return the score that stands for *task*, by its name; nothing where the finding cannot be scored."""
    try:
        scores = TASKS[task].scores([stats_of(task, true, read(record), domain)])
    except (FindingError, ValueError):
        return {}
    value = scores[TASKS[task].primary]
    return {} if value is None else {TASKS[task].primary: value}


def _picture(true: Segments | DepthMap) -> bytes:
    if isinstance(true, DepthMap):  # what is not known is 0 in a record, and sky as far as can be
        depth = np.nan_to_num(true.values, nan=0.0, posinf=FARTHEST_M)
        return shown_depth(write(DepthMap(depth, true.metric)).picture or b"", metric=true.metric)
    return write(true).picture or b""


if __name__ == "__main__":
    serve(Referee().answer, _NICE)
