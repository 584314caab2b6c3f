"""Loss by fades in time: Gilbert's and Elliott's two states, with stays in seconds instead of packets.

Set by the physics of a Rayleigh channel, as short wave has it: how fast it changes, and how deep a fade loses.
"""

from math import exp
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from link.channel import NS
from link.channel.loss.model import BitsBy, TimedLossModel
from link.physics import fading


class FadeLoss(TimedLossModel):
    """Loses the packets that a fade meets while they are on the air.

    Fades and the gaps between them last exponential times, with the means that Rice's formulae give for a Rayleigh
    channel with a Gaussian Doppler spectrum.
    """

    model: Literal["fades"]
    sigma_hz: Annotated[float, Field(ge=1e-4, le=1e4)]
    """Deviation of the Doppler spectrum: half of ITU-R F.1487's spread (moderate: .25)."""
    threshold_db: Annotated[float, Field(ge=-60.0, le=6.0)]
    """What is below it is lost, relative to the root mean square: minus the fading margin."""

    @property
    def mean_loss(self) -> float:
        """The share of time in a fade: of packets that are short beside one."""
        return fading.fade_share(self.threshold_db)

    @property
    def _rates_hz(self) -> tuple[float, float]:
        """How often a second a gap and a fade end."""
        gap_s = fading.mean_gap_s(self.threshold_db, self.sigma_hz)
        return 1.0 / gap_s, 1.0 / fading.mean_fade_s(self.threshold_db, self.sigma_hz)

    def lost_after(self, tries: int) -> float:
        """See `LossModel.lost_after`: of packets that take no time, so that a fade outlasts all tries."""
        return self.mean_loss

    def lost_of(self, tries: int, packet_bytes: int, air_s: float) -> float:
        """See `LossModel.lost_of`. Tries follow at once, so a fade that lasts loses several of them."""
        begins, ends = self._rates_hz
        bad = begins / (begins + ends)
        fresh = 1.0 - exp(-(begins + ends) * air_s)
        to_bad, to_good = bad * fresh, (1.0 - bad) * fresh
        spared = exp(-begins * air_s)
        again = np.array([[1.0 - to_bad - spared, to_bad], [to_good, 1.0 - to_good]])
        shares = np.array([1.0 - bad, bad])
        return float(shares @ np.linalg.matrix_power(again, tries).sum(axis=1))

    def words(self) -> str:
        """See `LossModel.words`."""
        fade_s = fading.mean_fade_s(self.threshold_db, self.sigma_hz)
        return f"fades {self.mean_loss * 100:.3g} % of the time, for {fade_s:.3g} s on average"

    def draw_timed(self, rng: np.random.Generator, bits_by: BitsBy) -> "Fades":
        """See `TimedLossModel.draw_timed`."""
        return Fades(*self._rates_hz, rng)


class Fades:
    """One hop's fades: a Markov chain in time that is asked only while a packet is on the air."""

    def __init__(self, begins_hz: float, ends_hz: float, rng: np.random.Generator) -> None:
        self._begins, self._both = begins_hz / NS, (begins_hz + ends_hz) / NS
        self._share = begins_hz / (begins_hz + ends_hz)
        self._rng = rng
        self._at = 0
        self._bad = bool(rng.random() < self._share)

    def set_error_rate(self, error_rate: float) -> None:
        """Fades have none: how deep they lose is given."""

    def carry(self, data: bytes, start_ns: int, end_ns: int) -> bytes | None:
        """See `Timed.carry`."""
        self._go(start_ns)
        if not self._bad:
            fade = start_ns + self._rng.exponential(1.0 / self._begins)
            if fade >= end_ns:
                self._at = end_ns
                return data
            self._at, self._bad = int(fade), True
        self._go(end_ns)
        return None

    def _go(self, to_ns: int) -> None:
        """Draw the state at *to_ns* from the last one known: stays are exponential, so nothing else counts."""
        if to_ns <= self._at:
            return
        kept = exp(-self._both * (to_ns - self._at))
        chance = self._share + ((1.0 if self._bad else 0.0) - self._share) * kept
        self._at, self._bad = to_ns, bool(self._rng.random() < chance)
