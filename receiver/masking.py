"""Where a named thing is in a picture that arrived: soft masks, so that no mask needs to be sent (SGGIC, Section 3.1).

    decoded picture, what is said of an object -> share of each pixel that is the object's, 0 to 1

The paper's is CLIPSeg (`receiver.clipseg`), which takes any words. Here it is farlink's own segmentation models, asked
by name: they know the nouns of the closed grammar.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from link.analysis import analyst
from link.analysis.segmentation import SegmentationModel
from link.bitstream import grammar
from link.bitstream.grammar import SCENES, find_noun
from link.codecs.objects import ObjectText
from link.frame import Pixels
from receiver.folders import MASK_MODELS

SoftMask = NDArray[np.float32]
"""Shape (height, width) of a picture, 0 to 1."""

_SURELY = 0.99
"""The share of the places that are less surely the thing than what counts for finding it."""


class MaskFinder(Protocol):
    """Finds named things."""

    def find(self, pixels: Pixels, item: ObjectText) -> SoftMask | None:
        """Return where in *pixels* the thing is; None for one that cannot be looked for."""

    def agree(self, pixels: Pixels, said: str) -> float:
        """Return how well *pixels* and the text *said* agree, about 0 to 1."""


class ClassMaskFinder:
    """Finds what *models* have a class for, by scene."""

    def __init__(self, models: dict[str, SegmentationModel]) -> None:
        self._models = models
        self._last: tuple[Pixels, dict[str, NDArray[np.float32]]] | None = None

    @classmethod
    def shipped(cls, device: Any) -> "ClassMaskFinder":
        """Return a finder with the models that come with farlink. Raise ModelMissingError where one is not there."""
        return cls(
            {scene: SegmentationModel(analyst.place(name), device) for scene, name in MASK_MODELS.items()}
        )

    def find(self, pixels: Pixels, item: ObjectText) -> SoftMask | None:
        """See `MaskFinder.find`.

        What is said in the closed grammar is looked for in the scene that it names; free words in every scene that
        has a noun for them. Parts of a picture that are called by where they are (`top`) are there.
        """
        masks = []
        for scene in _scenes(item.prompt):
            noun = find_noun(item.name, scene)
            if noun is None:
                continue
            if scene in self._models:
                masks.append(self._shares(pixels, scene)[self._models[scene].names.index(noun)])
            elif len(SCENES[scene].nouns) > 1:
                masks.append(_part(list(SCENES[scene].nouns), noun, pixels.shape[:2]))
        return np.maximum.reduce(masks) if masks else None

    def agree(self, pixels: Pixels, said: str) -> float:
        """Return how surely the things that *said* names are seen, in the mean over them; 0 where it names none.

        In place of CLIP's similarity of picture and text, for which no weights come with farlink.
        """
        words = [word.strip(".,;:").lower() for word in said.split()]
        sure = [
            float(np.quantile(self._shares(pixels, scene)[self._models[scene].names.index(noun)], _SURELY))
            for scene in _scenes(said)
            if scene in self._models
            for noun in dict.fromkeys(filter(None, (find_noun(word, scene) for word in words)))
        ]
        return float(np.mean(sure)) if sure else 0.0

    def _shares(self, pixels: Pixels, scene: str) -> NDArray[np.float32]:
        """Return the share of each class, looked for once in a picture."""
        if self._last is None or not np.array_equal(self._last[0], pixels):
            self._last = pixels, {}
        kept = self._last[1]
        if scene not in kept:
            kept[scene] = self._models[scene].shares(pixels)
        return kept[scene]


def _scenes(said: str) -> list[str]:
    """Return the scene that a caption of the grammar names, of free words all."""
    try:
        return [grammar.parse(said).scene]
    except ValueError:
        return list(SCENES)


def _part(nouns: list[str], noun: str, shape: tuple[int, ...]) -> SoftMask:
    height, width = shape
    rows = np.arange(height) * len(nouns) // height == nouns.index(noun)
    return np.repeat(rows[:, None], width, 1).astype(np.float32)
