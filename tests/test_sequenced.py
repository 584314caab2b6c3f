"""A hop that sends again what it lost: order, gaps, reports, attempts accounted for."""

import pytest
from test_channel import S, drain, fates

from link.channel.channel import Channel
from link.channel.path import hop_loss
from link.events import BIRTHS, Fate
from link.hops import Link

# A hop that sends again what it lost.


def sequenced(loss=None, *, sizes=(100,) * 6, gap_ns=0, until=None, **hop):
    """Send packets of *sizes* over a hop of 800 bit/s and 5 ms; return the channel, its bytes and the arrivals."""
    data = []
    about = {"name": "near", "rate_bps": 800, "delay_s": 0.005, "retransmit": {}, **hop}
    if loss is not None:
        about["loss"] = loss if isinstance(loss, dict) else {"model": "pattern", "pattern": loss}
    link = Channel(Link.model_validate({"hops": [about], "mtu_bytes": 1500}), 1, {}, data)
    arrivals = []
    for number, size in enumerate(sizes):
        arrivals += [(number * gap_ns, *arrival) for arrival in link.advance(number * gap_ns)]
        link.send(bytes([number % 256]) * size, number * gap_ns)
    arrivals += drain(link)
    return link, data, arrivals


def accounted(link, data):
    """Check that every number begins and ends once, and that bytes stand beside the rows that have some."""
    births = [row[1] for row in link.rows if row[2] in BIRTHS]
    ends = [row[1] for row in link.rows if Fate(row[2]).is_drop or row[2] == Fate.DELIVERED]
    arrived = {row[1] for row in link.rows if row[2] == Fate.CROSSED} - set(ends)
    assert sorted(births) == sorted({*births})
    assert sorted([*ends, *arrived]) == sorted(births)
    assert len(data) == sum(row[2] in (Fate.REPEATED, Fate.REPORTED, Fate.SEGMENT) for row in link.rows)


def test_a_hop_sends_again_what_it_lost_and_keeps_the_order():
    link, data, arrivals = sequenced(".x" + "." * 100)
    assert [(packet, bytes_[0]) for _, packet, _, bytes_ in arrivals] == [(n, n) for n in range(6)]
    count = fates(link)
    # The second is lost. The third comes at 3.005 s to a far side that expects the second and says so, by 3.15 s: the
    # fourth is on the transmitter until 4 s, and comes out of order too. Then the second goes again, and all after it.
    assert (count[Fate.CHANNEL_LOSS], count[Fate.OUT_OF_ORDER], count[Fate.REPEATED]) == (1, 2, 3)
    assert [round(when / S, 3) for when, *_ in arrivals] == [1.005, 5.005, 6.005, 7.005, 8.005, 9.005]
    assert count[Fate.REPORTED] == 8
    assert {len(item) for item in data} == {14, 100}
    accounted(link, data)


def test_a_report_of_a_gap_has_the_near_side_go_back():
    """A kilometre of fibre full of packets: the third tells of the second long before a report is overdue."""
    link, data, arrivals = sequenced(
        ".x" + "." * 100, rate_bps=1e6, delay_s=0.1, jitter={"model": "pareto", "scale_s": 1e-6}
    )
    # Reports follow 0.8 ms apart; the six are out by 4.8 ms, and all but the first are sent again after 0.2 s.
    assert [packet for _, packet, *_ in arrivals] == [0, 1, 2, 3, 4, 5]
    assert fates(link)[Fate.OUT_OF_ORDER] == 4
    assert 0.3 < arrivals[1][0] / S < 0.304
    accounted(link, data)


def test_the_last_packet_is_sent_again_when_no_report_comes():
    link, data, arrivals = sequenced(".x" + "." * 100, sizes=(100, 100))
    assert [packet for _, packet, *_ in arrivals] == [0, 1]
    # A round trip of 10 ms and room for two reports of 140 ms after its end at 2 s.
    assert arrivals[1][0] == pytest.approx((2 + 0.29 + 1 + 0.005) * S, abs=10)
    accounted(link, data)


def test_a_hop_gives_up_in_the_end_and_goes_on():
    link, data, arrivals = sequenced(
        "xxx" + "." * 100, sizes=(100,) * 3, retransmit={"tries": 3, "window": 1}
    )
    assert [packet for _, packet, *_ in arrivals] == [1, 2]
    lost = [row for row in link.rows if row[1] == 0 and row[2] == Fate.CHANNEL_LOSS]
    assert len(lost) == 1
    assert fates(link)[Fate.REPEATED] == 2
    accounted(link, data)


def test_lost_reports_cost_attempts_and_no_packet():
    reports = {"model": "pattern", "pattern": "x"}
    link, data, arrivals = sequenced(sizes=(100,) * 3, retransmit={"tries": 3, "loss": reports})
    assert [packet for _, packet, *_ in arrivals] == [0, 1, 2]
    count = fates(link)
    assert count[Fate.DUPLICATE] == count[Fate.REPEATED] > 0
    assert count[Fate.CHANNEL_LOSS] == count[Fate.REPORTED]
    accounted(link, data)


@pytest.mark.parametrize(
    "trouble",
    [
        {"loss": {"model": "gilbert_elliott", "loss": 0.2, "mean_burst": 4}},
        {"bit_error_rate": 3e-4},
        {"duplicate_ratio": 0.3, "loss": {"model": "bernoulli", "loss": 0.1}},
        {"jitter": {"model": "exponential", "scale_s": 0.3}, "loss": {"model": "bernoulli", "loss": 0.2}},
        {"jitter": {"model": "uniform", "scale_s": 4, "reorder": True}},
        {"outage": {"up_s": 20, "down_s": 7, "random": True}},
        {"outage": {"up_s": 20, "down_s": 7, "hold": True}, "queue": {"classes": 3}},
        {"loss": {"model": "bernoulli", "loss": 1}},
        {"queue": {"limit_bytes": 1500}},
    ],
)
@pytest.mark.parametrize(
    "about", [{}, {"window": 2, "tries": 4, "loss": {"model": "bernoulli", "loss": 0.4}}]
)
def test_every_attempt_of_a_hop_is_accounted_for(trouble, about):
    link, data, arrivals = sequenced(sizes=(100,) * 80, gap_ns=S // 2, retransmit=about, **trouble)
    accounted(link, data)
    count = fates(link)
    order = [packet for _, packet, *_ in arrivals]
    if "classes" not in str(trouble):
        assert order == sorted(order)
    assert len(order) == len(set(order))
    if not about and "limit_bytes" not in str(trouble) and trouble.get("loss", {}).get("loss") != 1:
        assert len(order) == 80
    assert count[Fate.SENT] == 80


def test_what_a_repairing_hop_still_loses_is_what_the_path_says():
    loss = {"model": "gilbert_elliott", "loss": 0.2, "mean_burst": 4}
    link, _, arrivals = sequenced(
        loss, sizes=(10,) * 4000, retransmit={"tries": 3, "window": 1}, rate_bps=1e6
    )
    hop = Link.model_validate(
        {"hops": [{"name": "a", "rate_bps": 1, "loss": loss, "retransmit": {"tries": 3}}]}
    ).hops[0]
    assert 1 - len(arrivals) / 4000 == pytest.approx(hop_loss(hop, 10), abs=0.03)
    # A burst of L loses L // 3 packets, and 16 come through between two bursts.
    whole = sum(0.75 ** (3 * n - 1) for n in range(1, 99))
    assert hop_loss(hop, 10) == pytest.approx(whole / (whole + 16))


def test_a_report_that_fits_between_no_outages_is_lost_and_ends_nothing():
    hop = {
        "outage": {"up_s": 20, "down_s": 1, "hold": True},
        "retransmit": {"tries": 2, "report_rate_bps": 1},
    }
    link, _data, _arrivals = sequenced(sizes=(100,) * 3, **hop)
    assert fates(link)[Fate.OUTAGE]
