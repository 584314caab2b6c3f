"""Unequal erasure protection by expanding windows: what a split of repair packets is worth, and the best one.

The packets of a block fall into classes, the most important first. A repair packet of window w codes the classes 1 to
w, so what protects the last class protects the first as well (Sejdinovic, Vukobratovic, Doufexi, Senk, Piechocki,
"Expanding window fountain codes for unequal error protection", IEEE Trans. Commun. 57(9), 2009). One code a class, the
usual way, loses to a single code over all at higher shares of repair; windows have the single code among their splits.

Each window has a decoder of its own, which is what RaptorQ libraries allow: a window is solved where no more is
missing of its packets than repair packets of it arrived, smaller windows first, whose packets then help the larger.
The code is taken as ideal (RaptorQ fails once in 256 blocks where exactly as many symbols arrive as are needed).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise
from math import comb

import numpy as np
from numpy.typing import NDArray

from link.seeds import generator

MAX_WINDOWS = 4
"""More add little and multiply the splits to try."""
_TRIED = 20_000  # splits that are all tried; where there are more, the best is looked for by swaps
_DRAWS = 4096  # of a bursty channel, the same for all splits
_DRAWN_PACKETS = 200_000_000  # draws times packets times splits of a bursty channel that are all tried
_CELLS = 1 << 21  # of one array

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """How packets are lost: independently, or in bursts (Gilbert 1960: all are lost in the bad state, none else)."""

    loss: float
    """Mean share of packets lost, 0 to below 1."""
    mean_burst: float = 1.0
    """Mean length of a run of losses; up to 1 / (1 - loss), that of independent losses, they are independent."""

    @property
    def independent(self) -> bool:
        """Whether no loss says anything about the next."""
        return self.mean_burst <= 1.0 / (1.0 - self.loss)


@dataclass(frozen=True)
class PacketClasses:
    """The packets of a block by class, and what the classes are worth."""

    sizes: tuple[int, ...]
    """Packets of each class, the most important first; a window for each."""
    gains: tuple[float, ...]
    """What each class adds to the quality when it is whole, and with `alone` in parts as well."""
    alone: bool = False
    """Whether a packet that arrived counts without those before it, for its share of its class; else a class counts
    only where it and all before it are whole."""
    order: tuple[int, ...] = ()
    """The class of each packet in the order of sending, from 0; empty: one class after the other. Bursts see it."""

    def __post_init__(self) -> None:
        if not 0 < len(self.sizes) <= MAX_WINDOWS or len(self.sizes) != len(self.gains):
            raise ValueError(
                f"{len(self.sizes)} classes and {len(self.gains)} gains; 1 to {MAX_WINDOWS} of each"
            )
        if min(self.sizes) < 0 or (self.order and len(self.order) != sum(self.sizes)):
            raise ValueError("sizes are negative, or the order is of other packets")


def expected_quality(parts: PacketClasses, split: Sequence[int], law: Law) -> float:
    """Return the expected sum of gains where window w has `split[w]` repair packets.

    Exact for independent losses; for bursts the mean over 4,096 draws, which are the same for all splits. Repair
    packets follow all others, in `turns`. Raise ValueError where *split* is not of as many windows.
    """
    if len(split) != len(parts.sizes) or min(split) < 0:
        raise ValueError(f"a split over {len(split)} windows; {len(parts.sizes)} expected, none negative")
    return float(_values(parts, np.array([split], np.int64), law)[0])


@lru_cache(maxsize=1024)
def solve(parts: PacketClasses, repairs: int, law: Law) -> tuple[int, ...]:
    """Return how many of *repairs* packets each window gets for the best expected quality, the simplest of equals.

    All splits are tried up to 20,000 (fewer for bursts, which are drawn); where there are more, packets are moved from
    window to window as long as that helps. Ties go to the split with more in larger windows.
    """
    windows = len(parts.sizes)
    count = comb(repairs + windows - 1, windows - 1)
    drawn = 0 if law.independent else count * _DRAWS * (repairs + windows)
    if count <= _TRIED and drawn <= _DRAWN_PACKETS:
        splits = np.array(list(_all_splits(repairs, windows)), np.int64)
        return _best(splits, _values(parts, splits, law))
    corners = np.eye(windows, dtype=np.int64)[::-1] * repairs
    split = _best(corners, _values(parts, corners, law))
    step = max(1, repairs // 2)
    while step:
        moved = [split, *_moves(split, step)]
        better = _best(np.array(moved, np.int64), _values(parts, np.array(moved, np.int64), law))
        if better == split:
            step //= 2
        split = better
    return split


def turns(split: Sequence[int]) -> list[int]:
    """Return the window of each repair packet in the order of sending: in turn, each as often as *split* says."""
    places = [
        ((number + 0.5) / count, window) for window, count in enumerate(split) for number in range(count)
    ]
    return [window for _, window in sorted(places)]


def assign(
    counts: Sequence[int], gains: Sequence[Sequence[float]], repairs: int, law: Law, *, alone: bool
) -> list[int | None]:
    """Return how many packets of each frame each of *repairs* packets of a block is over, in order; None: all.

    The block's frames have *counts* packets, which are worth *gains* each in the order of sending; *alone* as in
    `PacketClasses`. Windows end where a quarter, a half and three quarters of all gains are behind.
    """
    longest = max(counts, default=0)
    worth = [sum(own[at] for own in gains if at < len(own)) for at in range(longest)]
    total, ends = sum(worth), [longest]
    if longest <= MAX_WINDOWS:
        ends = list(range(1, longest + 1))
    elif total > 0.0:
        behind = np.cumsum(worth) / total
        ends = sorted({*(int(np.searchsorted(behind, part)) + 1 for part in (0.25, 0.5, 0.75)), longest})
    if len(ends) < 2 or total <= 0.0:
        return [None] * repairs
    window_of = np.searchsorted(ends, np.arange(longest), side="right")
    order = tuple(int(window_of[at]) for count in counts for at in range(count))
    parts = PacketClasses(
        tuple(order.count(window) for window in range(len(ends))),
        tuple(round(sum(worth[at] for at in range(longest) if window_of[at] == window) / total, 3)
              for window in range(len(ends))),
        alone,
        () if law.independent else order,
    )  # fmt: skip
    split = solve(parts, repairs, law)
    return [None if window == len(ends) - 1 else ends[window] for window in turns(split)]


def _best(splits: NDArray[np.int64], values: Floats) -> tuple[int, ...]:
    """Return the first of *splits* whose value is the highest, but for rounding."""
    return tuple(int(count) for count in splits[int(np.argmax(values >= values.max() - 1e-12))])


def _all_splits(repairs: int, windows: int) -> Iterator[tuple[int, ...]]:
    """Yield the ways to share *repairs* out, those with more in larger windows first."""
    for bars in combinations(range(repairs + windows - 1), windows - 1):
        edges = (-1, *bars, repairs + windows - 1)
        yield tuple(b - a - 1 for a, b in pairwise(edges))


def _moves(split: tuple[int, ...], step: int) -> Iterator[tuple[int, ...]]:
    for source in range(len(split)):
        for target in range(len(split)):
            if source != target and split[source] >= step:
                moved = list(split)
                moved[source] -= step
                moved[target] += step
                yield tuple(moved)


def _values(parts: PacketClasses, splits: NDArray[np.int64], law: Law) -> Floats:
    if not law.independent:
        return np.array([_drawn_value(parts, tuple(map(int, split)), law) for split in splits])
    chunk = max(1, _CELLS // (sum(parts.sizes) + 1))
    rows = [splits[at : at + chunk] for at in range(0, len(splits), chunk)]
    return np.concatenate([_exact_values(parts, row, law.loss) for row in rows])


def _exact_values(parts: PacketClasses, splits: NDArray[np.int64], loss: float) -> Floats:
    """Return the expected quality of each of *splits*, (splits, windows), under independent losses.

    The state after window w is how many of its packets are still missing. That chain forgets all else, so a class is
    lost where the chain, from there on, never comes back to 0.
    """
    packets, most = sum(parts.sizes), int(splits.max(initial=0))
    # solved[x, t]: the chance that of x repair packets at least t arrive
    solved = np.zeros((most + 1, packets + 1))
    arrived = np.ones(1)
    for count in range(most + 1):
        tail = np.cumsum(arrived[::-1])[::-1]
        arrived = np.convolve(arrived, [loss, 1.0 - loss])
        solved[count, : min(count, packets) + 1] = tail[: packets + 1]
    missing = [_binomial(size, loss) for size in parts.sizes]
    onward = [_adding(pmf, packets) for pmf in missing]
    left = [1.0 - solved[splits[:, window]] for window in range(len(parts.sizes))]
    state = np.zeros((len(splits), packets + 1))
    state[:, 0] = 1.0
    values = np.zeros(len(splits))
    for window, (size, gain) in enumerate(zip(parts.sizes, parts.gains, strict=True)):
        before, state = state, state @ onward[window] * left[window]
        bad = state
        if parts.alone and size:  # each weighed by the share of the class that is missing
            bad = before @ _adding(missing[window] * np.arange(size + 1) / size, packets) * left[window]
        for later in range(window + 1, len(parts.sizes)):
            bad = bad @ onward[later] * left[later]
        values += gain * (1.0 - bad.sum(1))
        state = state.copy()
        state[:, 0] = 1.0 - state.sum(1)
    return values


def _binomial(count: int, chance: float) -> Floats:
    pmf = np.ones(1)
    for _ in range(count):
        pmf = np.convolve(pmf, [1.0 - chance, chance])
    return pmf


def _adding(pmf: Floats, packets: int) -> Floats:
    """Return the matrix that adds a number of the distribution *pmf* to a state of 0 to *packets*."""
    matrix = np.zeros((packets + 1, packets + 1))
    for row in range(packets + 1):
        width = min(len(pmf), packets + 1 - row)
        matrix[row, row : row + width] = pmf[:width]
    return matrix


@lru_cache(maxsize=8)
def bursts(law: Law, packets: int) -> NDArray[np.bool_]:
    """Return which of *packets* in a row are lost in 4,096 draws of a bursty channel, (4096, packets)."""
    rng = generator(0, f"windows.{law.loss!r}.{law.mean_burst!r}")
    leave_bad = 1.0 / law.mean_burst
    leave_good = leave_bad * law.loss / (1.0 - law.loss)
    lost = np.zeros((_DRAWS, packets), bool)
    bad = rng.random(_DRAWS) < law.loss
    for at in range(packets):
        lost[:, at] = bad
        bad = np.where(bad, rng.random(_DRAWS) >= leave_bad, rng.random(_DRAWS) < leave_good)
    return lost


def _drawn_value(parts: PacketClasses, split: tuple[int, ...], law: Law) -> float:
    """Return the mean quality of *split* over the draws of a bursty channel."""
    packets, order = sum(parts.sizes), np.array(parts.order or _in_a_row(parts.sizes), np.int64)
    lost = bursts(law, packets + sum(split))
    classes = np.arange(len(parts.sizes))
    missing = lost[:, :packets].astype(np.float32) @ (order[:, None] == classes).astype(np.float32)
    sent = np.array(turns(split), np.int64).reshape(-1, 1)
    received = np.array(split) - lost[:, packets:].astype(np.float32) @ (sent == classes).astype(np.float32)
    left = missing.copy()
    for window in range(len(classes)):
        whole = left[:, : window + 1].sum(1) <= received[:, window]
        left[whole, : window + 1] = 0.0
    if parts.alone:
        shares = 1.0 - left / np.maximum(1, np.array(parts.sizes))
    else:
        shares = (np.cumsum(left, 1) == 0).astype(np.float64)
    return float(shares.mean(0) @ np.array(parts.gains))


def _in_a_row(sizes: Sequence[int]) -> list[int]:
    return [window for window, size in enumerate(sizes) for _ in range(size)]
