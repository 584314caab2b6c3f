"""Depth: delta1 to delta3, AbsRel, RMSE, RMSElog, each frame by itself, then averaged over frames.

The definitions are those of Eigen, Puhrsch and Fergus (2014); the mean over frames of each frame's own value is how
the KITTI benchmark and the papers after it report them. Relative predictions are brought to metres first, as in
Ranftl et al. (2022, MiDaS) and Yang et al. (2024, Depth Anything).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from link.records import Recorded
from scenarios.scoring.stats import Scores, Stats, Weights, check_sizes, check_weights, field, plain, ratio

MIN_DEPTH_M = 1e-3
"""What is found nearer counts as this near: logarithms and ratios need it."""
MAX_DEPTH_M = 80.0
"""KITTI's: what lies further is left out of truth, what is found further counts as this far."""
BASE = 1.25
DELTAS = ("delta1", "delta2", "delta3")
ERRORS = ("abs_rel", "rmse", "rmse_log")
ALIGNMENTS = ("none", "median", "scale_shift")
_DIGITS = 9


_Three = Annotated[list[Annotated[float, Field(ge=0.0)]], Field(min_length=3, max_length=3)]


class DepthStats(Recorded):
    """What `Depth.frame` keeps, as it stands in a table."""

    pixels: Annotated[int, Field(ge=0)]
    deltas: _Three
    errors: _Three | None


class Depth:
    """Scores of depth maps. What a frame keeps: pixels, its three deltas, its three errors (None if not shown)."""

    name = "depth"
    form = DepthStats
    beside = ()
    primary = "delta1"
    higher_is_better: Mapping[str, bool] = MappingProxyType(
        {**dict.fromkeys(DELTAS, True), **dict.fromkeys(ERRORS, False)}
    )
    labels: Mapping[str, str] = MappingProxyType(
        {
            "delta1": "δ1",
            "delta2": "δ2",
            "delta3": "δ3",
            "abs_rel": "AbsRel (lower is better)",
            "rmse": "RMSE (lower is better)",
            "rmse_log": "RMSElog (lower is better)",
        }
    )

    def frame(
        self,
        truth: NDArray[np.float32],
        found: NDArray[np.float32] | None,
        *,
        max_depth_m: float = MAX_DEPTH_M,
        align: str = "none",
    ) -> Stats:
        """Score one frame.

        *truth* (H, W) in metres; nan, infinite, not positive or over *max_depth_m*: unknown, left out. *found* has the
        same size; None: nothing was shown, no pixel is right. *align* says what *found* is:
        `none`: metres; `median`: depth up to a factor, scaled so that the medians agree; `scale_shift`: inverse
        depth up to a factor and an offset, fitted to the inverse of truth by least squares.
        Raise ValueError for maps of different sizes, nan among the findings, and findings that cannot be aligned.
        """
        if align not in ALIGNMENTS:
            raise ValueError(f"no alignment {align!r}: choose from {', '.join(ALIGNMENTS)}")
        if not max_depth_m > MIN_DEPTH_M:
            raise ValueError(f"max_depth_m is {max_depth_m}; over {MIN_DEPTH_M} expected")
        if found is not None:
            check_sizes("a depth map", truth, found)
            _check_found(found, align)
        known = np.isfinite(truth) & (truth >= MIN_DEPTH_M) & (truth <= max_depth_m)
        pixels = int(known.sum())
        if found is None or pixels == 0:
            return {"pixels": pixels, "deltas": [0.0] * 3, "errors": None}
        true = truth[known].astype(np.float64)
        guess = _aligned(true, found[known].astype(np.float64), align, max_depth_m)
        guess = np.clip(guess, MIN_DEPTH_M, max_depth_m)
        worse = np.maximum(guess / true, true / guess)
        deltas = [float((worse < BASE**power).mean()) for power in (1, 2, 3)]
        errors = [
            float((np.abs(guess - true) / true).mean()),
            float(np.sqrt(((guess - true) ** 2).mean())),
            float(np.sqrt((np.log(guess / true) ** 2).mean())),
        ]
        return {
            "pixels": pixels,
            "deltas": [round(value, _DIGITS) for value in deltas],
            "errors": [round(value, _DIGITS) for value in errors],
        }

    def pool(self, frames: Sequence[Stats]) -> "DepthPool":
        """Read the frames."""
        return DepthPool(frames)

    def scores(self, frames: Sequence[Stats]) -> Scores:
        """Return delta1, delta2, delta3 (0 to 1), abs_rel, rmse (metres), rmse_log.

        A frame that was not shown has no right pixel, so it pulls the deltas down; it has no error either, so the
        errors are means over the shown frames alone: read them beside counts().
        """
        return plain(self.pool(frames))

    def counts(self, frames: Sequence[Stats]) -> dict[str, int]:
        """Return how many frames have known depth (the deltas' mean), and how many were shown (the errors')."""
        return self.pool(frames).counts()


class DepthPool:
    """The scores of each frame, (frames, 6), and which of them count."""

    def __init__(self, frames: Sequence[Stats]) -> None:
        self.frames = len(frames)
        self.values = np.zeros((self.frames, 6))
        self.known = np.zeros((self.frames, 6))
        for number, stats in enumerate(frames):
            if not field(stats, "pixels", "depth"):
                continue
            self.values[number, :3], self.known[number, :3] = stats["deltas"], 1.0
            if stats["errors"] is not None:
                self.values[number, 3:], self.known[number, 3:] = stats["errors"], 1.0

    def counts(self) -> dict[str, int]:
        """Return how many frames count for the deltas and for the errors."""
        return {"frames": int(self.known[:, 0].sum()), "shown": int(self.known[:, 3].sum())}

    def scores(self, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return each score, (resamples,)."""
        check_weights(self.frames, weights)
        means = ratio(weights @ self.values, weights @ self.known)
        return {name: means[:, column] for column, name in enumerate((*DELTAS, *ERRORS))}


def _check_found(found: NDArray[Any], align: str) -> None:
    # A model may say infinitely far in metres: that is clamped. It cannot say so relatively.
    bad = np.isnan(found) if align == "none" else ~np.isfinite(found)
    if bad.any():
        raise ValueError(f"{int(bad.sum())} of {found.size} depths found are not numbers")


def _aligned(
    true: NDArray[np.float64], found: NDArray[np.float64], align: str, max_depth_m: float
) -> NDArray[np.float64]:
    """Return *found* in metres."""
    if align == "none":
        return found
    if align == "median":
        middle = float(np.median(found))
        if middle <= 0:
            raise ValueError(f"the median of the depths found is {middle:g}; over 0 expected to align it")
        return found * (float(np.median(true)) / middle)
    inverse = 1.0 / true
    spread = float(((found - found.mean()) ** 2).mean())
    slope = (
        float(((found - found.mean()) * (inverse - inverse.mean())).mean()) / spread if spread > 0 else 0.0
    )
    near = inverse.mean() + slope * (found - found.mean())
    return np.asarray(1.0 / np.clip(near, 1.0 / max_depth_m, 1.0 / MIN_DEPTH_M))
