import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from link.repair import arq, fec
from link.repair.arq import AskTimer, Outbox, RepairRequest

body_lists = st.lists(st.binary(max_size=120), min_size=1, max_size=40)


@settings(deadline=None)
@given(body_lists, st.integers(1, 20), st.data())
def test_any_k_plus_2_of_the_packets_suffice(bodies, spare, data):
    total = len(bodies)
    # The frames of the block: cut anywhere, empty ones among them.
    cuts = sorted(data.draw(st.lists(st.integers(0, total), max_size=3)))
    counts = tuple(b - a for a, b in itertools.pairwise([0, *cuts, total]))
    made = fec.encode(counts, bodies, spare)
    assert all(fec.split(body)[0] == counts for body in made)
    symbols = {number: fec.split(body)[1] for number, body in enumerate(made)}
    keep = data.draw(st.sets(st.integers(0, total + spare - 1), min_size=min(total + 2, total + spare)))
    have = {place: body for place, body in enumerate(bodies) if place in keep}
    found = fec.decode(total, have, {n: body for n, body in symbols.items() if total + n in keep})
    if len(have) == total and not any(place >= total for place in keep):
        return
    if len(keep) >= total + 2:  # RFC 6330: one in 16 million fails with two more than needed
        assert found == dict(enumerate(bodies))
    elif found is not None:
        assert found == dict(enumerate(bodies))


@pytest.mark.parametrize(
    ("counts", "size"),
    [((2,), 2), ((15, 1), 2), ((1, 2, 3), 3), ((3,) * 8, 5), ((16,), 2), ((127, 3), 3), ((1000,), 3)],
)
def test_the_head_of_a_repair_body(counts, size):
    head = fec.head(counts)
    assert len(head) == size
    assert fec.split(head + b"symbol") == (counts, b"symbol", None)
    for length in range(len(head) + 1):
        with pytest.raises(ValueError):
            fec.split(head[:length])


def test_repair_bodies_of_one_frame_cost_three_bytes_more_than_the_longest():
    repair = fec.encode((2,), [b"a" * 100, b"b" * 7], 2)
    assert [len(body) for body in repair] == [103, 103]


def test_too_few_packets_give_nothing():
    bodies = [bytes([n]) * 30 for n in range(10)]
    repair = {n: fec.split(body)[1] for n, body in enumerate(fec.encode((10,), bodies, 3))}
    assert fec.decode(10, dict(enumerate(bodies[:6])), repair) is None
    assert fec.decode(10, {}, {}) is None


def test_bodies_that_do_not_fit_together_give_nothing():
    bodies = [bytes([n]) * 30 for n in range(4)]
    symbols = [fec.split(body)[1] for body in fec.encode((4,), bodies, 4)]
    assert fec.decode(4, {0: bytes(200)}, dict(enumerate(symbols))) is None
    assert fec.decode(4, {9: b"x"}, dict(enumerate(symbols))) is None
    assert fec.decode(4, {}, {0: symbols[0], 1: symbols[1][:-1], 2: symbols[2], 3: symbols[3]}) is None


@settings(deadline=None)
@given(
    st.binary(max_size=60),
    st.integers(1, 40),
    st.dictionaries(st.integers(0, 1023), st.binary(max_size=40), max_size=12),
    st.dictionaries(st.integers(0, 1023), st.binary(min_size=1, max_size=42), min_size=1, max_size=12),
)
def test_hostile_bodies_never_raise_anything_but_value_error(body, total, data, repair):
    try:
        counts, _, _ = fec.split(body)
    except ValueError:
        pass
    else:
        assert 0 < len(counts) <= fec.MAX_FRAMES and max(counts) <= 1024
    found = fec.decode(total, data, repair)
    assert found is None or all(isinstance(body, bytes) for body in found.values())


def repairs(builder, sizes, next_ns=0):
    """Add frames of bodies of *sizes* and return (frames of the block, repair packets) for each block."""
    blocks = []
    for frame, frame_sizes in enumerate(sizes):
        for made in builder.add(frame, [bytes(size) for size in frame_sizes], 0, next_ns):
            if made is not None:
                blocks.append((made.frame, len(fec.split(made.bodies[0])[0]), len(made.bodies)))
    return blocks


def test_a_block_reaches_as_far_as_its_share_needs():
    # 3 x 108 bytes a frame, a fifth of which is 64.8; a repair packet is 111 or 112.
    builder = fec.BlockBuilder(0.2, 8, 120, 8, 10)
    assert repairs(builder, [(100, 100, 100)] * 6) == [(1, 2, 1), (3, 2, 1), (5, 2, 1)]
    # Where a frame pays for its repair packets it is a block, and what is left over is not lost.
    assert repairs(fec.BlockBuilder(0.25, 8, 120, 8, 10), [(100,) * 10] * 3) == [
        (0, 1, 2),
        (1, 1, 2),
        (2, 1, 3),
    ]
    # No more than so many frames, whatever it costs.
    assert repairs(fec.BlockBuilder(0.01, 8, 120, 3, 10), [(50,)] * 7) == [(2, 3, 1), (5, 3, 1)]
    assert repairs(fec.BlockBuilder(0.01, 8, 120, 1, 10), [(50,)] * 2) == [(0, 1, 1), (1, 1, 1)]
    # Nor longer than that.
    assert repairs(fec.BlockBuilder(0.01, 8, 120, 8, 10), [(50,)] * 2, next_ns=11) == [(0, 1, 1), (1, 1, 1)]


def test_a_repair_body_keeps_to_its_room():
    builder = fec.BlockBuilder(0.01, 8, 104, 100, 10)
    # Four frames have a head of 3 bytes and one of padding; the head of five would not fit.
    assert repairs(builder, [(100,)] * 9) == [(3, 4, 1), (7, 4, 1)]
    for frame in range(20):
        for made in builder.add(frame, [bytes(100)], 0, 0):
            assert made is None or max(map(len, made.bodies)) <= 104
    assert max(map(len, builder.flush().bodies)) <= 104
    assert builder.flush() is None


def test_more_packets_than_a_frame_may_have_are_refused():
    with pytest.raises(ValueError, match="at most 1024"):
        fec.encode((1000,), [b"x"] * 1000, 30)


requests = st.builds(
    lambda missing, tail, enough: RepairRequest(
        tuple(sorted(missing)), None if tail is None else max(missing, default=-1) + 1 + tail, enough
    ),
    st.sets(st.integers(0, 600), max_size=30),
    st.none() | st.integers(0, 50),
    st.integers(0, 40),
).filter(lambda request: not request.complete)


@given(requests)
def test_requests_round_trip(request):
    assert arq.parse(request.pack(1000)) == request


@given(requests, st.integers(6, 40))
def test_a_request_cut_to_its_room_keeps_the_first_wishes(request, room):
    body = request.pack(room)
    assert len(body) <= room
    if len(body) > 1:
        cut = arq.parse(body)
        assert cut.missing == request.missing[: len(cut.missing)]


def test_an_ack_is_an_empty_body():
    assert RepairRequest(()).pack(10) == b""
    assert arq.parse(b"").complete


@given(st.binary(max_size=60))
def test_hostile_feedback_is_refused_or_bounded(body):
    try:
        request = arq.parse(body)
    except ValueError:
        return
    assert len(request.missing) <= 1024
    assert all(0 <= index < 1024 for index in request.missing)


@pytest.mark.parametrize(
    "body", [b"\x00", b"\x00\x01", b"\x00\x80", b"\x00\x00\xff\xff\x7f", b"\x00\x01\x00\x01\x01"]
)
def test_malformed_feedback_is_refused(body):
    with pytest.raises(ValueError):
        arq.parse(body)


def test_the_receiver_asks_a_fixed_number_of_times():
    timer = AskTimer(hold_ns=5, again_ns=100, quiet_ns=50, rounds=2)
    timer.heard(1000, end_seen=False)
    assert timer.due_ns == 1050
    timer.heard(1020, end_seen=True)
    assert timer.due_ns == 1025
    timer.fired(1025)
    assert timer.due_ns == 1125
    timer.fired(1125)
    assert timer.due_ns is None
    timer.heard(1200, end_seen=True)
    assert timer.due_ns is None


def test_the_sender_answers_what_is_not_on_its_way_already():
    box = Outbox([b"0", b"1", b"2", b"3"], deadline_ns=10_000)
    assert box.answer(RepairRequest((1, 3)), 100, not_before_ns=0) == [1, 3]
    assert box.answer(RepairRequest((1, 3), 2), 150, not_before_ns=50) == [2]
    assert box.answer(RepairRequest((1, 3)), 300, not_before_ns=200) == [1, 3]
    assert box.answer(RepairRequest((0, 1, 2), enough=2), 900, not_before_ns=800) == [0, 1]
    assert box.answer(RepairRequest((4, 700)), 950, not_before_ns=940) == []
