"""Shared channels against theory, two-sided: throughput against load, duty cycle, half duplex, and in a scenario."""

import math

import numpy as np
import pytest
from scipy import stats
from test_channel import drain, fates
from toys import run, session

from link.channel.channel import BACKWARD, Channel
from link.channel.draw import Uniform
from link.channel.medium import Emission, Heard, Medium, Station, Turns, compete
from link.events import Fate
from link.hops import Link
from link.journal import digest
from scenarios.results import traffic

T = 1_000_000  # a packet, ns
S = 1_000_000_000
PACKETS = 25_000


def throughput(seed=3, packets=PACKETS, nodes=200, **about):
    return compete(nodes, packet_ns=T, packets=packets, rng=np.random.default_rng(seed), **about)


@pytest.mark.parametrize("load", [0.1, 0.5, 1.0, 2.0])
def test_pure_aloha(load):
    offered, through = throughput(load=load)
    assert offered == pytest.approx(load, rel=0.02)
    # A station of 200 does not meet its own packets.
    assert through == pytest.approx(offered * math.exp(-2 * offered * (1 - 1 / 200)), abs=0.004)
    if load == 0.5:
        assert through == pytest.approx(0.1839, abs=0.004)


@pytest.mark.parametrize("load", [0.2, 1.0, 2.0])
def test_slotted_aloha(load):
    offered, through = throughput(load=load, access="slotted")
    assert through == pytest.approx(offered * math.exp(-offered), abs=0.006)


@pytest.mark.parametrize(("nodes", "duty", "stated"), [(10, 0.01, 0.834), (100, 0.01, 0.135)])
def test_periodic_nodes_of_a_random_phase(nodes, duty, stated):
    theory = (1 - 2 * duty) ** (nodes - 1)
    assert theory == pytest.approx(stated, abs=0.001)
    # A phase holds for a whole run, so each run is one draw of a fleet.
    shares = []
    for seed in range(400 if nodes == 10 else 60):
        offered, through = throughput(seed, nodes * 4, nodes, load=nodes * duty, periodic=True)
        shares.append(through / offered)
    assert np.mean(shares) == pytest.approx(theory, abs=0.012)


@pytest.mark.parametrize(
    ("load", "stated", "within"), [(0.1, 0.086, 0.003), (0.5, 0.240, 0.006), (1.0, 0.255, 0.009)]
)
def test_capture_under_shadowing(load, stated, within):
    _, through = throughput(load=load, capture_db=6.0, spread_db=6.0)
    assert through == pytest.approx(stated, abs=within)
    assert throughput(load=load, capture_db=6.0)[1] == throughput(load=load)[1], "equal powers: no capture"


@pytest.mark.parametrize(
    ("a", "load", "stated"), [(0.01, 1.0, 0.4925), (1.0, 1.0, 0.109), (0.01, 5.0, None), (0.1, 1.0, None)]
)
def test_non_persistent_carrier_sense(a, load, stated):
    theory = load * math.exp(-a * load) / (load * (1 + 2 * a) + math.exp(-a * load))
    offered, through = throughput(load=load, access="csma", delay_ns=int(a * T))
    assert offered == pytest.approx(load, rel=0.02)
    assert through == pytest.approx(theory, abs=0.012)
    if stated is not None:
        assert theory == pytest.approx(stated, abs=0.0005)


def test_patient_stations_lose_nothing_while_they_hear_each_other():
    offered, through = throughput(load=0.3, nodes=5, access="csma", patient=True, packets=5000)
    assert through > 0.98 * offered, "without delay only those that try at one instant meet"


def test_a_station_is_silent_after_it_sent():
    starts = []

    class Recorded(Medium):
        def begin(self, sent):
            starts.append(sent.start)
            super().begin(sent)

    medium, heard = Recorded(), Heard()
    turns = Turns(medium, 1, "aloha", uniform=Uniform(np.random.default_rng(1)), duty_cycle=0.01)
    station = Station(medium, 1, 0, turns, heard, power=lambda: 0.0)
    for _ in range(3):
        station.offer(T, 0)
    medium.advance(10**12)
    assert starts == [0, 100 * T, 200 * T] and heard.received == 3


def test_delays_decide_who_meets_whom():
    """Two that send at once meet at a receiver in the middle, and not at one that one of them is nearer to."""
    for delays, meets in (
        ([[0, 5, 5], [5, 0, 9], [5, 9, 0]], True),
        ([[0, 5, 50], [5, 0, 9], [50, 9, 0]], False),
    ):
        medium = Medium(delays)
        sent = [Emission(node, 100, 120) for node in (1, 2)]
        for one in sent:
            medium.begin(one)
        assert [medium.is_received(one, 0) for one in sent] == [not meets] * 2


def test_touching_is_not_overlapping():
    medium = Medium()
    sent = [Emission(1, 0, 10), Emission(2, 10, 20)]
    for one in sent:
        medium.begin(one)
    assert all(medium.is_received(one, 0) for one in sent)


def test_the_stronger_by_the_threshold_is_captured():
    medium = Medium(capture_db=6.0)
    sent = [Emission(1, 0, 10, 6.0), Emission(2, 5, 15, 0.0), Emission(3, 12, 20, -5.0)]
    for one in sent:
        medium.begin(one)
    assert [medium.is_received(one, 0) for one in sent] == [True, False, False]


def test_who_sends_is_deaf_and_turns_take_time():
    medium = Medium(turnaround_ns=3)
    sent = [Emission(1, 0, 10), Emission(0, 12, 20), Emission(1, 22, 30), Emission(1, 33, 40)]
    for one in sent:
        medium.begin(one)
    assert [medium.is_received(one, 0) for one in sent if one.node == 1] == [False, False, True]


# In a scenario

LORA = {"name": "air", "rate_bps": 100, "delay_s": 0.001}


def shared(medium, hop=LORA, seed=1, **more):
    return Channel(Link.model_validate({"hops": [hop], "mtu_bytes": 100, "medium": medium, **more}), seed)


def test_a_channel_alone_keeps_to_its_duty_cycle():
    link = shared({"duty_cycle": 0.01})
    for _ in range(3):
        link.send(bytes(100), 0)
    assert [when for when, *_ in drain(link)] == [8 * S + S // 1000 + turn * 800 * S for turn in range(3)]


def test_slots_begin_at_their_multiples():
    link = shared({"access": "slotted"})
    link.send(bytes(100), 3 * S)
    assert drain(link)[0][0] == 16 * S + S // 1000


@pytest.mark.parametrize(("senders", "duty"), [(10, 0.01), (4, 0.05)])
def test_ten_robots_lose_what_theory_says(senders, duty):
    period = int(8 * S / duty)
    link = shared({"senders": senders, "spread_s": period / S}, seed=7)
    number = 4000
    for turn in range(number):
        link.advance(turn * period)
        link.send(bytes(100), turn * period)
    drain(link)
    through = number - fates(link)[Fate.COLLISION]
    # Each of the others begins within 2 T of ours with a chance of 2 d, less at the period's edge: theirs of the turn
    # before and after cover that.
    assert stats.binomtest(through, number, (1 - 2 * duty) ** (senders - 1)).pvalue > 0.001
    assert fates(link)[Fate.CROSSED] == through


def test_half_duplex_makes_the_sender_deaf():
    medium = {"duplex": "half", "turnaround_s": 0.5}
    back = {"rate_bps": 100, "delay_s": 0.001}
    for offset, lost in ((0.0, 2), (4.0, 2), (8.4, 1), (8.6, 0)):
        link = shared(medium, **{"return": back})
        link.send(bytes(100), 0)
        link.advance(int(offset * S))
        link.send(bytes(10), int(offset * S), BACKWARD)
        drain(link)
        assert fates(link)[Fate.COLLISION] == lost, offset
    full = shared({}, **{"return": back})
    full.send(bytes(100), 0)
    full.send(bytes(10), 0, BACKWARD)
    drain(full)
    assert fates(full)[Fate.COLLISION] == 0


def test_carrier_sense_waits_for_the_other_way():
    link = shared({"duplex": "half", "access": "csma", "turnaround_s": 0.1}, **{"return": {"rate_bps": 100}})
    link.send(bytes(100), 0)
    link.advance(S)
    link.send(bytes(10), S, BACKWARD)
    arrivals = drain(link)
    assert fates(link)[Fate.COLLISION] == 0 and len(arrivals) == 2
    assert arrivals[1][0] > 8 * S


def test_the_same_seed_has_the_same_others(tmp_path):
    about = {
        "hops": [{**LORA, "rate_bps": 500}],
        "mtu_bytes": 64,
        "medium": {
            "senders": 6,
            "spread_s": 20,
            "access": "csma",
            "capture_db": 6,
            "power_spread_db": 6,
            "duty_cycle": 0.3,
        },
    }
    made = []
    for seed in (1, 1, 2):
        plan = session(about, seed=seed, period_s=20.0, frame_bytes=300)
        found = run(plan, tmp_path / "run.mcap", 8)
        traffic.check_conservation(found)
        assert (found.rows[:, 2] == Fate.COLLISION).any()
        assert traffic.traffic(found).cost.on_air == sum(len(data) for data in found.data.values())
        made.append(digest(tmp_path / "run.mcap"))
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    ("medium", "says"),
    [
        ({"senders": 3}, "spread_s"),
        ({"turnaround_s": 1}, "duplex"),
        ({"hop": "none"}, "there is no hop"),
        ({"duplex": "half"}, "return"),
        ({"backoff_s": 1e-6, "access": "csma"}, "hundredth"),
        ({"duty_cycle": 0}, "duty_cycle"),
        ({"senders": 5000, "spread_s": 1}, "senders"),
    ],
)
def test_what_does_not_fit_is_refused(medium, says):
    with pytest.raises(ValueError, match=says):
        shared(medium)


def test_a_link_without_a_medium_is_written_as_before():
    plain = Link.model_validate({"hops": [LORA]})
    assert "medium" not in plain.model_dump(mode="json", by_alias=True)
    whole = Link.model_validate({"hops": [LORA], "medium": {"senders": 2, "spread_s": 5}})
    assert Link.model_validate_json(whole.model_dump_json(by_alias=True)) == whole
