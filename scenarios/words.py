"""Figures as people say them, and text from outside as a page may show it."""

from collections.abc import Mapping
from typing import Any

from link.terminal import escape


def plain(value: object) -> object:
    """Return what a page shows of *value*: text with controls and bidi marks spelled out, all else as it is.

    A mark that turns the reading order round would turn the page's own words round with it.
    """
    return escape(value, keep="\n\t") if type(value) is str else value


def duration(seconds: float) -> str:
    """Return a time as people say it: `10 min 35 s`, `3.2 s`, `5 ms`."""
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next(at for at, (value, _) in enumerate(parts) if value)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2] if value)


def percent(share: float) -> str:
    """Return a share in percent: `72 %`, `0.3 %`."""
    return f"{share * 100:.0f} %" if share >= 0.01 or share == 0 else f"{share * 100:.1g} %"


def rate(bps: float) -> str:
    """Return a bit rate as people say it: `500 bit/s`, `2 kbit/s`."""
    for least, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bps >= least:
            return f"{bps / least:.4g} {unit}"
    return f"{bps:.3g} bit/s"


def size(count: float) -> str:
    """Return a number of bytes as people say it."""
    if count < 10_000:
        return f"{count:,.0f} bytes"
    return f"{count / 1e3:,.1f} kB" if count < 1e6 else f"{count / 1e6:,.1f} MB"


def scaling(head: Mapping[str, Any]) -> str | None:
    """Return how a run's pictures were scaled for the codec's models; None where they were not.

    *head* is the journal's first record.
    """
    coded, camera = head.get("coded_size"), head["scenario"]["camera"]
    if coded is None or (coded["width"], coded["height"]) == (camera["width"], camera["height"]):
        return None
    return f"scaled to {coded['width']}×{coded['height']}, which the models are made for, and back"
