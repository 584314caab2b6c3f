"""Encoders by codec name. A codec is a row here and a file of the same stem at each end and in the link."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from link.codecs.classical import NAMES
from link.config import Session
from link.frame import Frame, Payload
from sender.codecs.classical import ClassicalEncoder
from sender.rate_control import Quality


class Encoder(Protocol):
    """Turns a frame into sections, the most important first."""

    def encode(self, frame: Frame) -> Payload:
        """Return the sections of *frame*. Raise UsageError where the budget cannot be met at all."""


@runtime_checkable
class Adjustable(Encoder, Protocol):
    """An encoder that is told frame by frame how much to send, as rate control asks."""

    def encode_at(self, frame: Frame, quality: Quality) -> Payload:
        """Return the sections of *frame* with at most *quality* of it."""


def _gsc(session: Session) -> Encoder:
    from sender.codecs.gsc import GscEncoder  # torch takes seconds to import, and classical codecs do without

    return GscEncoder.from_session(session)


ENCODERS: dict[str, Callable[[Session], Encoder]] = {
    "gsc": _gsc,
    **{name: ClassicalEncoder.from_session for name in NAMES},
}
