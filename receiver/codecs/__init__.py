"""Decoders by codec name, the mirror of `sender.codecs`."""

from collections.abc import Callable

from link.codecs.classical import NAMES
from link.config import Session
from receiver.codecs.classical import ClassicalDecoder
from receiver.decoder import Decoder


def _gsc(session: Session) -> Decoder:
    from receiver.codecs.gsc import (
        GscDecoder,  # torch takes seconds to import, and classical codecs do without
    )

    return GscDecoder.from_session(session)


DECODERS: dict[str, Callable[[Session], Decoder]] = {
    "gsc": _gsc,
    **{name: ClassicalDecoder.from_session for name in NAMES},
}
