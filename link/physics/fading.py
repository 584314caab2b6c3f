"""Fades of a Rayleigh channel with a Gaussian Doppler spectrum, as on short wave (ITU-R F.1487; Watterson 1970).

Rice's formulae for how often and how long the amplitude is below a threshold rho, relative to its root mean square.
"""

from math import exp, expm1, pi, sqrt

CONDITIONS_HZ = {"quiet": 0.1, "moderate": 0.5, "disturbed": 1.0}
"""Doppler spread of ITU-R F.1487's conditions at mid latitudes; it is twice the spectrum's deviation sigma."""


def fade_share(threshold_db: float) -> float:
    """Return the share of time below *threshold_db* re the root mean square, 1 - e^(-rho^2)."""
    return -expm1(-(10.0 ** (threshold_db / 10.0)))


def fades_hz(threshold_db: float, sigma_hz: float) -> float:
    """Return how many fades begin a second, 2 sqrt(pi) sigma rho e^(-rho^2)."""
    rho2 = 10.0 ** (threshold_db / 10.0)
    return 2.0 * sqrt(pi) * sigma_hz * sqrt(rho2) * exp(-rho2)


def mean_fade_s(threshold_db: float, sigma_hz: float) -> float:
    """Return how long a fade is on average, in seconds."""
    return fade_share(threshold_db) / fades_hz(threshold_db, sigma_hz)


def mean_gap_s(threshold_db: float, sigma_hz: float) -> float:
    """Return how long it is on average from a fade's end to the next one's begin, in seconds."""
    return (1.0 - fade_share(threshold_db)) / fades_hz(threshold_db, sigma_hz)
