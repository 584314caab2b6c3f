"""The part of a scenario that says who shares a hop's channel, and where packets are kept between contacts."""

from math import fsum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from link.fields import Bytes, Model, PositiveSeconds, Seconds, is_plain

MAX_SENDERS = 1000
"""On one channel: each costs an event a packet of ours."""


class SharedMedium(Model):
    """A channel that senders share with a hop: who may send when, and what comes through (`link.channel.medium`)."""

    hop: Annotated[str, Field(max_length=64)] | None = None
    """Which hop's; None: the first one's."""
    hops: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=MAX_SENDERS)] = Field(
        default=(), exclude_if=is_plain
    )
    """Which others' besides, that lead to the same node: each is a sender of the session, whose packets are real."""
    access: Literal["aloha", "slotted", "csma"] = "aloha"
    """aloha: at once; slotted: at the next slot; csma: at once where nobody is heard, else some time later
    (non-persistent carrier sense)."""
    senders: Annotated[int, Field(ge=1, le=MAX_SENDERS)] = 1
    """How many there are, this one included. The others send what this one sends, up to `spread_s` later."""
    spread_s: PositiveSeconds | None = None
    """Over how long the others' packets spread, usually the camera's period; drawn anew for each."""
    duty_cycle: Annotated[float, Field(gt=1e-6, le=1.0)] = 1.0
    """Share of time, 0 to 1, that each may send: a transmission of T seconds is followed by T (1 / duty_cycle - 1) of
    silence."""
    slot_s: PositiveSeconds | None = None
    """Of `slotted`; None: a packet of a full MTU."""
    backoff_s: PositiveSeconds | None = None
    """Of `csma`: the mean wait before it listens again; None: a packet of a full MTU."""
    capture_db: Annotated[float, Field(ge=0.0, le=100.0)] | None = None
    """How much stronger than each other that it overlaps with a packet must be to be received; None: none ever is."""
    power_spread_db: Annotated[float, Field(ge=0.0, le=40.0)] = 0.0
    """Standard deviation of packets' power at the receiver (log-normal shadowing)."""
    duplex: Literal["full", "half"] = "full"
    """half: the return channel is this one too, and who sends is deaf."""
    turnaround_s: Seconds = 0.0
    """How long before and after it sends a node is deaf, with `half`."""

    @model_validator(mode="after")
    def _whole(self) -> "SharedMedium":
        if self.senders > 1 and self.spread_s is None:
            raise ValueError("senders above 1 need spread_s: over how long the others' packets spread")
        if self.hops and self.duplex == "half":
            raise ValueError("hops on a channel of duplex: half: not together")
        if self.turnaround_s and self.duplex == "full":
            raise ValueError("turnaround_s belongs to duplex: half")
        return self


MAX_CONTACTS = 5000
"""Of a hop: a pass an orbit for a year."""


class StoreConfig(Model):
    """Where a node keeps bundles until a contact. Full: what expired goes, then the lowest class, in it by `drop`."""

    limit_bytes: Bytes = 1 << 30
    drop: Literal["oldest", "newest", "least_important"] = "oldest"
    """Which of the lowest class goes: by when it came, or by its place in its frame, whose last packets matter less."""


class NodeConfig(Model):
    """A node of a network: it keeps bundles and sends them on by the route on which they arrive first."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
    store: StoreConfig = StoreConfig()


Windows = Annotated[tuple[tuple[Seconds, Seconds], ...], Field(min_length=1, max_length=MAX_CONTACTS)]
"""(start, end) pairs in seconds of run time, in order."""


def check_windows(windows: tuple[tuple[float, float], ...], name: str) -> None:
    """Raise ValueError, naming the field, where *windows* are out of order or one is empty."""
    last = 0.0
    for start, end in windows:
        if start < last or end <= start:
            raise ValueError(f"{name} must be in order, each ending after its start")
        last = end


def share_open(contacts_s: tuple[tuple[float, float], ...] | None) -> float:
    """Return the share of time, 0 to 1, until the last contact's end that contacts are open; 1 where there are none."""
    if contacts_s is None:
        return 1.0
    return fsum(end - start for start, end in contacts_s) / contacts_s[-1][1]


def longest_wait_s(contacts_s: tuple[tuple[float, float], ...] | None) -> float:
    """Return the longest time, in seconds, that one has to wait for the next of the contacts."""
    if contacts_s is None:
        return 0.0
    ends = [0.0, *(end for _, end in contacts_s)]
    return max(start - end for (start, _), end in zip(contacts_s, ends, strict=False))


def find_ends(names: tuple[str, ...], between: tuple[tuple[str, str] | None, ...]) -> list[tuple[int, int]]:
    """Return from which node to which each hop leads, by number; *between* says it by name, or None: in a row.

    Raise ValueError where a name is none of *names*, a hop leads nowhere new, or the last node is not reached.
    """
    if len(names) < 2 or len(set(names)) != len(names):
        raise ValueError("nodes: at least two, with different names; the first sends, the last receives")
    if all(pair is None for pair in between) and len(between) == len(names) - 1:
        return [(at, at + 1) for at in range(len(between))]
    ends = []
    for pair in between:
        if pair is None:
            raise ValueError(
                f"{len(names)} nodes and {len(between)} hops: say of each hop which it is between"
            )
        for name in pair:
            if name not in names:
                raise ValueError(f"between: there is no node {name!r}")
        if pair[0] == pair[1]:
            raise ValueError(f"between: a hop from {pair[0]} to itself")
        ends.append((names.index(pair[0]), names.index(pair[1])))
    if any(start == len(names) - 1 or end == 0 for start, end in ends):
        raise ValueError("between: a hop leads from the last node, or to the first")
    reached = {0}
    while more := {end for start, end in ends if start in reached} - reached:
        reached |= more
    if len(names) - 1 not in reached:
        raise ValueError(f"between: no hops lead from {names[0]} to {names[-1]}")
    return ends


def find_widest(ends: list[tuple[int, int]], rates: list[float], nodes: int) -> list[int]:
    """Return the numbers of the hops of the route from node 0 to the last whose narrowest hop has the highest rate."""
    best: dict[int, tuple[float, list[int]]] = {0: (float("inf"), [])}
    for _ in range(nodes):
        for number, (start, end) in enumerate(ends):
            if start in best:
                rate = min(best[start][0], rates[number])
                if rate > best.get(end, (0.0, []))[0]:
                    best[end] = rate, [*best[start][1], number]
    return best[nodes - 1][1]
