"""`farlink inspect`: the listing of a run whose losses are known; captures that add up to what was on air."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import toys

from link import bundle
from link.errors import StorageError, UsageError
from link.journal import Run
from link.packet import CCSDS_APID
from scenarios import schema
from scenarios.report import packets as inspect
from scenarios.report import pcap
from scenarios.results import traffic

# Two frames of two sections of 66 bytes over 1,000 and 500 bit/s; the second packet is lost on the first hop.
LINK: dict[str, Any] = {
    "mtu_bytes": 64,
    "hops": [
        {"name": "a", "rate_bps": 1000, "delay_s": 0.5, "loss": {"model": "pattern", "pattern": ".x....."}},
        {"name": "b", "rate_bps": 500, "delay_s": 1},
    ],
    "return": {"rate_bps": 100},
    "repair": {"arq": True},
}

LISTING = """\
toy, seed 1, jpeg2000, compact framing
1.0 and 1.1/: piece 0 and piece 1, the last, of section 1; p: class of service
below each packet, in s: hop time-in-queue + time-on-transmitter at time-of-arrival

       sent s  packet way kind     frame.index  p bytes fate           carries
       0.0000       0 ->  data     0.0          0    64 delivered      picture 0.0
                  a 0.000+0.512 at 1.012   b 0.000+1.024 at 3.036
       0.0000       1 ->  data     0.1          0    64 channel loss   picture 0.1/, 1.0
                  a 0.512+0.512 channel loss at 1.024
       0.0000       2 ->  data     0.2          0    45 delivered      picture 1.1/
                  a 1.024+0.360 at 1.884   b 0.152+0.720 at 3.756
       3.7560       3 <-  feedback 0.0          0    11 delivered      NAK 1
                  return 0.000+0.880 at 6.136
       6.1360       4 ->  again    0.1          0    64 delivered      picture 0.1/, 1.0
                  a 0.000+0.512 at 7.148   b 0.000+1.024 at 9.172
       9.1720       5 <-  feedback 0.0          0     8 delivered      ACK
                  return 0.000+0.640 at 11.312

frame 0: shown at 9.172 s
6 of 10 packets
  forward  3 data (173 B), 1 again (64 B), 237 B on the air
           3 delivered, 1 channel loss
  return   2 feedback (19 B), 19 B on the air
           2 delivered
  hop a: 3 crossed, 1 channel loss; on the air 1.896 s; wait 0.384 s mean, 1.024 s most
  hop b: 3 crossed; on the air 2.768 s; wait 0.051 s mean, 0.152 s most
  hop return: 2 crossed; on the air 1.520 s; wait 0.000 s mean, 0.000 s most
"""


def _run(
    tmp_path: Path, link: dict[str, Any] | None = None, frames: int = 2, size: int = 66, **settings: Any
) -> Run:
    plan = toys.session({**LINK, **(link or {})}, period_s=10, **settings)
    return toys.run(plan, tmp_path / "run.mcap", frames, toys.ToyEncoder(2, size))


def _hop(**fields: Any) -> dict[str, Any]:
    return {"name": "a", "rate_bps": 1000, "delay_s": 0.5, **fields}


def _on_air(run: Run) -> int:
    return traffic.traffic(run).cost.on_air


def test_the_listing_of_a_frame(tmp_path: Path) -> None:
    run = _run(tmp_path)
    assert "\n".join(inspect.lines(run, frame=0)) + "\n" == LISTING


def test_the_listing_says_when_pictures_were_shown_and_refined(tmp_path: Path) -> None:
    hop = _hop(loss={"model": "pattern", "pattern": "..x" + "." * 20})
    run = _run(tmp_path, {"hops": [hop, LINK["hops"][1]]})
    both = "frame 0: shown in part with 1 section at 13.036 s, refined at 17.996 s"
    assert both in list(inspect.lines(run, frame=0))
    assert [line.partition(":")[0] for line in inspect.lines(run) if ": shown" in line] == [
        "frame 0",
        "frame 1",
    ]
    assert not any(": shown" in line for line in inspect.lines(run, drops=True))


def test_a_frame_that_the_run_has_not_is_an_error(tmp_path: Path) -> None:
    run = _run(tmp_path)
    inspect.check_frame(run, 0)
    inspect.check_frame(run, 1)
    with pytest.raises(UsageError, match="--frame 999: the run has frames 0 to 1"):
        inspect.check_frame(run, 999)
    none = Run(run.head, [], run.rows, run.data, run.pictures, True)
    with pytest.raises(UsageError, match="the run has no frame"):
        inspect.check_frame(none, 0)


def test_the_listing_of_drops_alone(tmp_path: Path) -> None:
    run = _run(tmp_path)
    (drop,) = inspect.records(run, drops=True)
    assert (drop["packet"], drop["fate"], drop["fate_ns"]) == (1, "channel_loss", 1_024_000_000)
    assert drop["on_air"]
    assert drop["hops"] == [
        {
            "hop": "a",
            "fate": "channel_loss",
            "waited_ns": 512_000_000,
            "transmitted_ns": 512_000_000,
            "time_ns": 1_024_000_000,
        }
    ]
    assert list(inspect.records(run, frame=1, drops=True)) == []
    assert "0 of 10 packets" in list(inspect.lines(run, frame=1, drops=True))


def test_a_record_says_everything_and_is_json(tmp_path: Path) -> None:
    run = _run(tmp_path)
    found = [json.loads(json.dumps(record)) for record in inspect.records(run)]
    assert [record["packet"] for record in found] == list(range(10))
    first, request, confirmation = found[1], found[3], found[5]
    assert first["sections"] == [
        {"kind": "picture", "section": 0, "piece": 1, "final": True, "size_bytes": 12},
        {"kind": "picture", "section": 1, "piece": 0, "final": False, "size_bytes": 39},
    ]
    assert request["request"] == {"complete": False, "missing": [1], "open_from": None, "enough": 0}
    assert request["direction"] == "return"
    assert request["kind"] == "feedback"
    assert confirmation["request"]["complete"]
    assert sum(record["size_bytes"] for record in found if record["on_air"]) == _on_air(run)


def test_repair_packets_and_full_queues(tmp_path: Path) -> None:
    hops = [_hop(queue={"limit_bytes": 72})]
    run = _run(tmp_path, {"hops": hops, "return": None, "repair": {"fec": 1.0}}, frames=1, size=70)
    found = list(inspect.records(run))
    assert [record["kind"] for record in found] == ["data"] * 4 + ["fec"] * 2
    # One packet of 60 bytes on the transmitter, then 30 and 38 bytes in a queue of 72.
    assert [record["packet"] for record in found if record["fate"] == "queue_full"] == [2, 4, 5]
    assert not found[-1]["on_air"]
    text = "\n".join(inspect.lines(run))
    assert "queue full     repair symbol" in text
    assert "a 0.000+0.000 queue full at 0.000" in text
    assert text.endswith(
        "hop a: 3 crossed, 3 queue full; on the air 1.024 s; wait 0.400 s mean, 0.720 s most"
    )


def test_a_copy_says_of_which_packet_it_is(tmp_path: Path) -> None:
    run = _run(
        tmp_path, {"hops": [_hop(duplicate_ratio=1), {**_hop(duplicate_ratio=1), "name": "b"}]}, frames=1
    )
    found = {record["packet"]: record for record in inspect.records(run)}
    copies = [record for record in found.values() if record["kind"] == "copy"]
    assert len(copies) == 9  # of three packets on the first hop, of the six on the second
    for copy in copies:
        origin = found[copy["copy_of"]]
        assert origin["kind"] == "data"
        assert (copy["frame"], copy["index"], copy["size_bytes"]) == (
            0,
            origin["index"],
            origin["size_bytes"],
        )
        assert not copy["on_air"]
    assert (
        sum(record["fate"] == "delivered" for record in found.values() if record["direction"] == "forward")
        == 3
    )
    assert f"copy of {copies[0]['copy_of']}, picture" in "\n".join(inspect.lines(run))


def test_copies_that_cannot_be_told_apart_say_so(tmp_path: Path) -> None:
    trace = tmp_path / "burst.down"
    trace.write_text("1000\n")  # 1504 bytes at once: all three packets of a frame leave at one time
    hops = [{"name": "a", "trace": str(trace), "duplicate_ratio": 1}]
    run = _run(tmp_path, {"hops": hops, "return": None, "repair": {}}, frames=1)
    copies = [record for record in inspect.records(run) if record["kind"] == "copy"]
    assert len(copies) == 3
    assert {record["copy_of"] for record in copies} == {None}
    assert sum("copy of ?" in line for line in inspect.lines(run)) == 3


@pytest.mark.parametrize("name", schema.preset_names())
def test_a_listing_fits_the_terminal_and_a_capture_adds_up(name: str, tmp_path: Path) -> None:
    plan = schema.load(name, ["codec.name=jpeg2000"]).session()  # a fingerprint needs the codec's weights
    encoder = toys.ToyEncoder(8, (plan.codec.frame_bytes or 0) // 8)
    run = toys.run(plan, tmp_path / "run.mcap", 4, encoder)
    text = list(inspect.lines(run))
    assert max(map(len, text)) <= inspect.WIDTH
    births = sum(item["fate"] != "" for item in inspect.records(run))
    assert f"{births} packets" in text
    packets, size = pcap.export(run, tmp_path / "run.pcap")
    assert size == _on_air(run)
    assert (tmp_path / "run.pcap").stat().st_size == 24 + 16 * packets + size


def test_a_journal_cut_short_is_listed(tmp_path: Path) -> None:
    run = _run(tmp_path)
    rows = run.rows[run.rows[:, 0] < 3_000_000_000]
    cut = Run(run.head, run.events[:2], rows, run.data, run.pictures, False)
    assert [record["fate"] for record in inspect.records(cut)] == ["in_flight", "channel_loss", "in_flight"]
    assert "3 packets; the journal was cut short" in list(inspect.lines(cut))


# Captures.


def _records(blob: bytes) -> list[tuple[int, bytes]]:
    """Return (time in ns, bytes) of each record of a big-endian pcap file."""
    at, found = 24, []
    while at < len(blob):
        seconds, nanoseconds, kept, length = (
            int.from_bytes(blob[at + n : at + n + 4], "big") for n in range(0, 16, 4)
        )
        assert kept == length
        found.append((seconds * 10**9 + nanoseconds, blob[at + 16 : at + 16 + length]))
        at += 16 + length
    return found


def test_a_capture_byte_by_byte(tmp_path: Path) -> None:
    run = _run(tmp_path)
    file = tmp_path / "run.pcap"
    packets, size = pcap.export(run, file)
    blob = file.read_bytes()
    assert blob[:24].hex(" ", 4) == "a1b23c4d 00020004 00000000 00000000 00010005 00000093"
    assert blob[24:40].hex(" ", 4) == "00000000 00000000 00000040 00000040"
    assert (packets, size) == (10, 437)
    assert size == _on_air(run)
    found = _records(blob)
    # The second and third wait 0.512 and 1.024 s in the queue of the first hop.
    assert [time for time, _ in found[:5]] == [0, 512_000_000, 1_024_000_000, 3_756_000_000, 6_136_000_000]
    assert [data for _, data in found] == [run.data[number] for number in range(10)]


def test_a_capture_leaves_out_what_never_left(tmp_path: Path) -> None:
    hops = [_hop(queue={"limit_bytes": 72}, duplicate_ratio=1)]
    run = _run(tmp_path, {"hops": hops, "return": None, "repair": {"fec": 1.0}}, frames=1, size=70)
    assert pcap.export(run, tmp_path / "run.pcap")[0] == 3
    found = [data for _, data in _records((tmp_path / "run.pcap").read_bytes())]
    assert found == [run.data[record["packet"]] for record in inspect.records(run) if record["on_air"]]


def test_packets_in_one_opportunity_of_a_trace_are_captured(tmp_path: Path) -> None:
    trace = tmp_path / "burst.down"
    trace.write_text("1000\n")
    run = _run(
        tmp_path, {"hops": [{"name": "a", "trace": str(trace)}], "return": None, "repair": {}}, frames=1
    )
    assert pcap.export(run, tmp_path / "run.pcap") == (3, 173)


def test_a_capture_is_whole_or_not_there(tmp_path: Path) -> None:
    run = _run(tmp_path)
    target = tmp_path / "taken"
    target.mkdir()
    with pytest.raises(StorageError, match="taken"):
        pcap.export(run, target)
    assert sorted(os.listdir(tmp_path)) == ["run.mcap", "taken"]


BUNDLES = """\
toy, seed 1, jpeg2000, bp framing
1.0 and 1.1/: piece 0 and piece 1, the last, of section 1; p: class of service
below each packet, in s: hop time-in-queue + time-on-transmitter at time-of-arrival

       sent s  packet way kind     frame.index  p bytes fate           carries
       0.0000       0 ->  data     0.0          0   120 channel loss   picture 0
                  bundle 820540800000.0 from ipn:1.1 to ipn:2.1 for 4.29497e+06 s, 45 B around the packet
                  a 0.000+0.960 channel loss at 0.960

1 of 10 packets
  forward  1 data (120 B), 120 B on the air
           1 channel loss
  hop a: 1 channel loss; on the air 0.960 s; wait 0.000 s mean, 0.000 s most
"""


def test_bundles_are_listed_and_counted(tmp_path: Path) -> None:
    hop = _hop(loss={"model": "pattern", "pattern": "x......."})
    run = _run(tmp_path, {"framing": "bp", "mtu_bytes": 128, "hops": [hop, LINK["hops"][1]]})
    assert "\n".join(inspect.lines(run, frame=0, drops=True)) + "\n" == BUNDLES
    cost = traffic.traffic(run).cost
    assert sum(cost.payload.values()) == 2 * 2 * 66
    assert cost.on_air == sum(map(len, run.data.values()))
    records = list(inspect.records(run))
    assert {record["bundle"]["around_bytes"] for record in records} == {44, 45}  # those of requests are short
    assert all(
        record["bundle"]["created_ms"] - 820_540_800_000 == record["sent_ns"] // 10**6 for record in records
    )


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_dissects_bundles(tmp_path: Path) -> None:
    run = _run(tmp_path, {"framing": "bp", "mtu_bytes": 128})
    file = tmp_path / "run.pcap"
    packets, size = pcap.export(run, file)
    assert size == _on_air(run)
    fields = ("_ws.col.Protocol", "bpv7.primary.src_uri", "bpv7.create_ts.seqno", "frame.len")
    command = ["tshark", "-r", str(file), "-T", "fields", *(part for each in fields for part in ("-e", each))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == packets
    for row, (_, _, data) in zip(rows, pcap.on_air(run), strict=True):
        around = bundle.parse(data)
        about = ["BPv7", around.source, str(around.sequence), str(len(data) + 12)]
        assert row == about
    whole = subprocess.run(["tshark", "-r", str(file), "-V"], capture_output=True, text=True, check=True)
    assert whole.stdout.count("[CRC Status: Good]") == packets
    assert whole.stdout.count("Canonical Block: Payload") == packets
    assert "Malformed" not in whole.stdout and "[CRC Status: Bad" not in whole.stdout


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_dissects_space_packets(tmp_path: Path) -> None:
    run = _run(tmp_path, {"framing": "ccsds"})
    file = tmp_path / "run.pcap"
    packets, _ = pcap.export(run, file)
    fields = ("ccsds.apid", "ccsds.type", "ccsds.seqnum", "ccsds.length", "frame.len", "frame.time_epoch")
    command = ["tshark", "-r", str(file), "-o", 'uat:user_dlts:"User 0 (DLT=147)","ccsds","0","","0",""']
    command += ["-T", "fields", *(part for field in fields for part in ("-e", field))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == packets
    counts = {True: 0, False: 0}
    sent = {item.number: item for item in traffic.packets(run)}
    for row, (start, number, _) in zip(rows, pcap.on_air(run), strict=True):
        item = sent[number]
        apid, _, sequence, length, size, time = row
        assert int(apid, 0) == CCSDS_APID
        assert int(sequence) == counts[item.forward]
        assert int(size) == item.size_bytes
        assert int(length) == item.size_bytes - 6 - 1
        assert time == f"{start // 10**9}.{start % 10**9:09d}"
        counts[item.forward] += 1
