"""A long session's journal in segments: each a journal that opens by itself, the oldest deleted, one run together.

    run.0003.mcap   run.0004.mcap   run.mcap, which is being written      their sizes together stay under a limit

The first record of each but the session's first has `segment`, its number, and the scenario as it was when the segment
began, with all that had been changed. Segments are cut between two events, so an event and its picture are never
parted; packets and frames may be on their way just then. Who reads the segments of a folder in order reads what one
file would hold; what belongs to frames and packets whose beginning was deleted is passed over.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from link import records
from link.config import Session
from link.errors import UsageError
from link.steering import lay

JOURNAL = "run.mcap"
_SHARE = 8  # a segment's share of what is kept: so much at a time is deleted
LEAST_BYTES = 4 << 20
"""The least limit that a user may set: several segments of several pictures each."""


class Keeper:
    """Puts the segments of the journal at *path* away, and deletes the oldest so that all stay under *most_bytes*."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path, self._most = path, most_bytes
        self.segment_bytes = max(1, most_bytes // _SHARE)
        """With so many a segment is full."""
        self._kept: deque[tuple[Path, int]] = deque()
        self._total = 0
        self.number = 1
        """Of the segment that is being written, from 1."""

    def put_away(self) -> None:
        """Give the finished segment its number, and delete the oldest until the next one has room."""
        away = numbered(self._path, self.number)
        self._path.rename(away)
        size = away.stat().st_size
        self._kept.append((away, size))
        self._total += size
        self.number += 1
        # Twice: a segment is seen to be full when it is.
        while self._kept and self._total + 2 * self.segment_bytes > self._most:
            oldest, size = self._kept.popleft()
            oldest.unlink(missing_ok=True)
            self._total -= size


def numbered(path: Path, number: int) -> Path:
    """Return where segment *number* of the journal at *path* lies once it is finished."""
    return path.with_name(f"{path.stem}.{number:04d}{path.suffix}")


def begin_head(head: Mapping[str, Any], number: int, changes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the first record of segment *number* of the session of *head*, over which *changes* have been laid."""
    about = head.get("scenario")
    made = {**head, "segment": number}
    if about is not None and changes:
        session = Session.model_validate({key: about[key] for key in about if key in _session_keys()})
        for change in changes:
            session, _ = lay(session, change)
        made["scenario"] = {**about, **session.model_dump(mode="json", by_alias=True)}
    return made


def _session_keys() -> set[str]:
    return {field.alias or name for name, field in Session.model_fields.items()}


def number_of(head: Mapping[str, Any]) -> int:
    """Return which segment of its session *head* begins, from 1. Raise ValueError where it says none."""
    number = head.get("segment", 1)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 1 << 31:
        raise ValueError("the first record: segment: a number from 1 was expected")
    return number


def segments(path: Path) -> list[Path]:
    """Return the journal at *path*, or, of a run's folder, its segments in order."""
    try:
        if not path.is_dir():
            return [path]
    except OSError:  # a name too long: who opens it says so
        return [path]
    last = path / JOURNAL
    stem = f"{last.stem}."
    older = [
        (int(item.stem.removeprefix(stem)), item)
        for item in path.glob(f"{stem}*{last.suffix}")
        if item.stem.removeprefix(stem).isdecimal() and item.stem.isascii()
    ]
    found = [item for _, item in sorted(older)]
    return [*found, last] if last.exists() or not found else found


def messages(path: Path) -> Iterator[tuple[str, bytes, records.JournalBounds]]:
    """Yield what `records.messages` does: of the journal at *path*, or of all segments of a run's folder as of one.

    Of a journal whose beginning was deleted, what belongs to earlier frames is left out. Raise UsageError where a
    segment is missing or cannot be read, and ValueError where a first record is damaged.
    """
    sieve: _Sieve | None = None
    number = 0
    for at, segment in enumerate(segments(path)):
        for topic, message, bounds in records.messages(segment):
            if topic == "/scenario":
                own = number_of(records.parse_json(message))
                if at > 0:
                    if own != number + 1:
                        raise UsageError(f"{segment}: segment {own} of its session follows segment {number}")
                    number = own
                    continue
                number = own
                sieve = _Sieve() if own > 1 else None
            elif sieve is not None and not sieve.lets_through(topic, message):
                continue
            yield topic, message, bounds


class _Sieve:
    """Leaves out what belongs to frames that were captured before the first one that is."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._left_out = False  # the last event was, and what stands beside it is

    def lets_through(self, topic: str, message: bytes) -> bool:
        if topic == "/packets":
            return True
        if topic == "/events":
            event = records.parse_event(message)
            frame = event["frame"]
            if self._first is None and event["kind"] == "captured":
                self._first = frame
            self._left_out = frame is not None and (self._first is None or frame < self._first)
        return not self._left_out


def check_whole(head: Mapping[str, Any], path: Path) -> None:
    """Raise UsageError where the session's beginning is not in the journal at *path* that begins with *head*."""
    if (number := number_of(head)) > 1:
        raise UsageError(
            f"{path}: the session's beginning was deleted (--keep): segment {number} is the first that is left, "
            "and a session can be run again from its beginning alone"
        )
