"""SGGIC's payload: what a whole picture shows, a picture of few bytes at half its size, and what is said of objects.

    [overall text] [channel 0] ... [channel C - 1] [object 1] [object 2] [object 3]

Texts and channels are those of `link.codecs.objectwise`. No mask is sent: where an object is the far end finds in the
decoded reference picture by the object's name. The channels are those of the frame at half its width and height.

Semantics-Guided Generative Image Compression, whose public code counts neither texts nor headers (CrashedBboy/SGGIC).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from link.bitstream import latent
from link.codecs import objects, objectwise
from link.codecs.gsc import Transmission
from link.codecs.objects import ObjectText
from link.codecs.objectwise import MOST_OBJECTS, ObjectwiseSyntax
from link.codecs.syntax import CodecFacts
from link.config import Codec, Session
from link.frame import Payload

PARTS = ("object",)
"""The sections of an object."""


@dataclass(frozen=True)
class SggicPayload:
    """What arrived of a frame."""

    overall: str | None
    """None: not sent, or lost."""
    reference: Transmission
    """Its channels; it has no caption."""
    texts: tuple[ObjectText, ...]
    """What is said of the objects."""

    @property
    def anything(self) -> bool:
        """Whether a picture can be drawn of it."""
        return self.overall is not None or bool(self.reference.channels) or bool(self.texts)


class SggicSyntax(ObjectwiseSyntax):
    """The payload syntax of SGGIC."""

    name, version, parts = "sggic", 1, PARTS
    facts = CodecFacts(
        title="a picture of few bytes at half size, an overall text, and what is said of up to three objects (SGGIC)",
        kinds={
            "caption": "overall text",
            "ids": "which channels",
            "channels": "reference picture",
            "object": "object text",
        },
        tiles="channels",
        settings=objectwise.SETTINGS | {"adaptive"},
        fills_packets=False,
    )

    def reference_size(self, session: Session) -> tuple[int, int]:
        """Return half of the coded pictures' width and height."""
        return half_size(self.coded_size(session))

    def describe(self, codec: Mapping[str, Any], way: str) -> str:
        """Return what was sent, and that the pictures are drawn anew."""
        said = codec.get("objects", MOST_OBJECTS)
        parts = [f"a half-size picture of {codec['channels']} latent channels"] if codec["channels"] else []
        if codec["caption"] != "none":
            parts = ["an overall text", *parts]
            parts += [f"texts of up to {said} objects"] if said else []
        return (
            f"sent over {way} as {', '.join(parts)} each; the far end draws the whole picture, then refines object by "
            f"object (SGGIC, {codec['profile']} models)."
        )


def half_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return half of *size* (width, height), rounded up."""
    width, height = size
    return -(-width // 2), -(-height // 2)


def write(
    codec: Codec,
    overall: str,
    reference: Transmission,
    texts: Sequence[ObjectText],
    tables: latent.LatentTables,
    priority: Sequence[int],
) -> Payload:
    """Return the sections of a frame, at most `codec.frame_bytes` in all: see `link.codecs.objectwise.write`."""
    sections = ((objects.encode_text(codec, item.prompt),) for item in texts[: codec.objects])
    return objectwise.write(codec, overall, reference, sections, tables, priority)


def read(codec: Codec, payload: Payload, size: tuple[int, int], tables: latent.LatentTables) -> SggicPayload:
    """Return what the sections that arrived hold; what is no text or channel counts as lost.

    *size* is (width, height) of the reference picture.
    """
    heard = objectwise.read(codec, payload, size, tables, len(PARTS))
    return SggicPayload(
        heard.overall, heard.reference, tuple(item for item in heard.texts if item is not None)
    )
