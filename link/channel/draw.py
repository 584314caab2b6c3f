"""Uniform random numbers, quickly."""

import numpy as np

_BLOCK = 1024


class Uniform:
    """Uniform numbers in [0, 1), drawn in blocks: numpy's call for one number is ten times dearer."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._left: list[float] = []

    def __call__(self) -> float:
        """Return the next number."""
        if not self._left:
            self._left = self._rng.random(_BLOCK).tolist()[::-1]
        return self._left.pop()
