"""What changed between sweeps: the same codec at the same setting on the same source, score by score.

Where both scored the same frames the difference is resampled on those frames, both sides with the same draw
(paired bootstrap): its interval is then that of the change alone, without what frames differ among themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scenarios.curves.load import FrameValues, Sweep
from scenarios.curves.metric import Metric, panels, picture_panels
from scenarios.curves.series import PICTURE, SEED, Point, Results, Score, parse_stats
from scenarios.scoring import bootstrap, pictures
from scenarios.scoring.tasks import TASKS


@dataclass(frozen=True)
class Difference:
    """One score of a setting in the first sweep and in another."""

    source: str
    metric: Metric
    first: Point
    other: Point
    change: float
    """The other's score less the first's."""
    low: float | None
    high: float | None
    note: str | None
    """Why there is no interval."""

    @property
    def scores(self) -> tuple[Score, Score]:
        """The two scores."""
        return self.first.scores[self.metric.name], self.other.scores[self.metric.name]

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def differences(
    results: Results, sweeps: Sequence[Sweep], resamples: int = bootstrap.RESAMPLES
) -> tuple[list[Difference], list[str]]:
    """Return the differences of every other sweep to the first, and in words what has no counterpart.

    Two runs are compared whatever their codecs; settings of sweeps are compared where codec and setting agree.
    """
    opened = {sweep.label: sweep for sweep in sweeps}
    points: dict[str, dict[tuple[str, ...], Point]] = {sweep.label: {} for sweep in sweeps}
    alone = all(len(sweep.done) == 1 for sweep in sweeps)
    for line in results.series:
        for point in line.points:
            key: tuple[str, ...] = (point.source,)
            if not alone:
                key = (point.source, point.codec, _settings(point))
            points[line.sweep][key] = point
    rows, missing = [], []
    first = sweeps[0].label
    shown = [*panels(results), *picture_panels(results)]
    for sweep in sweeps[1:]:
        others = points[sweep.label]
        shared = [key for key in points[first] if key in others]
        unmatched = len(points[first]) + len(others) - 2 * len(shared)
        if unmatched:
            missing.append(
                f"{unmatched} settings of {first} and {sweep.label} are in one of the two alone; the curves show them"
            )
        for key in shared:
            one, two = points[first][key], others[key]
            for source, metric in shown:
                if source == one.source and metric.name in one.scores and metric.name in two.scores:
                    rows.append(_difference(opened[first], sweep, one, two, metric, resamples))
    return rows, missing


def _settings(point: Point) -> str:
    return repr(sorted(point.cells[0].settings.items(), key=lambda item: item[0]))


def _difference(
    first: Sweep, other: Sweep, one: Point, two: Point, metric: Metric, resamples: int
) -> Difference:
    change = two.scores[metric.name].value - one.scores[metric.name].value
    if metric.key in pictures.TOGETHER:
        return Difference(one.source, metric, one, two, change, None, None, "a score of the whole set")
    column = metric.key if metric.task == PICTURE else f"{metric.task}_{metric.reference}_stats"
    rows = [
        {
            (row.name, _seed(point, row)): row
            for row in sweep.frames(point.cells, [column])
            if row.values[column] is not None
        }
        for sweep, point in ((first, one), (other, two))
    ]
    span, note = None, None
    if set(rows[0]) != set(rows[1]):
        note = "not the same frames"
    else:
        span = _paired([*rows[0].values()], [rows[1][key] for key in rows[0]], column, metric, resamples)
        note = None if span else "one frame alone"
    low, high = span or (None, None)
    return Difference(one.source, metric, one, two, change, low, high, note)


def _seed(point: Point, row: FrameValues) -> int | None:
    return next((cell.seed for cell in point.cells if cell.cell == row.cell), None)


def _paired(
    one: list[FrameValues], two: list[FrameValues], column: str, metric: Metric, resamples: int
) -> tuple[float, float] | None:
    clusters, moments = [row.sequence for row in one], [row.name for row in one]
    if metric.task != PICTURE:
        stats = [parse_stats(rows, column) for rows in (one, two)]
        drawn = bootstrap.resampled(TASKS[metric.task], stats, clusters, SEED, resamples, moments=moments)
        return None if drawn is None else bootstrap.span(drawn[1][metric.key] - drawn[0][metric.key])
    weights = bootstrap.weights(clusters, SEED, resamples, moments=moments)
    if weights is None:
        return None
    numbers = [np.array([row.values[column] for row in rows], np.float64) for rows in (one, two)]
    total = weights.sum(1)
    return bootstrap.span(weights @ numbers[1] / total - weights @ numbers[0] / total)


def records(rows: Sequence[Difference]) -> list[Mapping[str, object]]:
    """Return the differences as rows for JSON."""
    return [
        {
            "source": row.source,
            "codec": row.first.codec,
            "other_codec": row.other.codec,
            "setting": row.first.setting,
            "task": row.metric.task,
            "reference": row.metric.reference,
            "key": row.metric.key,
            "first": row.first.sweep,
            "other": row.other.sweep,
            "first_value": row.scores[0].value,
            "other_value": row.scores[1].value,
            "change": row.change,
            "low": row.low,
            "high": row.high,
            "note": row.note,
            "first_bytes_per_frame": row.first.bytes_per_frame,
            "other_bytes_per_frame": row.other.bytes_per_frame,
        }
        for row in rows
    ]
