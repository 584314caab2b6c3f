"""What splits of repair packets over expanding windows are worth, against closed forms and brute force."""

from itertools import product
from math import comb

import numpy as np
import pytest

from link.repair.windows import MAX_WINDOWS, Law, PacketClasses, bursts, expected_quality, solve, turns

SIZES, GAINS = (2, 3, 5), (0.5, 0.3, 0.2)
PARTS = PacketClasses(SIZES, GAINS)

# Loss, repair packets -> no repair, one code over all, the best split and its worth.
TABLE = [
    (0.1, 4, 0.6519, 0.9927, (0, 0, 4), 0.9927),
    (0.2, 2, 0.4398, 0.6760, (0, 2, 0), 0.7559),
    (0.2, 3, 0.4398, 0.8044, (0, 3, 0), 0.8222),
    (0.2, 4, 0.4398, 0.8953, (0, 0, 4), 0.8953),
    (0.3, 4, 0.3011, 0.6569, (0, 4, 0), 0.7583),
    (0.4, 4, 0.2045, 0.3866, (0, 4, 0), 0.6155),
]


@pytest.mark.parametrize(("loss", "repairs", "none", "one", "split", "worth"), TABLE)
def test_the_best_split_of_the_table(loss, repairs, none, one, split, worth):
    law = Law(loss)
    assert expected_quality(PARTS, (0, 0, 0), law) == pytest.approx(none, abs=1e-4)
    assert expected_quality(PARTS, (0, 0, repairs), law) == pytest.approx(one, abs=1e-4)
    assert solve(PARTS, repairs, law) == split
    assert expected_quality(PARTS, split, law) == pytest.approx(worth, abs=1e-4)


def binomial(count, k, chance):
    return comb(count, k) * chance**k * (1 - chance) ** (count - k)


def brute_force(parts, split, loss):
    """Sum over all numbers of lost packets of each class and of arrived repair packets of each window."""
    total = 0.0
    for missing in product(*(range(size + 1) for size in parts.sizes)):
        for received in product(*(range(count + 1) for count in split)):
            chance = np.prod([binomial(n, m, loss) for n, m in zip(parts.sizes, missing, strict=True)])
            chance *= np.prod([binomial(x, r, 1 - loss) for x, r in zip(split, received, strict=True)])
            left = list(missing)
            for _ in range(len(split)):  # repeated: it must not matter
                for window, got in enumerate(received):
                    if sum(left[: window + 1]) <= got:
                        left[: window + 1] = [0] * (window + 1)
            for at, gain in enumerate(parts.gains):
                part = 1 - left[at] / max(1, parts.sizes[at]) if parts.alone else sum(left[: at + 1]) == 0
                total += chance * gain * part
    return total


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("split", [(0, 0, 0), (1, 1, 1), (2, 0, 1), (0, 2, 0)])
@pytest.mark.parametrize("loss", [0.0, 0.07, 0.45])
def test_the_expectation_is_that_of_all_cases(split, loss, alone):
    parts = PacketClasses((2, 3, 2), (0.5, 0.3, 0.2), alone)
    assert expected_quality(parts, split, Law(loss)) == pytest.approx(
        brute_force(parts, split, loss), abs=1e-12
    )


@pytest.mark.parametrize("alone", [False, True])
def test_drawn_losses_of_the_shortest_bursts_are_nearly_independent(alone):
    """Bursts that are hardly longer than by chance give what independent losses give, but for the draws' error."""
    parts, split = PacketClasses(SIZES, GAINS, alone), (0, 2, 1)
    law = Law(0.2, 1.25 + 1e-9)
    assert not law.independent
    error = abs(expected_quality(parts, split, law) - expected_quality(parts, split, Law(0.2)))
    assert error < 4 * 0.5 / 64  # four deviations of the mean of 4,096 numbers from 0 to 1


def test_draws_have_the_loss_and_the_bursts_asked_for():
    lost = bursts(Law(0.2, 4.0), 200)
    starts = (lost[:, 1:] & ~lost[:, :-1]).sum()
    assert lost.mean() == pytest.approx(0.2, abs=0.005)
    assert starts / (~lost[:, :-1]).sum() == pytest.approx(0.25 * 0.2 / 0.8, rel=0.03)


def test_bursts_spread_over_frames_fail_less():
    """A (14, 10) code at 20 % in bursts of 4 fails as often as independent losses let it when 16 share the bursts."""
    lost = bursts(Law(0.2, 4.0), 14 * 16)
    fails = {}
    for depth in (1, 4, 16):
        words = lost[:, : 14 * depth].reshape(
            len(lost), 14, depth
        )  # packet by packet of `depth` words in turn
        fails[depth] = float((words.sum(1) > 4).mean())
    assert fails[1] == pytest.approx(0.255, abs=0.02)
    assert fails[4] == pytest.approx(0.177, abs=0.015)
    assert fails[16] == pytest.approx(0.130, abs=0.005)
    independent = sum(binomial(14, m, 0.2) for m in range(5, 15))
    assert independent == pytest.approx(0.1298, abs=1e-4)


def test_windows_never_lose_to_one_code_nor_to_none():
    rng = np.random.default_rng(5)
    for _ in range(60):
        windows = int(rng.integers(1, MAX_WINDOWS + 1))
        parts = PacketClasses(
            tuple(map(int, rng.integers(1, 7, windows))),
            tuple(map(float, rng.random(windows))),
            alone=bool(rng.integers(2)),
        )
        repairs, law = int(rng.integers(0, 7)), Law(float(rng.uniform(0, 0.5)))
        best = solve(parts, repairs, law)
        assert sum(best) == repairs
        one = (0,) * (windows - 1) + (repairs,)
        assert expected_quality(parts, best, law) >= expected_quality(parts, one, law) - 1e-12
        assert expected_quality(parts, one, law) >= expected_quality(parts, (0,) * windows, law) - 1e-12


def test_swaps_find_what_trying_all_finds(monkeypatch):
    cases = [
        (PacketClasses((4, 6, 8, 12), (0.4, 0.3, 0.2, 0.1), alone), Law(loss))
        for alone in (False, True)
        for loss in (0.1, 0.25, 0.4)
    ]
    for parts, law in cases:
        best = expected_quality(parts, solve(parts, 10, law), law)
        with monkeypatch.context() as patch:
            patch.setattr("link.repair.windows._TRIED", 0)
            found = solve.__wrapped__(parts, 10, law)
        assert expected_quality(parts, found, law) >= best - 0.01


def test_many_packets_are_solved_in_time():
    parts = PacketClasses((40, 60, 80, 120), (0.4, 0.3, 0.2, 0.1))
    assert sum(solve(parts, 60, Law(0.2))) == 60
    assert sum(solve(PacketClasses(SIZES, GAINS, True), 12, Law(0.2, 4.0))) == 12


def test_repair_packets_take_turns():
    assert turns((1, 2, 1)) == [1, 0, 2, 1]
    assert turns((0, 0, 3)) == [2, 2, 2]
    assert turns((0, 0)) == []
    weighed = turns((10, 0, 30))
    assert [weighed[: 4 * n].count(0) for n in range(1, 11)] == list(range(1, 11))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PacketClasses((), ()), "0 classes"),
        (lambda: PacketClasses((1,) * 5, (1.0,) * 5), "5 classes"),
        (lambda: PacketClasses((1, 2), (1.0,)), "1 gains"),
        (lambda: PacketClasses((1, -2), (1.0, 1.0)), "negative"),
        (lambda: PacketClasses((1, 2), (1.0, 1.0), order=(0, 1)), "other packets"),
        (lambda: expected_quality(PARTS, (1, 1), Law(0.1)), "2 windows"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
