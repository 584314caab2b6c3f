"""The figures of one run's report: bytes, waiting, age and quality; those of its packets are in `timeline`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from link.journal import Run
from scenarios.drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    Drawing,
    drawing,
    legend,
    sheet,
    time_unit,
)
from scenarios.results.metrics import NS, FrameRow, shown_age
from scenarios.scoring import pictures
from scenarios.words import percent

STATUS_COLOURS = {"complete": GREEN, "partial": ORANGE, "lost": VERMILION, "superseded": GREY}
_STATUS_MARKS = {"complete": "o", "partial": "D", "lost": "X", "superseded": "v"}


def draw(run: Run, rows: Sequence[FrameRow], metrics: Mapping[str, Any]) -> list[Drawing]:
    """Return the figures that apply to *run*, but for the packets' (`scenarios.report.timeline`)."""
    drawings = []
    if metrics["bytes"]["on_air"]:
        drawings.append(_bytes(metrics["bytes"]))
    if any(row.shown_ns is not None for row in rows):
        drawings.append(_latency(rows, metrics["latency_s"]))
        drawings.append(_age(run, rows, metrics["age_s"]))
    if any(value is not None for row in rows for value in row.scores.values()):
        drawings.append(_quality(rows))
    return drawings


# Where the bytes went

OVERHEADS = {
    "header": ("packet headers", GREY),
    "fec": ("repair packets, sent in advance", ORANGE),
    "repair": ("packets sent again", PURPLE),
    "feedback": ("the way back: requests, receipts, reports of hops", VERMILION),
}
_PAYLOAD_COLOURS = (BLUE, SKY, GREEN, YELLOW, BLACK)


def byte_parts(figures: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """Return (label, bytes, colour) of everything that was on the air, payload first."""
    parts = [
        (kind, size, _PAYLOAD_COLOURS[at % len(_PAYLOAD_COLOURS)])
        for at, (kind, size) in enumerate(figures["payload"].items())
    ]
    parts += [(label, figures[key], colour) for key, (label, colour) in OVERHEADS.items()]
    return [part for part in parts if part[1]]


def _bytes(figures: Mapping[str, Any]) -> Drawing:
    parts = byte_parts(figures)
    total = sum(size for _, size, _ in parts)
    caption = (
        f"All {total:,} bytes that were on the air, by what they were for. Nothing is left out: payload, "
        "headers, repair and the way back add up to the total."
    )
    alt = "; ".join(f"{label} {size:,} bytes" for label, size, _ in parts)

    def paint(narrow: bool) -> Figure:
        with sheet(narrow, 1.7 if not narrow else 1.1 + 0.22 * len(parts)) as (figure, (axes,)):
            left = 0
            for label, size, colour in parts:
                text = f"{label}: {size:,} ({percent(size / total)})"
                axes.barh([0], [size], 0.8, left, color=colour, edgecolor="white", linewidth=1.0, label=text)
                left += size
            axes.set_xlim(0, total)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.xaxis.set_major_locator(MaxNLocator(4 if narrow else 8, integer=True))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _at: f"{value:,.0f}"))
            axes.set_xlabel("bytes on the air")
            axes.grid(False, axis="y")
            handles = axes.get_legend_handles_labels()[0]
            figure.legend(
                handles=handles, loc="outside lower left", ncols=1 if narrow else min(3, len(parts))
            )
        return figure

    return drawing("bytes", "Where the bytes went", caption, alt, paint)


# Waiting


def _latency(rows: Sequence[FrameRow], figures: Mapping[str, Any]) -> Drawing:
    values = sorted(row.latency_s for row in rows if row.latency_s is not None)
    unit, name = time_unit(values[-1])
    caption = (
        "How long after it was taken each picture was first shown at the far end, whole or in part. Read: after the "
        "time on the x-axis, this share of the shown pictures had come. Lost pictures are not in it."
    )
    alt = f"Share of pictures shown over waiting time; half within {figures['p50']:.3g} s"

    def paint(narrow: bool) -> Figure:
        with sheet(narrow, 3.2) as (figure, (axes,)):
            x = np.array([values[0], *values, values[-1]]) / unit
            y = np.array([0.0, *(np.arange(1, len(values) + 1) / len(values)), 1.0])
            axes.step(x, y, where="post", color=BLUE, linewidth=2)
            axes.plot(x[1:-1], y[1:-1], "o", color=BLUE, markersize=3.5, rasterized=len(values) > 500)
            marks = (("p50", "half of them", "dashed", BLACK), ("p95", "95 of 100", "dotted", VERMILION))
            for key, label, style, colour in marks:
                text = f"{label}: {figures[key] / unit:.4g} {name}"
                axes.axvline(figures[key] / unit, color=colour, linestyle=style, label=text)
            margin = (x[-1] - x[0]) * 0.05 or max(x[-1] * 0.05, 1e-9)
            axes.set_xlim(x[0] - margin, x[-1] + margin)
            axes.set_ylim(0, 1.05)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _at: f"{value:.0%}"))
            axes.set_xlabel(f"from capture to first display, in {name}")
            axes.set_ylabel("pictures shown")
            legend(axes, axes.get_legend_handles_labels()[0], narrow)
        return figure

    return drawing("latency", "How long pictures took", caption, alt, paint)


def _age(run: Run, rows: Sequence[FrameRow], figures: Mapping[str, Any]) -> Drawing:
    view_age = shown_age(run, rows)
    times, ages = [], []
    for at, (time, captured) in enumerate(view_age.updates):
        if at:
            times.append(time)
            ages.append(time - view_age.updates[at - 1][1])
        times.append(time)
        ages.append(time - captured)
    times.append(view_age.end_ns)
    ages.append(view_age.end_ns - view_age.updates[-1][1])
    x, y = np.array(times) / NS, np.array(ages) / NS
    unit, name = time_unit(x[-1])
    age_unit, age_name = time_unit(float(y.max()))
    last = max(row.captured_ns for row in rows) / NS
    caption = (
        "How old the newest picture on the screen is (the age of information). It grows with time and drops "
        "when a newer picture is first shown. A picture that comes out of turn, older than the one shown, does not "
        "count. The mean is over the time from the first picture shown to the last."
    )
    alt = "Sawtooth of the age of the newest shown picture"

    def paint(narrow: bool) -> Figure:
        with sheet(narrow, 3.2) as (figure, (axes,)):
            axes.fill_between(x / unit, y / age_unit, color=SKY, alpha=0.25, linewidth=0)
            axes.plot(x / unit, y / age_unit, color=BLUE, linewidth=1.8, label="age of the newest picture")
            if figures["mean"] is not None:
                mean = figures["mean"] / age_unit
                text = f"mean: {mean:.3g} {age_name}"
                axes.axhline(mean, color=VERMILION, linestyle="dashed", label=text)
            if figures["peak"] is not None:
                peak = figures["peak"] / age_unit
                text = f"highest: {peak:.3g} {age_name}"
                axes.axhline(peak, color=PURPLE, linestyle="dotted", label=text)
            axes.axvline(last / unit, color=GREY, linestyle="dashdot", label="last picture taken")
            axes.set_xlim(0, x[-1] / unit * 1.01 or 1.0)
            axes.set_ylim(bottom=0)
            axes.set_xlabel(f"time since the start, in {name}")
            axes.set_ylabel(f"age in {age_name}")
            legend(axes, axes.get_legend_handles_labels()[0], narrow)
        return figure

    return drawing("age", "How old the view is", caption, alt, paint)


# Quality


def _quality(rows: Sequence[FrameRow]) -> Drawing:
    scales = [
        (name, score)
        for name, score in pictures.EACH.items()
        if any(row.scores.get(name) is not None for row in rows)
    ]
    readings = "; ".join(f"{score.label} {score.reading}" for _, score in scales if score.reading)
    caption = (
        "How like the original each shown picture is. "
        + (f"{readings}. " if readings else "")
        + "Lost pictures have no value; a cross on the axis marks them."
    )
    alt = "Quality of each picture"

    def paint(narrow: bool) -> Figure:
        with sheet(narrow, 1.2 + 1.7 * len(scales), len(scales)) as (figure, panels):
            for axes, (name, score) in zip(panels, scales, strict=True):
                _score_panel(axes, rows, name)
                axes.set_ylabel(score.axis)
                axes.margins(x=0.02, y=0.12)
            panels[-1].set_xlabel("frame")
            panels[-1].xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
            handles = [
                Line2D([], [], marker=_STATUS_MARKS[status], color=colour, linestyle="", label=status)
                for status, colour in STATUS_COLOURS.items()
                if any(row.status == status for row in rows)
            ]
            legend(panels[-1], handles, narrow)
        return figure

    return drawing("quality", "How good the pictures are", caption, alt, paint)


def _score_panel(axes: Axes, rows: Sequence[FrameRow], key: str) -> None:
    many = len(rows) > 200
    known = [(row.frame, value) for row in rows if (value := row.scores.get(key)) is not None]
    axes.plot(*zip(*known, strict=True), color=PALE, linewidth=1.2, zorder=1)
    for status, colour in STATUS_COLOURS.items():
        mark: dict[str, Any] = {
            "marker": _STATUS_MARKS[status],
            "color": colour,
            "linestyle": "",
            "rasterized": many,
        }
        if status in ("lost", "superseded"):
            gone = [row.frame for row in rows if row.status == status]
            place = axes.get_xaxis_transform()  # at the bottom, whatever the scale
            axes.plot(gone, [0.05] * len(gone), transform=place, markersize=6, **mark)
            continue
        mine = [(row.frame, row.scores.get(key)) for row in rows if row.status == status]
        mine = [pair for pair in mine if pair[1] is not None]
        if mine:
            axes.plot(*zip(*mine, strict=True), markersize=3 if many else 6, **mark)
