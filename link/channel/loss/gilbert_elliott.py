"""Loss in bursts: the two-state chain of Gilbert (1960) and Elliott (1963)."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from link.channel.draw import Uniform
from link.channel.loss.model import LossModel, Lost
from link.fields import Ratio


class GilbertElliottLoss(LossModel):
    """Two-state loss, set by its mean and its mean burst length (Gilbert 1960, Elliott 1963)."""

    model: Literal["gilbert_elliott"]
    loss: Annotated[float, Field(ge=0.0, lt=1.0)]
    """Mean share of packets lost."""
    mean_burst: Annotated[float, Field(ge=1.0, le=1e9)]
    """Mean number of packets spent in the bad state at a stretch; with `loss_bad` 1 the mean burst length."""
    loss_good: Ratio = 0.0
    loss_bad: Ratio = 1.0

    @model_validator(mode="after")
    def _reachable(self) -> "GilbertElliottLoss":
        if not self.loss_good <= self.loss <= self.loss_bad:
            raise ValueError("loss must lie between loss_good and loss_bad")
        if self.loss_bad > self.loss_good:
            bad = self._bad_share
            if bad < 1.0 and bad / (1.0 - bad) / self.mean_burst > 1.0:
                raise ValueError(f"loss {self.loss:g} needs a mean_burst of at least {bad / (1.0 - bad):.3g}")
            if bad == 1.0:
                raise ValueError("loss equals loss_bad: the good state would never be visited")
        return self

    @property
    def _bad_share(self) -> float:
        """The share of packets that meet the bad state, which follows from the mean loss."""
        spread = self.loss_bad - self.loss_good
        return (self.loss - self.loss_good) / spread if spread else 0.0

    @property
    def _leaving(self) -> tuple[float, float]:
        """The chances to leave the good and the bad state after a packet."""
        leave_bad = 1.0 / self.mean_burst
        return leave_bad * self._bad_share / (1.0 - self._bad_share), leave_bad

    @property
    def mean_loss(self) -> float:
        """See `LossModel.mean_loss`."""
        return self.loss

    def lost_after(self, tries: int) -> float:
        """See `LossModel.lost_after`."""
        leave_good, leave_bad = self._leaving
        move = np.array([[1.0 - leave_good, leave_good], [leave_bad, 1.0 - leave_bad]])
        chance = np.array([[self.loss_good], [self.loss_bad]])
        again, through = chance * move, (1.0 - chance) * move
        given_up = np.linalg.matrix_power(again, tries)
        # The state that a packet meets, from packet to packet; its stationary shares are those of a packet's begin.
        onward = given_up + sum(np.linalg.matrix_power(again, turn) @ through for turn in range(tries))
        shares = np.array([onward[1, 0], onward[0, 1]])
        if not shares.any():
            shares = np.array([1.0 - self._bad_share, self._bad_share])
        return float(shares @ given_up.sum(axis=1) / shares.sum())

    def words(self) -> str:
        """See `LossModel.words`."""
        return f"loses {self.loss * 100:.3g} % of packets, in bursts of about {self.mean_burst:.3g}"

    def draw(self, rng: np.random.Generator) -> Lost:
        """See `LossModel.draw`. The chain begins in its stationary state.

        Stays in a state are geometric, so one number is drawn a stay instead of one a packet.
        """
        leave_good, leave_bad = self._leaving
        uniform = Uniform(rng)
        bad = uniform() < self._bad_share
        chance = {True: self.loss_bad, False: self.loss_good}

        def stay() -> float:
            leave = leave_bad if bad else leave_good
            return float(rng.geometric(leave)) if leave > 0.0 else float("inf")

        left = stay()

        def lost() -> bool:
            nonlocal bad, left
            if left == 0:
                bad = not bad
                left = stay()
            left -= 1
            probability = chance[bad]
            return probability >= 1.0 or (probability > 0.0 and uniform() < probability)

        return lost
