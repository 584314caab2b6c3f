"""What the tasks' scores share: the numbers kept of a frame, and pools of frames whose weights can change.

frame -> Stats (JSON) -> Pool of frames -> scores(weights): plain scores, or a thousand resamples at once
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Stats = dict[str, Any]
"""What a task keeps of one frame: small lists of numbers, ready for JSON."""
Scores = dict[str, float | None]
"""One number a score; None where nothing counts."""
Weights = NDArray[np.float64]
"""(resamples, frames): how often each frame counts in each resample."""


class Pool(Protocol):
    """The frames of a series, read once, to be scored under many weights."""

    frames: int

    def scores(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return (resamples,) numbers for each score; nan where nothing counts."""


def plain(pool: Pool) -> Scores:
    """Return the scores of the frames of *pool* as they are, each counted once."""
    scores = pool.scores(np.ones((1, pool.frames)))
    return {key: None if np.isnan(values[0]) else float(values[0]) for key, values in scores.items()}


def ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return above / below; nan where *below* is 0."""
    shape = np.broadcast_shapes(above.shape, below.shape)
    return np.divide(above, below, out=np.full(shape, np.nan), where=below > 0)


def mean_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis of what is not nan; nan where nothing is left."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(-1), known.sum(-1).astype(np.float64))


def check_sizes(what: str, truth: NDArray[Any], found: NDArray[Any]) -> None:
    """Raise ValueError, with both sizes, where *found* is not a map of the size of *truth*."""
    if truth.ndim != 2 or found.shape != truth.shape:
        sizes = ["x".join(str(side) for side in reversed(array.shape)) for array in (found, truth)]
        raise ValueError(f"{what} found is {sizes[0]}, its truth {sizes[1]}: both must be maps of one size")


def check_weights(frames: int, weights: Weights) -> None:
    """Raise ValueError where *weights* is not (resamples, frames)."""
    if weights.ndim != 2 or weights.shape[1] != frames:
        raise ValueError(f"weights have shape {weights.shape}, (resamples, {frames}) expected")


def field(stats: Mapping[str, Any], key: str, task: str) -> Any:
    """Return one entry of a frame's numbers. Raise ValueError where they are not those of *task*."""
    if key not in stats:
        raise ValueError(f"a frame's numbers have no {key!r}: they are not those of {task}")
    return stats[key]
