"""What nodes kept: which bundle waited where, for how long, and why it died there."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from link.channel import NS
from link.events import Fate

if TYPE_CHECKING:
    from link.journal import Run

DEATHS = (Fate.EXPIRED, Fate.STORE_FULL, Fate.NO_ROUTE)


@dataclass(frozen=True, slots=True)
class Stay:
    """A bundle's stay at a node, by number. Times in ns of run time."""

    node: int
    packet: int
    came_ns: int
    left_ns: int
    size_bytes: int
    """0 of a copy that the channel made, whose bytes are not written down."""
    end: Fate
    """STORED where it was sent on, else why it died."""


def stays(run: "Run") -> list[Stay]:
    """Return all stays, in the order in which they ended; a bundle that was sent on at once had none."""
    rows = run.rows[np.isin(run.rows[:, 2], (Fate.STORED, *DEATHS))]
    return [
        Stay(node, packet, time - waited, time, len(run.data.get(packet, b"")), Fate(fate))
        for time, packet, fate, node, waited, _ in rows.tolist()
    ]


def held(of_node: list[Stay]) -> list[tuple[int, int]]:
    """Return (time in ns, bytes from then on) of what waits in the store of a node, in order."""
    changes: Counter[int] = Counter()
    for stay in of_node:
        changes[stay.came_ns] += stay.size_bytes
        changes[stay.left_ns] -= stay.size_bytes
    steps, total = [], 0
    for time in sorted(changes):
        total += changes[time]
        steps.append((time, total))
    return steps


def node_figures(run: "Run", link: Mapping[str, Any]) -> dict[str, Any]:
    """Return of each node by name: bundles that waited, how long (`wait_s`), the most bytes, what died by reason."""
    found = stays(run)
    figures = {}
    for number, node in enumerate(link.get("nodes", ())):
        mine = [stay for stay in found if stay.node == number]
        waits = [(stay.left_ns - stay.came_ns) / NS for stay in mine if stay.left_ns > stay.came_ns]
        deaths = Counter(stay.end.name.lower() for stay in mine if stay.end.is_drop)
        figures[node["name"]] = {
            "waited": len(waits),
            "wait_s": {"mean": sum(waits) / len(waits), "max": max(waits)} if waits else None,
            "peak_bytes": max((size for _, size in held(mine)), default=0),
            "dropped": dict(sorted(deaths.items())),
        }
    return figures
