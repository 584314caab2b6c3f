"""The figure of a hop's budget over a run: its margin, its rate, and how often its bits or blocks are wrong."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from link.errors import UsageError
from link.physics.medium import LinkBudget
from scenarios.drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILION,
    Drawing,
    drawing,
    legend,
    sheet,
    time_unit,
)
from scenarios.results.table import replacing
from scenarios.words import rate

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, BLACK)
_LEAST_ERROR = 1e-12
_MOST_RATES = 9
"""That are written at the axis one by one."""


def draw(budgets: Sequence[tuple[str, LinkBudget]], span_s: float, points: int) -> Drawing:
    """Return the figure of *budgets*, (hop, budget), from the begin to *span_s*; an hour where nothing changes."""
    span_s = span_s or 3600.0
    times = np.linspace(0.0, span_s, points)
    found = {name: [about.at(float(time)) for time in times] for name, about in budgets}
    least = min(min(one.margin_db for one in row) for row in found.values())
    most = max(max(one.margin_db for one in row) for row in found.values())

    def paint(narrow: bool) -> Figure:
        unit_s, unit = time_unit(span_s)
        with sheet(narrow, 6.2, 3) as (figure, (margin, pace, wrong)):
            for at, (name, row) in enumerate(found.items()):
                colour, x = _COLOURS[at % len(_COLOURS)], times / unit_s
                margin.plot(x, [one.margin_db for one in row], color=colour, lw=1.6)
                pace.step(x, [one.rate_bps for one in row], color=colour, lw=1.6, where="mid")
                wrong.plot(x, [max(one.error_rate, _LEAST_ERROR) for one in row], color=colour, lw=1.6)
                for note in {one.block_bits for one in row}:
                    words = "bits" if note is None else f"blocks of {note} bits"
                    names[name] = f"{name} ({words})"
            margin.axhline(0.0, color=GREY, lw=1.0, ls="--")
            margin.set_ylabel("margin, dB")
            pace.set_ylabel("rate")
            pace.set_yscale("log")
            pace.yaxis.set_major_formatter(FuncFormatter(lambda value, _at: rate(value)))
            pace.yaxis.set_minor_formatter(NullFormatter())
            paces = sorted({one.rate_bps for row in found.values() for one in row})
            if len(paces) <= _MOST_RATES:
                pace.yaxis.set_major_locator(FixedLocator(paces))
                pace.yaxis.set_minor_locator(NullLocator())
            wrong.set_yscale("log")
            wrong.set_ylim(_LEAST_ERROR / 3.0, 2.0)
            wrong.yaxis.set_major_formatter(FuncFormatter(lambda value, _at: f"{value:.0e}"))
            wrong.yaxis.set_minor_formatter(NullFormatter())
            wrong.set_ylabel("error rate")
            wrong.set_xlabel(f"time of the run, {unit}")
            handles = [
                Line2D([], [], color=_COLOURS[at % len(_COLOURS)], label=names[name])
                for at, name in enumerate(found)
            ]
            legend(wrong, handles, narrow)
        return figure

    names: dict[str, str] = {}
    caption = (
        "Above: what is left beyond the Eb/N0 that the wanted error rate takes. Middle: the rate. Below: how often a "
        f"bit or a code block is wrong; {_LEAST_ERROR:g} stands for less."
    )
    alt = f"margin from {least:.1f} to {most:.1f} dB over {span_s:g} s"
    return drawing("margin", "Margin, rate and errors over the run", caption, alt, paint)


def write(drawn: Drawing, path: Path) -> None:
    """Write *drawn* to *path*, whose suffix says how. Raise UsageError for another suffix than .svg and .png."""
    forms = {".svg": drawn.wide, ".png": drawn.png}
    if path.suffix.lower() not in forms:
        raise UsageError(f"--figure {path}: a name that ends in .svg or .png was expected")
    with replacing(path) as fresh:
        fresh.write_bytes(forms[path.suffix.lower()])
