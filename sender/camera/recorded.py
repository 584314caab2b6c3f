"""The pictures that an earlier run sent: `journal:RUN`, a journal or a run's folder, with the times they were taken at.

A picture that was sent was fitted already; it is what the encoder got then, pixel for pixel.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from PIL import Image

from link import journal, png, records, segments
from link.config import Camera
from link.errors import UsageError
from link.terminal import shorten
from sender.camera.picture import Shot, Skipped
from sender.camera.timed import TimedPicture, timed_shots
from sender.camera.video import require_first


def check_run(rest: str) -> None:
    """Raise UsageError where nothing follows `journal:`."""
    if not rest:
        raise UsageError("camera.source 'journal': expected journal:RUN, a run's folder or its run.mcap")


def open_recorded(rest: str, camera: Camera, seed: int) -> Iterator[Shot | Skipped]:
    """Return the pictures that the run at *rest* sent. Raise UsageError where it is no journal, or sent none."""
    del seed
    check_run(rest)
    where = f"camera.source {shorten(repr('journal:' + rest))}"
    path = Path(rest)
    try:
        found = path.exists()
    except OSError as error:  # a name too long
        raise UsageError(f"{where}: {error.strerror}") from None
    if not found:
        raise UsageError(f"{where}: no such journal")
    return require_first(timed_shots(_pictures(path), camera), where, "journal")


def _pictures(path: Path) -> Iterator[TimedPicture | Skipped]:
    """Yield what was sent, one picture in memory at a time."""
    event: dict[str, object] = {}
    with records.refusing(path):
        for topic, message, bounds in segments.messages(path):
            if topic == "/events":
                event = records.parse_event(message)
            elif topic == "/sent" and event.get("kind") == "captured":
                data = journal.picture(message)
                bounds.take_pixels(records.count_pixels(data))
                name = f"{path.name}#{event['frame']}"
                time_ns = event["time_ns"]
                assert isinstance(time_ns, int)
                yield TimedPicture(name, time_ns, partial(_load, data))


def _load(data: bytes) -> Image.Image:
    return Image.fromarray(png.decode(data))
