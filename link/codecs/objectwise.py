"""Payloads of a whole and of objects in it, as SEDIC and SGGIC send them: what the two share.

    [overall text] [channel 0] ... [channel C - 1] [sections of object 1] [of object 2] [of object 3]

The channels make a reference picture; they are GSC's sections (`link.codecs.gsc`), with the list of ids before them
under `codec.order: ssim`. The first section of an object is its name and details (`link.codecs.objects`); what follows
is the codec's own. What the budget has no room for is left out from the end: objects stand behind all channels, so
whichever are cut, the place of a section says what it is. Without captions (`codec.caption: none`) there are channels
alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from link import transform
from link.bitstream import latent
from link.codecs import gsc, objects
from link.codecs.gsc import Transmission
from link.codecs.objects import ObjectText
from link.codecs.syntax import Contents, PayloadSyntax
from link.config import Codec, Session
from link.frame import Payload
from link.models import digest as model_digest
from link.models import transform_folder
from link.transform import Size

MOST_OBJECTS = 3
"""Both papers': more than people keep in mind at a glance."""
SETTINGS = frozenset({
    "profile", "generator", "channels", "order", "caption", "caption_words", "objects", "name_words", "object_words",
    "text_coder", "steps", "object_steps", "noise_seed", "guidance", "control_scale",
})  # fmt: skip
"""Fields of `codec` that both read."""

T = TypeVar("T")


class ObjectwiseSyntax(PayloadSyntax):
    """The syntax that both share."""

    name: str
    version: int
    parts: tuple[str, ...]
    """The kinds of the sections of each object, its text first."""

    def tables(self, session: Session) -> bytes:
        """Return the digests of the transform, its tables and those of the texts."""
        texts = objects.text_stamp(session.codec)
        return f"{self.name}/{self.version}/{texts}/{model_digest(transform_folder(session))}".encode()

    def coded_size(self, session: Session) -> Size:
        """Return the camera's size, or the one nearest to it that the session's models are made for."""
        return transform.coded_size(transform_folder(session), (session.camera.width, session.camera.height))

    def reference_size(self, session: Session) -> Size:
        """Return width and height of the reference picture."""
        return self.coded_size(session)

    def object_bytes(self, session: Session) -> int:
        """Return about what the sections of an object come to besides its text."""
        return 0

    def kind(self, codec: Codec, number: int) -> str:
        """Return one of `facts.kinds`."""
        head = (
            ["caption"] * gsc.has_caption(codec)
            + ["ids"] * gsc.has_ids(codec)
            + ["channels"] * codec.channels
        )
        if number < len(head):
            return head[number]
        return self.parts[(number - len(head)) % len(self.parts)] if gsc.has_caption(codec) else "channels"

    def most_channels(self, session: Session) -> int | None:
        """Return the channels of the session's transform."""
        return transform.channels(transform_folder(session))

    def check(self, codec: Codec) -> None:
        """Raise ValueError where neither text nor channels are sent."""
        if codec.channels == 0 and not gsc.has_caption(codec):
            raise ValueError("channels 0 and caption none: nothing would be sent")

    def likely_bytes(self, session: Session) -> int:
        """Return about what texts, channels and objects come to."""
        codec = session.codec
        rows, columns = transform.grid(*self.reference_size(session))
        each = 16 + 8 * (codec.name_words + codec.object_words) + self.object_bytes(session)
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

    def reader(self, session: Session) -> Callable[[Payload], Contents]:
        """Return what reads texts and channels. Raise ModelMissingError where the tables are not here."""
        folder = transform_folder(session)
        tables = gsc.load_tables(folder, transform.channels(folder))
        size = self.reference_size(session)

        def contents(payload: Payload) -> Contents:
            heard = read(session.codec, payload, size, tables, len(self.parts))
            words = [heard.overall] if heard.overall is not None else []
            words += [item.prompt for item in heard.texts if item is not None]
            sent = heard.reference
            return Contents(
                "; ".join(words) if words else None, dict(zip(sent.channels, sent.maps, strict=True))
            )

        return contents


@dataclass(frozen=True)
class Pieces:
    """What arrived of a frame."""

    overall: str | None
    """None: not sent, or lost."""
    reference: Transmission
    """Its channels; it has no caption."""
    texts: tuple[ObjectText | None, ...]
    """What is said of each object of which a section was sent; None where that was lost."""
    others: tuple[tuple[bytes | None, ...], ...]
    """The sections of each behind its text, as they came."""


def write(
    codec: Codec,
    overall: str,
    reference: Transmission,
    things: Iterable[Sequence[bytes]],
    tables: latent.LatentTables,
    priority: Sequence[int],
) -> Payload:
    """Return the sections of a frame, at most `codec.frame_bytes` in all.

    *priority* lists the channels of *reference*, the most important first; *things* are the sections of each object.
    Objects that do not fit are left out, and where not all channels fit there is no object. Raise ValueError where not
    even the overall text fits, or without captions the first channel, and for text that its coder does not take.
    """
    budget = codec.frame_bytes or 1 << 62
    head = [objects.encode_text(codec, overall)] if gsc.has_caption(codec) else []
    left = budget - sum(map(len, head))
    if left < 0:
        raise ValueError(
            f"codec {codec.name}: frame_bytes {budget} is too small: about {budget - left} bytes are needed"
        )
    channels = _channels(codec, reference, tables, priority, left, needed=not head)
    sections = [*head, *channels]
    left -= sum(map(len, channels))
    if head and len(channels) == _reference_sections(codec):
        for sections_of in things:
            if (size := sum(map(len, sections_of))) <= left:
                sections += sections_of
                left -= size
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
            raise ValueError(str(error).replace("codec gsc", f"codec {codec.name}")) from None
        return ()


def read(codec: Codec, payload: Payload, size: Size, tables: latent.LatentTables, each: int) -> Pieces:
    """Return what the sections that arrived hold; what is no text or channel counts as lost.

    *size* is (width, height) of the reference picture; *each* object has so many sections.
    """
    sections = list(payload.sections)
    overall = None
    if gsc.has_caption(codec) and sections:
        overall = gsc.attempt(lambda data: objects.decode_text(codec, data), sections.pop(0))
    count = _reference_sections(codec)
    own = codec.model_copy(update={"caption": "none"})
    reference = gsc.read(own, Payload(tuple(sections[:count])), transform.grid(*size), tables)
    texts, others = [], []
    if gsc.has_caption(codec):
        rest = sections[count : count + each * MOST_OBJECTS]
        for at in range(0, len(rest), each):
            texts.append(gsc.attempt(lambda data: objects.decode_object(codec, data), rest[at]))
            others.append(tuple(rest[at + 1 : at + each]))
    return Pieces(overall, reference, tuple(texts), tuple(others))


def _reference_sections(codec: Codec) -> int:
    return codec.channels + gsc.has_ids(codec)
