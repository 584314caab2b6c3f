"""The figures of a sweep: one panel a source and score, one line a codec, bands for the 95 % intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from scenarios.curves.accuracy import accuracy, draw_line
from scenarios.curves.canvas import (
    AXES,
    STYLES,
    clip,
    format_number,
    handles_of,
    key_of,
    log_x,
    looks,
    painter,
    title_panel,
)
from scenarios.curves.external import ExternalLine
from scenarios.curves.metric import Metric, ideal, panels, picture_panels, select_points
from scenarios.curves.series import Point, Results, Series, is_loss, least_loss
from scenarios.drawing import BLACK, GREY, PURPLE, SKY, Drawing, drawing


def draw(results: Results, external: Sequence[ExternalLine] = ()) -> list[Drawing]:
    """Return all figures that *results* have something for; the first is the headline."""
    calm = least_loss(results)
    spared = len(calm.series) < len(results.series)
    note = " Lines are those of the least loss; the rest is further down." if spared else ""
    found = [
        accuracy(
            calm,
            "headline",
            "Accuracy against bytes a frame",
            "bytes",
            None,
            "How well each task goes on the received pictures, over what a picture costs on the air: payload, headers, "
            "repair and the way back. Bands are 95 % intervals over resampled frames, whole sequences at a time where "
            f"there are eight. Pictures that did not arrive count as nothing found.{note}",
        ),
        accuracy(
            calm,
            "bps",
            "Accuracy against bit/s",
            "bps",
            None,
            "The same over what the link carries each second on average. It depends on how often a picture is taken.",
        ),
        accuracy(
            calm,
            "bpp",
            "Accuracy against bits per pixel",
            "bpp",
            None,
            "The same over payload bits per pixel, without packets, as papers count. Published points are drawn where "
            "the data set is the same; their models, subsets and sizes are the paper's.",
        ),
        accuracy(
            calm,
            "agreement",
            "Agreement with the originals",
            "bytes",
            "original",
            "The same models' findings on the received pictures scored against their own findings on the originals: 1 "
            "is no change at all, whether they are right or not.",
        ),
        _loss(results),
        _age(calm),
        _pictures(calm, "quality", "bytes", ()),
        _pictures(calm, "quality-bpp", "bpp", external) if external else None,
    ]
    if panels(calm) == panels(calm, "original"):
        found[3] = None  # the headline shows it already
    return [figure for figure in found if figure is not None]


# Loss


def loss_lines(
    results: Results, source: str, metric: Metric
) -> list[tuple[str, Series, list[tuple[float, Point]]]]:
    """Return (name, one of its lines, (loss, point) by rising loss) of each codec at one setting.

    Of several settings along a line it is the one whose bytes a frame are in the middle.
    """
    groups: dict[tuple[str, str, str], dict[str, list[tuple[Series, Point]]]] = {}
    for line in results.of(source):
        for point in line.points:
            if metric.name in point.scores and point.mean("loss") is not None:
                rest = {path: value for path, value in point.others.items() if not is_loss(path)}
                group = groups.setdefault((line.sweep, line.codec, repr(sorted(rest.items()))), {})
                group.setdefault(repr(sorted(point.knobs.items())), []).append((line, point))
    found = []
    for settings in groups.values():
        varied = [pairs for pairs in settings.values() if len({point.mean("loss") for _, point in pairs}) > 1]
        if not varied:
            continue
        varied.sort(key=lambda pairs: float(np.mean([point.bytes_per_frame for _, point in pairs])))
        chosen = varied[len(varied) // 2]
        chosen.sort(key=lambda pair: pair[1].mean("loss") or 0.0)
        line, point = chosen[0]
        along = ", ".join(
            f"{path.rpartition('.')[2]} {value}" for path, value in point.knobs.items() if len(varied) > 1
        )
        name = ", ".join(part for part in (line.codec, along) if part)
        if len(results.sweeps) > 1:
            name = f"{line.sweep}: {name}"
        places = sorted(((point.mean("loss") or 0.0, point) for _, point in chosen), key=lambda pair: pair[0])
        found.append((name, line, places))
    return found


def _loss(results: Results) -> Drawing | None:
    shown = [(source, metric) for source, metric in panels(results) if loss_lines(results, source, metric)]
    if not shown:
        return None

    def paint(axes: Sequence[Axes]) -> list[Any]:
        style = looks(least_loss(results))
        handles: dict[str, Line2D] = {}
        for panel, (source, metric) in zip(axes, shown, strict=True):
            tops = []
            for name, line, pairs in loss_lines(results, source, metric):
                look = style[key_of(line)]
                x = [100 * loss for loss, _ in pairs]
                scores = [point.scores[metric.name] for _, point in pairs]
                if all(score.low is not None for score in scores):
                    low, high = [score.low for score in scores], [score.high for score in scores]
                    panel.fill_between(x, low, high, color=look.colour, alpha=0.16, linewidth=0)  # type: ignore[arg-type]
                panel.plot(x, [score.value for score in scores], **look.options())
                tops += [score.high or score.value for score in scores]
                handles.setdefault(name, Line2D([], [], label=clip(name, 48), **look.options()))
                value = ideal(results, line.sweep, source, metric)
                if value is not None:
                    tops.append(value)
                    panel.axhline(value, color=BLACK, linestyle="dashed", linewidth=1.1, zorder=1)
            panel.set_ylim(0, max(tops) * 1.1 or 1.0)
            title_panel(panel, source, metric)
        return list(handles.values())

    caption = (
        "What is left of each task when packets are lost, at one setting of each codec: of those measured, the one in "
        "the middle. The dashed line is the accuracy on the originals."
    )
    return drawing(
        "loss",
        "Accuracy against loss",
        caption,
        "Accuracy over the share of packets lost",
        painter(len(shown), paint, "packets lost, in %"),
    )


# Age


def _age(results: Results) -> Drawing | None:
    rates = {point.mean("rate_bps") for line in results.series for point in line.points} - {None}
    by_link = len(rates) > 1
    shown = [
        (source, name, title)
        for source in results.sources
        for name, title in (("age_mean_s", "mean age"), ("age_peak_s", "peak age"))
        if any(_ages(line, name, by_link) for line in results.of(source))
    ]
    if not shown:
        return None

    def paint(axes: Sequence[Axes]) -> list[Any]:
        style = looks(results)
        lines = []
        for panel, (source, name, title) in zip(axes, shown, strict=True):
            places: list[float] = []
            for line in results.of(source):
                found = _ages(line, name, by_link)
                if not found:
                    continue
                lines.append(line)
                x, mean, low, high = (list(column) for column in zip(*found, strict=True))
                look = style[key_of(line)]
                places += x
                several = line.several_knobs or len(set(x)) < len(x)
                if not several:
                    panel.fill_between(x, low, high, color=look.colour, alpha=0.16, linewidth=0)
                panel.plot(x, mean, **look.options(line=not several))
            log_x(panel, places)
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter(FuncFormatter(format_number))
            panel.yaxis.set_minor_formatter(NullFormatter())
            panel.set_title(f"{clip(source)} · {title}", loc="left", fontsize=10, fontweight="bold")
            panel.set_ylabel("seconds")
        return handles_of(results, lines)

    x_label = "rate of the link, bit/s" if by_link else AXES["bps"]
    caption = (
        "How old the newest picture at the far end is (the age of information): on average, and at its worst. Means "
        "over the seeds; bands go from the lowest seed to the highest."
    )
    return drawing(
        "age",
        "Age of information against rate",
        caption,
        "Age over rate",
        painter(len(shown), paint, x_label),
    )


def _ages(line: Series, name: str, by_link: bool) -> list[tuple[float, float, float, float]]:
    """Return (rate, mean, lowest, highest over the seeds) of each point, by rate."""
    found = []
    # A caption alone shares its rates with the other points, and would tear the line.
    points = [point for point in line.points if not point.caption_only] or line.points
    for point in points:
        rate = point.mean("rate_bps") if by_link else point.on_air_bps
        values = [value for cell in point.cells if (value := getattr(cell, name)) is not None and value > 0]
        if rate and values:
            found.append((rate, float(np.mean(values)), min(values), max(values)))
    return sorted(found)


# Pictures


def _pictures(results: Results, name: str, rate: str, external: Sequence[ExternalLine]) -> Drawing | None:
    shown = [
        (source, metric)
        for source, metric in picture_panels(results)
        if any(select_points(line, metric, rate) for line in results.of(source))
    ]
    if not shown:
        return None

    def paint(axes: Sequence[Axes]) -> list[Any]:
        style = looks(results)
        handles = handles_of(results, [line for source in results.sources for line in results.of(source)])
        for panel, (source, metric) in zip(axes, shown, strict=True):
            places = [x for line in results.of(source) for x, _ in select_points(line, metric, rate)]
            for line in reversed(results.of(source)):
                draw_line(panel, line, metric, rate, style[key_of(line)])
            for at, other in enumerate(external):
                pairs = other.points(metric.key)
                if pairs:
                    x, y = zip(*pairs, strict=True)
                    panel.plot(x, y, **_external(at))
                    places += x
            log_x(panel, places)
            title_panel(panel, source, metric)
        return handles + [
            Line2D([], [], label=clip(other.name, 48), **_external(at)) for at, other in enumerate(external)
        ]

    caption = (
        "How like the originals the received pictures are, mean of those that were shown. A codec that draws pictures "
        "anew is not made for these figures: it keeps what is there, not each pixel."
    )
    if external:
        caption += (
            " Curves from files are as the files state them, of whatever pictures these were measured on."
        )
    title = "Picture quality" if rate == "bytes" else "Picture quality against bits per pixel"
    return drawing(name, title, caption, "Picture quality over rate", painter(len(shown), paint, AXES[rate]))


def _external(at: int) -> dict[str, Any]:
    colour, mark = (GREY, PURPLE, SKY, BLACK)[at % 4], ("x", "+", "1", "2")[at % 4]
    return {
        "color": colour,
        "marker": mark,
        "linestyle": STYLES[1 + at % 3],
        "linewidth": 1.6,
        "markersize": 6,
    }
