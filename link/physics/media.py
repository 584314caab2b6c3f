"""Media by name, and what a hop's budget comes to over a run: the figures that the channel's core is given.

come_to(budget) -> rate, error rate, and where they change with the distance a table of (time, rate, error rate)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, fsum, log10
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
    ends = [row[0] for row in rows[1:]] + [times[-1]]
    shares = [(after - row[0]) / times[-1] for row, after in zip(rows, ends, strict=True)]
    return HopFigures(
        _mean([rate for _, rate, _ in rows], shares),
        _mean([error for _, _, error in rows], shares),
        block,
        tuple(rows) if len(rows) > 1 else None,
    )


def _mean(values: list[float], shares: list[float]) -> float:
    """Return the mean of *values*, exactly the value where all are alike."""
    if min(values) == max(values):
        return values[0]
    return fsum(value * share for value, share in zip(values, shares, strict=True))


def _spans(budget: LinkBudget, times: list[float]) -> Iterator[tuple[float, float]]:
    """Yield (start, middle) of the steps, in order."""
    distances, elevations = budget.distances(), budget.elevations()
    room = MAX_STEPS // len(times)
    for start, end in pairwise(times):
        near, far = interpolate(distances, start), interpolate(distances, end)
        count = max(1, ceil(abs(20.0 * log10(far / near)) / STEP_DB), 4 if len(elevations) > 1 else 1)
        count = min(count, max(1, room))
        # Steps of the same decibels, not of the same time: what is near changes faster.
        parts = [at / (2 * count) for at in range(2 * count)]
        if near != far:
            parts = [(near * (far / near) ** part - near) / (far - near) for part in parts]
        for first, middle in zip(parts[::2], parts[1::2], strict=True):
            yield start + (end - start) * first, start + (end - start) * middle
