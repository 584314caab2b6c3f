"""A sweep as tables for pandas and for curves: `cells.parquet`, a row a cell, and `frames.parquet`, a row a frame.

Rows stand in the order of the plan, whatever order they were computed in.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from link.errors import StorageError
from scenarios.results.table import FRAME_COLUMNS, replacing
from scenarios.sweep import measure
from scenarios.sweep.plan import Cell
from scenarios.sweep.state import State

CELLS = {
    "cell": "VARCHAR",
    "status": "VARCHAR",
    "error": "VARCHAR",
    "seed": "UBIGINT",
    "codec": "VARCHAR",
    "source": "VARCHAR",
    "settings": "VARCHAR",
    "rate_bps": "DOUBLE",
    "loss": "DOUBLE",
    "channels": "INTEGER",
    "frame_bytes": "BIGINT",
    "frames_sent": "INTEGER",
    "frames_shown": "INTEGER",
    "payload_bytes_per_frame": "DOUBLE",
    "on_air_bytes_per_frame": "DOUBLE",
    "on_air_bps": "DOUBLE",
    "bpp_payload": "DOUBLE",
    "bpp_on_air": "DOUBLE",
    "psnr_db": "DOUBLE",
    "ms_ssim": "DOUBLE",
    "lpips": "DOUBLE",
    "latency_p50_s": "DOUBLE",
    "age_mean_s": "DOUBLE",
    "age_peak_s": "DOUBLE",
}
"""Then come the tasks' scores, `TASK_REFERENCE_KEY`, and `wall_s`."""
FRAMES = {
    "cell": "VARCHAR",
    "source": "VARCHAR",
    "sequence": "VARCHAR",
    "width": "INTEGER",
    "height": "INTEGER",
    **FRAME_COLUMNS,
}
_ROWS_AT_ONCE = 20_000


def write(cells: Sequence[Cell], state: State, out: Path) -> list[Path]:
    """Write both tables of what *state* has of *cells* into *out*; return their paths.

    Raise StorageError where the disk is full.
    """
    done = []
    rows = []
    for cell in cells:
        kept = state.cell(cell.key)
        if kept is None:
            continue
        told = {key: value for key, value in measure.about(cell.scenario).items() if key in CELLS}
        settings = json.dumps(dict(cell.settings), sort_keys=True, default=str)
        head = {"cell": cell.id, "status": kept["status"], "error": kept["error"], "settings": settings}
        rows.append({**head, **told, **kept["row"], "wall_s": kept["wall_s"]})
        if kept["status"] == "done":
            done.append(cell)
    scores = dict.fromkeys(sorted({key for row in rows for key in row} - set(CELLS) - {"wall_s"}), "DOUBLE")
    _write(out / "cells.parquet", {**CELLS, **scores, "wall_s": "DOUBLE"}, rows)
    _write(out / "frames.parquet", FRAMES, _frames(done, state))
    return [out / "cells.parquet", out / "frames.parquet"]


def _frames(cells: Sequence[Cell], state: State) -> Iterable[Mapping[str, Any]]:
    known = {cell.key: cell for cell in cells}
    for key, row in state.frames(known):
        camera = known[key].scenario.camera
        size = {"width": camera.width, "height": camera.height}
        yield {"cell": known[key].id, "source": camera.source, **size, **row}


def _write(path: Path, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write *rows* as the Parquet file *path*; what a row lacks is null."""
    types = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    values = ", ".join(f"unnest(?::{kind}[])" for kind in columns.values())
    with replacing(path) as fresh, duckdb.connect() as database:
        try:
            database.execute(f"CREATE TABLE found ({types})")
            block: list[Mapping[str, Any]] = []
            for row in rows:
                block.append(row)
                if len(block) == _ROWS_AT_ONCE:
                    _insert(database, values, columns, block)
            _insert(database, values, columns, block)
            quoted = str(fresh).replace("'", "''")
            database.execute(f"COPY found TO '{quoted}' (FORMAT parquet)")
        except duckdb.IOException as error:
            raise StorageError(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def _insert(database: Any, values: str, columns: Mapping[str, str], block: list[Mapping[str, Any]]) -> None:
    if block:
        database.execute(
            f"INSERT INTO found SELECT {values}", [[row.get(name) for row in block] for name in columns]
        )
        block.clear()
