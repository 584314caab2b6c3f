"""What both ends of a CFDP transaction keep to, and what they wait for."""

from dataclasses import dataclass
from typing import Protocol

from link.cfdp.pdus import CfdpCondition
from link.repair.sight import AnswerTimes


@dataclass(frozen=True)
class CfdpSettings:
    """What an end keeps to. Times in nanoseconds."""

    pdu_bytes: int
    """A PDU at most, its header and CRC included."""
    sight: AnswerTimes
    """When answers of the other end may come."""
    quiet_ns: int
    """How long after a PDU the next of an unbroken row may come, from the receiver's side: then what is missing is
    lost."""
    row_ns: int = 0
    """How long the whole file takes to send: all of it may be lost, and to a receiver that is silence too."""
    tries: int = 8
    """How often something is sent that nobody answers, or gaps are asked for of which nothing comes."""
    most_bytes: int = 1 << 26
    """Of a file that is received."""
    must_check: bool = False
    """Whether PDUs without a CRC are refused: where both ends have them, such a one is damaged."""

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError(f"{self.tries} tries; at least one is")


@dataclass(frozen=True)
class CfdpOutgoing:
    """A PDU to put on the air."""

    data: bytes
    timer: str = ""
    """Which timer begins when its last bit is sent."""


class CfdpTimers:
    """A few timers by name: when each is due, and how often it was begun."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._tries: dict[str, int] = {}

    def plan(self, name: str, due: int) -> None:
        """Have *name* be due at *due*."""
        self._due[name] = due

    def plan_later(self, name: str, due: int) -> None:
        """Have *name* be due at *due* at the earliest."""
        self._due[name] = max(due, self._due.get(name, due))

    def waits(self, name: str) -> bool:
        """Whether *name* is planned."""
        return name in self._due

    def stop(self, *names: str) -> None:
        """Have none of *names* be due, and forget how often they were."""
        for name in names:
            self._due.pop(name, None)
            self._tries.pop(name, None)

    def clear(self) -> None:
        """Stop all."""
        self._due.clear()
        self._tries.clear()

    def count(self, name: str) -> int:
        """Count one more try of *name*; return how many there were."""
        self._tries[name] = self._tries.get(name, 0) + 1
        return self._tries[name]

    def take_due(self, now: int) -> str | None:
        """Take the first that is due by *now*; None: none is."""
        name = min(self._due, key=self._due.__getitem__, default=None)
        if name is None or self._due[name] > now:
            return None
        del self._due[name]
        return name

    @property
    def next_ns(self) -> int | None:
        """When the first is due."""
        return min(self._due.values(), default=None)


class CfdpEnd(Protocol):
    """What both ends have."""

    condition: CfdpCondition | None

    @property
    def next_ns(self) -> int | None:
        """When something is due; None: nothing is."""

    def take(self, now: int) -> CfdpOutgoing | None:
        """Return what goes next, None where nothing does."""

    def sent(self, item: CfdpOutgoing, end: int) -> None:
        """Note that the last bit of *item* left at *end*."""

    def wake(self, now: int) -> None:
        """Do what is due at *now*."""

    def receive(self, data: bytes, now: int) -> None:
        """Take what arrived. Raise CfdpError where it is no PDU, or not one for this transaction."""
