"""The interface of a codec's payload syntax."""

from typing import Protocol


class PayloadSyntax(Protocol):
    """What the wire and the report need to know of a codec's sections."""

    @property
    def tables(self) -> bytes:
        """Bytes that change when tables or weights do; hashed into the fingerprint."""

    def kind(self, number: int) -> str:
        """Return what section *number* carries, as the report names it (`picture`, `caption`, ...)."""
