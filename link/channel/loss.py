"""Which packets are lost, and which bits are flipped. Each model draws from a generator of its own."""

from collections.abc import Callable

import numpy as np

from link.config import BernoulliLoss, GilbertElliottLoss, PatternLoss

Lost = Callable[[], bool]
"""Says of the next packet whether it is lost."""

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


def pattern(config: PatternLoss) -> Lost:
    """Lose the packets marked `x`, over and over."""
    marks = [mark == "x" for mark in config.pattern]
    at = -1

    def lost() -> bool:
        nonlocal at
        at = (at + 1) % len(marks)
        return marks[at]

    return lost


def bernoulli(config: BernoulliLoss, rng: np.random.Generator) -> Lost:
    """Lose each packet with the same probability."""
    draw = Uniform(rng)
    loss = config.loss
    return lambda: draw() < loss


def gilbert_elliott(config: GilbertElliottLoss, rng: np.random.Generator) -> Lost:
    """Return the two-state chain of Gilbert (1960) and Elliott (1963), in its stationary state.

    The share of time in the bad state follows from the mean loss, and the mean stay in it is
    `mean_burst` packets; stays are geometric, so one number is drawn a stay instead of one a packet.
    """
    spread = config.loss_bad - config.loss_good
    bad_share = (config.loss - config.loss_good) / spread if spread else 0.0
    leave_bad = 1.0 / config.mean_burst
    leave_good = leave_bad * bad_share / (1.0 - bad_share)
    draw = Uniform(rng)
    bad = draw() < bad_share
    chance = {True: config.loss_bad, False: config.loss_good}

    def stay() -> float:
        leave = leave_bad if bad else leave_good
        return float(rng.geometric(leave)) if leave > 0.0 else float("inf")

    left = stay()

    def lost() -> bool:
        nonlocal bad, left
        if left == 0:
            bad = not bad
            left = stay()
        left -= 1
        probability = chance[bad]
        return probability >= 1.0 or (probability > 0.0 and draw() < probability)

    return lost


def model(config: PatternLoss | BernoulliLoss | GilbertElliottLoss, rng: np.random.Generator) -> Lost:
    """Return the loss model that *config* asks for."""
    if isinstance(config, PatternLoss):
        return pattern(config)
    if isinstance(config, BernoulliLoss):
        return bernoulli(config, rng)
    return gilbert_elliott(config, rng)


class BitErrors:
    """Flips each bit with the same probability (binary symmetric channel)."""

    def __init__(self, ratio: float, rng: np.random.Generator) -> None:
        self._ratio = ratio
        self._rng = rng
        self._gap = int(rng.geometric(ratio)) - 1  # intact bits before the next flip

    def __call__(self, data: bytes) -> bytes:
        """Return *data* with its share of flips."""
        bits = len(data) * 8
        if self._gap >= bits:
            self._gap -= bits
            return data
        damaged = bytearray(data)
        at = self._gap
        while at < bits:
            damaged[at >> 3] ^= 0x80 >> (at & 7)
            at += int(self._rng.geometric(self._ratio))
        self._gap = at - bits
        return bytes(damaged)
