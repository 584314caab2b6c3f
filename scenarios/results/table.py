"""Tables for other tools, as Parquet, written by DuckDB."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb

from link.errors import StorageError

_ROWS_AT_ONCE = 20_000


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, and put it in the place of *path* at the end: one sees the old or the new.

    Raise StorageError where the disk is full or the folder cannot be written.
    """
    if not path.name:
        raise StorageError(f"cannot write {path}: it names no file")
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


def write_rows(rows: Iterable[Mapping[str, Any]], kinds: Mapping[str, str], path: Path) -> Path:
    """Write *rows* to *path* as Parquet with the columns *kinds*, name to kind in SQL; what a row lacks is null.

    Lists and mappings become JSON. Raise StorageError where the disk is full or the folder cannot be written.
    """
    types = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
    values = ", ".join(f"unnest(?::{kind}[])" for kind in kinds.values())
    if _storable(str(path)) != str(path):
        raise StorageError(f"cannot write {path}: DuckDB needs a path in UTF-8")
    with replacing(path) as fresh, duckdb.connect() as database:
        try:
            database.execute(f"CREATE TABLE results ({types})")
            for block in batched(rows, _ROWS_AT_ONCE):
                columns = [[_plain(row.get(name)) for row in block] for name in kinds]
                database.execute(f"INSERT INTO results SELECT {values}", columns)
            quoted = str(fresh).replace("'", "''")
            database.execute(f"COPY results TO '{quoted}' (FORMAT parquet)")
        except duckdb.IOException as error:
            raise StorageError(f"cannot write {path}: {str(error).splitlines()[0]}") from error
    return path


def batched(rows: Iterable[Mapping[str, Any]], count: int) -> Iterator[list[Mapping[str, Any]]]:
    """Yield *rows* in lists of at most *count*."""
    left = iter(rows)
    while block := list(islice(left, count)):
        yield block


def _plain(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    return _storable(value)


def _storable(value: Any) -> Any:
    """Return *value* with lone surrogates, as a file's name that is no UTF-8 has them, spelled out."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
