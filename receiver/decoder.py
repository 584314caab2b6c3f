"""What a decoder and those who look at its pictures are to the receiver."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from link.config import Session
from link.frame import Payload, Pixels


class PictureLostError(Exception):
    """A decoder ended over a picture, whatever the bytes were; it can be given others."""


class Decoder(Protocol):
    """Turns the sections that arrived into a picture."""

    def decode(self, payload: Payload) -> Pixels | None:
        """Return the picture at the scenario's size, or None where nothing can be shown. Never raises on bad bytes.

        Raise PictureLostError where the decoder itself did not survive them.
        """


class Batched(Decoder, Protocol):
    """A decoder that draws several pictures at a time, faster than one by one on a GPU."""

    def decode_many(self, payloads: Sequence[Payload]) -> list[Pixels | None]:
        """Return what `decode` returns for each of *payloads*, but for rounding."""


@runtime_checkable
class SteeredPart(Protocol):
    """A decoder or onlooker whose settings may be changed while a run goes on."""

    def adjust(self, session: Session) -> None:
        """Go on as *session* says, which differs in steered fields alone (`link.marks.Steers`), and needs no other
        models.
        """


Seen = Sequence[tuple[str, dict[str, Any], bytes | None]]
"""(kind, fields, PNG) of an event for each task."""


@runtime_checkable
class SectionOnlooker(Protocol):
    """Reads out of a payload what was found before it was sent; no picture is looked at."""

    def find(self, payload: Payload) -> Seen:
        """Return an event for each task. Never raises on bad bytes."""


class Onlooker(Protocol):
    """Finds things in pictures, as `link.analysis.analyst.Analyst` does."""

    def look(self, pixels: Pixels) -> Seen:
        """Return an event for each model. Never raises on a picture."""
