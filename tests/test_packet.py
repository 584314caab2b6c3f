import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link import bundle, bundled, packet, uslp
from link.packet import (
    ChecksumError,
    DamagedError,
    Kind,
    Packet,
    PacketError,
    TruncatedError,
    VersionError,
    Wrapper,
)

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


FRAMED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "data-bp.bin": ("bp", "data.bin", {"created_ms": 60_000, "sequence": 2, "feedback": False}),
    "feedback-bp.bin": (
        "bp",
        "feedback.bin",
        {"created_ms": 3_600_000, "sequence": 0, "feedback": True, "lifetime_ms": 30_000},
    ),
    "data-uslp.bin": ("uslp", "data.bin", {"sequence": 65_537, "feedback": False}),
    "feedback-uslp.bin": ("uslp", "feedback.bin", {"sequence": 0, "feedback": True}),
}


@pytest.mark.parametrize("name", FRAMED)
def test_golden_bytes_of_other_framings(name, golden):
    framing, inner, about = FRAMED[name]
    data = (golden / name).read_bytes()
    plain = GOLDEN[inner].pack(FINGERPRINT)
    assert packet.wrap(plain, framing, **about) == data
    assert packet.unwrap(data, framing) == plain
    for length in range(len(data)):
        with pytest.raises(PacketError):
            packet.unwrap(data[:length], framing)
    damage = 0
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PacketError) as error:
            packet.parse(packet.unwrap(bytes(damaged), framing), FINGERPRINT)
        damage += error.type in (DamagedError, ChecksumError)
    assert damage > 4 * len(data)  # of eight bits a byte; others are of the form, or of what is no checksum's
    for more in (data + b"x", data + data, b"x" + data):
        with pytest.raises(PacketError):
            packet.unwrap(more, framing)


@given(packets, st.integers(0, 65_535), st.integers(0, 10**14), st.integers(1, (1 << 32) - 1), st.booleans())
def test_a_bundle_holds_the_packet(item, sequence, created_ms, lifetime_ms, feedback):
    inner = item.pack(FINGERPRINT)
    data = packet.wrap(
        inner, "bp", sequence, feedback=feedback, created_ms=created_ms, lifetime_ms=lifetime_ms
    )
    found = bundle.parse(data)
    assert (found.payload, found.sequence, found.lifetime_ms) == (inner, sequence, lifetime_ms)
    assert found.created_ms == bundled.EPOCH_MS + created_ms
    assert (found.source, found.destination) == (
        ("ipn:2.1", "ipn:1.1") if feedback else ("ipn:1.1", "ipn:2.1")
    )
    assert packet.unwrap(data, "bp") == inner
    assert packet.priority(data, "bp") == item.priority
    assert packet.rank(data, "bp") == (item.priority, item.index)
    assert packet.head_bytes(data, "bp") == len(data) - len(item.body)
    assert len(data) - len(inner) <= bundled.most_bytes(len(inner)) <= 48


@given(packets, st.integers(0, 200_000), st.booleans())
def test_a_transfer_frame_holds_the_packet(item, sequence, feedback):
    """Another implementation reads the same fields, and wraps to the same bytes."""
    from fastcrc import crc16
    from spacepackets.uslp import (
        BypassSequenceControlFlag,
        PrimaryHeader,
        SourceOrDestField,
        TfdzConstructionRules,
        TransferFrameDataField,
        UslpProtocolIdentifier,
    )

    inner = item.pack(FINGERPRINT)
    data = packet.wrap(inner, "uslp", sequence, feedback=feedback)
    space_packet = packet.wrap(inner, "ccsds", sequence, feedback=feedback)
    field = TransferFrameDataField(
        TfdzConstructionRules.VpNoSegmentation, UslpProtocolIdentifier.SPACE_PACKETS_ENCAPSULATION_PACKETS,
        space_packet,
    )  # fmt: skip
    head = PrimaryHeader(
        scid=uslp.SPACECRAFT, src_dest=SourceOrDestField.DEST if feedback else SourceOrDestField.SOURCE,
        vcid=int(feedback), map_id=0, frame_len=len(data) - 4 - 1, vcf_count_len=2, vcf_count=sequence % 65_536,
        bypass_seq_ctrl_flag=BypassSequenceControlFlag.EXPEDITED_QOS,
    )  # fmt: skip
    frame = bytes(head.pack() + field.pack())
    assert data == uslp.MARKER + frame + crc16.ibm_3740(frame).to_bytes(2, "big")
    assert packet.unwrap(data, "uslp") == inner
    assert packet.rank(data, "uslp") == (item.priority, item.index)
    assert len(data) - len(item.body) == packet.overhead("uslp") == packet.head_bytes(data, "uslp")


@pytest.mark.parametrize("framing", ["compact", "ccsds", "uslp", "bp"])
def test_the_largest_body_fills_the_mtu_and_no_more(framing):
    least = packet.least_mtu_bytes(framing)
    assert packet.body_bytes(least, framing) >= 8 > packet.body_bytes(least - 1, framing)
    for mtu in (*range(least, 400), 65_535):
        body = packet.body_bytes(mtu, framing)
        about: dict[str, Any] = {"sequence": 65_535, "feedback": False}
        # A bundle's number, lifetime and length are as wide as they get.
        whole = packet.wrap(bytes(packet.HEADER_BYTES + body), framing, **about)
        assert len(whole) <= mtu
        if mtu < 65_535:
            more = packet.wrap(bytes(packet.HEADER_BYTES + body + 1), framing, **about)
            assert len(more) > mtu
        content = 50 * (body - packet.CHUNK_BYTES) - packet.HASH_BYTES
        if body > 10:
            assert packet.air_bytes(content, body, framing) == 50 * len(whole)


def test_an_end_numbers_what_it_wraps():
    bundles = Wrapper("bp", feedback=False, lifetime_s=0.0001)
    found = [
        bundle.parse(bundles.wrap(b"x" * 8, now)) for now in (0, 999_999, 1_000_000, 5_000_001, 5_999_999)
    ]
    created = [(item.created_ms - bundled.EPOCH_MS, item.sequence) for item in found]
    assert created == [(0, 0), (0, 1), (1, 0), (5, 0), (5, 1)]
    assert {item.lifetime_ms for item in found} == {1}
    lasting = Wrapper("bp", feedback=True, lifetime_s=1e9)
    assert bundle.parse(lasting.wrap(b"x" * 8, 0)).lifetime_ms == (1 << 32) - 1
    frames = Wrapper("uslp", feedback=False)
    assert [frames.wrap(b"x" * 8, 7)[11:13] for _ in range(3)] == [b"\0\0", b"\0\1", b"\0\2"]


def test_the_bundles_of_others_are_not_farlinks():
    foreign = bundle.Bundle("ipn:3.1", "ipn:1.1", b"x" * 20, 848_000_000_000, 86_400_000).pack()
    with pytest.raises(PacketError, match=r"from ipn:1.1 to ipn:3.1") as error:
        packet.unwrap(foreign, "bp")
    assert error.type is PacketError
    broken = bytearray(foreign)
    broken[8] ^= 1
    with pytest.raises(DamagedError):
        packet.unwrap(bytes(broken), "bp")
    with pytest.raises(PacketError):
        packet.unwrap(b"", "bp")


def test_a_forged_bundle_is_one_or_none():
    """Its primary block changed and its checksum made right: what is taken is a bundle to everybody."""
    rng = random.Random(1)
    inner = GOLDEN["data.bin"].pack(FINGERPRINT)
    good = packet.wrap(inner, "bp", 300, feedback=False, created_ms=60_000)
    end = bundled.payload_at(good) - 2 - len(b"\x85\1\1\0\0") - 3 + 1
    assert good[end : end + 1] == b"\x42"
    taken = 0
    for _ in range(4000):
        primary = bytearray(good[1:end])
        for _ in range(rng.randrange(1, 3)):
            primary[rng.randrange(18, len(primary))] = rng.randrange(256)
        check = bundle.checksum(bytes(primary) + b"\x42\0\0", bundle.Crc.X25)
        forged = b"\x9f" + bytes(primary) + b"\x42" + check + good[end + 3 :]
        try:
            assert packet.unwrap(forged, "bp") == inner
        except PacketError:
            continue
        taken += 1
        assert bundle.parse(forged).payload == inner
    assert 1000 < taken < 4000
