"""The page of a sweep, or of several beside each other: figures, tables, and what failed. It loads nothing.

Whatever a scenario, a source or an error names is escaped by jinja2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from link.errors import UsageError
from scenarios.curves import differences as changes
from scenarios.curves import figures, tables
from scenarios.curves.differences import Difference
from scenarios.curves.external import ExternalLine
from scenarios.curves.fit import MIN_OVERLAP
from scenarios.curves.load import Sweep, is_sweep
from scenarios.curves.metric import Metric, beside, metrics, picture_metrics
from scenarios.curves.outputs import write_points
from scenarios.curves.published import CITATION, find_published
from scenarios.curves.series import PICTURE, Point, Results, Score, least_loss
from scenarios.curves.series import results as gather
from scenarios.curves.tables import SHARE, SIZES, BdTable, KeptAccuracy, Need
from scenarios.drawing import Drawing
from scenarios.pages import make_environment
from scenarios.results.table import replacing
from scenarios.scoring import pictures
from scenarios.scoring.bootstrap import RESAMPLES
from scenarios.scoring.segmentation import RARE
from scenarios.words import duration
from scenarios.words import rate as rate_words

PAGE = "curves.html"


@dataclass(frozen=True)
class Written:
    """What was written, and what it says."""

    page: Path
    points: Path
    summary: dict[str, Any]
    """The object of `--json`."""


def write(
    sweeps: Sequence[Sweep],
    out: Path,
    external: Sequence[ExternalLine] = (),
    resamples: int = RESAMPLES,
) -> Written:
    """Write curves.html, figures/ and points.parquet of *sweeps* to the folder *out*.

    Raise UsageError where there is nothing to read or its numbers do not belong together, StorageError where the
    disk is full. Without a finished cell the page lists the failures alone.
    """
    names = [sweep.label for sweep in sweeps]
    if len(set(names)) != len(names):
        raise UsageError(f"two sweeps are called {max(names, key=names.count)}; each needs a name of its own")
    results = gather(sweeps, resamples)
    drawings = figures.draw(results, external)
    for drawing in drawings:
        for form, data in (("svg", drawing.wide), ("png", drawing.png)):
            with replacing(out / "figures" / f"{drawing.name}.{form}") as fresh:
                fresh.write_bytes(data)
    points = write_points(results, out / "points.parquet")
    needs, bd = tables.needs(results), tables.bd_tables(least_loss(results), external)
    changed, unmatched = changes.differences(results, sweeps, resamples) if len(sweeps) > 1 else ([], [])
    page = _render(sweeps, results, drawings, needs, bd, changed, unmatched, external)
    with replacing(out / PAGE) as fresh:
        fresh.write_text(page, "utf-8")
    summary = {
        "sweeps": names,
        "cells": sum(len(sweep.cells) for sweep in sweeps),
        "failed": sum(len(sweep.failed) for sweep in sweeps),
        "needs": [asdict(need) for need in needs],
        "bd_rates": tables.bd_records(bd),
        "differences": changes.records(changed),
        "page": str(out / PAGE),
        "points": str(points),
        "figures": [str(out / "figures" / f"{drawing.name}.png") for drawing in drawings],
    }
    return Written(out / PAGE, points, summary)


def holds_another(out: Path) -> bool:
    """Return whether *out* holds something that is no page of curves, so that nothing should be written there."""
    if not out.is_dir():
        return out.exists()
    return any(out.iterdir()) and (not (out / PAGE).is_file() or is_sweep(out))


def _render(
    sweeps: Sequence[Sweep],
    results: Results,
    drawings: Sequence[Drawing],
    needs: Sequence[Need],
    bd: Sequence[BdTable],
    changed: Sequence[Difference],
    unmatched: Sequence[str],
    external: Sequence[ExternalLine],
) -> str:
    environment = make_environment("scenarios.curves")
    failed = [(sweep.label, cell) for sweep in sweeps for cell in sweep.failed]
    cited = any(
        find_published(source, metric.task, metric.key)
        for source in results.sources
        for metric in metrics("truth")
    )
    return environment.get_template("curves.html.j2").render(
        title=" and ".join(sweep.label for sweep in sweeps),
        several=len(sweeps) > 1,
        sentence=_sentence(sweeps, results),
        failed=[(label, cell, cell.error or "no error was kept") for label, cell in failed],
        cells=sum(len(sweep.cells) for sweep in sweeps),
        drawings={drawing.name: drawing for drawing in drawings},
        share=f"{SHARE * 100:.0f} %",
        needs=_grouped([_need_row(results, need) for need in needs]),
        sizes=SIZES,
        kept=_grouped([_kept_row(results, row) for row in tables.list_kept(least_loss(results))]),
        bd=[_bd_rows(table) for table in bd],
        overlap=f"{MIN_OVERLAP * 100:.0f} %",
        differences=[_difference_row(row) for row in changed],
        unmatched=unmatched,
        missing=_missing(results),
        points=_point_rows(results),
        rare=percent(RARE) if _knows_invented(results) else None,
        external=external,
        citation=CITATION if cited else None,
        asked=[
            (sweep.label, yaml.safe_dump(dict(sweep.asked), sort_keys=False, allow_unicode=True))
            for sweep in sweeps
            if sweep.asked
        ],
    )


# Words


def _sentence(sweeps: Sequence[Sweep], results: Results) -> str:
    done = [cell for sweep in sweeps for cell in sweep.done]
    if not done:
        return "No cell came to its end, so there is nothing to draw."
    codecs = list(dict.fromkeys(cell.codec for cell in done))
    seeds = {cell.seed for cell in done}
    parts = [
        f"{len(done)} cell{'' if len(done) == 1 else 's'}",
        f"codec{'' if len(codecs) == 1 else 's'} {', '.join(codecs)}",
        f"on {', '.join(results.sources)}" if results.sources else "",
        f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'}",
    ]
    return f"{'; '.join(part for part in parts if part)}. Frames of all seeds are pooled into one point a setting."


def percent(share: float) -> str:
    """Return a share in percent: `84 %`, `0.4 %`."""
    return f"{share * 100:.0f} %" if share >= 0.01 or share == 0 else f"{share * 100:.1g} %"


def count(value: float) -> str:
    """Return a number of bytes as a table has it."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.2g}"


def _reference(metric_reference: str) -> str:
    return "the truth" if metric_reference == "truth" else "own findings on the originals"


def _grouped(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return rows under their headings, in the order of the figures."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(f"{row['source']} · {row['task']}", []).append(row)
    named: list[tuple[str, list[dict[str, Any]]]] = []
    for heading, group in groups.items():
        ideals = {row["ideal"] for row in group if row.get("ideal")}
        # Several sweeps may have measured other frames, or with other models.
        span = " or ".join(sorted(ideals))
        named.append((f"{heading}; {span} on the originals" if ideals else heading, group))
    return named


def _need_row(results: Results, need: Need) -> dict[str, Any]:
    label = next(metric.label for metric in metrics(need.reference) if metric.task == need.task)
    name = ", ".join(part for part in (need.codec, need.variant) if part)
    at_most = "≤ " if need.at_smallest else ""
    if need.best_share is None:
        best = "—"
    else:
        best = f"{need.best_share * 100:.1f} % at best"
    notes = [f"not monotonic: steps back by up to {need.step_back:.3f}, fitted"] if need.step_back else []
    if need.at_smallest:
        notes.append("the smallest size measured is enough")
    return {
        "source": need.source,
        "task": f"{need.task} ({label}, against {_reference(need.reference)})",
        "name": f"{need.sweep}: {name}" if len(results.sweeps) > 1 else name,
        "ideal": "" if need.ideal is None else f"{need.ideal:.3f}",
        "bytes": "—" if need.bytes_per_frame is None else at_most + count(need.bytes_per_frame),
        "bps": "—" if need.on_air_bps is None else at_most + rate_words(need.on_air_bps),
        "why": "; ".join([*([need.reason] if need.reason else []), best, *notes]),
        "reached": need.bytes_per_frame is not None,
    }


def _kept_row(results: Results, row: KeptAccuracy) -> dict[str, Any]:
    cells = []
    for size, share in zip(SIZES, row.shares, strict=True):
        if share is not None:
            cells.append((percent(share), ""))
        elif size < row.range[0]:
            cells.append(("—", f"from {count(row.range[0])}"))
        else:
            cells.append(("—", f"up to {count(row.range[1])}"))
    return {
        "source": row.source,
        "task": f"{row.metric.title} ({row.metric.label})",
        "name": results.name(row.line),
        "cells": cells,
    }


def _bd_rows(table: BdTable) -> dict[str, Any]:
    rows = []
    for name, cells in zip(table.names, table.cells, strict=True):
        row = []
        for cell in cells:
            if cell is None:
                row.append(("", "", ""))
            elif cell.percent is not None:
                row.append((f"{cell.percent:+,.0f} %", f"overlap {percent(cell.overlap)}", _span(cell.span)))
            else:
                row.append(("—", cell.reason or "", _span(cell.span)))
        rows.append((name, row))
    rate = "payload bits per pixel" if table.rate == "bpp" else "bytes a frame on the air"
    against = "" if table.metric.task == PICTURE else f", against {_reference(table.metric.reference)}"
    return {
        "title": f"{table.source} · {table.metric.title} ({table.metric.label}{against}), {rate}",
        "names": table.names,
        "rows": rows,
        "notes": table.reasons,
    }


def _span(span: tuple[float, float] | None) -> str:
    return "" if span is None else f"both reach {span[0]:.3g} to {span[1]:.3g}"


def _difference_row(row: Difference) -> dict[str, Any]:
    one, two = row.scores
    codec = (
        row.first.codec if row.first.codec == row.other.codec else f"{row.first.codec} → {row.other.codec}"
    )
    span = f"{row.low:+.3f} to {row.high:+.3f}" if row.low is not None else f"— ({row.note})"
    return {
        "source": row.source,
        "name": ", ".join(part for part in (codec, row.first.setting) if part),
        "metric": f"{row.metric.title} ({row.metric.label})",
        "pair": f"{row.first.sweep} → {row.other.sweep}",
        "values": f"{one.value:.3f} → {two.value:.3f}",
        "change": f"{row.change:+.3f}",
        "span": span,
        "bytes": f"{count(row.first.bytes_per_frame)} → {count(row.other.bytes_per_frame)}",
        "clear": row.clear,
    }


def _missing(results: Results) -> list[str]:
    """Return a line for each thing that the page cannot show, with why."""
    lines: list[str] = []
    if not results.series:
        return lines
    for truth, original in zip(metrics("truth"), metrics("original"), strict=True):
        without = [
            source
            for source in results.sources
            if not results.has(source, *truth.name) and not results.has(source, *original.name)
        ]
        if len(without) == len(results.sources):
            lines.append(f"{truth.title}: no model looked for it (analysis: [{truth.task}] asks for it).")
        elif without:
            lines.append(f"{truth.title}: not measured on {', '.join(without)}.")
    points = [point for line in results.series for point in line.points]
    if all(point.on_air_bps is None for point in points):
        lines.append("bit/s: pictures have no pace (camera.period_s), so only bytes a frame are known.")
    if all(point.mean("age_mean_s") is None for point in points):
        lines.append("age of information: not known for any cell.")
    without_key = [
        metric.title
        for metric in picture_metrics()
        if not pictures.table()[metric.key].optional
        and not any(metric.name in point.scores for point in points)
    ]
    if without_key:
        lines.append(f"{', '.join(without_key)}: no pair of pictures has it.")
    return lines


def _point_rows(results: Results) -> list[dict[str, Any]]:
    rows = []
    for line in results.series:
        for point in line.points:
            rows.append(
                {
                    "source": point.source,
                    "name": results.name(line),
                    "setting": point.setting or "—",
                    "bytes": count(point.bytes_per_frame),
                    "payload": count(point.payload_bytes_per_frame),
                    "bps": "—" if point.on_air_bps is None else rate_words(point.on_air_bps),
                    "bpp": "—" if point.bpp is None else f"{point.bpp:.4g}",
                    "scores": [(metric.label, _score(point, metric)) for metric in _shown(point)],
                    "age": _ages(point),
                }
            )
    return rows


def _shown(point: Point) -> list[Metric]:
    every = [*metrics("truth"), *beside("truth"), *metrics("original"), *picture_metrics()]
    return [metric for metric in every if metric.name in point.scores]


def _knows_invented(results: Results) -> bool:
    """Return whether any point says what its decoder invented."""
    names = {metric.name for metric in beside("truth")}
    return any(names & set(point.scores) for line in results.series for point in line.points)


def _score(point: Point, metric: Metric) -> str:
    score: Score = point.scores[metric.name]
    digits = pictures.table()[metric.key].digits if metric.task == PICTURE else 3
    text = f"{score.value:.{digits}f}"
    if score.low is not None and score.high is not None:
        text += f" ({score.low:.{digits}f}–{score.high:.{digits}f})"
    return text + (" agreement" if metric.reference == "original" and metric.task != PICTURE else "")


def _ages(point: Point) -> str:
    mean, peak = point.mean("age_mean_s"), point.mean("age_peak_s")
    if mean is None or peak is None:
        return "—"
    return f"{duration(mean)} / {duration(peak)}"


def summarise(summary: Mapping[str, Any]) -> list[str]:
    """Return the few figures that a person wants first, a line each."""
    lines = []
    cells, failed = summary["cells"], summary["failed"]
    lines.append(f"{'cells':12}{cells}" + (f", {failed} failed" if failed else ""))
    for need in summary["needs"]:
        name = ", ".join(part for part in (need["codec"], need["variant"]) if part)
        prefix = f"{need['sweep']}: " if len(summary["sweeps"]) > 1 else ""
        if need["bytes_per_frame"] is not None:
            sign = "<= " if need["at_smallest"] else ""
            size = f"{sign}{count(need['bytes_per_frame'])} bytes a frame"
            need_text = f"{SHARE * 100:.0f} % of the accuracy on originals at {size}"
        elif need["best_share"] is not None:
            need_text = f"{SHARE * 100:.0f} % is not reached, {need['best_share'] * 100:.1f} % at best"
        else:
            need_text = need["reason"]
        lines.append(f"{need['source']}, {need['task']}, {prefix}{name}: {need_text}")
    lines.append(f"{'page':12}{summary['page']}")
    lines.append(f"{'points':12}{summary['points']}")
    return lines
