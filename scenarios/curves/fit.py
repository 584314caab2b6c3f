"""Curves of accuracy over rate: what is read off them, and how they compare.

More bits should never make a task worse, but a measured curve may step back by chance or because a model likes
some artefacts. Where a curve is read backwards (which rate gives this accuracy?) it is first made monotonic by
the least-squares fit of pool-adjacent-violators (Barlow et al. 1972), and said not to have been.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MIN_OVERLAP = 0.75
FEWEST_LEVELS = 3
_SAME = 1e-9


@dataclass(frozen=True)
class Curve:
    """A score over a rate, by rising rate; a rate that came twice is one point, with the mean of its scores."""

    rates: NDArray[np.float64]
    scores: NDArray[np.float64]
    """As they were measured; where lower is better, with the sign turned."""
    fitted: NDArray[np.float64]
    """Never falling."""
    sign: float = 1.0
    """-1 where lower is better."""

    @property
    def step_back(self) -> float:
        """The largest fall between a point and a later one; 0 for a monotonic curve."""
        fall = np.maximum.accumulate(self.scores) - self.scores
        return float(fall.max(initial=0.0)) if fall.max(initial=0.0) > _SAME else 0.0

    @property
    def levels(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(rates, scores) of the fit, each score once; points that were pooled lie at the mean of their log rates."""
        rates, scores = [], []
        start = 0
        for at in range(1, len(self.rates) + 1):
            if at == len(self.rates) or self.fitted[at] - self.fitted[start] > _SAME:
                rates.append(math.exp(float(np.log(self.rates[start:at]).mean())))
                scores.append(float(self.fitted[start]))
                start = at
        return np.array(rates), np.array(scores)

    def at(self, rate: float) -> float | None:
        """Return the fitted score at *rate*, interpolated over log rate; None outside of what was measured."""
        if not len(self.rates) or not self.rates[0] * (1 - _SAME) <= rate <= self.rates[-1] * (1 + _SAME):
            return None
        return self.sign * float(np.interp(math.log(rate), np.log(self.rates), self.fitted))

    def reaches(self, score: float) -> float | None:
        """Return the least rate at which the fit comes to *score*, over log rate; None where it does not.

        The first rate's point may already lie above: then its rate is returned, and less may do.
        """
        target = self.sign * score
        above = np.flatnonzero(self.fitted >= target - _SAME)
        if not len(above):
            return None
        at = int(above[0])
        if at == 0:
            return float(self.rates[0])
        low, high = self.fitted[at - 1], self.fitted[at]
        share = (target - low) / (high - low)
        logs = np.log(self.rates[at - 1 : at + 1])
        return math.exp(float(logs[0] + min(max(share, 0.0), 1.0) * (logs[1] - logs[0])))

    @property
    def best(self) -> float:
        """The best score of the fit. Raise ValueError where there is no point."""
        return self.sign * float(self.fitted.max())


def curve(rates: Sequence[float], scores: Sequence[float], *, higher_is_better: bool = True) -> Curve:
    """Return the curve of the points (rate, score). Raise ValueError for a rate not above 0 or a score not finite."""
    if any(not (math.isfinite(rate) and rate > 0) for rate in rates):
        raise ValueError("a curve over log rate needs rates above 0")
    if any(not math.isfinite(score) for score in scores):
        raise ValueError("a curve needs finite scores")
    sign = 1.0 if higher_is_better else -1.0
    at: dict[float, list[float]] = {}
    for rate, score in zip(rates, scores, strict=True):
        at.setdefault(float(rate), []).append(sign * float(score))
    x = np.array(sorted(at))
    y = np.array([float(np.mean(at[rate])) for rate in sorted(at)])
    return Curve(x, y, _monotonic(y), sign)


def _monotonic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(values):
        return values
    from scipy.optimize import isotonic_regression

    rising: NDArray[np.float64] = isotonic_regression(values).x
    return rising


@dataclass(frozen=True)
class BdRate:
    """The Bjøntegaard delta rate of a curve against another, or why there is none."""

    percent: float | None
    """Change of rate at equal score, averaged; negative: the curve needs less than the other."""
    overlap: float
    """Share, 0 to 1, of the scores' whole range that both curves cover."""
    span: tuple[float, float] | None
    """The scores that both cover."""
    reason: str | None
    """Why there is no figure."""
    notes: tuple[str, ...] = ()


def bd_rate(
    anchor: Curve, test: Curve, method: Literal["pchip", "akima"] = "pchip", names: tuple[str, str] = ("", "")
) -> BdRate:
    """Return how much more rate *test* needs than *anchor* for the same score, in percent.

    Bjøntegaard, VCEG-M33 (2001), over log rate by piecewise interpolation as Herglotz et al. (2022) advise, by the
    package `bjontegaard`. Both curves are taken in their monotonic fit. Refused, with the reason, where they share
    less than 75 % of their range of scores or have fewer than three levels. *names* (anchor, test) are for words.
    """
    notes = tuple(
        f"{name or 'a curve'} was not monotonic (largest step back {curve.step_back:.3g})"
        for name, curve in zip(names, (anchor, test), strict=True)
        if curve.step_back
    )
    levels = [line.levels for line in (anchor, test)]
    for name, (rates, _) in zip(names, levels, strict=True):
        if len(rates) < FEWEST_LEVELS:
            count = f"{len(rates)} level{'' if len(rates) == 1 else 's'} of accuracy"
            reason = f"{name or 'a curve'} has {count}; {FEWEST_LEVELS} are the least"
            return BdRate(None, 0.0, None, reason, notes)
    (rates_a, scores_a), (rates_t, scores_t) = levels
    low, high = max(scores_a[0], scores_t[0]), min(scores_a[-1], scores_t[-1])
    whole = max(scores_a[-1], scores_t[-1]) - min(scores_a[0], scores_t[0])
    overlap = float(max(high - low, 0.0) / whole)
    ends = sorted((anchor.sign * float(low), anchor.sign * float(high)))
    span = (ends[0], ends[1]) if high > low else None
    if overlap < MIN_OVERLAP:
        reason = f"the curves share {overlap * 100:.0f} % of their range, less than {MIN_OVERLAP * 100:.0f} %"
        return BdRate(None, overlap, span, reason, notes)
    import bjontegaard

    percent = float(
        bjontegaard.bd_rate(
            rates_a,
            scores_a,
            rates_t,
            scores_t,
            method=method,
            require_matching_points=False,
            min_overlap=MIN_OVERLAP,
        )
    )
    if not math.isfinite(percent):
        return BdRate(None, overlap, span, "the curves could not be interpolated", notes)
    return BdRate(percent, overlap, span, None, notes)
