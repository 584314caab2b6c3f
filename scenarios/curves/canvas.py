"""What the figures of a sweep share: how a codec looks, panels in a grid, logarithmic axes, lines of reference.

A codec has its colour and its mark everywhere; lines of one codec (other losses, other sweeps) differ in style.
Colours are Okabe and Ito's, as in a run's report.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from scenarios.curves.metric import Metric
from scenarios.curves.series import PICTURE, Results, Series
from scenarios.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, sheet

_CODECS = {  # those that are compared most often; others take what is spare
    "gsc": (BLUE, "o"),
    "webp": (VERMILION, "s"),
    "jpeg2000": (GREEN, "^"),
    "avif": (ORANGE, "D"),
    "jpeg": (PURPLE, "v"),
}
_SPARE = ((SKY, "P"), (BLACK, "X"), (PURPLE, "<"), (GREEN, ">"), (VERMILION, "h"), (ORANGE, "p"), (BLUE, "d"))
STYLES: tuple[Any, ...] = ("solid", "dashed", "dashdot", "dotted", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
AXES = {
    "bytes": "bytes a frame, on the air",
    "bps": "bit/s, on the air",
    "bpp": "payload, bits per pixel",
}
_COLUMNS = 3


@dataclass(frozen=True)
class LineLook:
    """How a line is drawn."""

    colour: str
    mark: str
    style: Any
    filled: bool

    def options(self, line: bool = True) -> dict[str, Any]:
        """Return what matplotlib is told."""
        return {
            "color": self.colour,
            "marker": self.mark,
            "markersize": 5.5,
            "markerfacecolor": self.colour if self.filled else "white",
            "markeredgecolor": self.colour if not self.filled else "white",
            "markeredgewidth": 0.6 if self.filled else 1.2,
            "linestyle": self.style if line else "",
            "linewidth": 1.9,
        }


def looks(results: Results) -> dict[tuple[str, str, str], LineLook]:
    """Return the look of each line by (sweep, codec, variant): the same in every figure."""
    keys = list(dict.fromkeys((line.sweep, line.codec, line.variant) for line in results.series))
    codecs = list(dict.fromkeys(codec for _, codec, _ in keys))
    kinds = list(dict.fromkeys((sweep, variant) for sweep, _, variant in keys))
    if len(codecs) == 1:  # then colour is free to tell lines apart
        cycle = [*_CODECS.values(), *_SPARE]
        return {
            key: LineLook(*cycle[at % len(cycle)], STYLES[at // len(cycle) % len(STYLES)], True)
            for at, key in enumerate(keys)
        }
    others = [codec for codec in codecs if codec not in _CODECS]
    found: dict[tuple[str, str, str], LineLook] = {}
    for key in keys:
        colour, mark = _CODECS.get(key[1]) or _SPARE[others.index(key[1]) % len(_SPARE)]
        place = kinds.index((key[0], key[2]))
        found[key] = LineLook(colour, mark, STYLES[place % len(STYLES)], place == 0)
    return found


def _grid(figure: Figure, count: int, narrow: bool) -> tuple[list[Axes], Axes | None]:
    """Return the axes of *count* panels, and an empty place among them for the legend, if there is one."""
    columns = 1 if narrow else min(count, _COLUMNS)
    rows = math.ceil(count / columns)
    figure.clear()
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.set_axis_off()
    return axes[:count], axes[count] if len(axes) > count else None


def painter(
    count: int, paint: Callable[[Sequence[Axes]], list[Any]], x_label: str | None
) -> Callable[[bool], Figure]:
    """Return what draws a figure of *count* panels; *paint* fills them and returns the legend's handles."""

    def whole(narrow: bool) -> Figure:
        rows = count if narrow else math.ceil(count / _COLUMNS)
        with sheet(narrow, 0.6 + (2.6 if narrow else 3.0 if count > 1 else 4.0) * rows) as (figure, _):
            axes, spare = _grid(figure, count, narrow)
            handles = paint(axes)
            for at, panel in enumerate(axes):
                below = at + (1 if narrow else min(count, _COLUMNS))
                if x_label is not None and (below >= count):
                    panel.set_xlabel(x_label)
            if spare is not None and len(handles) <= 14:
                spare.legend(handles=handles, loc="center left", handlelength=3.2)
            else:
                longest = max((len(handle.get_label()) for handle in handles), default=0)
                columns = (
                    (2 if longest < 22 else 1) if narrow else max(1, min(len(handles), 110 // (longest + 8)))
                )
                figure.legend(handles=handles, loc="outside lower left", ncols=columns, handlelength=3.2)
        return figure

    return whole


def format_number(value: float, _at: int = 0) -> str:
    """Return a number without exponents, for an axis."""
    return f"{value:.0f}" if value >= 1 and value == round(value) else f"{value:g}"


def log_x(axes: Axes, values: Sequence[float]) -> None:
    """Give *axes* a logarithmic x-axis around *values* (all above 0), with plain numbers on it."""
    axes.set_xscale("log")
    low, high = min(values), max(values)
    margin = max((high / low) ** 0.06, 1.06)
    axes.set_xlim(low / margin, high * margin)
    decades = math.log10(high / low * margin**2)
    subs = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.6 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(format_number))
    axes.xaxis.set_minor_formatter(NullFormatter())


def title_panel(axes: Axes, source: str, metric: Metric) -> None:
    """Say what a panel shows."""
    what = metric.title + (
        " (agreement)" if metric.reference == "original" and metric.task != PICTURE else ""
    )
    axes.set_title(f"{clip(source)} · {what}", loc="left", fontsize=10, fontweight="bold")
    axes.set_ylabel(metric.label)


def clip(text: str, most: int = 30) -> str:
    """Return *text*, cut where it is longer than *most*."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def key_of(line: Series) -> tuple[str, str, str]:
    """Return the key of a line in looks()."""
    return line.sweep, line.codec, line.variant


def handles_of(results: Results, lines: Sequence[Series]) -> list[Any]:
    """Return the legend's handles of *lines*, each name once."""
    style = looks(results)
    found: dict[str, Line2D] = {}
    for line in lines:
        name = results.name(line)
        found.setdefault(name, Line2D([], [], label=clip(name, 48), **style[key_of(line)].options()))
    return list(found.values())


def reference(
    axes: Axes, value: float, text: str, colour: str, style: Any, above: bool = True, left: bool = True
) -> None:
    """Draw a level across *axes*, with its name."""
    axes.axhline(value, color=colour, linestyle=style, linewidth=1.1, zorder=1)
    axes.annotate(
        text,
        (0.012 if left else 0.988, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2 if above else -2),
        textcoords="offset points",
        ha="left" if left else "right",
        va="bottom" if above else "top",
        fontsize=8,
        color=colour,
    )
