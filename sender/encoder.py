"""What an encoder is to the sender."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from link.config import Codec
from link.frame import Frame, Payload


@dataclass(frozen=True)
class Quality:
    """How much of a frame is sent: at most so many channels and words."""

    channels: int
    words: int
    """0: no caption."""


class Encoder(Protocol):
    """Turns a frame into sections, the most important first."""

    def encode(self, frame: Frame) -> Payload:
        """Return the sections of *frame*. Raise UsageError where the budget cannot be met at all."""


@runtime_checkable
class Adjustable(Encoder, Protocol):
    """An encoder that is told frame by frame how much to send, as rate control asks."""

    def encode_at(self, frame: Frame, quality: Quality) -> Payload:
        """Return the sections of *frame* with at most *quality* of it."""


@runtime_checkable
class Weighed(Encoder, Protocol):
    """An encoder that knows what its sections are worth, for protection that is not equal."""

    def gains(self, sections: int) -> tuple[float, ...]:
        """Return what each of a frame's *sections* adds to the quality, in their order, none below 0."""


@runtime_checkable
class SteeredEncoder(Encoder, Protocol):
    """An encoder whose settings may be changed while a run goes on."""

    def adjust(self, codec: Codec) -> None:
        """Encode as *codec* says from now on, which differs in steered fields alone (`link.marks.Steers`)."""
