"""A camera frame, and the payload a codec makes of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""A picture: shape (height, width, 3), RGB, 0 to 255."""

MAX_PIXELS = 64_000_000
"""Larger pictures are refused before they are allocated."""


def scale(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return *pixels* resampled (Lanczos) to *size* (width, height); the same array where they have it."""
    if pixels.shape[1::-1] == size:
        return pixels
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS), np.uint8)


@dataclass(frozen=True)
class Frame:
    """One picture at the scenario's size, as the encoder gets it."""

    number: int
    """0, 1, 2, ... in capture order; the wire carries its low 14 bits."""
    captured_ns: int
    """Time of capture on the run's clock, in nanoseconds."""
    pixels: Pixels
    name: str
    """The source's own name for it: a file name, ``video.mp4#17``, ``testcard#3``."""


@dataclass(frozen=True)
class Payload:
    """What a codec sends for one frame: byte strings, the most important first, each decodable alone.

    A section that was lost on the way is None. The bytes are on the wire as they stand here: nothing is
    left out and nothing is added to them but the fragmenter's counted chunk headers.
    """

    sections: tuple[bytes | None, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the sections at hand."""
        return sum(len(section) for section in self.sections if section is not None)

    @property
    def complete(self) -> bool:
        """Whether no section is missing."""
        return bool(self.sections) and all(section is not None for section in self.sections)
