"""What hops that repair their own losses put on the air by themselves: attempts that failed, and reports."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from link.events import Fate

if TYPE_CHECKING:
    from link.journal import Run


@dataclass(frozen=True, slots=True)
class HopPacket:
    """One attempt or report of a hop."""

    number: int
    hop: int
    report: bool
    frame: int | None
    """The full frame number of an attempt; None for reports."""
    size_bytes: int
    end: Fate
    """Why an attempt or report was dropped, or DELIVERED; IN_FLIGHT where the journal ends first."""


def is_end(fate: int) -> bool:
    """Return whether a packet's way ends with a row of *fate*."""
    return fate == Fate.DELIVERED or Fate(fate).is_drop


def hop_packets(run: "Run", frames: Mapping[bytes, int]) -> list[HopPacket]:
    """Return them in the order of the journal; *frames* gives the frame of each packet that the sender sent.

    An attempt that failed carries the bytes of its packet.
    """
    rows = run.rows[np.isin(run.rows[:, 2], (Fate.REPEATED, Fate.REPORTED))]
    of_hops = run.rows[np.isin(run.rows[:, 1], rows[:, 1])]
    ends = {number: Fate(fate) for number, fate in of_hops[:, 1:3].tolist() if is_end(fate)}
    packets = []
    for number, fate, hop in rows[:, 1:4].tolist():
        data, report = run.data[number], fate == Fate.REPORTED
        frame = None if report else frames.get(data)
        end = ends.get(number, Fate.IN_FLIGHT)
        packets.append(HopPacket(number, hop, report, frame, len(data), end))
    return packets


def hop_figures(packets: Iterable[HopPacket], names: Sequence[str]) -> dict[str, Any]:
    """Return `repeats` and `reports` of each hop that has some, by its name.

    Both have `sent`, `bytes` and `dropped` by reason. Every repeat is an attempt that failed: its packet went on.
    """
    figures: dict[str, Any] = {}
    for item in packets:
        kinds = {kind: {"sent": 0, "bytes": 0, "dropped": Counter()} for kind in ("repeats", "reports")}
        about = figures.setdefault(names[item.hop], kinds)["reports" if item.report else "repeats"]
        about["sent"] += 1
        about["bytes"] += item.size_bytes
        if item.end.is_drop:
            about["dropped"][item.end.name.lower()] += 1
    return figures
