"""Independent loss."""

from typing import Literal

import numpy as np

from link.channel.draw import Uniform
from link.channel.loss.model import LossModel, Lost
from link.fields import Ratio


class BernoulliLoss(LossModel):
    """Loses each packet independently."""

    model: Literal["bernoulli"]
    loss: Ratio

    @property
    def mean_loss(self) -> float:
        """See `LossModel.mean_loss`."""
        return self.loss

    def lost_after(self, tries: int) -> float:
        """See `LossModel.lost_after`."""
        return float(self.loss**tries)

    def words(self) -> str:
        """See `LossModel.words`."""
        return f"loses {self.loss * 100:.3g} % of packets"

    def draw(self, rng: np.random.Generator) -> Lost:
        """See `LossModel.draw`."""
        uniform = Uniform(rng)
        loss = self.loss
        return lambda: uniform() < loss
