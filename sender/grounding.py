"""Where a named object is in a picture, or that it is not there: a detector confirms it, a segmenter draws its mask.

    name, pixels --> detector: boxes of that name, none: the name was imagined --> segmenter: what in them is the object

As in SEDIC (arXiv 2503.00399, Section 3.1), whose detector is Grounding DINO and whose segmenter is SAM
(`sender.grounding_dino`). Here both are farlink's own, which know the nouns of the closed grammar alone.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from link.analysis.analyst import AnalysisModel
from link.analysis.findings import Detections
from link.bitstream.grammar import SCENES, find_noun
from sender.captioner import CLASSES, LEAST_SHARE, Finder, Labels, Pixels

Mask = NDArray[np.bool_]
"""Shape (height, width) of a picture."""

LEAST_SCORE = 0.3
"""Of a box; Grounding DINO's usual threshold is the same."""


class Grounder(Protocol):
    """Finds named objects."""

    def find(self, pixels: Pixels, name: str) -> Mask | None:
        """Return the pixels of what is called *name*, None where there is no such thing in the picture."""


class RememberingFinder:
    """A segmentation model that looks at the same picture once, however often it is asked."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._last: tuple[Pixels, Labels] | None = None

    def segment(self, pixels: Pixels) -> Labels:
        """Return the class numbers of *pixels*."""
        if self._last is None or self._last[0] is not pixels:
            self._last = pixels, self._finder.segment(pixels)
        return self._last[1]


class ClassGrounder:
    """Finds what *finder* has a class for; where *detector* knows the class as well, only what its boxes confirm."""

    def __init__(self, finder: Finder, detector: AnalysisModel | None = None) -> None:
        self._finder, self._detector = finder, detector
        self._boxes: tuple[Pixels, Detections] | None = None

    def find(self, pixels: Pixels, name: str) -> Mask | None:
        """Return the pixels of what is called *name*, None for a name that no class has or that is not there.

        The parts of a picture that the grammar names but no model sees (`top`, `ground`) are where they say.
        """
        labels = self._finder.segment(pixels)
        scene = main_scene(labels)
        noun = find_noun(name, scene)
        if noun is None:
            return None
        nouns = list(SCENES[scene].nouns)
        if not SCENES[scene].sized:
            height = labels.shape[0]
            rows = np.arange(height) * len(nouns) // height
            return np.broadcast_to((rows == nouns.index(noun))[:, None], labels.shape).copy()
        mask: Mask = labels == CLASSES[scene][nouns.index(noun)]
        if scene == "planet" and (confirmed := self._confirmed(pixels, noun)) is not None:
            mask &= confirmed
        return mask if mask.mean() >= LEAST_SHARE else None

    def _confirmed(self, pixels: Pixels, noun: str) -> Mask | None:
        """Return the inside of the boxes of *noun*, None where there is no detector that knows it."""
        if self._detector is None:
            return None
        if self._boxes is None or self._boxes[0] is not pixels:
            found = self._detector.find(pixels)
            if not isinstance(found, Detections):
                return None
            self._boxes = pixels, found
        things = self._boxes[1]
        if noun not in things.names:
            return None
        inside = np.zeros(pixels.shape[:2], np.bool_)
        sure = (things.kinds == things.names.index(noun)) & (things.scores >= LEAST_SCORE)
        for left, top, right, bottom in things.xyxy[sure].tolist():
            inside[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
        return inside


def main_scene(labels: Labels) -> str:
    """Return the scene that most pixels are of, as `sender.captioner.describe` names it."""
    counts = np.bincount(labels.ravel(), minlength=256)
    return max(CLASSES, key=lambda scene: (int(counts[CLASSES[scene]].sum()), scene == "picture"))
