"""Which of the boxes that a detector found are drawn on the page. Scores count them all, as the journal has them.

A detector leaves boxes of one class that overlap by less than its own measure (that of `link.analysis.fcos` is 0.6 of
what two cover together), so one rock may have five, one in the other. For people the surest of them says it.
"""

from collections.abc import Sequence
from typing import Any

MOST_BOXES = 12
"""Boxes that are drawn: more hide the picture that they are found in."""
SHARED = 0.5
"""The share of the smaller box from which on two boxes of one class are taken for the same thing."""

Box = Sequence[Any]
"""[left, top, right, bottom, name of the class, score]."""


def choose_drawn(boxes: Sequence[Box]) -> list[Box]:
    """Return those of *boxes* that are drawn, the surest first: one a thing, `MOST_BOXES` at most."""
    drawn: list[Box] = []
    for box in sorted(boxes, key=lambda one: -float(one[5])):
        if len(drawn) == MOST_BOXES:
            break
        if not any(box[4] == other[4] and _share(box, other) >= SHARED for other in drawn):
            drawn.append(box)
    return drawn


def _share(one: Box, other: Box) -> float:
    """Return how much of the smaller of two boxes lies in the larger one; 0 where one has no area."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    least = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return float(across * down / least) if across > 0 and down > 0 and least > 0 else 0.0
