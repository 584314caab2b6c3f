"""A video file, decoded frame by frame through PyAV; time stamps are kept exactly.

```
packets -> decode -> stamp -> [sample every period_s] -> turn, square pixels, fit -> Shot
              \\ damaged: Skipped, and on with the next packet
```

At most two decoded frames are held at a time. A frame is made RGB only when it is asked for, so sampling one
in thirty costs little more than decoding.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Event

import av
import numpy as np
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.error import BlockingIOError as BlockingError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from link.config import Camera
from link.errors import UsageError
from link.frame import MAX_PIXELS
from sender.camera.picture import PictureError, Shot, Skipped, check_size, fit, one_line

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,nut,dv,gxf,wtv,"
    "h264,hevc,av1,obu,ivf,m4v,mjpeg,yuv4mpegpipe"
)
"""FFmpeg's readers for these. Not among them are playlists (hls, concat, dash), which open further files
and addresses, and readers that take any text for pictures (tty)."""
MAX_DEMUX_ERRORS = 8  # in a row without a packet between them; an error need not move the read position
MAX_SLACK_S = Fraction(1, 2000)  # half of Matroska's tick, the coarsest that times are rounded to
MAX_SPAN_S = Fraction(10**8)  # from the first frame; also what a scenario's times may be
MAX_REPEATS = 10_000  # periods for which one frame may stand: nearly 3 hours, at one a second
CAPTURE_WAIT_S = 0.005  # macOS's capture device says "not yet" instead of waiting; files never do

_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    -180: Image.Transpose.ROTATE_180,
    -90: Image.Transpose.ROTATE_270,
}  # both FFmpeg and Pillow count counter-clockwise


@dataclass(frozen=True)
class Still:
    """A decoded frame that is not a picture yet."""

    number: int
    """0, 1, 2, ... in presentation order."""
    frame: VideoFrame
    time_s: Fraction | None
    """Since the first frame; None where the video has no time stamps."""
    label: str
    """What messages call it: `drive.mp4#17`."""


def open_video(path: Path, camera: Camera) -> Iterator[Shot | Skipped]:
    """Return the frames of the video at *path* in presentation order.

    Without `camera.period_s` all of them; with it, for each k the last frame whose time stamp is not after
    k periods (all, where the video has no time stamps). Damaged places are Skipped. Raises UsageError where
    the file is not a video or not one frame of it can be decoded.
    """
    where = f"camera.source {str(path)!r}"
    try:
        # "file:" keeps FFmpeg from reading a protocol into the name
        container = av.open(
            f"file:{path}", options={"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
        )
    except ArgumentError:  # how FFmpeg says that the format is not among those
        raise UsageError(f"{where}: neither a picture nor a video in a known format") from None
    except (FFmpegError, OSError, ValueError) as error:
        raise UsageError(f"{where}: neither a picture nor a video: {explain(error)}") from None
    return require_first(_video_shots(container, path.name, camera), where, "video")


def require_first(shots: Iterator[Shot | Skipped], where: str, what: str) -> Iterator[Shot | Skipped]:
    """Return *shots* once the first of them is at hand. Raises UsageError where there is none.

    *where* and *what* name the source in the message.
    """
    head: list[Shot | Skipped] = []
    try:
        for item in shots:
            head.append(item)
            if isinstance(item, Shot):
                return itertools.chain(head, shots)
    except PictureError as error:
        raise UsageError(f"{where}: {error}") from None
    why = f": {head[0].reason}" if head and isinstance(head[0], Skipped) else ""
    raise UsageError(f"{where}: not one frame of the {what} can be read{why}")


def _video_shots(container: InputContainer, name: str, camera: Camera) -> Iterator[Shot | Skipped]:
    with container:
        stream = video_stream(container)
        limit = {"max_pixels": str(MAX_PIXELS)}  # the size may grow in the middle
        if stream.codec_context.codec.intra_only:  # Motion JPEG would pass half a picture as a whole one
            limit["err_detect"] = "explode"
        stream.codec_context.options = limit
        period_s = MAX_SPAN_S if camera.period_s is None else Fraction(camera.period_s)
        stills = stamp_times(decode_frames(container, stream), name, MAX_REPEATS * period_s)
        if camera.period_s is not None:
            stills = sample_stills(stills, *period_and_slack_s(camera.period_s, stream))
        yield from pictures(stills, camera, stream)


def video_stream(container: InputContainer) -> VideoStream:
    """Return the video of *container* that a player would show. Raises PictureError: none, or too large."""
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        raise PictureError("no video in this file")
    if stream.codec_context is None:  # damage may have named a codec that nobody knows
        raise PictureError("no decoder for the video in this file")
    check_size(stream.codec_context.width, stream.codec_context.height)
    return stream


def decode_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame | str]:
    """Yield the frames of *stream* as the decoder gives them, and a line for each piece it cannot decode."""
    errors = 0
    while errors < MAX_DEMUX_ERRORS:
        try:
            for packet in container.demux(stream):
                errors = 0
                try:
                    yield from packet.decode()
                except FFmpegError as error:
                    yield explain(error)
            return
        except BlockingError:
            Event().wait(CAPTURE_WAIT_S)  # a pause that reads no clock
        except FFmpegError as error:
            errors += 1
            yield explain(error)
    try:
        yield from stream.codec_context.decode(None)
    except FFmpegError as error:
        yield explain(error)


def stamp_times(
    frames: Iterator[VideoFrame | str], name: str, most_gap_s: Fraction = MAX_SPAN_S
) -> Iterator[Still | Skipped]:
    """Number the frames of the video *name* and measure their times from the first one's.

    A frame whose time stamp is missing among others, does not grow, is over `MAX_SPAN_S` after the first one's or over
    *most_gap_s* after the last one's has no place in time and is Skipped: one that is damaged would else stand for
    any number of frames.
    """
    start: Fraction | None = None
    last: Fraction | None = None
    untimed = False
    for number, frame in enumerate(frames):
        label = f"{name}#{number}"
        if isinstance(frame, str):
            yield Skipped(label, frame)
            continue
        if frame.is_corrupt:
            yield Skipped(label, "the decoder marks this frame as damaged")
            continue
        if untimed or (frame.pts is None and start is None):
            untimed = True
            yield Still(number, frame, None, label)
            continue
        if frame.pts is None or frame.time_base is None:
            yield Skipped(label, "no time stamp, where other frames have one")
            continue
        stamp = frame.pts * Fraction(frame.time_base)
        start = stamp if start is None else start
        if last is not None and stamp <= last:
            yield Skipped(label, f"time stamp {float(stamp - start):g} s is not after the frame before")
            continue
        gap_s = Fraction(0) if last is None else stamp - last
        if gap_s > most_gap_s or stamp - start > MAX_SPAN_S:
            yield Skipped(
                label, f"time stamp {float(stamp - start):g} s is {float(gap_s):g} s after the frame before"
            )
            continue
        last = stamp
        yield Still(number, frame, stamp - start, label)


def period_and_slack_s(period_s: float, stream: VideoStream) -> tuple[Fraction, Fraction]:
    """Return *period_s* as the fraction it was meant to be, and how far *stream* may have rounded a time.

    That is half a tick, where ticks are fine: Matroska writes 33 ms for a frame at 1/30 s, and 67 ms for the
    next, which at a period of 1/30 s is not late. AVI's ticks are whole frames, and its times exact.
    """
    tick_s = Fraction(stream.time_base) if stream.time_base else Fraction(0)
    meant_s = Fraction(period_s).limit_denominator(1_000_000)
    return max(meant_s, Fraction(1, 1_000_000)), min(tick_s / 2, MAX_SLACK_S)


def sample_stills(
    stills: Iterator[Still | Skipped], period_s: Fraction, slack_s: Fraction
) -> Iterator[Still | Skipped]:
    """Yield for k = 0, 1, 2, ... the last still not later than k periods and *slack_s*.

    So some come twice and many never. The last one stands for as long as the video says it does, but for no more
    than `MAX_REPEATS` periods. Stills without times pass unchanged.
    """
    count = 0
    held: Still | None = None
    for item in stills:
        if isinstance(item, Skipped) or item.time_s is None:
            yield item
            continue
        while held is not None and count * period_s + slack_s < item.time_s:
            yield held
            count += 1
        held = item
    if held is None or held.time_s is None:
        return
    tick_s = held.frame.time_base or Fraction(0)
    end_s = held.time_s + max(0, held.frame.duration or 0) * Fraction(tick_s)
    most = count + MAX_REPEATS
    while count < most and (count * period_s <= held.time_s + slack_s or count * period_s + slack_s < end_s):
        yield held
        count += 1


def pictures(
    stills: Iterator[Still | Skipped], camera: Camera, stream: VideoStream
) -> Iterator[Shot | Skipped]:
    """Turn *stills* into shots at the camera's size; one that comes twice is made once."""
    aspect = pixel_aspect(stream)
    last: tuple[Still, Shot | Skipped] | None = None
    for item in stills:
        if isinstance(item, Skipped):
            yield item
            continue
        if last is None or last[0] is not item:
            last = (item, make_shot(item, camera, aspect))
        yield last[1]


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Return the width of a pixel of *stream* over its height; beyond 1 to 4 the file is not believed."""
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    return aspect if Fraction(1, 4) <= aspect <= 4 else Fraction(1)


def make_shot(still: Still, camera: Camera, aspect: Fraction) -> Shot | Skipped:
    """Return *still*, whose pixels are *aspect* times as wide as high, at the camera's size."""
    try:
        check_size(still.frame.width, still.frame.height)
        image, changes = _upright(still.frame, aspect)
        pixels, fitted = fit(image, camera.width, camera.height, camera.fit)
    except (PictureError, FFmpegError, ValueError, OSError) as error:
        return Skipped(still.label, explain(error))
    pts_ns = None if still.time_s is None else int(still.time_s * 1_000_000_000)
    return Shot(still.label, pixels, pts_ns, "; ".join([*changes, fitted]))


def _upright(frame: VideoFrame, aspect: Fraction) -> tuple[Image.Image, list[str]]:
    """Return *frame* as RGB with square pixels, turned as its metadata asks, and what was changed."""
    image = Image.fromarray(np.asarray(frame.to_ndarray(format="rgb24")))
    changes = []
    if aspect != 1:
        width = max(1, round(image.width * aspect))
        check_size(width, image.height)
        changes.append(f"pixels {aspect.numerator}:{aspect.denominator} made square")
        image = image.resize((width, image.height), Image.Resampling.LANCZOS)
    if frame.rotation in _TURNS:
        changes.append(f"turned by {frame.rotation} degrees")
        image = image.transpose(_TURNS[frame.rotation])
    return image, changes


def explain(error: BaseException) -> str:
    """Return FFmpeg's words without its number and without the path, which the caller names."""
    if isinstance(error, FFmpegError) and error.strerror:
        return one_line(ValueError(error.strerror))
    return one_line(error)
