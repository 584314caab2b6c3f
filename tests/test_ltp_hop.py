"""Hops that speak LTP: what is red arrives or its fault is named, what that costs to the byte, and who says what is red."""

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import toys
from campaigns import seed, sizes
from test_channel import drain
from test_metrics import measure
from test_protection import gsc_encoder
from test_sequenced import accounted

from link.channel.channel import Channel
from link.channel.ltp_hop import LtpHop
from link.channel.path import exchange_loss, path_loss
from link.config import Session
from link.errors import UsageError
from link.events import Fate
from link.hops import Link
from link.journal import digest
from link.packet import Kind, Packet, peek
from link.repair.ltp_segments import DataSegment, ReportAck, ReportSegment, parse
from link.repair.ltp_sessions import tries
from link.repair.sight import InTurn, Listed
from link.retransmit import LtpRetransmit, Retransmit
from link.timing import times
from scenarios import schema
from scenarios.report import packets as inspection
from scenarios.report import pcap
from scenarios.results import traffic
from sender.protection import count_red

S = 1_000_000_000
RED, GREEN = 1, 2  # classes of service
FAULTS = (Fate.NO_ANSWER, Fate.CANCELLED)
BURSTS = {"model": "gilbert_elliott", "loss": 0.3, "mean_burst": 3}
DAY = {"hold": True, "windows_s": [[0, 600], *([1200 + 7200 * n, 7800 + 7200 * n] for n in range(11))]}
TROUBLES: dict[str, dict[str, Any]] = {
    "30 % in bursts of 3": {"loss": BURSTS},
    "10 %": {"loss": {"model": "bernoulli", "loss": 0.1}},
    "2 %": {"loss": {"model": "bernoulli", "loss": 0.02}},
    "blackhole": {"outage": {"up_s": 5, "down_s": 2}},
    "5 s on, 2 s held": {"outage": {"up_s": 5, "down_s": 2, "hold": True}},
    "a day of passes": {"outage": DAY},
    "bursts in a blackhole": {"loss": BURSTS, "outage": {"up_s": 5, "down_s": 2}},
    "bursts over a day of passes": {"loss": BURSTS, "outage": DAY},
}


def packet_of(level, size=200, number=0):
    return Packet(Kind.DATA, number, 0, bytes([number % 256]) * (size - 8), level).pack(0)


class Hopped:
    """What became of *packets* on one hop; *gap_s* lies between them."""

    def __init__(self, packets, *, number=1, gap_s=0.0, steps=(), retransmit="ltp", mtu_bytes=1500, **hop):
        about = {"name": "near", "rate_bps": 16000, "delay_s": 0.75, "retransmit": retransmit, **hop}
        self.data, self.arrivals = [], []
        steered = bool(steps)
        self.link = Channel(
            Link.model_validate({"hops": [about], "mtu_bytes": mtu_bytes}),
            number,
            {},
            self.data,
            steered=steered,
        )
        for at, data in enumerate(packets):
            self.advance(round(at * gap_s * S) - 1)  # what comes at one instant is there when it is looked at
            self.link.send(data, round(at * gap_s * S))
        for turn, (at, change) in enumerate(steps, 1):
            self.advance(at)
            changed = {"hops": [{**about, **change}], "mtu_bytes": mtu_bytes}
            self.link.adjust(Link.model_validate(changed), turn, at)
        self.arrivals += drain(self.link)
        accounted(self.link, self.data)
        self.sent = {row[1]: row[0] for row in self.link.rows if row[2] == Fate.SENT}
        self.ends = {row[1]: Fate(row[2]) for row in self.link.rows if Fate(row[2]).is_drop}
        self.across = [arrival[1] for arrival in self.arrivals]
        births = [row for row in self.link.rows if row[2] in (Fate.REPEATED, Fate.REPORTED, Fate.SEGMENT)]
        self.own = [(row[1], Fate(row[2]), data) for row, data in zip(births, self.data, strict=True)]

    def advance(self, until):
        while (when := self.link.next_ns) is not None and when <= until:
            self.arrivals += [(when, *arrival) for arrival in self.link.advance(when)]

    @property
    def segments(self):
        return [parse(data) for _, fate, data in self.own if fate in (Fate.SEGMENT, Fate.REPORTED)]

    @property
    def air_bytes(self):
        """On the air, both ways."""
        own = sum(len(data) for _, fate, data in self.own if fate != Fate.REPEATED)
        if any(fate == Fate.SEGMENT for _, fate, _ in self.own):
            return own
        repeats = sum(len(data) for _, fate, data in self.own if fate == Fate.REPEATED)
        return own + repeats + 200 * len(self.across)

    def check_settled(self):
        """Each packet is across once or has one named end, and no session is open at the near side."""
        for number in self.sent:
            assert self.across.count(number) + (number in self.ends) == 1
        (hop,) = self.link._hops
        if isinstance(hop, LtpHop):
            assert hop._near.sessions == 0 and hop._next is None and not len(hop._queue) and hop._unsent == 0
            assert all(block.over for block in hop._blocks.values())
        return self


# What arrives


@sizes(1, 40)
@pytest.mark.parametrize("delay_s", [0.75, 1335.0])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_is_red_arrives_or_names_its_fault(request, trouble, delay_s, size):
    about = TROUBLES[trouble]
    back = {"loss": about["loss"]} if "loss" in about else {}
    packets = [packet_of(RED, number=number) for number in range(500 if size > 1 else 150)]
    passes = about.get("outage") is DAY
    first = seed(request)
    lost = 0
    for number in range(first, first + size):
        ways = {
            name: Hopped(packets, number=number, delay_s=delay_s, gap_s=120.0 if passes else 0.0, mtu_bytes=256,
                         retransmit=retransmit, **about).check_settled()
            for name, retransmit in (("ltp", {"protocol": "ltp", **back}), ("sequence", back))
        }  # fmt: skip
        ltp = ways["ltp"]
        assert {ltp.ends[packet] for packet in ltp.sent if packet in ltp.ends} <= {*FAULTS}
        lost += len(packets) - len(ltp.across)
        for name, way in ways.items():
            print(f"{trouble}, {delay_s} s, {name}: {len(way.across) / len(packets):.3f} across, "
                  f"{way.air_bytes / (200 * len(packets)):.2f} x, over at {way.link._env.now / S:.0f} s")  # fmt: skip
    # The chance that a checkpoint is given up is one in a million, in a burst a little more.
    assert lost == 0 or (size > 1 and lost < 0.01 * size * len(packets))


def test_any_one_or_two_segments_lost_either_way_and_the_red_part_arrives():
    packets = [packet_of(RED if number < 5 else GREEN, number=number) for number in range(7)]
    places = [(0, number) for number in range(11)] + [(1, number) for number in range(4)]
    for gone in [*combinations(places, 1), *combinations(places, 2)]:
        marks = [["."] * 200, ["."] * 200]
        for way, number in gone:
            marks[way][number] = "x"
        out, back = ({"model": "pattern", "pattern": "".join(mark)} for mark in marks)
        found = Hopped(packets, loss=out, retransmit={"protocol": "ltp", "loss": back}).check_settled()
        assert {*range(5)} <= {*found.across}, gone
        dropped = {packet: found.ends[packet] for packet in found.sent if packet in found.ends}
        # The green ones are sixth and seventh, once each.
        assert dropped == {number: Fate.CHANNEL_LOSS for way, number in gone if way == 0 and number in (5, 6)}


@pytest.mark.parametrize(("mtu", "least", "most"), [(256, 1.15, 1.35), (1400, 1.08, 1.25)])
def test_ten_per_cent_of_loss_cost_at_most_a_third_more(tmp_path, mtu, least, most):
    """On the air, both ways, all headers included, by the bytes of the sections that the encoder made."""
    hop = {
        "name": "near", "rate_bps": 16000, "delay_s": 2.0, "loss": {"model": "bernoulli", "loss": 0.1},
        "retransmit": {"protocol": "ltp", "loss": {"model": "bernoulli", "loss": 0.1}},
    }  # fmt: skip
    plan = toys.session({"hops": [hop], "mtu_bytes": mtu, "repair": {"red": 1.0}}, frame_bytes=10_000)
    found = toys.run(plan, tmp_path / "run.mcap", 30, toys.ToyEncoder(8, 1250))
    told = measure(found)
    assert told["frames"]["complete"] == 30
    share = told["bytes"]["on_air"] / sum(event["sections"][0] * 8 for event in toys.kinds(found, "encoded"))
    print(f"mtu {mtu}: {share:.3f}")
    assert least < share < most
    assert told["bytes"]["feedback"] == sum(item.size_bytes for item in _own(found) if item.kind == "report")


def _own(found):
    return traffic.by_hops(found, traffic.packets(found))


def test_nobody_answers_and_the_fault_has_a_name():
    silent = {"protocol": "ltp", "loss": {"model": "pattern", "pattern": "x"}}
    packets = [packet_of(RED, number=number) for number in range(4)]
    found = Hopped(packets, retransmit=silent).check_settled()
    assert sorted(found.across) == [0, 1, 2, 3], "only the answers are lost"
    found = Hopped(packets, loss={"model": "pattern", "pattern": "x"}).check_settled()
    assert [found.ends[number] for number in range(4)] == [Fate.NO_ANSWER] * 4
    checkpoints = [s for s in found.segments if isinstance(s, DataSegment) and s.checkpoint]
    assert len(checkpoints) == tries(0.95) == 64
    assert found.link.next_ns is None


# To the byte and to the nanosecond


def test_ten_thousand_bytes_cost_73_bytes_of_headers_on_the_hop():
    sizes_ = [1400] * 7 + [200]
    found = Hopped([packet_of(RED, size, number) for number, size in enumerate(sizes_)])
    data = [data for _, fate, data in found.own if fate == Fate.SEGMENT]
    assert [len(item) for item in data] == [1408, *[1409] * 6, 211]
    control = [data for _, fate, data in found.own if fate == Fate.REPORTED]
    assert [len(item) for item in control] == [13, 5]
    assert [type(parse(item)) for item in control] == [ReportSegment, ReportAck]
    assert found.air_bytes == 10_073 + 13 + 5


def test_a_packet_goes_on_as_soon_as_it_is_across():
    found = Hopped(
        [packet_of(RED, 192, number) for number in range(3)],
        loss={"model": "pattern", "pattern": ".x..." * 9},
    )
    # 200, 201 and 203 bytes at 16 kbit/s, 0.75 s out; a report of 17 bytes; its acknowledgement of 5, 203 bytes again.
    report_ns = 302_000_000 + 750_000_000 + 8_500_000 + 750_000_000
    assert [(packet, when) for when, packet, *_ in found.arrivals] == [
        (0, 850_000_000), (2, 1_052_000_000), (1, report_ns + 2_500_000 + 101_500_000 + 750_000_000),
    ]  # fmt: skip


def test_nothing_is_sent_again_while_the_far_side_is_out_of_sight():
    """The contact closes when the last bit is out; the report comes with the next one, and nobody asks for it again."""
    outage = {"windows_s": [[0.2, 1000]], "hold": True}
    found = Hopped([packet_of(RED, 192)], outage=outage)
    assert [type(segment) for segment in found.segments] == [DataSegment, ReportSegment, ReportAck]
    report = next(row for row in found.link.rows if row[2] == Fate.REPORTED)
    (hop,) = found.link._hops
    assert isinstance(hop, LtpHop)
    sent = hop._near.sight.answer_by(101_500_000)
    # Two reports of the MTU at 16 kbit/s are waited for, from the next contact on.
    assert sent == 1000 * S + 1_500_000_000 + 750_000_000
    assert report[0] <= 1000 * S + 1
    again = [row for row in found.link.rows if row[2] == Fate.SEGMENT]
    assert len(again) == 1


def test_windows_in_turn_are_those_of_a_list():
    for up, down, at, span in np.random.default_rng(5).integers(1, 200, (500, 4)).tolist():
        turns = InTurn(up, down)
        listed = Listed([(n * (up + down), n * (up + down) + up) for n in range(600)])
        assert turns.open_for(at, span) == listed.open_for(at, span)
        assert next(turns.after(at)) == next(listed.after(at))


def test_a_blackout_that_nobody_knows_of_is_outlasted():
    for at_s in (0.0, 3.0, 1000.0):
        outage = {"windows_s": [[at_s, at_s + 3600]]}
        found = Hopped([packet_of(RED, number=number) for number in range(30)], outage=outage).check_settled()
        assert sorted(found.across) == [*range(30)]


# Blocks, colours, stores


def test_what_waits_together_is_a_block_and_red_goes_first():
    packets = [packet_of(GREEN if number % 2 else RED, 200, number) for number in range(6)]
    found = Hopped(packets)
    assert found.across == [0, 2, 4, 1, 3, 5]
    assert {segment.session for segment in found.segments} == {(1, 1)}
    small = Hopped(packets, retransmit={"protocol": "ltp", "block_bytes": 450})
    blocks = Counter(s.session[1] for s in small.segments if isinstance(s, DataSegment))
    assert blocks == {1: 2, 2: 2, 3: 2}
    assert len(small.across) == 6
    green = Hopped([packet_of(GREEN, 200, number) for number in range(6)])
    assert green.across == [*range(6)] and len(green.segments) == 6, "nothing is answered"


def test_a_hop_is_adjusted_while_blocks_are_on_their_way():
    steps = [
        (1 * S, {"rate_bps": 4000, "delay_s": 3.0, "loss": BURSTS}),
        (9 * S, {"outage": {"windows_s": [[20, 500]], "hold": True}, "rate_bps": 800}),
        (300 * S, {"outage": None, "rate_bps": 16000, "delay_s": 0.1}),
    ]
    found = Hopped([packet_of(RED, number=number) for number in range(60)], steps=steps).check_settled()
    assert sorted(found.across) == [*range(60)]
    quiet = [arrival[0] / S for arrival in found.arrivals if 23.5 < arrival[0] / S < 300]
    assert not quiet, "the outage holds what waits until it is taken away"


def stores(**near):
    """Two nodes: a hop with LTP in contacts, and a plain one much later."""
    hops = [
        {
            "name": "near",
            "between": ["a", "b"],
            "rate_bps": 8000,
            "delay_s": 1.0,
            "retransmit": "ltp",
            **near,
        },
        {
            "name": "late",
            "between": ["a", "b"],
            "rate_bps": 8000,
            "delay_s": 1.0,
            "contacts_s": [[5000, 6000]],
        },
    ]
    return {"hops": hops, "nodes": [{"name": "a"}, {"name": "b"}], "mtu_bytes": 256}


@pytest.mark.parametrize("near", [
    {"contacts_s": [[10, 60], [700, 760], [2000, 2100]], "loss": BURSTS},
    {"contacts_s": [[10, 60], [100, 160]], "loss": {"model": "pattern", "pattern": "x"}},
    {"contacts_s": [[10, 11], [20, 21]], "delay_s": 30.0, "loss": BURSTS},
])  # fmt: skip
def test_what_a_hop_gives_up_goes_another_way(near):
    data = []
    link = Channel(Link.model_validate(stores(**near)), 1, {}, data)
    for number in range(40):
        link.send(packet_of(RED, number=number), 0)
    came = drain(link)
    assert sorted(arrival[1] for arrival in came) == [*range(40)]
    accounted(link, data)
    late = sum(row[2] == Fate.CROSSED and row[3] == 1 for row in link.rows)
    if near["loss"] is BURSTS and "delay_s" not in near:
        assert late == 0, "custody is kept from contact to contact"
    else:
        assert late > 0
    segments = [row[0] / S for row in link.rows if row[2] == Fate.SEGMENT]
    assert all(any(a <= at <= b for a, b in near["contacts_s"]) for at in segments)
    for node in link._network._nodes:  # but for what a plain hop was given
        assert node._bytes == sum(size for _, size in node._leaving) <= 200 * late


def test_blocks_between_nodes_are_of_many_packets():
    link = Channel(Link.model_validate(stores(contacts_s=[[10, 400]])), 1, {}, data := [])
    for number in range(100):
        link.send(packet_of(RED, number=number), 0)
    assert len(drain(link)) == 100
    sessions = Counter(segment.session for segment in map(parse, data) if isinstance(segment, DataSegment))
    assert max(sessions.values()) > 50


# What a sender calls red, and what people see of it


class Weighed:
    """An encoder whose sections are worth .5, .3, .1 and the rest nothing."""

    def encode(self, frame):
        return toys.ToyEncoder(9, 60).encode(frame)

    def gains(self, sections):
        return (0.5, 0.3, 0.1, *(0.0 for _ in range(sections)))[:sections]


def ltp_session(red, **more) -> Session:
    hop = {
        "name": "near", "rate_bps": 8000, "delay_s": 1.0, "retransmit": "ltp",
        "loss": {"model": "bernoulli", "loss": 0.3}, **more,
    }  # fmt: skip
    repair = {"fec": 0.2} | ({} if red is None else {"red": red})
    link = {"hops": [hop], "mtu_bytes": 84, "repair": repair}
    return toys.session(link, frame_bytes=600, period_s=20.0)


@pytest.mark.parametrize(
    ("red", "encoder", "levels"),
    [
        (None, Weighed(), "112222222"), (0.5, Weighed(), "122222222"), (0.9, Weighed(), "111222222"),
        (0.0, Weighed(), "222222222"), (1.0, Weighed(), "111111111"),
        (None, toys.ToyEncoder(9, 60), "111111112"), (0.3, toys.ToyEncoder(9, 60), "111222222"),
    ],
)  # fmt: skip
def test_the_first_packets_that_have_the_worth_are_red(tmp_path, red, encoder, levels):
    plan = ltp_session(red)
    found = toys.run(plan, tmp_path / "run.mcap", 2, encoder)
    sent = [item for item in traffic.packets(found) if item.frame == 0]
    told = "".join(str(peek(found.data[item.number]).priority) for item in sent if item.kind == Kind.DATA)
    assert told[:9] == levels and set(told[9:]) <= {levels[-1]}  # the hash may need one more
    assert all(peek(found.data[item.number]).priority == 3 for item in sent if item.kind == Kind.FEC)
    for item in sent:
        if peek(found.data[item.number]).priority < 2:
            assert item.end == Fate.DELIVERED


def test_worth_that_is_all_in_one_place():
    class Nothing(Weighed):
        def gains(self, sections):
            return (0.0,) * sections

    bodies = [bytes([0x80 | number, 7]) for number in range(4)] + [bytes([0x84, 7, *bytes(8)])]
    assert count_red(Nothing(), 0.5, 5, bodies) == 3, "each is worth the same"
    assert count_red(Weighed(), 1e-6, 5, bodies) == 1
    assert count_red(Weighed(), 0.999, 5, bodies) == 3


def test_of_gsc_the_caption_and_the_first_channels_are_red():
    # The caption and eight channels, a packet each, the last with the hash.
    bodies = [*(bytes([0x80 | section, 7]) for section in range(8)), bytes([0x88, 7, *bytes(8)])]
    counts = [count_red(gsc_encoder(), share, 9, bodies) for share in (0.01, 0.5, 0.8, 0.95)]
    assert counts[0] >= 2, "what a caption would show counts for the first channel"
    assert counts == sorted(counts) and counts[2] == 3 and counts[3] < 9
    assert count_red(gsc_encoder(table=False), 1.0, 9, bodies) == 9, "which needs no table"


def test_a_run_is_listed_captured_and_the_same_again(tmp_path):
    plan = ltp_session(0.5, bit_error_rate=1e-4)
    found = toys.run(plan, tmp_path / "run.mcap", 4)
    toys.run(plan, tmp_path / "again.mcap", 4)
    assert digest(tmp_path / "run.mcap") == digest(tmp_path / "again.mcap")
    text = "\n".join(inspection.lines(found))
    for words in ("near: red of session 1", "near: green end of session", "near: report of session 1",
                  "near: report ack of session 1", "a try of near that failed"):  # fmt: skip
        assert words in text, words
    packets, size = pcap.export(found, tmp_path / "run.pcap")
    assert size == measure(found)["bytes"]["on_air"]
    records = pcap.on_air(found)
    assert packets == len(records) and all(parse(data) for _, _, data in records)
    told = measure(found)["hops"]["near"] if "hops" in measure(found) else traffic.traffic(found).hops["near"]
    assert told["segments"]["sent"] == sum(isinstance(parse(data), DataSegment) for _, _, data in records)
    assert told["reports"]["bytes"] > 0 < told["repeats"]["bytes"]


# Scenarios


def link_of(**repair):
    hop = {"name": "a", "rate_bps": 1000, "delay_s": 10.0, "retransmit": "ltp", "loss": BURSTS}
    return {"hops": [hop], "mtu_bytes": 128, "repair": repair}


def test_ltp_is_spelled_short_and_written_in_full():
    link = Link.model_validate(link_of())
    assert link.hops[0].retransmit == LtpRetransmit(protocol="ltp") and link.red == 0.8
    written = link.model_dump(mode="json")
    assert written["hops"][0]["retransmit"]["protocol"] == "ltp" and "red" not in written["repair"]
    assert Link.model_validate({key: value for key, value in written.items() if key != "return_"}) == link
    other = Link.model_validate({"hops": [{"name": "a", "rate_bps": 1000, "retransmit": {}}]})
    assert other.hops[0].retransmit == Retransmit() and other.red == 0.0 and not other.has_ltp
    assert path_loss(link) == pytest.approx(0.3) and path_loss(Link.model_validate(link_of(red=1.0))) == 0.0


@pytest.mark.parametrize(("setting", "said"), [
    ("link.hops.0.retransmit=x", "link.hops.0.retransmit.protocol: input should be 'ltp', not 'x'"),
    ("link.hops.0.retransmit={protocol: ltp, tries: 3}", "link.hops.0.retransmit: unknown key 'tries'"),
    ("link.hops.0.retransmit={protocol: ltp, block_bytes: 0}", "link.hops.0.retransmit.block_bytes: input should be"),
    ("link.hops.0.retransmit={tries: 1}", "link.hops.0.retransmit.tries: input should be"),
    ("link.repair.red=0.5", "repair.red needs a hop with retransmit: ltp"),
    ("link.repair.red=1.5", "link.repair.red: input should be less"),
])  # fmt: skip
def test_settings_that_are_none_are_refused_in_a_line(setting, said):
    with pytest.raises(UsageError, match="mars-relay") as error:
        schema.load("mars-relay", [setting])
    assert said in str(error.value) and "\n" not in str(error.value)


def test_waits_have_room_for_all_tries():
    plan = toys.session(link_of())
    hop = plan.link.hops[0]
    assert isinstance(hop.retransmit, LtpRetransmit)
    loss = exchange_loss(hop, hop.retransmit, 144, 1000.0)
    assert loss == pytest.approx(0.3)
    waits = times(plan, {})
    assert (tries(loss) - 1) * 20 * S < waits.jitter_ns < waits.deadline_ns and not waits.in_order
