"""The interface of a codec's payload syntax."""

from typing import Protocol

from link.config import Codec, Session


class PayloadSyntax(Protocol):
    """What the wire and the report need to know of a codec's sections."""

    def tables(self, session: Session) -> bytes:
        """Return bytes that change when tables or weights that both ends need do; hashed into the fingerprint."""

    def kind(self, codec: Codec, number: int) -> str:
        """Return what section *number* carries, as the report names it (`picture`, `caption`, ...)."""
