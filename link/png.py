"""Pictures as lossless PNG bytes, for the journal."""

import io

import numpy as np
from PIL import Image

from link.frame import Pixels


def encode(pixels: Pixels) -> bytes:
    """Return *pixels* as a PNG file, the same bytes every time."""
    out = io.BytesIO()
    # Level 3 is three times faster than Pillow's default and 4 % larger on camera frames.
    Image.fromarray(pixels).save(out, "PNG", compress_level=3)
    return out.getvalue()


def decode(data: bytes) -> Pixels:
    """Return the pixels of a PNG file that `encode` made."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        return np.asarray(picture.convert("RGB"))


def size(data: bytes) -> tuple[int, int]:
    """Return (height, width) of the PNG file *data*, out of its first chunk."""
    return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
