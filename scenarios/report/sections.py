"""What the sections of a frame held, out of the journal: caption and channels, for the report.

A frame's sections are put together from all packets that were sent of it; the receiver's own record says which of
them it had. So what is shown as arrived is what was decoded, repaired packets included.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from link import fragment, packet
from link.codecs import SYNTAXES
from link.codecs.syntax import Contents, PayloadSyntax
from link.config import Session
from link.errors import ModelMissingError
from link.fingerprint import fingerprint
from link.frame import Payload
from link.packet import Kind
from scenarios.results.traffic import Sent, scenario

if TYPE_CHECKING:
    from link.journal import Run

TILE = (96, 72)
COLUMNS = 8
_GAP, _LINE = 6, 15
_READ_FRAMES = 16
_INK, _SOFT, _EMPTY = (27, 31, 36), (87, 96, 106), (228, 231, 235)
_LOW, _MIDDLE, _HIGH = np.array([[33, 102, 172], [247, 247, 247], [178, 24, 43]], np.float32)


@dataclass(frozen=True)
class Sections:
    """What was sent of one frame and what of it arrived."""

    caption: str | None
    """As it was sent; None where the codec sends none."""
    caption_arrived: bool
    sizes: dict[str, int]
    """Payload bytes by kind of section."""
    channels: bytes | None
    """A PNG of the channels that were sent, those that did not arrive left empty; None where there are none."""


def sections(run: "Run", sent: Iterable[Sent], frames: Iterable[int]) -> dict[int, Sections]:
    """Return what *frames* were made of, where the codec is one whose sections can be shown."""
    reader = SectionReader.of(run.head)
    if reader is None:
        return {}
    wanted = set(frames)
    payloads = _payloads(
        run, [item for item in sent if item.frame in wanted], scenario(run)["link"]["framing"]
    )
    # What a frame was closed with; before that, what it was first shown of.
    had = {
        event["frame"]: event["sections"]
        for event in run.events
        if event["kind"] in ("decoded", "closed") and "sections" in event
    }
    by_frame = {}
    for frame, payload in payloads.items():
        held = reader.read(payload, had.get(frame, ()))
        picture = draw(held) if held.maps else None
        by_frame[frame] = Sections(held.caption, held.caption_arrived, held.sizes, picture)
    return by_frame


@dataclass(frozen=True)
class Held:
    """What the sections of one frame held."""

    caption: str | None
    """As it was sent; None where the codec sends none."""
    caption_arrived: bool
    sizes: dict[str, int]
    """Payload bytes by kind of section."""
    maps: Mapping[int, NDArray[np.int32]]
    """Channels as they were sent, by number; empty where they cannot be drawn."""
    lengths: tuple[int, ...]
    """Bytes of each of them."""
    arrived: frozenset[int]
    """Which of them were usable at the far end."""


class SectionReader:
    """Reads the sections of a codec for people. Made by `of`."""

    def __init__(self, session: Session, syntax: PayloadSyntax, read: Callable[[Payload], Contents]) -> None:
        self._codec, self._syntax = session.codec, syntax
        # A frame is read when it was sent and again when it came, mostly whole: once decoded is enough.
        self._read = lru_cache(maxsize=_READ_FRAMES)(read)

    @classmethod
    def of(cls, head: Mapping[str, Any]) -> "SectionReader | None":
        """Return the reader for a journal with first record *head*; None where its sections cannot be shown."""
        session = _session(head["scenario"])
        if session is None or session.codec.name not in SYNTAXES:
            return None
        syntax = SYNTAXES[session.codec.name]
        try:
            if head.get("fingerprint", fingerprint(session)) != fingerprint(session):
                return None  # made with other tables, which are not at hand
            read = syntax.reader(session)
        except ModelMissingError:
            return None
        return None if read is None else cls(session, syntax, read)

    def read(self, payload: Payload, had: Iterable[bool]) -> Held:
        """Return what *payload*, a frame as it was sent, held; *had*: which of its sections the receiver had."""
        have = [*had, *[False] * len(payload.sections)]
        kinds = [self._syntax.kind(self._codec, at) for at in range(len(payload.sections))]
        sizes: dict[str, int] = {}
        for kind, section in zip(kinds, payload.sections, strict=True):
            sizes[kind] = sizes.get(kind, 0) + len(section or b"")
        whole = self._read(payload)
        kept = tuple(section if ok else None for section, ok in zip(payload.sections, have, strict=False))
        arrived = self._read(Payload(kept))
        lengths = tuple(
            len(section or b"")
            for section, kind in zip(payload.sections, kinds, strict=True)
            if kind == self._syntax.facts.tiles
        )
        maps = whole.maps if len(lengths) == len(whole.maps) > 0 else {}
        return Held(whole.caption, arrived.caption is not None, sizes, maps, lengths, frozenset(arrived.maps))


def _session(about: dict[str, Any]) -> Session | None:
    try:
        return Session.model_validate({key: about[key] for key in Session.model_fields if key in about})
    except ValueError:
        return None


def _payloads(run: "Run", sent: list[Sent], framing: str) -> dict[int, Payload]:
    bodies: dict[int, dict[int, bytes]] = {}
    for item in sent:
        if item.forward and item.kind == Kind.DATA:
            body = packet.peek(packet.unwrap(run.data[item.number], framing)).body
            bodies.setdefault(item.frame, {})[item.index] = body
    return {frame: fragment.reassemble(pieces, len(pieces)) for frame, pieces in bodies.items()}


def draw(held: Held) -> bytes:
    """Return a PNG with a tile for each channel: blue below 0, red above; its number and bytes under it."""
    from PIL import ImageDraw  # brings fonts, which the live page, that reads sections too, has no use for

    count = len(held.maps)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    wide, high = TILE[0] + _GAP, TILE[1] + _LINE + _GAP
    sheet = Image.new("RGB", (columns * wide - _GAP, rows * high - _GAP), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for at, (channel, values) in enumerate(held.maps.items()):
        left, top = at % columns * wide, at // columns * high
        if channel in held.arrived:
            sheet.paste(tile(values), (left, top))
            words, ink = f"{channel}: {held.lengths[at]} bytes", _INK
        else:
            draw.rectangle((left, top, left + TILE[0] - 1, top + TILE[1] - 1), fill=_EMPTY)
            words, ink = f"{channel}: not usable", _SOFT
        draw.text((left, top + TILE[1] + 1), words, fill=ink, font_size=11)
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def tile(values: NDArray[np.int32]) -> Image.Image:
    """Return a channel as a picture of the size `TILE`: blue below 0, red above."""
    share = values.astype(np.float32) / max(1, int(np.abs(values).max()))
    towards = np.where(share[..., None] < 0, _LOW, _HIGH)
    colours = _MIDDLE + np.abs(share)[..., None] * (towards - _MIDDLE)
    return Image.fromarray(colours.round().astype(np.uint8)).resize(TILE, Image.Resampling.NEAREST)
