"""Decoders by codec name, the mirror of `sender.codecs`."""

from collections.abc import Callable
from typing import Protocol

from link.codecs.classical import NAMES
from link.config import Session
from link.frame import Payload, Pixels
from receiver.codecs.classical import ClassicalDecoder


class Decoder(Protocol):
    """Turns the sections that arrived into a picture."""

    def decode(self, payload: Payload) -> Pixels | None:
        """Return the picture at the scenario's size, or None where nothing can be shown. Never raises on bad bytes."""


def _gsc(session: Session) -> Decoder:
    from receiver.codecs.gsc import (
        GscDecoder,  # torch takes seconds to import, and classical codecs do without
    )

    return GscDecoder.from_session(session)


DECODERS: dict[str, Callable[[Session], Decoder]] = {
    "gsc": _gsc,
    **{name: ClassicalDecoder.from_session for name in NAMES},
}
