"""Pictures of a recording, each with a time of its own: read one by one, and sampled as a video's frames are.

```
recording -> TimedPicture(name, time_ns, load) -> [the last one of each period_s] -> load, fit -> Shot
```
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from PIL import Image

from link.config import Camera
from sender.camera.picture import PictureError, Shot, Skipped, fit, one_line
from sender.camera.video import MAX_REPEATS, MAX_SPAN_S


@dataclass(frozen=True)
class TimedPicture:
    """A picture of a recording that is not read yet."""

    name: str
    time_ns: int
    """From anywhere; pictures come in the order of their times."""
    load: Callable[[], Image.Image]
    """Returns it as RGB. May raise PictureError, ValueError, OSError."""


def timed_shots(pictures: Iterator[TimedPicture | Skipped], camera: Camera) -> Iterator[Shot | Skipped]:
    """Yield *pictures* at the camera's size, timed from the first one.

    Without `camera.period_s` all of them; with it, for each k the last that is not later than k periods. One that is
    earlier than the one before it, over `MAX_SPAN_S` after the first, or would stand for more than `MAX_REPEATS`
    periods is Skipped.
    """
    timed = _in_order(pictures, camera.period_s)
    chosen = timed if camera.period_s is None else _sample(timed, Fraction(camera.period_s))
    last: tuple[TimedPicture, Shot | Skipped] | None = None
    for item in chosen:
        if isinstance(item, Skipped):
            yield item
            continue
        if last is None or last[0] is not item:
            last = item, _shot(item, camera)
        yield last[1]


def _in_order(
    pictures: Iterator[TimedPicture | Skipped], period_s: float | None
) -> Iterator[TimedPicture | Skipped]:
    """Yield *pictures* with times from the first one's."""
    most_ns = int(MAX_SPAN_S * 10**9)
    gap_ns = most_ns if period_s is None else int(MAX_REPEATS * Fraction(period_s) * 10**9)
    start = last = None
    for item in pictures:
        if isinstance(item, Skipped):
            yield item
            continue
        start = item.time_ns if start is None else start
        since = item.time_ns - start
        if (last is not None and not 0 <= since - last <= gap_ns) or since > most_ns:
            yield Skipped(item.name, f"its time, {since / 1e9:g} s, does not follow that of the one before")
            continue
        last = since
        yield TimedPicture(item.name, since, item.load)


def _sample(
    pictures: Iterator[TimedPicture | Skipped], period_s: Fraction
) -> Iterator[TimedPicture | Skipped]:
    """Yield for k = 0, 1, 2, ... the last of *pictures* that is not later than k periods."""
    period_ns = max(1, round(period_s * 10**9))
    count = 0
    held: TimedPicture | None = None
    for item in pictures:
        if isinstance(item, Skipped):
            yield item
            continue
        while held is not None and count * period_ns < item.time_ns:
            yield held
            count += 1
        held = item
    if held is not None:
        yield held


def _shot(item: TimedPicture, camera: Camera) -> Shot | Skipped:
    try:
        pixels, fitted = fit(item.load(), camera.width, camera.height, camera.fit)
    except (PictureError, ValueError, OSError) as error:
        return Skipped(item.name, one_line(error))
    return Shot(item.name, pixels, item.time_ns, fitted)
