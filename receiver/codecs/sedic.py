"""SEDIC, receiving end: objects restored one by one, then the whole (arXiv 2503.00399, Section 3.2, Algorithm 1)."""

import numpy as np
from numpy.typing import NDArray

from link.codecs import objects, sedic
from link.config import Codec, Session
from link.errors import UsageError
from link.frame import Payload
from link.models import transform_folder
from link.transform import CELL, grid
from receiver.codecs.gsc import spread_channels
from receiver.codecs.objectwise import ObjectwiseDecoder, open_tables
from receiver.conditioning import Conditioning
from receiver.generators import open_generator, sampling
from receiver.guidance import Guidance, ObjectWish
from receiver.stages import StagedGenerator
from receiver.transform import Synthesis

_LATENT = CELL // 2
"""Pixels along a side that a latent of the generator stands for."""


class SedicDecoder(ObjectwiseDecoder[Conditioning, StagedGenerator]):
    """Draws at *coded* (width, height) and shows at *size*. Any section may be missing."""

    @classmethod
    def from_session(cls, session: Session) -> "SedicDecoder":
        """Return the decoder of *session*.

        Raise ModelMissingError where a model is not here, UsageError where masks would be too large, or attention
        could not be guided.
        """
        codec = session.codec
        _check_guided(session)
        tables, size, coded = open_tables(session)
        sedic.check_masks(codec, coded)
        generator = open_generator(session, Synthesis.from_pretrained(transform_folder(session)))
        return cls(codec, size, coded, tables, StagedGenerator(generator, sampling(codec), *_staging(codec)))

    def adjust(self, session: Session) -> None:
        """See `receiver.decoder.SteeredPart.adjust`."""
        self._codec = session.codec
        self._generator.adjust(sampling(session.codec), *_staging(session.codec))

    def wish(self, payload: Payload) -> Conditioning | None:
        """Return what the sections at hand tell the generator; None where none of them can be used.

        An object is restored where both its text and its mask arrived. Where the overall text was lost, what is said
        of the objects stands for it.
        """
        heard = sedic.read(self._codec, payload, self._coded, self._tables)
        if not heard.anything:
            return None
        maps, there = spread_channels(heard.reference, self._tables.n, self._coded)
        shape = grid(*self._coded)
        wishes = tuple(
            ObjectWish(item.text.prompt, item.text.name, spread_mask(item.mask, self._codec.mask_px, shape))
            for item in heard.objects
            if item.text is not None and item.mask is not None
        )
        said = objects.overall(self._codec, heard.overall, heard.texts)
        return Conditioning(maps, there, said, objects=tuple(wish for wish in wishes if wish.mask.any()))


def spread_mask(mask: NDArray[np.bool_], px: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return *mask*, on cells of *px* pixels, on the latents of *shape* (rows, columns) tokens: 1 where it covers half.

    The latents fill whole tokens, beyond the picture's edge: what lies there is as at the edge.
    """
    rows, columns = (2 * side for side in shape)
    many = max(1, _LATENT // px)
    down, across = (
        np.minimum(np.arange(side * many) * _LATENT // (many * px), most - 1)
        for side, most in zip((rows, columns), mask.shape, strict=True)
    )
    covered = mask[down][:, across].reshape(rows, many, columns, many).mean((1, 3))
    return np.asarray(covered >= 0.5, np.float32)


def _check_guided(session: Session) -> None:
    """Raise UsageError where attention is to be guided and cannot be."""
    if session.codec.attention and session.profile.cache != "none":
        raise UsageError(
            f"profile.cache {session.profile.cache} foretells steps that attention guidance changes: give "
            "codec.attention=0 or profile.cache=none"
        )
    if session.codec.attention and session.profile.compile:
        raise UsageError(
            "profile.compile leaves no attention to be seen: give codec.attention=0 or profile.compile=false"
        )


def _staging(codec: Codec) -> tuple[int, Guidance]:
    return codec.object_steps or codec.steps, Guidance(codec.attention, codec.attention_ratio)
