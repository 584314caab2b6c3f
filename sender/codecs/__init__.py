"""Encoders by codec name. A codec is a row here and a file of the same stem at each end and in the link."""

from collections.abc import Callable
from typing import Protocol

from link.codecs.classical import NAMES
from link.config import Session
from link.frame import Frame, Payload
from sender.codecs.classical import ClassicalEncoder


class Encoder(Protocol):
    """Turns a frame into sections, the most important first."""

    def encode(self, frame: Frame) -> Payload:
        """Return the sections of *frame*. Raise UsageError where the budget cannot be met at all."""


def _gsc(session: Session) -> Encoder:
    from sender.codecs.gsc import GscEncoder  # torch takes seconds to import, and classical codecs do without

    return GscEncoder.from_session(session)


ENCODERS: dict[str, Callable[[Session], Encoder]] = {
    "gsc": _gsc,
    **{name: ClassicalEncoder.from_session for name in NAMES},
}
