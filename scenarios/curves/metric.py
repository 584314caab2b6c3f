"""Which scores have a panel, how they are called, and how a line becomes a curve of one of them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scenarios.curves.fit import Curve, curve
from scenarios.curves.series import PICTURE, Point, Results, Series
from scenarios.scoring import pictures
from scenarios.scoring.tasks import TASKS


@dataclass(frozen=True)
class Metric:
    """A score: of which task, against what, under which key."""

    task: str
    reference: str
    """`truth`, or `original`: the same model's findings on the original."""
    key: str
    title: str
    label: str
    """What stands at an axis."""

    @property
    def higher_is_better(self) -> bool:
        """Which way is better."""
        if self.task == PICTURE:
            return pictures.table()[self.key].higher_is_better
        return TASKS[self.task].higher_is_better[self.key]

    @property
    def name(self) -> tuple[str, str, str]:
        """The key of a point's scores."""
        return self.task, self.reference, self.key


def picture_metrics() -> list[Metric]:
    """Return the scores of pictures, in the order of their table."""
    return [
        Metric(PICTURE, "original", name, score.label, score.axis) for name, score in pictures.table().items()
    ]


def metrics(reference: str) -> list[Metric]:
    """Return the headline score of each task against *reference*."""
    return [
        Metric(name, reference, task.primary, name, task.labels[task.primary]) for name, task in TASKS.items()
    ]


def beside(reference: str) -> list[Metric]:
    """Return the scores that stand beside the headline ones in tables, against *reference*."""
    return [
        Metric(name, reference, key, name, task.labels[key])
        for name, task in TASKS.items()
        for key in task.beside
    ]


def panels(results: Results, reference: str | None = None) -> list[tuple[str, Metric]]:
    """Return (source, score) of each panel of tasks.

    Without *reference* it is the truth where a source has it, else the same model's findings on the originals.
    """
    pairs = []
    for source in results.sources:
        for truth, original in zip(metrics("truth"), metrics("original"), strict=True):
            choice = {"truth": [truth], "original": [original]}.get(reference or "", [truth, original])
            metric = next((metric for metric in choice if results.has(source, *metric.name)), None)
            if metric is not None:
                pairs.append((source, metric))
    return pairs


def picture_panels(results: Results) -> list[tuple[str, Metric]]:
    """Return (source, score) of each panel of picture quality."""
    return [
        (source, metric)
        for source in results.sources
        for metric in picture_metrics()
        if results.has(source, *metric.name)
    ]


def ideal(results: Results, sweep: str, source: str, metric: Metric) -> float | None:
    """Return what the model scores on the originals: against itself, all there is to score."""
    if metric.task == PICTURE:
        return None
    if metric.reference == "original":
        return 1.0
    return results.ideal.get((sweep, source, metric.task, metric.key))


RATES: Mapping[str, Callable[[Point], float | None]] = MappingProxyType(
    {
        "bytes": lambda point: point.bytes_per_frame,
        "bps": lambda point: point.on_air_bps,
        "bpp": lambda point: point.bpp_payload,
    }
)
"""What accuracy is drawn against: bytes a frame and bit/s on the air, payload bits per pixel."""


def select_points(line: Series, metric: Metric, rate: str) -> list[tuple[float, Point]]:
    """Return (rate, point) of the points that have both the score and a rate above 0, by rising rate."""
    pairs = [(RATES[rate](point), point) for point in line.points if metric.name in point.scores]
    return sorted(((x, point) for x, point in pairs if x), key=lambda pair: pair[0])


def select_frontier(line: Series, metric: Metric, rate: str) -> list[tuple[float, Point]]:
    """Return those of select_points() that no other beats at the same rate or less, by rising rate."""
    sign = 1.0 if metric.higher_is_better else -1.0
    unbeaten: list[tuple[float, Point]] = []
    best = -math.inf
    for x, point in sorted(
        select_points(line, metric, rate), key=lambda at: (at[0], -sign * _value(at[1], metric))
    ):
        if sign * _value(point, metric) > best:
            best = sign * _value(point, metric)
            unbeaten.append((x, point))
    return unbeaten


def _value(point: Point, metric: Metric) -> float:
    return point.scores[metric.name].value


def curve_of(line: Series, metric: Metric, rate: str) -> Curve:
    """Return the curve of one score of a line, empty where no point has it.

    Where several settings vary along the line, it is that of the best at each rate: an operator would take these.
    """
    pairs = (select_frontier if line.several_knobs else select_points)(line, metric, rate)
    return curve(
        [x for x, _ in pairs],
        [point.scores[metric.name].value for _, point in pairs],
        higher_is_better=metric.higher_is_better,
    )
