"""CLIP's view of pictures: how alike two of them are in content, and how good one looks.

Similarity is the cosine of the pictures' embeddings (Radford et al. 2021), as SEDIC and MISC report it. Quality is
CLIP-IQA (Wang, Chan, Loy 2023): the share of "Good photo." against "Bad photo.". The paper takes CLIP's ResNet-50
without its position embedding; a folder in transformers' layout holds a ViT, whose scores differ from the paper's.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from link.errors import ModelMissingError
from link.frame import Pixels
from link.pretrained import BROKEN, first_line, load_settings, load_weights

PROMPTS = ("Good photo.", "Bad photo.")
_BATCH = 16

Embeddings = NDArray[np.float64]


class Clip:
    """A CLIP model from a folder in transformers' layout: model, picture processor, tokenizer.

    Raise ModelMissingError where the folder does not hold one.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

        try:
            self._model = load_weights(CLIPModel, folder)
            self._processor: Any = load_settings(CLIPImageProcessor, folder)
            self._tokenizer: Any = load_settings(AutoTokenizer, folder)
        except ModelMissingError:
            raise
        except BROKEN as error:
            raise ModelMissingError(f"{folder}: no CLIP model: {first_line(error)}") from None

    def pictures(self, pictures: Sequence[Pixels]) -> Embeddings:
        """Return the embeddings of *pictures* (H, W, 3), (N, D), each of length 1."""
        import torch

        embeddings = []
        with torch.inference_mode():
            for at in range(0, len(pictures), _BATCH):
                given = self._processor(images=list(pictures[at : at + _BATCH]), return_tensors="pt")
                state = self._model.vision_model(**given).pooler_output
                embeddings.append(self._model.visual_projection(state).double().numpy())
        return _unit(np.concatenate(embeddings))

    def texts(self, texts: Sequence[str]) -> Embeddings:
        """Return the embeddings of *texts*, (N, D), each of length 1."""
        import torch

        with torch.inference_mode():
            given = self._tokenizer(list(texts), padding=True, return_tensors="pt")
            state = self._model.text_model(
                input_ids=given["input_ids"], attention_mask=given["attention_mask"]
            ).pooler_output
            return _unit(self._model.text_projection(state).double().numpy())

    def similarity(self, a: Sequence[Pixels], b: Sequence[Pixels]) -> list[float]:
        """Return how alike in content each picture of *a* is to the one of *b* at its place, -1 to 1."""
        values: list[float] = (self.pictures(a) * self.pictures(b)).sum(1).tolist()
        return values

    def quality(self, pictures: Sequence[Pixels]) -> list[float]:
        """Return how good each of *pictures* looks, 0 to 1."""
        good, bad = self.texts(PROMPTS)
        scale = float(self._model.logit_scale.detach().exp())
        apart = scale * (self.pictures(pictures) @ (good - bad))
        values: list[float] = (1.0 / (1.0 + np.exp(-apart))).tolist()
        return values


@cache
def clip(folder: Path) -> Clip:
    """Return the model in *folder*, loaded once."""
    return Clip(folder)


def _unit(vectors: NDArray[np.float64]) -> Embeddings:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
