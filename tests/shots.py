"""What tests of camera sources share: opening them, and pictures and videos to open."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from link.config import Camera
from link.errors import UsageError
from sender.camera import Shot, open_source

MILLI = Fraction(1, 1000)


def camera(source, **fields):
    return Camera(**{"source": str(source), "width": 64, "height": 48, **fields})


def items_of(source, **fields):
    return list(open_source(camera(source, **fields), seed=1))


def shots_of(source, **fields):
    items = items_of(source, **fields)
    assert all(isinstance(item, Shot) for item in items), items
    return items


def refusal(source, **fields):
    with pytest.raises(UsageError) as caught:
        open_source(camera(source, **fields), seed=1)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("camera.")
    return text


def plain(path, colour, size=(64, 48), mode="RGB", **options):
    Image.new(mode, size, colour).save(path, **options)
    return path


def video(path, stamps, codec="libx264", tick=MILLI, level=lambda index: 16 * index):
    """Encode a video of plain grey frames with the time stamps *stamps*, in units of *tick*."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = tick
        for index, stamp in enumerate(stamps):
            pixels = np.full((48, 64, 3), level(index), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def level_of(shot):
    """The number of a frame that `video` drew."""
    return round(float(shot.pixels.mean()) / 16)


def noisy_video(path, codec, frames=40):
    """A video whose packets have some size, every fifth frame a key frame."""
    rng = np.random.Generator(np.random.PCG64(3))
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options={"g": "5"} if codec == "mpeg4" else {})
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(frames):
            pixels = rng.integers(0, 256, (48, 64, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path
