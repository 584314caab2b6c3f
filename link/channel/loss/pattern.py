"""Loss by name, for tests and examples: which packets are lost is written down."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from link.channel.loss.model import LossModel, Lost


class PatternLoss(LossModel):
    """Loses the packets marked `x` in a pattern that repeats: `..x.` loses the third of every four."""

    model: Literal["pattern"]
    pattern: Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"^[.x]+$")]

    @property
    def mean_loss(self) -> float:
        """See `LossModel.mean_loss`."""
        return self.pattern.count("x") / len(self.pattern)

    def lost_after(self, tries: int) -> float:
        """See `LossModel.lost_after`."""
        size = len(self.pattern)
        seen: dict[int, tuple[int, int]] = {}  # packets and losses so far, by the place where a packet began
        at = packets = lost = 0
        while at not in seen:
            seen[at] = packets, lost
            marks = (self.pattern * (1 + -(-tries // size)))[at : at + tries]
            used = marks.find(".")
            packets, lost = packets + 1, lost + (used < 0)
            at = (at + (tries if used < 0 else used + 1)) % size
        return (lost - seen[at][1]) / (packets - seen[at][0])

    def words(self) -> str:
        """See `LossModel.words`."""
        return f"loses packets in the pattern {self.pattern}"

    def draw(self, rng: np.random.Generator) -> Lost:
        """See `LossModel.draw`; nothing is random here."""
        marks = [mark == "x" for mark in self.pattern]
        at = -1

        def lost() -> bool:
            nonlocal at
            at = (at + 1) % len(marks)
            return marks[at]

        return lost
