"""What hops that repair their own losses put on the air by themselves: tries that failed, reports, headers of LTP."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from link.events import Fate
from link.repair.ltp_segments import DataSegment, parse

if TYPE_CHECKING:
    from link.journal import Run


HopKind = Literal["repeat", "report", "segment"]


@dataclass(frozen=True, slots=True)
class HopPacket:
    """One attempt or report of a hop, or a segment of LTP."""

    number: int
    hop: int
    kind: HopKind
    frame: int | None
    """The full frame number of an attempt or segment; None for reports."""
    size_bytes: int
    """Of a segment its header alone: what is in it is a packet, or an attempt, and stands as that."""
    end: Fate
    """Why it was dropped, or DELIVERED; IN_FLIGHT where the journal ends first."""


_KINDS: Mapping[int, HopKind] = {Fate.REPEATED: "repeat", Fate.REPORTED: "report", Fate.SEGMENT: "segment"}
BY_HOPS = tuple(_KINDS)
"""The rows with which a packet of a hop's own begins."""


def split_segment(data: bytes) -> tuple[bytes, bytes]:
    """Return the header of a data segment of LTP and the packet in it; what is none is a header as a whole."""
    try:
        segment = parse(data)
    except ValueError:
        return data, b""
    if not isinstance(segment, DataSegment):
        return data, b""
    return data[: len(data) - len(segment.data)], segment.data


def is_end(fate: int) -> bool:
    """Return whether a packet's way ends with a row of *fate*."""
    return fate == Fate.DELIVERED or Fate(fate).is_drop


def hop_packets(run: "Run", frames: Mapping[bytes, int]) -> list[HopPacket]:
    """Return them in the order of the journal; *frames* gives the frame of each packet that the sender sent.

    An attempt that failed carries the bytes of its packet, a segment those of its packet in its header.
    """
    rows = run.rows[np.isin(run.rows[:, 2], BY_HOPS)]
    of_hops = run.rows[np.isin(run.rows[:, 1], rows[:, 1])]
    ends = {number: Fate(fate) for number, fate in of_hops[:, 1:3].tolist() if is_end(fate)}
    packets = []
    for number, fate, hop in rows[:, 1:4].tolist():
        data, kind = run.data[number], _KINDS[fate]
        size = len(data)
        if kind == "segment":
            header, data = split_segment(data)
            size = len(header)
        frame = None if kind == "report" else frames.get(data)
        packets.append(HopPacket(number, hop, kind, frame, size, ends.get(number, Fate.IN_FLIGHT)))
    return packets


def hop_figures(packets: Iterable[HopPacket], names: Sequence[str]) -> dict[str, Any]:
    """Return `repeats` and `reports` of each hop that has some, by its name, and `segments` where it speaks LTP.

    Each has `sent`, `bytes` and `dropped` by reason. Every repeat is an attempt that failed: its packet went on. Bytes
    of segments are those of their headers.
    """
    figures: dict[str, Any] = {}
    for item in packets:
        kinds = {kind: {"sent": 0, "bytes": 0, "dropped": Counter()} for kind in ("repeats", "reports")}
        of_hop = figures.setdefault(names[item.hop], kinds)
        about = of_hop.setdefault(f"{item.kind}s", {"sent": 0, "bytes": 0, "dropped": Counter()})
        about["sent"] += 1
        about["bytes"] += item.size_bytes
        if item.end.is_drop:
            about["dropped"][item.end.name.lower()] += 1
    return figures
