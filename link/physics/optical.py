"""Light with pulse position modulation, counted photon by photon, without background: the noiseless Poisson channel.

A symbol is one pulse in one of M slots. With K photons detected in a pulse on average it is erased with e^-K, and the
channel's capacity is (1 - e^-K) log2 M bits a symbol (Wyner 1988; CCSDS 141.0-B).
"""

from collections.abc import Callable
from functools import cache
from math import exp, inf, log2, pi
from typing import Annotated, Literal

from pydantic import Field, model_validator

from link.errors import UsageError
from link.fields import Ratio
from link.physics.budget import LIGHT_M_S, free_space_db, from_db, rung_bps, to_db
from link.physics.medium import Assessment, LossDb, Metres, RatedBudget, Sheet, Watts

PLANCK_J_S = 6.626_070_15e-34


def photon_j(wavelength_m: float) -> float:
    """Return the energy of a photon: 1.2816e-19 J at 1550 nm."""
    return PLANCK_J_S * LIGHT_M_S / wavelength_m


def aperture_gain_dbi(diameter_m: float, wavelength_m: float) -> float:
    """Return the gain of a telescope without losses, (pi D / lambda)^2."""
    return 2.0 * to_db(pi * diameter_m / wavelength_m)


def erasure(photons: float) -> float:
    """Return how often a pulse of *photons* on average is not seen, e^-K."""
    return exp(-photons)


def capacity_bits(photons: float, order: int) -> float:
    """Return how many bits a symbol of *order* slots carries at most, with *photons* a pulse."""
    return (1.0 - exp(-photons)) * log2(order)


def word_error(erased: float, symbols: int, code_rate: float) -> float:
    """Return how often a word of *symbols* loses more than the share that an ideal erasure code of *code_rate* mends.

    An ideal code (MDS) reads a word from any *code_rate* of its symbols: exact for it, and a bound for real ones.
    """
    from scipy.stats import binom

    spare = symbols - round(symbols * code_rate)
    return float(binom.sf(spare, symbols, erased))


@cache
def required_photons(wanted: float, symbols: int, code_rate: float) -> float:
    """Return K at which words fail at the rate *wanted*, 0 to 1 exclusive."""
    return _solve(lambda photons: word_error(erasure(photons), symbols, code_rate), wanted)


def _solve(rate: Callable[[float], float], wanted: float) -> float:
    low, high = 0.0, 700.0
    while high - low > 1e-12 * high:
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        low, high = (middle, high) if rate(middle) > wanted else (low, middle)
    return high


class OpticalBudget(RatedBudget):
    """Light, pulse position modulated, behind an ideal erasure code: no background light, no turbulence."""

    medium: Literal["optical"]
    wavelength_m: Annotated[float, Field(ge=1e-7, le=1e-4)] = 1.55e-6
    power_w: Watts
    transmit_aperture_m: Metres
    transmit_loss_db: LossDb = 0.0
    pointing_db: LossDb = 0.0
    receive_aperture_m: Metres
    receive_loss_db: LossDb = 0.0
    atmosphere_db: LossDb = 0.0
    detection_ratio: Annotated[Ratio, Field(gt=0.0)] = 1.0
    """The share of photons that are counted."""
    order: Annotated[int, Field(ge=2, le=4096)] = 16
    """Slots of a symbol, a power of two."""
    code_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    word_symbols: Annotated[int, Field(ge=8, le=1_000_000)] = 3780
    """Symbols of a word of the code."""

    @model_validator(mode="after")
    def _holds_together(self) -> "OpticalBudget":
        if self.order & (self.order - 1):
            raise ValueError(f"order {self.order} is no power of two")
        return self

    def assess(self, distance_km: float, elevation_deg: float | None = None) -> Assessment:
        """See `LinkBudget.assess`."""
        sheet, f = Sheet(), LIGHT_M_S / self.wavelength_m
        sheet.add("transmit power", f"{self.power_w:g} W", to_db(self.power_w), "dBW")
        gain = aperture_gain_dbi(self.transmit_aperture_m, self.wavelength_m)
        sheet.add(
            "transmit telescope",
            f"{self.transmit_aperture_m:g} m, {self.wavelength_m * 1e9:g} nm",
            gain,
            "dBi",
        )
        _subtract(sheet, "transmit losses", self.transmit_loss_db)
        _subtract(sheet, "pointing", self.pointing_db)
        sheet.sum("EIRP", "dBW")
        sheet.add("free space", f"{distance_km:.6g} km", -free_space_db(distance_km, f))
        _subtract(sheet, "atmosphere", self.atmosphere_db)
        gain = aperture_gain_dbi(self.receive_aperture_m, self.wavelength_m)
        sheet.add("receive telescope", f"{self.receive_aperture_m:g} m", gain, "dBi")
        _subtract(sheet, "receive losses", self.receive_loss_db)
        _subtract(sheet, "detection", -to_db(self.detection_ratio))
        _subtract(sheet, "implementation", self.implementation_db)
        power = sheet.sum("detected", "dBW")
        symbol_bits = self.code_rate * log2(self.order)
        photons_s = from_db(power) / photon_j(self.wavelength_m)
        required = required_photons(self.wanted_error_rate, self.word_symbols, self.code_rate)
        notes = [
            "The code is an ideal erasure code [assumed, a bound for SCPPM of CCSDS 142.0-B]; no background light."
        ]
        # A symbol of all slots carries symbol_bits, so at R bit/s there are R / symbol_bits pulses a second.
        highest = photons_s / (required * from_db(self.margin_db)) * symbol_bits
        rate = self.rate_bps
        if rate is None:
            rate = highest if self.rates_bps is None else rung_bps(self.rates_bps, highest)
            if self.rates_bps is not None and highest < self.rates_bps[0]:
                notes.append("The margin is not there even at the lowest rate.")
        if not 0.001 <= rate <= 1e12:
            raise UsageError(f"the budget leaves {rate:.3g} bit/s; 0.001 to 1e12 were expected")
        photons = photons_s * symbol_bits / rate
        margin = to_db(photons / required) if photons else -inf
        erased = erasure(photons)
        error = word_error(erased, self.word_symbols, self.code_rate)
        slot_s = symbol_bits / rate / self.order
        sheet.say("rate", f"code rate {self.code_rate:g}, slots of {slot_s:.3g} s", rate, "bit/s")
        sheet.say("photons a pulse", f"PPM of {self.order}, erased {erased:.4g}", photons, "")
        capacity = capacity_bits(photons, self.order) / (self.order * slot_s)
        sheet.say("capacity", "of the noiseless channel", capacity, "bit/s")
        words = f"word error rate {self.wanted_error_rate:g}"
        sheet.say("required photons", words, required, "")
        sheet.say("margin", "", margin, "dB")
        block = round(self.word_symbols * symbol_bits)
        sheet.say("block error rate", f"of {block} bits", error, "")
        return Assessment(
            tuple(sheet.terms), rate, margin, error if error > 1e-12 else 0.0, block, notes=tuple(notes)
        )


def _subtract(sheet: Sheet, label: str, loss_db: float) -> None:
    if loss_db:
        sheet.add(label, "", -loss_db)
