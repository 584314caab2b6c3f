"""The channel against theory: exact delays, and two-sided statistics at 99.9 % confidence with fixed seeds."""

import itertools
import json
import math
import time
import typing
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from link.channel import loss as losses
from link.channel.bits import BitErrors
from link.channel.channel import BACKWARD, Channel
from link.channel.loss import LossModel, read_loss
from link.channel.loss.bernoulli import BernoulliLoss
from link.channel.loss.gilbert_elliott import GilbertElliottLoss
from link.channel.loss.pattern import PatternLoss
from link.channel.outage import ERA_TURNS, Outages
from link.channel.path import hop_loss, path_loss, path_rate_bps
from link.channel.queue import PriorityQueue, Waiting
from link.channel.rate import ConstantRate, Trace
from link.errors import UsageError
from link.events import Fate
from link.hops import Link, Outage
from link.packet import Kind, Packet
from link.seeds import generator
from scenarios import schema
from scenarios.report.hop_words import hop_words
from scenarios.results import cell

ALPHA = 0.001
MS = 1_000_000
S = 1_000_000_000


def channel(*hops, seed=1, traces=None, **link):
    named = [{"name": f"h{number}", **hop} for number, hop in enumerate(hops)]
    return Channel(Link.model_validate({"hops": named, "mtu_bytes": 1500, **link}), seed, traces)


def drain(link):
    arrivals = []
    while (when := link.next_ns) is not None:
        arrivals += [(when, *arrival) for arrival in link.advance(when)]
    return arrivals


def fates(link):
    return Counter(Fate(row[2]) for row in link.rows)


def test_delays_are_exact():
    link = channel({"rate_bps": 500, "delay_s": 635.24})
    for number in range(3):
        link.send(bytes(125), number * S)  # 2 s on the transmitter each, offered once a second
    assert [when for when, *_ in drain(link)] == [637_240_000_000, 639_240_000_000, 641_240_000_000]


def test_fractions_of_a_nanosecond_do_not_add_up():
    link = channel({"rate_bps": 3, "delay_s": 0})
    for _ in range(300):
        link.send(b"x", 0)
    assert drain(link)[-1][0] == 300 * 8 * S // 3


def test_hops_add_up_and_waiting_is_told():
    link = channel({"rate_bps": 8000, "delay_s": 0.1}, {"rate_bps": 800, "delay_s": 2})
    link.send(bytes(100), 0)
    link.send(bytes(100), 0)
    assert [when for when, *_ in drain(link)] == [
        100 * MS + 100 * MS + S + 2 * S,
        100 * MS + 100 * MS + 2 * S + 2 * S,
    ]
    crossed = [row for row in link.rows if row[2] == Fate.CROSSED]
    assert [
        (row[1], row[3], row[4], row[5]) for row in sorted(crossed, key=lambda row: (row[3], row[1]))
    ] == [
        (0, 0, 0, 100 * MS),
        (1, 0, 100 * MS, 100 * MS),
        (0, 1, 0, S),
        (1, 1, 900 * MS, S),
    ]


def test_the_return_channel_has_a_rate_of_its_own():
    link = channel({"rate_bps": 8000, "delay_s": 1}, **{"return": {"rate_bps": 80}})
    link.send(bytes(10), 0, BACKWARD)
    assert drain(link) == [(2 * S, 0, BACKWARD, bytes(10))]
    with pytest.raises(ValueError, match="no return"):
        channel({"rate_bps": 1}).send(b"x", 0, BACKWARD)


def test_a_full_queue_drops_the_newest():
    link = channel({"rate_bps": 800, "queue": {"limit_bytes": 3000}})
    for _ in range(5):
        link.send(bytes(1000), 0)
    # One is on the transmitter, three wait, the fifth does not fit.
    assert fates(link)[Fate.QUEUE_FULL] == 1
    assert [arrival[1] for arrival in drain(link)] == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bernoulli_loss_is_binomial(seed):
    lost = BernoulliLoss(model="bernoulli", loss=0.07).draw(generator(seed, "x"))
    n = 200_000
    count = sum(lost() for _ in range(n))
    assert stats.binomtest(count, n, 0.07).pvalue > ALPHA


@pytest.mark.parametrize(("loss", "burst"), [(0.05, 4), (0.3, 3), (0.01, 1.5), (0.2, 20), (0.4, 1.0)])
def test_gilbert_elliott_has_the_loss_and_the_bursts_asked_for(loss, burst):
    lost = GilbertElliottLoss(model="gilbert_elliott", loss=loss, mean_burst=burst).draw(generator(5, "ge"))
    n = 400_000
    marks = np.fromiter((lost() for _ in range(n)), bool, n)
    starts = np.flatnonzero(marks[1:] & ~marks[:-1]) + 1
    ends = np.flatnonzero(~marks[1:] & marks[:-1]) + 1
    ends = ends[ends > starts[0]]
    bursts = ends - starts[: len(ends)]
    # The mean loss: cycles of a good and a bad stay are independent, so the ratio is asymptotically normal.
    gaps = starts[1:] - ends[: len(starts) - 1]
    cycles = min(len(gaps), len(bursts))
    deviation = np.std(bursts[:cycles] - loss * (bursts[:cycles] + gaps[:cycles])) * math.sqrt(cycles)
    z = (bursts[:cycles].sum() - loss * (bursts[:cycles].sum() + gaps[:cycles].sum())) / deviation
    assert abs(z) < stats.norm.ppf(1 - ALPHA / 2)
    # Burst lengths: geometric with the mean asked for, chi-squared over lengths with enough expected counts.
    if burst == 1.0:
        assert set(bursts.tolist()) == {1}
        return
    probability = 1 / burst
    bins, expected, length = [], [], 1
    while (share := probability * (1 - probability) ** (length - 1)) * len(bursts) > 20:
        bins.append(int((bursts == length).sum()))
        expected.append(share * len(bursts))
        length += 1
    bins.append(int((bursts >= length).sum()))
    expected.append((1 - probability) ** (length - 1) * len(bursts))
    assert stats.chisquare(bins, np.array(expected) * sum(bins) / sum(expected)).pvalue > ALPHA


def test_a_lossy_good_state_keeps_the_mean():
    config = GilbertElliottLoss(model="gilbert_elliott", loss=0.1, mean_burst=5, loss_good=0.02, loss_bad=0.7)
    lost = config.draw(generator(9, "ge"))
    blocks = np.array([sum(lost() for _ in range(2000)) for _ in range(200)]) / 2000
    assert stats.ttest_1samp(blocks, 0.1).pvalue > ALPHA


def test_the_pattern_repeats():
    lost = PatternLoss(model="pattern", pattern="..x.").draw(generator(1, "p"))
    assert [lost() for _ in range(8)] == [False, False, True, False] * 2


@pytest.mark.parametrize(
    ("tree", "mean"),
    [
        ({"model": "pattern", "pattern": "..x."}, 0.25),
        ({"model": "pattern", "pattern": "xx.x.x"}, 4 / 6),
        ({"model": "bernoulli", "loss": 0.3}, 0.3),
        ({"model": "gilbert_elliott", "loss": 0.2, "mean_burst": 4}, 0.2),
        ({"model": "gilbert_elliott", "loss": 0.3, "mean_burst": 3, "loss_good": 0.1, "loss_bad": 0.6}, 0.3),
    ],
)
def test_a_loss_model_knows_its_mean_and_what_tries_leave_of_it(tree, mean):
    model = read_loss(tree)
    assert model.mean_loss == pytest.approx(mean)
    assert model.lost_after(1) == pytest.approx(mean)
    lost = model.draw(generator(3, "long"))
    marks = np.fromiter((lost() for _ in range(300_000)), bool)
    assert marks.mean() == pytest.approx(mean, abs=0.006)
    for tries in (2, 3, 5):
        packets = [all(lost() for _ in range(tries)) for _ in range(60_000)]
        assert model.lost_after(tries) == pytest.approx(np.mean(packets), abs=0.012)


def test_a_path_composes_its_hops():
    hops = [
        {"name": "a", "rate_bps": 4000, "loss": {"model": "bernoulli", "loss": 0.1}},
        {"name": "b", "rate_bps": 2000, "loss": {"model": "bernoulli", "loss": 0.1}},
    ]
    link = Link.model_validate({"hops": hops})
    assert path_loss(link) == pytest.approx(0.19)
    assert path_rate_bps(link, {}) == 2000
    regular = {"up_s": 10, "down_s": 10}
    for hold, loss in ((False, 0.5), (True, 0.0)):
        down = Link.model_validate(
            {"hops": [{"name": "c", "rate_bps": 2000, "outage": {**regular, "hold": hold}}]}
        )
        assert (path_rate_bps(down, {}), path_loss(down)) == (1000, loss)
    traced = Link.model_validate({"hops": [{"name": "t", "trace": "x"}, hops[0]]})
    assert path_rate_bps(traced, {"t": Trace((500, 1000), 10)}) == 160
    flips = Link.model_validate({"hops": [{"name": "f", "rate_bps": 1, "bit_error_rate": 1e-4}]})
    assert hop_loss(flips.hops[0], 100) == pytest.approx(1 - (1 - 1e-4) ** 800)


class EveryOtherLoss(LossModel):
    """What the README's recipe makes: a class of its own, and a row in the table."""

    model: typing.Literal["every_other"]
    first: bool = True

    @property
    def mean_loss(self):
        return 0.5

    def lost_after(self, tries):
        return 0.5 if tries == 1 else 0.0

    def words(self):
        return "loses every other packet"

    def draw(self, rng):
        turns = itertools.cycle((self.first, not self.first))
        return lambda: next(turns)


def test_a_new_loss_model_is_a_class_and_a_row(monkeypatch, tmp_path):
    monkeypatch.setitem(losses.LOSS_MODELS, "every_other", EveryOtherLoss)
    tree = {"model": "every_other", "first": False}
    settings = ["link.hops.0.loss=" + json.dumps(tree), "link.hops.1.loss={model: bernoulli, loss: 0.2}"]
    settings.append("link.hops.0.retransmit=null")
    plan = schema.load("mars-relay", settings, {"codec.name": "jpeg2000"})
    # The schema reads it, describes it and writes it down again.
    assert isinstance(plan.link.hops[0].loss, EveryOtherLoss)
    assert "EveryOtherLoss" in json.dumps(schema.Scenario.model_json_schema(by_alias=True))
    (tmp_path / "again.yaml").write_text(schema.to_yaml(plan))
    assert schema.load(str(tmp_path / "again.yaml")) == plan
    with pytest.raises(UsageError, match=r"link\.hops\.0\.loss: unknown key 'frist'; did you mean 'first'"):
        schema.load("mars-relay", ["link.hops.0.loss={model: every_other, frist: 1}"])
    # What it comes to, for rate control and tables.
    assert path_loss(plan.link) == pytest.approx(1 - 0.5 * 0.8)
    assert cell.about(plan.model_dump(mode="json", by_alias=True), lambda _link: {})["loss"] == pytest.approx(
        0.6
    )
    # Its words, in the report.
    assert "loses every other packet" in hop_words(plan.session().model_dump()["link"])[0]["words"]
    # It runs.
    link = channel({"rate_bps": 1e6, "loss": tree})
    for number in range(10):
        link.send(b"x", number * MS)
    assert [packet for _, packet, *_ in drain(link)] == [0, 2, 4, 6, 8]


def test_words_of_a_loss_model_of_another_version_are_still_words():
    assert "does not know" in losses.loss_words({"model": "later", "loss": 1})


def test_loss_over_the_channel_is_counted_once_per_packet():
    loss = {"model": "gilbert_elliott", "loss": 0.1, "mean_burst": 3}
    link = channel({"rate_bps": 1e6, "delay_s": 0.25, "loss": loss})
    for number in range(20_000):
        link.send(bytes(20), number * MS)
    found = len(drain(link))
    count = fates(link)
    assert count[Fate.SENT] == 20_000 == found + count[Fate.CHANNEL_LOSS]
    assert 0.07 < count[Fate.CHANNEL_LOSS] / 20_000 < 0.13


def test_bit_errors_really_flip_bits_at_their_rate():
    flip = BitErrors(0.002, generator(3, "bits"))
    data = bytes(100)
    flips = np.array([int.from_bytes(flip(data), "big").bit_count() for _ in range(20_000)])
    assert stats.binomtest(int(flips.sum()), 20_000 * 800, 0.002).pvalue > ALPHA
    expected = stats.binom.pmf(np.arange(8), 800, 0.002) * 20_000
    counts = np.bincount(np.minimum(flips, 7), minlength=8)
    expected[7] = 20_000 - expected[:7].sum()
    assert stats.chisquare(counts, expected).pvalue > ALPHA


def test_bit_errors_hit_every_position_alike():
    flip = BitErrors(0.01, generator(4, "bits"))
    total = np.zeros(160)
    for _ in range(20_000):
        total += np.unpackbits(np.frombuffer(flip(bytes(20)), np.uint8))
    assert stats.chisquare(total).pvalue > ALPHA


@pytest.mark.parametrize(
    ("model", "cdf"),
    [
        ("uniform", stats.uniform(0, 0.2).cdf),
        ("normal", stats.halfnorm(0, 0.2).cdf),
        ("exponential", stats.expon(0, 0.2).cdf),
        ("pareto", stats.lomax(3, 0, 0.4).cdf),
    ],
)
def test_jitter_has_its_distribution(model, cdf):
    link = channel(
        {"rate_bps": 8e9, "delay_s": 1, "jitter": {"model": model, "scale_s": 0.2, "reorder": True}}
    )
    for number in range(5000):
        link.send(b"x", number * 20 * S)
    arrivals = {packet: when for when, packet, *_ in drain(link)}
    extra = [(arrivals[number] - number * 20 * S - S - 1) / S for number in range(5000)]
    assert min(extra) >= 0
    assert stats.kstest(extra, cdf).pvalue > ALPHA


def test_without_reorder_jitter_keeps_the_order():
    hop: dict[str, typing.Any] = {
        "rate_bps": 1e6,
        "delay_s": 0.1,
        "jitter": {"model": "exponential", "scale_s": 0.05},
    }
    for reorder, in_order in ((False, True), (True, False)):
        link = channel({**hop, "jitter": {**hop["jitter"], "reorder": reorder}})
        for number in range(500):
            link.send(bytes(10), number * MS)
        order = [arrival[1] for arrival in drain(link)]
        assert (order == sorted(order)) == in_order
        assert sorted(order) == list(range(500))


def test_outages_lose_or_hold():
    windows = {"windows_s": [[10, 20]]}
    link = channel({"rate_bps": 800, "outage": windows})
    for at in (0, 9.5, 10, 19.9, 20):
        link.send(bytes(100), int(at * S))  # a second each
    # The last one waits for the one before it, which is lost, and goes from 20.9 to 21.9 s.
    assert sorted(when / S for when, *_ in drain(link)) == [1, 21.9]
    assert fates(link)[Fate.OUTAGE] == 3
    link = channel({"rate_bps": 800, "outage": {**windows, "hold": True}})
    for at in (0, 9.5, 10, 19.9, 20):
        link.send(bytes(100), int(at * S))
    assert [when / S for when, *_ in drain(link)] == [1, 21, 22, 23, 24]


def test_random_outages_have_their_share():
    outage = Outages(Outage(up_s=30, down_s=10, random=True), generator(1, "out"))
    down = [outage.hits(at * S, at * S + 1) for at in range(0, 2_000_000, 10)]
    blocks = np.array(down).reshape(200, -1).mean(axis=1)
    assert stats.ttest_1samp(blocks, 0.25).pvalue > ALPHA


@pytest.mark.parametrize("random", [False, True])
def test_outages_cost_the_same_however_long_nobody_asked(random):
    outage = Outages(Outage(up_s=1e-3, down_s=1e-3, random=random), generator(1, "out"))
    started = time.thread_time()
    for year in range(30):
        outage.hits(year * 31_557_600 * S, year * 31_557_600 * S + 1)
    assert time.thread_time() - started < 1.0


def test_outages_in_turn_keep_their_times_from_era_to_era():
    outage = Outages(Outage(up_s=3, down_s=2), generator(1, "out"))
    for at in [
        *range(12_000),
        *range(5 * ERA_TURNS * 7 - 9, 5 * ERA_TURNS * 7 + 9),
        *range(10**8, 10**8 + 50),
    ]:
        assert outage.hits(at * S, at * S + 1) == (at % 5 >= 3), at
        if at % 5 >= 3:
            assert outage.resumes(at * S) == (at // 5 + 1) * 5 * S


def test_random_outages_are_the_same_whoever_asks_and_when():
    config = Outage(up_s=3, down_s=1, random=True)
    eager, lazy = (Outages(config, generator(1, "out")) for _ in range(2))
    known = {at: eager.hits(at * S, at * S + 1) for at in range(0, 60_000)}
    assert all(lazy.hits(at * S, at * S + 1) == known[at] for at in range(0, 60_000, 7001))
    # Far from the begin, an era at a time, they have their share as well.
    era_s = 4 * ERA_TURNS
    down = sum(lazy.hits(n * era_s * S, n * era_s * S + 1) for n in range(100, 3100))
    assert stats.binomtest(down, 3000, 0.25).pvalue > ALPHA


def test_copies_are_numbered_and_told():
    link = channel({"rate_bps": 1e6, "duplicate_ratio": 0.2})
    for number in range(5000):
        link.send(b"x", number * MS)
    arrivals = drain(link)
    copies = fates(link)[Fate.DUPLICATED]
    assert stats.binomtest(copies, 5000, 0.2).pvalue > ALPHA
    assert len(arrivals) == 5000 + copies
    assert len({arrival[1] for arrival in arrivals}) == len(arrivals)


def packet(priority, size=100):
    return Packet(Kind.DATA, 0, 0, bytes(size - 8), priority).pack(0)


def test_priorities_overtake_but_do_not_interrupt():
    link = channel({"rate_bps": 800, "queue": {"classes": 4}})
    for priority in (3, 2, 1, 0):
        link.send(packet(priority), 0)
    assert [arrival[1] for arrival in drain(link)] == [0, 3, 2, 1]


def test_one_class_and_several_agree_where_all_packets_are_alike():
    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(0, 60 * S, 300)).tolist()
    hop = {"rate_bps": 3000, "delay_s": 0.3, "loss": {"model": "bernoulli", "loss": 0.1}}
    found = []
    for classes in (1, 3):
        link = channel({**hop, "queue": {"limit_bytes": 2000, "classes": classes}})
        for at in times:
            link.advance(at)
            link.send(packet(1), at)
        drain(link)
        found.append(sorted(link.rows))
    assert found[0] == found[1]
    assert any(row[2] == Fate.QUEUE_FULL for row in found[0])


def test_a_full_queue_gives_way_to_a_higher_class():
    queue = PriorityQueue(300, 3)
    for number in range(3):
        assert queue.put(Waiting(number, bytes(100), 0), 2) == []
    assert [gone.packet for gone in queue.put(Waiting(3, bytes(150), 0), 0)] == [2, 1]
    assert [gone.packet for gone in queue.put(Waiting(4, bytes(100), 0), 2)] == [4]
    assert [gone.packet for gone in queue.put(Waiting(5, bytes(250), 0), 1)] == [5]
    assert [queue.take().packet for _ in range(len(queue))] == [3, 0]


def test_the_constant_rate_is_what_it_says():
    rate = ConstantRate(2000)
    ends = [rate.finish(0, 128)[1] for _ in range(1000)]
    assert ends[-1] == 1000 * 128 * 8 * S // 2000


def test_streams_do_not_disturb_each_other():
    a = generator(1, "hop.a.loss").random(4).tolist()
    generator(1, "hop.b.loss").random(100)
    assert generator(1, "hop.a.loss").random(4).tolist() == a
    assert generator(2, "hop.a.loss").random(4).tolist() != a
    assert generator(1, "hop.b.loss").random(4).tolist() != a
    assert a == pytest.approx(GOLDEN_STREAM, abs=0)


GOLDEN_STREAM = [0.12418916668354107, 0.6089250151477446, 0.6650927877246329, 0.4805429424458244]


def test_a_packet_longer_than_every_window_is_lost_and_ends():
    windows = [[n, n + 0.9] for n in range(5000)]
    link = channel({"rate_bps": 800, "outage": {"windows_s": windows, "hold": True}})
    link.send(bytes(100), 0)
    drain(link)
    assert fates(link)[Fate.OUTAGE] == 1
