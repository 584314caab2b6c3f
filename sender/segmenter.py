"""The class of each pixel, by any semantic segmentation model in `save_pretrained` layout.

    pixels (H, W, 3) -> the model's own processor -> logits -> (H, W) -> its class names -> ours

The names in the model's `id2label` say which of our classes each of its classes is, so a model trained on
Cityscapes or the like can take the place of the tiny one. Only safetensors weights are read.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation
from transformers.utils import logging

from link.bitstream.grammar import SCENES, SYNONYMS
from link.errors import ModelMissingError, UsageError
from link.pretrained import BROKEN, first_line, load_settings, load_weights
from link.threads import one_thread
from sender.captioner import CLASSES, UNKNOWN, Labels, Pixels

_MODELS: Any = AutoModelForSemanticSegmentation
_PROCESSORS: Any = AutoImageProcessor
_LOGGING: Any = logging


class Segmenter:
    """Finds the classes of the captions in a picture.

    Raise ModelMissingError where *folder* holds no model or not all its weights, UsageError where it knows none of our
    classes.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        if not (folder / "config.json").is_file():
            raise ModelMissingError(f"{folder}: no segmentation model there")
        _LOGGING.disable_progress_bar()
        try:
            # shipped weights are in half precision, in which processors are slow
            model = load_weights(_MODELS, folder, dtype=torch.float32)
            self._processor = load_settings(_PROCESSORS, folder)
        except ModelMissingError:
            raise
        except BROKEN as error:
            raise UsageError(
                f"{folder}: cannot be read as a segmentation model: {first_line(error)}"
            ) from None
        self._model = model.to(device)
        self._device = device
        self._ours = torch.tensor(map_classes(self._model.config.id2label), dtype=torch.uint8)
        if bool((self._ours == UNKNOWN).all()):
            raise UsageError(f"{folder}: names none of the classes of the captions")

    @one_thread()
    @torch.inference_mode()
    def segment(self, pixels: Pixels) -> Labels:
        """Return the class of each pixel, shape (height, width): a number of `CLASSES`, or unknown."""
        # a copy: torch warns of pictures that it may not write to
        given = self._processor(images=pixels.copy(), return_tensors="pt")["pixel_values"].to(self._device)
        logits = self._model(pixel_values=given).logits.float()
        if logits.shape[2:] != given.shape[2:]:
            logits = torch.nn.functional.interpolate(logits, given.shape[2:], mode="bilinear")
        classes = self._ours[logits[0].argmax(0).cpu()].numpy()
        height, width = pixels.shape[:2]
        rows = np.arange(height) * classes.shape[0] // height
        columns = np.arange(width) * classes.shape[1] // width
        return np.asarray(classes[rows[:, None], columns], np.uint8)


def full_name(scene: str, noun: str) -> str:
    """Return what a segmentation model calls *noun* of *scene*: a sky is not always a street's."""
    if not SCENES[scene].sized:
        return SCENES[scene].words
    return noun if scene == "street" else f"{SCENES[scene].words} {noun}"


def map_classes(names: dict[int, str]) -> list[int]:
    """Return our class number for each of a model's classes, `UNKNOWN` for those that we have no word for."""
    known: dict[str, int] = {}
    for scene, numbers in CLASSES.items():
        nouns = SCENES[scene].nouns if SCENES[scene].sized else [""]
        known |= {full_name(scene, noun): number for noun, number in zip(nouns, numbers, strict=True)}
    words = [names[number].lower() for number in sorted(names)]
    return [known.get(SYNONYMS.get(word, word), UNKNOWN) for word in words]
