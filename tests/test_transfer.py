"""Files over scenarios' links by CFDP: closed forms, bytes that add up over random links, and the command."""

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from campaigns import seed, sizes
from test_accounting import random_sessions
from toys import session
from typer.testing import CliRunner

from link import packet
from link.cfdp.pdus import CfdpCondition
from link.cfdp.transfer import FileTransfer, WayCounts, transfer
from link.errors import UsageError
from scenarios.cli import app

FILE = random.Random(0).randbytes(5000)


def plan(mtu_bytes: int = 113, framing: str = "compact", seed: int = 1, **hop: Any) -> Any:
    """A hop of 8 kbit/s and 100 s; 100 bytes of the file fit a PDU in compact framing."""
    way = {"name": "air", "rate_bps": 8000, "delay_s": 100, **hop}
    link = {"mtu_bytes": mtu_bytes, "framing": framing, "hops": [way], "return": {"rate_bps": 1000}}
    return session(link, seed=seed)


def check_counts(found: FileTransfer) -> None:
    for way in (found.out, found.back):
        assert way.sent + way.copies == way.delivered + way.damaged + sum(way.dropped.values())


def test_a_lossless_transfer_is_its_closed_form() -> None:
    found = transfer(plan(), {}, FILE, "a.jpg")
    assert found.complete and found.data == FILE and found.again_bytes == 0
    metadata, end, ack = 9 + 2 + 4 + 2 * 6, 9 + 10, 9 + 3
    out = metadata + 50 * 113 + end
    assert found.out == WayCounts(sent=53, delivered=53, on_air_bytes=out + ack)
    # The end is acknowledged, and Finished follows.
    assert found.back == WayCounts(sent=2, delivered=2, on_air_bytes=ack + 9 + 2)
    assert found.ended_s == pytest.approx(out / 1000 + 100)
    assert found.told_s == pytest.approx(out / 1000 + 100 + (ack + 11) / 125 + 100)
    ways = [data for _, data in found.pdus]
    assert sum(map(len, ways)) == found.out.on_air_bytes + found.back.on_air_bytes


@pytest.mark.parametrize(("framing", "around"), [("ccsds", 6), ("uslp", 22), ("bp", 45)])
def test_what_is_around_pdus_is_counted(framing: str, around: int) -> None:
    whole = transfer(plan(), {}, FILE, "a.jpg").out.on_air_bytes
    found = transfer(plan(113 + (48 if framing == "bp" else around), framing), {}, FILE, "a.jpg")
    # A bundle has a byte of length less around short PDUs, and its MTU leaves room for a wider sequence number.
    assert found.complete and found.out.sent >= 53
    pdus = sum(len(data) for _, data in found.pdus[: found.out.sent])
    if framing == "bp":
        assert found.out.on_air_bytes == pytest.approx(whole + around * found.out.sent, abs=100)
    else:
        assert found.out.on_air_bytes == whole + around * 53 and pdus > 5000


def test_a_lost_pdu_costs_a_round_trip_and_itself() -> None:
    clean = transfer(plan(), {}, FILE, "a.jpg")
    found = transfer(plan(loss={"model": "pattern", "pattern": "..x" + "." * 200}), {}, FILE, "a.jpg")
    assert found.complete and found.out.dropped == {"channel_loss": 1} and found.again_bytes == 100
    assert found.ended_s is not None and clean.ended_s is not None
    nak = 9 + 1 + 8 + 8
    assert found.ended_s - clean.ended_s == pytest.approx(200 + (9 + 3 + nak) / 125 + 0.113, abs=0.01)
    once = transfer(
        plan(loss={"model": "pattern", "pattern": "..x" + "." * 200}), {}, FILE, "a.jpg", acknowledged=False
    )
    assert once.condition == CfdpCondition.CHECK_LIMIT and once.missing_bytes == 100
    assert (
        once.data == FILE[:100] + bytes(100) + FILE[200:] and once.sender_condition == CfdpCondition.NO_ERROR
    )


@pytest.mark.parametrize("delay_s", [0.75, 1335.0])
def test_bursts_of_loss_are_mended(delay_s: float) -> None:
    """30 % in bursts of three, both ways, at the delays of the Moon and of Mars at its farthest: always whole."""
    loss = {"model": "gilbert_elliott", "loss": 0.3, "mean_burst": 3}
    ratios = []
    for number in range(12):
        link = {
            "mtu_bytes": 256,
            "hops": [{"name": "air", "rate_bps": 8000, "delay_s": delay_s, "loss": loss}],
            "return": {"rate_bps": 1000, "loss": loss},
        }
        found = transfer(session(link, seed=number), {}, FILE * 4, "a.jpg")
        check_counts(found)
        assert found.complete and found.sender_condition == CfdpCondition.NO_ERROR
        ratios.append(found.out.on_air_bytes / len(FILE * 4))
    # Everything once, and what is lost again until it is not: 1 / (1 - .3), and a PDU's 13 bytes beside 243.
    assert 1.38 < sum(ratios) / len(ratios) < 1.75


def test_the_sender_waits_for_the_next_pass() -> None:
    """Up for 2 s of 60: some 18 PDUs a pass, none of them pushed into a queue that holds nothing."""
    outage = {"up_s": 2, "down_s": 58, "hold": True}
    found = transfer(plan(outage=outage, queue={"limit_bytes": 256}), {}, FILE, "a.jpg")
    assert found.complete and not found.out.dropped and found.ended_s is not None
    assert 2 * 60 + 100 < found.ended_s < 4 * 60 + 100
    check_counts(found)


def test_a_duty_cycle_is_no_slower_transmitter() -> None:
    """A PDU fits between outages though its turn, with the silence after it, does not."""
    link = {
        "mtu_bytes": 113,
        "hops": [{"name": "air", "rate_bps": 800, "outage": {"up_s": 4, "down_s": 2, "hold": True}}],
        "medium": {"senders": 1, "duty_cycle": 0.1},
    }
    found = transfer(session(link), {}, FILE[:1000], "a.jpg", acknowledged=False)
    check_counts(found)
    assert found.out.sent == 12 and found.ended_s is not None
    assert 12 * 11.3 * 0.8 < found.ended_s < 12 * 11.3 * 2


def test_a_duty_cycle_holds_on_every_hop_of_the_channel() -> None:
    """The robot that sends is on a hop that `medium.hops` names, and sends no faster than the other would."""
    hops = [{"name": f"r{at}-gate", "between": [f"r{at}", "gate"], "rate_bps": 800} for at in (0, 1)]
    ended = []
    for own, other in (("r0-gate", "r1-gate"), ("r1-gate", "r0-gate")):
        link = {
            "mtu_bytes": 113,
            "nodes": [{"name": "r0"}, {"name": "r1"}, {"name": "gate"}],
            "hops": [{**hop, "queue": {"limit_bytes": 400}} for hop in hops],
            "medium": {"hop": own, "hops": [other], "senders": 1, "duty_cycle": 0.1},
        }
        found = transfer(session(link), {}, FILE[:1000], "a.jpg", acknowledged=False)
        assert found.missing_bytes == 0 and not found.out.dropped
        ended.append(found.ended_s)
    assert ended[0] is not None and ended[0] == ended[1] > 12 * 11.3 * 0.8


def test_blackouts_of_the_way_back_are_counted_on() -> None:
    link = {"mtu_bytes": 113, "hops": [{"name": "air", "rate_bps": 8000}], "return": {"rate_bps": 8000}}
    calm = transfer(session(link), {}, FILE[:1000], "a.jpg")
    link["return"] = {"rate_bps": 8000, "outage": {"up_s": 7, "down_s": 13, "random": True}}
    dark = [transfer(session({**link}, seed=seed), {}, FILE[:1000], "a.jpg") for seed in range(12)]
    assert calm.tries == 5 and dark[0].tries > 30, "one in a million loses all of them"
    assert all(found.condition == found.sender_condition == CfdpCondition.NO_ERROR for found in dark)


def test_bits_that_flip_are_damage() -> None:
    found = transfer(plan(bit_error_rate=1e-4), {}, FILE * 4, "a.jpg")
    check_counts(found)
    assert found.complete and 10 < found.out.damaged < 40 and found.again_bytes >= 1000


@sizes(60, 3000)
def test_bytes_add_up_over_random_links(request: pytest.FixtureRequest, size: int) -> None:
    """Whatever a link does, the ends come to rest with a condition, and each PDU is delivered, damaged or dropped."""
    number = seed(request)
    rng = random.Random(number)
    whole = 0
    for plan_, _ in zip(random_sessions(rng, number), range(size), strict=False):
        acknowledged = plan_.link.return_ is not None and rng.random() < 0.7
        file = FILE[: rng.choice([0, 10, 1500])]
        if packet.body_bytes(plan_.link.mtu_bytes, plan_.link.framing) < 35 - packet.HEADER_BYTES:
            with pytest.raises(UsageError, match=r"raise link\.mtu_bytes"):
                transfer(plan_, {}, file, "photo.jpg", acknowledged=acknowledged)
            continue
        found = transfer(plan_, {}, file, "photo.jpg", acknowledged=acknowledged)
        check_counts(found)
        assert found.sender_condition is not None
        assert (found.condition is None) == (found.out.delivered == 0)
        if found.complete:
            whole += 1
            assert found.missing_bytes == 0
        if acknowledged and found.sender_condition == CfdpCondition.NO_ERROR:
            assert found.complete
    print(f"{whole} of {size} whole")
    assert size // 5 < whole


def test_the_same_seed_is_the_same_transfer() -> None:
    way: dict[str, Any] = {
        "loss": {"model": "bernoulli", "loss": 0.2},
        "jitter": {"scale_s": 1.0, "reorder": True},
    }
    first, again, other = (transfer(plan(seed=number, **way), {}, FILE, "a.jpg") for number in (1, 1, 2))
    assert first == again != other


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, ["scenarios", "transfer", *words])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(FILE)
    return path


def test_the_command(photo: Path, tmp_path: Path) -> None:
    done = invoke("lunar-relay", str(photo), "-o", str(tmp_path / "there.jpg"))
    assert done.exit_code == 0, done.output
    assert "photo.jpg, 5000 bytes, by CFDP class 2" in done.stdout and "times the file" in done.stdout
    assert (tmp_path / "there.jpg").read_bytes() == FILE
    assert max(map(len, done.stdout.splitlines())) <= 120
    told = invoke("lunar-relay", str(photo), "--cfdp", "1", "--closure", "--checksum", "modular", "--json")
    found = json.loads(told.stdout)
    assert (found["class"], found["complete"], found["sender_condition"]) == (1, True, "no_error")
    assert found["ratio"] == found["out"]["on_air_bytes"] / 5000


def test_what_does_not_arrive_is_exit_code_3(photo: Path, tmp_path: Path) -> None:
    lossy = ("--set", "link.hops.0.loss={model: pattern, pattern: '..x.........'}")
    done = invoke("deep-space", str(photo), "--cfdp", "1", *lossy, "--json", "-o", str(tmp_path / "part.jpg"))
    assert done.exit_code == 3
    found = json.loads(done.stdout)
    assert not found["complete"] and found["missing_bytes"] > 0 and found["condition"] == "check_limit"
    part = (tmp_path / "part.jpg").read_bytes()
    assert len(part) == 5000 and part != FILE
    assert sum(a == b for a, b in zip(part, FILE, strict=True)) >= 5000 - found["missing_bytes"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("deep-space", "PHOTO"), "needs a return channel"),
        (("lunar-relay", "nowhere.jpg"), "nowhere.jpg"),
        (("lunar-relay", "PHOTO", "--checksum", "md5"), "crc32, null were expected"),
        (
            ("lunar-relay", "PHOTO", "--set", "link.mtu_bytes=24"),
            "too small; at least 35; raise link.mtu_bytes (24)",
        ),
        (("lunar-relay", "PHOTO", "--cfdp", "3"), None),
    ],
)
def test_bad_input_is_a_line(photo: Path, words: tuple[str, ...], said: str | None) -> None:
    done = invoke(*(str(photo) if word == "PHOTO" else word for word in words))
    assert done.exit_code == 2
    assert said is None or (said in done.output and len(done.output.splitlines()) == 1)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_dissects_pdus(photo: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.pcap"
    lossy = ("--set", "link.hops.0.loss={model: pattern, pattern: '..x.........'}")
    done = invoke("lunar-relay", str(photo), "--pcap", str(file), *lossy)
    assert done.exit_code == 0, done.output
    whole = subprocess.run(
        ["tshark", "-r", str(file), "-V"], capture_output=True, text=True, check=True
    ).stdout
    assert "Malformed" not in whole and "CFDP" in whole
    rows = subprocess.run(
        ["tshark", "-r", str(file), "-T", "fields", "-e", "_ws.col.Protocol", "-e", "_ws.col.Info"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert {row.split("\t")[0] for row in rows} == {"CFDP"}
    text = "\n".join(rows)
    for said in ("Metadata", "EOF", "Finished", "NAK", "ACK", "File data"):
        assert said.lower() in text.lower(), said
