"""How everything here is drawn: one palette, one style, by matplotlib without a display, the same bytes every time.

Each figure is drawn twice as SVG, wide and narrow, so that its lettering can be read on a telephone too. Colours are
Okabe and Ito's, which people with any kind of colour vision can tell apart; marks differ in shape as well.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, SKY, GREEN, ORANGE = "#0072b2", "#56b4e9", "#009e73", "#e69f00"
VERMILION, PURPLE, YELLOW, BLACK = "#d55e00", "#cc79a7", "#f0e442", "#1b1f24"
GREY, PALE = "#8c959f", "#d0d7de"
_WIDE, _NARROW = 10.0, 4.6  # inches; 96 pixels each on a page

_RC: Any = {
    "svg.hashsalt": "farlink",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": BLACK,
    "text.color": BLACK,
    "xtick.color": BLACK,
    "ytick.color": BLACK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,  # 23.561, not 0.001 on top of +2.356e1
    "axes.grid": True,
    "grid.color": "#e7eaee",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class Drawing:
    """One figure in all its forms."""

    name: str
    title: str
    caption: str
    alt: str
    wide: bytes
    """SVG."""
    narrow: bytes
    """SVG."""
    png: bytes


@contextmanager
def sheet(narrow: bool, height: float, panels: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """Give an empty figure of *height* inches, and its axes one above the other."""
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(_NARROW if narrow else _WIDE, height), layout="constrained")
        axes = figure.subplots(panels, 1, squeeze=False, sharex=panels > 1)
        yield figure, list(axes[:, 0])


def drawing(name: str, title: str, caption: str, alt: str, paint: Callable[[bool], Figure]) -> Drawing:
    """Return a figure that *paint* draws, given whether it is to be narrow."""
    wide, narrow = paint(False), paint(True)
    page, telephone = _save(wide, "svg"), _save(narrow, "svg")
    wide.set_layout_engine("none")  # what the first form was laid out to holds: half the time is laying out
    return Drawing(name, title, caption, alt, page, telephone, _save(wide, "png"))


def _save(figure: Figure, form: str) -> bytes:
    out = io.BytesIO()
    about = {"Date": None, "Creator": "farlink"} if form == "svg" else {"Software": "farlink"}
    with mpl.rc_context(_RC):
        figure.savefig(out, format=form, dpi=144, metadata=about)
    return out.getvalue()


def time_unit(span_s: float) -> tuple[float, str]:
    """Return (seconds in a unit, its name) for an axis of *span_s*."""
    for most, unit, name in (
        (1.0, 1e-3, "milliseconds"),
        (180.0, 1.0, "seconds"),
        (10_800.0, 60.0, "minutes"),
    ):
        if span_s < most:
            return unit, name
    return (3600.0, "hours") if span_s < 4 * 86_400 else (86_400.0, "days")


def legend(axes: Axes, handles: Sequence[Any], narrow: bool, columns: int = 4) -> None:
    """Put a legend below all axes."""
    # Below the axes: it never lies over what is drawn, however that falls out.
    if narrow:
        columns = 2 if max(len(handle.get_label()) for handle in handles) < 28 else 1
    axes.figure.legend(handles=list(handles), loc="outside lower left", ncols=columns)
