"""What a codec says of itself: its facts, and the syntax of its payload that both ends share.

A codec derives a class of `PayloadSyntax` in a file of its own and stands as a row in `link.codecs.SYNTAXES`,
`sender.codecs.ENCODERS` and `receiver.codecs.DECODERS`. Whoever needs to know something of a codec asks here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from link.config import Codec, Session
from link.frame import Payload

EVERY_CODEC = frozenset({"name", "frame_bytes", "unfit"})
"""Fields of `codec` that every codec reads."""


@dataclass(frozen=True)
class CodecFacts:
    """What sets a codec apart, whatever the session."""

    title: str
    """How a picture travels, in a line, for help and lists."""
    kinds: Mapping[str, str]
    """What each kind of section is called on pages, in the order of the sections."""
    tiles: str | None = None
    """The kind of section that holds a map each (`Contents.maps`), which pages draw; None: there are none."""
    settings: frozenset[str] = frozenset()
    """Fields of `codec` that it reads besides `EVERY_CODEC`; with `profile` among them it has neural parts."""
    adjustable: bool = False
    """Whether its encoder is a `sender.encoder.Adjustable`, so that `codec.rate_control` has a say."""
    weighed: bool = False
    """Whether its encoder is a `sender.encoder.Weighed`, so that `link.repair.protection` has a say."""
    fills_packets: bool = True
    """Whether what it sends depends on how much a packet holds."""

    draws: bool = True
    """Whether what is shown is a picture of what the camera saw, so that it can be compared with the camera's."""

    @property
    def neural(self) -> bool:
        """Whether networks have a part in it: its results then depend on weights, processor and libraries."""
        return "profile" in self.settings

    def reads(self, name: str) -> bool:
        """Return whether the field *name* of `codec` means anything to it."""
        return name in EVERY_CODEC or name in self.settings


@dataclass(frozen=True)
class Contents:
    """What the sections of a frame hold, as far as it can be shown to people."""

    caption: str | None
    """None: there is none, or it was lost."""
    maps: Mapping[int, NDArray[np.int32]]
    """What sections of the kind `CodecFacts.tiles` hold, by number, ascending: shape (rows, columns) each."""


class PayloadSyntax:
    """What everybody but its own ends needs to know of a codec. Methods with a body are what most codecs do."""

    facts: CodecFacts

    def tables(self, session: Session) -> bytes:
        """Return bytes that change when tables or weights that both ends need do; hashed into the fingerprint."""
        raise NotImplementedError

    def coded_size(self, session: Session) -> tuple[int, int]:
        """Return width and height in pixels at which pictures are coded, the camera's; the receiver scales them back.

        Raise ModelMissingError where a model's settings are damaged.
        """
        return session.camera.width, session.camera.height

    def kind(self, codec: Codec, number: int) -> str:
        """Return what section *number* carries, one of `facts.kinds`."""
        raise NotImplementedError

    def most_channels(self, session: Session) -> int | None:
        """Return how many latent channels the session's models have; None for a codec without any.

        Raise ModelMissingError where they are not on this machine.
        """
        return None

    def check(self, codec: Codec) -> None:
        """Raise ValueError, in one line, where the settings do not hold together."""

    def choices(self, session: Session) -> Mapping[str, tuple[int, ...]]:
        """Return the fields of `codec` that say how much of a picture is sent, each with values worth trying, rising.

        None for most codecs: they fill `frame_bytes`, which follows from the link's rate.
        Raise ModelMissingError where a model is not on this machine.
        """
        return {}

    def likely_bytes(self, session: Session) -> int:
        """Return how large a frame's payload gets: the budget, which most codecs fill."""
        return session.codec.frame_bytes or 1

    def worth_showing(self, codec: Codec, payload: Payload) -> bool:
        """Return whether a picture of the sections at hand is worth showing while the rest is asked for."""
        return any(section is not None for section in payload.sections)

    def stateful(self, session: Session) -> bool:
        """Return whether a picture depends on those drawn before it."""
        return False

    def batched(self, session: Session) -> bool:
        """Return whether the decoder is a `receiver.decoder.Batched` that draws faster by batches on a GPU."""
        return False

    def repeatable(self, session: Session) -> bool:
        """Return whether equal frames always give equal payloads."""
        return True

    def describe(self, codec: Mapping[str, Any], way: str) -> str:
        """Return how pictures were sent over *way*, the end of a sentence; *codec* as the journal has it."""
        return f"encoded with {codec['name']} and sent over {way}."

    def reader(self, session: Session) -> Callable[[Payload], Contents] | None:
        """Return what reads the sections at hand for people; None: they hold nothing that can be shown.

        Raise ModelMissingError where tables are not on this machine.
        """
        return None
