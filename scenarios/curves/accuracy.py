"""Accuracy against a rate: the figures that the sweep is for, with what the codecs are measured by beside them."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from scenarios.curves.canvas import (
    AXES,
    LineLook,
    handles_of,
    key_of,
    log_x,
    looks,
    painter,
    reference,
    title_panel,
)
from scenarios.curves.metric import Metric, ideal, panels, select_frontier, select_points
from scenarios.curves.published import METHODS, find_published
from scenarios.curves.series import Point, Results, Series
from scenarios.drawing import BLACK, BLUE, GREY, Drawing, drawing

_PUBLISHED_MARKS = dict(zip(METHODS, ("*", "P", "X", "+"), strict=True))


def accuracy(
    results: Results, name: str, title: str, rate: str, reference: str | None, caption: str
) -> Drawing | None:
    """Return the figure *name* over the rate *rate* (a key of AXES); None where no panel has anything.

    *reference* is as in scenarios.curves.metric.panels.
    """
    shown: list[tuple[str, Metric]] = [
        (source, metric)
        for source, metric in panels(results, reference)
        if any(select_points(line, metric, rate) for line in results.of(source))
    ]
    if not shown:
        return None

    def paint(axes: Sequence[Axes]) -> list[Any]:
        overlaid: set[str] = set()
        for panel, (source, metric) in zip(axes, shown, strict=True):
            overlaid |= _panel(panel, results, source, metric, rate)
        lines = [
            line for source in dict.fromkeys(source for source, _ in shown) for line in results.of(source)
        ]
        handles = handles_of(results, lines)
        return handles + [
            Line2D([], [], color=GREY, marker=_PUBLISHED_MARKS[method], linestyle=":", label=method)
            for method in METHODS
            if method in overlaid
        ]

    alt = "; ".join(_said(results, source, metric) for source, metric in shown)
    return drawing(name, title, caption, alt, painter(len(shown), paint, AXES[rate]))


def _said(results: Results, source: str, metric: Metric) -> str:
    parts = []
    for line in results.of(source):
        scores = [point.scores[metric.name].value for point in line.points if metric.name in point.scores]
        if scores:
            parts.append(f"{results.name(line)} {min(scores):.2g} to {max(scores):.2g}")
    return f"{source}, {metric.title}: {', '.join(parts)}"


def _panel(axes: Axes, results: Results, source: str, metric: Metric, rate: str) -> set[str]:
    """Draw one panel; return the methods whose published points are in it."""
    lines = results.of(source)
    rates = [x for line in lines for x, _ in select_points(line, metric, rate)]
    tops = [
        point.scores[metric.name].high or point.scores[metric.name].value
        for line in lines
        for point in line.points
        if metric.name in point.scores
    ]
    table = (
        find_published(source, metric.task, metric.key)
        if rate == "bpp" and metric.reference == "truth"
        else None
    )
    overlaid = set()
    if table is not None:
        for method in table.methods:
            pairs = table.line(method, metric.key)
            rates += [x for x, _ in pairs]
            tops += [y for _, y in pairs]
            x, y = zip(*pairs, strict=True)
            axes.plot(
                x, y, ":", marker=_PUBLISHED_MARKS[method], color=GREY, markersize=7, linewidth=1, zorder=2
            )
            overlaid.add(method)
        original = table.original[table.keys.index(metric.key)]
        reference(axes, original, "originals, paper", GREY, "dotted", above=False)
        tops.append(original)
    log_x(axes, rates)
    style = looks(results)
    for line in reversed(lines):  # the first line lies on top
        draw_line(axes, line, metric, rate, style[key_of(line)])
    ideals = {value for line in lines if (value := ideal(results, line.sweep, source, metric)) is not None}
    for value in ideals:
        reference(axes, value, "originals", BLACK, "dashed")
    captions = [
        point for line in lines for point in line.points if point.caption_only and metric.name in point.scores
    ]
    if captions:
        best = max(captions, key=lambda point: sum(score.frames for score in point.scores.values()))
        reference(axes, best.scores[metric.name].value, "caption only", BLUE, "dotted", left=False)
    axes.set_ylim(0, max([*tops, *ideals]) * 1.1 or 1.0)
    title_panel(axes, source, metric)
    return overlaid


def draw_line(axes: Axes, line: Series, metric: Metric, rate: str, look: LineLook) -> None:
    """Draw one line into *axes*, with its band; of settings with several knobs the best and, faintly, the rest."""
    pairs = select_points(line, metric, rate)
    if not pairs:
        return
    if line.several_knobs:
        # No single path leads through such points: the line takes the best for each rate.
        axes.plot(*_columns(pairs, metric), alpha=0.35, zorder=2, **look.options(line=False))
        pairs = select_frontier(line, metric, rate)
    spans = [(x, point.scores[metric.name]) for x, point in pairs]
    banded = [
        (x, score.low, score.high) for x, score in spans if score.low is not None and score.high is not None
    ]
    if len(banded) == len(spans) and len(spans) > 1:
        x, low, high = zip(*banded, strict=True)
        axes.fill_between(x, low, high, color=look.colour, alpha=0.16, linewidth=0, zorder=1.5)
    else:
        for place, low_end, high_end in banded:
            axes.plot(
                [place, place], [low_end, high_end], color=look.colour, linewidth=1.2, alpha=0.6, zorder=2
            )
    axes.plot(*_columns(pairs, metric), zorder=3, **look.options())


def _columns(pairs: Sequence[tuple[float, Point]], metric: Metric) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [point.scores[metric.name].value for _, point in pairs]
