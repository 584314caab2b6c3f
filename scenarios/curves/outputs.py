"""The points as a table for other tools: a row for each point and score, as Parquet, written by DuckDB."""

import json
from collections.abc import Iterator
from pathlib import Path

from scenarios.curves.series import Results
from scenarios.results.table import write_rows

_COLUMNS = {
    "sweep": "VARCHAR",
    "source": "VARCHAR",
    "codec": "VARCHAR",
    "variant": "VARCHAR",
    "setting": "VARCHAR",
    "task": "VARCHAR",
    "reference": "VARCHAR",
    "metric": "VARCHAR",
    "value": "DOUBLE",
    "low": "DOUBLE",
    "high": "DOUBLE",
    "ideal": "DOUBLE",
    "bytes_per_frame": "DOUBLE",
    "payload_bytes_per_frame": "DOUBLE",
    "on_air_bps": "DOUBLE",
    "bpp": "DOUBLE",
    "bpp_payload": "DOUBLE",
    "rate_bps": "DOUBLE",
    "loss": "DOUBLE",
    "age_mean_s": "DOUBLE",
    "age_peak_s": "DOUBLE",
    "frames": "INTEGER",
    "clusters": "INTEGER",
    "seeds": "INTEGER",
    "caption_only": "BOOLEAN",
}


def write_points(results: Results, path: Path) -> Path:
    """Write a row for each point and score to *path*; `setting` is JSON, dotted path to value.

    Raise StorageError where the disk is full or the folder cannot be written.
    """
    return write_rows((dict(zip(_COLUMNS, row, strict=True)) for row in _rows(results)), _COLUMNS, path)


def _rows(results: Results) -> Iterator[tuple[object, ...]]:
    for line in results.series:
        for point in line.points:
            setting = json.dumps({**point.knobs, **point.others}, sort_keys=True)
            for (task, reference, key), score in point.scores.items():
                best = (
                    results.ideal.get((line.sweep, line.source, task, key)) if reference == "truth" else None
                )
                yield (
                    line.sweep,
                    line.source,
                    line.codec,
                    line.variant,
                    setting,
                    task,
                    reference,
                    key,
                    score.value,
                    score.low,
                    score.high,
                    best,
                    point.bytes_per_frame,
                    point.payload_bytes_per_frame,
                    point.on_air_bps,
                    point.bpp,
                    point.bpp_payload,
                    point.mean("rate_bps"),
                    point.mean("loss"),
                    point.mean("age_mean_s"),
                    point.mean("age_peak_s"),
                    score.frames,
                    score.clusters,
                    len({cell.seed for cell in point.cells}),
                    point.caption_only,
                )
