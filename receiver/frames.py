"""Frames as a receiver keeps them: those whose packets are coming in, and those that are closed."""

from dataclasses import dataclass, field

from link.frame import Payload
from link.repair import arq


@dataclass
class OpenFrame:
    """A frame whose packets are coming in."""

    timer: arq.AskTimer
    deadline_ns: int
    data: dict[int, bytes] = field(default_factory=dict)
    count: int | None = None
    """Number of data packets, once the last of them or a repair packet told."""
    planned_ns: int | None = None
    """The frame's entry on the agenda."""
    show_ns: int | None = None
    """When to draw what is there, while the rest has been asked for."""
    drawn: Payload | None = None
    """What the decoder was given then."""
    shown: bool = False
    """Whether that made a picture."""

    def mark_shown(self) -> None:
        """Note that there is a picture."""
        self.shown = True

    @property
    def due_ns(self) -> int:
        """When the frame next wants something done."""
        wanted = (self.timer.due_ns, self.show_ns, self.deadline_ns)
        return min(due for due in wanted if due is not None)

    @property
    def complete(self) -> bool:
        """Whether all of its packets are here."""
        return (
            self.count is not None
            and len(self.data) >= self.count
            and all(map(self.data.__contains__, range(self.count)))
        )

    def request(self, lacking: int | None) -> arq.RepairRequest:
        """Return what to ask for, where *lacking* packets would do for the frame's block of the erasure code."""
        last = self.count if self.count is not None else max(self.data, default=-1) + 1
        missing = tuple(index for index in range(last) if index not in self.data)
        if self.count is None:
            return arq.RepairRequest(missing, last)
        enough = 0 if lacking is None else max(1, lacking)
        return arq.RepairRequest(missing, None, enough if enough < len(missing) else 0)


@dataclass
class ClosedFrame:
    """A frame that is waited for no more, as long as late packets of it are to be told apart."""

    seen: set[int]
    complete: bool
    data: dict[int, bytes]
    """What other frames of its block may still need."""
