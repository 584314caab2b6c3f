"""Folders that runs and sweeps write to: made for one of them, and held by it while it is at work."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from link import segments
from link.errors import StorageError, UsageError

LOCK = ".lock"


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold *out* for this process. Raise UsageError where another run or sweep is at work there."""
    path = out / LOCK
    while True:
        try:
            out.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise StorageError(f"cannot write to {out}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise UsageError(f"{out}: another farlink run or sweep is at work there") from None
        if _is(handle, path):
            break
        os.close(handle)  # its holder has just put it away, so it holds nothing
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # before it is let go: whoever waits for it sees that it is no longer the folder's
        os.close(handle)


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def make_new(base: Path) -> Path:
    """Make and return a folder that was not there: *base*, or *base* with -2, -3, ... where that is taken.

    No two processes are given the same. Raise StorageError where none can be made.
    """
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 100_000):
            path = base if number == 1 else base.with_name(f"{base.name}-{number}")
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path
    except OSError as error:
        raise StorageError(f"cannot write to {base.parent}: {error.strerror}") from error
    raise StorageError(f"cannot write to {base.parent}: every name up to {path.name} is taken")


def is_journal(path: Path) -> bool:
    """Return whether *path* is a journal, or a folder with one, of which a long session leaves several."""
    return segments.segments(path)[-1].is_file() and (path.is_dir() or path.suffix == ".mcap")
