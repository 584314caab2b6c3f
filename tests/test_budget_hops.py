"""Budgets in the channel: what the core carries is what the physics say; rates in steps, code blocks, fades."""

from collections import Counter

import numpy as np
import pytest
from test_budget import within_99

from link.channel import NS, to_ns
from link.channel.channel import BACKWARD, Channel
from link.channel.loss import TimedLossModel, read_loss
from link.channel.path import hop_loss
from link.channel.rate import ConstantRate, SteppedRate
from link.events import Fate
from link.hops import HopConfig, Link, ReturnHop
from link.physics import modulation
from link.physics.budget import from_db
from link.physics.codes import codes
from link.physics.reckon import reckon_budget
from link.seeds import generator

RADIO = {
    "medium": "radio", "frequency_hz": 8.4e9, "power_w": 10, "transmit_gain_dbi": 20, "receive_gain_dbi": 68,
    "system_k": 30, "rate_bps": 100_000,
}  # fmt: skip
SCENARIO = """
name: budgeted
camera: {source: testcard, width: 64, height: 48, period_s: 10, frames: 2}
codec: {name: gsc}
link:
  hops:
    - {name: air, delay_s: 0.01, budget: BUDGET}
"""


def timed(tree):
    loss = read_loss(tree)
    assert isinstance(loss, TimedLossModel)
    return loss


def at_eb_n0(wanted_db, **more):
    """A hop whose budget has this Eb/N0: the distance is what is free."""
    tree = {**RADIO, **more}
    hop = HopConfig.model_validate({"name": "air", "budget": {**tree, "distance_km": 1e6}})
    off = hop.budget.at(0).eb_n0_db - wanted_db
    tree["distance_km"] = 1e6 * 10 ** (off / 20)
    return reckon_budget(HopConfig.model_validate({"name": "air", "budget": tree}))


def link_of(*hops, **more):
    return Link(hops=hops, mtu_bytes=1500, **more)


def carried(link, packets, seed=1, gap_ns=0, data=None):
    """Send *packets*, one every *gap_ns*; return arrived (number -> bytes) and the rows of fates."""
    channel = Channel(link, seed, data=data)
    arrived = {}
    for at, packet in enumerate(packets):
        channel.send(packet, at * gap_ns)
    while (when := channel.next_ns) is not None:
        arrived.update((number, data) for number, _, data in channel.advance(when))
    return arrived, channel.rows


# Uncoded: bits


@pytest.mark.parametrize("name", modulation.MODULATIONS)
def test_bits_flip_in_real_packets_at_the_modulations_rate(name):
    db = modulation.solve_db(modulation.MODULATIONS[name], 3e-3)
    hop = at_eb_n0(db, modulation=name, wanted_error_rate=1e-5)
    assert (
        hop.bit_error_rate == pytest.approx(3e-3, rel=1e-6) and hop.loss is None and hop.rate_bps == 100_000
    )
    packets = [bytes(100)] * 500
    arrived, _ = carried(link_of(hop), packets)
    assert len(arrived) == 500
    flipped = sum(int.from_bytes(data).bit_count() for data in arrived.values())
    assert within_99(flipped, 500 * 800, 3e-3)


# Coded: blocks


@pytest.mark.parametrize("name", [name for name, code in codes().items() if code.block_bits is not None])
def test_blocks_fail_at_the_codes_rate(name):
    code = codes()[name]
    low, high = (code.points[0][0], code.points[-1][0]) if code.points else (5.6, 6.2)
    hop = at_eb_n0((low + high) / 2, code=name, wanted_error_rate=code.points[-1][1] if code.points else 1e-3)
    expected = code.error((low + high) / 2).rate
    loss = hop.loss
    assert loss is not None and loss.model == "codewords" and loss.block_bits == code.block_bits
    assert loss.error_rate == pytest.approx(expected, rel=1e-6) and hop.bit_error_rate == 0.0
    blocks, at = loss.draw_timed(generator(2, name), lambda now: now), 0
    lost = 0
    for _ in range(20_000):
        lost += blocks.carry(b"x", at, at + 1) is None
        at += loss.block_bits
    assert within_99(lost, 20_000, expected)


def test_neighbours_fall_together_and_packets_over_two_blocks_with_either():
    loss = read_loss({"model": "codewords", "error_rate": 0.1, "block_bits": 800})
    hop = HopConfig(name="air", rate_bps=8000, loss=loss)
    # Ten packets of 10 bytes fill a block exactly: all ten live or all ten die.
    _, rows = carried(link_of(hop), [bytes(10)] * 20_000)
    lost = [0] * 20_000
    for row in rows:
        if row[2] == Fate.CHANNEL_LOSS:
            lost[row[1]] = 1
    blocks = [sum(lost[at : at + 10]) for at in range(0, 20_000, 10)]
    assert set(blocks) == {0, 10}
    assert within_99(blocks.count(10), 2000, 0.1)
    # Packets of 150 bytes lie over 2 or 3 blocks, which they share with their neighbours.
    _, rows = carried(link_of(hop), [bytes(150)] * 6000)
    share = sum(row[2] == Fate.CHANNEL_LOSS for row in rows) / 6000
    places = np.arange(0, 6000 * 1200, 1200)
    touched = (places + 1199) // 800 - places // 800 + 1
    assert share == pytest.approx(float(np.mean(1 - 0.9**touched)), abs=0.025)


@pytest.mark.parametrize("size", [1, 20, 100, 333, 1400])
def test_what_a_path_says_of_blocks_is_their_mean_over_places(size):
    loss = read_loss({"model": "codewords", "error_rate": 0.05, "block_bits": 1784})
    places = np.arange(1784)
    touched = (places + 8 * size - 1) // 1784 - places // 1784 + 1
    expected = float(np.mean(1 - 0.95**touched))
    assert loss.lost_of(1, size, 0.0) == pytest.approx(expected, rel=1e-9)
    assert hop_loss(HopConfig(name="a", rate_bps=100, loss=loss), size) == pytest.approx(expected, rel=1e-9)


def test_a_failed_block_may_be_delivered_damaged():
    loss = read_loss({"model": "codewords", "error_rate": 0.2, "block_bits": 4000, "damaged_ratio": 0.05})
    hop = HopConfig(name="air", rate_bps=8000, loss=loss)
    arrived, rows = carried(link_of(hop), [bytes(1250)] * 400)
    assert not any(row[2] == Fate.CHANNEL_LOSS for row in rows) and len(arrived) == 400
    bits = np.concatenate([np.unpackbits(np.frombuffer(arrived[at], np.uint8)) for at in range(400)])
    blocks = bits.reshape(-1, 4000).sum(axis=1)
    failed = blocks[blocks > 0]
    assert within_99(len(failed), len(blocks), 0.2)
    assert within_99(int(failed.sum()), len(failed) * 4000, 0.05)


def test_idle_time_passes_blocks_by():
    loss = read_loss({"model": "codewords", "error_rate": 0.3, "block_bits": 80})
    hop = HopConfig(name="air", rate_bps=800, loss=loss)
    _, rows = carried(link_of(hop), [b"x"] * 4000, gap_ns=100 * NS)  # a thousand blocks apart
    assert within_99(sum(row[2] == Fate.CHANNEL_LOSS for row in rows), 4000, 0.3)


def test_a_hop_that_sends_again_mends_blocks():
    hop = HopConfig.model_validate(
        {"name": "air", "rate_bps": 80_000, "delay_s": 0.01, "retransmit": {"tries": 30, "loss": {
            "model": "codewords", "error_rate": 0.1, "block_bits": 256}},
         "loss": {"model": "codewords", "error_rate": 0.2, "block_bits": 1784, "damaged_ratio": 0.02}}
    )  # fmt: skip
    packets = [bytes([at % 256]) * 100 for at in range(300)]
    arrived, rows = carried(link_of(hop), packets, data=[])
    assert [arrived[number] for number in sorted(arrived)] == packets
    fates = Counter(row[2] for row in rows)
    assert fates[Fate.REPEATED] > 50 and fates[Fate.CROSSED] >= 300


# Rates in steps


def test_one_step_is_a_constant_rate():
    steps, constant, rng = SteppedRate([(0, 1234.5)]), ConstantRate(1234.5), generator(1, "steps")
    now = 0
    for _ in range(500):
        now += int(rng.integers(0, 2 * NS))
        size = int(rng.integers(1, 1500))
        assert steps.preview(now, size) == constant.preview(now, size)
        assert steps.bits_by(now) == constant.bits_by(now)
        assert steps.finish(now, size) == constant.finish(now, size)


def test_a_packet_goes_on_at_the_next_steps_rate():
    rate = SteppedRate([(0, 800.0), (NS, 80.0), (3 * NS, 8000.0)])
    assert rate.finish(0, 50) == (0, NS // 2)
    # 400 bits in the second that is left of the first step take half of it; the other 160 two seconds of the next.
    assert rate.finish(0, 70) == (NS // 2, 3 * NS)
    assert rate.finish(0, 100) == (3 * NS, 3 * NS + NS // 10)
    assert rate.bits_by(4 * NS) == 800 + 160 + 8000
    with pytest.raises(ValueError, match="rise from 0"):
        SteppedRate([(1, 5.0)])


def test_steps_agree_with_slow_arithmetic():
    rng = generator(8, "slow")
    knots: list[tuple[int, float]] = [(0, 500.0), (700, 90.5), (1900, 4000.25), (5000, 0.001), (5200, 333.0)]
    rate = SteppedRate([(ms * 1_000_000, bps) for ms, bps in knots])
    fine = np.repeat(
        [bps for _, bps in knots], np.diff([*(ms for ms, _ in knots), 60_000])
    )  # bits a second, by ms
    by = np.concatenate([[0.0], np.cumsum(fine) / 1000])
    free = 0.0
    now = 0
    for _ in range(60):
        now += int(rng.integers(0, 300))
        start = max(float(np.interp(now, np.arange(len(by)), by)), free)
        size = int(rng.integers(1, 40))
        free = start + size * 8
        first, last = rate.finish(now * 1_000_000, size)
        ends = np.interp([start, free], by, np.arange(len(by)))
        assert first / 1e6 == pytest.approx(ends[0], abs=2e-3)
        assert last / 1e6 == pytest.approx(ends[1], abs=2e-3)


def moving(**more):
    """A hop that comes near: ten times nearer after 100 s, and back."""
    tree = {**RADIO, "distance_at_km": [[0, 6e8], [100, 6e7], [200, 6e8]], **more}
    return reckon_budget(HopConfig.model_validate({"name": "air", "budget": tree}))


def test_the_rate_follows_the_distance_during_a_run():
    hop = moving(rate_bps=None, margin_db=3.0)
    assert hop.budget_steps is not None and len(hop.budget_steps) > 100
    rows = carried(link_of(hop), [bytes(10)] * 21, gap_ns=10 * NS)[1]
    lasted = {row[0] - row[5] - to_ns(hop.delay_s): row[5] for row in rows if row[2] == Fate.CROSSED}
    assert len(lasted) == 21
    for start, ns in lasted.items():
        expected = hop.budget.at((start + ns / 2) / NS).rate_bps
        assert 80 * NS / ns == pytest.approx(expected, rel=0.03)
    assert max(lasted.values()) / min(lasted.values()) == pytest.approx(100, rel=0.05)
    mean = np.trapz([hop.budget.at(time).rate_bps for time in np.linspace(0, 200, 4001)]) / 4000
    assert hop.rate_bps == pytest.approx(mean, rel=0.01)


def test_errors_follow_the_distance_during_a_run():
    far_db = modulation.solve_db(modulation.psk_error_rate, 0.05)
    tree = {**RADIO, "distance_km": 6e8, "rate_bps": 1000}
    start = HopConfig.model_validate({"name": "air", "budget": tree}).budget.at(0).eb_n0_db
    hop = moving(rate_bps=1000, power_w=10 * from_db(far_db - start))
    arrived, _ = carried(link_of(hop), [bytes(100)] * 200, gap_ns=NS)
    wrong = [int.from_bytes(arrived[at]).bit_count() for at in range(200)]
    assert within_99(sum(wrong[:3]), 3 * 800, 0.05) and sum(wrong[60:140]) == 0 and sum(wrong[-3:]) > 50
    for at in (10, 20):
        # Five packets about this time, each with the rate of its own begin.
        share = np.mean([hop.budget.at(at + off).error_rate for off in np.linspace(0, 5, 51)])
        assert within_99(sum(wrong[at : at + 5]), 5 * 800, float(share))
    coded = moving(
        rate_bps=1000, code="turbo-1784-1/2", power_w=10 * from_db(0.3 - start), wanted_error_rate=0.01
    )
    _, rows = carried(link_of(coded), [bytes(100)] * 200, gap_ns=NS)
    lost = [row[1] for row in rows if row[2] == Fate.CHANNEL_LOSS]
    assert lost and all(number < 20 or number > 180 for number in lost)


# Fades


@pytest.mark.parametrize("air_s", [0.02, 0.5])
def test_fades_have_their_share_and_length(air_s):
    loss = timed({"model": "fades", "sigma_hz": 0.25, "threshold_db": -10.0})
    fades = loss.draw_timed(generator(3, "fades"), lambda now: now)
    step, count = to_ns(air_s), 600_000 if air_s < 0.1 else 100_000
    lost = np.array([fades.carry(b"", at * step, (at + 1) * step) is None for at in range(count)])
    assert lost.mean() == pytest.approx(loss.lost_of(1, 0, air_s), rel=0.07)
    if air_s < 0.1:
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(int))))[::2]
        assert runs.mean() * air_s == pytest.approx(0.3753 + air_s, rel=0.06), (
            "packets at both edges are lost too"
        )
        assert len(runs) / (count * air_s) == pytest.approx(0.2536, rel=0.05)


def test_tries_within_a_fade_are_lost_together():
    loss = timed({"model": "fades", "sigma_hz": 0.25, "threshold_db": -10.0})
    fades = loss.draw_timed(generator(5, "fades"), lambda now: now)
    lost, at = 0, 0
    for _ in range(40_000):
        tries = [fades.carry(b"", at + n * NS // 10, at + (n + 1) * NS // 10) is None for n in range(3)]
        lost += all(tries)
        at += 60 * NS
    assert within_99(lost, 40_000, loss.lost_of(3, 0, 0.1))
    assert loss.lost_of(3, 0, 0.1) > 5 * loss.lost_of(1, 0, 0.1) ** 3
    with pytest.raises(TypeError, match="decides by time"):
        loss.draw(generator(1, "x"))


def test_each_model_of_time_draws_the_same_for_the_same_seed():
    for tree in ({"model": "fades", "sigma_hz": 0.5, "threshold_db": -5.0},
                 {"model": "codewords", "error_rate": 0.2, "block_bits": 500, "damaged_ratio": 0.1}):  # fmt: skip
        hop = HopConfig.model_validate(
            {"name": "air", "rate_bps": 4000, "loss": tree, "queue": {"classes": 2}}
        )
        runs = [carried(link_of(hop), [bytes(60)] * 300, seed=seed) for seed in (4, 4, 5)]
        assert runs[0] == runs[1] and runs[0] != runs[2]


# The way back


def back_of(**more):
    """A link whose way back has a budget, reckoned."""
    tree = {"rate_bps": 10_000, "distance_km": 6e8, **more}
    back = reckon_budget(ReturnHop.model_validate({"budget": {**RADIO, **tree}, "delay_s": 0.5}))
    hop = HopConfig.model_validate({"name": "out", "rate_bps": 1000})
    return Link.model_validate({"hops": [hop], "return": back, "mtu_bytes": 1500})


def returned(link, packets, gap_ns=0):
    channel = Channel(link, 1)
    for at, packet in enumerate(packets):
        channel.send(packet, at * gap_ns, BACKWARD)
    arrived = {}
    while (when := channel.next_ns) is not None:
        arrived.update((number, data) for number, _, data in channel.advance(when))
    return arrived, channel.rows


def test_bits_flip_on_the_way_back_at_its_budgets_rate():
    far_db = modulation.solve_db(modulation.psk_error_rate, 3e-3)
    start = back_of().return_.budget.at(0).eb_n0_db
    link = back_of(power_w=10 * from_db(far_db - start))
    assert link.return_.bit_error_rate == pytest.approx(3e-3, rel=1e-6)
    assert link.return_.known_bps == 10_000
    arrived, rows = returned(link, [bytes(100)] * 500)
    assert len(arrived) == 500 and {row[5] for row in rows if row[2] == Fate.CROSSED} == {80_000_000}
    assert within_99(sum(int.from_bytes(data).bit_count() for data in arrived.values()), 500 * 800, 3e-3)


def test_blocks_are_lost_on_the_way_back_and_its_rate_follows_the_distance():
    moving_back = {
        "distance_at_km": [[0, 6e8], [100, 6e7], [200, 6e8]],
        "distance_km": None,
        "rate_bps": None,
    }
    link = back_of(**moving_back, margin_db=3.0)
    assert len(link.return_.budget_steps) > 100
    _, rows = returned(link, [bytes(10)] * 21, gap_ns=10 * NS)
    lasted = {row[0] - row[5]: row[5] for row in rows if row[2] == Fate.CROSSED}
    for start, ns in lasted.items():
        at = (start - NS // 2 + ns / 2) / NS
        assert 80 * NS / ns == pytest.approx(link.return_.budget.at(at).rate_bps, rel=0.03)
    start = back_of(rate_bps=1000).return_.budget.at(0).eb_n0_db
    coded = back_of(
        rate_bps=1000, code="turbo-1784-1/2", power_w=10 * from_db(0.9 - start), wanted_error_rate=0.01
    )
    _, rows = returned(coded, [bytes(223)] * 400)
    lost = [row for row in rows if row[2] == Fate.CHANNEL_LOSS]
    share = coded.return_.loss.error_rate
    assert 0.1 < share < 0.4 and within_99(len(lost), 400, share)  # 223 bytes are a block of 1,784 bits
