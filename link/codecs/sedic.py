"""SEDIC's payload: what a whole picture shows, a picture of few bytes, and the objects in it with their masks.

    [overall text] [channel 0] ... [channel C - 1] [object 1] [mask 1] [object 2] [mask 2] [object 3] [mask 3]

The channels make the reference picture; they are GSC's sections (`link.codecs.gsc`), with the list of ids before them
under `codec.order: ssim`. An object's two sections are its name and details (`link.codecs.objects`) and its mask, coded
without loss by whichever coder makes the fewest bytes (`link.bitstream.maps`) on cells of `codec.mask_px` pixels. What
the budget has no room for is left out from the end: objects stand behind all channels, so whichever are cut, the place
of a section says what it is. Without captions (`codec.caption: none`) there are channels alone.

SEmantically Disentangled Image Compression, arXiv 2503.00399. The paper does not say how masks are coded or whose table
its Huffman code has, and its public code counts neither.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from link import transform
from link.bitstream import latent, maps
from link.codecs import gsc, objects
from link.codecs.gsc import Transmission
from link.codecs.objects import ObjectText
from link.codecs.syntax import CodecFacts, Contents, PayloadSyntax
from link.config import Codec, Session
from link.errors import UsageError
from link.frame import Payload
from link.models import digest as model_digest
from link.models import transform_folder

SYNTAX_VERSION = 1
MOST_OBJECTS = 3
"""The paper's: more than people keep in mind at a glance."""

T = TypeVar("T")
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


class SedicSyntax(PayloadSyntax):
    """The payload syntax of SEDIC."""

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
        settings=frozenset({
            "profile", "generator", "channels", "order", "caption", "caption_words", "objects", "name_words",
            "object_words", "text_coder", "mask_px", "steps", "object_steps", "attention", "attention_ratio",
            "noise_seed", "guidance", "control_scale",
        }),
        fills_packets=False,
    )  # fmt: skip

    def tables(self, session: Session) -> bytes:
        """Return the digests of the transform, its tables and those of the texts."""
        texts = objects.text_stamp(session.codec)
        return f"sedic/{SYNTAX_VERSION}/{texts}/{model_digest(transform_folder(session))}".encode()

    def coded_size(self, session: Session) -> tuple[int, int]:
        """Return the camera's size, or the one nearest to it that the session's models are made for."""
        return transform.coded_size(transform_folder(session), (session.camera.width, session.camera.height))

    def kind(self, codec: Codec, number: int) -> str:
        """Return one of `facts.kinds`."""
        kinds = (
            ["caption"] * gsc.has_caption(codec) + ["ids"] * _has_ids(codec) + ["channels"] * codec.channels
        )
        if number < len(kinds):
            return kinds[number]
        return ("object", "mask")[(number - len(kinds)) % 2] if gsc.has_caption(codec) else "channels"

    def most_channels(self, session: Session) -> int | None:
        """Return the channels of the session's transform."""
        return transform.channels(transform_folder(session))

    def check(self, codec: Codec) -> None:
        """Raise ValueError where neither text nor channels are sent."""
        if codec.channels == 0 and not gsc.has_caption(codec):
            raise ValueError("channels 0 and caption none: nothing would be sent")

    def likely_bytes(self, session: Session) -> int:
        """Return about what texts, channels and masks come to."""
        codec = session.codec
        rows, columns = transform.grid(*self.coded_size(session))
        each = 16 + 8 * (codec.name_words + codec.object_words) + rows * columns // 4
        most = (
            16 + 8 * codec.caption_words + codec.channels * (2 + rows * columns // 4) + codec.objects * each
        )
        return min(codec.frame_bytes or most, most)

    def worth_showing(self, codec: Codec, payload: Payload) -> bool:
        """Return whether a text is there, or channels and, where they are chosen, which ones they are."""
        kinds = {self.kind(codec, at) for at, section in enumerate(payload.sections) if section is not None}
        drawn = "channels" in kinds and (codec.order == "nested" or "ids" in kinds)
        return drawn or not kinds.isdisjoint({"caption", "object"})

    def repeatable(self, session: Session) -> bool:
        """Return False where an endpoint writes the texts."""
        return session.codec.caption != "endpoint"

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

    def reader(self, session: Session) -> Callable[[Payload], Contents]:
        """Return what reads texts and channels. Raise ModelMissingError where the tables are not here."""
        folder = transform_folder(session)
        tables = gsc.load_tables(folder, transform.channels(folder))
        size = self.coded_size(session)

        def contents(payload: Payload) -> Contents:
            heard = read(session.codec, payload, size, tables)
            words = [heard.overall] if heard.overall is not None else []
            words += [item.prompt for item in heard.texts]
            sent = heard.reference
            return Contents(
                "; ".join(words) if words else None, dict(zip(sent.channels, sent.maps, strict=True))
            )

        return contents


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
    """Return the sections of a frame, at most `codec.frame_bytes` in all.

    *priority* lists the channels of *reference*, the most important first. Objects that do not fit are left out, and
    where not all channels fit there is no object. Raise ValueError where not even the overall text fits, or without
    captions the first channel, and for text that its coder does not take.
    """
    budget = codec.frame_bytes or 1 << 62
    head = [objects.encode_text(codec, overall)] if gsc.has_caption(codec) else []
    left = budget - sum(map(len, head))
    if left < 0:
        raise ValueError(
            f"codec sedic: frame_bytes {budget} is too small: about {budget - left} bytes are needed"
        )
    channels = _channels(codec, reference, tables, priority, left, needed=not head)
    sections = [*head, *channels]
    left -= sum(map(len, channels))
    if not head or len(channels) < _reference_sections(codec):
        return Payload(tuple(sections))
    for item in things[: codec.objects]:
        if item.text is not None and item.mask is not None:
            pair = objects.encode_text(codec, item.text.prompt), maps.encode_mask(item.mask)
            if sum(map(len, pair)) <= left:
                sections += pair
                left -= sum(map(len, pair))
    return Payload(tuple(sections))


def _channels(
    codec: Codec,
    reference: Transmission,
    tables: latent.LatentTables,
    priority: Sequence[int],
    left: int,
    *,
    needed: bool,
) -> tuple[bytes, ...]:
    """Return the sections of the channels that *left* bytes have room for; none where that is none, unless *needed*."""
    if not codec.channels or (left < 1 and not needed):
        return ()
    own = codec.model_copy(update={"caption": "none", "frame_bytes": max(1, left)})
    try:
        return tuple(section or b"" for section in gsc.write(own, reference, tables, priority).sections)
    except ValueError as error:
        if needed:
            raise ValueError(str(error).replace("codec gsc", "codec sedic")) from None
        return ()


def read(codec: Codec, payload: Payload, size: tuple[int, int], tables: latent.LatentTables) -> SedicPayload:
    """Return what the sections that arrived hold; what is no text, channel or mask counts as lost.

    *size* is (width, height) of the coded pictures.
    """
    sections = list(payload.sections)
    overall = None
    if gsc.has_caption(codec) and sections:
        overall = _attempt(lambda data: objects.decode_text(codec, data), sections.pop(0))
    count = _reference_sections(codec)
    own = codec.model_copy(update={"caption": "none"})
    reference = gsc.read(own, Payload(tuple(sections[:count])), transform.grid(*size), tables)
    things = []
    if gsc.has_caption(codec):
        shape = mask_shape(codec, size)
        rest = sections[count : count + 2 * MOST_OBJECTS]
        for at in range(0, len(rest), 2):
            said = _attempt(lambda data: objects.decode_object(codec, data), rest[at])
            masked = rest[at + 1] if at + 1 < len(rest) else None
            mask = _attempt(lambda data: maps.decode_mask(data, shape), masked)
            if said is not None or mask is not None:
                things.append(MaskedObject(said, mask))
    return SedicPayload(overall, reference, tuple(things))


def _reference_sections(codec: Codec) -> int:
    return codec.channels + _has_ids(codec)


def _has_ids(codec: Codec) -> bool:
    return codec.order == "ssim" and codec.channels > 0


def _attempt(decode: Callable[[bytes], T], section: bytes | None) -> T | None:
    if section is None:
        return None
    try:
        return decode(section)
    except ValueError:
        return None
