"""What was computed once and may be wanted again, on this machine, by what it depends on.

    $FARLINK_CACHE/sweeps, else farlink/sweeps in the user's cache
      KIND/AB/REST-OF-KEY     32 bytes SHA-256 of kind, key and value, then the value

Any number of processes may use one folder: an entry is written beside its place and moved there. At most
`FARLINK_CACHE_BYTES` (4 GB) are kept: what was used longest ago goes first. The size is looked at when a sweep starts
and each time a process has written a 64th of the limit, so it is passed by that much a process at the most. What
is damaged is dropped and made again; where the folder cannot be written, one warning says so and nothing is kept.
"""

import contextlib
import hashlib
import os
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from link.errors import UsageError
from link.terminal import escape

DEFAULT_BYTES = 4_000_000_000
KINDS = ("shots", "payloads", "pictures", "scores", "findings", "stats", "cells", "unfit")
"""What is kept: camera frames, what encoders and decoders made, comparisons, what models found, whole cells, and those
that could not be made as small as asked."""
_RECENT_BYTES = 64 << 20
_DIGEST = 32
_AFTER = 0.9  # of the limit are left when entries are thrown away
_STALE_S = 3600.0  # a file that is still not in its place is of a process that was killed


def home() -> Path:
    """Return the folder of this machine's caches."""
    own = os.environ.get("FARLINK_CACHE")
    if own:
        return Path(own) / "sweeps"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "farlink" / "sweeps"


def limit_bytes() -> int:
    """Return how much may be kept. Raise UsageError where `FARLINK_CACHE_BYTES` is no number of bytes."""
    text = os.environ.get("FARLINK_CACHE_BYTES", str(DEFAULT_BYTES))
    if not text.isdigit():
        raise UsageError(f"FARLINK_CACHE_BYTES {text!r}: a number of bytes was expected")
    return int(text)


def _warn(line: str) -> None:
    print(f"farlink: {escape(line)}", file=sys.stderr)


class Store:
    """Values by kind and key, in *folder* and, the last 64 MiB of them, in memory. *folder* None: in memory alone."""

    def __init__(
        self, folder: Path | None, limit_bytes: int = DEFAULT_BYTES, warn: Callable[[str], None] = _warn
    ) -> None:
        self._folder, self._limit, self._warn = folder, limit_bytes, warn
        self._recent: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._recent_bytes = self._written = 0
        self._writable = True
        self.hits: Counter[str] = Counter()
        """By kind: how often a value was there."""
        self.misses: Counter[str] = Counter()
        """By kind: how often it was not."""

    def get(self, kind: str, key: str) -> bytes | None:
        """Return the value, None where there is none."""
        data = self._recent.get((kind, key))
        if data is not None:
            self._recent.move_to_end((kind, key))
        elif self._folder is not None and (data := self._read(kind, key)) is not None:
            self._remember(kind, key, data)
        (self.misses if data is None else self.hits)[kind] += 1
        return data

    def put(self, kind: str, key: str, data: bytes) -> None:
        """Keep *data*, as long as there is room."""
        self._remember(kind, key, data)
        if self._folder is None or not self._writable or _DIGEST + len(data) > self._limit:
            return
        path = self._path(kind, key)
        fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(_checksum(kind, key, data) + data)
            fresh.replace(path)
        except OSError as error:
            self._writable = False
            with contextlib.suppress(OSError):
                fresh.unlink()
            self._warn(
                f"the cache in {self._folder} cannot be written ({error.strerror}); going on without it"
            )
            return
        self._written += _DIGEST + len(data)
        if self._written * 64 > self._limit:
            self._written = 0
            self.trim()

    def trim(self) -> None:
        """Throw away what was used longest ago, where more is kept than may be."""
        if self._folder is None:
            return
        files, total, newest = [], 0, 0.0
        for path in _files(self._folder):
            with contextlib.suppress(OSError):  # another process was quicker
                about = path.stat()
                files.append((about.st_mtime, about.st_size, path))
                total += about.st_size
                newest = max(newest, about.st_mtime)
        goal = self._limit * _AFTER if total > self._limit else total
        for used, size, path in sorted(files):
            stale = path.suffix == ".tmp" and used < newest - _STALE_S
            if stale or total > goal:
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size

    def _path(self, kind: str, key: str) -> Path:
        assert self._folder is not None
        return self._folder / kind / key[:2] / key[2:]

    def _read(self, kind: str, key: str) -> bytes | None:
        path = self._path(kind, key)
        try:
            whole = path.read_bytes()
        except OSError:
            return None
        if _checksum(kind, key, whole[_DIGEST:]) != whole[:_DIGEST]:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return whole[_DIGEST:]

    def _remember(self, kind: str, key: str, data: bytes) -> None:
        self._recent_bytes += len(data) - len(self._recent.pop((kind, key), b""))
        self._recent[kind, key] = data
        while self._recent_bytes > _RECENT_BYTES and len(self._recent) > 1:
            self._recent_bytes -= len(self._recent.popitem(last=False)[1])


def _checksum(kind: str, key: str, data: bytes) -> bytes:
    """Return the SHA-256 of an entry, which is that of no other key: what was moved to another's place is damaged."""
    return hashlib.sha256(f"{kind}/{key}\n".encode() + data).digest()


def _files(folder: Path) -> Iterator[Path]:
    """Yield the entries and nothing else that may lie in *folder*."""
    for kind in KINDS:
        yield from (folder / kind).glob("[0-9a-f][0-9a-f]/[0-9a-f]*")


class Shelf:
    """One kind of a store under keys of its own: what `link.analysis` and the scores take as their cache."""

    def __init__(self, store: Store, kind: str, base: str) -> None:
        self._store, self._kind, self._base = store, kind, base

    def _key(self, key: str) -> str:
        return hashlib.sha256(f"{self._base}/{key}".encode()).hexdigest()

    def get(self, key: str) -> bytes | None:
        """Return what was put under *key*, if it is still there."""
        return self._store.get(self._kind, self._key(key))

    def put(self, key: str, data: bytes) -> None:
        """Keep *data* under *key*."""
        self._store.put(self._kind, self._key(key), data)
