"""Sound in water: absorption, spreading, the sea's noise. Frequencies in kHz, distances in km, levels in dB re 1 uPa.

Thorp 1967 (in dB/km: the form with .1 and 40 is for a kiloyard), spreading as k 10 log of metres, noise by Wenz as
Coates 1990 and Stojanovic 2007 give it.
"""

from math import log10, sqrt
from typing import Annotated, Literal

from pydantic import Field, model_validator

from link.fields import Ratio
from link.physics.budget import from_db, to_db
from link.physics.medium import Assessment, RatedBudget, Sheet, Watts, in_hz
from link.physics.radio import Modulation, require_code, with_rate

SOUND_M_S = 1500.0
SOURCE_DB = 170.8
"""Source level of one acoustic watt, all round, at 1 m (Urick)."""


def absorption_db_km(frequency_khz: float) -> float:
    """Return what sea water absorbs, in dB a km, by Thorp's formula (above a few hundred hertz)."""
    f2 = frequency_khz * frequency_khz
    return 0.11 * f2 / (1.0 + f2) + 44.0 * f2 / (4100.0 + f2) + 2.75e-4 * f2 + 0.003


def transmission_loss_db(distance_km: float, frequency_khz: float, spreading: float = 1.5) -> float:
    """Return spreading and absorption over *distance_km*, at least 1 m; *spreading*: 1 cylindrical, 2 spherical."""
    spread = spreading * to_db(max(distance_km * 1e3, 1.0))
    return spread + absorption_db_km(frequency_khz) * distance_km


def noise_db(frequency_khz: float, shipping: float = 0.5, wind_m_s: float = 0.0) -> float:
    """Return the noise in dB re 1 uPa^2/Hz: turbulence, ships (0 to 1), waves by wind, and heat, summed as powers."""
    lg = log10(frequency_khz)
    turbulence = 17.0 - 30.0 * lg
    ships = 40.0 + 20.0 * (shipping - 0.5) + 26.0 * lg - 60.0 * log10(frequency_khz + 0.03)
    waves = 50.0 + 7.5 * sqrt(wind_m_s) + 20.0 * lg - 40.0 * log10(frequency_khz + 0.4)
    heat = -15.0 + 20.0 * lg
    return to_db(sum(map(from_db, (turbulence, ships, waves, heat))))


def source_level_db(power_w: float) -> float:
    """Return the source level of *power_w* of sound, all round, in dB re 1 uPa at 1 m."""
    return SOURCE_DB + to_db(power_w)


class AcousticBudget(RatedBudget):
    """Sound through the sea. Levels are those at the carrier, as for a narrow band; nothing is reflected."""

    medium: Literal["acoustic"]
    frequency_hz: Annotated[float, Field(ge=100.0, le=1e6)]
    power_w: Watts
    """Of sound, not of electricity."""
    transmit_directivity_db: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
    receive_directivity_db: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
    spreading: Annotated[float, Field(ge=1.0, le=2.0)] = 1.5
    """1: cylindrical, in shallow water; 2: spherical; 1.5 is customary."""
    shipping: Ratio = 0.5
    wind_m_s: Annotated[float, Field(ge=0.0, le=60.0)] = 5.0
    modulation: Modulation = "fsk-2"
    code: Annotated[str, Field(max_length=64)] | None = None

    @model_validator(mode="after")
    def _known_code(self) -> "AcousticBudget":
        require_code(self.modulation, self.code, self.damaged_ratio)
        return self

    def assess(self, distance_km: float, elevation_deg: float | None = None) -> Assessment:
        """See `LinkBudget.assess`."""
        sheet, khz = Sheet(), self.frequency_hz / 1e3
        level = source_level_db(self.power_w)
        sheet.add("source level", f"{self.power_w:g} W of sound", level, "dB re 1 uPa at 1 m")
        if self.transmit_directivity_db:
            sheet.add("transmit directivity", "", self.transmit_directivity_db)
        absorbed = absorption_db_km(khz) * distance_km
        lost = transmission_loss_db(distance_km, khz, self.spreading)
        sheet.add("spreading", f"{distance_km:.6g} km, {self.spreading:g} x 10 log m", -(lost - absorbed))
        sheet.add("absorption", f"Thorp, {in_hz(self.frequency_hz)}", -absorbed)
        if self.receive_directivity_db:
            sheet.add("receive directivity", "", self.receive_directivity_db)
        words = f"shipping {self.shipping:g}, wind {self.wind_m_s:g} m/s"
        sheet.add("noise", words, -noise_db(khz, self.shipping, self.wind_m_s), "dB re 1 uPa^2/Hz")
        c_n0 = sheet.sum("C/N0", "dBHz")
        notes = ["Echoes and Doppler are not reckoned: a real sea may need 10 dB and more above this."]
        return with_rate(self, sheet, c_n0, self.modulation, self.code, notes)
