"""The figure of what happened to each packet: a line for each, or bars where there are too many to see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from link.events import Fate
from link.journal import Run
from scenarios.drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Drawing,
    drawing,
    legend,
    sheet,
    time_unit,
)
from scenarios.results.metrics import NS, FrameRow, end_ns
from scenarios.results.traffic import Sent
from scenarios.words import duration

_LANES = 1500  # more packets than this are counted in bins of time
_BINS = 96

LOSSES: Mapping[Fate, tuple[str, str, str]] = {
    Fate.CHANNEL_LOSS: ("lost on the way", "x", VERMILION),
    Fate.OUTAGE: ("link was down", "v", BLACK),
    Fate.QUEUE_FULL: ("queue was full", "s", ORANGE),
    Fate.BAD_CHECKSUM: ("damaged: failed its checksum", "P", PURPLE),
    Fate.MALFORMED: ("not a readable packet", "p", GREY),
    Fate.VERSION: ("of another format version", "h", GREY),
    Fate.PEER_SLOW: ("receiver could not keep up", "D", BLUE),
    Fate.DEADLINE: ("arrived too late", "<", BLUE),
    Fate.DUPLICATE: ("arrived, was there already", ".", SKY),
    Fate.COLLISION: ("met another transmission", "X", ORANGE),
    Fate.EXPIRED: ("its lifetime was over", "^", PURPLE),
    Fate.STORE_FULL: ("a node's store was full", "8", ORANGE),
    Fate.NO_ROUTE: ("no contact led on", "2", BLACK),
    Fate.NO_ANSWER: ("its hop gave up: nobody answered", "3", VERMILION),
    Fate.CANCELLED: ("its LTP session was over", "*", GREY),
    Fate.OUT_OF_ORDER: ("one before it was missing", "1", GREY),
    Fate.IN_FLIGHT: ("still on its way at the end", ">", GREY),
}
"""What a packet's end is called, its mark and its colour."""

Lines = list[list[tuple[float, float]]]


@dataclass
class _Ways:
    """Line segments and marks of packets, in seconds and lanes."""

    queue: Lines
    air: Lines
    again: Lines
    flight: Lines
    again_flight: Lines
    back: Lines
    arrived: list[tuple[float, float]]
    losses: dict[Fate, list[tuple[float, float]]]


def draw(run: Run, rows: Sequence[FrameRow], sent: Sequence[Sent]) -> Drawing | None:
    """Return the figure of the packets *sent*, or None where there are none."""
    if not sent:
        return None
    title = "What happened to each packet"
    if len(sent) > _LANES:
        caption = (
            "Packets over time. The dark line is what the sender handed to the link; the bars are what "
            "became of packets in each stretch of time: they arrived, or were lost for the reason that the "
            "legend gives."
        )
        alt = "Bars of packets that arrived and were lost, over time"
        return drawing("timeline", title, caption, alt, lambda narrow: _binned(run, sent, narrow))
    lanes, groups = _lanes(sent)
    ways = _ways(run, sent, lanes)
    caption = (
        "Each thin line is one packet, from left to right: it waits for its turn, is on the air, travels, "
        "and arrives or is lost. Packets of one picture lie together in one band; the black bar is the "
        "moment when the picture was shown."
    )
    if any(row.refined_ns is not None for row in rows):
        caption += (
            " Where it was shown in part, a green bar is the moment when the repaired one took its place."
        )
    if ways.again:
        caption += (
            " Purple is a packet that was sent again; dotted lines are the receiver's requests and receipts."
        )
    copies = int((run.rows[:, 2] == Fate.DUPLICATED).sum())
    if copies:
        caption += f" {copies} copies that the channel made are not drawn."
    alt = "Time lines of packets, grouped by picture"
    return drawing(
        "timeline", title, caption, alt, lambda narrow: _lined(run, rows, len(lanes), groups, ways, narrow)
    )


def _lanes(sent: Sequence[Sent]) -> tuple[dict[tuple[int, int], int], dict[int, tuple[int, int]]]:
    """Return the lane of each (frame, index), -1 for feedback, and the first and last lane of each frame."""
    keys = sorted({(item.frame, item.index if item.forward else 1 << 20) for item in sent})
    lanes: dict[tuple[int, int], int] = {}
    groups: dict[int, tuple[int, int]] = {}
    at = 0
    for frame, index in keys:
        if groups and frame not in groups:
            at += 1  # a gap between frames
        lanes[frame, index if index < 1 << 20 else -1] = at
        groups[frame] = (groups.get(frame, (at, at))[0], at)
        at += 1
    return lanes, groups


def _ways(run: Run, sent: Sequence[Sent], lanes: Mapping[tuple[int, int], int]) -> _Ways:
    ways = _Ways([], [], [], [], [], [], [], {})
    fates: dict[int, list[list[int]]] = {}
    for row in run.rows.tolist():
        fates.setdefault(row[1], []).append(row)
    until = end_ns(run)
    for item in sent:
        lane = float(lanes[item.frame, item.index if item.forward else -1])
        _way(ways, item, fates[item.number], lane, until)
    return ways


def _way(ways: _Ways, item: Sent, rows: Sequence[Sequence[int]], lane: float, until: int) -> None:
    """Add the way of one packet: for each hop a wait, a transmission and a flight, then its end."""

    def line(kind: Lines, start: int, stop: int) -> None:
        if stop > start:
            kind.append([(start / NS, lane), (stop / NS, lane)])

    at = item.sent_ns
    ended = False
    for time, _, fate, _, waited, lasted in rows:
        if fate == Fate.SENT:
            continue
        if fate == Fate.STORED:
            line(ways.queue, time - waited, time)
            at = time
        elif fate in (Fate.CROSSED, Fate.CHANNEL_LOSS, Fate.OUTAGE, Fate.QUEUE_FULL, Fate.COLLISION):
            if item.forward:
                line(ways.queue, at, at + waited)
                line(ways.again if item.again else ways.air, at + waited, at + waited + lasted)
                line(ways.again_flight if item.again else ways.flight, at + waited + lasted, time)
            else:
                line(ways.back, at, time)
            at = time
        if fate == Fate.DELIVERED and item.forward:
            ways.arrived.append((time / NS, lane))
        elif fate >= Fate.QUEUE_FULL:
            ways.losses.setdefault(Fate(fate), []).append((time / NS, lane))
        ended = ended or fate == Fate.DELIVERED or fate >= Fate.QUEUE_FULL
    if not ended:
        line(ways.flight if item.forward else ways.back, at, until)
        ways.losses.setdefault(Fate.IN_FLIGHT, []).append((until / NS, lane))


def _lined(
    run: Run,
    rows: Sequence[FrameRow],
    count: int,
    groups: Mapping[int, tuple[int, int]],
    ways: _Ways,
    narrow: bool,
) -> Figure:
    total = count + len(groups)
    height = float(np.clip(2.0 + total * 0.09, 3.2, 7.0))
    with sheet(narrow, height) as (figure, (axes,)):
        points = (height - 1.5) * 72 / total  # of one lane
        unit, name = time_unit(end_ns(run) / NS)
        thick = float(np.clip(points * 0.75, 0.7, 5.0))
        for first, last in list(groups.values())[::2]:
            axes.axhspan(first - 0.6, last + 0.6, color="#f6f8fa", zorder=0)
        handles = _layers(axes, ways, unit, thick)
        raster = count > 300
        handles += _ends(axes, ways, unit, points, raster)
        for label, colour, moments in (
            ("picture shown", BLACK, {row.frame: row.shown_ns for row in rows}),
            ("picture refined", GREEN, {row.frame: row.refined_ns for row in rows}),
        ):
            bars = [
                (at / NS / unit, *groups[of]) for of, at in moments.items() if at is not None and of in groups
            ]
            if bars:
                times, firsts, lasts = np.array(bars).T
                axes.vlines(times, firsts - 0.5, lasts + 0.5, color=colour, linewidth=2.2)
                handles.append(Line2D([], [], color=colour, linewidth=2.5, label=label))
        _frame_ticks(axes, groups, height)
        axes.set_ylim(total - 0.5, -1.0)
        axes.set_xlim(left=0)
        axes.autoscale_view(scaley=False)
        axes.set_xlabel(f"time since the start, in {name}")
        axes.set_ylabel("frame")
        axes.grid(False, axis="y")
        legend(axes, handles, narrow, 5)
    return figure


def _layers(axes: Axes, ways: _Ways, unit: float, thick: float) -> list[Any]:
    """Draw the lines of all packets; return their legend."""
    thin = max(0.6, thick * 0.5)
    layers: list[tuple[Lines, str, float, Any, str]] = [
        (ways.queue, "#b8bfc6", thick, "solid", "waiting in a queue"),
        (ways.air, BLUE, thick, "solid", "on the air"),
        (ways.flight, "#bcdcf2", thin, "solid", "travelling"),
        (ways.again, PURPLE, thick, "solid", "on the air again"),
        (ways.again_flight, "#ecc6db", thin, "solid", "travelling again"),
        (ways.back, GREY, max(0.8, thick * 0.4), "dotted", "request or receipt"),
    ]
    raster = sum(len(layer[0]) for layer in layers) > 600
    handles: list[Any] = []
    for lines, colour, width, style, label in layers:
        if not lines:
            continue
        air = label.startswith("on the air")
        drawn = LineCollection(
            [[(x / unit, y) for x, y in line] for line in lines],
            colors=colour,
            linewidths=width,
            linestyles=style,
            # A projecting cap keeps a short stretch visible where an hour is a few pixels wide.
            capstyle="projecting" if air else "butt",
            snap=False,  # a stretch that is snapped to no length is not drawn at all, cap and all
            rasterized=raster,
            zorder=2.2 if air else 2.0,
        )
        axes.add_collection(drawn)
        handles.append(Line2D([], [], color=colour, linewidth=3, linestyle=style, label=label))
    return handles


def _ends(axes: Axes, ways: _Ways, unit: float, points: float, raster: bool) -> list[Any]:
    size = float(np.clip(points * 0.9, 2.2, 5.0))
    handles: list[Any] = []
    if ways.arrived:
        x, y = np.array(ways.arrived).T
        axes.plot(x / unit, y, "o", color=GREEN, markersize=size, markeredgewidth=0, rasterized=raster)
        handles.append(Line2D([], [], color=GREEN, marker="o", linestyle="", label="arrived"))
    for fate, (label, mark, colour) in LOSSES.items():
        if fate in ways.losses:
            x, y = np.array(ways.losses[fate]).T
            style: dict[str, Any] = {
                "marker": mark,
                "color": colour,
                "linestyle": "",
                "markeredgewidth": 1.6 if mark == "x" else 0.5,
            }
            # Losses are few and are what one looks for: larger than the rest, and above it.
            axes.plot(x / unit, y, markersize=max(5.0, size), zorder=5, rasterized=raster, **style)
            handles.append(Line2D([], [], label=label, **style))
    return handles


def _frame_ticks(axes: Axes, groups: Mapping[int, tuple[int, int]], height: float) -> None:
    """Label the bands by picture, as many as there is room for."""
    numbers = list(groups)
    step = max(1, -(-len(numbers) // max(1, int((height - 1.5) * 5))))
    chosen = numbers[::step]
    axes.set_yticks([sum(groups[number]) / 2 for number in chosen], [str(number) for number in chosen])
    axes.tick_params(axis="y", length=0)


def _binned(run: Run, sent: Sequence[Sent], narrow: bool) -> Figure:
    """Draw what became of packets, counted in bins of time."""
    until = max(end_ns(run), 1)
    bins = _BINS // 2 if narrow else _BINS
    edges = np.linspace(0, until, bins + 1)
    forward = {item.number for item in sent if item.forward}
    rows = run.rows[np.isin(run.rows[:, 1], list(forward))]
    unit, name = time_unit(until / NS)
    with sheet(narrow, 4.6) as (figure, (axes,)):
        base = np.zeros(bins)
        handles: list[Any] = []
        ends = [
            (Fate.DELIVERED, "arrived", GREEN),
            *((fate, look[0], look[2]) for fate, look in LOSSES.items()),
        ]
        looks = "// .. xx \\\\ ++ oo -- ||  * O o. x. /o |* .. **".split(" ")  # none where two spaces are
        hatches = dict(zip(LOSSES, looks, strict=True))
        for fate, label, colour in ends:
            count = np.histogram(rows[rows[:, 2] == fate, 0], edges)[0]
            if not count.any():
                continue
            hatch = hatches.get(fate, "")
            look: dict[str, Any] = {"facecolor": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
            top = base + count
            low, high = (np.append(values, values[-1]) for values in (base, top))  # one shape for all bars
            axes.fill_between(edges / NS / unit, low, high, step="post", **look)
            handles.append(Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=label))
            base = top
        count = np.histogram(rows[rows[:, 2] == Fate.SENT, 0], edges)[0]
        axes.stairs(count, edges / NS / unit, color=BLACK, linewidth=1.3)
        handles.insert(0, Line2D([], [], color=BLACK, label="sent"))
        axes.set_xlabel(f"time since the start, in {name}")
        axes.set_ylabel(f"packets in {duration(until / NS / bins)}")
        axes.set_xlim(0, until / NS / unit)
        axes.set_ylim(bottom=0)
        legend(axes, handles, narrow)
    return figure
