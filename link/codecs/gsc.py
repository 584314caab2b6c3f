"""GSC's payload: a caption and some channels of a latent, each a section that is read alone.

    order nested   [caption] [channel 0] [channel 1] ... [channel C - 1]
    order ssim     [caption] [which channels] [the lowest of them] ... [the highest]

Without captions (`codec.caption: none`) the first section is left out. A caption of the closed grammar is coded
as such, any other as text. Which channels: ceil(log2 C(n, C)) bits in whole bytes; where the budget cut C short, the
section is longer than that, and begins with how many there are. Generative Semantic Coding, arXiv 2510.27324, does
not say how ids, captions or latents are coded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from link import transform
from link.bitstream import grammar, latent, text
from link.bitstream.ids import decode_ids, encode_ids
from link.codecs.syntax import CodecFacts, Contents, PayloadSyntax
from link.config import Codec, Session
from link.errors import ModelMissingError
from link.frame import Payload
from link.models import digest as model_digest
from link.models import transform_folder
from link.weights import digest

SYNTAX_VERSION = 1
TABLES = "tables.safetensors"
"""In a transform's folder: the frequencies of its channels. Without it they are coded by what adapts."""

Maps = NDArray[np.int32]
T = TypeVar("T")


@dataclass(frozen=True)
class Transmission:
    """What was sent of a frame, or what arrived of it."""

    caption: str | None
    """None: not sent, or lost."""
    channels: tuple[int, ...]
    """Ascending; those at hand."""
    maps: Maps
    """Shape (len(channels), rows, columns)."""


FACTS = CodecFacts(
    title="a caption and some of 32 latent channels (`flux`: 320), each a section that is read alone; the default",
    kinds={"caption": "caption", "ids": "which channels", "channels": "channels"},
    tiles="channels",
    settings=frozenset({
        "rate_control", "alpha", "beta", "task", "profile", "generator", "channels", "max_channels", "order", "caption",
        "caption_words", "steps",
        "noise_seed", "guidance", "control_scale", "strength",
    }),
    adjustable=True,
    weighed=True,
    fills_packets=False,
)  # fmt: skip


class GscSyntax(PayloadSyntax):
    """The payload syntax of GSC."""

    facts = FACTS

    def tables(self, session: Session) -> bytes:
        """Return the digests of the transform, its tables and the caption tables."""
        captions = caption_stamp(session.codec)
        weights = model_digest(transform_folder(session))
        return f"gsc/{SYNTAX_VERSION}/{captions}/{weights}".encode()

    def coded_size(self, session: Session) -> tuple[int, int]:
        """Return the camera's size, or the one nearest to it that the session's models are made for."""
        return transform.coded_size(transform_folder(session), (session.camera.width, session.camera.height))

    def kind(self, codec: Codec, number: int) -> str:
        """Return `caption`, `ids` or `channels`."""
        kinds = ["caption"] * has_caption(codec) + ["ids"] * has_ids(codec)
        return kinds[number] if number < len(kinds) else "channels"

    def most_channels(self, session: Session) -> int:
        """Return the channels of the session's transform."""
        return transform.channels(transform_folder(session))

    def choices(self, session: Session) -> Mapping[str, tuple[int, ...]]:
        """Return numbers of channels, doubled from one to all that the transform has; with captions none as well."""
        most = self.most_channels(session)
        doubled = [1 << power for power in range(most.bit_length()) if 1 << power < most]
        return {"channels": (*([0] if has_caption(session.codec) else []), *doubled, most)}

    def check(self, codec: Codec) -> None:
        """Raise ValueError where neither caption nor channels are sent."""
        if codec.sent_channels == 0 and not has_caption(codec):
            raise ValueError("channels 0 and caption none: nothing would be sent")

    def likely_bytes(self, session: Session) -> int:
        """Return about what caption and channels come to, which is seldom near the budget."""
        codec = session.codec
        rows, columns = transform.grid(*self.coded_size(session))
        most = 16 + 8 * codec.caption_words + codec.sent_channels * (2 + rows * columns // 4)
        return most if codec.rate_control == "fixed" else min(codec.frame_bytes or 1, most)

    def worth_showing(self, codec: Codec, payload: Payload) -> bool:
        """Return whether a caption is there, or channels and, where they are chosen, which ones they are."""
        kinds = {self.kind(codec, at) for at, section in enumerate(payload.sections) if section is not None}
        return "caption" in kinds or ("channels" in kinds and (codec.order == "nested" or "ids" in kinds))

    def stateful(self, session: Session) -> bool:
        """Return whether a picture starts from the last one's latents."""
        return session.codec.strength < 1.0

    def batched(self, session: Session) -> bool:
        """Return True where a picture does not depend on what is drawn beside it."""
        return session.profile.cache == "none"

    def repeatable(self, session: Session) -> bool:
        """Return False where an endpoint writes the captions: who knows what it says the next time."""
        return session.codec.caption != "endpoint"

    def describe(self, codec: Mapping[str, Any], way: str) -> str:
        """Return what was sent, and that the pictures are drawn anew."""
        channels = codec["channels"]
        parts = [f"{channels} latent channel{'' if channels == 1 else 's'}"] if channels else []
        parts = ["a caption", *parts] if codec["caption"] != "none" else parts
        return (
            f"sent over {way} as {' and '.join(parts)} each; the far end draws every picture anew from what "
            f"arrives (Generative Semantic Coding, {codec['profile']} models)."
        )

    def reader(self, session: Session) -> Callable[[Payload], Contents]:
        """Return what reads caption and channels. Raise ModelMissingError where the tables are not here."""
        folder = transform_folder(session)
        tables = load_tables(folder, transform.channels(folder))
        shape = transform.grid(*self.coded_size(session))

        def contents(payload: Payload) -> Contents:
            sent = read(session.codec, payload, shape, tables)
            return Contents(sent.caption, dict(zip(sent.channels, sent.maps, strict=True)))

        return contents


def has_caption(codec: Codec) -> bool:
    """Return whether section 0 is a caption."""
    return codec.caption != "none"


def has_ids(codec: Codec) -> bool:
    """Return whether a section says which channels follow."""
    return codec.order == "ssim" and codec.channels > 0


def caption_stamp(codec: Codec) -> str:
    """Return what changes when the tables of the captions or the words of their grammar do."""
    if codec.caption == "grammar":
        words = (
            grammar.SCENES,
            grammar.SIZES,
            grammar.PLACES,
            grammar.COLOURS,
            grammar.LEVELS,
            grammar.TINTS,
        )
        return digest(grammar.TABLE) + repr(words)
    return digest(text.TABLE) if has_caption(codec) else ""


def write(codec: Codec, sent: Transmission, tables: latent.LatentTables, priority: Sequence[int]) -> Payload:
    """Return the sections of *sent*, at most `codec.frame_bytes` in all.

    *priority* lists the channels of *sent*, the most important first: the last ones are dropped to fit. Raises
    ValueError where not even the caption fits, or without captions the first channel, and for a caption that its
    coder does not take.
    """
    budget = codec.frame_bytes or 1 << 62
    head = [encode_caption(codec, sent.caption or "")] if has_caption(codec) else []
    left = budget - sum(map(len, head))
    coded = dict(zip(sent.channels, latent.encode(sent.maps, sent.channels, tables), strict=True))
    ids_bytes = sum(_cut_ids_bytes(codec, tables.n)) if codec.order == "ssim" else 0
    kept = _fitting(priority, coded, left - ids_bytes)
    if left < 0 or not (head or kept):
        least = sum(map(len, head)) or ids_bytes + len(coded[priority[0]])
        raise ValueError(f"codec gsc: frame_bytes {budget} is too small: about {least} bytes are needed")
    if codec.order == "nested" or not kept:
        return Payload(tuple(head) + tuple(coded[channel] for channel in kept))
    chosen = tuple(sorted(kept))
    return Payload((*head, _encode_ids(codec, chosen, tables.n), *(coded[channel] for channel in chosen)))


def read(codec: Codec, payload: Payload, shape: tuple[int, int], tables: latent.LatentTables) -> Transmission:
    """Return what the sections that arrived hold; sections that are no captions or maps count as lost.

    *shape* is (rows, columns) of the latents.
    """
    sections = list(payload.sections)
    caption = None
    if has_caption(codec) and sections:
        first = sections.pop(0)
        caption = attempt(lambda data: decode_caption(codec, data), first)
    ids: Sequence[int] = range(min(tables.n, codec.channels))
    if has_ids(codec) and sections:
        ids = attempt(lambda data: _decode_ids(codec, data, tables.n), sections.pop(0)) or ()
    maps_by_channel: dict[int, Maps] = {}
    for channel, section in zip(ids, sections, strict=False):
        decode = partial(_decode_map, channel, shape, tables)
        if (maps := attempt(decode, section)) is not None:
            maps_by_channel[channel] = maps
    together = (
        np.concatenate(list(maps_by_channel.values())) if maps_by_channel else np.zeros((0, *shape), np.int32)
    )
    return Transmission(caption, tuple(maps_by_channel), together)


def encode_caption(codec: Codec, caption: str) -> bytes:
    """Return the caption section. Raises ValueError for text that is too long or not of the grammar."""
    if codec.caption == "grammar":
        return grammar.encode(grammar.parse(caption))
    return text.encode(caption)


def decode_caption(codec: Codec, data: bytes) -> str:
    """Return the caption of a section. Raises ValueError where it holds none."""
    return grammar.decode(data).sentence() if codec.caption == "grammar" else text.decode(data)


def load_caption_tables(codec: Codec) -> None:
    """Read the tables of the captions, so that damage shows before the first frame. Raise ModelMissingError."""
    try:
        if codec.caption == "grammar":
            grammar.tables()
        elif has_caption(codec):
            text.tables()
    except (OSError, ValueError) as error:
        raise ModelMissingError(f"caption tables: {error}") from None


def load_tables(folder: Path, channels: int) -> latent.LatentTables:
    """Return the tables of the transform in *folder* for its *channels*, or those that adapt.

    Raise ModelMissingError where the file is there and is not what it should be.
    """
    path = folder / TABLES
    if not path.is_file():
        return latent.LatentTables.generic(channels)
    try:
        tables = latent.LatentTables.from_arrays(load(path.read_bytes()))
    except Exception as error:  # safetensors raises its own kinds
        raise ModelMissingError(f"{path}: no usable tables: {error}") from None
    if tables.n != channels:
        raise ModelMissingError(f"{path}: tables for {tables.n} channels, but the transform has {channels}")
    return tables


def _fitting(priority: Sequence[int], coded: dict[int, bytes], budget: int) -> list[int]:
    kept = []
    for channel in priority:
        budget -= len(coded[channel])
        if budget < 0:
            break
        kept.append(channel)
    return kept


def _cut_ids_bytes(codec: Codec, n: int) -> tuple[int, int]:
    """Bytes of the count and of the ids where the budget cut the channels short; the ids of any count fit."""
    most = min(codec.channels, n // 2)  # where C(n, k) is largest
    return (1 if n <= 255 else 2), len(encode_ids(range(most), n))


def _encode_ids(codec: Codec, ids: tuple[int, ...], n: int) -> bytes:
    rank = encode_ids(ids, n)
    if len(ids) == min(n, codec.channels):
        return rank
    count_bytes, size = _cut_ids_bytes(codec, n)
    return len(ids).to_bytes(count_bytes, "big") + rank.rjust(size, b"\0")


def _decode_ids(codec: Codec, data: bytes, n: int) -> tuple[int, ...]:
    most = min(n, codec.channels)
    if len(data) == len(encode_ids(range(most), n)):
        return decode_ids(data, n, most)
    count_bytes, size = _cut_ids_bytes(codec, n)
    count = int.from_bytes(data[:count_bytes], "big")
    if len(data) != count_bytes + size or not 0 < count < most:
        raise ValueError(f"{len(data)} bytes are no list of at most {most} channels")
    own = len(encode_ids(range(count), n))
    return decode_ids(data[len(data) - own :], n, count)


def _decode_map(channel: int, shape: tuple[int, int], tables: latent.LatentTables, data: bytes) -> Maps:
    return latent.decode([data], [channel], shape, tables)


def attempt(decode: Callable[[bytes], T], section: bytes | None) -> T | None:
    """Return what *decode* makes of *section*; None where it was lost or holds no such thing."""
    if section is None:
        return None
    try:
        return decode(section)
    except ValueError:
        return None
