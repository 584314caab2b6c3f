"""Tables for other tools: one row for each frame, as Parquet, written by DuckDB."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from link.errors import StorageError
from link.journal import Run
from scenarios.results.judge import COLUMNS, Analysis, analyse
from scenarios.results.metrics import NS, FrameRow, frame_rows, scenario
from scenarios.scoring.quality import Scores

FRAME_COLUMNS = {
    "run": "VARCHAR",
    "codec": "VARCHAR",
    "seed": "UBIGINT",
    "frame": "INTEGER",
    "name": "VARCHAR",
    "captured_s": "DOUBLE",
    "shown_s": "DOUBLE",
    "latency_s": "DOUBLE",
    "status": "VARCHAR",
    "sections_sent": "INTEGER",
    "sections_received": "INTEGER",
    "payload_bytes": "BIGINT",
    "on_air_bytes": "BIGINT",
    "packets_sent": "INTEGER",
    "packets_lost": "INTEGER",
    "resent": "INTEGER",
    "psnr_db": "DOUBLE",
    "ms_ssim": "DOUBLE",
    "lpips": "DOUBLE",
    **dict.fromkeys(COLUMNS, "VARCHAR"),  # what scenarios.scoring pools, as JSON
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, and put it in the place of *path* at the end: one sees the old or the new.

    Raise StorageError where the disk is full or the folder cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield fresh
        fresh.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            fresh.unlink()


def write_parquet(
    run: Run, path: Path, scores: Scores | None = None, analysis: Analysis | None = None
) -> Path:
    """Write one row for each frame of *run* to *path*.

    *scores* of the pictures and the *analysis* of the findings are made where not given.
    """
    analysis = analyse(run, intervals=False) if analysis is None else analysis
    about = scenario(run)
    head = (about["name"], about["codec"]["name"], about["seed"])
    table = [(*head, *_cells(row), *analysis.columns(row.frame).values()) for row in frame_rows(run, scores)]
    return write_table(table, FRAME_COLUMNS, path)


def write_table(table: list[tuple[Any, ...]], kinds: Mapping[str, str], path: Path) -> Path:
    """Write the rows of *table*, whose columns are *kinds* by name, to *path* as Parquet.

    Raise StorageError where the disk is full or the folder cannot be written.
    """
    columns = [list(map(_storable, column)) for column in zip(*table, strict=True)] or [[] for _ in kinds]
    values = ", ".join(f"unnest(?::{kind}[]) AS {name}" for name, kind in kinds.items())
    if _storable(str(path)) != str(path):
        raise StorageError(f"cannot write {path}: DuckDB needs a path in UTF-8")
    with replacing(path) as fresh, duckdb.connect() as database:
        try:
            database.execute(f"CREATE TABLE rows AS SELECT {values}", columns)
            quoted = str(fresh).replace("'", "''")
            database.execute(f"COPY rows TO '{quoted}' (FORMAT parquet)")
        except duckdb.IOException as error:
            raise StorageError(f"cannot write {path}: {str(error).splitlines()[0]}") from error
    return path


def _storable(value: Any) -> Any:
    """Return *value* with lone surrogates, as a file's name that is no UTF-8 has them, spelled out."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _cells(row: FrameRow) -> tuple[object, ...]:
    shown_s = None if row.shown_ns is None else row.shown_ns / NS
    return (
        row.frame,
        row.name,
        row.captured_ns / NS,
        shown_s,
        row.latency_s,
        row.status,
        row.sections_sent,
        row.sections_received,
        row.payload_bytes,
        row.on_air_bytes,
        row.packets_sent,
        row.packets_lost,
        row.resent,
        row.psnr_db,
        row.ms_ssim,
        row.lpips,
    )
