"""The terms of a radio link's budget, from the transmitter's power to the rate it carries. Pure arithmetic, all in dB.

    EIRP - free space - atmosphere, pointing, polarisation + G/T - k  =  C/N0  - rate - implementation  =  Eb/N0

Formulae are the field's usual ones (CCSDS 401.0-B, link design control tables; Maral and Bousquet, Satellite
Communications Systems, chapter 5). Distances are in km, frequencies in Hz, temperatures in K, gains in dBi.
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import cos, exp, inf, log10, pi, radians, sin, sqrt

LIGHT_M_S = 299_792_458.0
BOLTZMANN_DB = -228.5991672
"""10 log k, in dB(W/(K Hz))."""
ROOM_K = 290.0
"""The reference temperature of noise figures."""
COSMIC_K = 2.73
AIR_K = 275.0
"""Mean physical temperature of the atmosphere that absorbs."""


def to_db(ratio: float) -> float:
    """Return *ratio* of powers, above 0, in dB."""
    return 10.0 * log10(ratio)


def from_db(db: float) -> float:
    """Return the ratio of powers that *db* stands for."""
    return float(10.0 ** (db / 10.0))


def dish_gain_dbi(diameter_m: float, frequency_hz: float, efficiency_ratio: float) -> float:
    """Return the gain of a parabolic antenna: eta (pi D f / c)^2."""
    return to_db(efficiency_ratio) + 20.0 * log10(pi * diameter_m * frequency_hz / LIGHT_M_S)


def beamwidth_deg(diameter_m: float, frequency_hz: float) -> float:
    """Return the full width of a parabolic antenna's beam at half power, about 70 lambda / D degrees."""
    return 70.0 * LIGHT_M_S / frequency_hz / diameter_m


def beamwidth_of_gain_deg(gain_dbi: float) -> float:
    """Return the full width at half power of a beam known by its gain alone, as of a dish with efficiency .6.

    The gain is .6 (pi D f / c)^2 and the width 70 c / (f D), so it is 70 pi sqrt(.6 / gain).
    """
    return 70.0 * pi * sqrt(0.6 / from_db(gain_dbi))


def pointing_loss_db(error_deg: float, width_deg: float) -> float:
    """Return what an antenna loses that points *error_deg* beside, with a beam *width_deg* wide: 12 (error / width)^2.

    Raise ValueError beyond a whole beam width, where the main lobe's parabola no longer holds.
    """
    if error_deg > width_deg:
        raise ValueError(
            f"a pointing error of {error_deg:g} deg is over the beam's width of {width_deg:.3g} deg, where the gain is "
            "not known"
        )
    return 12.0 * (error_deg / width_deg) ** 2


def free_space_db(distance_km: float, frequency_hz: float) -> float:
    """Return the free-space path loss, 20 log(4 pi d f / c)."""
    return 20.0 * log10(4.0 * pi * distance_km * 1e3 * frequency_hz / LIGHT_M_S)


def polarisation_loss_db(one_db: float, other_db: float, tilt_deg: float = 0.0) -> float:
    """Return what two elliptical polarisations of the same sense lose.

    *one_db* and *other_db* are their axial ratios in dB (0: circular; inf: linear), *tilt_deg* the angle between their
    long axes.
    """
    # With u = 1/r, so that linear polarisation (r infinite) is as plain as any other.
    u, v = (0.0 if db == inf else 10.0 ** (-db / 20.0) for db in (one_db, other_db))
    turned = (u * u - 1.0) * (v * v - 1.0) * cos(2.0 * radians(tilt_deg))
    return -to_db(0.5 * (1.0 + (4.0 * u * v + turned) / ((1.0 + u * u) * (1.0 + v * v))))


def sky_k(attenuation_db: float) -> float:
    """Return the noise temperature of the sky through an atmosphere that takes *attenuation_db*."""
    through = from_db(-attenuation_db)
    return AIR_K * (1.0 - through) + COSMIC_K * through


def system_k(antenna_k: float, line_loss_db: float, noise_figure_db: float) -> float:
    """Return a receiver's system noise temperature, at its input: antenna, line at 290 K, and its own."""
    loss = from_db(line_loss_db)
    return antenna_k / loss + ROOM_K * (1.0 - 1.0 / loss) + ROOM_K * (from_db(noise_figure_db) - 1.0)


def dsn_antenna_k(
    elevation_deg: float, t1_k: float = 11.63, t2_k: float = 7.11, slope: float = 0.065
) -> float:
    """Return the antenna's and receiver's part of a DSN station's noise at *elevation_deg*, T1 + T2 e^(-a el).

    The defaults are DSS-14's in X band (DSN 810-005, module 101, table A-3).
    """
    return t1_k + t2_k * exp(-slope * elevation_deg)


def carrier_to_noise_dbhz(eirp_dbw: float, losses_db: float, g_t_db_k: float) -> float:
    """Return C/N0 in dBHz."""
    return eirp_dbw - losses_db + g_t_db_k - BOLTZMANN_DB


def data_power_db(index_deg: float) -> float:
    """Return the share of power that a residual carrier leaves to data, in dB (at most 0): 20 log sin m."""
    return 20.0 * log10(sin(radians(index_deg)))


def in_series_db(*ratios_db: float) -> float:
    """Return what several C/N (or C/I) come to in a row: their inverses add up."""
    return -to_db(sum(from_db(-ratio) for ratio in ratios_db))


def highest_rate_bps(
    c_n0_dbhz: float, required_db: float, margin_db: float, implementation_db: float = 0.0
) -> float:
    """Return the rate at which *c_n0_dbhz* leaves *margin_db* above the Eb/N0 of *required_db*."""
    return from_db(c_n0_dbhz - implementation_db - required_db - margin_db)


def rung_bps(rates_bps: Sequence[float], highest_bps: float) -> float:
    """Return the highest of *rates_bps*, which rise, that is not over *highest_bps*; the lowest where all are."""
    # A rate that was computed to be met exactly must not be missed by rounding.
    return rates_bps[max(0, bisect_right(rates_bps, highest_bps * (1.0 + 1e-12)) - 1)]


def slant_range_km(height_km: float, elevation_deg: float, radius_km: float = 6378.137) -> float:
    """Return the distance to what is *height_km* above a sphere, seen at *elevation_deg*."""
    up = sin(radians(elevation_deg))
    top = radius_km + height_km
    return sqrt(top * top - (radius_km * cos(radians(elevation_deg))) ** 2) - radius_km * up
