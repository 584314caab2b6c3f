"""LTP engines in pairs: segments to the byte, loss by pattern, light time, plans, and what its users ran into."""

from heapq import heappop, heappush
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from link.channel.loss.gilbert_elliott import GilbertElliottLoss
from link.repair import ltp_segments as wire
from link.repair.ltp import LtpEngine
from link.repair.ltp_segments import (
    Cancel,
    CancelSegment,
    DataSegment,
    ReportAck,
    ReportSegment,
    SegmentType,
    Spans,
)
from link.repair.ltp_sessions import LtpSettings, split_report, tries
from link.repair.sight import AnswerTimes

S = 1_000_000_000
BLOCK = np.random.default_rng(1).bytes(10_000)


class Pair:
    """A sending and a receiving engine, and the air between them: a rate, delays, windows in which each may send."""

    def __init__(
        self,
        *,
        delay_s=1.0,
        rate_bps=80_000,
        lose=None,
        windows=(None, None),
        settings=None,
        jitter=None,
        queue_s=1,
    ):
        self.rate, self.delay = rate_bps, round(delay_s * S)
        self.lose = lose or (lambda _direction, _number: False)
        self.windows = [None if w is None else [(round(a * S), round(b * S)) for a, b in w] for w in windows]
        settings = settings or LtpSettings(segment_bytes=1400)
        self.answer = round(30 * 8 / rate_bps * S) + queue_s * S
        sights = [AnswerTimes(self.delay, self.delay, self.answer, self.windows[1 - end]) for end in (0, 1)]
        self.ends = [LtpEngine(number + 1, settings, sights[number]) for number in (0, 1)]
        self.free, self.count, self.order = [0, 0], [0, 0], 0
        self.air: list = []
        self.now = 0
        self.log: list = []
        self.waiting: list = [None, None]
        self.jitter = jitter or (lambda _direction, _number: 0)

    def start(self, direction, size):
        """Return when a segment may begin, so that it fits into a window; None: never."""
        at = max(self.now, self.free[direction])
        if self.windows[direction] is None:
            return at
        lasts = round(size * 8 / self.rate * S)
        for first, end in self.windows[direction]:
            if max(at, first) + lasts <= end:
                return max(at, first)
        return None

    def run(self, until_s=1e9):
        """Let everything happen until nothing is due any more."""
        waiting = self.waiting
        while True:
            times = []
            for end in (0, 1):
                if waiting[end] is None:
                    waiting[end] = self.ends[end].take(self.now)
                if waiting[end] is not None:
                    begin = self.start(end, len(waiting[end].data))
                    if begin is not None:
                        times.append((begin, 0, end))
                if (due := self.ends[end].next_ns) is not None:
                    times.append((max(due, self.now), 2, end))
            if self.air:
                times.append((self.air[0][0], 1, self.air[0][2]))
            if not times or min(times)[0] > until_s * S:
                return self
            self.now, what, end = min(times)
            if what == 0:
                item, waiting[end] = waiting[end], None
                leaves = self.now + round(len(item.data) * 8 / self.rate * S)
                self.free[end] = leaves
                number = self.count[end]
                self.count[end] += 1
                self.log.append((leaves, end, item.data))
                self.ends[end].sent(item, leaves)
                if not self.lose(end, number):
                    self.order += 1
                    arrival = leaves + self.delay + self.jitter(end, number)
                    heappush(self.air, (arrival, self.order, 1 - end, item.data))
            elif what == 1:
                _, _, target, data = heappop(self.air)
                self.ends[target].receive(data, self.now)
            else:
                self.ends[end].wake(self.now)

    def events(self, end, kind):
        return [event for event in self.ends[end].events if event.kind == kind]

    @property
    def sessions(self):
        return [end.sessions for end in self.ends]

    def delivered(self, blocks=(BLOCK,)):
        """Whether each block came once, whole, is known to have, and nothing is left."""
        return (
            sorted(event.data for event in self.events(1, "red")) == sorted(blocks)
            and len(self.events(0, "delivered")) == len(blocks)
            and self.sessions == [0, 0]
        )


def losing(*gone):
    return lambda direction, number: (direction, number) in gone


# Segments


@pytest.mark.parametrize(
    ("value", "coded"), [(0xABC, "953c"), (0x1234, "a434"), (0x4234, "818434"), (0, "00"), (127, "7f")]
)
def test_sdnvs_of_the_standard(value, coded):
    assert wire.put_sdnv(value).hex() == coded
    assert wire.get_sdnv(bytes.fromhex(coded), 0) == (value, len(coded) // 2)


def test_ten_thousand_bytes_cost_73_bytes_of_headers():
    pair = Pair()
    pair.ends[0].send(BLOCK, len(BLOCK), 0)
    pair.run()
    sizes = [len(data) for _, end, data in pair.log if end == 0 and data[0] < 8]
    assert sizes == [1408, *[1409] * 6, 211]
    assert sum(sizes) == 10_073
    report, ack = pair.log[8][2], pair.log[9][2]
    assert (len(report), len(ack)) == (13, 5)
    assert (
        report.hex()
        == "0801010001" + "01" + wire.put_sdnv(10_000).hex() + "000100" + wire.put_sdnv(10_000).hex()
    )
    assert ack.hex() == "0901010001"
    gap = ReportSegment((1, 1), 1, 1, 0, 10_000, ((0, 1400), (2800, 10_000)))
    assert len(bytes(gap)) == 17


@pytest.mark.parametrize(("session", "serial", "sizes"), [
    (1, 1, (73, 13, 17, 5)), (1 << 30, 1 << 30, (109, 25, 29, 13)), (1 << 63, 1 << 62, (153, 38, 42, 22))
])  # fmt: skip
def test_what_large_numbers_cost(session, serial, sizes):
    name = (1, session)
    data = [DataSegment(name, SegmentType.RED, 1, at, bytes(1400)) for at in range(0, 9800, 1400)]
    data.append(DataSegment(name, SegmentType.BLOCK_END, 1, 9800, bytes(200), serial, 0))
    report = ReportSegment(name, serial, serial, 0, 10_000, ((0, 10_000),))
    gap = ReportSegment(name, serial, serial, 0, 10_000, ((0, 1400), (2800, 10_000)))
    made = (sum(len(bytes(item)) for item in data) - 10_000, len(bytes(report)), len(bytes(gap)))
    assert (*made, len(bytes(ReportAck(name, serial)))) == sizes


numbers = st.integers(0, (1 << 64) - 1)
sessions = st.tuples(numbers, numbers)
plain = st.builds(DataSegment, sessions, st.sampled_from([SegmentType.RED, SegmentType.GREEN, SegmentType.GREEN_END]),
                  numbers, numbers, st.binary(max_size=40))  # fmt: skip
checkpoints = st.builds(DataSegment, sessions, st.sampled_from([SegmentType.CHECKPOINT, SegmentType.BLOCK_END]),
                        numbers, numbers, st.binary(max_size=40), st.integers(1, 1 << 40), numbers)  # fmt: skip
others = st.one_of(
    st.builds(ReportAck, sessions, numbers),
    st.builds(CancelSegment, sessions, st.booleans(), st.integers(0, 255)),
    st.builds(wire.CancelAck, sessions, st.booleans()),
    st.just(ReportSegment((1, 2), 3, 4, 5, 900, ((5, 6), (300, 900)))),
)


@given(plain | checkpoints | others)
def test_segments_round_trip_and_every_prefix_fails_cleanly(segment):
    data = bytes(segment)
    assert wire.parse(data) == segment
    for length in range(len(data)):
        with pytest.raises(ValueError):
            wire.parse(data[:length])


@given(st.binary(max_size=60))
def test_hostile_bytes_raise_nothing_but_value_error(data):
    engine = LtpEngine(2, LtpSettings(100), AnswerTimes(0, 0, 1))
    for _ in range(3):
        try:
            engine.receive(data, 0)
        except ValueError:
            return
        while (item := engine.take(0)) is not None:
            engine.sent(item, 0)
    assert engine.sessions <= 1


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=12))
def test_spans_are_sets_of_bytes(ranges):
    spans, truth = Spans([]), set()
    for first, size in ranges:
        spans.add(first, first + size)
        truth |= set(range(first, first + size))
    assert {at for low, high in spans.within(5, 70) for at in range(low, high)} == truth & set(range(5, 70))
    assert {at for low, high in spans.gaps(5, 70) for at in range(low, high)} == set(range(5, 70)) - truth
    assert all(a[1] < b[0] for a, b in zip(spans.ranges, spans.ranges[1:], strict=False))


# Loss


def test_any_one_or_two_packets_lost_either_way_and_the_block_arrives():
    clean = Pair()
    clean.ends[0].send(BLOCK, len(BLOCK), 0)
    clean.run()
    assert clean.delivered() and clean.count == [9, 1]
    # Repeats come after the first packets of each way: a few more places on either side of them.
    places = [(0, number) for number in range(12)] + [(1, number) for number in range(4)]
    for gone in [*combinations(places, 1), *combinations(places, 2)]:
        pair = Pair(lose=losing(*gone))
        pair.ends[0].send(BLOCK, len(BLOCK), 0)
        assert pair.run().delivered(), gone


@pytest.mark.parametrize("delay_s", [0.75, 1335.0])
@pytest.mark.parametrize(("loss", "burst"), [(0.3, 3.0), (0.02, 1.0)])
def test_what_is_reliable_arrives_or_names_its_fault(delay_s, loss, burst):
    model = GilbertElliottLoss(model="gilbert_elliott", loss=loss, mean_burst=burst)
    lost = [model.draw(np.random.default_rng(seed)) for seed in (3, 4)]
    pair = Pair(
        delay_s=delay_s, lose=lambda direction, _: lost[direction](), settings=LtpSettings(1400, loss=loss)
    )
    blocks = [np.random.default_rng(n).bytes(5000) for n in range(60)]
    for block in blocks:
        pair.ends[0].send(block, len(block), 0)
    assert pair.run().delivered(blocks)


def test_a_blackhole_in_turns_and_a_day_of_passes_leave_nothing_stuck():
    blackhole = [(at, at + 2.0) for at in range(0, 70_000, 7)]  # 5 s on, 2 s off: what goes out in it waits
    passes = [(600 + 7200 * n, 1200 + 7200 * n) for n in range(12)]
    rng = np.random.default_rng(7)
    for windows, delay_s in ((blackhole, 0.75), (passes, 0.75), (passes, 1335.0)):
        pair = Pair(delay_s=delay_s, windows=(windows, windows), lose=lambda *_: rng.random() < 0.1)
        blocks = [np.random.default_rng(n).bytes(4000) for n in range(40)]
        for block in blocks:
            pair.ends[0].send(block, len(block), 0)
        pair.run()
        faults = [event for end in (0, 1) for event in pair.events(end, "cancelled")]
        assert pair.sessions == [0, 0]
        assert len(pair.events(0, "delivered")) + len({event.session for event in faults}) == len(blocks)
        assert not faults, (windows[:2], delay_s)


def test_ten_per_cent_of_loss_cost_little_more_than_they_must():
    rng = np.random.default_rng(2)
    pair = Pair(lose=lambda *_: rng.random() < 0.1)
    for _ in range(100):
        pair.ends[0].send(BLOCK, len(BLOCK), 0)
    pair.run()
    assert pair.delivered([BLOCK] * 100)
    share = sum(len(data) for _, _, data in pair.log) / 1_000_000
    assert 1.08 < share < 1.17


def test_green_parts_are_sent_once():
    pair = Pair(lose=losing((0, 6), (0, 2)))
    pair.ends[0].send(BLOCK, 5000, 0)
    pair.run()
    assert [event.data for event in pair.events(1, "red")] == [BLOCK[:5000]]
    green = {event.offset: event.data for event in pair.events(1, "green")}
    assert {at: len(data) for at, data in green.items()} == {5000: 1400, 6400: 1400, 9200: 800}
    assert all(BLOCK[at : at + len(data)] == data for at, data in green.items())
    assert pair.sessions == [0, 0]


def test_what_stands_alone_is_never_cut_or_joined_with_its_neighbour():
    ends = [100, 250, 260, 5000, 5100, 10_000]
    pair = Pair(lose=losing((0, 1), (0, 2), (0, 5)))
    pair.ends[0].send(BLOCK, 5100, 0, ends)
    assert pair.run().sessions == [0, 0]
    first = [
        (0, 100),
        (100, 250),
        (250, 260),
        (260, 1660),
        (1660, 3060),
        (3060, 4460),
        (4460, 5000),
        (5000, 5100),
    ]
    green = [(5100, 6500), (6500, 7900), (7900, 9300), (9300, 10_000)]
    sent = [wire.parse(data) for _, end, data in pair.log if end == 0]
    told = [(item.offset, item.end) for item in sent if isinstance(item, DataSegment)]
    assert [place for place in told[: len(first)]] == first and [*told[len(first) :]] == [
        *green, (100, 250), (250, 260), (3060, 4460),
    ]  # fmt: skip
    pieces = [(event.offset, event.offset + len(event.data)) for event in pair.events(1, "piece")]
    assert sorted(pieces) == first, "each once, as soon as it is there"
    assert pieces[-3:] == [(100, 250), (250, 260), (3060, 4460)]
    assert [event.data for event in pair.events(1, "red")] == [BLOCK[:5100]]


def test_a_block_that_is_green_leaves_no_session_behind():
    for gone in ((), ((0, 7),)):
        pair = Pair(lose=losing(*gone))
        pair.ends[0].send(BLOCK, 0, 0)
        pair.run()
        assert len(pair.events(1, "green")) == 8 - len(gone)
        assert pair.sessions == [0, 0] and not pair.events(0, "cancelled")


def test_nobody_answers():
    pair = Pair(lose=lambda direction, _: direction == 1)
    pair.ends[0].send(BLOCK, len(BLOCK), 0)
    pair.run()
    assert [event.reason for event in pair.events(0, "cancelled")] == [Cancel.RETRANSMISSIONS]
    assert pair.sessions == [0, 0]
    pair = Pair(lose=lambda direction, _: direction == 0)
    pair.ends[0].send(BLOCK, len(BLOCK), 0)
    assert pair.run().sessions == [0, 0]


def test_the_user_cancels():
    pair = Pair()
    session = pair.ends[0].send(BLOCK, len(BLOCK), 0)
    pair.run(until_s=0.6)
    pair.ends[0].cancel(session, Cancel.BY_USER, pair.now)
    pair.run()
    for end in (0, 1):
        assert [event.reason for event in pair.events(end, "cancelled")] == [Cancel.BY_USER]
    assert pair.sessions == [0, 0] and not pair.events(1, "red")


# Light time and plans


def test_nothing_is_sent_again_while_the_far_end_is_out_of_sight():
    """The far end's contact closes before its report could leave; the next opens at 1,000 s."""
    far = [(0, 1.05), (1000, 2000)]
    pair = Pair(delay_s=1.0, windows=(None, far))
    pair.ends[0].send(BLOCK[:1000], 1000, 0)
    pair.run(until_s=999)
    assert len(pair.log) == 1
    assert pair.log[0][0] + S > 1.05 * S, "it arrives when the contact has closed"
    assert pair.ends[0].next_ns == 1000 * S + pair.answer + S
    assert pair.run().delivered([BLOCK[:1000]])


def test_the_deadline_of_an_answer_is_by_the_rule():
    sight = AnswerTimes(10, 20, 3, [(0, 100), (500, 600)])
    assert sight.answer_by(50) == 60 + 3 + 20
    assert sight.answer_by(87) == 97 + 3 + 20, "the last that fits"
    assert sight.answer_by(88) == 500 + 3 + 20, "the report would not be through before the contact ends"
    assert sight.answer_by(200) == 500 + 3 + 20
    assert sight.answer_by(588) is None
    assert sight.answer_by(700) is None
    assert sight.after(0, 100) == 520, "80 of the first contact, after the light that is under way, and 20"
    assert sight.after(590, 10) == 600, "the end of the plan"
    moving = AnswerTimes(lambda at: 10 + at // 10, lambda at: 5, 1)
    assert moving.answer_by(100) == 100 + 20 + 1 + 5


def test_no_contact_follows():
    pair = Pair(windows=(None, [(0, 0.5)]))
    pair.ends[0].send(BLOCK, len(BLOCK), 0)
    pair.run()
    assert [event.reason for event in pair.events(0, "cancelled")] == [Cancel.UNREACHABLE]
    assert pair.ends[0].sessions == 0


# What users of other engines ran into


def test_a_stray_segment_keeps_no_state():
    pair = Pair()
    stray = DataSegment((1, 9), SegmentType.RED, 1, 0, b"stray")
    pair.ends[1].receive(bytes(stray), 0)
    assert pair.ends[1].sessions == 1
    pair.run()
    assert pair.sessions == [0, 0]
    assert [event.reason for event in pair.events(1, "cancelled")] == [Cancel.RETRANSMISSIONS]


def test_reports_over_the_mtu_split_and_the_last_of_them_may_get_lost():
    have = Spans([(at, at + 100) for at in range(0, 20_000, 200)])
    parts = split_report((1, 1), 1, 0, 20_000, have, 60)
    assert max(len(bytes(part)) for part in parts) <= 60
    assert [part.lower for part in parts[1:]] == [part.upper for part in parts[:-1]]
    assert (parts[0].lower, parts[-1].upper) == (0, 20_000)
    assert [claim for part in parts for claim in part.claims] == have.ranges
    settings = LtpSettings(100, report_bytes=40)
    odd = lambda direction, number: direction == 0 and number % 2 and number < 99  # noqa: E731
    sizes = Pair(settings=settings, lose=odd)
    sizes.ends[0].send(BLOCK, len(BLOCK), 0)
    assert sizes.run().delivered()
    reports = [data for _, end, data in sizes.log if end == 1 and data[0] == SegmentType.REPORT]
    assert len(reports) > 10 and max(map(len, reports)) <= 40
    for gone in range(12):
        pair = Pair(
            settings=settings, lose=lambda d, n, gone=gone: odd(d, n) or (d, n) in ((1, gone), (1, gone + 1))
        )
        pair.ends[0].send(BLOCK, len(BLOCK), 0)
        assert pair.run().delivered(), gone


def test_reports_that_overtake_each_other_cause_no_second_resend():
    settings = LtpSettings(100, report_bytes=40)
    lose = lambda direction, number: direction == 0 and number % 2 and number < 99  # noqa: E731
    sent = []
    for jitter in (None, lambda direction, number: (direction == 1) * (7 - number % 7) * S // 100):
        pair = Pair(settings=settings, lose=lose, jitter=jitter)
        pair.ends[0].send(BLOCK, len(BLOCK), 0)
        assert pair.run().delivered()
        sent.append(sum(data[0] < 4 for _, end, data in pair.log if end == 0))
    assert sent[0] == sent[1] == 100 + 49


def test_two_colours_at_one_place_are_a_fault():
    engine = LtpEngine(2, LtpSettings(100), AnswerTimes(0, 0, 1))
    engine.receive(bytes(DataSegment((1, 1), SegmentType.GREEN, 1, 50, bytes(10))), 0)
    engine.receive(bytes(DataSegment((1, 1), SegmentType.RED, 1, 50, bytes(10))), 0)
    assert [event.reason for event in engine.events if event.kind == "cancelled"] == [Cancel.MISCOLORED]


def test_what_is_too_much_is_refused():
    engine = LtpEngine(2, LtpSettings(100, most_bytes=1000, most_sessions=2), AnswerTimes(0, 0, 1))
    engine.receive(bytes(DataSegment((1, 1), SegmentType.RED, 1, 995, bytes(10))), 0)
    assert engine.events[-1].reason == Cancel.BY_SYSTEM
    for number in range(2, 9):
        engine.receive(bytes(DataSegment((1, number), SegmentType.RED, 1, 0, bytes(10))), 0)
    assert engine.sessions == 2
    with pytest.raises(ValueError, match="red bytes"):
        engine.send(b"", 0, 0)
    with pytest.raises(ValueError, match="red bytes"):
        engine.send(b"x", 2, 0)


def test_tries_follow_the_loss():
    assert [tries(loss) for loss in (0.0, 0.02, 0.1, 0.3, 1.0)] == [5, 5, 6, 12, 64]
