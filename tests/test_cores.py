"""Sender, channel and receiver together in one process, with packets lost by name rather than by chance."""

from collections import Counter

import numpy as np
import pytest
import toys
from test_metrics import result_of
from toys import ToyDecoder, ToyEncoder, cores, kinds, run, sections, session

from link import fragment, packet, png, timing
from link.conductor import Conductor
from link.errors import FingerprintError, UsageError
from link.events import Fate
from link.fingerprint import fingerprint, short
from link.frame import Payload
from link.journal import digest, read
from link.packet import Kind, Packet, peek
from link.repair import fec
from scenarios.report import packets as listing
from scenarios.results import traffic as traffics
from scenarios.results.traffic import packets, traffic
from sender.sender import Sender

S = 1_000_000_000
HOP = {"name": "air", "rate_bps": 2000, "delay_s": 1}


def link(**changes):
    return {"mtu_bytes": 128, "hops": [HOP], **changes}


def counts(found):
    return Counter(Fate(fate) for fate in found.rows[:, 2].tolist())


def conserved(found):
    count = counts(found)
    drops = sum(number for fate, number in count.items() if fate.is_drop)
    return count[Fate.SENT] + count[Fate.DUPLICATED] == count[Fate.DELIVERED] + drops


def test_a_clean_link_delivers_every_section(tmp_path):
    decoder = ToyDecoder()
    found = run(session(link()), tmp_path / "run.mcap", 4, decoder=decoder)
    assert [payload.sections for payload in decoder.payloads] == [sections(n) for n in range(4)]
    assert [event["complete"] for event in kinds(found, "closed")] == [True] * 4
    assert conserved(found)
    assert found.complete


def test_latency_is_serialisation_and_delay_exactly(tmp_path):
    found = run(session(link()), tmp_path / "run.mcap", 1)
    size = sum(map(len, found.data.values()))
    assert kinds(found, "decoded")[0]["time_ns"] == size * 8 * S // 2000 + S


@pytest.mark.parametrize("framing", ["compact", "ccsds", "uslp", "bp"])
def test_a_lost_packet_costs_its_sections_only(tmp_path, framing):
    hop = {**HOP, "loss": {"model": "pattern", "pattern": "..x" + "." * 60}}
    decoder = ToyDecoder()
    mtu_bytes = 120 + packet.overhead(framing, 200)
    plan = session(link(hops=[hop], framing=framing, mtu_bytes=mtu_bytes))
    found = run(plan, tmp_path / "run.mcap", 2, ToyEncoder(9, 100), decoder)
    assert decoder.payloads[0].sections == (*sections(0, 9, 100)[:2], None, *sections(0, 9, 100)[3:])
    assert decoder.payloads[1].complete
    assert counts(found)[Fate.CHANNEL_LOSS] == 1
    assert conserved(found)


@pytest.mark.parametrize("framing", ["uslp", "bp"])
def test_damage_around_a_packet_has_a_reason(tmp_path, framing):
    """Flipped bits are found by a checksum, or the form is broken; what gets through is whole."""
    hop = {**HOP, "rate_bps": 1e6, "bit_error_rate": 8e-4}
    plan = session(link(hops=[hop], framing=framing, mtu_bytes=160), period_s=1)
    decoder = ToyDecoder()
    found = run(plan, tmp_path / "run.mcap", 60, ToyEncoder(9, 60), decoder)
    fates = counts(found)
    assert conserved(found)
    assert fates[Fate.BAD_CHECKSUM] > 60 and fates[Fate.DELIVERED] > 30
    assert 0 < fates[Fate.MALFORMED] < fates[Fate.BAD_CHECKSUM]
    assert fates[Fate.BAD_CHECKSUM] + fates[Fate.MALFORMED] + fates[Fate.DELIVERED] == fates[Fate.SENT]
    sent = {None, *(section for number in range(60) for section in sections(number, 9, 60))}
    assert sent.issuperset(section for payload in decoder.payloads for section in payload.sections)


def test_fec_mends_what_it_can_without_asking(tmp_path):
    hop = {**HOP, "loss": {"model": "pattern", "pattern": ".x.." * 4 + "." * 8}}
    plan = session(link(hops=[hop], repair={"fec": 0.5}))
    decoder = ToyDecoder()
    found = run(plan, tmp_path / "run.mcap", 3, decoder=decoder)
    assert counts(found)[Fate.CHANNEL_LOSS] > 5
    assert all(payload.sections == sections(number) for number, payload in enumerate(decoder.payloads))


def test_arq_asks_and_gets_what_is_missing(tmp_path):
    hop = {**HOP, "loss": {"model": "pattern", "pattern": ".x..x" + "." * 200}}
    plan = session(link(hops=[hop], repair={"arq": True}, **{"return": {"rate_bps": 100}}))
    decoder = ToyDecoder()
    found = run(plan, tmp_path / "run.mcap", 2, decoder=decoder)
    assert kinds(found, "nak")[0]["missing"] == [1, 4]
    assert kinds(found, "resent")[0]["packets"] == [1, 4]
    assert [payload.complete for payload in decoder.payloads] == [True, True]
    assert [event["frame"] for event in kinds(found, "acknowledged")] == [0, 1]
    assert conserved(found)


def test_with_fec_arq_asks_only_for_as_many_as_are_short(tmp_path):
    # 16 data packets and 2 repair packets; 4 lost: 2 are made up for, 2 are asked for.
    hop = {**HOP, "loss": {"model": "pattern", "pattern": "x.x.x.x" + "." * 300}}
    plan = session(link(hops=[hop], repair={"arq": True, "fec": 0.15}, **{"return": {"rate_bps": 100}}))
    found = run(plan, tmp_path / "run.mcap", 1)
    nak = kinds(found, "nak")[0]
    assert (nak["missing"], nak["enough"]) == ([0, 2, 4, 6], 2)
    assert kinds(found, "resent")[0]["packets"] == [0, 2]
    assert kinds(found, "closed")[0]["complete"]


def test_small_frames_share_their_repair_packets(tmp_path):
    """Three packets a frame at a fifth: every second frame has one repair packet, and the code costs its share."""
    plan = session(link(repair={"fec": 0.2}), frame_bytes=300, period_s=10)
    found = run(plan, tmp_path / "run.mcap", 40, ToyEncoder(3, 105))
    spent = traffic(found).cost
    data = sum(item.size_bytes for item in packets(found) if item.kind == Kind.DATA)
    assert 0.18 < (spent.fec + spent.header - data + sum(spent.payload.values())) / data < 0.21
    counts = [
        len(fec.split(peek(data).body)[0]) for data in found.data.values() if peek(data).kind == Kind.FEC
    ]
    assert set(counts) == {1, 2}  # one where the savings of those before pay for it
    assert 22 <= len(counts) <= 24
    assert all(event["complete"] for event in kinds(found, "closed"))


def test_a_frame_waits_for_no_repair_packet_and_is_mended_by_that_of_a_later_frame(tmp_path):
    # Six packets and the repair packet of two frames make a block; of the first block the second packet is lost.
    hop = {**HOP, "loss": {"model": "pattern", "pattern": ".x" + "." * 300}}
    plan = session(link(hops=[hop], repair={"fec": 0.2}), frame_bytes=300, period_s=10)
    decoder = ToyDecoder()
    found = run(plan, tmp_path / "run.mcap", 6, ToyEncoder(3, 105), decoder)
    shown = {event["frame"]: event["time_ns"] / S for event in kinds(found, "decoded")}
    captured = {event["frame"]: event["time_ns"] / S for event in kinds(found, "captured")}
    own = (3 * (105 + 1 + 8) + 8) * 8 / 2000 + 1  # its packets with the hash on the air, and the delay
    assert all(shown[frame] - captured[frame] == pytest.approx(own) for frame in range(1, 6))
    assert 10 + own < shown[0] < 10 + own + 1
    assert sorted(payload.sections for payload in decoder.payloads) == sorted(
        sections(n, 3, 105) for n in range(6)
    )
    assert conserved(found)


def test_a_frame_that_is_lost_whole_is_mended_where_its_block_affords_it(tmp_path):
    hop = {**HOP, "loss": {"model": "pattern", "pattern": ".." + "x" + "." * 300}}
    plan = session(link(hops=[hop], repair={"fec": 0.25}), frame_bytes=100, period_s=10)
    decoder = ToyDecoder()
    found = run(plan, tmp_path / "run.mcap", 8, ToyEncoder(1, 80), decoder)
    assert [event["frame"] for event in kinds(found, "closed")] == [0, 1, 3, 4, 2, 5, 6, 7]
    assert all(event["complete"] for event in kinds(found, "closed"))


def test_asking_waits_for_the_repair_packet_of_the_block(tmp_path):
    """What the code can mend is not asked for; what it cannot is asked for when its repair packets are through."""
    back = {"return": {"rate_bps": 100}}
    for lost, asks in ((".x", 0), (".xx", 1)):
        hop = {**HOP, "loss": {"model": "pattern", "pattern": lost + "." * 300}}
        plan = session(
            link(hops=[hop], repair={"arq": True, "fec": 0.2}, **back), frame_bytes=300, period_s=10
        )
        found = run(plan, tmp_path / f"{asks}.mcap", 6, ToyEncoder(3, 105))
        naks = kinds(found, "nak")
        assert len(naks) == asks
        assert all(nak["enough"] == 1 and 10 * S < nak["time_ns"] < 16 * S for nak in naks)
        assert all(event["complete"] for event in kinds(found, "closed"))
        assert conserved(found)


def test_a_packet_lost_on_a_short_hop_costs_no_round_trip_of_the_path(tmp_path):
    """26 bytes lost 5 ms away: 21 minutes where the far end must ask, less than a second where the hop repairs."""
    hops = [
        {
            "name": "near",
            "rate_bps": 2000,
            "delay_s": 0.005,
            "loss": {"model": "pattern", "pattern": ".x" + "." * 99},
        },
        {"name": "far", "rate_bps": 500, "delay_s": 635.24},
    ]
    latency = {}
    for repairs in (False, True):
        ways = [{**hops[0], **({"retransmit": {}} if repairs else {})}, hops[1]]
        plan = session(link(hops=ways, repair={"arq": True}, **{"return": {"rate_bps": 16}}), frame_bytes=160)
        found = run(plan, tmp_path / f"{repairs}.mcap", 1, ToyEncoder(2, 110))
        latency[repairs] = kinds(found, "decoded")[-1]["time_ns"] / S
        assert kinds(found, "decoded")[-1]["complete"]
        assert len(kinds(found, "decoded")) == 1 + (not repairs)
        assert len(kinds(found, "nak")) == (not repairs)
        traffics.check_conservation(found)
    assert latency[False] > 3 * 635.24
    assert latency[True] < 635.24 + 6
    # The repeat and the reports are on the air, and each stands in its place.
    result = result_of(found)
    figures = result.figures
    assert figures["packets"] == {
        "sent": 2, "delivered": 2, "dropped": {}, "duplicated": 0,
    }  # fmt: skip
    assert figures["hops"] == {
        "near": {
            "repeats": {"sent": 1, "bytes": len(found.data[1]), "dropped": {"channel_loss": 1}},
            "reports": {"sent": 2, "bytes": 28, "dropped": {}},
        }
    }
    last = peek(found.data[1])
    assert figures["bytes"]["repair"] == len(last.body) + 8
    reports = sum(found.rows[:, 2] == Fate.REPORTED)
    assert reports == 2
    assert figures["bytes"]["feedback"] == 14 * reports + 8
    row = result.rows[0]
    assert row.on_air_bytes == figures["bytes"]["on_air"] - 14 * reports
    lines = "\n".join(listing.lines(found))
    assert "a try of near that failed" in lines and "what near has" in lines


FAR = {"name": "air", "rate_bps": 2000, "delay_s": 600.0}
ROUND_TRIP_S = 1200.0


def far(lost, **repair):
    """Return a session over a way of ten minutes on which the packets of the pattern *lost* are lost."""
    hop = {**FAR, "loss": {"model": "pattern", "pattern": lost + "." * 300}} if "x" in lost else FAR
    return session(link(hops=[hop], repair={"arq": True, **repair}, **{"return": {"rate_bps": 1000}}))


class CountingDecoder(ToyDecoder):
    """Shows how many sections it got, so that pictures differ."""

    def decode(self, payload):
        shown = super().decode(payload)
        return None if shown is None else shown + np.uint8(sum(map(bool, payload.sections)))


def test_a_picture_with_holes_is_shown_at_once_and_refined_when_it_is_repaired(tmp_path):
    decoder = CountingDecoder()
    found = run(far("....x"), tmp_path / "run.mcap", 1, ToyEncoder(9, 100), decoder)
    first, second = kinds(found, "decoded")
    last_came = max(row[0] for row in found.rows.tolist() if row[1] == 8 and row[2] == Fate.DELIVERED)
    assert first["time_ns"] == kinds(found, "nak")[0]["time_ns"] + 1 == last_came + 1
    assert (first["complete"], first["sections"]) == (False, [True] * 4 + [False] + [True] * 4)
    assert (second["complete"], second["refines"]) == (True, True)
    assert second["time_ns"] == kinds(found, "closed")[0]["time_ns"]
    assert (second["time_ns"] - first["time_ns"]) / S == pytest.approx(ROUND_TRIP_S, abs=2)
    assert [sum(map(bool, payload.sections)) for payload in decoder.payloads] == [8, 9]
    assert png.decode(found.pictures["received"][0]).max() == 9, "the journal's picture is the last"
    (row,) = result_of(found).rows
    assert (row.shown_ns, row.refined_ns, row.status) == (first["time_ns"], second["time_ns"], "complete")


def test_what_is_shown_early_changes_nothing_on_the_air(tmp_path):
    found = {}
    for early in (True, False):
        plan = far("....x..x" + "." * 9 + "x", show_early=early)
        found[early] = run(plan, tmp_path / f"{early}.mcap", 3, ToyEncoder(9, 100))
    assert found[True].rows.tolist() == found[False].rows.tolist() and found[True].data == found[False].data
    said = [[event for event in one.events if event["kind"] != "decoded"] for one in found.values()]
    assert said[0] == said[1]
    assert [event["frame"] for event in kinds(found[True], "decoded")] == [0, 1, 2, 0, 1]
    assert [event["frame"] for event in kinds(found[False], "decoded")] == [2, 0, 1]
    assert not any("refines" in event for event in kinds(found[False], "decoded"))


def test_where_nothing_is_lost_nothing_is_shown_early(tmp_path):
    found = [
        run(far("", show_early=early), tmp_path / f"{early}.mcap", 3, ToyEncoder(9, 100))
        for early in (True, False)
    ]
    assert found[0].events == found[1].events
    assert [event["complete"] for event in kinds(found[0], "decoded")] == [True] * 3


def test_a_deadline_without_repair_leaves_the_picture_as_it_was_shown(tmp_path):
    """Not decoded again: there is nothing new to draw."""
    decoder = ToyDecoder()
    found = run(far("....x....xxxx", arq_rounds=2), tmp_path / "run.mcap", 1, ToyEncoder(9, 100), decoder)
    (shown,), (closed,) = kinds(found, "decoded"), kinds(found, "closed")
    assert len(kinds(found, "nak")) == 2 and len(decoder.payloads) == 1
    assert not shown["complete"] and not closed["complete"]
    assert closed["time_ns"] - shown["time_ns"] > 2 * ROUND_TRIP_S * S
    (row,) = result_of(found).rows
    assert (row.status, row.shown_ns, row.refined_ns) == ("partial", shown["time_ns"], None)
    assert row.sections_received == 8


def test_a_picture_that_is_repaired_in_part_is_drawn_twice_and_no_more(tmp_path):
    """Two packets are lost, one of them each time; the other comes at the first request."""
    decoder = ToyDecoder()
    found = run(far("..x..x....xx", arq_rounds=2), tmp_path / "run.mcap", 1, ToyEncoder(9, 100), decoder)
    assert [sum(map(bool, payload.sections)) for payload in decoder.payloads] == [7, 8]
    assert [(event["complete"], event.get("refines")) for event in kinds(found, "decoded")] == [
        (False, None),
        (False, True),
    ]
    assert len(kinds(found, "nak")) == 2


def test_what_is_not_worth_showing_waits_for_the_answer(tmp_path):
    """The beginning of a file is missing, or the whole frame; the second answer brings the rest."""
    for name, lost, early in (
        ("head", "x", []),
        ("all", "x" * 9 + "x", []),
        ("later", "x" * 9 + "." * 9 + "." + "x", [8]),
    ):
        decoder = ToyDecoder()
        plan = far(lost)
        found = run(plan, tmp_path / f"{name}.mcap", 2 if name != "head" else 1, ToyEncoder(9, 100), decoder)
        mine = [event for event in kinds(found, "decoded") if event["frame"] == 0]
        assert [sum(event["sections"]) for event in mine if "sections" in event] == early, name
        assert mine[-1]["complete"]
        assert mine[-1].get("refines", False) == bool(early)


def test_a_request_does_not_wait_for_the_decoder():
    plan, decoder = far(""), ToyDecoder()
    sender, receiver = cores(plan, 1, ToyEncoder(9, 100), decoder)
    packets = sender.step(0, []).packets
    asked = receiver.step(5, [item for item in enumerate(packets) if item[0] != 4])
    assert [event.kind for event in asked.events] == ["nak"]
    assert (len(asked.packets), asked.next_ns, decoder.payloads) == (1, 6, [])
    shown = receiver.step(6, [])
    assert [event.kind for event in shown.events] == ["decoded"] and len(decoder.payloads) == 1
    assert shown.next_ns > ROUND_TRIP_S * S


def test_what_comes_before_the_drawing_is_in_it():
    """Jitter may bring the missing packet at the same instant: the frame is then closed, and drawn once."""
    plan, decoder = far(""), ToyDecoder()
    sender, receiver = cores(plan, 1, ToyEncoder(9, 100), decoder)
    packets = list(enumerate(sender.step(0, []).packets))
    receiver.step(5, packets[:4] + packets[5:])
    out = receiver.step(6, [packets[4]])
    assert [event.kind for event in out.events] == ["closed", "decoded", "ack"]
    assert len(decoder.payloads) == 1


def test_a_decoder_that_starts_from_its_last_picture_starts_from_the_one_drawn_last(tmp_path):
    """In the order of the run's clock: frame 0 in part, frame 1, then frame 0 refined from frame 1."""

    class Warm(ToyDecoder):
        def __init__(self):
            super().__init__()
            self.last, self.starts = None, []

        def decode(self, payload):
            shown = super().decode(payload)
            if shown is not None:
                number = next(n for n in range(3) if set(payload.sections) & set(sections(n, 9, 100)))
                self.starts.append((number, self.last))
                self.last = number
                shown = shown + np.uint8(10 * len(self.starts) + number)
            return shown

    digests = set()
    for name in ("a", "b"):
        decoder = Warm()
        found = run(far("....x"), tmp_path / name, 3, ToyEncoder(9, 100), decoder)
        assert decoder.starts == [(0, None), (1, 0), (2, 1), (0, 2)]
        assert [png.decode(found.pictures["received"][n]).max() for n in range(3)] == [40, 21, 32]
        digests.add(digest(tmp_path / name))
    assert len(digests) == 1


def test_a_picture_that_was_shown_early_is_on_the_disk_before_the_rest_comes(tmp_path):
    from link.journal import Journal

    plan = far("....x")
    sender, receiver = cores(plan, 1, ToyEncoder(9, 100))
    with Journal(tmp_path / "run.mcap", {"scenario": {}}) as book:
        conductor = Conductor(plan, {}, sender, receiver, book)
        while conductor.now < 700 * S:
            assert conductor.next_ns is not None
            conductor.advance(conductor.next_ns)
        found = read(tmp_path / "run.mcap")
        conductor.finish("aborted")
    assert [event["kind"] for event in found.events if event["frame"] == 0][-1] == "decoded"
    assert set(found.pictures["received"]) == {0} and not kinds(found, "closed")


def test_a_hop_that_repairs_writes_the_same_journal_again(tmp_path):
    hop = {**HOP, "loss": {"model": "gilbert_elliott", "loss": 0.2, "mean_burst": 3}, "retransmit": {}}
    found = [run(session(link(hops=[hop]), seed=3), tmp_path / name, 4) for name in ("a", "b")]
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert counts(found[0])[Fate.REPEATED] > 3
    assert all(event["complete"] for event in kinds(found[0], "closed"))
    traffics.check_conservation(found[0])


def test_a_frame_that_is_lost_whole_is_asked_for(tmp_path):
    hop = {**HOP, "loss": {"model": "pattern", "pattern": "." * 16 + "x" * 16 + "." * 200}}
    plan = session(link(hops=[hop], repair={"arq": True}, **{"return": {"rate_bps": 100}}))
    found = run(plan, tmp_path / "run.mcap", 3)
    assert {"frame": 1, "open_from": 0}.items() <= kinds(found, "nak")[0].items()
    assert sorted(event["frame"] for event in kinds(found, "closed") if event["complete"]) == [0, 1, 2]


def test_asking_gives_up_in_the_end(tmp_path):
    hop = {**HOP, "loss": {"model": "pattern", "pattern": ".x"}}
    plan = session(
        link(
            hops=[hop],
            repair={"arq": True, "arq_rounds": 2},
            **{"return": {"rate_bps": 100, "loss": {"model": "bernoulli", "loss": 1}}},
        )
    )
    found = run(plan, tmp_path / "run.mcap", 2)
    assert len(kinds(found, "nak")) == 4
    assert [event["complete"] for event in kinds(found, "closed")] == [False, False]
    assert len(kinds(found, "gave_up")) == 2
    assert conserved(found)


def test_packets_after_the_deadline_are_dropped_with_that_reason(tmp_path):
    hop = {**HOP, "jitter": {"model": "uniform", "scale_s": 30, "reorder": True}}
    found = run(session(link(hops=[hop], deadline_s=8)), tmp_path / "run.mcap", 4)
    assert counts(found)[Fate.DEADLINE] > 0
    assert conserved(found)


def test_duplicates_and_reordering_change_nothing(tmp_path):
    hop = {**HOP, "duplicate_ratio": 0.5, "jitter": {"model": "uniform", "scale_s": 5, "reorder": True}}
    decoder = ToyDecoder()
    found = run(session(link(hops=[hop])), tmp_path / "run.mcap", 5, decoder=decoder)
    assert sorted(payload.sections for payload in decoder.payloads) == sorted(sections(n) for n in range(5))
    assert counts(found)[Fate.DUPLICATE] == counts(found)[Fate.DUPLICATED] > 10
    assert conserved(found)


def test_flipped_bits_are_found_and_become_losses(tmp_path):
    hop = {**HOP, "bit_error_rate": 0.0005}
    decoder = ToyDecoder()
    found = run(session(link(hops=[hop])), tmp_path / "run.mcap", 20, decoder=decoder)
    assert counts(found)[Fate.BAD_CHECKSUM] > 50
    assert conserved(found)
    for payload in decoder.payloads:
        if not any(payload.sections):
            continue
        sent = next(
            s for s in map(sections, range(20)) if any(part in s for part in payload.sections if part)
        )
        assert all(part is None or part == sent[n] for n, part in enumerate(payload.sections))


def test_priorities_let_the_first_sections_through_a_full_queue(tmp_path):
    hop = {**HOP, "queue": {"limit_bytes": 2500, "classes": 4}}
    have = {}
    for on in (False, True):
        decoder = ToyDecoder()
        plan = session(link(hops=[hop], repair={"priorities": on}), period_s=1)
        found = run(plan, tmp_path / f"{on}.mcap", 12, ToyEncoder(9, 100), decoder)
        assert conserved(found)
        have[on] = sum(all(payload.sections[:3]) for payload in decoder.payloads)
    assert have[True] == 12 > have[False]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    hop = {**HOP, "loss": {"model": "gilbert_elliott", "loss": 0.2, "mean_burst": 3}, "bit_error_rate": 1e-5}
    plan = link(hops=[hop], repair={"arq": True, "fec": 0.2}, **{"return": {"rate_bps": 100}})
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(session(plan, seed=seed), tmp_path / name, 5)
        found.append(digest(tmp_path / name))
    assert found[0] == found[1] != found[2]


def test_ends_with_other_tables_stop_and_name_both(tmp_path):
    plan = session(link())
    sender, _ = cores(plan, 3)
    other = plan.model_copy(update={"camera": plan.camera.model_copy(update={"width": 80})})
    _, receiver = cores(other, 3)
    arrivals = list(enumerate(sender.step(0, []).packets))
    assert receiver.step(1, arrivals[:2]).verdicts == [(0, Fate.BAD_CHECKSUM), (1, Fate.BAD_CHECKSUM)]
    with pytest.raises(FingerprintError, match="disagree") as error:
        receiver.step(2, arrivals[2:4])
    assert error.value.exit_code == 5
    assert error.value.own != error.value.other
    assert error.value.own in str(error.value)
    assert error.value.other in str(error.value)


def copying(seed, ber=0.001):
    """Return a session over a hop that flips bits and two that copy every packet."""
    hops = [
        {"name": "noisy", "rate_bps": 2000, "bit_error_rate": ber},
        {"name": "one", "rate_bps": 20000, "duplicate_ratio": 1},
        {"name": "two", "rate_bps": 20000, "duplicate_ratio": 1},
    ]
    return session(link(hops=hops), seed=seed, frame_bytes=600)


@pytest.mark.parametrize("seed", range(1, 17))
def test_copies_of_a_damaged_packet_are_no_other_fingerprint(tmp_path, seed):
    for ber in (0.001, 0.01):
        found = run(copying(seed, ber), tmp_path / f"{ber}.mcap", 4, ToyEncoder(5, 110))
        assert counts(found)[Fate.BAD_CHECKSUM] > 4
        assert conserved(found)


@pytest.mark.exhaustive
def test_no_seed_makes_damage_another_fingerprint(tmp_path):
    for seed in range(1, 201):
        for ber in (0.0003, 0.001, 0.003, 0.01):
            run(copying(seed, ber), tmp_path / "run.mcap", 4, ToyEncoder(5, 110))


def test_another_fingerprint_is_found_among_copies_and_damage(tmp_path):
    from link.journal import Journal

    for seed in range(1, 6):
        plan = copying(seed)
        other = plan.model_copy(update={"camera": plan.camera.model_copy(update={"width": 80})})
        (sender, _), (_, receiver) = cores(plan, 8, ToyEncoder(5, 110)), cores(other, 8)
        with Journal(tmp_path / f"{seed}.mcap", {"scenario": {}}) as book:
            with pytest.raises(FingerprintError) as error:
                Conductor(plan, {}, sender, receiver, book).run()
        assert (error.value.own, error.value.other) == (fingerprint(other)[:8], fingerprint(plan)[:8])


def resealed(plan, data, **changes):
    """Return the packet *data* with *changes*, and its checksum right again: what 32 bits let through."""
    parsed = peek(data)
    fields = {name: getattr(parsed, name) for name in ("kind", "frame", "index", "body", "priority", "last")}
    return Packet(**{**fields, **changes}).pack(short(fingerprint(plan)))


def changed(plan, data):
    """Return *data* with a byte of its sections changed, and a right checksum."""
    body = peek(data).body
    return resealed(plan, data, body=body[:20] + bytes([body[20] ^ 1]) + body[21:])


def test_a_changed_section_under_a_right_checksum_is_never_shown_as_complete():
    plan, decoder = session(link()), ToyDecoder()
    sender, receiver = cores(plan, 1, ToyEncoder(4, 110), decoder)
    made = sender.step(0, []).packets
    out = receiver.step(5, list(enumerate([made[0], changed(plan, made[1]), *made[2:]])))
    assert [event.kind for event in out.events] == ["damaged", "closed"]
    damaged, closed = out.events
    assert damaged.fields == {"packets": 4, "reason": "the hash over its sections does not hold"}
    assert closed.fields == {"complete": False, "sections": [False], "packets": 0}
    assert not any(any(payload.sections) for payload in decoder.payloads), "no section of it is shown"
    assert [fate for _, fate in out.verdicts] == [Fate.DELIVERED] * 4


def test_a_damaged_frame_is_asked_for_again_and_then_complete():
    plan, decoder = far(""), ToyDecoder()
    sender, receiver = cores(plan, 1, ToyEncoder(4, 110), decoder)
    made = sender.step(0, []).packets
    out = receiver.step(5, list(enumerate([*made[:3], changed(plan, made[3])])))
    assert [event.kind for event in out.events] == ["damaged", "nak"]
    assert out.events[1].fields["open_from"] == 0
    again = sender.step(2000 * S, [(9, out.packets[0])])
    assert [event.fields for event in again.events if event.kind == "resent"] == [{"packets": [0, 1, 2, 3]}]
    out = receiver.step(2600 * S, list(enumerate(again.packets, 10)))
    assert [event.kind for event in out.events] == ["closed", "decoded", "ack"]
    assert out.events[0].fields["complete"]
    assert decoder.payloads == [Payload(sections(0, 4, 110))]


def test_a_frame_that_stays_damaged_is_asked_for_a_fixed_number_of_times_and_closed():
    plan, decoder = far("", arq_rounds=3), ToyDecoder()
    sender, receiver = cores(plan, 1, ToyEncoder(2, 110), decoder)
    made = sender.step(0, []).packets
    bad = [made[0], changed(plan, made[1])]
    said = []
    out = receiver.step(5, list(enumerate(bad)))
    while True:
        said += [event.kind for event in out.events]
        if out.next_ns is None:
            break
        out = receiver.step(out.next_ns + 1, list(enumerate(bad)) if out.packets else [])
    assert Counter(said) == {"damaged": 4, "nak": 3, "closed": 1}
    assert not any(any(payload.sections) for payload in decoder.payloads)


def test_packets_of_two_frames_with_one_number_on_the_wire_make_no_frame():
    plan, decoder = session(link(), period_s=1), ToyDecoder()
    sender, receiver = cores(plan, 2, ToyEncoder(4, 110), decoder)
    made = sender.step(0, []).packets
    # The same frame of 16,384 frames ago would look like this.
    bodies = fragment.fragment(sections(77, 4, 110), timing.body_bytes(plan.link), packet.FRAMES)
    old = [resealed(plan, data, body=body) for data, body in zip(made, bodies, strict=True)]
    out = receiver.step(5, list(enumerate([old[0], *made[1:]])))
    assert [event.kind for event in out.events] == ["damaged", "closed"]
    assert not any(any(payload.sections) for payload in decoder.payloads)
    # All of it is that frame, under its own number.
    _, receiver = cores(plan, 2, decoder=decoder)
    out = receiver.step(5, list(enumerate(old)))
    assert [(event.kind, event.frame) for event in out.events] == [
        ("closed", packet.FRAMES),
        ("decoded", packet.FRAMES),
    ]
    assert decoder.payloads[-1].sections == sections(77, 4, 110)


def test_a_forged_repair_packet_makes_no_frame_and_no_receipt():
    plan, decoder = (
        session(link(repair={"arq": True, "fec": 0.5}, **{"return": {"rate_bps": 100}}), frame_bytes=400),
        ToyDecoder(),
    )
    sender, receiver = cores(plan, 1, ToyEncoder(4, 100), decoder)
    made = sender.step(0, []).packets
    data = [item for item in made if peek(item).kind == Kind.DATA]
    spare = next(item for item in made if peek(item).kind == Kind.FEC)
    body = peek(spare).body
    wrong = resealed(plan, spare, body=body[:20] + bytes([body[20] ^ 1]) + body[21:])
    out = receiver.step(5, list(enumerate([data[0], *data[2:], wrong])))
    assert "damaged" in [event.kind for event in out.events]
    # One that tells of fewer packets than there are.
    _, receiver = cores(plan, 1, decoder=decoder)
    few = resealed(plan, spare, index=2, body=fec.head((2,)) + b"symbol")
    out = receiver.step(5, list(enumerate([data[0], data[1], few])))
    assert "damaged" in [event.kind for event in out.events]
    assert all(peek(item).body for item in out.packets), "an empty body would be a receipt"
    assert decoder.payloads == []


def test_a_frame_of_too_many_packets_is_a_clear_error():
    plan = session(link(mtu_bytes=16))
    sender, _ = cores(plan, 1, ToyEncoder(1, 8000))
    with pytest.raises(UsageError, match="at most 1024"):
        sender.step(0, [])


def test_feedback_that_is_damaged_or_strange_is_refused():
    plan = session(link(repair={"arq": True}, **{"return": {"rate_bps": 100}}))
    sender, receiver = cores(plan, 1)
    packets = sender.step(0, []).packets
    ack = receiver.step(5, list(enumerate(packets))).packets[0]
    damaged = bytes([ack[0] ^ 1]) + ack[1:]
    out = sender.step(9, [(90, damaged), (91, packets[0]), (92, b"xy"), (93, ack), (94, ack)])
    assert [Fate(fate) for _, fate in out.verdicts] == [
        Fate.BAD_CHECKSUM,
        Fate.MALFORMED,
        Fate.MALFORMED,
        Fate.DELIVERED,
        Fate.DEADLINE,
    ]


def test_a_slow_end_has_a_bounded_backlog(tmp_path):
    """An end that never answers takes no more than its backlog; the rest are drops with a reason."""
    from link.journal import Journal

    class Silent:
        def step(self, now, arrivals):
            return None

        def adjust(self, session, times):
            raise AssertionError

    plan = session(link(hops=[{**HOP, "rate_bps": 1e6}]), period_s=0.2, frame_bytes=3000)
    sender, _ = cores(plan, 100)
    with Journal(tmp_path / "run.mcap", {"scenario": {}}) as book:
        conductor = Conductor(plan, {}, sender, Silent(), book)
        while (now := conductor.next_ns) is not None:
            conductor.advance(now)
        conductor.finish("aborted")
    count = Counter(read(tmp_path / "run.mcap").rows[:, 2].tolist())
    assert count[Fate.PEER_SLOW] > 500
    assert len(conductor._waiting[1]) == 1024


def test_every_packet_sent_is_in_the_journal(tmp_path):
    found = run(session(link()), tmp_path / "run.mcap", 2)
    assert sorted(found.data) == list(range(len(found.data)))
    assert {(peek(data).frame, peek(data).index) for data in found.data.values()} == {
        (f, i) for f in (0, 1) for i in range(16)
    }


def test_an_outage_of_many_frames_mixes_up_none(tmp_path):
    """9,000 frames are lost in a row; those after them keep their numbers and are shown."""
    outage = {"windows_s": [[100.0, 9100.0]]}
    hop = {"name": "air", "rate_bps": 1e6, "delay_s": 0.1, "outage": outage}
    plan = session(link(hops=[hop]), period_s=1, frame_bytes=100)
    decoder = ToyDecoder()
    found = run(plan, tmp_path / "run.mcap", 9200, ToyEncoder(1, 30), decoder)
    shown = {event["frame"] for event in kinds(found, "decoded")}
    assert shown == set(range(100)) | set(range(9100, 9200))
    assert counts(found)[Fate.DEADLINE] == 0
    assert decoder.payloads[-1].sections == sections(9199, 1, 30)


def test_a_frame_that_is_overtaken_is_kept_without_asking(tmp_path):
    hop = {
        "name": "air",
        "rate_bps": 20000,
        "delay_s": 1,
        "jitter": {"model": "uniform", "scale_s": 5, "reorder": True},
    }
    plan = session(link(hops=[hop], deadline_s=60), period_s=1, frame_bytes=100)
    found = run(plan, tmp_path / "run.mcap", 60, ToyEncoder(1, 40))
    assert len(kinds(found, "decoded")) == 60
    assert counts(found)[Fate.DELIVERED] == 60


def test_two_classes_are_enough_for_priorities(tmp_path):
    hop = {**HOP, "queue": {"limit_bytes": 2500, "classes": 2}}
    have = {}
    for on in (False, True):
        decoder = ToyDecoder()
        plan = session(link(hops=[hop], repair={"priorities": on}), period_s=1)
        run(plan, tmp_path / f"{on}.mcap", 12, ToyEncoder(9, 100), decoder)
        have[on] = sum(all(payload.sections[:3]) for payload in decoder.payloads)
    assert have[True] > have[False] + 5


def test_a_sender_behind_its_clock_captures_one_frame_a_step():
    plan = session(link(), period_s=1)
    sender, _ = cores(plan, 50)
    out = sender.step(30 * S, [])
    assert [event.kind for event in out.events] == ["captured", "encoded"]
    assert out.next_ns == 30 * S


def test_a_shot_is_taken_when_it_is_due_and_not_before():
    taken = []

    def camera():
        for shot in toys.shots(3):
            taken.append(shot.name)
            yield shot

    plan = session(link(), period_s=1)
    waits = timing.times(plan, {})
    sender = Sender(plan, waits, camera(), ToyEncoder(), fingerprint(plan), toys.no_clock)
    out = sender.step(0, [])
    assert (taken, out.next_ns) == (["toy#0"], S)


def test_many_outstanding_frames_cost_no_more_each(tmp_path):
    """Light time keeps thousands of frames open; the work for each must not grow with them."""
    hop = {"name": "air", "rate_bps": 1e6, "delay_s": 600}
    plan = session(
        link(hops=[hop], repair={"arq": True}, **{"return": {"rate_bps": 1e5}}), period_s=0.2, frame_bytes=100
    )
    found = run(plan, tmp_path / "run.mcap", 4000, ToyEncoder(1, 30))
    assert len(kinds(found, "acknowledged")) == 4000
