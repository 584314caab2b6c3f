"""The class of each pixel, by any semantic segmentation model in `save_pretrained` layout.

    pixels (H, W, 3) -> the model's own processor -> logits, or masks with classes -> (H, W) class numbers

UPerNet, SegFormer, DPT, ... give logits; Mask2Former (Cheng et al. 2022), MaskFormer and EoMT give masks with
classes, which their processor joins to one map.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING,
    MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)

from link.analysis import loading
from link.analysis.findings import MOST_CLASSES, Segments
from link.errors import UsageError
from link.frame import Pixels
from link.threads import one_thread

_LOGITS: Any = MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING
_MASKS: Any = MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING
MASKS = ("mask2former", "maskformer", "eomt")
"""Model types whose masks make a semantic map."""


class SegmentationModel:
    """Runs the model in *folder* on *device*. Raise ModelMissingError or UsageError where it cannot be loaded."""

    def __init__(self, folder: Path, device: str | torch.device = "cpu") -> None:
        masks = loading.settings(folder, "segmentation")["model_type"] in MASKS
        auto: Any = AutoModelForUniversalSegmentation if masks else AutoModelForSemanticSegmentation
        known = _MASKS if masks else _LOGITS
        model, self._processor = loading.load(folder, auto, "segmentation", known.keys())
        self._model = model.to(device)
        self._device = device
        self.names = loading.names(model.config)
        if len(self.names) > MOST_CLASSES:
            raise UsageError(f"{folder}: {len(self.names)} classes; at most {MOST_CLASSES} can be told apart")

    @one_thread()
    @torch.inference_mode()
    def find(self, pixels: Pixels) -> Segments:
        """Return the class of each pixel of *pixels*, shape (height, width, 3), at their size."""
        # a copy: torch warns of pictures that it may not write to
        given = self._processor(images=pixels.copy(), return_tensors="pt", input_data_format="channels_last")
        out = self._model(pixel_values=given["pixel_values"].to(self._device))
        size = [(pixels.shape[0], pixels.shape[1])]
        labels = self._processor.post_process_semantic_segmentation(out, target_sizes=size)[0]
        return Segments(labels.cpu().numpy().astype(np.uint8), self.names)

    @one_thread()
    @torch.inference_mode()
    def shares(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return how surely each pixel is of each class: (classes, height, width), 0 to 1, sums of 1.

        Of masks with classes their product counts, as in Mask2Former (Cheng et al. 2022).
        """
        given = self._processor(images=pixels.copy(), return_tensors="pt", input_data_format="channels_last")
        out = self._model(pixel_values=given["pixel_values"].to(self._device))
        if getattr(out, "logits", None) is not None:
            sure = out.logits.softmax(1)
        else:
            kinds = out.class_queries_logits.softmax(-1)[..., :-1]
            sure = torch.einsum("bqc,bqhw->bchw", kinds, out.masks_queries_logits.sigmoid())
        size = (pixels.shape[0], pixels.shape[1])
        sure = torch.nn.functional.interpolate(sure.float(), size, mode="bilinear")[0]
        return np.asarray((sure / sure.sum(0).clamp_min(1e-6)).cpu().numpy())
