"""What a view of the rendered world is: the picture, and the exact truth about it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from link.frame import Pixels

CLASSES = ("sky", "sand", "bedrock", "rock", "track", "lander", "habitat", "rover", "flag")
"""Semantic classes; the place is the number in `View.labels`. Ripples and craters are sand; water is sky."""
THINGS = ("rock", "lander", "habitat", "rover", "flag")
"""Classes that have boxes."""


@dataclass(frozen=True)
class Pose:
    """Where the camera is and where it looks."""

    x_m: float
    """East, in metres from the drive's origin."""
    y_m: float
    z_m: float
    """Height above the datum; the camera is about 1.8 m above the ground."""
    yaw_rad: float
    """Bearing of the optical axis, from east towards north."""
    pitch_rad: float
    """Of the optical axis above the horizon; negative looks down."""
    roll_rad: float
    """About the optical axis; positive lowers the right side."""
    fov_rad: float
    """Vertical field of view."""


@dataclass(frozen=True)
class Box:
    """A thing in a view: the tight box around its visible pixels."""

    kind: str
    """One of `THINGS`."""
    left: float
    top: float
    right: float
    """Exclusive, as `bottom`."""
    bottom: float
    visible_px: int
    """Pixels that show it."""
    depth_m: float
    """Median depth of these pixels."""


@dataclass(frozen=True)
class View:
    """A rendered picture and the truth about it."""

    pixels: Pixels
    """(height, width, 3)."""
    depth_m: NDArray[np.float32]
    """(height, width), metres along the optical axis (not along the ray) at pixel centres; inf where there is sky."""
    labels: NDArray[np.uint8]
    """(height, width), numbers of `CLASSES` at pixel centres."""
    boxes: tuple[Box, ...]
    """Largest first. Rocks of fewer than 40 visible pixels at 256x192 (in proportion elsewhere) have none."""
    pose: Pose
    caption: str
    """One phrase in English, from what is in view."""
