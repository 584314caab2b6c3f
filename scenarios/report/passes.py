"""The figure of a run's contacts and delays: when each hop is there, and how far its ends are apart meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scenarios.drawing import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
    Drawing,
    drawing,
    sheet,
    time_unit,
)

_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)
_MOST_ROWS = 24
_NS = 1_000_000_000


@dataclass(frozen=True)
class HopContacts:
    """What is drawn of one hop, or of one pair of a plan's nodes."""

    name: str
    windows_s: Sequence[tuple[float, float]]
    """When it is there."""
    delays: Sequence[tuple[float, float]] = ()
    """(sent, delay) in seconds; empty: it does not change."""


def hop_contacts(link: dict[str, Any], until_s: float) -> list[HopContacts]:
    """Return what is drawn of the hops of *link*, as a journal's head holds it, for a run until *until_s*.

    Empty where nothing is known beforehand: no hop has given outages or a delay that changes.
    """
    rows = []
    told = False
    ways = [(hop["name"], hop) for hop in link["hops"]]
    if link.get("return"):
        ways.append(("return", link["return"]))
    for name, hop in ways:
        outage = hop.get("outage") or {}
        gaps = outage.get("windows_s") or []
        knots = [(sent / _NS, delay / _NS) for sent, delay in hop.get("delay_knots_ns") or []]
        told = told or bool(gaps or knots)
        rows.append(HopContacts(name, open_between(gaps, until_s), knots))
    return rows if told else []


def open_between(gaps: Sequence[Sequence[float]], until_s: float) -> list[tuple[float, float]]:
    """Return the times from 0 to *until_s* outside *gaps*, which are in order."""
    edges = [0.0, *(min(edge, until_s) for gap in gaps for edge in gap), until_s]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end > start]


def draw_contacts(rows: Sequence[HopContacts], until_s: float) -> Drawing:
    """Return the figure of *rows*, from 0 to *until_s*."""
    unit, name = time_unit(until_s)
    shown = rows[:_MOST_ROWS]
    moving = [row for row in shown if len(row.delays) > 1][:4]
    count = sum(len(row.windows_s) for row in rows)
    caption = (
        "When each hop is there: what is sent meanwhile leaves at once, all else waits for the next contact or is "
        "lost. Below, how long light takes over a hop whose ends move, while they see each other."
    )
    if len(rows) > len(shown):
        caption += f" The first {len(shown)} of {len(rows)} are drawn."
    alt = f"{count} contacts of {len(rows)} hops over {until_s / unit:.3g} {name}"

    def paint(narrow: bool) -> Figure:
        panels = 1 + len(moving)
        with sheet(narrow, 0.9 + 0.32 * len(shown) + 1.8 * len(moving), panels) as (figure, axes):
            _bars(axes[0], shown, unit)
            for panel, row in zip(axes[1:], moving, strict=True):
                _delay(panel, row, unit, _COLOURS[shown.index(row) % len(_COLOURS)])
            axes[0].set_xlim(0.0, until_s / unit)
            axes[-1].set_xlabel(f"time since the start, in {name}")
        return figure

    return drawing("contacts", "When the hops are there", caption, alt, paint)


def _bars(axes: Axes, rows: Sequence[HopContacts], unit: float) -> None:
    for place, row in enumerate(rows):
        bars = [(start / unit, (end - start) / unit) for start, end in row.windows_s]
        colour = _COLOURS[place % len(_COLOURS)]
        axes.axhline(place, color=PALE, linewidth=1.0, zorder=0)
        # A line at the start as well: a pass of minutes in a plan of weeks is less than a pixel.
        axes.broken_barh(bars, (place - 0.35, 0.7), color=colour, edgecolor=colour, linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(False, axis="y")


def _delay(axes: Axes, row: HopContacts, unit: float, colour: str) -> None:
    sent, delays = np.array(row.delays).T
    scale, name = time_unit(float(delays.max()))
    for start, end in row.windows_s:
        inside = (sent >= start - 1e-3) & (sent <= end + 1e-3)
        if inside.any():
            axes.plot(sent[inside] / unit, delays[inside] / scale, color=colour, linewidth=1.8)
    axes.set_ylabel(f"{name} one way", fontsize=8)
    axes.set_title(row.name, fontsize=9, loc="left")
