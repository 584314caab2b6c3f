"""A run packet by packet, from its journal: what each carried, how long each hop took, what became of it.

`records` gives one flat object a packet for other programs, `lines` the same for people, on 120 columns:

         sent s  packet way kind     frame.index  p bytes fate           carries
        60.0000      25 ->  data     1.2          0   125 delivered      picture 1.0
                      rover-orbiter 0.880+0.500 at 61.385   orbiter-earth 2.640+2.000 at 701.265
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from link import bundle, fragment, packet
from link.channel import NS
from link.errors import UsageError
from link.events import BIRTHS, Fate
from link.journal import Run
from link.packet import Kind
from link.repair import arq
from scenarios.report import ltp
from scenarios.results import traffic
from scenarios.results.hop_packets import HopPacket
from scenarios.results.stores import DEATHS, node_figures

WIDTH = 120
_INDENT = 18
_HEAD = """\
1.0 and 1.1/: piece 0 and piece 1, the last, of section 1; p: class of service
below each packet, in s: hop time-in-queue + time-on-transmitter at time-of-arrival

       sent s  packet way kind     frame.index  p bytes fate           carries"""


@dataclass
class _Way:
    """A packet's rows, in order."""

    born: tuple[int, int] = (0, 0)
    """(time, hop) at which it was sent, or made as a copy."""
    hops: list[tuple[int, int, Fate, int, int]] = field(default_factory=list)
    stores: list[tuple[int, int, Fate, int]] = field(default_factory=list)
    """(hop, time, fate, waited_ns, transmitted_ns) of each hop that it came to."""
    end: tuple[int, Fate] | None = None


def records(run: Run, *, frame: int | None = None, drops: bool = False) -> Iterator[dict[str, Any]]:
    """Yield one object for each packet and copy, in the order of sending; times in ns of run time.

    *frame* keeps the packets of that frame, feedback about it included; *drops* those that were dropped. A
    copy says in `copy_of` which packet it is of, None where several left the transmitter at that instant.
    """
    scenario = traffic.scenario(run)
    names = [hop["name"] for hop in scenario["link"]["hops"]]
    nodes = [node["name"] for node in scenario["link"].get("nodes", ())]
    ways = _ways(run)
    sent = {item.number: item for item in traffic.packets(run)}
    whose = traffic.senders_of(run)
    by_hops = {own.number: own for own in traffic.by_hops(run, sent.values())}
    speak = {own.hop for own in by_hops.values() if own.kind == "segment"}
    origins = _origins(ways, sent)
    for number in sorted(ways, key=lambda number: (ways[number].born[0], number)):
        way = ways[number]
        own = by_hops.get(number)
        copy_of = None if number in sent or own is not None else origins.get(number)
        item = sent.get(number if copy_of is None else copy_of)
        fate = Fate.IN_FLIGHT if way.end is None else way.end[1]
        about = own if own is not None else item
        if (frame is not None and (about is None or about.frame != frame)) or (drops and not fate.is_drop):
            continue
        yield {
            "packet": number,
            "copy_of": copy_of,
            "sent_ns": way.born[0],
            "direction": "forward" if way.born[1] >= 0 else "return",
            **(_identity(item, copy=number not in sent) if own is None else _by_hop(own, names)),
            **(
                {"ltp": ltp.describe(run.data[number])}
                if own is not None and own.hop in speak and own.kind != "repeat"
                else {}
            ),
            **(
                {"sender": whose.get(about.frame)}
                if whose and about is not None and about.frame is not None
                else {}
            ),
            **({} if item is None else _content(run.data[item.number], scenario)),
            "hops": [_hop(names, row) for row in way.hops],
            **({"stores": [_store(nodes, row) for row in way.stores]} if nodes else {}),
            "fate": fate.name.lower(),
            "fate_ns": None if way.end is None else way.end[0],
        }


def check_frame(run: Run, frame: int) -> None:
    """Raise UsageError, naming the frames that there are, where *frame* is none of the run's."""
    frames = [event["frame"] for event in run.events if event["kind"] == "captured"]
    if frame not in frames:
        there = f"frames {min(frames)} to {max(frames)}" if frames else "no frame"
        raise UsageError(f"--frame {frame}: the run has {there}")


def _identity(item: traffic.Sent | None, *, copy: bool) -> dict[str, Any]:
    if item is None:
        return {"kind": "copy", "frame": None, "index": None, "size_bytes": None, "on_air": False}
    kind = "copy" if copy else "again" if item.again else item.kind.name.lower()
    # The channel's own copies were never on a transmitter.
    about = {"kind": kind, "frame": item.frame, "index": item.index}
    return {**about, "size_bytes": item.size_bytes, "on_air": item.on_air and not copy}


def _by_hop(own: HopPacket, names: list[str]) -> dict[str, Any]:
    """Return what there is to say of a packet that a hop put on the air by itself."""
    about = {"kind": own.kind, "frame": own.frame, "index": None}
    return {**about, "by_hop": names[own.hop], "size_bytes": own.size_bytes, "on_air": True}


def _ways(run: Run) -> dict[int, _Way]:
    ways: dict[int, _Way] = {}
    for time, number, value, hop, waited, transmitted in run.rows.tolist():
        way = ways.setdefault(number, _Way())
        fate = Fate(value)
        if fate in BIRTHS:
            way.born = (time, hop)
        if fate in _AT_HOPS:
            way.hops.append((hop, time, fate, waited, transmitted))
        if fate in _AT_NODES:
            way.stores.append((hop, time, fate, waited))
        if fate == Fate.DELIVERED or fate.is_drop:
            way.end = (time, fate)
    return ways


_AT_HOPS = (Fate.CROSSED, Fate.QUEUE_FULL, Fate.CHANNEL_LOSS, Fate.OUTAGE, Fate.OUT_OF_ORDER, Fate.COLLISION)

_AT_NODES = (Fate.STORED, *DEATHS)


def _origins(ways: dict[int, _Way], sent: Iterable[int]) -> dict[int, int]:
    """Return of which sent packet each copy is: the one that left the same transmitter at that time."""
    leaving: dict[tuple[int, int], list[int]] = {}
    for number, way in ways.items():
        came = way.born[0]
        for hop, time, _, waited, transmitted in way.hops:
            if number in sent or hop != way.born[1]:
                leaving.setdefault((hop, came + waited + transmitted), []).append(number)
            came = time
    origins: dict[int, int] = {}
    originals = set(sent)
    for number in sorted(set(ways) - originals):  # a copy of a copy has the higher number
        time, hop = ways[number].born
        mine = leaving.get((hop, time), [])
        if len(mine) == 1 and (mine[0] in originals or mine[0] in origins):
            origins[number] = origins.get(mine[0], mine[0])
    return origins


def _content(data: bytes, scenario: dict[str, Any]) -> dict[str, Any]:
    """Return what a packet carries: sections, or a repair symbol, or a request."""
    parsed = packet.peek(packet.unwrap(data, scenario["link"]["framing"]))
    kind = traffic.section_kind(scenario)
    about: dict[str, Any] = {"priority": parsed.priority, "last": parsed.last}
    if scenario["link"]["framing"] == "bp":
        around = bundle.parse(data)
        about["bundle"] = {
            "source": around.source,
            "destination": around.destination,
            "created_ms": around.created_ms,
            "sequence": around.sequence,
            "lifetime_ms": around.lifetime_ms,
            "around_bytes": len(data) - len(around.payload),
        }
    if parsed.kind == Kind.DATA:
        about["sections"] = [
            {
                "kind": kind(chunk.section),
                "section": chunk.section,
                "piece": chunk.piece,
                "final": chunk.final,
                "size_bytes": len(chunk.data),
            }
            for chunk in fragment.chunks(parsed.body, last=parsed.last)
        ]
    elif parsed.kind == Kind.FEEDBACK:
        wish = arq.parse(parsed.body)
        about["request"] = {
            "complete": wish.complete,
            "missing": list(wish.missing),
            "open_from": wish.open_from,
            "enough": wish.enough,
        }
    return about


def _hop(names: list[str], row: tuple[int, int, Fate, int, int]) -> dict[str, Any]:
    hop, time, fate, waited, transmitted = row
    return {
        "hop": "return" if hop < 0 else names[hop],
        "fate": fate.name.lower(),
        "waited_ns": waited,
        "transmitted_ns": transmitted,
        "time_ns": time,
    }


def _store(nodes: list[str], row: tuple[int, int, Fate, int]) -> dict[str, Any]:
    node, time, fate, waited = row
    return {"node": nodes[node], "fate": fate.name.lower(), "waited_ns": waited, "time_ns": time}


def _store_text(store: dict[str, Any]) -> str:
    how = "kept" if store["fate"] == "stored" else _words(store["fate"]) + " after"
    return f"{store['node']} {how} {_s(store['waited_ns'])} until {_s(store['time_ns'])}"


def lines(run: Run, *, frame: int | None = None, drops: bool = False) -> Iterator[str]:
    """Yield the lines of a listing of the packets that `records` gives, when pictures were shown, and a summary."""
    scenario = traffic.scenario(run)
    codec, framing = scenario["codec"]["name"], scenario["link"]["framing"]
    yield f"{scenario['name']}, seed {scenario['seed']}, {codec}, {framing} framing"
    yield from _HEAD.splitlines()
    summary = _Summary()
    for record in records(run, frame=frame, drops=drops):
        summary.add(record)
        yield from _packet_lines(record)
    yield ""
    if not drops:
        yield from _shown_lines(run, frame)
    yield from summary.lines(run, filtered=frame is not None or drops)


def _shown_lines(run: Run, frame: int | None) -> Iterator[str]:
    """Yield a line for each frame, or for *frame* alone, that says when its pictures were shown."""
    told: dict[int, list[str]] = {}
    whose = traffic.senders_of(run)
    for event in run.events:
        if event["kind"] == "decoded" and frame in (None, event["frame"]):
            how = ("refined" if event.get("refines") else "shown") + ("" if event["complete"] else " in part")
            had = ""
            if (have := event.get("sections")) is not None:
                had = f" with {sum(have)} section{'' if sum(have) == 1 else 's'}"
            told.setdefault(event["frame"], []).append(f"{how}{had} at {_s(event['time_ns'])} s")
    for number, moments in sorted(told.items()):
        of = f" of {whose[number]}" if number in whose else ""
        yield f"frame {number}{of}: {', '.join(moments)}"


def _packet_lines(record: dict[str, Any]) -> Iterator[str]:
    way = "->" if record["direction"] == "forward" else "<-"
    place, size = "?", record["size_bytes"]
    if record["frame"] is not None:
        place = f"{record['frame']}.{'?' if record['index'] is None else record['index']}"
    head = (
        f"{_s(record['sent_ns'], 4):>13} {record['packet']:>7} {way}  {record['kind']:<8} {place:<12} "
        f"{record.get('priority', '?')} {'?' if size is None else size:>5} {_words(record['fate']):<14} "
    )
    yield from _wrapped(head, _carried(record), ", ")
    hops = [(hop["time_ns"], _hop_text(hop)) for hop in record["hops"]]
    hops += [(store["time_ns"], _store_text(store)) for store in record.get("stores", ())]
    if (around := record.get("bundle")) is not None:
        name = f"bundle {around['created_ms']}.{around['sequence']}"
        ends = f"from {around['source']} to {around['destination']}"
        cost = f"for {around['lifetime_ms'] / 1e3:g} s, {around['around_bytes']} B around the packet"
        yield f"{'':{_INDENT}}{name} {ends} {cost}"
    if hops:
        yield from _wrapped(" " * _INDENT, [text for _, text in sorted(hops, key=lambda hop: hop[0])], "   ")


def _wrapped(head: str, parts: list[str], between: str) -> Iterator[str]:
    """Yield *head* and *parts* on lines of at most WIDTH columns, continued under the first part."""
    line, fresh = head, True
    for part in parts:
        if not fresh and len(line) + len(between) + len(part) > WIDTH:
            yield line.rstrip()
            line, fresh = " " * len(head), True
        line += part if fresh else between + part
        fresh = False
    yield line.rstrip()


def _carried(record: dict[str, Any]) -> list[str]:
    if "by_hop" in record:
        name = record["by_hop"]
        if record.get("ltp") and record["kind"] != "repeat":
            first, *more = ltp.words(record["ltp"])
            return [f"{name}: {first}", *more]
        return [f"what {name} has" if record["kind"] == "report" else f"a try of {name} that failed"]
    parts = [f"copy of {record['copy_of']}"] if record["copy_of"] is not None else []
    if (request := record.get("request")) is not None:
        return [*parts, _request_text(request)]
    if record.get("sender"):
        parts.append(record["sender"])
    if "sections" not in record:
        return [*parts, "copy of ?" if record["frame"] is None else "repair symbol"]
    kind = None
    for chunk in record["sections"]:
        name = str(chunk["section"])
        if chunk["piece"] or not chunk["final"]:
            name += f".{chunk['piece']}{'/' if chunk['final'] else ''}"
        parts.append(name if chunk["kind"] == kind else f"{chunk['kind']} {name}")
        kind = chunk["kind"]
    return parts


def _request_text(request: dict[str, Any]) -> str:
    if request["complete"]:
        return "ACK"
    wish = [str(index) for index in request["missing"]]
    if request["open_from"] is not None:
        wish.append(f"{request['open_from']} and on")
    enough = f" ({request['enough']} of them suffice)" if request["enough"] else ""
    return f"NAK {' '.join(wish)}{enough}"


def _hop_text(hop: dict[str, Any]) -> str:
    end = "at" if hop["fate"] == "crossed" else f"{_words(hop['fate'])} at"
    return f"{hop['hop']} {_s(hop['waited_ns'])}+{_s(hop['transmitted_ns'])} {end} {_s(hop['time_ns'])}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _s(time_ns: int, digits: int = 3) -> str:
    return f"{time_ns / NS:.{digits}f}"


@dataclass
class _Summary:
    """Sums over the packets listed."""

    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    size_bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    air_bytes: Counter[str] = field(default_factory=Counter)
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    hops: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, record: dict[str, Any]) -> None:
        way = record["direction"]
        self.kinds[way, record["kind"]] += 1
        self.size_bytes[way, record["kind"]] += record["size_bytes"] or 0
        if record["on_air"]:
            self.air_bytes[way] += record["size_bytes"]
        self.fates[way, record["fate"]] += 1
        for hop in record["hops"] if record["kind"] != "segment" else ():  # the packet in it counts
            self.hops.setdefault(hop["hop"], []).append(hop)

    def lines(self, run: Run, *, filtered: bool) -> Iterator[str]:
        total = sum(self.kinds.values())
        births = int(np.isin(run.rows[:, 2], BIRTHS).sum())
        state = "" if run.complete else "; the journal was cut short"
        yield f"{total} of {births} packets{state}" if filtered else f"{total} packets{state}"
        for way in ("forward", "return"):
            kinds = [(kind, count) for (direction, kind), count in self.kinds.items() if direction == way]
            if not kinds:
                continue
            shown = [f"{count} {kind} ({self.size_bytes[way, kind]} B)" for kind, count in kinds]
            yield from _wrapped(f"  {way:<8} ", [*shown, f"{self.air_bytes[way]} B on the air"], ", ")
            fates = [
                f"{count} {_words(fate)}"
                for (direction, fate), count in self.fates.items()
                if direction == way
            ]
            yield from _wrapped(" " * 11, fates, ", ")
        for name, rows in self.hops.items():
            out = Counter(row["fate"] for row in rows)
            ends = ", ".join(f"{count} {_words(fate)}" for fate, count in out.items())
            pace = _pace([row for row in rows if row["fate"] != "queue_full"])
            yield from _wrapped(f"  hop {name}: ", [ends, *pace], "; ")
        for name, about in node_figures(run, traffic.scenario(run)["link"]).items():
            waits = "none waited"
            if (wait := about["wait_s"]) is not None:
                waits = f"{about['waited']} waited, {wait['mean']:.3f} s mean, {wait['max']:.3f} s most"
            dead = [f"{count} {_words(why)}" for why, count in about["dropped"].items()]
            yield from _wrapped(f"  node {name}: ", [waits, f"{about['peak_bytes']} B at most", *dead], "; ")


def _pace(rows: list[dict[str, Any]]) -> list[str]:
    """Say how long the packets of *rows*, which left a transmitter, were on it and in front of it."""
    if not rows:
        return []
    busy = _s(sum(row["transmitted_ns"] for row in rows))
    waits = [row["waited_ns"] for row in rows]
    return [f"on the air {busy} s", f"wait {_s(sum(waits) // len(waits))} s mean, {_s(max(waits))} s most"]
