"""The modelled channel: queue, rate, outage, loss, delay, composed per hop on SimPy's clock.

All times are integers, nanoseconds of run time, so delays are exact and journals identical everywhere.
"""

NS = 1_000_000_000
"""Nanoseconds in a second."""


def to_ns(seconds: float) -> int:
    """Return *seconds* in whole nanoseconds."""
    return round(seconds * NS)
