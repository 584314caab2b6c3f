"""Masks by any words: CLIPSeg (Lueddecke and Ecker 2022), as SGGIC finds its objects in the decoded picture.

FOLDER: CLIPSegForImageSegmentation and its processor, as CIDAS/clipseg-rd64-refined is published. The CLIP within it,
ViT-B/16, is the one that the paper measures by how well picture and text agree.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor
from transformers.utils import logging

from link.codecs.objects import ObjectText
from link.errors import ModelMissingError
from link.frame import Pixels
from link.models import pull_hint
from link.pretrained import BROKEN, first_line, load_settings, load_weights
from link.threads import one_thread
from receiver.masking import SoftMask

_LOGGING: Any = logging
_MODEL: Any = CLIPSegForImageSegmentation


class ClipSegFinder:
    """Finds things with the model in *folder* on *device*. Raise ModelMissingError where it is not there."""

    def __init__(self, folder: Path, device: "str | torch.device" = "cpu") -> None:
        _LOGGING.disable_progress_bar()
        if not folder.is_dir():
            raise ModelMissingError(
                f"{folder}: no such folder; a {_MODEL.__name__} was expected there{pull_hint(folder)}"
            )
        try:
            model = load_weights(_MODEL, folder, dtype=torch.float32)
            self._processor = load_settings(CLIPSegProcessor, folder)
        except ModelMissingError:
            raise
        except BROKEN as error:
            raise ModelMissingError(f"{folder}: no usable {_MODEL.__name__}: {first_line(error)}") from None
        self._model, self._device = model.to(device), device

    @one_thread()
    @torch.inference_mode()
    def find(self, pixels: Pixels, item: ObjectText) -> SoftMask | None:
        """See `receiver.masking.MaskFinder.find`: the logits' sigmoid, without a threshold, as in the paper's code."""
        logits: Tensor = self._model(**self._given(pixels, item.name)).logits
        shares = logits.sigmoid().view(1, 1, *logits.shape[-2:])
        size = (pixels.shape[0], pixels.shape[1])
        mask = torch.nn.functional.interpolate(shares, size, mode="bilinear")
        return np.asarray(mask[0, 0].float().cpu().numpy())

    @one_thread()
    @torch.inference_mode()
    def agree(self, pixels: Pixels, said: str) -> float:
        """Return the cosine of CLIP's embeddings of picture and text (eq. 2)."""
        given = self._given(pixels, said)
        picture = _vector(self._model.clip.get_image_features(pixel_values=given.pop("pixel_values")))
        text = _vector(self._model.clip.get_text_features(**given))
        return float(torch.nn.functional.cosine_similarity(picture, text)[0])

    def _given(self, pixels: Pixels, words: str) -> Any:
        return self._processor(
            text=[words], images=[pixels.copy()], padding=True, truncation=True, return_tensors="pt"
        ).to(self._device)


def _vector(features: Any) -> Tensor:
    """Return the embedding, (batch, features), of either form that transformers gives it in."""
    made: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return made
