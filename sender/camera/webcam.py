"""A webcam, through FFmpeg's capture devices: `webcam:N` is the N-th one of this machine."""

import sys
from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import InputContainer
from av.error import FFmpegError

from link.config import Camera
from link.errors import UsageError
from link.terminal import shorten
from sender.camera.picture import Shot, Skipped, one_line
from sender.camera.video import (
    Still,
    decode_frames,
    period_and_slack_s,
    pictures,
    require_first,
    stamp_times,
    video_stream,
)

DEVICES = {
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}:none"),
    "win32": ("dshow", "video={}"),
}
"""By `sys.platform`: FFmpeg's input format, and how it writes the N-th device (on Windows: its name)."""


def check_number(rest: str) -> None:
    """Raise UsageError where what follows `webcam:` is no number of a webcam."""
    if not (rest.isascii() and rest.isdigit() and len(rest) <= 3):
        raise UsageError(
            f"camera.source {shorten(repr('webcam:' + rest))}: expected the number of a webcam: webcam:0"
        )


def open_webcam(rest: str, camera: Camera, seed: int) -> Iterator[Shot | Skipped]:
    """Return the frames of webcam number *rest*, timed by the device's clock, without end.

    With `camera.period_s`, the first frame of each period; frames in between, and periods that passed while
    nobody asked, are left out. Raises UsageError where *rest* is no number or the webcam gives no picture.
    """
    del seed  # a webcam repeats nothing
    source = f"webcam:{rest}"
    where = f"camera.source {source!r}"
    check_number(rest)
    if sys.platform not in DEVICES:
        raise UsageError(f"{where}: no webcams on {sys.platform}; expected {', '.join(DEVICES)}")
    form, address = DEVICES[sys.platform]
    try:
        device = address.format(_windows_name(int(rest)) if form == "dshow" else int(rest))
        container = av.open(device, format=form)
    except (FFmpegError, OSError, ValueError, LookupError) as error:
        raise UsageError(f"{where}: cannot open the webcam: {one_line(error)}") from None
    return require_first(_webcam_shots(container, source, camera), where, "webcam")


def _windows_name(number: int) -> str:
    """Return the name of the device, which is the only way that DirectShow opens one. Raises LookupError."""
    names = [row.name for row in av.enumerate_input_devices("dshow") if "video" in row.media_types]
    if number >= len(names):
        raise LookupError(f"this machine has {len(names)} of them")
    return names[number]


def _webcam_shots(container: InputContainer, name: str, camera: Camera) -> Iterator[Shot | Skipped]:
    with container:
        stream = video_stream(container)
        stills = stamp_times(decode_frames(container, stream), name)
        if camera.period_s is not None:
            stills = take_firsts(stills, *period_and_slack_s(camera.period_s, stream))
        yield from pictures(stills, camera, stream)


def take_firsts(
    stills: Iterator[Still | Skipped], period_s: Fraction, slack_s: Fraction
) -> Iterator[Still | Skipped]:
    """Yield the first still of each period of *period_s*; a still may be *slack_s* early."""
    due = 0
    for item in stills:
        if isinstance(item, Skipped) or item.time_s is None:
            yield item
            continue
        period = (item.time_s + slack_s) // period_s
        if period >= due:
            yield item
            due = period + 1
