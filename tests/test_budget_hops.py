"""Budgets in the channel: what the core carries is what the physics say; rates in steps, code blocks, fades; commands."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import toys
from scipy.stats import binom
from test_metrics import result_of
from typer.testing import CliRunner

from link import steering
from link.channel import NS, to_ns
from link.channel.channel import BACKWARD, Channel
from link.channel.loss import TimedLossModel, read_loss
from link.channel.loss.gilbert_elliott import GilbertElliottLoss
from link.channel.netem import gemodel
from link.channel.path import hop_loss
from link.channel.rate import ConstantRate, SteppedRate
from link.errors import UsageError
from link.events import Fate
from link.hops import HopConfig, Link, ReturnHop
from link.physics import modulation
from link.physics.budget import from_db
from link.physics.codes import codes
from link.physics.reckon import reckon_budget
from link.seeds import generator
from scenarios import schema
from scenarios.cli import app
from scenarios.live import controls
from scenarios.report import budgets, parts
from scenarios.results import traffic

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


def within_99(hits: int, trials: int, share: float) -> bool:
    low, high = binom.interval(0.99, trials, share)
    return bool(low <= hits <= high)


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


# Scenarios


def scenario_file(folder: Path, budget: dict) -> str:
    path = folder / "budgeted.yaml"
    path.write_text(SCENARIO.replace("BUDGET", json.dumps(budget)))
    return str(path)


def test_a_scenario_is_resolved_once_and_for_all(tmp_path):
    name = scenario_file(tmp_path, {**RADIO, "rate_bps": None, "distance_at_km": [[0, 6e8], [60, 6e7]], "code": "ldpc-c2",
                                    "wanted_error_rate": 0.01})  # fmt: skip
    plan = schema.load(name)
    (hop,) = plan.link.hops
    assert hop.rate_bps and hop.budget_steps
    (tmp_path / "again.yaml").write_text(schema.to_yaml(plan))
    assert schema.load(str(tmp_path / "again.yaml")) == plan
    assert plan.session().link.hops == plan.link.hops
    # The rate of every hop is the budget's own.
    fixed = schema.load(name, ["link.rate_bps=1000"])
    assert fixed.link.hops[0].rate_bps == 1000 == fixed.link.hops[0].budget.rate_bps
    with pytest.raises(
        UsageError, match=r"hop air: rate_bps is not what its budget comes to.*budget\.rate_bps"
    ):
        schema.load(name, ["link.hops.0.rate_bps=80"])
    with pytest.raises(UsageError, match="hop air: loss is not what its budget comes to"):
        schema.load(name, ["link.hops.0.loss={model: bernoulli, loss: 0.1}"])
    with pytest.raises(
        UsageError, match=r"link\.hops\.0\.budget: unknown key 'power'; did you mean 'power_w'"
    ):
        schema.load(name, ["link.hops.0.budget.power=1"])
    with pytest.raises(UsageError, match="give budget or trace"):
        schema.load(name, ["link.hops.0.trace=degraded-cellular.down"])
    with pytest.raises(UsageError, match="give rate_bps, trace or budget"):
        schema.load(name, ["link.hops.0.budget=null"])
    with pytest.raises(UsageError, match="hop air: budget: transmit_pointing_deg"):
        schema.load(name, ["link.hops.0.budget.transmit_pointing_deg=90"])
    with pytest.raises(UsageError, match="budget_steps are derived"):
        schema.load("mars-relay", ["link.hops.0.budget_steps=[[0, 1, 0], [1, 2, 0]]"])


def test_hops_without_a_budget_are_written_as_ever():
    tree = schema.load("mars-relay").model_dump(mode="json", by_alias=True)
    for hop in tree["link"]["hops"]:
        assert list(hop) == ["name", "rate_bps", "trace", "delay_s", "jitter", "loss", "bit_error_rate", "duplicate_ratio",
                             "outage", "queue", "retransmit"]  # fmt: skip


def test_a_run_imports_no_physics_libraries():
    """What a process of the link imports: no astropy, no itur, no scipy."""
    import subprocess
    import sys

    code = "import sys, link.__main__, link.hops; print([m for m in ('astropy', 'itur', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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


def test_the_way_back_is_reckoned_once_and_printed(tmp_path):
    name = scenario_file(tmp_path, {**RADIO, "distance_km": 6e7})
    budget = {**RADIO, "power_w": 400, "distance_km": 6e8, "rate_bps": 2000}
    path = tmp_path / "back.yaml"
    path.write_text(
        Path(name).read_text() + f"  return: {{budget: {json.dumps(budget)}}}\n  repair: {{arq: true}}\n"
    )
    plan = schema.load(str(path))
    assert plan.link.return_.rate_bps == 2000 and plan.link.return_.delay_s == 0.01
    (tmp_path / "again.yaml").write_text(schema.to_yaml(plan))
    assert schema.load(str(tmp_path / "again.yaml")) == plan
    with pytest.raises(UsageError, match="the return: rate_bps is not what its budget comes to"):
        schema.load(str(path), ["link.return.rate_bps=80"])
    with pytest.raises(UsageError, match="give rate_bps or budget"):
        schema.load(str(path), ["link.return.budget=null"])
    with pytest.raises(UsageError, match="budget_steps are derived"):
        schema.load("mars-relay", ["link.return.budget_steps=[[0, 1, 0], [1, 2, 0]]"])
    session = plan.session()
    paths = {one["path"] for one in controls.controls(session, [])}
    assert "link.return.delay_s" in paths
    assert not paths & {"link.return.rate_bps", "link.return.bit_error_rate"}
    with pytest.raises(UsageError, match="follows from the budget of the way back"):
        steering.lay(session, {"link.return.rate_bps": 10})
    done = invoke("budget", str(path), "--hop", "return", "--json")
    (told,) = json.loads(done.stdout)
    assert told["hop"] == "return" and told["rate_bps"] == 2000
    assert invoke("budget", "mars-relay", "--hop", "return").exit_code == 2
    run = toys.run(session, tmp_path / "run.mcap", 2, toys.ToyEncoder(8, 40))
    traffic.check_conservation(run)
    tables = next(iter(parts._budgets(result_of(run))))
    assert "Link budget of the return (radio)" in str(tables) and "Link budget of air (radio)" in str(tables)


def test_a_way_back_without_a_budget_is_written_as_ever():
    back = schema.load("mars-relay").model_dump(mode="json", by_alias=True)["link"]["return"]
    assert list(back) == [
        "rate_bps",
        "delay_s",
        "jitter",
        "loss",
        "bit_error_rate",
        "duplicate_ratio",
        "outage",
        "queue",
    ]


# Commands


def invoke(*arguments):
    return CliRunner().invoke(app, ["scenarios", *map(str, arguments)])


def test_the_budget_is_printed_term_by_term(tmp_path):
    name = scenario_file(
        tmp_path, {**RADIO, "distance_km": 4e8, "atmosphere": {"station": "dss-14", "elevation_deg": 20}}
    )
    done = invoke("budget", name)
    assert done.exit_code == 0, done.output
    for words in (
        "EIRP",
        "free space",
        "-282.97",
        "dss-14, elevation 20 deg",
        "G/T",
        "C/N0",
        "Eb/N0",
        "margin",
    ):
        assert words in done.stdout
    (tree,) = json.loads(invoke("budget", name, "--json").stdout)
    total = sum(term["value"] for term in tree["terms"] if term["running"] is not None and not term["is_sum"])
    assert tree["eb_n0_db"] == pytest.approx(total, abs=1e-9)
    assert tree["margin_db"] == pytest.approx(tree["eb_n0_db"] - tree["required_db"])
    for form in ("svg", "png"):
        done = invoke("budget", name, "--figure", tmp_path / f"m.{form}")
        assert done.exit_code == 0 and (tmp_path / f"m.{form}").stat().st_size > 5000
    for arguments, message in (
        (("budget", name, "--hop", "sea"), "no hop is called 'sea'"),
        (("budget", "mars-relay"), "none of its hops has a budget"),
        (("budget", name, "--figure", tmp_path / "m.gif"), ".svg or .png was expected"),
    ):
        done = invoke(*arguments)
        assert done.exit_code == 2 and message in done.stderr


def test_netem_says_the_same_link():
    done = invoke("netem", "mars-relay", "--device", "eth0")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[1].startswith("tc qdisc add dev eth0 root netem rate 2000bit delay 5ms limit ")
    assert lines[1].endswith(" loss gemodel 1.3158% 25% 100% 0%")
    assert "delay 635.24s" in lines[3] and "500 bit/s become 496 bit/s" in done.stdout
    assert "iproute2 before 6.9 (Debian 12 has 6.1) refuses delays of over 274 s" in done.stdout
    rows = json.loads(invoke("netem", "orbiter-pass", "--json").stdout)
    hop = rows[1]
    flying = int(hop["command"].split(" limit ")[1].split()[0])
    assert flying == 51_636 + 4096, "what is under way, and a full queue of 4 MiB"
    assert any("up for 480 s and down for 6240 s" in note for note in rows[0]["notes"])


@pytest.mark.parametrize(
    ("loss", "burst", "good", "bad"), [(0.05, 4, 0, 1), (0.2, 3, 0.01, 0.8), (0.3, 10, 0.1, 1)]
)
def test_netems_chain_is_ours(loss, burst, good, bad):
    model = read_loss(
        {"model": "gilbert_elliott", "loss": loss, "mean_burst": burst, "loss_good": good, "loss_bad": bad}
    )
    assert isinstance(model, GilbertElliottLoss)
    p, r, in_bad, in_good = gemodel(model)
    share = p / (p + r)
    assert share * in_bad + (1 - share) * in_good == pytest.approx(loss)
    assert 1 / r == pytest.approx(burst)
    if (loss, burst) == (0.05, 4):
        assert (f"{p * 100:.4f}", r, in_bad, in_good) == ("1.3158", 0.25, 1.0, 0.0)


def test_a_link_that_is_all_noise_flips_half_of_all_bits():
    for name in modulation.MODULATIONS:
        hop = at_eb_n0(-80.0, modulation=name)
        assert hop.bit_error_rate == pytest.approx(0.5, abs=1e-3)
        assert HopConfig.model_validate(hop.model_dump(mode="json")) == hop


def test_eb_n0_is_what_was_asked_for():
    assert at_eb_n0(5.0).budget.at(0).eb_n0_db == pytest.approx(5.0, abs=1e-9)
    assert at_eb_n0(5.0).bit_error_rate == pytest.approx(modulation.psk_error_rate(from_db(5.0)), rel=1e-9)


# The page of a run, live sessions


def test_a_runs_page_has_the_budget(tmp_path):
    plan = schema.load("orbiter-uhf", ["seed=2", "camera.frames=6", "codec.name=jpeg2000"]).session()
    run = toys.run(plan, tmp_path / "run.mcap", 6, toys.ToyEncoder(8, 400))
    traffic.check_conservation(run)
    hops = run.head["scenario"]["link"]["hops"]
    (table,) = budgets.tables(hops)
    assert table["title"] == "Link budget of rover-orbiter (radio), at the begin of the run"
    assert ("EIRP", "", "-6.99", "dBW") in table["lines"]
    assert table["summary"].startswith("8 kbit/s with a margin of 0.4 dB; from 8 kbit/s to 32 kbit/s over ")
    drawn = budgets.figure(hops)
    assert drawn is not None and drawn.name == "margin" and "margin from 0.4 to 6.0 dB" in drawn.alt
    for hop in (
        {"name": "x"},
        {"name": "x", "budget": {"medium": "neutrinos"}},
        {"name": "x", "budget": {"medium": "radio"}},
    ):
        assert budgets.tables([hop]) == [] and budgets.figure([hop]) is None
    # What can no longer be reckoned is said in place of its terms.
    unknown = {**hops[0]["budget"], "atmosphere": {"station": "dss-14", "elevation_deg": 20}}
    (table,) = budgets.tables([{"name": "x", "budget": unknown}])
    assert not table["lines"] and "none at 0.401586 GHz" in table["summary"]


def test_what_follows_from_a_budget_is_not_steered():
    plan = schema.load("curiosity-direct").session()
    paths = {one["path"] for one in controls.controls(plan, [])}
    assert "link.hops.0.delay_s" in paths and "link.hops.0.outage" in paths
    assert not paths & {"link.hops.0.rate_bps", "link.hops.0.loss.loss", "link.hops.0.bit_error_rate"}
    for path, value in (
        ("link.hops.0.rate_bps", 10),
        ("link.hops.0.loss", None),
        ("link.hops.0.loss.error_rate", 0.5),
    ):
        with pytest.raises(UsageError, match=r"follows from the budget of rover-earth"):
            steering.lay(plan, {path: value})
    changed, _ = steering.lay(plan, {"link.hops.0.delay_s": 5})
    assert changed.link.hops[0].budget == plan.link.hops[0].budget


@pytest.mark.parametrize(
    "name", ["curiosity-direct", "orbiter-uhf", "lora-budget", "acoustic-pair", "dsoc-1au"]
)
def test_the_presets_comments_agree_with_their_budgets(name):
    (hop,) = schema.load(name).link.hops
    found = hop.budget.at(0)
    if name == "curiosity-direct":
        assert found.rate_bps == 4000 and found.c_n0_dbhz == pytest.approx(42.3, abs=0.2)
    elif name == "orbiter-uhf":
        assert [min(step[1] for step in hop.budget_steps), max(step[1] for step in hop.budget_steps)] == [
            8000,
            32000,
        ]
    elif name == "lora-budget":
        snr = next(term.value for term in found.terms if term.label == "SNR")
        assert snr == pytest.approx(-20.1, abs=0.05) and found.margin_db == pytest.approx(0.5, abs=0.05)
    elif name == "acoustic-pair":
        assert found.margin_db == pytest.approx(31, abs=0.5) and not (hop.loss or hop.bit_error_rate)
    else:
        assert found.rate_bps == 33e6
