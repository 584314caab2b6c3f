"""The packets of a run: what each was, what became of it, and what its bytes were for. Read once from the journal.

Every packet that was sent, and every copy that the channel made, has one end: delivered, or one drop with a
reason. Every byte on the air stands in exactly one place of the breakdown:

    payload   chunk data of data packets, by kind of section      header   packet and chunk headers, those of segments
    fec       bodies of repair packets                            repair   packets sent again, whole, by an end or a hop
    feedback  packets on the way back and reports of hops, whole

A packet counts as on the air when it left the first transmitter of its direction, whatever became of it
there. That is told by its fate and not by its time on the transmitter, which is 0 for the packets that share
an opportunity of a trace.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from link import fragment, packet
from link.codecs import SYNTAXES
from link.config import Codec
from link.events import BIRTHS, RADIATED, Fate
from link.packet import Kind
from scenarios.results.hop_packets import HopPacket, hop_figures, hop_packets
from scenarios.results.stores import node_figures

if TYPE_CHECKING:
    from link.journal import Run

USELESS = (Fate.DUPLICATE, Fate.DEADLINE)
"""Drops of packets that reached the far end intact, and were of no use to it."""
_FATES: Mapping[int, Fate] = {int(fate): fate for fate in Fate}
_KINDS: Mapping[int, Kind] = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Sent:
    """A packet that an end handed to the channel, and what became of it."""

    number: int
    forward: bool
    sent_ns: int
    frame: int
    """The full frame number, not the 14 bits of the wire."""
    index: int
    kind: Kind
    size_bytes: int
    again: bool
    """Whether a packet of this frame and index had been sent before."""
    on_air: bool
    end: Fate
    """DELIVERED, or the reason of its drop; IN_FLIGHT where the journal ends first."""

    @property
    def lost(self) -> bool:
        """Whether it never came to the far end in one piece."""
        return self.end.is_drop and self.end not in USELESS


@dataclass(frozen=True)
class Breakdown:
    """Bytes on the air, by what they were for."""

    payload: Mapping[str, int]
    header: int = 0
    fec: int = 0
    repair: int = 0
    feedback: int = 0

    @property
    def on_air(self) -> int:
        """All of them."""
        return sum(self.payload.values()) + self.header + self.fec + self.repair + self.feedback


@dataclass(frozen=True)
class Traffic:
    """All packets of a run."""

    sent: tuple[Sent, ...]
    """In the order of sending."""
    by_frame: Mapping[int, tuple[Sent, ...]]
    cost: Breakdown
    cost_by_frame: Mapping[int, Breakdown]
    fec_bytes: int
    """Repair packets that were sent in advance and went on the air, headers included: what `repair.fec` cost."""
    forward: Mapping[str, Any]
    """`sent`, `delivered`, `dropped` by reason, `duplicated` on the way out."""
    back: Mapping[str, Any]
    """The same on the way back."""
    hops: Mapping[str, Any]
    """What hops that repair their own losses sent by themselves, by the hop's name: `hop_packets.hop_figures`."""
    nodes: Mapping[str, Any]
    """What nodes kept, by the node's name: `stores.node_figures`; empty where there are none."""


def scenario(run: "Run") -> dict[str, Any]:
    """Return the resolved scenario of *run*."""
    resolved: dict[str, Any] = run.head["scenario"]
    return resolved


def traffic(run: "Run") -> Traffic:
    """Return the packets of *run*, each read once."""
    sent = packets(run)
    own = by_hops(run, sent)
    by_frame: dict[int, list[Sent]] = {}
    for item in sent:
        by_frame.setdefault(item.frame, []).append(item)
    kind_of = section_kind(scenario(run))
    link = scenario(run)["link"]
    costs = {frame: breakdown(run, mine, kind_of) for frame, mine in by_frame.items()}
    for repeat in own:
        if repeat.frame is not None:
            costs[repeat.frame] = _sum([costs[repeat.frame], _cost_of_hops([repeat])])
    advance = sum(
        packet.head_bytes(run.data[item.number], link["framing"])
        for item in sent
        if item.kind == Kind.FEC and item.on_air and not item.again
    )
    cost = _sum([*costs.values(), _cost_of_hops(item for item in own if item.frame is None)])
    ends = _ends(run)
    return Traffic(
        sent=tuple(sent),
        by_frame={frame: tuple(mine) for frame, mine in by_frame.items()},
        cost=cost,
        cost_by_frame=costs,
        fec_bytes=cost.fec + advance,
        forward=counts(run, sent, ends, forward=True),
        back=counts(run, sent, ends, forward=False),
        hops=hop_figures(own, [hop["name"] for hop in link["hops"]]),
        nodes=node_figures(run, link),
    )


def by_hops(run: "Run", sent: Iterable[Sent]) -> list[HopPacket]:
    """Return what hops put on the air by themselves; *sent* is what the ends did."""
    return hop_packets(run, {run.data[item.number]: item.frame for item in sent if item.forward})


def _cost_of_hops(own: Iterable[HopPacket]) -> Breakdown:
    sums: Counter[str] = Counter()
    for item in own:
        sums[item.kind] += item.size_bytes
    return Breakdown({}, header=sums["segment"], repair=sums["repeat"], feedback=sums["report"])


def _sum(parts: Iterable[Breakdown]) -> Breakdown:
    payload: Counter[str] = Counter()
    header = fec = repair = feedback = 0
    for part in parts:
        payload.update(part.payload)
        header, fec = header + part.header, fec + part.fec
        repair, feedback = repair + part.repair, feedback + part.feedback
    return Breakdown(dict(sorted(payload.items())), header, fec, repair, feedback)


def _is_end(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    ends: NDArray[np.bool_] = (rows[:, 2] == Fate.DELIVERED) | (rows[:, 2] >= Fate.QUEUE_FULL)
    return ends


def _ends(run: "Run") -> dict[int, int]:
    """Return the first end of each packet that has one, as the Fate's number."""
    rows = run.rows[_is_end(run.rows)]
    numbers, first = np.unique(rows[:, 1], return_index=True)
    return dict(zip(numbers.tolist(), rows[first, 2].tolist(), strict=True))


def _copies(run: "Run") -> list[tuple[int, bool]]:
    """Return (number, forward) of each copy that the channel made.

    The far end's verdicts name no direction; the row that says DUPLICATED does.
    """
    rows = run.rows[run.rows[:, 2] == Fate.DUPLICATED]
    return [(number, hop >= 0) for number, hop in rows[:, [1, 3]].tolist()]


def packets(run: "Run") -> list[Sent]:
    """Return every packet that an end sent, in the order of sending."""
    rows = run.rows
    born = rows[rows[:, 2] == Fate.SENT]
    times, numbers, forward = born[:, 0], born[:, 1], born[:, 3] >= 0
    data = [run.data[number] for number in numbers.tolist()]
    kinds, low, index = packet.heads(data, scenario(run)["link"]["framing"]).T
    first_hop = np.isin(rows[:, 3], [-1, *first_hops(scenario(run))])
    on_air = np.isin(numbers, rows[first_hop & np.isin(rows[:, 2], RADIATED), 1])
    shots = [(event["time_ns"], event["frame"]) for event in run.events if event["kind"] == "captured"]
    captured = np.array(shots, np.int64).reshape(-1, 2)
    # Nobody sends or asks for a frame that is not yet captured.
    places = np.searchsorted(captured[:, 0], times, side="right") - 1
    # Of several senders one may be ahead of the others.
    newest = np.where(places >= 0, np.maximum.accumulate(captured[:, 1])[places] if len(captured) else 0, 0)
    frames = newest - (newest - low) % packet.FRAMES  # `packet.frame_until` for all at once
    keys = np.where(forward, frames * packet.MAX_PACKETS + index, -1 - np.arange(len(numbers)))
    again = np.ones(len(numbers), bool)
    again[np.unique(keys, return_index=True)[1]] = False
    ends = _ends(run)
    columns = zip(
        numbers.tolist(), forward.tolist(), times.tolist(), frames.tolist(), index.tolist(), kinds.tolist(),
        data, again.tolist(), on_air.tolist(), strict=True,
    )  # fmt: skip
    return [
        Sent(number, way, time, frame, at, _KINDS[kind], len(body), more, aired, _end(ends, number))
        for number, way, time, frame, at, kind, body, more, aired in columns
    ]


def first_hops(about: Mapping[str, Any]) -> list[int]:
    """Return the numbers of the hops of *about*, a resolved scenario, that leave the sender, or one of several."""
    link = about["link"]
    nodes = [node["name"] for node in link.get("nodes", ())]
    origins = {one.get("node") or nodes[0] for one in about.get("senders", ()) if nodes} or set(nodes[:1])
    between = [hop.get("between") for hop in link["hops"]]
    return [at for at, pair in enumerate(between) if (pair[0] in origins if pair else at == 0)]


def senders_of(run: "Run") -> dict[int, str]:
    """Return whose each captured frame is, by its number; empty where the run has one sender, which has no name."""
    return {
        event["frame"]: str(event["sender"])
        for event in run.events
        if event["kind"] == "captured" and event.get("sender")
    }


def _end(ends: Mapping[int, int], number: int) -> Fate:
    return _FATES[ends.get(number, int(Fate.IN_FLIGHT))]


def check_conservation(run: "Run") -> None:
    """Raise AssertionError, naming the packet, where packets do not add up.

    Each number is sent or made as a copy once, and ends once (in a run that was cut short: at most once), and
    in both directions sent + duplicated = delivered + the sum of the drops.
    """
    rows = run.rows
    births = Counter(rows[np.isin(rows[:, 2], BIRTHS), 1].tolist())
    ends: dict[int, list[str]] = {}
    for number, fate in rows[_is_end(rows)][:, 1:3].tolist():
        ends.setdefault(number, []).append(Fate(fate).name)
    for number, times in births.items():
        if times != 1:
            raise AssertionError(f"packet {number} was sent {times} times under one number")
        if len(ends.get(number, [])) > 1:
            raise AssertionError(f"packet {number} has ends {', '.join(ends[number])}")
        if run.complete and number not in ends:
            raise AssertionError(f"packet {number} has no end, and the run is finished")
    unknown = set(rows[:, 1].tolist()) - set(births)
    if unknown:
        raise AssertionError(f"packet {min(unknown)} has a fate and was never sent")
    whole = traffic(run)
    for count in (whole.forward, whole.back):
        there = count["delivered"] + sum(count["dropped"].values())
        if count["sent"] + count["duplicated"] != there:
            raise AssertionError(f"{count['sent']} sent and {count['duplicated']} copies, but {there} ends")


def counts(run: "Run", sent: Iterable[Sent], ends: Mapping[int, int], *, forward: bool) -> dict[str, Any]:
    """Return sent, delivered, dropped by reason, and duplicated of one direction."""
    outcomes = [item.end for item in sent if item.forward == forward]
    total = len(outcomes)
    copies = [number for number, out in _copies(run) if out == forward]
    outcomes += [_end(ends, number) for number in copies]
    fates = Counter(outcomes)
    return {
        "sent": total,
        "delivered": fates[Fate.DELIVERED],
        "dropped": {fate.name.lower(): fates[fate] for fate in Fate if fate.is_drop and fates[fate]},
        "duplicated": len(copies),
    }


def section_kind(about: Mapping[str, Any]) -> Callable[[int], str]:
    """Return what tells the kind of a section by its number; *about* is the resolved scenario."""
    try:
        codec = Codec.model_validate(about["codec"])
        return partial(SYNTAXES[codec.name].kind, codec)
    except (ValueError, KeyError):  # a journal of another version
        return lambda _number: "unknown"


def uses(
    data: bytes, framing: str, kind: Kind, kind_of: Callable[[int], str], *, forward: bool, again: bool
) -> Iterator[tuple[str, str, int]]:
    """Yield (what for, kind of section, bytes) of a packet that an end sent and that was on the air.

    What for is the name of a field of `Breakdown`, the kind of section empty but for `payload`; *again*: a packet of
    its frame and index had been sent before. *kind_of* is that of `section_kind`.
    """
    head = packet.head_bytes(data, framing)
    if not forward:
        yield "feedback", "", len(data)
    elif again:
        yield "repair", "", len(data)
    elif kind == Kind.DATA:
        held = 0
        parsed = packet.peek(packet.unwrap(data, framing))
        for section, size in fragment.sizes(parsed.body, last=parsed.last):
            yield "payload", kind_of(section), size
            held += size
        yield "header", "", len(data) - held
    else:
        yield "fec", "", len(data) - head
        yield "header", "", head


def breakdown(run: "Run", sent: Iterable[Sent], kind_of: Callable[[int], str]) -> Breakdown:
    """Return what the bytes of *sent* that were on the air were for; *kind_of* is that of `section_kind`."""
    framing = scenario(run)["link"]["framing"]
    payload: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for item in sent:
        if item.on_air:
            data = run.data[item.number]
            for what, kind, size in uses(
                data, framing, item.kind, kind_of, forward=item.forward, again=item.again
            ):
                if what == "payload":
                    payload[kind] += size
                else:
                    others[what] += size
    return Breakdown(dict(sorted(payload.items())), **others)
