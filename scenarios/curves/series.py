"""From cells to points and lines: frames of all seeds pooled, each score with its 95 % interval.

A *point* is what one codec came to at one setting on one source. A *line* (series) holds the points of one codec
that differ in how much they send alone: in numbers of the codec and in the link's rate. Every other varied field
(loss, repair, the order of channels) makes lines of its own.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from link.errors import UsageError
from link.records import check, parse_json
from scenarios.curves.load import REFERENCES, CellRow, FrameValues, Sweep
from scenarios.scoring import bootstrap, pictures
from scenarios.scoring.stats import Stats
from scenarios.scoring.tasks import TASKS, Task

PICTURE = "picture"
SEED = 1  # of the resamples: the same tables give the same page


@dataclass(frozen=True)
class Score:
    """One score of a point."""

    value: float
    low: float | None
    """The 95 % interval; None where it rests on one frame."""
    high: float | None
    frames: int
    """How many frames it is of, those of every seed."""
    clusters: int


@dataclass(frozen=True)
class Point:
    """One codec at one setting on one source, all seeds together."""

    sweep: str
    source: str
    codec: str
    knobs: Mapping[str, Any]
    """The settings along the line."""
    others: Mapping[str, Any]
    """The settings that make a line of its own."""
    cells: tuple[CellRow, ...]
    bytes_per_frame: float
    """On the air: payload, headers, repair and the way back."""
    payload_bytes_per_frame: float
    on_air_bps: float | None
    bpp: float | None
    """On the air."""
    bpp_payload: float | None
    scores: Mapping[tuple[str, str, str], Score]
    """(task, reference, key) to score; pictures are scored against the original."""

    @property
    def caption_only(self) -> bool:
        """Whether it sends a caption and no channel."""
        return all(cell.channels == 0 for cell in self.cells)  # None where the codec has no channels

    @property
    def setting(self) -> str:
        """The settings in words."""
        return words({**self.knobs, **self.others})

    def mean(self, name: str) -> float | None:
        """Return the mean over its cells of one of their numbers; None where no cell has it."""
        known = [value for cell in self.cells if (value := getattr(cell, name)) is not None]
        return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class Series:
    """A line: the points of one codec, by bytes a frame."""

    sweep: str
    source: str
    codec: str
    variant: str
    """What sets it apart from other lines of the codec, in words."""
    points: tuple[Point, ...]

    @property
    def label(self) -> str:
        """Its name within a panel."""
        return ", ".join(part for part in (self.codec, self.variant) if part)

    @property
    def several_knobs(self) -> bool:
        """Whether more than one setting varies along it, so that it is no single path.

        A caption alone is where the path of channels begins, whatever else it was asked with.
        """
        points = [point for point in self.points if not point.caption_only]
        names = {name for point in points for name in point.knobs}
        return sum(len({_key(point.knobs.get(name)) for point in points}) > 1 for name in names) > 1


@dataclass(frozen=True)
class Results:
    """Everything that the figures and tables are made of."""

    series: tuple[Series, ...]
    ideal: Mapping[tuple[str, str, str, str], float]
    """(sweep, source, task, key) to the accuracy of the same model on the originals."""

    @property
    def sources(self) -> list[str]:
        """In the order in which they first come."""
        return list(dict.fromkeys(line.source for line in self.series))

    @property
    def sweeps(self) -> list[str]:
        """The sweeps' labels, in the order in which they first come."""
        return list(dict.fromkeys(line.sweep for line in self.series))

    def name(self, line: Series) -> str:
        """Return what tells *line* from every other line of its source."""
        return f"{line.sweep}: {line.label}" if len(self.sweeps) > 1 else line.label

    def of(self, source: str) -> list[Series]:
        """Return the lines of one source."""
        return [line for line in self.series if line.source == source]

    def has(self, source: str, task: str, reference: str, key: str) -> bool:
        """Return whether any point of *source* has this score."""
        wanted = (task, reference, key)
        return any(wanted in point.scores for line in self.of(source) for point in line.points)


def is_loss(path: str) -> bool:
    """Return whether a setting is one of the loss on the way."""
    return "loss" in path.split(".")


def least_loss(results: Results) -> Results:
    """Return the lines of the least loss alone, where a sweep varies it: one line a codec again."""
    least: dict[tuple[str, str, str, str], tuple[float, Series]] = {}
    for line in results.series:
        rest = {path: value for path, value in line.points[0].others.items() if not is_loss(path)}
        key = (line.sweep, line.source, line.codec, words(rest))
        loss = line.points[0].mean("loss") or 0.0
        if key not in least or loss < least[key][0]:
            least[key] = (loss, line)
    return Results(tuple(line for _, line in least.values()), results.ideal)


def without_caption_only(line: Series) -> Series:
    """Return *line* without its points that send no channel."""
    return replace(line, points=tuple(point for point in line.points if not point.caption_only))


def words(settings: Mapping[str, Any]) -> str:
    """Return settings as people say them: `channels 4, rate_bps 500`."""
    return ", ".join(f"{path.rpartition('.')[2]} {_plain(value)}" for path, value in settings.items())


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def results(sweeps: Sequence[Sweep], resamples: int = bootstrap.RESAMPLES) -> Results:
    """Return points and lines of *sweeps*. Raise UsageError where a frame's numbers do not belong together."""
    names = _sources(sweeps)
    series: list[Series] = []
    ideal: dict[tuple[str, str, str, str], float] = {}
    for sweep in sweeps:
        varied = _varied(sweep.cells)
        groups: dict[tuple[str, str, str], list[CellRow]] = {}
        for cell in sweep.done:
            source = names[sweep.label, _drives(cell.source)]
            groups.setdefault((source, cell.codec, _key(_kept(cell.settings, varied))), []).append(cell)
        lines: dict[tuple[str, str, str], list[Point]] = {}
        for (source, codec, _), cells in groups.items():
            point = _point(sweep, source, codec, cells, varied, resamples)
            if point is not None:
                lines.setdefault((source, codec, words(point.others)), []).append(point)
        for (source, codec, variant), points in lines.items():
            ordered = tuple(sorted(points, key=lambda point: point.bytes_per_frame))
            series.append(Series(sweep.label, source, codec, variant, ordered))
        ideal |= _ideals(sweep, names)
    return Results(tuple(series), ideal)


def _sources(sweeps: Iterable[Sweep]) -> dict[tuple[str, str], str]:
    """Return a short name for each (sweep, source): without folders, where that leaves them different."""
    names: dict[tuple[str, str], str] = {}
    for sweep in sweeps:
        mine = sorted({_drives(cell.source) for cell in sweep.cells})
        short = [_short(source) for source in mine]
        for source, name in zip(mine, short, strict=True):
            names[sweep.label, source] = name if short.count(name) == 1 else source
    return names


def _drives(source: str) -> str:
    """Return a world without the number of its drive: all drives of a theme are one source."""
    return ":".join(source.split(":")[:2]) if source.startswith("world:") else source


def _short(source: str) -> str:
    prefix, colon, rest = source.rpartition(":")
    last = rest.rstrip("/").rpartition("/")[2] or rest
    return f"{prefix}{colon}{last}"


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _varied(cells: Sequence[CellRow]) -> set[str]:
    """Return the fields that differ between cells."""
    names = {name for cell in cells for name in cell.settings}
    return {name for name in names if len({_key(cell.settings.get(name)) for cell in cells}) > 1}


def _kept(settings: Mapping[str, Any], varied: set[str]) -> dict[str, Any]:
    return {name: settings[name] for name in sorted(settings) if name in varied}


def is_knob(path: str, value: Any) -> bool:
    """Return whether a setting says how much is sent: a number of the codec, or the link's rate."""
    number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    return number and (path.startswith("codec.") or path.rpartition(".")[2] == "rate_bps")


def _point(
    sweep: Sweep, source: str, codec: str, cells: Sequence[CellRow], varied: set[str], resamples: int
) -> Point | None:
    """Return the point of *cells*; None where they sent nothing."""
    columns = [f"{task}_{reference}_stats" for task in TASKS for reference in REFERENCES]
    rows = sweep.frames(cells, [*columns, *pictures.EACH])
    if not rows:
        return None
    scores: dict[tuple[str, str, str], Score] = {}
    for name in TASKS:
        for reference in REFERENCES:
            column = f"{name}_{reference}_stats"
            known = [row for row in rows if row.values[column] is not None]
            try:
                task_scores = _task_scores(TASKS[name], known, column, resamples)
            except (ValueError, KeyError, TypeError) as error:
                where = f"{sweep.folder}: column {column} of {codec} on {source}"
                raise UsageError(f"{where}: {error}") from None
            scores |= {(name, reference, key): score for key, score in task_scores.items()}
    for key in pictures.EACH:
        score = _mean_score(rows, key, resamples)
        if score is not None:
            scores[PICTURE, "original", key] = score
    for key in pictures.TOGETHER:
        values = [cell.of_set[key] for cell in cells if key in cell.of_set]
        if (
            values
        ):  # each seed's set by itself: pooled pictures would make a larger set, and FID depends on its size
            scores[PICTURE, "original", key] = Score(
                float(np.mean(values)), None, None, len(rows), len(values)
            )
    settings = _kept(cells[0].settings, varied)
    rates = [cell.on_air_bps for cell in cells if cell.on_air_bps is not None]
    sized = [row for row in rows if row.pixels]
    pixels = sum(row.pixels or 0 for row in sized)
    on_air = float(np.mean([row.on_air_bytes for row in rows]))
    return Point(
        sweep=sweep.label,
        source=source,
        codec=codec,
        knobs={path: value for path, value in settings.items() if is_knob(path, value)},
        others={path: value for path, value in settings.items() if not is_knob(path, value)},
        cells=tuple(cells),
        bytes_per_frame=on_air,
        payload_bytes_per_frame=float(np.mean([row.payload_bytes for row in rows])),
        on_air_bps=float(np.mean(rates)) if rates else None,
        bpp=sum(row.on_air_bytes for row in sized) * 8 / pixels if pixels else None,
        bpp_payload=sum(row.payload_bytes for row in sized) * 8 / pixels if pixels else None,
        scores=scores,
    )


def once(rows: Sequence[FrameValues], column: str) -> list[FrameValues]:
    """Return each frame once where every seed came to the same; else all *rows*.

    Scores are ratios and means, so k equal copies of every frame change neither them nor their intervals.
    """
    copies: dict[tuple[str, str], list[FrameValues]] = {}
    for row in rows:
        copies.setdefault((row.sequence, row.name), []).append(row)
    counts = {len(group) for group in copies.values()}
    same = all(len({row.values[column] for row in group}) == 1 for group in copies.values())
    return [group[0] for group in copies.values()] if same and len(counts) == 1 else list(rows)


def parse_stats(rows: Sequence[FrameValues], column: str) -> list[Stats]:
    """Return what a task kept of each frame. Raise ValueError where that is not what its frames keep."""
    form = TASKS[column.partition("_")[0]].form
    stats = []
    for row in rows:
        tree = parse_json(str(row.values[column]).encode())
        check(form, tree, f"frame {row.frame}")
        stats.append(tree)
    return stats


def _task_scores(task: Task, rows: list[FrameValues], column: str, resamples: int) -> dict[str, Score]:
    if not rows:
        return {}
    kept = once(rows, column)
    stats = parse_stats(kept, column)
    clusters, moments = [row.sequence for row in kept], [row.name for row in kept]
    values = task.scores(stats)
    spans = bootstrap.intervals(task, stats, clusters, SEED, resamples, moments=moments)
    scores = {}
    for key, value in values.items():
        if value is not None:
            low, high = spans[key] or (None, None)
            scores[key] = Score(value, low, high, len(rows), len(set(clusters)))
    return scores


def _mean_score(rows: Sequence[FrameValues], key: str, resamples: int) -> Score | None:
    """Return the mean over the shown pictures that have the score."""
    known = [row for row in rows if row.values[key] is not None and np.isfinite(row.values[key])]
    if not known:
        return None
    kept = once(known, key)
    values = np.array([row.values[key] for row in kept], np.float64)
    clusters = [row.sequence for row in kept]
    weights = bootstrap.weights(clusters, SEED, resamples, moments=[row.name for row in kept])
    low = high = None
    if weights is not None:
        total = weights.sum(1)
        low, high = bootstrap.span((weights @ values)[total > 0] / total[total > 0]) or (None, None)
    return Score(float(values.mean()), low, high, len(known), len(set(clusters)))


def _ideals(sweep: Sweep, names: Mapping[tuple[str, str], str]) -> dict[tuple[str, str, str, str], float]:
    """Return the accuracy on the originals, every frame of a source once."""
    columns = [f"{task}_ideal_stats" for task in TASKS if f"{task}_ideal_stats" in sweep.columns]
    by_source: dict[str, list[CellRow]] = {}
    for cell in sweep.done:
        by_source.setdefault(names[sweep.label, _drives(cell.source)], []).append(cell)
    ideals = {}
    for source, cells in by_source.items():
        distinct: dict[str, dict[str, FrameValues]] = {column: {} for column in columns}
        seeds: dict[Any, CellRow] = {}
        for cell in cells:
            seeds.setdefault(cell.seed, cell)
        # The cells of one seed show the same frames: one of each is enough, unless it sent none.
        for group in ([*seeds.values()], cells):
            missing = [column for column in columns if not distinct[column]]
            for row in sweep.frames(group, missing) if missing else ():
                for column in missing:
                    if row.values[column] is not None:
                        distinct[column].setdefault(row.name, row)
        for column, rows_by_name in distinct.items():
            task = column.removesuffix("_ideal_stats")
            try:
                values = (
                    TASKS[task].scores(parse_stats([*rows_by_name.values()], column)) if rows_by_name else {}
                )
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{sweep.folder}: column {column} on {source}: {error}") from None
            for key, value in values.items():
                if value is not None:
                    ideals[sweep.label, source, task, key] = value
    return ideals
