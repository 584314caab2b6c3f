"""Where the Sun, the planets and the Moon are, and how long light takes between them; offline, by astropy.

astropy's builtin ephemeris (Simon et al. 1994 for the planets, ELP 2000-82B for the Moon by way of ERFA) is within
15 ms of DE421 in the light time to the Sun, Mercury and Venus, 61 ms to Mars, 0.2 to 1.1 s to the outer planets, 36
microseconds to the Moon (2020 to 2034). Light travels straight at c in the solar system's barycentric frame: the Sun's
gravity would add up to 0.25 ms.

A leg has five light times, and they differ. `light_time_s` is that of what an observer receives at an instant (as
Horizons' `1-way_down_LT`); `delay_s` that of what is sent at an instant, which is what a packet needs.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from link.errors import UsageError

C_KM_S = 299_792.458
BODIES = ("sun", "mercury", "venus", "earth", "moon", "mars", "jupiter", "saturn", "uranus", "neptune")
"""What the ephemeris knows. It has no Pluto."""
ITERATIONS = 4
"""Of the fixed point: each gains a factor of c over the body's speed, 5,000 or more."""

_STEP_S, _MARGIN = 3600.0, 6
"""astropy is asked once an hour; a cubic spline in between is within two centimetres (0.06 ns)."""

Floats = NDArray[np.float64]
Track = Callable[[Floats], Floats]
"""Positions in km, shape (N, 3), ICRS axes, at so many seconds after the start, shape (N,)."""


def astropy_modules() -> tuple[Any, Any]:
    """Return astropy's `time` and `coordinates`, told to stay off the network.

    The first of its three settings must be made before `astropy.time` is imported, which loads leap seconds; without
    the second, dates after its bundled measurements raise. Raise UsageError where astropy is missing.
    """
    try:
        from astropy.utils import iers
    except ImportError:
        raise UsageError("light times and passes need astropy: pip install 'farlink[physics]'") from None
    iers.conf.auto_download = False
    iers.conf.auto_max_age = None
    iers.conf.iers_degraded_accuracy = "ignore"
    import astropy.coordinates
    import astropy.time

    return astropy.time, astropy.coordinates


def times_at(at: datetime, seconds: Floats) -> Any:
    """Return astropy's times *seconds* after *at* (UTC), shape (N,)."""
    time, _ = astropy_modules()
    return time.Time(at.replace(tzinfo=None), scale="utc") + time.TimeDelta(np.asarray(seconds), format="sec")


def body_track(body: str, at: datetime) -> Track:
    """Return where the centre of *body* is, from the solar system's barycentre, in seconds after *at* (UTC).

    Raise UsageError where the ephemeris does not know it.
    """
    if body not in BODIES:
        raise UsageError(f"the ephemeris knows no {body}; there are {', '.join(BODIES)}")
    _, coordinates = astropy_modules()
    from scipy.interpolate import CubicSpline

    spline: Any = None

    def track(seconds: Floats) -> Floats:
        nonlocal spline
        t = np.asarray(seconds, np.float64)
        low, high = (float(t.min()), float(t.max())) if t.size else (0.0, 0.0)
        if spline is None or low < spline.x[_MARGIN] or high > spline.x[-1 - _MARGIN]:
            if spline is not None:
                low, high = min(low, spline.x[_MARGIN]), max(high, spline.x[-1 - _MARGIN])
            hours = np.arange(np.floor(low / _STEP_S) - _MARGIN, np.ceil(high / _STEP_S) + _MARGIN + 1.0)
            found = coordinates.get_body_barycentric(body, times_at(at, hours * _STEP_S), ephemeris="builtin")
            places = [axis.to_value("km") for axis in (found.x, found.y, found.z)]
            spline = CubicSpline(hours * _STEP_S, np.stack(places, -1))
        return np.asarray(spline(t))

    return track


def sent_delays_s(sender: Track, receiver: Track, sent_s: Floats) -> Floats:
    """Return how long what *sender* sends at *sent_s* is on its way to *receiver*, which moves meanwhile."""
    sent_s = np.asarray(sent_s, np.float64)
    start = sender(sent_s)
    delay = np.zeros_like(sent_s)
    for _ in range(ITERATIONS):
        delay = _distances(receiver(sent_s + delay) - start) / C_KM_S
    return delay


def received_delays_s(observer: Track, body: Track, received_s: Floats) -> Floats:
    """Return how long what *observer* receives at *received_s* was on its way from *body*."""
    received_s = np.asarray(received_s, np.float64)
    end = observer(received_s)
    delay = np.zeros_like(received_s)
    for _ in range(ITERATIONS):
        delay = _distances(end - body(received_s - delay)) / C_KM_S
    return delay


def _distances(vectors: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))


def light_time_s(observer: str, body: str, at: datetime) -> float:
    """Return how old the light of *body* is that *observer* receives at *at* (UTC), in seconds; both are `BODIES`.

    Raise UsageError where one is none, or astropy is missing.
    """
    zero = np.zeros(1)
    return float(received_delays_s(body_track(observer, at), body_track(body, at), zero)[0])


def delay_s(sender: str, receiver: str, sent_at: datetime) -> float:
    """Return how long a packet is on its way that *sender* sends at *sent_at* (UTC) to *receiver*, in seconds.

    Raise UsageError where one is not of `BODIES`, or astropy is missing.
    """
    zero = np.zeros(1)
    return float(sent_delays_s(body_track(sender, sent_at), body_track(receiver, sent_at), zero)[0])
