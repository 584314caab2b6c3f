"""Which frame a packet is of: no packet alone moves the receiver far, and long outages are over at once."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import ToyDecoder, ToyEncoder, cores, sections, session

from link import fragment, packet, timing
from link.events import Fate
from link.fingerprint import fingerprint, short
from link.packet import Kind, Packet
from link.repair import fec
from receiver.window import AHEAD, FrameWindow

S = 1_000_000_000
LINK = {"mtu_bytes": 128, "hops": [{"name": "air", "rate_bps": 2000, "delay_s": 1}]}
ASKING = {**LINK, "repair": {"arq": True}, "return": {"rate_bps": 100}}


def packets_of(plan, number, count=3):
    """Return the packets of frame *number*, of *count* sections that fill one each."""
    bodies = fragment.fragment(sections(number, count, 105), timing.body_bytes(plan.link), number)
    low, key = number % packet.FRAMES, short(fingerprint(plan))
    return [
        Packet(Kind.DATA, low, index, body, last=index == len(bodies) - 1).pack(key)
        for index, body in enumerate(bodies)
    ]


class Feed:
    """Gives packets to a receiver, a second apart, and keeps what it says."""

    def __init__(self, link=LINK):
        self.plan, self.decoder = session(link, period_s=1, frame_bytes=400), ToyDecoder()
        _, self.receiver = cores(self.plan, 1, decoder=self.decoder)
        self.now, self.events, self.fates = 0, [], []

    def give(self, *data):
        self.now += S
        out = self.receiver.step(self.now, list(enumerate(data)))
        self.events += out.events
        self.fates += [Fate(fate) for _, fate in out.verdicts]
        return [Fate(fate) for _, fate in out.verdicts]

    def frame(self, number, count=3):
        return self.give(*packets_of(self.plan, number, count))

    def complete(self):
        return [event.frame for event in self.events if event.kind == "closed" and event.fields["complete"]]

    def others(self, kind):
        return {event.frame for event in self.events if event.kind == kind} - set(self.complete())


def forged(feed, number):
    """Return packets of frame *number* that nobody sent, with right checksums: of data, and of repair."""
    key = short(fingerprint(feed.plan))
    yield Packet(Kind.DATA, number, 2, b"\x83" + bytes(80)).pack(key)
    yield Packet(Kind.DATA, number, 0, b"\x80" + bytes(80), last=True).pack(key)
    yield Packet(Kind.FEC, number, 3, fec.head((3,)) + bytes(100), last=True).pack(key)


@pytest.mark.parametrize("link", [LINK, ASKING, {**ASKING, "repair": {"arq": True, "fec": 0.2}}])
@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("leap", [AHEAD - 5, 500, 5000, 15_000])
def test_a_forged_packet_far_ahead_renumbers_nothing(link, which, leap):
    feed = Feed(link)
    for number in range(4):
        feed.frame(number)
    feed.give(list(forged(feed, 4 + leap))[which])
    for number in range(4, 30):
        assert set(feed.frame(number)) <= {Fate.DELIVERED, Fate.DUPLICATE}
    assert feed.complete() == list(range(30))
    assert [payload.sections for payload in feed.decoder.payloads if payload.complete] == [
        sections(number, 3, 105) for number in range(30)
    ]
    if leap > AHEAD:
        assert not feed.others("nak") and not feed.others("decoded"), "nothing is done about what was forged"


def test_a_copy_does_not_speak_for_a_packet():
    feed = Feed()
    feed.frame(0)
    lone = packets_of(feed.plan, 5000)[1]
    assert feed.give(lone) == [Fate.DELIVERED]
    assert feed.give(lone, lone) == [Fate.DUPLICATE] * 2
    assert feed.receiver._window.newest == 0
    feed.frame(1)
    assert feed.complete() == [0, 1]


@pytest.mark.parametrize("link", [LINK, ASKING])
@pytest.mark.parametrize("gap", [10, AHEAD, AHEAD + 1, 1000, 9000, 15_000])
def test_after_an_outage_frames_are_shown_at_once(link, gap):
    feed = Feed(link)
    numbers = [0, 1, 1 + gap, 2 + gap]
    for number in numbers:
        feed.frame(number)
        assert feed.complete()[-1] == number
    assert feed.complete() == numbers


def test_a_frame_of_one_packet_needs_no_other():
    feed = Feed()
    for number in (0, 5000, 14_000):
        feed.frame(number, 1)
        assert feed.complete()[-1] == number


def test_the_only_packet_that_is_left_of_a_frame_is_taken_with_the_next_frame():
    """What came after the outage and had to wait is not lost."""
    feed = Feed(ASKING)
    feed.frame(0)
    lone = packets_of(feed.plan, 3000)
    assert feed.give(lone[1]) == [Fate.DELIVERED]
    assert feed.complete() == [0]
    feed.frame(3001)
    feed.give(lone[0], lone[2])
    assert feed.complete() == [0, 3001, 3000]


def test_one_forged_packet_does_not_hinder_the_end_of_an_outage():
    feed = Feed()
    feed.frame(0)
    for number in (14_000, 2000, 8000):
        feed.give(*list(forged(feed, number))[:1])
    feed.frame(4000)
    assert feed.complete() == [0, 4000]


@pytest.mark.parametrize("link", [LINK, ASKING])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("gap", [16_000, 20_000, 40_000, 65_000])
def test_beyond_what_the_wire_can_number_the_first_whole_frame_tells(link, count, gap):
    feed = Feed(link)
    feed.frame(0, count)
    for number in range(gap, gap + 4):
        feed.frame(number, count)
    assert feed.complete() == [0, *range(gap, gap + 4)]
    assert not feed.others("damaged")


def test_an_outage_that_no_number_tells_shows_nothing_as_another_frame():
    feed = Feed()
    feed.frame(0)
    feed.frame(200_000)
    assert feed.complete() == [0]
    assert feed.others("damaged") == {200_000 % packet.FRAMES}


@pytest.mark.parametrize("link", [LINK, ASKING, {**ASKING, "repair": {"arq": True, "fec": 0.2}}])
@pytest.mark.parametrize("leap", [2000, 5000, 15_000])
def test_forged_packets_that_speak_for_each_other_lead_astray_for_a_frame_or_two(link, leap):
    feed = Feed(link)
    for number in range(4):
        feed.frame(number)
    feed.give(*forged(feed, 4 + leap))
    for number in range(4, 30):
        feed.frame(number)
    assert set(feed.complete()) >= set(range(6, 30)) and set(feed.complete()) <= set(range(30))


packets = st.builds(
    Packet,
    kind=st.sampled_from([Kind.DATA, Kind.FEC]),
    frame=st.integers(0, packet.FRAMES - 1),
    index=st.integers(0, 5),
    body=st.binary(max_size=12),
    last=st.booleans(),
)


@given(st.integers(-1, 40_000), packets, st.integers(1, 5))
def test_one_packet_and_its_copies_move_the_window_by_so_much_at_most(newest, item, copies):
    window = FrameWindow()
    window.newest = newest
    for _ in range(copies):
        for taken in window.place(item) or ():
            assert window.number(taken) <= newest + AHEAD


@given(st.lists(packets, max_size=60))
def test_what_waits_is_bounded_and_taken_once(items):
    window, given_out = FrameWindow(), []
    for item in items:
        placed = window.place(item)
        if placed:
            assert placed[-1] is item
            given_out += [id(each) for each in placed]
            for each in placed:
                assert window.number(each) % packet.FRAMES == each.frame
                window.newest = max(window.newest, window.number(each))
        assert len(window._held) <= 16
    assert len(given_out) == len(set(given_out)) <= len({id(item) for item in items})


def test_feedback_about_a_frame_that_was_not_sent_changes_nothing():
    plan = session(ASKING, period_s=1, frame_bytes=400)
    sender, receiver = cores(plan, 3, ToyEncoder(3, 105))
    made = [sender.step(number * S, []).packets for number in range(3)]
    key = short(fingerprint(plan))
    ahead = [
        Packet(Kind.FEEDBACK, low, 0, body).pack(key)
        for low in (3, 9000, 16_383)
        for body in (b"", b"\0\0\0")
    ]
    out = sender.step(3 * S, list(enumerate(ahead)))
    assert [Fate(fate) for _, fate in out.verdicts] == [Fate.DEADLINE] * 6
    assert not out.packets and not out.events
    receipts = receiver.step(3 * S, list(enumerate(chain(*made)))).packets
    out = sender.step(4 * S, list(enumerate(receipts)))
    assert [event.frame for event in out.events if event.kind == "acknowledged"] == [0, 1, 2]
