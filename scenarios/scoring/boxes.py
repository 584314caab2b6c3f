"""Boxes around things in a picture: those that are there, and those that a detector says are there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Boxes:
    """N boxes of one picture. Raise ValueError where the lengths differ or a number is not finite."""

    xyxy: NDArray[np.float64]
    """(N, 4): left, top, right, bottom in pixels; right and bottom lie outside."""
    kinds: NDArray[np.int64]
    """(N,): the class of each, 0 and up."""
    scores: NDArray[np.float64]
    """(N,): the detector's confidence, 0 to 1; 1 for what is there."""
    ignored: NDArray[np.bool_]
    """(N,): whether the box marks a region (a crowd) where findings are neither right nor wrong."""

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        count = len(self.xyxy)
        if self.xyxy.shape != (count, 4):
            raise ValueError(f"boxes have shape {self.xyxy.shape}, (boxes, 4) expected")
        for name, values in (("kinds", self.kinds), ("scores", self.scores), ("ignored", self.ignored)):
            if values.shape != (count,):
                raise ValueError(f"{count} boxes have {name} of shape {values.shape}, ({count},) expected")
        bad = int(count - (np.isfinite(self.xyxy).all(1) & np.isfinite(self.scores)).sum())
        if bad:
            raise ValueError(f"{bad} of {count} boxes have a side or a score that is not a finite number")
        if count and int(self.kinds.min()) < 0:
            raise ValueError(f"a box has class {int(self.kinds.min())}; classes begin at 0")

    def __len__(self) -> int:
        """Return how many boxes there are."""
        return len(self.xyxy)

    @classmethod
    def of(
        cls,
        xyxy: ArrayLike,
        kinds: Sequence[int] | NDArray[np.int64],
        scores: ArrayLike | None = None,
        ignored: ArrayLike | None = None,
    ) -> "Boxes":
        """Return the boxes of plain lists or arrays; scores are 1 and none is ignored where not given."""
        numbers = np.asarray(kinds, np.int64)
        return cls(
            np.asarray(xyxy, np.float64).reshape(-1, 4),
            numbers,
            np.ones(len(numbers)) if scores is None else np.asarray(scores, np.float64),
            np.zeros(len(numbers), bool) if ignored is None else np.asarray(ignored, bool),
        )

    @classmethod
    def none(cls) -> "Boxes":
        """Return no boxes at all."""
        return cls.of([], [])
