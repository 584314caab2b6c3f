"""Media by name, and what a hop's budget comes to over a run: the figures that the channel's core is given.

come_to(budget) -> rate, error rate, and where they change with the distance a table of (time, rate, error rate)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log10
from typing import Annotated

from pydantic import Field

from link.physics.acoustic import AcousticBudget
from link.physics.medium import LinkBudget, interpolate
from link.physics.optical import OpticalBudget
from link.physics.radio import LoraBudget, RadioBudget

MEDIA: dict[str, type[LinkBudget]] = {
    "radio": RadioBudget,
    "lora": LoraBudget,
    "acoustic": AcousticBudget,
    "optical": OpticalBudget,
}
Budget = Annotated[RadioBudget | LoraBudget | AcousticBudget | OpticalBudget, Field(discriminator="medium")]
"""A configuration's field that holds one of them."""

STEP_DB = 0.1
"""How far the distance's loss may move between two steps."""
MAX_STEPS = 20_000
"""Of one hop."""

Step = tuple[float, float, float]
"""(from when, in s; rate in bit/s; error rate 0 to 1)."""


@dataclass(frozen=True)
class HopFigures:
    """What a hop's budget comes to."""

    rate_bps: float
    """The mean over time where it changes."""
    error_rate: float
    """Likewise."""
    block_bits: int | None
    """What the error rate is of: information bits that fail together; None: single bits."""
    steps: tuple[Step, ...] | None
    """Where something changes: from each time on, until the next."""


def come_to(budget: LinkBudget) -> HopFigures:
    """Return what *budget* comes to: at one distance, or as steps over the times of its tables.

    A step is at most `STEP_DB` of distance long and has the figures of its middle. Before the first time the first
    pair's figures hold, after the last the last pair's. Raise UsageError where the budget cannot be reckoned.
    """
    times = list(budget.times_s())
    if len(times) == 1:
        found = budget.at(times[0])
        return HopFigures(found.rate_bps, found.error_rate, found.block_bits, None)
    rows: list[Step] = []
    block = None
    for start, middle in (*_spans(budget, times), (times[-1], times[-1])):
        found = budget.at(middle)
        block = found.block_bits
        if not rows or rows[-1][1:] != (found.rate_bps, found.error_rate):
            rows.append((start if rows else 0.0, found.rate_bps, found.error_rate))
    end = times[-1]
    ends = [row[0] for row in rows[1:]] + [max(end, rows[-1][0])]
    lengths = [max(0.0, after - row[0]) for row, after in zip(rows, ends, strict=True)]
    total = sum(lengths) or 1.0
    if not sum(lengths):
        lengths[-1] = 1.0
    rate = sum(row[1] * length for row, length in zip(rows, lengths, strict=True)) / total
    error = sum(row[2] * length for row, length in zip(rows, lengths, strict=True)) / total
    return HopFigures(rate, error, block, tuple(rows) if len(rows) > 1 else None)


def _spans(budget: LinkBudget, times: list[float]) -> Iterator[tuple[float, float]]:
    """Yield (start, middle) of the steps, in order."""
    distances, elevations = budget.distances(), budget.elevations()
    room = MAX_STEPS // len(times)
    for start, end in pairwise(times):
        near, far = interpolate(distances, start), interpolate(distances, end)
        moved_db = abs(20.0 * log10(far / near))
        count = max(1, ceil(moved_db / STEP_DB), 4 if elevations and len(elevations) > 1 else 1)
        count = min(count, max(1, room))
        for at in range(count):
            yield start + (end - start) * at / count, start + (end - start) * (at + 0.5) / count
