"""Decoders by codec name, the mirror of `sender.codecs`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from link.analysis import analyst
from link.codecs.classical import NAMES
from link.config import Session
from receiver import folders
from receiver.codecs.classical import ClassicalDecoder
from receiver.decoder import Decoder, SectionOnlooker


@dataclass(frozen=True)
class DecoderRow:
    """The receiving end of one codec."""

    make: Callable[[Session], Decoder]
    """Raise ModelMissingError or UsageError where the session's decoder cannot be made."""
    models: Callable[[Session], Mapping[str, Path]] = lambda _session: {}
    """Where the models lie that it runs, by part; loads none of them."""
    onlooker: Callable[[Session], SectionOnlooker] | None = None
    """Makes what reads findings out of the sections, where the codec sends these; None: models look at its pictures."""

    def __call__(self, session: Session) -> Decoder:
        """Return the decoder of *session*. Raise as `make` does."""
        return self.make(session)


def _gsc(session: Session) -> Decoder:
    from receiver.codecs.gsc import (
        GscDecoder,  # torch takes seconds to import, and classical codecs do without
    )

    return GscDecoder.from_session(session)


def _findings(session: Session) -> Decoder:
    from receiver.codecs.findings import FindingsDecoder

    return FindingsDecoder.from_session(session)


def _findings_reader(session: Session) -> SectionOnlooker:
    from receiver.codecs.findings import FindingsReader

    return FindingsReader.from_session(session)


def _sedic(session: Session) -> Decoder:
    from receiver.codecs.sedic import SedicDecoder

    return SedicDecoder.from_session(session)


def _sggic(session: Session) -> Decoder:
    from receiver.codecs.sggic import SggicDecoder

    return SggicDecoder.from_session(session)


DECODERS: dict[str, DecoderRow] = {
    "gsc": DecoderRow(_gsc, folders.of_gsc),
    **{name: DecoderRow(ClassicalDecoder.from_session) for name in NAMES},
    "findings": DecoderRow(_findings, analyst.places, _findings_reader),
    "sedic": DecoderRow(_sedic, folders.of_gsc),
    "sggic": DecoderRow(_sggic, folders.of_sggic),
}
