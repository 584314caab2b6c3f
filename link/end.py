"""What a sender or a receiver is to the clock."""

from typing import Protocol

from link.config import Session
from link.events import Output
from link.timing import Times


class End(Protocol):
    """A sender or a receiver, here or at the other end of a socket."""

    def step(self, now: int, arrivals: list[tuple[int, bytes]]) -> Output | None:
        """Take what arrived (packet number, bytes) and do what is due at *now*; None: the answer comes later."""

    def adjust(self, session: Session, times: Times) -> None:
        """Go on as *session* says, which differs in steered fields alone, from the next step on."""


class Core(End, Protocol):
    """A sender or a receiver in this process, which answers at once."""

    def step(self, now: int, arrivals: list[tuple[int, bytes]]) -> Output:
        """See `End.step`."""
