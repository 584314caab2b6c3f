"""Error rates of uncoded modulations in white Gaussian noise, from Eb/N0. scipy is imported where it is needed.

g is Eb/N0 as a ratio. Formulae: Proakis, Digital Communications, chapters 4 and 5; LoRa as M = 2^SF orthogonal chirps
that are detected without their phase (Elshabrawy and Robert 2018, whose closed form is .18 to .35 dB too optimistic
and is not used here).
"""

from collections.abc import Callable, Mapping
from math import comb, erfc, exp, fsum, log2, sqrt
from typing import Final

import numpy as np

from link.physics.budget import from_db

_SURE = 1e4
GMSK_ALPHA = 0.68
"""Of GMSK with BT .25: its loss against MSK (Murota and Hirade 1981); the error rate is approximate."""


def q(x: float) -> float:
    """Return the Gaussian tail probability, Q(x)."""
    return 0.5 * erfc(x / sqrt(2.0))


def psk_error_rate(g: float) -> float:
    """Return the bit error rate of BPSK, QPSK and MSK, coherent: Q(sqrt(2g))."""
    return q(sqrt(2.0 * g))


def differentially_encoded_error_rate(g: float) -> float:
    """Return that of BPSK, coherent, with bits encoded as changes: 2p(1 - p)."""
    p = psk_error_rate(g)
    return 2.0 * p * (1.0 - p)


def dbpsk_error_rate(g: float) -> float:
    """Return that of DBPSK, detected from symbol to symbol: e^-g / 2."""
    return 0.5 * exp(-g)


def dqpsk_error_rate(g: float) -> float:
    """Return that of DQPSK with Gray coding: Q1(a, b) - I0(ab) e^(-(a^2 + b^2)/2) / 2.

    a, b = sqrt(2g(1 -+ sqrt .5)).
    """
    from scipy.special import i0e
    from scipy.stats import ncx2

    a, b = sqrt(2.0 * g * (1.0 - sqrt(0.5))), sqrt(2.0 * g * (1.0 + sqrt(0.5)))
    if a == 0.0:
        return 0.5
    if g > _SURE:
        return 0.0  # less than any float; scipy has no answer here
    marcum = float(ncx2.sf(b * b, 2, a * a))
    return marcum - 0.5 * float(i0e(a * b)) * exp(a * b - (a * a + b * b) / 2.0)


def gmsk_error_rate(g: float) -> float:
    """Return about that of GMSK, BT .25, coherent: Q(sqrt(2 alpha g)) with alpha .68."""
    return q(sqrt(2.0 * GMSK_ALPHA * g))


def orthogonal_symbol_error_rate(alphabet: int, symbol_snr: float) -> float:
    """Return the symbol error rate of *alphabet* orthogonal signals detected without phase, at Es/N0 *symbol_snr*.

    Up to 32 signals by the alternating sum, above by the integral that it solves, since its terms cancel.
    """
    if alphabet <= 32:
        return fsum(
            (-1) ** (i + 1) * comb(alphabet - 1, i) / (i + 1) * exp(-i * symbol_snr / (i + 1))
            for i in range(1, alphabet)
        )
    from scipy.special import i0e

    a = sqrt(2.0 * symbol_snr)
    x = np.linspace(max(0.0, a - 12.0), a + 12.0, 24_001)
    with np.errstate(divide="ignore"):
        beaten = -np.expm1((alphabet - 1) * np.log1p(-np.exp(-x * x / 2.0)))
    return float(np.trapz(beaten * x * np.exp(-((x - a) ** 2) / 2.0) * i0e(a * x), x))


def fsk_error_rate(g: float, alphabet: int) -> float:
    """Return the bit error rate of non-coherent *alphabet*-FSK with orthogonal tones."""
    symbols = orthogonal_symbol_error_rate(alphabet, g * log2(alphabet))
    return symbols * alphabet / 2.0 / (alphabet - 1.0)


def lora_error_rate(snr: float, spreading_factor: int) -> float:
    """Return the bit error rate of LoRa's chirps at *snr*, a ratio in its bandwidth."""
    alphabet = 1 << spreading_factor
    return orthogonal_symbol_error_rate(alphabet, snr * alphabet) * alphabet / 2.0 / (alphabet - 1.0)


ErrorRate = Callable[[float], float]
"""Takes Eb/N0 as a ratio."""
MODULATIONS: Final[Mapping[str, ErrorRate]] = {
    "bpsk": psk_error_rate,
    "qpsk": psk_error_rate,
    "msk": psk_error_rate,
    "bpsk-differential": differentially_encoded_error_rate,
    "dbpsk": dbpsk_error_rate,
    "dqpsk": dqpsk_error_rate,
    "gmsk": gmsk_error_rate,
    "fsk-2": lambda g: fsk_error_rate(g, 2),
    "fsk-4": lambda g: fsk_error_rate(g, 4),
    "fsk-8": lambda g: fsk_error_rate(g, 8),
    "fsk-16": lambda g: fsk_error_rate(g, 16),
}
"""Bit error rates by name."""
COHERENT = ("bpsk", "qpsk", "msk")
"""Of those, what the tables of codes hold for: binary antipodal signals with a known phase."""


def solve_db(rate: ErrorRate, wanted: float, low_db: float = -60.0, high_db: float = 60.0) -> float:
    """Return the dB at which *rate*, a falling function of a ratio, comes to *wanted*. Within 1e-9 dB.

    Raise ValueError where it does not between *low_db* and *high_db*.
    """
    if not rate(from_db(low_db)) > wanted > rate(from_db(high_db)):
        raise ValueError(f"an error rate of {wanted:g} is not reached between {low_db:g} and {high_db:g} dB")
    while high_db - low_db > 1e-9:
        middle = (low_db + high_db) / 2.0
        low_db, high_db = (middle, high_db) if rate(from_db(middle)) > wanted else (low_db, middle)
    return high_db
