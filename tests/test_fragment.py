import pytest
from hypothesis import given
from hypothesis import strategies as st

from link import fragment
from link.frame import Payload

section_lists = st.lists(st.binary(max_size=400), min_size=1, max_size=30)


@given(section_lists, st.integers(5, 250))
def test_round_trip_at_every_body_size(sections, room):
    bodies = fragment.fragment(sections, room)
    assert all(len(body) <= room for body in bodies)
    whole = fragment.reassemble(dict(enumerate(bodies)), len(bodies))
    assert whole == Payload(tuple(sections))
    assert whole.complete


@given(section_lists, st.integers(12, 120), st.data())
def test_lost_packets_cost_only_the_sections_they_carried(sections, room, data):
    bodies = fragment.fragment(sections, room)
    lost = data.draw(st.sets(st.integers(0, len(bodies) - 1)))
    touched = {chunk.section for index in lost for chunk in fragment.chunks(bodies[index])}
    kept = {index: body for index, body in enumerate(bodies) if index not in lost}
    found = fragment.reassemble(kept, len(bodies))
    for number, section in enumerate(found.sections[: len(sections)]):
        assert section == (None if number in touched else sections[number])
    assert found.complete == (not lost)


@given(section_lists, st.integers(12, 120), st.randoms())
def test_order_of_arrival_does_not_matter(sections, room, random):
    bodies = list(enumerate(fragment.fragment(sections, room)))
    random.shuffle(bodies)
    assert fragment.reassemble(dict(bodies), len(bodies)) == Payload(tuple(sections))


def test_small_sections_share_a_packet_and_large_ones_are_cut():
    bodies = fragment.fragment([b"a" * 10, b"b" * 10, b"c" * 10], 100)
    assert len(bodies) == 1
    assert len(bodies[0]) == 30 + 2 + 2 + 1  # flag and length, twice; the last needs no length
    assert [len(body) for body in fragment.fragment([bytes(250)], 100)] == [100, 100, 56]


def test_a_section_that_fits_into_one_packet_is_never_cut():
    bodies = fragment.fragment([bytes(60), bytes(60), bytes(60)], 100)
    assert len(bodies) == 3


def test_section_numbers_over_62_and_up_to_1023():
    sections = [bytes([number % 256]) for number in range(1024)]
    bodies = fragment.fragment(sections, 100)
    assert fragment.reassemble(dict(enumerate(bodies)), len(bodies)) == Payload(tuple(sections))
    with pytest.raises(ValueError, match="1025 sections"):
        fragment.fragment([*sections, b""], 100)


def test_too_many_packets_are_refused():
    with pytest.raises(ValueError, match="at most 1024"):
        fragment.fragment([bytes(20_000)], 12)
    with pytest.raises(ValueError, match="at most 1024"):
        fragment.fragment([bytes(20_000)], 4)
    with pytest.raises(ValueError, match="at most 1024"):
        fragment.fragment([b"x" * 100] * 80, 4)


@given(st.binary(max_size=120), st.integers(1, 3))
def test_hostile_bodies_are_taken_as_lost_or_read(body, count):
    found = fragment.reassemble({0: body}, count)
    assert len(found.sections) <= fragment.MAX_SECTIONS + 1


@pytest.mark.parametrize("body", [b"\x05\x09abc", b"\x3f", b"\x40", b"\xbf\xff\xff\x03", b"\x41\x80"])
def test_truncated_chunks_are_refused(body):
    with pytest.raises(ValueError):
        fragment.chunks(body)


def test_an_unknown_end_marks_the_frame_incomplete():
    bodies = fragment.fragment([b"x" * 50, b"y" * 50], 60)
    assert fragment.reassemble({0: bodies[0]}, None).sections == (b"x" * 50, None)
    assert fragment.reassemble({}, None).sections == (None,)
