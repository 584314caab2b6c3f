"""Several senders to one receiver: whose each frame is, from which node it comes, who hears what is asked, bad input."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from test_metrics import result_of
from toys import ToyDecoder, kinds, play, sections, session, teams
from toys import run as run_one
from typer.testing import CliRunner

from link import journal, packet
from link.channel import NS as S
from link.channel.channel import Channel
from link.config import Session
from link.errors import FingerprintError, UsageError
from link.events import Fate
from link.fingerprint import fingerprint, short
from link.frame import Frame, Payload
from link.hops import Link
from link.packet import Kind, Packet
from scenarios import run as runs
from scenarios import schema
from scenarios.cli import app
from scenarios.report import packets, parts
from scenarios.results import traffic
from scenarios.truth.senders import open_truths, signed

HOPS = [
    {"name": "a-relay", "between": ["a", "relay"], "rate_bps": 4000, "contacts_s": [[5, 400]]},
    {"name": "b-relay", "between": ["b", "relay"], "rate_bps": 4000, "delay_s": 3},
    {"name": "down", "between": ["relay", "earth"], "rate_bps": 4000, "delay_s": 20},
]
NETWORK = {
    "mtu_bytes": 128,
    "nodes": [{"name": "a"}, {"name": "b"}, {"name": "relay"}, {"name": "earth"}],
    "hops": HOPS,
}
ROW = {"mtu_bytes": 128, "hops": [{"name": "out", "rate_bps": 4000, "delay_s": 5}]}
SENDERS = [{"name": "one"}, {"name": "two", "node": "b"}, {"name": "three", "node": "b"}]
FRAMES = 5


class OwnEncoder:
    """Sends sections that say whose they are."""

    def __init__(self, sender: int) -> None:
        self._sender = sender

    def encode(self, frame: Frame) -> Payload:
        return Payload(sections(1000 * self._sender + frame.number, 4, 60))


def plan_of(
    link: dict[str, Any], senders: list[dict[str, Any]], frames: int | None = FRAMES, **more: Any
) -> Session:
    tree = session(link, period_s=30.0, frame_bytes=300).model_dump(by_alias=True)
    tree["camera"]["frames"] = frames
    return Session.model_validate({**tree, "senders": senders, **more})


def run(plan: Session, path: Path) -> tuple[journal.Run, list[ToyDecoder]]:
    sender, receiver, decoders = teams(plan, FRAMES, OwnEncoder)
    return play(plan, path, sender, receiver), decoders


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = tmp_path_factory.mktemp("senders") / "run.mcap"
    return run(plan_of(NETWORK, SENDERS), path)


def test_each_frame_is_its_senders(found):
    made, decoders = found
    for at, decoder in enumerate(decoders):
        assert [item.sections for item in decoder.payloads] == [
            sections(1000 * at + n, 4, 60) for n in range(FRAMES)
        ]
    captured = {event["frame"]: event["sender"] for event in kinds(made, "captured")}
    assert captured == {4 * n + at: SENDERS[at]["name"] for n in range(FRAMES) for at in range(3)}
    assert traffic.senders_of(made) == captured
    assert {event["frame"] for event in kinds(made, "decoded")} == set(captured)


def test_packets_enter_at_their_senders_node(found):
    made, _ = found
    traffic.check_conservation(made)
    first: dict[int, int] = {}
    for _, number, fate, hop, *_ in made.rows.tolist():
        if fate == Fate.CROSSED:
            first.setdefault(number, hop)
    frames = {item.number: item.frame for item in traffic.packets(made)}
    assert {(frames[number] % 4, hop) for number, hop in first.items()} == {(0, 0), (1, 1), (2, 1)}
    assert all(item.on_air for item in traffic.packets(made))


def test_figures_page_and_listing_name_the_sender(found):
    made, _ = found
    result = result_of(made)
    told = result.figures["senders"]
    assert list(told) == ["one", "two", "three"]
    assert all(about["frames"]["complete"] == FRAMES for about in told.values())
    assert sum(about["on_air_bytes"] for about in told.values()) == result.figures["bytes"]["on_air"]
    # a's contact begins at 5 s, b is three seconds away: for the first frame alone the one waits.
    assert told["one"]["latency_s"] < told["two"]["latency_s"] < told["three"]["latency_s"]
    assert {row.sender for row in result.rows} == {"one", "two", "three"}
    page = str(next(iter(parts._senders(result))))
    assert "Frames of each sender" in page and all(name in page for name in told)
    records = list(packets.records(made))
    assert {record["sender"] for record in records} == set(told)
    assert all(record["sender"] == SENDERS[record["frame"] % 4]["name"] for record in records)
    assert any(line.startswith("frame 5 of two: shown") for line in packets.lines(made))


def test_the_same_seed_has_the_same_journal(found, tmp_path):
    run(plan_of(NETWORK, SENDERS), tmp_path / "run.mcap")
    again = journal.read(tmp_path / "run.mcap")
    assert again.rows.tolist() == found[0].rows.tolist() and again.events == found[0].events


@pytest.mark.parametrize("framing", ["compact", "ccsds", "uslp", "bp"])
def test_what_is_asked_for_reaches_who_sent_it(tmp_path, framing):
    hops = [{**hop, "loss": {"model": "bernoulli", "loss": 0.2}} for hop in HOPS]
    repair = {"fec": 0.2, "fec_frames": 3, "arq": True, "arq_rounds": 8}
    link = {**NETWORK, "framing": framing, "hops": hops, "return": {"rate_bps": 2000}, "repair": repair}
    made, decoders = run(plan_of(link, SENDERS), tmp_path / "run.mcap")
    traffic.check_conservation(made)
    asked, resent = kinds(made, "nak"), kinds(made, "resent")
    assert {event["frame"] % 4 for event in asked} == {0, 1, 2}
    assert {event["frame"] for event in resent} <= {event["frame"] for event in asked}
    for at, decoder in enumerate(decoders):
        assert {sections(1000 * at + n, 4, 60) for n in range(FRAMES)} == {
            item.sections for item in decoder.payloads if item.complete
        }


def test_one_sender_alone_is_as_without_a_list(tmp_path):
    tree = session(ROW, period_s=30.0, frame_bytes=300).model_dump(by_alias=True)
    tree["camera"]["frames"] = FRAMES
    plain = run_one(Session.model_validate(tree), tmp_path / "plain.mcap", FRAMES, OwnEncoder(0))
    listed, _ = run(plan_of(ROW, [{"name": "one"}]), tmp_path / "listed.mcap")
    assert listed.rows.tolist() == plain.rows.tolist() and listed.data == plain.data


def test_a_packet_of_nobody_is_dropped_and_damage_is_found():
    plan = plan_of(ROW, [{"name": name} for name in "abc"])
    _, receiver, _ = teams(plan, FRAMES, OwnEncoder)
    own = short(fingerprint(plan))
    forged = Packet(Kind.DATA, 7, 0, bytes(20)).pack(own)  # the fourth's, of three
    broken = bytearray(Packet(Kind.DATA, 1, 0, bytes(20)).pack(own))
    broken[-1] ^= 1
    out = receiver.step(0, [(0, forged), (1, bytes(broken)), (2, b"short")])
    assert dict(out.verdicts) == {0: Fate.MALFORMED, 1: Fate.BAD_CHECKSUM, 2: Fate.MALFORMED}


def test_numbers_on_the_wire_are_those_of_the_journal():
    plan = plan_of({**ROW, "framing": "ccsds"}, [{"name": "a"}, {"name": "b"}])
    sender, _, _ = teams(plan, FRAMES, OwnEncoder)
    out = sender.step(0, [])
    inner = [packet.parse(packet.unwrap(data, "ccsds"), short(fingerprint(plan))) for data in out.packets]
    assert {item.frame for item in inner} == {0, 1} == {event.frame for event in out.events}


def test_senders_share_what_frames_are_cut_to():
    def loaded(count: int) -> schema.Scenario:
        asked = [{"name": f"s{at}"} for at in range(count)]
        settings = [
            "camera.frames=3",
            "codec.name=jpeg2000",
            "codec.frame_bytes=null",
            *([f"senders={json.dumps(asked)}"] if count else []),
        ]
        return schema.load("mars-relay", settings)

    one, two = loaded(0), loaded(2)
    assert two.codec.frame_bytes == pytest.approx(one.codec.frame_bytes / 2, rel=0.1)
    assert two.link.deadline_s > one.link.deadline_s
    assert "senders" not in one.model_dump_json() and "senders" not in schema.to_yaml(one)
    assert schema.Scenario.model_validate_json(two.model_dump_json(by_alias=True)) == two


@pytest.mark.parametrize(
    ("senders", "more", "says"),
    [
        ([{"name": "x"}, {"name": "x"}], {}, "a name of its own"),
        ([{"name": "x", "node": "moon"}], {}, "is at 'moon'"),
        ([{"name": "x", "node": "earth"}], {}, "is at 'earth'"),
        ([{"name": "X!"}], {}, "name"),
        ([{"name": f"s{at}"} for at in range(17)], {}, "at most 16"),
        ([{"name": "x"}, {"name": "y"}], {"frames": 9000}, "at most 8192"),
        ([{"name": "x"}], {"frames": None}, r"give camera\.frames"),
        ([{"name": "x"}], {"live": True}, "not in a live session"),
        ([{"name": "x"}], {"codec": {"name": "gsc", "strength": 0.5}}, "another's"),
    ],
)
def test_what_does_not_fit_is_refused(senders, more, says):
    with pytest.raises(ValueError, match=says):
        plan_of(NETWORK, senders, **more)


def test_a_node_from_which_nothing_leads_on_has_no_sender():
    lost = {**NETWORK, "nodes": [*NETWORK["nodes"][:3], {"name": "lost"}, NETWORK["nodes"][3]]}
    with pytest.raises(ValueError, match="no hops lead from lost to earth"):
        plan_of(lost, [{"name": "x", "node": "lost"}])
    # A sender at the relay itself, where others pass, has the way down alone.
    assert [hop.name for hop in plan_of(NETWORK, [{"name": "x", "node": "relay"}]).link.seen_from(2).way] == [
        "down"
    ]


LORA = {"rate_bps": 100, "delay_s": 0.001}


def star(count: int, medium: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a link of *count* robots that hear nobody and one gateway, all on one channel."""
    names = [f"robot{at}" for at in range(count)]
    hops = [{"name": f"{name}-gate", "between": [name, "gate"], **LORA} for name in names]
    others = [hop["name"] for hop in hops[1:]]
    nodes = [{"name": name} for name in (*names, "gate")]
    return {"mtu_bytes": 100, "nodes": nodes, "hops": hops, "medium": {"hops": others, **(medium or {})}}


def test_robots_that_are_real_meet_on_one_channel():
    """Each begins once a period at random: a packet comes through where none of the others' overlaps it."""
    count, duty, rounds = 4, 0.05, 1500
    period = int(8 * S / duty)
    channel = Channel(Link.model_validate(star(count)), 1, origins=range(count))
    rng = random.Random(5)
    whose = {}
    for turn in range(rounds):
        for after, robot in sorted((rng.randrange(period), robot) for robot in range(count)):
            now = turn * period + after
            channel.advance(now)
            data = Packet(Kind.DATA, 4 * (turn % 4000) + robot, 0, bytes(92)).pack(0)
            whose[channel.send(data, now)] = robot
    while (when := channel.next_ns) is not None:
        channel.advance(when)
    ends = Counter(
        (row[2], whose[row[1]]) for row in channel.rows if row[2] in (Fate.CROSSED, Fate.COLLISION)
    )
    for robot in range(count):
        through = ends[Fate.CROSSED, robot]
        assert through + ends[Fate.COLLISION, robot] == rounds
        assert stats.binomtest(through, rounds, (1 - 2 * duty) ** (count - 1)).pvalue > 0.001
    assert {row[3] for row in channel.rows if row[2] == Fate.CROSSED} == set(range(count))


def test_damage_of_one_senders_packets_is_no_other_ends(tmp_path):
    """The same bit of three packets is flipped, and nothing of the first sender ever comes."""
    plan = plan_of(ROW, [{"name": "one"}, {"name": "two"}])
    own = short(fingerprint(plan))
    whole = [Packet(Kind.DATA, 1, at, bytes([at] * 20)).pack(own) for at in range(4)]
    damaged = [data[:9] + bytes([data[9] ^ 4]) + data[10:] for data in whole[1:]]
    _, receiver, _ = teams(plan, FRAMES, OwnEncoder)
    receiver.step(0, [(0, whole[0])])
    verdicts = receiver.step(1, list(enumerate(damaged, 1))).verdicts
    assert verdicts == [(at, int(Fate.BAD_CHECKSUM)) for at in (1, 2, 3)]
    _, strange, _ = teams(plan, FRAMES, OwnEncoder)
    with pytest.raises(FingerprintError):
        strange.step(0, list(enumerate(damaged)))


@pytest.mark.parametrize("framing", ["compact", "uslp", "bp"])
def test_what_is_no_packet_or_nobodys_goes_where_the_first_sender_is(framing):
    link = Link.model_validate({**star(3), "framing": framing})
    channel = Channel(link, 1, origins=range(3))
    wrapper = packet.Wrapper(framing, feedback=False)
    for at, data in enumerate((b"short", bytes(60), wrapper.wrap(Packet(Kind.DATA, 3, 0, b"x").pack(0), 0))):
        now = at * 100 * S
        channel.advance(now)
        number = channel.send(data, now)
        while (when := channel.next_ns) is not None:
            channel.advance(when)
        crossed = [row[3] for row in channel.rows if row[1] == number and row[2] == Fate.CROSSED]
        assert crossed == [0], "robot0's hop"


def test_robots_that_listen_first_lose_less(tmp_path):
    lost = {}
    for access in ("aloha", "csma"):
        plan = plan_of(
            star(3, {"access": access}), [{"name": f"r{at}", "node": f"robot{at}"} for at in range(3)]
        )
        made, _ = run(plan, tmp_path / f"{access}.mcap")
        traffic.check_conservation(made)
        lost[access] = int((made.rows[:, 2] == Fate.COLLISION).sum())
    # All three begin at once, in each period: those who hear a millisecond late meet too, and then take turns.
    assert lost["csma"] < lost["aloha"] / 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hops": ["moon"]}, "there is no hop 'moon'"),
        ({"hops": ["robot0-gate"]}, "each once"),
        ({"hops": ["robot1-gate", "robot1-gate"]}, "each once"),
        ({"duplex": "half"}, "not together"),
    ],
)
def test_hops_that_cannot_share_a_channel_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        Link.model_validate(star(3, change))


def test_hops_of_one_channel_lead_to_one_node_and_are_alike():
    for more, says in (
        ({"delay_s": 2.0}, "all need the delay_s"),
        ({"retransmit": {"tries": 3}}, "no retransmit"),
        ({"between": ["robot1", "robot2"]}, "does not lead to where"),
    ):
        link = star(3)
        link["hops"][1] |= more
        with pytest.raises(ValueError, match=says):
            Link.model_validate(link)


class SaidTruths:
    """Says of a shot who was asked."""

    def __init__(self, camera: Any, seed: int) -> None:
        self.label_names, self.box_names = ("sky",), None
        self.domain, self.asked = camera.source.partition(":")[2], f"{camera.source} {seed}"

    def of(self, name: str) -> Any:
        return f"{name} of {self.asked}"

    def sequence(self, name: str) -> str:
        return name.partition("#")[0]


def test_truth_is_each_senders_own(monkeypatch):
    def open_truth(camera, seed):
        return None if camera.source == "testcard" else SaidTruths(camera, seed)

    monkeypatch.setattr("scenarios.truth.senders.open_truth", open_truth)
    about: dict[str, Any] = {"camera": {"source": "world:mars"}, "senders": [{"name": "a"}, {"name": "b"}]}
    truths = open_truths(about, 3)
    assert truths is not None
    assert [str(truths.of(signed("x#0", name))) for name in "ab"] == [
        "x#0 of world:mars 3",
        "x#0 of world:mars 4",
    ]
    assert truths.sequence(signed("x#0", "b")) == "b/x" and truths.domain == "mars"
    with pytest.raises(UsageError, match="no picture of a sender"):
        truths.of("x#0")
    assert open_truths({**about, "senders": [{"name": "a"}, {"name": "t", "source": "testcard"}]}, 3) is None
    with pytest.raises(UsageError, match="different kinds of truth"):
        open_truths({**about, "senders": [{"name": "a"}, {"name": "s", "source": "world:street"}]}, 3)
    alone = open_truths({"camera": about["camera"]}, 3)
    assert alone is not None and str(alone.of("x#0")) == "x#0 of world:mars 3"
    plan = plan_of(ROW, [{"name": "a"}, {"name": "b", "source": "testcard"}])
    assert [plan.camera_of(at)[1] for at in (0, 1)] == [plan.seed, plan.seed + 1]
    assert plan.camera_of(1)[0].source == "testcard"


SCENARIO = """
name: two-cameras
camera: {source: testcard, width: 64, height: 48, period_s: 20, frames: 2}
senders: [{name: a}, {name: b}]
codec: {name: jpeg2000, frame_bytes: 400}
link: {mtu_bytes: 128, hops: [{name: out, rate_bps: 2000, delay_s: 1}]}
"""


def test_a_run_of_two_cameras(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(SCENARIO)
    plan = schema.load(str(path))
    assert runs.execute(plan, runs.prepare(tmp_path / "out", plan), transport="inproc") is None
    made = journal.read(tmp_path / "out" / "run.mcap")
    sent = {event["frame"]: event["sender"] for event in kinds(made, "captured")}
    assert sent == {0: "a", 1: "b", 2: "a", 3: "b"}
    assert {event["frame"] for event in kinds(made, "decoded") if event["complete"]} == set(sent)
    assert made.pictures["sent"][0] != made.pictures["sent"][1], "each draws its own"
    listed = CliRunner().invoke(app, ["inspect", str(tmp_path / "out"), "--json"])
    assert {record["sender"] for record in map(json.loads, listed.stdout.splitlines())} == {"a", "b"}
    refused = CliRunner().invoke(app, ["run", str(path), "--realtime", "1", "--out", str(tmp_path / "live")])
    assert refused.exit_code == 2 and "senders: not in a live session" in refused.stderr
    with pytest.raises(UsageError, match="not against the wall clock"):
        runs.execute(plan, tmp_path, factor=1.0)
    asked = ["sweep", str(path), "--vary", "link.rate_bps=80,160", "--out", str(tmp_path / "swept")]
    swept = CliRunner().invoke(app, asked)
    assert swept.exit_code == 2 and "a sweep has one camera" in swept.stderr
