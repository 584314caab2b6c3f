"""CFDP: known bytes, another implementation's PDUs and handlers, and every loss of one PDU or two, both ways."""

import random
from itertools import combinations

import pytest
from campaigns import bounded, mutate, seed, sizes
from cfdp_wire import FILE, HEAD, Exchange, S, peer, receiver, sender, settings
from spacepackets.cfdp import ConditionCode, CrcFlag, DirectiveType, LargeFileFlag, TransmissionMode
from spacepackets.cfdp.conf import PduConfig
from spacepackets.cfdp.defs import ChecksumType, DeliveryCode, FileStatus
from spacepackets.cfdp.pdu import (
    AckPdu as TheirAck,
)
from spacepackets.cfdp.pdu import (
    EofPdu as TheirEnd,
)
from spacepackets.cfdp.pdu import (
    FileDataPdu as TheirData,
)
from spacepackets.cfdp.pdu import (
    FinishedPdu as TheirFinished,
)
from spacepackets.cfdp.pdu import (
    MetadataPdu as TheirMetadata,
)
from spacepackets.cfdp.pdu import (
    NakPdu as TheirNak,
)
from spacepackets.cfdp.pdu import (
    TransactionStatus,
)
from spacepackets.cfdp.pdu.file_data import FileDataParams
from spacepackets.cfdp.pdu.finished import FinishedParams
from spacepackets.cfdp.pdu.metadata import MetadataParams
from spacepackets.util import ByteFieldU8, ByteFieldU16

from link.cfdp.pdus import (
    AckPdu,
    CfdpChecksum,
    CfdpCondition,
    CfdpDirective,
    CfdpError,
    EndPdu,
    FileDataPdu,
    FinishedPdu,
    MetadataPdu,
    NakPdu,
    PassedPdu,
    PduBody,
    PduHead,
    file_checksum,
    pack,
    parse,
)
from link.cfdp.receiving import CfdpReceiver

BODIES: dict[str, PduBody] = {
    "metadata": MetadataPdu(10_000, b"rover.png", b"earth.png", CfdpChecksum.CRC32, True),
    "data": FileDataPdu(2000, bytes(range(50))),
    "end": EndPdu(CfdpCondition.NO_ERROR, 0xCBF43926, 10_000),
    "finished": FinishedPdu(CfdpCondition.NO_ERROR, True, 2),
    "failed": FinishedPdu(CfdpCondition.NAK_LIMIT, False, 1),
    "ack end": AckPdu(CfdpDirective.END, CfdpCondition.NO_ERROR, 1),
    "ack finished": AckPdu(CfdpDirective.FINISHED, CfdpCondition.NO_ERROR, 2),
    "nak": NakPdu(0, 10_000, ((0, 0), (1000, 2000), (5000, 6000))),
}
PIECE = 1024 - HEAD.size_bytes - 4
BACK = {"finished", "failed", "ack end", "nak"}


def theirs(name, body, head):
    """Return the same PDU by spacepackets."""
    conf = PduConfig(
        ByteFieldU8(head.source), ByteFieldU8(head.destination),
        (ByteFieldU16 if head.sequence_bytes == 2 else ByteFieldU8)(head.sequence),
        TransmissionMode.ACKNOWLEDGED if head.acknowledged else TransmissionMode.UNACKNOWLEDGED,
        LargeFileFlag.LARGE if head.large else LargeFileFlag.NORMAL,
        CrcFlag.WITH_CRC if head.checked else CrcFlag.NO_CRC,
    )  # fmt: skip
    match body:
        case MetadataPdu():
            about = MetadataParams(
                body.closure, ChecksumType(body.checksum), body.size, body.source_name.decode(),
                body.destination_name.decode(),
            )  # fmt: skip
            pdu = TheirMetadata(conf, about)
        case FileDataPdu():
            pdu = TheirData(conf, FileDataParams(body.data, body.offset))
        case EndPdu():
            pdu = TheirEnd(conf, body.checksum, body.size, None, ConditionCode(body.condition))
        case FinishedPdu():
            code = DeliveryCode.DATA_COMPLETE if body.complete else DeliveryCode.DATA_INCOMPLETE
            pdu = TheirFinished(
                conf, FinishedParams(ConditionCode(body.condition), code, FileStatus(body.status))
            )
        case AckPdu():
            pdu = TheirAck(
                conf,
                DirectiveType(body.directive),
                ConditionCode(body.condition),
                TransactionStatus(body.status),
            )
        case NakPdu():
            pdu = TheirNak(conf, body.first, body.end, list(body.missing))
        case _:
            raise AssertionError(name)
    return bytes(pdu.pack())


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("acknowledged", [False, True])
@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_pdus_are_anothers_and_come_back(name, acknowledged, checked, large):
    head = PduHead(1, 513, 2, acknowledged, name in BACK, checked, large, sequence_bytes=2)
    data = pack(head, BODIES[name])
    assert data == theirs(name, BODIES[name], head)
    assert parse(data) == (head, BODIES[name])
    for length in range(len(data)):
        with pytest.raises(CfdpError):
            parse(data[:length])
    if checked:
        for bit in range(len(data) * 8):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(CfdpError):
                parse(bytes(damaged), must_check=True)


def test_known_bytes():
    """By CCSDS 727.0-B-5, section 5, by hand; 0xcbf43926 is CRC-32's check value."""
    head = PduHead(1, 7, 2, checked=False)
    assert pack(head, BODIES["end"]).hex() == "20000a00010702" + "0400" + "cbf43926" + "00002710"
    names = "09" + b"rover.png".hex() + "09" + b"earth.png".hex()
    assert pack(head, BODIES["metadata"]).hex() == "20001a00010702" + "07" + "43" + "00002710" + names
    assert pack(head, BODIES["data"])[:11].hex() == "30003600010702" + "000007d0"
    assert file_checksum(b"123456789", CfdpChecksum.CRC32) == 0xCBF43926
    # 727.0-B-5, annex F: words added up, the last padded by zeros.
    assert file_checksum(bytes.fromhex("000102030405060708090a0b0c0d0e"), CfdpChecksum.MODULAR) == 0x181C2015
    assert file_checksum(b"\xff" * 4 + b"\x00\x00\x00\x02", CfdpChecksum.MODULAR) == 1
    assert file_checksum(b"anything", CfdpChecksum.NULL) == 0


def test_what_is_not_done_about_is_passed_over():
    head = PduHead(1, 7, 2, checked=False)
    at = pack(head, BODIES["metadata"])
    assert parse(at[:2] + bytes([at[2] + 3]) + at[3:] + b"\x02\x01x")[1] == BODIES["metadata"]  # an option
    for code in (CfdpDirective.PROMPT, CfdpDirective.KEEP_ALIVE):
        assert parse(bytes.fromhex("20000200010702") + bytes([code, 0]))[1] == PassedPdu(code)
    data = pack(head, BODIES["data"])
    with_metadata = data[:2] + bytes([data[2] + 4, 8]) + data[4:7] + b"\xc3abc" + data[7:]
    assert parse(with_metadata)[1] == BODIES["data"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("40000200010702" + "0900", "version"),
        ("20000100010702" + "0a", "unknown directive 10"),
        ("20000300010702" + "065000", None),
        ("20000300010702" + "067000", "acknowledgement"),
        ("20000200010702" + "05c0", "unknown condition 12"),
        ("20001100010702" + "08" + "00" * 8 + "0000000500000001", "before it begins"),
    ],
)
def test_what_is_no_pdu_is_refused_in_a_line(data, said):
    if said is None:
        assert isinstance(parse(bytes.fromhex(data))[1], AckPdu)
        return
    with pytest.raises(CfdpError, match=said):
        parse(bytes.fromhex(data))


@sizes(10_000, 1_000_000)
def test_mutated_pdus_are_read_or_refused(request, size):
    """By the parser and by both ends, in the middle of a transaction: never another exception, nothing large kept."""
    rng = random.Random(seed(request))
    good = [
        pack(PduHead(1, 7, 2, toward_sender=name in BACK, checked=False), body)
        for name, body in BODIES.items()
    ]
    near, far = sender(FILE[:400]), receiver(most_bytes=1 << 16)
    read = 0
    with bounded(0.5, 64) as meter:
        for number in range(size):
            pdu = good[number % len(good)]
            if number % 3:  # of which the header and the length are right
                inner = mutate(pdu[7:], rng, [other[7:] for other in good])
                bad = pdu[:1] + len(inner).to_bytes(2, "big") + pdu[3:7] + inner
            else:
                bad = mutate(pdu, rng, good)
            with meter.input(bad):
                for end in (near, far):
                    try:
                        end.receive(bad, number)
                        read += 1
                    except CfdpError:
                        pass
                    end.take(number)
            if near.condition is not None:
                near = sender(FILE[:400])
            if far.condition is not None:
                far = receiver(most_bytes=1 << 16)
            assert len(far.data) <= 1 << 16
    assert read > size // 20


def check(near, far, file=FILE):
    assert near.condition == CfdpCondition.NO_ERROR == far.condition
    assert far.data == file and far.complete and far.missing == []
    assert far.metadata is not None and far.metadata.destination_name == b"earth.png"
    assert not far.open
    assert near.next_ns is None is far.next_ns


@pytest.mark.parametrize("acknowledged", [False, True])
@pytest.mark.parametrize("checksum", [CfdpChecksum.CRC32, CfdpChecksum.MODULAR, CfdpChecksum.NULL])
def test_a_file_comes_whole(acknowledged, checksum):
    for size in (0, 1, 1000, 10_240):
        head = PduHead(1, 7, 2, acknowledged)
        near, far = sender(FILE[:size], head, checksum=checksum), receiver()
        Exchange(near, far).run()
        check(near, far, FILE[:size])
        assert near.again_bytes == 0


def test_the_bytes_of_10000_in_pieces_of_1000():
    """What vector 34's transaction costs without losses: 12 PDUs out; acknowledgement, Finished and its acknowledgement."""
    for acknowledged, out, back in ((False, 12, 0), (True, 13, 2)):
        head = PduHead(1, 7, 2, acknowledged, checked=False)
        near = sender(FILE[:10_000], head, pdu_bytes=1000 + 7 + 4)
        far = receiver()
        wire = Exchange(near, far)
        wire.run()
        check(near, far, FILE[:10_000])
        assert [len(pdus) for pdus in wire.sent] == [out, back]
        heads = 10 * (7 + 4) + (7 + 6 + 20) + (7 + 10)
        assert sum(map(len, wire.sent[0])) == 10_000 + heads + (10 if acknowledged else 0)
        assert sum(map(len, wire.sent[1])) == (19 if acknowledged else 0)


def test_any_pdu_lost_and_any_two_and_the_file_arrives():
    """Class 2, metadata and acknowledgements and Finished among them; both ends are at rest at the end."""
    file = FILE[:4500]
    whole = Exchange(sender(file), receiver())
    whole.run()
    names = [(0, number) for number in range(len(whole.sent[0]) + 2)]
    names += [(1, number) for number in range(len(whole.sent[1]) + 2)]
    once = 0
    for lost in [*combinations(names, 1), *combinations(names, 2)]:
        near, far = sender(file), receiver()
        wire = Exchange(near, far, lost)
        wire.run()
        check(near, far, file)
        pieces = sum(direction == 0 and 1 <= number <= 5 for direction, number in lost)
        if all(direction == 0 and 1 <= number <= 5 for direction, number in lost):
            once += 1
            assert near.again_bytes <= PIECE * pieces  # nothing is sent again that was not lost
    assert once > 10


@pytest.mark.parametrize(("lost", "whole_s", "told_s"), [((), 645.2, 1280.2), ([(0, 4)], 1916.2, 2551.3)])
def test_at_mars_a_lost_piece_is_sent_again_once(lost, whole_s, told_s):
    """Vector 34's link, 635 s and 8 kbit/s: a loss costs a round trip, and the piece and its header once more.

    Without immediate requests: those of cfdp-py have the file at 1,910.1 s, and the piece sent twice.
    """
    delay = 635 * S
    head = PduHead(1, 7, 2, checked=False)
    near = sender(FILE[:10_000], head, delay_ns=delay, pdu_bytes=1011)
    far = receiver(delay_ns=delay, pdu_bytes=1011)
    wire = Exchange(near, far, lost, delay_ns=delay)
    wire.run()
    check(near, far, FILE[:10_000])
    assert near.again_bytes == 1000 * len(lost)
    assert wire.closed_ns[1] == pytest.approx(whole_s * S, abs=0.1 * S)
    assert wire.closed_ns[0] == pytest.approx(told_s * S, abs=0.1 * S)


@pytest.mark.parametrize("percent", [10, 30])
def test_nothing_is_ever_stuck(percent):
    """Losses both ways by a seed: each file comes whole, and both ends are at rest."""
    for number in range(60):
        rng = random.Random(number)
        lost = {(way, at) for way in (0, 1) for at in range(400) if rng.random() < percent / 100}
        near, far = sender(tries=20), receiver(tries=20)
        Exchange(near, far, lost).run()
        check(near, far)


def test_nobody_there_ends_it_with_a_condition():
    everything = {(way, number) for way in (0, 1) for number in range(1000)}
    near, far = sender(tries=3), receiver()
    Exchange(near, far, everything).run()
    assert near.condition == CfdpCondition.ACK_LIMIT and far.condition is None and not far.open
    deaf = {(1, number) for number in range(1000)}
    near, far = sender(tries=3), receiver(tries=3)
    Exchange(near, far, deaf).run()
    assert near.condition == CfdpCondition.ACK_LIMIT and far.complete and not far.open
    # The end of the file never comes, nor what is asked for.
    near, far = sender(tries=3), receiver(tries=3)
    Exchange(near, far, {(0, number) for number in range(5, 1000)}).run()
    assert (
        far.condition == CfdpCondition.INACTIVITY
        and far.data[: 4 * PIECE] == FILE[: 4 * PIECE]
        and not far.open
    )
    near, far = sender(tries=3), receiver(tries=3)
    Exchange(near, far, {(0, 3), *((0, number) for number in range(13, 1000))}).run()
    assert far.condition == CfdpCondition.NAK_LIMIT == near.condition
    assert far.missing == [(2 * PIECE, 3 * PIECE)]
    assert near.finished == FinishedPdu(CfdpCondition.NAK_LIMIT, False, 2)


def test_class_1_makes_do():
    head = PduHead(1, 7, 2, acknowledged=False)
    near, far = sender(head=head), receiver()
    Exchange(near, far, [(0, 4)]).run()
    assert near.condition == CfdpCondition.NO_ERROR and far.condition == CfdpCondition.CHECK_LIMIT
    assert far.missing == [(3 * PIECE, 4 * PIECE)] and not far.open
    assert far.data[: 3 * PIECE] == FILE[: 3 * PIECE] and far.data[4 * PIECE :] == FILE[4 * PIECE :]
    for lost, said in (((), CfdpCondition.NO_ERROR), ([(0, 4)], CfdpCondition.CHECK_LIMIT)):
        near, far = sender(head=head, closure=True), receiver()
        Exchange(near, far, lost).run()
        assert near.condition == said == far.condition
    near, far = sender(head=head, closure=True), receiver()
    Exchange(near, far, [(1, 0)]).run()
    assert near.condition == CfdpCondition.CHECK_LIMIT and far.complete


def test_damage_that_a_file_shows_late_is_named():
    near, far = sender(), receiver()
    wire = Exchange(near, far)
    near._end = near._end.__class__(pack(HEAD, EndPdu(CfdpCondition.NO_ERROR, 1, len(FILE))), "end")
    wire.run()
    assert far.condition == CfdpCondition.CHECKSUM == near.condition and far.data == FILE


def test_what_does_not_fit_is_refused():
    for body, said in (
        (FileDataPdu(1 << 20, b"x"), CfdpCondition.FILESTORE),
        (EndPdu(CfdpCondition.NO_ERROR, 0, 1 << 31), CfdpCondition.FILESTORE),
        (EndPdu(CfdpCondition.CANCELLED, 0, 0), CfdpCondition.CANCELLED),
    ):
        far = receiver(most_bytes=1 << 16)
        far.receive(pack(HEAD, body), 0)
        assert far.condition == said
    far = receiver()
    far.receive(pack(HEAD, FileDataPdu(100, b"x" * 100)), 0)
    far.receive(pack(HEAD, EndPdu(CfdpCondition.NO_ERROR, 0, 150)), 1)
    assert far.condition == CfdpCondition.FILE_SIZE
    for head in (PduHead(1, 7, 3), PduHead(1, 7, 2, toward_sender=True)):
        with pytest.raises(CfdpError, match="another entity"):
            CfdpReceiver(2, settings()).receive(pack(head, BODIES["end"]), 0)
    far = receiver()
    far.receive(pack(HEAD, BODIES["data"]), 0)
    with pytest.raises(CfdpError, match="another transaction"):
        far.receive(pack(PduHead(1, 8, 2), BODIES["data"]), 0)
    with pytest.raises(CfdpError, match="another transaction"):
        sender().receive(pack(HEAD, BODIES["end"]), 0)
    with pytest.raises(ValueError, match="too small; at least 35"):
        sender(pdu_bytes=20)


def test_requests_that_are_too_long_for_a_pdu_are_split():
    lost = {(0, number) for number in range(2, 200, 2)}
    near, far = sender(pdu_bytes=64), receiver(pdu_bytes=64)
    wire = Exchange(near, far, lost)
    wire.run()
    check(near, far)
    assert max(map(len, wire.sent[0])) <= 64 and max(map(len, wire.sent[1])) <= 64
    naks = [body for _, body in map(parse, wire.sent[1]) if isinstance(body, NakPdu)]
    assert len(naks) > 10
    first = naks[: next(at for at, nak in enumerate(naks) if nak.end == len(FILE)) + 1]
    assert [nak.first for nak in first] == [0, *(nak.end for nak in first[:-1])]
    assert near.again_bytes == sum(high - low for nak in first for low, high in nak.missing)


# cfdp-py as the other end (vector 34)


@pytest.fixture
def clock(monkeypatch):
    """The time that cfdp-py reads."""
    now = [0]
    monkeypatch.setattr("spacepackets.countdown.time_ms", lambda: now[0])
    return lambda ms: now.__setitem__(0, ms)


# Its own receiver hangs where the metadata are lost (us-irs/cfdp-py, pull request 54, after 0.7.0).
LOSSES = [(), [(0, 4)], [(0, 1), (0, 10)], [(0, 12)], [(1, 0)], [(1, 1)], [(0, 11), (1, 1)]]


@pytest.mark.parametrize("lost", LOSSES)
def test_our_sender_and_cfdp_py(tmp_path, clock, lost):
    near = sender(head=PduHead(1, 7, 2, sequence_bytes=2), name=str(tmp_path / "theirs.png"))
    far = peer("dest", tmp_path, clock, b"", acknowledged=True)
    Exchange(near, far, lost).run(400)
    assert near.condition == CfdpCondition.NO_ERROR and far.idle
    assert (tmp_path / "theirs.png").read_bytes() == FILE


@pytest.mark.parametrize("lost", [*LOSSES, [(0, 0)], [(0, 0), (0, 3), (1, 1)]])
def test_cfdp_py_and_our_receiver(tmp_path, clock, lost):
    near, far = peer("source", tmp_path, clock, FILE, acknowledged=True), receiver()
    Exchange(near, far, lost).run(400)
    assert near.idle and far.complete and not far.open
    assert far.data == FILE


def test_class_1_with_cfdp_py_both_ways(tmp_path, clock):
    near, far = peer("source", tmp_path, clock, FILE, acknowledged=False), receiver()
    Exchange(near, far).run(400)
    assert near.idle and far.complete and far.data == FILE
    near, far = peer("source", tmp_path, clock, FILE, acknowledged=False), receiver()
    Exchange(near, far, [(0, 3)]).run(400)
    assert near.idle and far.condition == CfdpCondition.CHECK_LIMIT and len(far.missing) == 1
    path = tmp_path / "theirs.png"
    for lost, whole in (((), True), ([(0, 3)], False)):
        head = PduHead(1, 7, 2, acknowledged=False)
        ours = sender(head=head, name=str(path))
        theirs_end = peer("dest", tmp_path, clock, b"", acknowledged=False)
        Exchange(ours, theirs_end, lost).run(400)
        assert ours.condition == CfdpCondition.NO_ERROR and theirs_end.idle
        assert (path.read_bytes() == FILE) == whole
