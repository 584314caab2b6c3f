"""The figure of nodes: how full each store was, when its contacts were, which failed, and where bundles died."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from link.journal import Run
from scenarios.drawing import BLUE, GREEN, SKY, VERMILION, Drawing, drawing, legend, sheet, time_unit
from scenarios.report.timeline import LOSSES
from scenarios.results.metrics import NS, end_ns
from scenarios.results.stores import Stay, held, stays
from scenarios.results.traffic import scenario

_SPANS = 400
"""Contacts and outages drawn of a hop at most: more of them are a band of one colour anyway."""


def draw(run: Run) -> Drawing | None:
    """Return the figure, or None where the link's nodes keep nothing."""
    link = scenario(run)["link"]
    nodes = link.get("nodes", ())
    if not nodes:
        return None
    found = stays(run)
    shown = [at for at in range(len(nodes)) if at < len(nodes) - 1 or any(stay.node == at for stay in found)]
    caption = (
        "Each panel is a node. The blue area is what waits in its store for a contact; green bars below are the "
        "contacts that the plan promises it, a line for each hop that leads on."
    )
    if any(_cuts(hop, 1.0) for hop in link["hops"]):
        caption += " Where a bar is red the hop was down, which the plan did not know."
    if any(stay.end.is_drop for stay in found):
        caption += " Marks are bundles that died there, for the reason that the legend gives."
    alt = f"Stores and contacts of {', '.join(node['name'] for node in nodes)} over time"
    return drawing(
        "stores", "Where bundles waited", caption, alt, lambda narrow: _paint(run, link, found, shown, narrow)
    )


def _paint(
    run: Run, link: Mapping[str, Any], found: Sequence[Stay], shown: Sequence[int], narrow: bool
) -> Figure:
    until = max(end_ns(run), 1) / NS
    unit, name = time_unit(until)
    handles: dict[str, Any] = {}
    with sheet(narrow, 1.0 + 1.5 * len(shown), len(shown)) as (figure, panels):
        for axes, number in zip(panels, shown, strict=True):
            mine = [stay for stay in found if stay.node == number]
            _fill(axes, mine, until, unit)
            _mark(axes, mine, unit, handles)
            _contacts(axes, _leaving(link, number), until, unit, handles, narrow)
            axes.set_title(link["nodes"][number]["name"], loc="left", fontsize=10, fontweight="bold")
            axes.set_xlim(0, until / unit)
        panels[-1].set_xlabel(f"time since the start, in {name}")
        figure.supylabel("bytes in the store", fontsize=10)
        first = Patch(facecolor=SKY, edgecolor=BLUE, label="waits for a contact")
        legend(panels[0], [first, *handles.values()], narrow)
    return figure


def _fill(axes: Axes, mine: Sequence[Stay], until: float, unit: float) -> None:
    steps = [(0, 0), *held(list(mine)), (round(until * NS), 0)]
    times, sizes = np.array(steps, float).T
    axes.fill_between(times / NS / unit, sizes, step="post", facecolor=SKY, edgecolor=BLUE, linewidth=1.0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 0 else "")


def _mark(axes: Axes, mine: Sequence[Stay], unit: float, handles: dict[str, Any]) -> None:
    """Put marks where bundles died."""
    top = max((size for _, size in held(list(mine))), default=0) or 1
    for fate, (label, mark, colour) in LOSSES.items():
        times = [stay.left_ns / NS / unit for stay in mine if stay.end == fate]
        if times:
            look: dict[str, Any] = {"marker": mark, "color": colour, "linestyle": "", "markersize": 7}
            axes.plot(times, [top * 0.9] * len(times), zorder=5, **look)
            handles[label] = Line2D([], [], label=label, **look)


def _contacts(
    axes: Axes,
    hops: Sequence[Mapping[str, Any]],
    until: float,
    unit: float,
    handles: dict[str, Any],
    narrow: bool,
) -> None:
    """Draw the contacts of *hops* below the axis, a line each."""
    top = axes.get_ylim()[1]
    line = top * (0.2 if narrow else 0.16)
    for place, hop in enumerate(hops):
        low = -line * (place + 1)
        spans = [(start, min(end, until)) for start, end in hop.get("contacts_s") or [(0.0, until)]]
        bars = [(start / unit, (end - start) / unit) for start, end in spans[:_SPANS] if start < until]
        axes.broken_barh(bars, (low, line * 0.7), facecolors=GREEN)
        handles["contact"] = Patch(facecolor=GREEN, label="contact in the plan")
        cuts = [
            (max(start, begin) / unit, (min(end, over) - max(start, begin)) / unit)
            for start, end in spans[:_SPANS]
            for begin, over in _cuts(hop, until)
            if begin < end and start < over
        ]
        if cuts:
            axes.broken_barh(cuts, (low, line * 0.7), facecolors=VERMILION, hatch="////", edgecolor="white")
            handles["cut"] = Patch(
                facecolor=VERMILION, hatch="////", edgecolor="white", label="down, against the plan"
            )
        about: dict[str, Any] = {"fontsize": 8, "va": "center", "ha": "right"}
        about["bbox"] = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
        axes.annotate(hop["name"], (1.0, low + line * 0.35), xycoords=("axes fraction", "data"), **about)
    axes.set_ylim(-line * (len(hops) + 0.3) if hops else 0, top)
    axes.axhline(0.0, color=BLUE, linewidth=0.8)


def _leaving(link: Mapping[str, Any], node: int) -> list[Mapping[str, Any]]:
    """Return the hops of *link* that lead from *node*, by number."""
    name = link["nodes"][node]["name"]
    return [
        hop
        for at, hop in enumerate(link["hops"])
        if (hop["between"][0] == name if hop.get("between") else at == node)
    ]


def _cuts(hop: Mapping[str, Any], until: float) -> list[tuple[float, float]]:
    """Return the outages of *hop* that are written down, and those in turn until *until*, if few."""
    outage = hop.get("outage")
    if not outage or outage.get("random"):
        return []
    if not outage.get("up_s"):
        return [(start, end) for start, end in outage["windows_s"]][:_SPANS]
    turn = outage["up_s"] + outage["down_s"]
    return [(at * turn + outage["up_s"], (at + 1) * turn) for at in range(min(_SPANS, int(until / turn) + 1))]
