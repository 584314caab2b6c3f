"""Captions as FLUX takes them: T5 by token, CLIP pooled; embeddings of captions seen before are kept."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from link.errors import ModelMissingError
from link.models import pull_hint
from link.pretrained import BROKEN, first_line, load_settings, load_weights

KEPT = 256
"""Captions whose embeddings are kept: a stream repeats itself."""


class TextEncoder:
    """Both text encoders of FLUX with their tokenizers."""

    def __init__(self, clip: Any, clip_tokens: Any, t5: Any, t5_tokens: Any, length: int) -> None:
        self._clip, self._clip_tokens = clip, clip_tokens
        self._t5, self._t5_tokens = t5, t5_tokens
        self._length = length
        self._visits: torch.device | None = None
        self._kept: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()

    @classmethod
    def from_pretrained(cls, folders: dict[str, Path], dtype: torch.dtype) -> "TextEncoder":
        """Return the encoders from `text_encoder`, `tokenizer`, `text_encoder_2` and `tokenizer_2` of *folders*.

        Captions are cut or padded to the second tokenizer's `model_max_length`, at most 512 tokens. Nothing
        is downloaded. Raise ModelMissingError where a folder is not there or does not hold its part.
        """
        from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        clip = _load(load_weights, CLIPTextModel, folders["text_encoder"], dtype=dtype)
        t5 = _load(load_weights, T5EncoderModel, folders["text_encoder_2"], dtype=dtype)
        clip_tokens = _load(load_settings, AutoTokenizer, folders["tokenizer"])
        t5_tokens = _load(load_settings, AutoTokenizer, folders["tokenizer_2"])
        return cls(clip, clip_tokens, t5, t5_tokens, min(512, int(t5_tokens.model_max_length)))

    def to(self, device: torch.device, offload: bool = False) -> "TextEncoder":
        """Move the models, with *offload* only while a new caption is encoded; return the same encoder."""
        self._visits = device if offload else None
        for model in () if offload else (self._clip, self._t5):
            model.to(device)
        return self

    def encode(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Return embeddings by token (batch, tokens, features) and pooled (batch, features)."""
        encodings = [self._one(caption) for caption in captions]
        return torch.cat([tokens for tokens, _ in encodings]), torch.cat([pooled for _, pooled in encodings])

    def forget(self) -> None:
        """Drop the embeddings that are kept: the models have changed."""
        self._kept.clear()

    def modules(self) -> tuple[Any, Any]:
        """Return the CLIP and the T5 model."""
        return self._clip, self._t5

    def tokenizers(self) -> tuple[Any, Any]:
        """Return the tokenizers of CLIP and T5."""
        return self._clip_tokens, self._t5_tokens

    def _one(self, caption: str) -> tuple[Tensor, Tensor]:
        if caption in self._kept:
            self._kept.move_to_end(caption)
            return self._kept[caption]
        home = self._t5.device
        for model in (self._clip, self._t5) if self._visits is not None else ():
            model.to(self._visits)
        with torch.inference_mode():
            encoding = embed(self, [caption])
        for model in (self._clip, self._t5) if self._visits is not None else ():
            model.to(home)
        self._kept[caption] = encoding
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return encoding

    def tokens(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Return the token numbers for T5 and for CLIP, both padded."""
        options: dict[str, Any] = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        t5 = self._t5_tokens(captions, max_length=self._length, **options).input_ids
        clip = self._clip_tokens(
            captions, max_length=min(77, int(self._clip_tokens.model_max_length)), **options
        ).input_ids
        return t5, clip

    def places(self, caption: str, words: str) -> list[int]:
        """Return which tokens of *caption* `words` are, as T5 has them; all of its text where they are none of it."""
        return word_places(self._t5_tokens, caption, words, self._length)


def word_places(tokenizer: Any, caption: str, words: str, length: int) -> list[int]:
    """Return the places in *caption*'s tokens, at most *length*, of those that *words* are made of, as a row.

    Where they are not in it as a row (cut off, or tokenised otherwise within the sentence) it is every token that is
    neither padding nor a mark.
    """
    marks = set(tokenizer.all_special_ids)
    given = tokenizer([caption], max_length=length, truncation=True).input_ids[0]
    sought = [one for one in tokenizer([words]).input_ids[0] if one not in marks]
    for at in range(len(given) - len(sought) + 1):
        if sought and given[at : at + len(sought)] == sought:
            return list(range(at, at + len(sought)))
    return [at for at, one in enumerate(given) if one not in marks] or [0]


def embed(encoder: TextEncoder, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Return embeddings by token and pooled, without keeping them; gradients flow where they are on."""
    t5_ids, clip_ids = encoder.tokens(captions)
    clip, t5 = encoder.modules()
    tokens = t5(t5_ids.to(t5.device)).last_hidden_state
    pooled = clip(clip_ids.to(clip.device)).pooler_output
    return tokens, pooled


def _load(read: Any, kind: Any, folder: Path, **options: Any) -> Any:
    if not folder.is_dir():
        raise ModelMissingError(
            f"{folder}: no such folder; a {kind.__name__} was expected there{pull_hint(folder)}"
        )
    try:
        return read(kind, folder, **options)
    except ModelMissingError:
        raise
    except BROKEN as error:
        raise ModelMissingError(f"{folder}: no usable {kind.__name__}: {first_line(error)}") from None
