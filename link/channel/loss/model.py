"""What every loss model is: a configuration that knows its mean, its words and how it draws."""

from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from link.fields import Model

Lost = Callable[[], bool]
"""Says of the next packet whether it is lost."""


class LossModel(Model):
    """A row of `link.channel.loss.LOSS_MODELS` and a file beside this one."""

    model: str
    """Its name in the table; subclasses say which by a Literal."""

    @property
    @abstractmethod
    def mean_loss(self) -> float:
        """Mean share of packets lost, 0 to 1."""

    @abstractmethod
    def lost_after(self, tries: int) -> float:
        """Return the share of packets, 0 to 1, that are lost *tries* times, each sent again at once while it is lost.

        With one try that is the mean loss.
        """

    @abstractmethod
    def words(self) -> str:
        """Return what it does to packets as people say it: `loses 5 % of packets`."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Lost:
        """Return a function that decides packet by packet; *rng* belongs to it alone."""
