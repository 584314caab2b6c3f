"""What a sweep has done, in SQLite: a cell and its frames in one transaction, so a killed sweep loses none."""

import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from link.errors import StorageError, UsageError
from scenarios.sweep.cells import Outcome

FILE = "sweep.sqlite"
_VERSION = 2  # 2: rows as `scenarios.results.cell` has them
_TABLES = """
CREATE TABLE IF NOT EXISTS cells (
    key TEXT PRIMARY KEY, status TEXT NOT NULL, error TEXT, row TEXT, cached INTEGER NOT NULL, wall_s REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS frames (
    key TEXT NOT NULL, frame INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (key, frame)
) WITHOUT ROWID;
"""


class State:
    """The cells that are done or failed. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._guard():
            self._base = sqlite3.connect(path, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            known = self._base.execute("PRAGMA user_version").fetchone()[0]
            if known not in (0, _VERSION):
                raise UsageError(
                    f"{path}: written by another version of farlink; give another --out, or --fresh"
                )
            self._base.executescript(_TABLES)
            self._base.execute(f"PRAGMA user_version={_VERSION}")

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StorageError(f"cannot write {self._path}: {error}; what was done is kept") from error
        except sqlite3.DatabaseError as error:
            raise UsageError(
                f"{self._path}: not a sweep's state: {error}; give --fresh to begin anew"
            ) from None

    def add(self, key: str, outcome: Outcome, *, cached: bool = False) -> None:
        """Keep what the cell *key* came to. Raise StorageError where the disk is full."""
        done = outcome.get("ok")
        row = None if done is None else json.dumps(done["cell"])
        frames = [] if done is None else [(key, item["frame"], json.dumps(item)) for item in done["frames"]]
        values = (
            key, "failed" if done is None else "done", outcome.get("failed"), row, cached, outcome.get("wall_s"),
        )  # fmt: skip
        with self._guard():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                self._base.execute("DELETE FROM frames WHERE key = ?", (key,))
                self._base.execute("INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?)", values)
                self._base.executemany("INSERT INTO frames VALUES (?, ?, ?)", frames)
                self._base.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                    self._base.execute("ROLLBACK")
                raise

    def status(self) -> dict[str, str]:
        """Return `done` or `failed` by key."""
        with self._guard():
            return dict(self._base.execute("SELECT key, status FROM cells"))

    def cell(self, key: str) -> dict[str, Any] | None:
        """Return status, error, row, cached and wall_s of a cell, None where it was not run."""
        with self._guard():
            record = self._base.execute(
                "SELECT status, error, row, cached, wall_s FROM cells WHERE key = ?", (key,)
            ).fetchone()
        if record is None:
            return None
        status, error, row, cached, wall_s = record
        own = {} if row is None else json.loads(row)
        return {"status": status, "error": error, "row": own, "cached": bool(cached), "wall_s": wall_s}

    def frames(self, keys: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (key, row) of each frame, in order."""
        for key in keys:
            with self._guard():
                rows = self._base.execute(
                    "SELECT row FROM frames WHERE key = ? ORDER BY frame", (key,)
                ).fetchall()
            for (row,) in rows:
                yield key, json.loads(row)

    def close(self) -> None:
        """Fold the log into the file."""
        with contextlib.suppress(sqlite3.Error):
            self._base.close()

    def __enter__(self) -> "State":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextlib.contextmanager
def looked_at(out: Path) -> Iterator[State | None]:
    """Give the state in *out*, without changing anything there; None where there is none.

    SQLite writes beside a file that it reads, so a copy is opened.
    """
    if not (out / FILE).is_file():
        yield None
        return
    with tempfile.TemporaryDirectory() as place:
        for path in out.glob(f"{FILE}*"):
            if not path.name.endswith("-shm"):
                shutil.copyfile(path, Path(place) / path.name)
        with State(Path(place) / FILE) as state:
            yield state


def clear(out: Path) -> None:
    """Forget what is in *out*: state, tables, journals."""
    for name in (FILE, f"{FILE}-wal", f"{FILE}-shm", "sweep.yaml", "cells.parquet", "frames.parquet"):
        (out / name).unlink(missing_ok=True)
    for name in ("cells", ".work"):
        shutil.rmtree(out / name, ignore_errors=True)
