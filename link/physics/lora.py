"""LoRa: how long a packet is on the air, the rate, and how weak a signal may be (Semtech SX1276, AN1200.13)."""

from math import ceil

from link.physics.budget import to_db

SLOWEST_SYMBOL_S = 16e-3
"""A symbol that is longer is sent with the low data rate optimisation."""
FACTORS = range(7, 13)
LIMIT_DB = {7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}
"""The least SNR in its bandwidth at which a receiver demodulates, by spreading factor (Semtech)."""
SX1276_DBM = {7: -123.0, 8: -126.0, 9: -129.0, 10: -132.0, 11: -133.0, 12: -136.0}
"""Sensitivity at 125 kHz in the high band, by spreading factor (SX1276 data sheet, revision 7, RFS_L125_HF)."""


def symbol_s(spreading_factor: int, bandwidth_hz: float) -> float:
    """Return how long a chirp is, 2^SF / BW."""
    return (1 << spreading_factor) / bandwidth_hz


def air_time_s(
    size_bytes: int,
    spreading_factor: int,
    bandwidth_hz: float = 125e3,
    coding: int = 1,
    preamble: int = 8,
    *,
    header: bool = True,
    crc: bool = True,
) -> float:
    """Return how long a packet of *size_bytes* is on the air; *coding* 1 to 4 means 4/5 to 4/8."""
    slow = symbol_s(spreading_factor, bandwidth_hz) > SLOWEST_SYMBOL_S
    bits = 8 * size_bytes - 4 * spreading_factor + 28 + 16 * crc - 20 * (not header)
    symbols = 8 + max(0, ceil(bits / (4 * (spreading_factor - 2 * slow))) * (coding + 4))
    return (preamble + 4.25 + symbols) * symbol_s(spreading_factor, bandwidth_hz)


def rate_bps(spreading_factor: int, bandwidth_hz: float = 125e3, coding: int = 1) -> float:
    """Return the rate of a packet's body, SF BW / 2^SF times 4 / (4 + coding)."""
    return spreading_factor / symbol_s(spreading_factor, bandwidth_hz) * 4.0 / (4.0 + coding)


def silence_s(air_s: float, duty_ratio: float) -> float:
    """Return how long a sub-band must be silent after *air_s* on the air: T(1/d - 1)."""
    return air_s * (1.0 / duty_ratio - 1.0)


def sensitivity_dbm(
    spreading_factor: int, bandwidth_hz: float = 125e3, noise_figure_db: float = 6.0
) -> float:
    """Return the weakest signal that is demodulated: -174 + 10 log BW + NF + the limit of its spreading factor."""
    return -174.0 + to_db(bandwidth_hz) + noise_figure_db + LIMIT_DB[spreading_factor]
