"""Plain English for a rendered view, from the truth about it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sender.camera.world.view import Box

NUMBERS = ("no", "a", "two", "three", "four", "five")
FAR_M, NEAR_M = 22.0, 7.0
SAND, BEDROCK, TRACK = 1, 2, 4
MOST = 5
"""Phrases about things in one caption."""


def caption(plain: str, sky: str, labels: NDArray[np.uint8], boxes: Sequence["Box"]) -> str:
    """Return one phrase: the ground, the sky, then things with their number, distance and side, built ones first.

    *plain* and *sky* are the theme's words; *labels* is (height, width).
    """
    share = np.bincount(labels.ravel(), minlength=9) / labels.size
    ground = "rocky" if share[BEDROCK] > 0.6 * share[SAND] else "sandy"
    start = f"a {ground} {plain}" if plain == "plain" else f"a {plain}"
    words = [f"{start} under {sky}" if share[0] > 0.02 else start]
    groups: dict[tuple[str, str, str], int] = {}
    width = labels.shape[1]
    for box in sorted(boxes, key=lambda box: box.kind == "rock"):
        middle = (box.left + box.right) / (2.0 * width)
        side = "on the left" if middle < 0.36 else "on the right" if middle > 0.64 else "ahead"
        away = "near" if box.depth_m < NEAR_M else "far" if box.depth_m > FAR_M else ""
        key = (box.kind, away, side)
        groups[key] = groups.get(key, 0) + 1
    for (kind, away, side), count in list(groups.items())[:MOST]:
        many = NUMBERS[count] if count < len(NUMBERS) else "many"
        noun = kind if count == 1 else f"{kind}s"
        words.append(" ".join(word for word in (many, noun, away, side) if word))
    if share[BEDROCK] > 0.06 and ground == "sandy":
        words.append("flat bedrock")
    if share[TRACK] > 0.004:
        words.append("wheel tracks across the sand" if ground == "sandy" else "wheel tracks")
    return ", ".join(words)
