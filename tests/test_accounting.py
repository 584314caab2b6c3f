"""Random links, each run through once: packets and bytes add up, and the journal says so when it is read back."""

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from campaigns import bounded, seed, sizes
from test_metrics import result_of
from toys import ToyDecoder, ToyEncoder, play, run, sections, session, teams

from link.config import Session
from link.events import Fate
from link.frame import Frame, Payload
from link.journal import Run, digest, read
from scenarios.report import pcap
from scenarios.results import traffic


def some(rng: random.Random, chance: float, value: Any) -> Any:
    """Return *value* with a *chance* of so much, else None."""
    return value if rng.random() < chance else None


def random_loss(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        [
            {"model": "bernoulli", "loss": rng.choice([0.01, 0.1, 0.4, 1.0])},
            {
                "model": "gilbert_elliott",
                "loss": rng.choice([0.05, 0.3]),
                "mean_burst": rng.choice([1.5, 4, 20]),
            },
            {"model": "pattern", "pattern": "".join(rng.choice("..x") for _ in range(rng.randrange(1, 30)))},
        ]
    )


def random_outage(rng: random.Random) -> dict[str, Any]:
    about: dict[str, Any] = {"hold": rng.random() < 0.5}
    if rng.random() < 0.5:
        starts = sorted(rng.sample(range(1, 200), 4))
        return {**about, "windows_s": [starts[:2], starts[2:]]}
    return {
        **about,
        "up_s": rng.choice([20.0, 60.0]),
        "down_s": rng.choice([2.0, 30.0]),
        "random": rng.random() < 0.5,
    }


def random_way(rng: random.Random, rate_bps: float) -> dict[str, Any]:
    """Return what the way out and the way back have in common."""
    jitter = {
        "model": rng.choice(["uniform", "normal", "exponential", "pareto"]),
        "scale_s": rng.choice([0.01, 1.0, 20.0]),
        "reorder": rng.random() < 0.5,
    }
    way = {
        "rate_bps": rate_bps,
        "delay_s": rng.choice([0.0, 0.2, 30.0]),
        "jitter": some(rng, 0.4, jitter),
        "loss": some(rng, 0.5, random_loss(rng)),
        "bit_error_rate": some(rng, 0.4, rng.choice([1e-5, 1e-4, 1e-3])),
        "duplicate_ratio": some(rng, 0.3, rng.choice([0.1, 1.0])),
        "outage": some(rng, 0.3, random_outage(rng)),
        "queue": {"limit_bytes": rng.choice([300, 2000, 1 << 20]), "classes": rng.choice([1, 1, 2, 4])},
    }
    return {key: value for key, value in way.items() if value is not None}


def random_medium(rng: random.Random, hops: list[dict[str, Any]]) -> dict[str, Any]:
    """Return others on the channel of one of *hops*, which repairs nothing by itself then."""
    hop = rng.choice(hops)
    hop.pop("retransmit", None)
    medium: dict[str, Any] = {
        "hop": hop["name"],
        "access": rng.choice(["aloha", "slotted", "csma"]),
        "senders": rng.choice([1, 3, 10]),
        "spread_s": rng.choice([5.0, 60.0]),
        "duty_cycle": rng.choice([1.0, 0.5, 0.1]),
        "capture_db": rng.choice([None, 6.0]),
        "power_spread_db": rng.choice([0.0, 6.0]),
    }
    if rng.random() < 0.5:
        medium |= {"duplex": "half", "turnaround_s": rng.choice([0.0, 0.5])}
    return {key: value for key, value in medium.items() if value is not None}


def random_ltp(rng: random.Random) -> dict[str, Any]:
    ltp = {
        "protocol": "ltp",
        "block_bytes": rng.choice([100, 1000, 1 << 16]),
        "report_rate_bps": some(rng, 0.4, rng.choice([50.0, 2000.0])),
        "loss": some(rng, 0.5, random_loss(rng)),
    }
    return {key: value for key, value in ltp.items() if value is not None}


def random_contacts(rng: random.Random) -> list[list[int]]:
    times = sorted(rng.sample(range(1, 700), 2 * rng.randrange(1, 6)))
    return [list(pair) for pair in zip(times[::2], times[1::2], strict=True)]


def add_nodes(rng: random.Random, link: dict[str, Any]) -> None:
    """Give *link* nodes with stores and its hops contacts; sometimes another hop beside the first, or past all."""
    hops = link["hops"]
    for hop in hops:
        if rng.random() < 0.6:
            hop["contacts_s"] = random_contacts(rng)
        if "retransmit" in hop and "outage" in hop:
            hop["outage"]["hold"] = True
    names = [f"node{at}" for at in range(len(hops) + 1)]
    if rng.random() < 0.5:
        for at, hop in enumerate(hops):
            hop["between"] = names[at : at + 2]
        more = random_way(rng, rng.choice([100.0, 4000.0]))
        ends = rng.choice([names[:2], [names[0], names[-1]]])
        hops.append({"name": "beside", **more, "between": ends, "contacts_s": random_contacts(rng)})
    drops = ["oldest", "newest", "least_important"]
    link["nodes"] = [
        {"name": name, "store": {"limit_bytes": rng.choice([400, 3000, 1 << 30]), "drop": rng.choice(drops)}}
        for name in names
    ]
    if rng.random() < 0.5:
        link["lifetime_s"] = rng.choice([20.0, 200.0, 2000.0])


def add_robots(rng: random.Random, link: dict[str, Any]) -> None:
    """Make *link* one of several robots, each with a hop of its own, on one channel or not, to what leads on."""
    names = [f"robot{at}" for at in range(rng.randrange(2, 5))]
    last = link["hops"][-1]
    rate_bps, delay_s = rng.choice([500.0, 4000.0]), rng.choice([0.0, 0.2, 30.0])
    nodes = [*names, "gate"]
    hops = [
        {**random_way(rng, rate_bps), "name": f"{name}-gate", "between": [name, "gate"], "delay_s": delay_s}
        for name in names
    ]
    if rng.random() < 0.5:
        nodes.append("earth")
        hops.append({**last, "name": "down", "between": ["gate", "earth"]})
        if rng.random() < 0.5:
            hops[-1]["contacts_s"] = random_contacts(rng)
    link |= {"hops": hops, "nodes": [{"name": name} for name in nodes]}
    if rng.random() < 0.7:
        medium = random_medium(rng, [hops[0]])
        if medium.get("duplex") == "half":
            medium = {key: value for key, value in medium.items() if key not in ("duplex", "turnaround_s")}
        link["medium"] = {**medium, "hops": [hop["name"] for hop in hops[1 : len(names)]]}


def random_senders(rng: random.Random, link: dict[str, Any]) -> list[dict[str, Any]]:
    """Return several senders, each at the first node or at another that sends; robots first, where there are some."""
    nodes = [node["name"] for node in link.get("nodes", [])]
    robots = [name for name in nodes if name.startswith("robot")]
    senders: list[dict[str, Any]] = [{"name": name, "node": name} for name in robots]
    for at in range(rng.choice([0, 1]) if robots else rng.randrange(2, 6)):
        sender = {"name": f"sender{at}"}
        if nodes and rng.random() < 0.6:
            sender["node"] = rng.choice(nodes[:-1])
        senders.append(sender)
    return senders


class HalvingEncoder(ToyEncoder):
    """Each of its sections is worth half of the one before. Frames of senders are told apart as on the wire."""

    def __init__(self, count: int, size: int, sender: int = 0, stride: int = 1) -> None:
        super().__init__(count, size)
        self._sender, self._stride = sender, stride

    def encode(self, frame: Frame) -> Payload:
        return Payload(sections(frame.number * self._stride + self._sender, self.count, self.size))

    def gains(self, sections: int) -> tuple[float, ...]:
        return tuple(0.5**number for number in range(sections))


def random_sessions(rng: random.Random, number: int) -> Iterator[Session]:
    """Yield links of up to three hops on which anything may be set that is not refused."""
    while True:
        with suppress(ValueError):  # a packet that is longer than the hop is ever up
            yield random_session(rng, number)


def random_session(rng: random.Random, number: int) -> Session:
    hops: list[dict[str, Any]] = []
    for at in range(rng.randrange(1, 4)):
        hop = {"name": f"hop{at}", **random_way(rng, rng.choice([100.0, 500.0, 4000.0]))}
        if rng.random() < 0.25:
            hop["retransmit"] = {
                "tries": rng.choice([2, 5]),
                "window": rng.choice([1, 8, 127]),
                **({"loss": random_loss(rng)} if rng.random() < 0.4 else {}),
            }
            if rng.random() < 0.5:
                hop["retransmit"] = random_ltp(rng)
        hops.append(hop)
    link: dict[str, Any] = {
        "framing": rng.choice(["compact", "ccsds", "uslp", "bp"]),
        "mtu_bytes": rng.choice([32, 64, 128, 300]),
        "hops": hops,
        "repair": {
            "fec": rng.choice([0.0, 0.0, 0.1, 0.3, 1.0]),
            "fec_frames": rng.choice([1, 3, 8]),
            "arq": False,
            "priorities": rng.random() < 0.3,
            "show_early": rng.random() < 0.7,
        },
    }
    if rng.random() < 0.6:
        link["return"] = random_way(rng, rng.choice([16.0, 200.0, 2000.0]))
        link["repair"]["arq"] = rng.random() < 0.8
        link["repair"]["arq_rounds"] = rng.choice([1, 2, 4])
    several = rng.random() < 0.3
    if several and rng.random() < 0.5:
        add_robots(rng, link)
        hops = link["hops"]
    elif rng.random() < 0.35:
        add_nodes(rng, link)
    if "medium" not in link and rng.random() < 0.25:
        link["medium"] = random_medium(rng, hops)
    if link["repair"]["fec"]:
        link["repair"]["fec_spread"] = rng.choice([1, 1, link["repair"]["fec_frames"]])
        link["repair"]["protection"] = rng.choice(["equal", "unequal"])
        link["repair"]["fountain"] = not link["repair"]["arq"] and rng.random() < 0.3
    if any("protocol" in hop.get("retransmit", {}) for hop in hops):
        link["repair"] |= rng.choice([{}, {"red": rng.choice([0.0, 0.3, 1.0])}])
    if rng.random() < 0.2:
        link["deadline_s"] = rng.choice([1.0, 30.0, 500.0])
    made = session(
        link, seed=number, frame_bytes=rng.choice([60, 300, 900]), period_s=rng.choice([1.0, 10.0, 60.0])
    )
    if not several:
        return made
    tree = made.model_dump(by_alias=True)
    tree["camera"]["frames"] = rng.randrange(1, 7)
    return Session.model_validate({**tree, "senders": random_senders(rng, link)})


def run_any(plan: Session, path: Path, frames: int, pieces: int, each: int) -> tuple[Run, list[ToyDecoder]]:
    """Run *plan* with as many senders as it has; return its journal and what decoded each one's frames."""
    if not plan.senders:
        decoder = ToyDecoder()
        return run(plan, path, frames, HalvingEncoder(pieces, each), decoder), [decoder]
    sender, receiver, decoders = teams(plan, frames, lambda at: HalvingEncoder(pieces, each, at, plan.stride))
    return play(plan, path, sender, receiver), decoders


@pytest.mark.slow
@sizes(60, 2000)
def test_what_is_sent_is_delivered_or_dropped_for_a_reason(request, tmp_path, size):
    rng = random.Random(seed(request))
    seen: set[str] = set()
    with bounded(20.0, 256) as meter:
        for number in range(size):
            plan = next(random_sessions(rng, number))
            pieces, each, path = rng.randrange(1, 8), rng.randrange(1, 150), tmp_path / "run.mcap"
            frames = plan.camera.frames or rng.randrange(1, 7)
            with meter.input(plan.model_dump_json(by_alias=True).encode()):
                found, decoders = run_any(plan, path, frames, pieces, each)
                traffic.check_conservation(found)
                seen |= {Fate(fate).name for fate in set(found.rows[:, 2].tolist())}
                check_bytes(found)
                check_frames(found, decoders, plan, frames, pieces, each)
            assert found.complete
            if number % 10 == 0:
                again = tmp_path / "again.mcap"
                run_any(plan, again, frames, pieces, each)
                assert digest(again) == digest(path)
                assert read(again).rows.tolist() == found.rows.tolist()
    print(f"{', '.join(sorted(seen))}")
    if size > 100:
        missing = {fate.name for fate in Fate} - seen
        assert missing <= {"VERSION", "PEER_SLOW", "IN_FLIGHT", "MALFORMED"}, (
            "a random link ought to show every other"
        )


def check_bytes(found: Any) -> None:
    """Every byte on the air is in one place of the breakdown, frame by frame and in all."""
    whole = traffic.traffic(found)
    result = result_of(found).figures
    own = traffic.by_hops(found, whole.sent)
    assert sum(len(data) for _, _, data in pcap.on_air(found)) == whole.cost.on_air
    aired = sum(item.size_bytes for item in whole.sent if item.on_air)
    assert aired + sum(item.size_bytes for item in own) == whole.cost.on_air
    # Reports are of no frame, nor are a hop's repeats of what an earlier hop had damaged.
    of_none = sum(item.size_bytes for item in own if item.frame is None)
    assert sum(cost.on_air for cost in whole.cost_by_frame.values()) + of_none == whole.cost.on_air
    told = result["bytes"]
    parts = ("header", "fec", "repair", "feedback")
    assert (
        sum(told["payload"].values()) + sum(told[part] for part in parts)
        == told["on_air"]
        == whole.cost.on_air
    )
    # Sent = delivered + drops by reason, to the byte.
    by_end: dict[Fate, int] = {}
    for item in whole.sent:
        by_end[item.end] = by_end.get(item.end, 0) + len(found.data[item.number])
    assert all(end == Fate.DELIVERED or end.is_drop for end in by_end)
    assert sum(by_end.values()) == sum(item.size_bytes for item in whole.sent)
    check_stores(found)
    count = result["packets"]
    assert count["sent"] + count["duplicated"] == count["delivered"] + sum(count["dropped"].values())
    shown = result["frames"]
    assert shown["sent"] == shown["complete"] + shown["partial"] + shown["lost"]


def check_stores(found: Any) -> None:
    """No node holds more at a time than its store does, reckoned from when each bundle came and left."""
    nodes = found.head["scenario"]["link"].get("nodes", [])
    kept = (Fate.STORED, Fate.EXPIRED, Fate.STORE_FULL, Fate.NO_ROUTE)
    copies = {row[1] for row in found.rows.tolist() if row[2] == Fate.DUPLICATED}
    for number, node in enumerate(nodes):
        changes = []
        for time, packet, fate, hop, waited, _ in found.rows.tolist():
            if fate in kept and hop == number and waited and packet not in copies:
                size = len(found.data[packet])
                changes += [(time, -size), (time - waited, size)]
        held = peak = 0
        for _, change in sorted(changes):
            held += change
            peak = max(peak, held)
        assert held == 0 and peak <= node["store"]["limit_bytes"]


def check_frames(
    found: Any, decoders: list[ToyDecoder], plan: Session, frames: int, pieces: int, each: int
) -> None:
    """No section came through changed or as another sender's, and what is called complete is."""
    closed = [event for event in found.events if event["kind"] == "closed"]
    assert len({event["frame"] for event in closed}) == len(closed), "a frame is closed once"
    for sender, decoder in enumerate(decoders):
        own = {
            number: sections(number, pieces, each)
            for number in range(sender, frames * plan.stride, plan.stride)
        }
        for payload in decoder.payloads:
            assert any(
                all(
                    section is None or section == parts[at]
                    for at, section in enumerate(payload.sections)
                    if at < pieces
                )
                for parts in own.values()
            )
        whole = [payload.sections for payload in decoder.payloads if payload.complete]
        done = [event["frame"] for event in closed if event["complete"] and event["frame"] in own]
        assert sorted(whole) == sorted(own[number] for number in done)
    assert all(event["frame"] // plan.stride < frames for event in closed)
    assert all(event["frame"] % plan.stride < len(decoders) for event in closed)
