import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link import fragment, packet
from link.frame import Payload

section_lists = st.lists(st.binary(max_size=400), min_size=1, max_size=30)


@given(section_lists, st.integers(12, 250))
def test_round_trip_at_every_body_size(sections, room):
    bodies = fragment.fragment(sections, room, 0)
    assert all(len(body) <= room for body in bodies)
    whole = fragment.reassemble(dict(enumerate(bodies)), len(bodies))
    assert whole == Payload(tuple(sections))
    assert whole.complete


@given(section_lists, st.integers(12, 120), st.data())
def test_lost_packets_cost_only_the_sections_they_carried(sections, room, data):
    bodies = fragment.fragment(sections, room, 0)
    lost = data.draw(st.sets(st.integers(0, len(bodies) - 1)))
    touched = {
        chunk.section
        for index in lost
        for chunk in fragment.chunks(bodies[index], last=index + 1 == len(bodies))
    }
    kept = {index: body for index, body in enumerate(bodies) if index not in lost}
    found = fragment.reassemble(kept, len(bodies))
    for number, section in enumerate(found.sections[: len(sections)]):
        assert section == (None if number in touched else sections[number])
    assert found.complete == (not lost)


@given(section_lists, st.integers(12, 120), st.randoms())
def test_order_of_arrival_does_not_matter(sections, room, random):
    bodies = list(enumerate(fragment.fragment(sections, room, 0)))
    random.shuffle(bodies)
    assert fragment.reassemble(dict(bodies), len(bodies)) == Payload(tuple(sections))


def test_small_sections_share_a_packet_and_large_ones_are_cut():
    bodies = fragment.fragment([b"a" * 10, b"b" * 10, b"c" * 10], 100, 0)
    assert len(bodies) == 1
    assert len(bodies[0]) == 30 + 2 + 2 + 1 + 8  # flag and length, twice; the last needs no length; the hash
    assert [len(body) for body in fragment.fragment([bytes(250)], 100, 0)] == [100, 100, 64]


def test_a_section_that_fits_into_one_packet_is_never_cut():
    bodies = fragment.fragment([bytes(60), bytes(60), bytes(60)], 100, 0)
    assert len(bodies) == 3


def test_section_numbers_over_62_and_up_to_1023():
    sections = [bytes([number % 256]) for number in range(1024)]
    bodies = fragment.fragment(sections, 100, 0)
    assert fragment.reassemble(dict(enumerate(bodies)), len(bodies)) == Payload(tuple(sections))
    with pytest.raises(ValueError, match="1025 sections"):
        fragment.fragment([*sections, b""], 100, 0)


def test_too_many_packets_are_refused():
    with pytest.raises(ValueError, match="at most 1024"):
        fragment.fragment([bytes(20_000)], 12, 0)
    with pytest.raises(ValueError, match="at most 1024"):
        fragment.fragment([bytes(20_000)], 8, 0)
    with pytest.raises(ValueError, match="at most 1024"):
        fragment.fragment([b"x" * 100] * 80, 8, 0)


@given(st.binary(max_size=120), st.integers(1, 3))
def test_hostile_bodies_are_taken_as_lost_or_read(body, count):
    found = fragment.reassemble({0: body}, count)
    assert len(found.sections) <= fragment.MAX_SECTIONS + 1


@pytest.mark.parametrize("body", [b"\x05\x09abc", b"\x3f", b"\x40", b"\xbf\xff\xff\x03", b"\x41\x80"])
def test_truncated_chunks_are_refused(body):
    with pytest.raises(ValueError):
        fragment.chunks(body, last=False)
    with pytest.raises(ValueError):
        fragment.chunks(body + bytes(8), last=True)


def test_an_unknown_end_marks_the_frame_incomplete():
    bodies = fragment.fragment([b"x" * 50, b"y" * 50], 60, 0)
    assert fragment.reassemble({0: bodies[0]}, None).sections == (b"x" * 50, None)
    assert fragment.reassemble({}, None).sections == (None,)


def test_golden_bytes_of_a_frame():
    """The hash is BLAKE2b-64 of the number, then of each section its length and itself."""
    body = fragment.fragment([b"caption", b"", b"channel"], 100, 20_000)[0]
    assert body[:-8] == b"\x00\x07caption" + b"\x01\x00" + b"\x82channel"
    said = b"\0\0\0\0\0\0\x4e\x20" + b"\0\0\0\x07caption" + b"\0\0\0\0" + b"\0\0\0\x07channel"
    assert body[-8:] == hashlib.blake2b(said, digest_size=8).digest() == bytes.fromhex("3b3959f78efabd5f")


@given(section_lists, st.integers(12, 250), st.integers(0, 1 << 40))
def test_a_whole_frame_verifies_and_no_other_does(sections, room, frame):
    bodies = fragment.fragment(sections, room, frame)
    whole = fragment.reassemble(dict(enumerate(bodies)), len(bodies))
    assert fragment.verify(whole, bodies[-1], frame)
    assert not fragment.verify(whole, bodies[-1], frame + packet.FRAMES), "another of the same low bits"
    assert not fragment.verify(Payload((*sections, b"")), bodies[-1], frame)
    assert not fragment.verify(Payload((*sections[:-1], None)), bodies[-1], frame)
    assert not fragment.verify(Payload((*sections[:-1], sections[-1] + b"x")), bodies[-1], frame)
    if len(sections) > 1 and sections[0]:
        moved = (sections[0][:-1], sections[0][-1:] + sections[1], *sections[2:])
        assert not fragment.verify(Payload(moved), bodies[-1], frame), "the same bytes, cut elsewhere"


@pytest.mark.parametrize(("spare", "sizes"), [(8, [20]), (7, [20, 8]), (0, [20, 8])])
def test_the_hash_has_a_packet_of_its_own_only_where_it_does_not_fit(spare, sizes):
    bodies = fragment.fragment([bytes(19 - spare)], 20, 0)
    assert [len(body) for body in bodies] == [20 - spare + 8 if spare == 8 else 20 - spare, *sizes[1:]]
    found = fragment.reassemble(dict(enumerate(bodies)), len(bodies))
    assert found.sections == (bytes(19 - spare),) and fragment.verify(found, bodies[-1], 0)


def test_where_the_hash_stands_alone_the_last_section_is_missed_all_the_same():
    bodies = fragment.fragment([bytes(18), bytes(18)], 20, 0)
    assert [len(body) for body in bodies] == [19, 19, 8]
    assert fragment.reassemble({0: bodies[0], 2: bodies[2]}, 3).sections == (bytes(18), None)
    assert fragment.reassemble({0: bodies[0], 1: bodies[1]}, 3).sections == (bytes(18), bytes(18), None)


def test_packets_without_room_for_the_hash_are_refused():
    with pytest.raises(ValueError, match="at least 8"):
        fragment.fragment([b"x"], 7, 0)
