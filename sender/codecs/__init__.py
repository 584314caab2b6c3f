"""Encoders by codec name. A codec is a row here and a file of the same stem at each end and in the link."""

from collections.abc import Callable

from link.codecs.classical import NAMES
from link.config import Session
from sender.codecs.classical import ClassicalEncoder
from sender.encoder import Encoder


def _gsc(session: Session) -> Encoder:
    from sender.codecs.gsc import GscEncoder  # torch takes seconds to import, and classical codecs do without

    return GscEncoder.from_session(session)


ENCODERS: dict[str, Callable[[Session], Encoder]] = {
    "gsc": _gsc,
    **{name: ClassicalEncoder.from_session for name in NAMES},
}
