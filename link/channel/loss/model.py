"""What every loss model is: a configuration that knows its mean, its words and how it draws."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

import numpy as np

from link.fields import Model

Lost = Callable[[], bool]
"""Says of the next packet whether it is lost."""
BitsBy = Callable[[int], int]
"""Takes a time in ns and gives how many bits a transmitter would have sent by then, had it never been idle."""


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

    def lost_of(self, tries: int, packet_bytes: int, air_s: float) -> float:
        """Return the same of packets of *packet_bytes* that are *air_s* on the air; to most models all are alike."""
        return self.lost_after(tries)

    @abstractmethod
    def words(self) -> str:
        """Return what it does to packets as people say it: `loses 5 % of packets`."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Lost:
        """Return a function that decides packet by packet; *rng* belongs to it alone."""


class TimedLossModel(LossModel):
    """A model that asks when a packet is on the air, and how large it is: hops use `draw_timed` in place of `draw`."""

    @abstractmethod
    def draw_timed(self, rng: np.random.Generator, bits_by: BitsBy) -> "Timed":
        """Return what decides packet by packet; *rng* belongs to it alone, *bits_by* is of the hop's transmitter."""

    def draw(self, rng: np.random.Generator) -> Lost:
        """Raise TypeError: without times such a model cannot say."""
        raise TypeError(f"the loss model {self.model} decides by time: draw_timed")


class Timed(Protocol):
    """What a `TimedLossModel` draws with."""

    def carry(self, data: bytes, start_ns: int, end_ns: int) -> bytes | None:
        """Return what is left of a packet that was on the air from *start_ns* to *end_ns*, None where it is lost.

        Starts never decrease.
        """

    def set_error_rate(self, error_rate: float) -> None:
        """Go on with *error_rate*, 0 to 1, from the next packet on."""
