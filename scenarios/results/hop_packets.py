"""What hops that repair their own losses put on the air by themselves: attempts that failed, and reports."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from link.events import Fate
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


def hop_packets(run: Run, frames: Mapping[bytes, int]) -> list[HopPacket]:
    """Return them in the order of the journal; *frames* gives the frame of each packet that the sender sent.

    An attempt that failed carries the bytes of its packet.
    """
    rows = run.rows[np.isin(run.rows[:, 2], (Fate.REPEATED, Fate.REPORTED))]
    found = []
    for number, fate, hop in rows[:, 1:4].tolist():
        data, report = run.data[number], fate == Fate.REPORTED
        found.append(HopPacket(number, hop, report, None if report else frames.get(data), len(data)))
    return found
