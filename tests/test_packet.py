import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link import packet
from link.packet import ChecksumError, Kind, Packet, PacketError, TruncatedError, VersionError

FINGERPRINT = 0x1A2B3C4D

packets = st.builds(
    Packet,
    kind=st.sampled_from(Kind),
    frame=st.integers(0, packet.FRAMES - 1),
    index=st.integers(0, packet.MAX_PACKETS - 1),
    body=st.binary(max_size=300),
    priority=st.integers(0, 3),
    last=st.booleans(),
)

GOLDEN = {
    "data.bin": Packet(Kind.DATA, 5, 2, b"\x81section one", 1, True),
    "fec.bin": Packet(Kind.FEC, 16383, 1023, b"\x02\x31" + bytes(range(20)), 3, True),
    # Over the first two packets of each of two frames, which have three and one.
    "fec-window.bin": Packet(Kind.FEC, 3, 4, b"\x00\x02\x02\x31" + bytes(range(20)), 0, True),
    "feedback.bin": Packet(Kind.FEEDBACK, 7, 0, b"\x00\x02\x01"),
    "empty.bin": Packet(Kind.FEEDBACK, 0, 0, b""),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_bytes(name, golden):
    data = (golden / name).read_bytes()
    assert packet.parse(data, FINGERPRINT) == GOLDEN[name]
    assert GOLDEN[name].pack(FINGERPRINT) == data


@pytest.mark.parametrize("name", GOLDEN)
def test_every_prefix_fails_cleanly(name, golden):
    data = (golden / name).read_bytes()
    for length in range(len(data)):
        with pytest.raises(PacketError):
            packet.parse(data[:length], FINGERPRINT)


@pytest.mark.parametrize("name", GOLDEN)
def test_every_single_bit_flip_is_found(name, golden):
    data = (golden / name).read_bytes()
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PacketError):
            packet.parse(bytes(damaged), FINGERPRINT)


@given(packets)
def test_round_trip(item):
    data = item.pack(FINGERPRINT)
    assert len(data) == len(item.body) + 8
    assert packet.parse(data, FINGERPRINT) == item
    assert packet.peek(data) == item
    assert packet.priority(data, "compact") == item.priority


@given(packets, st.integers(0, 2**32 - 1))
def test_another_fingerprint_is_named(item, other):
    data = item.pack(other)
    if other == FINGERPRINT:
        assert packet.parse(data, FINGERPRINT) == item
        return
    with pytest.raises(ChecksumError) as error:
        packet.parse(data, FINGERPRINT)
    assert error.value.implied == other


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_cleanly(data):
    with pytest.raises(PacketError):
        packet.parse(data, FINGERPRINT)


@pytest.mark.parametrize(
    "change", [{"frame": 1 << 14}, {"frame": -1}, {"index": 1024}, {"priority": 4}, {"body": bytes(70000)}]
)
def test_fields_out_of_range_are_refused(change):
    fields = {"kind": Kind.DATA, "frame": 0, "index": 0, "body": b"", **change}
    with pytest.raises(ValueError):
        Packet(**fields).pack(0)


def test_an_unknown_version_or_kind_with_a_right_checksum_is_named():
    import zlib

    for first in (packet.VERSION - 1 << 5, packet.VERSION + 1 << 5, packet.VERSION << 5 | 3 << 3):
        head = bytes([first, 0, 0, 0])
        data = head + struct.pack(">I", zlib.crc32(head) ^ FINGERPRINT)
        with pytest.raises(VersionError):
            packet.parse(data, FINGERPRINT)


@given(packets, st.integers(0, 100_000), st.booleans())
def test_ccsds_wraps_the_same_packet(item, sequence, feedback):
    inner = item.pack(FINGERPRINT)
    data = packet.wrap(inner, "ccsds", sequence, feedback=feedback)
    assert len(data) == len(inner) + 6
    assert packet.unwrap(data, "ccsds") == inner
    assert packet.priority(data, "ccsds") == item.priority
    first, second, length = struct.unpack(">HHH", data[:6])
    # CCSDS 133.0-B-2, 4.1.3: version 0, type, no secondary header, APID; unsegmented, count; length - 1
    assert first == (0x1000 if feedback else 0) | packet.CCSDS_APID
    assert second == 0xC000 | sequence % 16384
    assert length == len(inner) - 1


def test_a_space_packet_of_another_length_or_application_is_refused():
    data = packet.wrap(GOLDEN["data.bin"].pack(0), "ccsds", 0, feedback=False)
    for length in range(len(data)):
        with pytest.raises(TruncatedError):
            packet.unwrap(data[:length], "ccsds")
    with pytest.raises(TruncatedError):
        packet.unwrap(data + b"x", "ccsds")
    with pytest.raises(PacketError, match="APID"):
        packet.unwrap(bytes([data[0], data[1] ^ 1]) + data[2:], "ccsds")


@given(st.integers(0, 1 << 20), st.integers(-1024, 15_000))
def test_a_receiver_finds_frames_after_a_long_outage(newest, step):
    number = max(0, newest + step)
    assert packet.frame_after(number % packet.FRAMES, newest) == number


@given(st.integers(0, 1 << 20), st.integers(0, 16_383))
def test_a_sender_finds_frames_of_long_ago(newest, step):
    number = newest - step
    assert packet.frame_until(number % packet.FRAMES, newest) == number
