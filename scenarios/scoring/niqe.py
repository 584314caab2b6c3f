"""NIQE, how natural a picture looks without another to compare it with (Mittal, Soundararajan, Bovik 2013).

    grey -> brightness normalised by its surroundings -> patches -> 36 features -> distance to natural pictures'

The distance needs a model of natural pictures: the mean and the covariance of their patches' features. fit() makes
one from pictures at hand, load() reads one, the published `niqe_image_params.mat` too. Scores under different
models are not comparable.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import loadmat
from scipy.ndimage import correlate1d
from scipy.special import gamma

from link.errors import UsageError
from link.frame import Pixels

PATCH = 96
"""Side of a patch, the paper's; half of it at the second scale."""
FEATURES = 36
SHARP = 0.75
"""Share of the sharpest patch's sharpness over which a patch joins the model (the paper's threshold)."""
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""(down, right): which neighbour a pixel is multiplied with: horizontal, vertical, both diagonals."""
_SHAPES = np.arange(0.2, 10.0005, 0.001)
_RATIOS = gamma(2.0 / _SHAPES) ** 2 / (gamma(1.0 / _SHAPES) * gamma(3.0 / _SHAPES))

Floats = NDArray[np.float64]


def too_small(height: int, width: int) -> str | None:
    """Return why pictures of this size have no NIQE, or None: a covariance needs at least two patches."""
    if (height // PATCH) * (width // PATCH) >= 2:
        return None
    return f"NIQE needs two patches of {PATCH}x{PATCH} pixels; these pictures have {width}x{height}"


@dataclass(frozen=True, eq=False)
class NiqeModel:
    """What natural pictures are like. Raise ValueError where the shapes or the numbers are wrong."""

    mean: Floats
    """(36,) of the patches' features."""
    covariance: Floats
    """(36, 36)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be such a model."""
        if self.mean.shape != (FEATURES,) or self.covariance.shape != (FEATURES, FEATURES):
            raise ValueError(
                f"a NIQE model has a mean ({FEATURES},) and a covariance ({FEATURES}, {FEATURES}), "
                f"not {self.mean.shape} and {self.covariance.shape}"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise ValueError("a NIQE model must be of finite numbers")

    @classmethod
    def fit(cls, pictures: Iterable[Pixels]) -> "NiqeModel":
        """Return the model of *pictures* (H, W, 3), undistorted ones: the paper took 125 of them.

        Only patches at least SHARP times as sharp as the sharpest of their picture are used.
        Raise ValueError for a picture under one patch, and where fewer than two patches are left.
        """
        kept = []
        for picture in pictures:
            features, sharpness = _features(picture)
            kept.append(features[sharpness > SHARP * sharpness.max()])
        rows = np.concatenate(kept) if kept else np.zeros((0, FEATURES))
        rows = rows[np.isfinite(rows).all(1)]
        if len(rows) < 2:
            raise ValueError(f"a NIQE model needs two sharp patches or more; these pictures have {len(rows)}")
        return cls(rows.mean(0), np.cov(rows, rowvar=False))

    @classmethod
    def load(cls, path: Path) -> "NiqeModel":
        """Return the model in *path*: save()'s .npz or the published .mat. Raise UsageError where it is neither."""
        try:
            if path.suffix == ".mat":
                held: Any = loadmat(str(path))
                return cls(
                    np.ravel(held["mu_prisparam"]).astype(np.float64),
                    np.asarray(held["cov_prisparam"], float),
                )
            with np.load(path, allow_pickle=False) as file:
                return cls(np.asarray(file["mean"], float), np.asarray(file["covariance"], float))
        except Exception as error:  # zip, numpy and scipy each raise their own for a damaged file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UsageError(f"{path}: no NIQE model: {reason}") from None

    def save(self, path: Path) -> None:
        """Write the model to *path*, an .npz."""
        np.savez(path, mean=self.mean, covariance=self.covariance)

    def score(self, picture: Pixels) -> float | None:
        """Return the NIQE of *picture* (H, W, 3): lower is more natural; None where all of it is flat.

        Raise ValueError where it is under two patches.
        """
        why = too_small(*picture.shape[:2])
        if why:
            raise ValueError(why)
        features, _ = _features(picture)
        rows = features[np.isfinite(features).all(1)]
        if len(rows) < 2:
            return None
        apart = self.mean - rows.mean(0)
        both = (self.covariance + np.cov(rows, rowvar=False)) / 2.0
        # Fewer patches than features: the sum may have no inverse.
        return float(np.sqrt(max(0.0, apart @ np.linalg.pinv(both) @ apart)))


def _features(picture: Pixels) -> tuple[Floats, Floats]:
    """Return the features (patches, 36) and the sharpness (patches,) of *picture*."""
    rows, columns = picture.shape[0] // PATCH, picture.shape[1] // PATCH
    if rows * columns == 0:
        height, width = picture.shape[:2]
        raise ValueError(f"a picture of {width}x{height} holds no patch of {PATCH}x{PATCH} pixels")
    grey = picture[: rows * PATCH, : columns * PATCH].astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    normal, spread = normalised(grey)
    sharpness = _patches(spread, PATCH).mean((1, 2))
    half = Image.fromarray(grey.astype(np.float32)).resize(
        (columns * PATCH // 2, rows * PATCH // 2), Image.Resampling.BICUBIC
    )
    small, _ = normalised(np.asarray(half, np.float64))
    scales = [_of_patches(_patches(normal, PATCH)), _of_patches(_patches(small, PATCH // 2))]
    return np.concatenate(scales, 1), sharpness


def normalised(grey: Floats) -> tuple[Floats, Floats]:
    """Return brightness less its local mean over its local deviation, and that deviation, each (H, W).

    Local is a Gaussian of 7x7 pixels, deviation 7/6; brightness is 0 to 255.
    """
    window = np.exp(-0.5 * (np.arange(-3, 4) / (7.0 / 6.0)) ** 2)
    window /= window.sum()

    def local(values: Floats) -> Floats:
        down = correlate1d(values, window, axis=0, mode="nearest")
        return np.asarray(correlate1d(down, window, axis=1, mode="nearest"))

    mean = local(grey)
    spread = np.sqrt(np.abs(local(grey * grey) - mean * mean))
    return (grey - mean) / (spread + 1.0), spread


def _patches(values: Floats, side: int) -> Floats:
    """Return the patches of *values*, (patches, side, side), row by row."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    grid = values.reshape(rows, side, columns, side).swapaxes(1, 2)
    return grid.reshape(rows * columns, side, side)


def _of_patches(patches: Floats) -> Floats:
    """Return 18 features of each patch: 2 of its values, 4 of each product with a neighbour."""
    shape, left, right = fitted(patches.reshape(len(patches), -1))
    features = [shape, (left + right) / 2.0]
    for shift in NEIGHBOURS:
        products = patches * np.roll(patches, shift, axis=(1, 2))
        shape, left, right = fitted(products.reshape(len(patches), -1))
        mean = (right - left) * gamma(2.0 / shape) / gamma(1.0 / shape)
        features += [shape, mean, left, right]
    return np.stack(features, 1)


def fitted(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return shape, left scale and right scale of the asymmetric generalised Gaussian of each row of *values*.

    By the moments of Lasmar, Stitou and Berthoumieu (2009), shapes 0.2 to 10; nan where a row has one side only.
    """

    def deviation(side: NDArray[np.bool_]) -> Floats:
        count = side.sum(1)
        squares = np.where(side, values * values, 0.0).sum(1)
        return np.asarray(
            np.sqrt(np.divide(squares, count, out=np.full(len(values), np.nan), where=count > 0))
        )

    left, right = deviation(values < 0), deviation(values > 0)
    ratio = left / right
    flatness = np.abs(values).mean(1) ** 2 / np.maximum((values * values).mean(1), np.finfo(float).tiny)
    wanted = flatness * (ratio**3 + 1.0) * (ratio + 1.0) / (ratio * ratio + 1.0) ** 2
    # The ratio of gammas grows with the shape: the nearest entry is one of the two around the place.
    after = np.searchsorted(_RATIOS, wanted).clip(1, len(_RATIOS) - 1)
    nearer = after - (np.abs(_RATIOS[after - 1] - wanted) <= np.abs(_RATIOS[after] - wanted))
    shape = np.where(np.isnan(wanted), np.nan, _SHAPES[nearer])
    scale = np.sqrt(gamma(1.0 / shape) / gamma(3.0 / shape))
    return shape, left * scale, right * scale
