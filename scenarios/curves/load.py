"""The tables of a sweep, or of a run, read from their folder: which columns the curves need, and what they mean.

Cells are read whole; the numbers that tasks keep of each frame are long and are fetched point by point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import duckdb
from pydantic import Field

from link.errors import UsageError
from link.files import read_within
from link.records import JSON_BYTES, Recorded, Text, check, parse_json
from scenarios import document
from scenarios.scoring import pictures

REFERENCES = ("truth", "original")
_ROWS, _LETTERS, _RATIO = 100_000, 64 << 20, 100
"""What a table may have: so many rows and one more each byte; so many bytes of text, and so many more each byte."""
_CELL_COLUMNS = (
    "cell",
    "status",
    "error",
    "seed",
    "codec",
    "source",
    "settings",
    "rate_bps",
    "loss",
    "channels",
    "on_air_bps",
    "age_mean_s",
    "age_peak_s",
)
_FRAME_COLUMNS = (
    "cell",
    "frame",
    "name",
    "sequence",
    "width",
    "height",
    "payload_bytes",
    "on_air_bytes",
)
# What says which cell it is, and not how its curve goes.
_IDENTITY = ("seed", "codec", "codec.name", "source", "camera.source")


@dataclass(frozen=True)
class CellRow:
    """One cell of a sweep, or a run."""

    cell: str
    status: str
    error: str | None
    seed: int | None
    codec: str
    source: str
    settings: Mapping[str, Any]
    """The varied fields but for seed, codec and source: dotted path to value."""
    rate_bps: float | None
    loss: float | None
    channels: int | None
    on_air_bps: float | None
    age_mean_s: float | None
    age_peak_s: float | None
    of_set: Mapping[str, float]
    """Scores of all its pictures together, those of `pictures.TOGETHER` that are known."""

    @property
    def done(self) -> bool:
        """Whether it has results."""
        return self.status == "done"


@dataclass(frozen=True)
class FrameValues:
    """A frame of a cell as far as the curves need it."""

    cell: str
    frame: int
    name: str
    sequence: str
    payload_bytes: int
    on_air_bytes: int
    pixels: int | None
    values: Mapping[str, Any]
    """The columns asked for: Stats as JSON text, or numbers; None where there is none."""


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder, opened."""

    folder: Path
    label: str
    cells: tuple[CellRow, ...]
    asked: Mapping[str, Any]
    """What was asked for: scenario, vary, seeds."""
    columns: frozenset[str]
    """Columns of the table of frames."""
    frames_table: Path
    is_run: bool = False

    @property
    def done(self) -> tuple[CellRow, ...]:
        """The cells with results."""
        return tuple(cell for cell in self.cells if cell.done)

    @property
    def failed(self) -> tuple[CellRow, ...]:
        """The cells without."""
        return tuple(cell for cell in self.cells if not cell.done)

    def frames(self, cells: Sequence[CellRow], values: Sequence[str]) -> list[FrameValues]:
        """Return the frames of *cells* in the order of time, seed by seed at each, with the columns *values*.

        A column that the table does not have is None everywhere.
        """
        if not cells:
            return []
        have = [name for name in values if name in self.columns]
        names = [*_FRAME_COLUMNS, *have]
        if self.is_run:
            names = [name for name in names if name != "cell"]
        rows = _read(self.frames_table, names, "" if self.is_run else f"cell IN {_words(cells)}")
        for row in rows:
            _check(_FrameRecord, row, self.frames_table)
            _check_values(row, have, self.frames_table)
        known = {cell.cell: at for at, cell in enumerate(cells)}
        frame_rows = []
        for row in rows:
            cell = cells[0].cell if self.is_run else str(row["cell"])
            frame_rows.append(
                FrameValues(
                    cell=cell,
                    frame=int(row["frame"]),
                    name=str(row["name"]),
                    sequence=str(row["sequence"] or ""),
                    payload_bytes=int(row["payload_bytes"] or 0),
                    on_air_bytes=int(row["on_air_bytes"] or 0),
                    pixels=row["width"] * row["height"] if row["width"] and row["height"] else None,
                    values={name: row.get(name) for name in values},
                )
            )
        return sorted(frame_rows, key=lambda row: (row.frame, known[row.cell]))


_MOST = 1e18
_Number = Annotated[float, Field(ge=-_MOST, le=_MOST)]
_Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class _FrameRecord(Recorded):
    frame: _Count
    name: Text
    sequence: Text | None
    width: _Count | None
    height: _Count | None
    payload_bytes: _Count | None
    on_air_bytes: _Count | None


class _CellRecord(Recorded):
    cell: Text
    status: Text
    codec: Text
    source: Text
    error: Text | None
    seed: Annotated[int, Field(ge=0, lt=1 << 64)] | None
    channels: _Count | None
    rate_bps: _Number | None
    loss: _Number | None
    on_air_bps: _Number | None
    age_mean_s: _Number | None
    age_peak_s: _Number | None


def _check(form: type[Recorded], row: Mapping[str, Any], path: Path) -> None:
    """Raise UsageError where *row* of the table at *path* is none of *form*."""
    try:
        check(form, dict(row), "a row")
    except ValueError as error:
        raise UsageError(f"{path}: not a table of this version: {error}") from None


def _check_values(row: Mapping[str, Any], names: Sequence[str], path: Path) -> None:
    """Raise UsageError where one of the columns *names*, scores or what tasks keep, is of another kind."""
    for name in names:
        kind = str if name.endswith("_stats") else (int, float)
        if row[name] is not None and (not isinstance(row[name], kind) or isinstance(row[name], bool)):
            raise UsageError(
                f"{path}: not a table of this version: a row: {name} is a {type(row[name]).__name__}"
            )
        if not isinstance(row[name], str | None) and abs(row[name]) > _MOST:
            raise UsageError(f"{path}: not a table of this version: a row: {name} is over {_MOST:g}")


def is_sweep(folder: Path) -> bool:
    """Return whether *folder* is that of a sweep."""
    return any((folder / name).is_file() for name in ("sweep.sqlite", "sweep.yaml", "cells.parquet"))


def open_folder(folder: Path, label: str | None = None) -> Sweep:
    """Return the sweep or run in *folder*, called *label* (default: the folder's name).

    Raise UsageError where there is neither, or a table of it is missing or damaged.
    """
    name = label or folder.resolve().name
    if is_sweep(folder):
        return _open_sweep(folder, name)
    if (folder / "results.parquet").is_file() and (folder / "summary.json").is_file():
        return _open_run(folder, name)
    if (folder / "run.mcap").is_file():
        raise UsageError(f"{folder}: the run there has no table yet; make it with `farlink report {folder}`")
    raise UsageError(f"{folder}: no sweep (cells.parquet) and no run (results.parquet) is there")


def _open_sweep(folder: Path, label: str) -> Sweep:
    paths = {name: folder / f"{name}.parquet" for name in ("cells", "frames")}
    for name, path in paths.items():
        if not path.is_file():
            raise UsageError(
                f"{folder}: the sweep's table {name}.parquet is missing; `farlink sweep --resume` finishes the sweep"
            )
    columns = _columns(paths["cells"])
    _need(paths["cells"], columns, _CELL_COLUMNS)
    wanted = (*_CELL_COLUMNS, *pictures.TOGETHER)
    rows = _read(paths["cells"], [name for name in columns if name in wanted], "")
    frame_columns = _columns(paths["frames"])
    _need(paths["frames"], frame_columns, _FRAME_COLUMNS)
    cells = tuple(_cell(row, paths["cells"]) for row in rows)
    return Sweep(folder, label, cells, _asked(folder / "sweep.yaml"), frame_columns, paths["frames"])


def _cell(row: Mapping[str, Any], path: Path) -> CellRow:
    _check(_CellRecord, row, path)
    _check_values(row, [name for name in pictures.TOGETHER if name in row], path)
    try:
        settings = parse_json(str(row["settings"] or "{}").encode())
    except ValueError as error:
        raise UsageError(f"{path}: the settings of cell {row['cell']} are not JSON: {error}") from None
    numbers = ("rate_bps", "loss", "on_air_bps", "age_mean_s", "age_peak_s")
    return CellRow(
        cell=str(row["cell"]),
        status=str(row["status"]),
        error=None if row["error"] is None else str(row["error"]),
        seed=row["seed"],
        codec=str(row["codec"]),
        source=str(row["source"]),
        settings={key: value for key, value in settings.items() if key not in _IDENTITY},
        channels=row["channels"],
        **{name: None if row[name] is None else float(row[name]) for name in numbers},
        of_set={name: float(row[name]) for name in pictures.TOGETHER if row.get(name) is not None},
    )


def _open_run(folder: Path, label: str) -> Sweep:
    path, summary = folder / "results.parquet", folder / "summary.json"
    columns = _columns(path)
    again = f"make it anew with `farlink report {folder}`"
    missing = [name for name in _FRAME_COLUMNS if name != "cell" and name not in columns]
    if missing:
        raise UsageError(f"{path}: the table has no column {', '.join(missing)}: {again}")
    try:
        told = parse_json(read_within(summary, JSON_BYTES))["cell"]
        cell = _cell({"cell": label, "settings": None, **told}, summary)
    except (UsageError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{summary}: not that of a run of this version ({error!r}): {again}") from None
    return Sweep(folder, label, (cell,), _asked(folder / "scenario.yaml"), columns, path, is_run=True)


def _asked(path: Path) -> dict[str, Any]:
    try:
        tree = document.read(path)
    except FileNotFoundError:
        return {}
    return tree if isinstance(tree, dict) else {}


# Parquet


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _words(cells: Sequence[CellRow]) -> str:
    return "(" + ", ".join("'" + cell.cell.replace("'", "''") + "'" for cell in cells) + ")"


def _columns(path: Path) -> frozenset[str]:
    return frozenset(
        row["column_name"] for row in _query(path, f"DESCRIBE SELECT * FROM read_parquet({_quoted(path)})")
    )


def _read(path: Path, names: Sequence[str], where: str) -> list[dict[str, Any]]:
    columns = ", ".join(f'"{name}"' for name in names)
    query = f"SELECT {columns} FROM read_parquet({_quoted(path)})"
    return _query(path, query + (f" WHERE {where}" if where else ""))


def _query(path: Path, query: str) -> list[dict[str, Any]]:
    try:
        with duckdb.connect() as database:
            database.execute("SET threads = 1")
            if not query.startswith("DESCRIBE"):
                _check_size(path, database)
            answer = database.execute(query)
            names = [item[0] for item in answer.description]
            return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
    except duckdb.Error as error:
        raise UsageError(f"{path}: not a table that can be read: {str(error).splitlines()[0]}") from None


def _check_size(path: Path, database: duckdb.DuckDBPyConnection) -> None:
    """Raise UsageError where the table at *path* has more rows or longer texts than a file of its size holds."""
    room = path.stat().st_size
    table = f"read_parquet({_quoted(path)})"
    columns = database.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()
    texts = ['"' + name.replace('"', '""') + '"' for name, kind, *_ in columns if kind == "VARCHAR"]
    sums = "".join(f" + coalesce(sum(strlen({name})), 0)" for name in texts)
    (count, letters), *_ = database.execute(f"SELECT count(*), 0{sums} FROM {table}").fetchall()
    if count > _ROWS + room or letters > _LETTERS + _RATIO * room:
        raise UsageError(
            f"{path}: not a table of farlink's: {count} rows with {letters} bytes of text in {room} bytes"
        )


def _need(path: Path, have: frozenset[str], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in have]
    if missing:
        raise UsageError(f"{path}: the table has no column {', '.join(missing)}")
