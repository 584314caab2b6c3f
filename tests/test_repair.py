import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from link.repair import arq, fec
from link.repair.arq import AskTimer, Outbox, Request

body_lists = st.lists(st.binary(max_size=120), min_size=1, max_size=40)


@settings(deadline=None)
@given(body_lists, st.integers(1, 20), st.data())
def test_any_k_plus_2_of_the_packets_suffice(bodies, spare, data):
    repair = dict(enumerate(fec.encode(bodies, spare), len(bodies)))
    keep = data.draw(
        st.sets(st.integers(0, len(bodies) + spare - 1), min_size=min(len(bodies) + 2, len(bodies) + spare))
    )
    have = {index: body for index, body in enumerate(bodies) if index in keep}
    found = fec.decode(have, {index: body for index, body in repair.items() if index in keep})
    if len(have) == len(bodies) and not keep & set(repair):
        return
    if len(keep) >= len(bodies) + 2:  # RFC 6330: one in 16 million fails with two more than needed
        assert found == dict(enumerate(bodies))
    elif found is not None:
        assert found == dict(enumerate(bodies))


def test_repair_bodies_cost_three_bytes_more_than_the_longest():
    repair = fec.encode([b"a" * 100, b"b" * 7], 2)
    assert [len(body) for body in repair] == [103, 103]
    assert fec.source_count(repair[0]) == 2


def test_too_few_packets_give_nothing():
    bodies = [bytes([n]) * 30 for n in range(10)]
    repair = dict(enumerate(fec.encode(bodies, 3), 10))
    assert fec.decode(dict(enumerate(bodies[:6])), repair) is None
    assert fec.decode({}, {}) is None


def test_bodies_that_do_not_fit_together_give_nothing():
    bodies = [bytes([n]) * 30 for n in range(4)]
    repair = dict(enumerate(fec.encode(bodies, 3), 4))
    assert fec.decode({0: bytes(200)}, repair) is None
    assert fec.decode({9: b"x"}, repair) is None
    assert fec.decode({}, {4: repair[4], 5: repair[5][:-1], 6: repair[6], 7: repair[4]}) is None


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 1023), st.binary(max_size=40), max_size=12),
    st.dictionaries(st.integers(0, 1023), st.binary(min_size=3, max_size=42), min_size=1, max_size=12),
)
def test_hostile_bodies_never_raise_anything_but_value_error(data, repair):
    try:
        found = fec.decode(data, repair)
    except ValueError:
        return
    assert found is None or all(isinstance(body, bytes) for body in found.values())


def test_more_packets_than_a_frame_may_have_are_refused():
    with pytest.raises(ValueError, match="at most 1024"):
        fec.encode([b"x"] * 1000, 30)


requests = st.builds(
    lambda missing, tail, enough: Request(
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
    assert Request(()).pack(10) == b""
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
    box = Outbox([b"0", b"1", b"2", b"3", b"fec"], 4, deadline_ns=10_000)
    assert box.answer(Request((1, 3)), 100, not_before_ns=0) == [1, 3]
    assert box.answer(Request((1, 3), 2), 150, not_before_ns=50) == [2]
    assert box.answer(Request((1, 3)), 300, not_before_ns=200) == [1, 3]
    assert box.answer(Request((0, 1, 2), enough=2), 900, not_before_ns=800) == [0, 1]
    assert box.answer(Request((4, 700)), 950, not_before_ns=940) == []
