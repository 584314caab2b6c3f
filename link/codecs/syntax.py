"""The interface of a codec's payload syntax."""

from typing import Protocol

from link.config import Codec, Session


class PayloadSyntax(Protocol):
    """What the wire and the report need to know of a codec's sections."""

    def tables(self, session: Session) -> bytes:
        """Return bytes that change when tables or weights that both ends need do; hashed into the fingerprint."""

    def coded_size(self, session: Session) -> tuple[int, int]:
        """Return width and height in pixels at which pictures are coded; the receiver scales them back.

        Raise ModelMissingError where a model's settings are damaged.
        """

    def kind(self, codec: Codec, number: int) -> str:
        """Return what section *number* carries, as the report names it (`picture`, `caption`, ...)."""
