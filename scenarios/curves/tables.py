"""What is read off the curves: the bandwidth that a task needs, what is kept at a size, and BD-rates."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scenarios.curves.external import ExternalLine
from scenarios.curves.fit import BdRate, Curve, bd_rate, curve
from scenarios.curves.metric import Metric, curve_of, ideal, panels, picture_panels, select_points
from scenarios.curves.series import PICTURE, Results, Series, without_caption_only

SHARE = 0.9
SIZES = (64, 100, 200, 500, 1000)  # bytes a frame; 64 and 200 are the sizes that GSC is meant for


@dataclass(frozen=True)
class Need:
    """The bandwidth at which a line comes to 90 % of the accuracy on originals."""

    sweep: str
    source: str
    task: str
    reference: str
    key: str
    codec: str
    variant: str
    ideal: float | None
    bytes_per_frame: float | None
    on_air_bps: float | None
    best_share: float | None
    """The largest share of the accuracy on originals that any rate came to, in the monotonic fit."""
    at_smallest: bool
    """Whether the smallest rate measured is already enough, so that less may do."""
    step_back: float
    """The largest fall of the measured curve before the fit; 0: it was monotonic."""
    reason: str | None
    """Why a figure is missing."""


def needs(results: Results, share: float = SHARE) -> list[Need]:
    """Return a row for each source, task and line."""
    found = []
    for source, metric in panels(results):
        for line in results.of(source):
            if select_points(line, metric, "bytes"):
                found.append(_need(results, line, metric, share))
    return found


def _need(results: Results, line: Series, metric: Metric, share: float) -> Need:
    size, rate = (curve_of(line, metric, name) for name in ("bytes", "bps"))
    best = ideal(results, line.sweep, line.source, metric)
    bytes_per_frame = on_air_bps = best_share = reason = None
    if not best:
        reason = (
            "the accuracy on originals is not known" if best is None else "the accuracy on originals is 0"
        )
    else:
        bytes_per_frame = size.reaches(share * best)
        on_air_bps = rate.reaches(share * best) if len(rate.rates) else None
        best_share = size.best / best
        if bytes_per_frame is None:
            reason = "not reached"
        elif on_air_bps is None:
            reason = "pictures have no pace, so there is no bit/s"
    smallest = bytes_per_frame is not None and bytes_per_frame <= size.rates[0]
    return Need(
        line.sweep,
        line.source,
        metric.task,
        metric.reference,
        metric.key,
        line.codec,
        line.variant,
        best,
        bytes_per_frame,
        on_air_bps,
        best_share,
        smallest,
        size.step_back,
        reason,
    )


@dataclass(frozen=True)
class KeptAccuracy:
    """What a line keeps of the accuracy on originals at each of SIZES."""

    sweep: str
    source: str
    metric: Metric
    line: Series
    shares: tuple[float | None, ...]
    """None outside of the sizes that were measured."""
    range: tuple[float, float]
    """The sizes that were measured."""


def list_kept(results: Results) -> list[KeptAccuracy]:
    """Return a row for each source, task and line whose accuracy on originals is known."""
    found = []
    for source, metric in panels(results):
        for line in results.of(source):
            best = ideal(results, line.sweep, source, metric)
            size = curve_of(line, metric, "bytes")
            if best and len(size.rates):
                values = [size.at(float(count)) for count in SIZES]
                shares = tuple(None if value is None else value / best for value in values)
                ends = (float(size.rates[0]), float(size.rates[-1]))
                found.append(KeptAccuracy(line.sweep, source, metric, line, shares, ends))
    return found


@dataclass(frozen=True)
class BdTable:
    """BD-rates of every line (rows) against every other (columns), for one score on one source."""

    source: str
    metric: Metric
    rate: str
    """A key of RATES."""
    names: tuple[str, ...]
    cells: tuple[tuple[BdRate | None, ...], ...]
    """[test][anchor]; None on the diagonal."""

    @property
    def reasons(self) -> list[str]:
        """Why figures are missing, and which curves were not monotonic, each once."""
        rates = [cell for row in self.cells for cell in row if cell is not None]
        notes = [f"{note}: its monotonic fit is used" for cell in rates for note in cell.notes]
        return list(dict.fromkeys(notes))


def bd_tables(results: Results, external: Sequence[ExternalLine] = ()) -> list[BdTable]:
    """Return a table for each score that has two lines or more.

    A caption alone is no point of a codec's curve there: it would widen the range that others must overlap.
    """
    found = []
    for source, metric in [*panels(results), *picture_panels(results)]:
        rate = "bpp" if external and metric.task == PICTURE else "bytes"
        lines: list[tuple[str, Curve]] = []
        for line in results.of(source):
            points = curve_of(without_caption_only(line), metric, rate)
            if len(points.rates):
                lines.append((results.name(line), points))
        if metric.task == PICTURE:
            for other in external:
                if other.points(metric.key):
                    bpp, values = zip(*other.points(metric.key), strict=True)
                    lines.append((other.name, curve(bpp, values, higher_is_better=metric.higher_is_better)))
        if len(lines) > 1:
            found.append(_bd_table(source, metric, rate, lines))
    return found


def _bd_table(source: str, metric: Metric, rate: str, lines: Sequence[tuple[str, Curve]]) -> BdTable:
    # Akima is the usual choice for picture quality; fits of task curves have flat parts, which it overshoots.
    rows = tuple(
        tuple(
            None
            if test is anchor
            else bd_rate(
                anchor[1], test[1], "akima" if metric.task == PICTURE else "pchip", (anchor[0], test[0])
            )
            for anchor in lines
        )
        for test in lines
    )
    return BdTable(source, metric, rate, tuple(name for name, _ in lines), rows)


def bd_records(tables: Sequence[BdTable]) -> list[dict[str, Any]]:
    """Return the tables as rows for JSON."""
    return [
        {
            "source": table.source,
            "task": table.metric.task,
            "key": table.metric.key,
            "rate": "bpp_payload" if table.rate == "bpp" else "bytes_per_frame",
            "anchor": table.names[column],
            "test": table.names[row],
            **asdict(cell),
        }
        for table in tables
        for row, cells in enumerate(table.cells)
        for column, cell in enumerate(cells)
        if cell is not None
    ]
