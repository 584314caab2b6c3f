"""Masks of things of any name: Grounding DINO finds the box, SAM draws the mask in it (SEDIC, arXiv 2503.00399).

FOLDER/
  detector/   GroundingDinoForObjectDetection (Liu et al. 2023), its processor and tokenizer
  masker/     SamModel (Kirillov et al. 2023) and its processor
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoProcessor,
    GroundingDinoForObjectDetection,
    SamModel,
    SamProcessor,
)
from transformers.utils import logging

from link.errors import ModelMissingError
from link.models import pull_hint
from link.pretrained import BROKEN, first_line, load_settings, load_weights
from link.threads import one_thread
from sender.captioner import LEAST_SHARE, Pixels
from sender.grounding import LEAST_SCORE, Mask

TEXT_SCORE = 0.25
"""Of a word in a box; with `LEAST_SCORE` the thresholds of SEDIC's public code."""

_LOGGING: Any = logging


class DinoGrounder:
    """Finds things with the models in *folder* on *device*. Raise ModelMissingError where one is not there."""

    def __init__(self, folder: Path, device: "str | torch.device" = "cpu") -> None:
        _LOGGING.disable_progress_bar()
        self._detector, self._words = _load(
            GroundingDinoForObjectDetection, AutoProcessor, folder / "detector"
        )
        self._masker, self._points = _load(SamModel, SamProcessor, folder / "masker")
        self._device = device
        for model in (self._detector, self._masker):
            model.to(device)

    @one_thread()
    @torch.inference_mode()
    def find(self, pixels: Pixels, name: str) -> Mask | None:
        """Return the pixels of what is called *name*, None where the detector sees no such thing.

        Of several boxes the surest one counts, and of SAM's three masks the one that it thinks best.
        """
        box = self._box(pixels, name)
        if box is None:
            return None
        given = self._points(images=pixels.copy(), input_boxes=[[box]], return_tensors="pt").to(self._device)
        sizes = given.pop("original_sizes").cpu(), given.pop("reshaped_input_sizes").cpu()
        out = self._masker(**given, multimask_output=True)
        best = int(out.iou_scores[0, 0].argmax())
        masks = self._points.image_processor.post_process_masks(out.pred_masks.cpu(), *sizes)
        mask: Mask = np.asarray(masks[0][0, best].numpy(), np.bool_)
        return mask if mask.mean() >= LEAST_SHARE else None

    def _box(self, pixels: Pixels, name: str) -> list[float] | None:
        """Return the surest box of *name*: left, top, right, bottom in pixels."""
        # the form that it was trained on: lower case, a full stop after each phrase
        given = self._words(images=pixels.copy(), text=f"{name.lower()}.", return_tensors="pt").to(
            self._device
        )
        out = self._detector(**given)
        found = self._words.post_process_grounded_object_detection(
            out, given["input_ids"], threshold=LEAST_SCORE, text_threshold=TEXT_SCORE,
            target_sizes=[pixels.shape[:2]],
        )[0]  # fmt: skip
        if not len(found["scores"]):
            return None
        best = int(found["scores"].argmax())
        return [float(edge) for edge in found["boxes"][best]]


def _load(kind: Any, processor: Any, folder: Path) -> tuple[Any, Any]:
    if not folder.is_dir():
        raise ModelMissingError(
            f"{folder}: no such folder; a {kind.__name__} was expected there{pull_hint(folder.parent)}"
        )
    try:
        return load_weights(kind, folder, dtype=torch.float32), load_settings(processor, folder)
    except ModelMissingError:
        raise
    except BROKEN as error:
        raise ModelMissingError(f"{folder}: no usable {kind.__name__}: {first_line(error)}") from None
