"""Loss by name, for tests and examples: which packets are lost is written down."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from link.channel.loss.model import LossModel, Lost


class PatternLoss(LossModel):
    """Loses the packets marked `x` in a pattern that repeats: `..x.` loses the third of every four."""

    model: Literal["pattern"]
    pattern: Annotated[str, Field(min_length=1, pattern=r"^[.x]+$")]

    @property
    def mean_loss(self) -> float:
        """See `LossModel.mean_loss`."""
        return self.pattern.count("x") / len(self.pattern)

    def lost_in_a_row(self, count: int) -> float:
        """See `LossModel.lost_in_a_row`."""
        size = len(self.pattern)
        twice = self.pattern * (1 + -(-count // size))
        return sum(twice[at : at + count] == "x" * count for at in range(size)) / size

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
