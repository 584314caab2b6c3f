"""Encoders by codec name. A codec is a row here and a file of the same stem at each end and in the link."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from link.analysis import analyst
from link.codecs.classical import NAMES
from link.config import Session
from sender import folders
from sender.encoder import Encoder

Models = Mapping[str, Path | str]
"""Where models lie, by part; a name stands for one that lies elsewhere."""


@dataclass(frozen=True)
class EncoderRow:
    """The sending end of one codec."""

    make: Callable[[Session], Encoder]
    """Raise ModelMissingError or UsageError where the session's encoder cannot be made."""
    models: Callable[[Session], Models] = lambda _session: {}
    """The models that it runs; loads none of them."""
    worths: Callable[[Session], Callable[[int], tuple[float, ...]]] | None = None
    """Returns the `gains` of an encoder that is a `sender.encoder.Weighed`, loads no models; raises as `make` does."""

    def __call__(self, session: Session) -> Encoder:
        """Return the encoder of *session*. Raise as `make` does."""
        return self.make(session)


def _gsc(session: Session) -> Encoder:
    from sender.codecs.gsc import GscEncoder  # torch takes seconds to import, and classical codecs do without

    return GscEncoder.from_session(session)


def _gsc_worths(session: Session) -> Callable[[int], tuple[float, ...]]:
    from sender import calibration

    return partial(
        calibration.section_worths, session.codec, calibration.read(calibration.table_path(session))
    )


def _classical(session: Session) -> Encoder:
    from sender.codecs.classical import ClassicalEncoder  # not in the live page's process

    return ClassicalEncoder.from_session(session)


def _findings(session: Session) -> Encoder:
    from sender.codecs.findings import FindingsEncoder

    return FindingsEncoder.from_session(session)


def _sedic(session: Session) -> Encoder:
    from sender.codecs.sedic import SedicEncoder

    return SedicEncoder.from_session(session)


def _sggic(session: Session) -> Encoder:
    from sender.codecs.sggic import SggicEncoder

    return SggicEncoder.from_session(session)


ENCODERS: dict[str, EncoderRow] = {
    "gsc": EncoderRow(_gsc, folders.of_gsc, _gsc_worths),
    **{name: EncoderRow(_classical) for name in NAMES},
    "findings": EncoderRow(_findings, analyst.places),
    "sedic": EncoderRow(_sedic, folders.of_sedic),
    "sggic": EncoderRow(_sggic, folders.of_gsc),
}
