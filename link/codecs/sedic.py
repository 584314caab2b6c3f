"""SEDIC's payload: what a whole picture shows, a picture of few bytes, and the objects in it with their masks.

    [overall text] [channel 0] ... [channel C - 1] [object 1] [mask 1] [object 2] [mask 2] [object 3] [mask 3]

Texts and channels are those of `link.codecs.objectwise`. A mask is coded without loss by whichever coder makes the
fewest bytes (`link.bitstream.maps`) on cells of `codec.mask_px` pixels.

SEmantically Disentangled Image Compression, arXiv 2503.00399. The paper does not say how masks are coded or whose table
its Huffman code has, and its public code counts neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from link.bitstream import latent, maps
from link.codecs import gsc, objects, objectwise
from link.codecs.gsc import Transmission
from link.codecs.objects import ObjectText
from link.codecs.objectwise import MOST_OBJECTS, ObjectwiseSyntax
from link.codecs.syntax import CodecFacts
from link.config import Codec, Session
from link.errors import UsageError
from link.frame import Payload

PARTS = ("object", "mask")
"""The sections of an object."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MaskedObject:
    """One object as it is sent, or what arrived of it."""

    text: ObjectText | None
    mask: Mask | None
    """Shape of `mask_shape`."""


@dataclass(frozen=True)
class SedicPayload:
    """What arrived of a frame."""

    overall: str | None
    """None: not sent, or lost."""
    reference: Transmission
    """Its channels; it has no caption."""
    objects: tuple[MaskedObject, ...]
    """Those of which anything arrived."""

    @property
    def texts(self) -> list[ObjectText]:
        """What is said of the objects."""
        return [item.text for item in self.objects if item.text is not None]

    @property
    def anything(self) -> bool:
        """Whether a picture can be drawn of it."""
        return self.overall is not None or bool(self.reference.channels) or bool(self.texts)


class SedicSyntax(ObjectwiseSyntax):
    """The payload syntax of SEDIC."""

    name, version, parts = "sedic", 1, PARTS
    facts = CodecFacts(
        title="a picture of few bytes, an overall text, and up to three objects with details and masks (SEDIC)",
        kinds={
            "caption": "overall text",
            "ids": "which channels",
            "channels": "reference picture",
            "object": "object text",
            "mask": "mask",
        },
        tiles="channels",
        settings=objectwise.SETTINGS | {"mask_px", "attention", "attention_ratio"},
        fills_packets=False,
    )

    def object_bytes(self, session: Session) -> int:
        """Return about what a mask comes to."""
        rows, columns = mask_shape(session.codec, self.coded_size(session))
        return rows * columns // 4

    def describe(self, codec: Mapping[str, Any], way: str) -> str:
        """Return what was sent, and that the pictures are drawn anew."""
        objects_sent = codec.get("objects", MOST_OBJECTS)
        parts = [f"a reference picture of {codec['channels']} latent channels"] if codec["channels"] else []
        if codec["caption"] != "none":
            parts = ["an overall text", *parts]
            parts += [f"up to {objects_sent} objects with texts and masks"] if objects_sent else []
        return (
            f"sent over {way} as {', '.join(parts)} each; the far end restores object by object, then the whole "
            f"picture (SEDIC, {codec['profile']} models)."
        )


def mask_shape(codec: Codec, size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of a mask over a picture of *size* (width, height)."""
    width, height = size
    return -(-height // codec.mask_px), -(-width // codec.mask_px)


def check_masks(codec: Codec, size: tuple[int, int]) -> None:
    """Raise UsageError where a mask of a picture of *size* would be too large."""
    rows, columns = mask_shape(codec, size)
    if rows * columns > maps.MOST_PIXELS:
        raise UsageError(
            f"codec.mask_px {codec.mask_px}: masks of {columns}x{rows} cells; at most {maps.MOST_PIXELS} are coded"
        )


def write(
    codec: Codec,
    overall: str,
    reference: Transmission,
    things: Sequence[MaskedObject],
    tables: latent.LatentTables,
    priority: Sequence[int],
) -> Payload:
    """Return the sections of a frame, at most `codec.frame_bytes` in all: see `link.codecs.objectwise.write`."""
    sections = (
        (objects.encode_text(codec, item.text.prompt), maps.encode_mask(item.mask))
        for item in things[: codec.objects]
        if item.text is not None and item.mask is not None
    )
    return objectwise.write(codec, overall, reference, sections, tables, priority)


def read(codec: Codec, payload: Payload, size: tuple[int, int], tables: latent.LatentTables) -> SedicPayload:
    """Return what the sections that arrived hold; what is no text, channel or mask counts as lost.

    *size* is (width, height) of the coded pictures.
    """
    heard = objectwise.read(codec, payload, size, tables, len(PARTS))
    shape = mask_shape(codec, size)
    things = []
    for said, others in zip(heard.texts, heard.others, strict=True):
        masked = others[0] if others else None
        mask = gsc.attempt(lambda data: maps.decode_mask(data, shape), masked)
        if said is not None or mask is not None:
            things.append(MaskedObject(said, mask))
    return SedicPayload(heard.overall, heard.reference, tuple(things))
