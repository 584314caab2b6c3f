"""Nodes that keep bundles until a contact, and send them on by the route on which they arrive first.

    arrive -> lifetime? -> room in the store? -> route (`link.channel.promises`) -> wait for the contact -> hop

A bundle is promised to a contact when it comes, and waits for it by class, then in order. What a contact could not
take, and what waits for one that is found down, is routed anew; so is all that waits when the hop is up again. A node
knows the plan, what it promised itself, and whether its own hops are up when it wants to send; not what is down
further on.

Custody is the hop's: one that sends again what it lost (`retransmit`) has bundles stay in the store until the far side
has them, and those that it gave up are routed anew, past the contact that gave them up. On another hop a bundle leaves
the store with its last bit.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from typing import Literal

import simpy

from link.channel.custody import CustodyHop
from link.channel.hop import Hop, Sink
from link.channel.ltp_hop import LtpHop
from link.channel.outage import Outages
from link.channel.promises import Edge, Promises
from link.events import Fate, Row
from link.packet import PRIORITIES
from link.plans.timetable import FOREVER_NS

_STORED = int(Fate.STORED)
Drop = Literal["oldest", "newest", "least_important"]


@dataclass(slots=True, eq=False)
class Kept:
    """A bundle in a store."""

    packet: int
    data: bytes
    since: int
    priority: int
    expires: int
    outlet: "Outlet | None" = None
    contact: int = 0
    lasts: int = 0
    failed: tuple[tuple[int, int], ...] = ()
    """Contacts, by edge and number, that gave it up."""
    gone: bool = False


class Outlet:
    """A hop that leads from *node*, and what waits for its contacts."""

    def __init__(self, node: "StoreNode", hop: Hop, edge: Edge) -> None:
        self.edge = edge
        self._node, self._hop = node, hop
        self._lines: dict[int, list[deque[Kept]]] = {}
        self._down_until = 0
        self._wake_at: int | None = None
        self._serving = False
        self._keeps = isinstance(hop, CustodyHop | LtpHop)
        # What it is given before its transmitter is free becomes a block.
        self._ahead = isinstance(hop, LtpHop)
        if isinstance(hop, CustodyHop | LtpHop):
            hop.on_end = self._ended
        if isinstance(hop, LtpHop):
            hop.on_room = self.look
        self._ending = -1  # the contact at whose end it is woken
        self._out: dict[int, Kept] = {}  # in custody: sent, and not confirmed

    def add(self, kept: Kept, contact: int, now: int) -> None:
        """Promise *kept* to *contact*."""
        edge = self.edge
        kept.outlet, kept.contact, kept.lasts = self, contact, edge.lasts(len(kept.data))
        edge.promised[contact][kept.priority] += kept.lasts
        line = self._lines.get(contact)
        if line is None:
            line = self._lines[contact] = [deque() for _ in range(PRIORITIES)]
        line[kept.priority].append(kept)
        if kept.priority < PRIORITIES - 1 and edge.is_overbooked(contact, now):
            self._push_out(contact, now)
        self.look(now)

    def _push_out(self, contact: int, now: int) -> None:
        """Route anew what of the lowest classes does not fit into *contact* any more."""
        pushed = []
        lines = self._lines[contact]
        while self.edge.is_overbooked(contact, now):
            line = next((line for line in reversed(lines) if line), None)
            if line is None:
                break
            kept = line.pop()
            if not kept.gone:
                self.edge.promised[contact][kept.priority] -= kept.lasts
                kept.outlet = None
                pushed.append(kept)
        for kept in reversed(pushed):
            self._node.route(kept, now)

    def take_all(self) -> list[Kept]:
        """Remove and return all that waits, in order."""
        found = [kept for contact in sorted(self._lines) for kept in self._empty(contact)]
        self._lines.clear()
        return found

    def _empty(self, contact: int) -> list[Kept]:
        lines = self._lines.pop(contact)
        self.edge.promised[contact] = [0] * PRIORITIES
        found = [kept for line in lines for kept in line if not kept.gone]
        for kept in found:
            kept.outlet = None
        return found

    def look(self, now: int) -> None:
        """Send what may be sent now, or be woken when that may be."""
        if self._serving or not self._lines:
            return
        edge = self.edge
        contact = min(self._lines)
        if now < edge.ends[contact]:
            due = max(edge.starts[contact], self._free_at, self._down_until)
            due = min(due, edge.ends[contact])
            if due > now:
                if self._wake_at is None or due < self._wake_at or self._wake_at <= now:
                    self._wake_at = due
                    self._hop._at(due, partial(self._woken, due))
                return
        self._serving = True
        self._serve(now)
        self._serving = False
        if self._lines:
            head = min(self._lines)
            if now < edge.ends[head] and self._ready():
                self.look(now)
            elif head != self._ending and edge.ends[head] < FOREVER_NS:
                self._ending = head
                self._hop._at(edge.ends[head], partial(self._woken, edge.ends[head]))

    def _woken(self, due: int, _event: simpy.Event) -> None:
        if self._wake_at == due:
            self._wake_at = None
        if self._down_until and due >= self._down_until:
            self._down_until, self.edge.down = 0, None
            self._node.route_again(due)
        self.look(due)

    @property
    def _free_at(self) -> int:
        return 0 if self._ahead else self.edge.busy_until

    def _ready(self) -> bool:
        return not isinstance(self._hop, CustodyHop | LtpHop) or self._hop.has_room

    def _unplanned(self) -> Outages | None:
        """Return the outages that no plan knows, and that a packet waits for the end of."""
        outages = self._hop.unplanned if isinstance(self._hop, CustodyHop | LtpHop) else self._hop._outages
        return outages if outages is not None and outages.hold else None

    def _serve(self, now: int) -> None:
        edge = self.edge
        while self._lines:
            contact = min(self._lines)
            if now >= edge.ends[contact]:
                for kept in self._empty(contact):
                    self._node.route(kept, now)
                continue
            if now < max(edge.starts[contact], self._free_at, self._down_until) or not self._ready():
                return
            lines = self._lines[contact]
            line = next((line for line in lines if line), None)
            if line is None:
                del self._lines[contact]
                continue
            kept = line.popleft()
            if not kept.gone:
                edge.promised[contact][kept.priority] -= kept.lasts
                kept.outlet = None
                self._send(kept, contact, now)

    def _send(self, kept: Kept, contact: int, now: int) -> None:
        if kept.expires <= now:
            self._node.drop(kept, Fate.EXPIRED, now)
            return
        preview = self._hop.preview if isinstance(self._hop, LtpHop) else self._hop._rate.preview
        start, end = preview(now, len(kept.data))
        if end > self.edge.ends[contact]:
            self._node.route(kept, now, skip=(self.edge.number, contact))
            return
        outages = self._unplanned()
        if outages is not None and outages.hits(start, end):
            self._down_until = max(now + 1, min(outages.resumes(start), self.edge.ends[contact]))
            self.edge.down = contact
            self._hop._at(self._down_until, partial(self._woken, self._down_until))
            waiting = [kept, *self._empty(contact)]
            for other in waiting:
                self._node.route(other, now)
            return
        self.edge.busy_until = end
        self._node.leave(kept, now, None if self._keeps else end)
        if self._keeps:
            self._out[kept.packet] = kept
        self._hop.put(kept.packet, kept.data, now)

    def _ended(self, packet: int, crossed: bool, now: int) -> None:
        """Take what the hop says of a bundle in its custody: the far side has it, or it was given up."""
        kept = self._out.pop(packet)
        if crossed:
            self._node.free(len(kept.data))
        else:
            kept.since = now
            kept.failed = (*kept.failed, (self.edge.number, kept.contact))
            self._node.keep_again(kept, now)
        self.look(now)


class StoreNode:
    """A node by *number*, with a store of *limit_bytes*. *outlets* are added when their hops are made.

    *rank* gives a packet's class (0 goes first) and its place in its frame; *born* when a packet was sent, of those
    that *lifetime* ns (None: for ever) still counts for; *sink* takes what is at its destination.
    """

    def __init__(
        self, number: int, limit_bytes: int, drop: Drop, *, promises: Promises, rows: list[Row],
        rank: Callable[[bytes], tuple[int, int]], born: dict[int, int], lifetime: int | None, sink: Sink | None,
    ) -> None:  # fmt: skip
        self._number, self._limit, self._policy = number, limit_bytes, drop
        self._promises, self._rows, self._rank = promises, rows, rank
        self._born, self._lifetime, self._sink = born, lifetime, sink
        self.outlets: dict[int, Outlet] = {}
        """By the number of their edge."""
        self._bytes = 0
        self._leaving: list[tuple[int, int]] = []  # a heap of (last bit sent, bytes)
        self._waiting: list[dict[int, Kept]] = [{} for _ in range(PRIORITIES)]
        self._least: list[list[tuple[int, int, int]]] = [[] for _ in range(PRIORITIES)]

    def put(self, packet: int, data: bytes, now: int) -> None:
        """Take a packet that came to the node at *now*."""
        expires = 1 << 62
        if self._lifetime is not None:
            expires = self._born.setdefault(packet, now) + self._lifetime
            if expires <= now:
                self._end(packet, Fate.EXPIRED, 0, now)
                return
        if self._sink is not None:
            self._born.pop(packet, None)
            self._sink(packet, data, now)
            return
        priority, place = self._rank(data)
        kept = Kept(packet, data, now, priority, expires)
        if not self._make_room(kept, place, now):
            self._end(packet, Fate.STORE_FULL, 0, now)
            return
        self._bytes += len(data)
        self.keep_again(kept, now, place)

    def keep_again(self, kept: Kept, now: int, place: int | None = None) -> None:
        """Have *kept*, which counts as in the store, wait for a contact."""
        self._waiting[kept.priority][kept.packet] = kept
        if self._policy == "least_important":
            place = self._rank(kept.data)[1] if place is None else place
            heappush(self._least[kept.priority], (-place, -kept.since, kept.packet))
        self.route(kept, now)

    def route(self, kept: Kept, now: int, skip: tuple[int, int] | None = None) -> None:
        """Promise *kept* to the first contact of its best route; drop it where none is left."""
        size = len(kept.data)
        out = kept.failed if skip is None else (*kept.failed, skip)
        found = self._promises.find(now, size, kept.priority, skip=out)
        if found is None:
            found = self._promises.find(now, size, kept.priority, skip=out, down=True)
        if found is None:
            self.drop(kept, Fate.NO_ROUTE, now)
        else:
            self.outlets[found[0].number].add(kept, found[1], now)

    def route_again(self, now: int) -> None:
        """Route all that waits anew, since a hop is up again."""
        found = [kept for outlet in self.outlets.values() for kept in outlet.take_all()]
        for kept in sorted(found, key=lambda kept: (kept.priority, kept.since, kept.packet)):
            self.route(kept, now)

    def leave(self, kept: Kept, now: int, over: int | None) -> None:
        """Take note that *kept* is sent from *now* on; its room is free at *over*, None: when `free` says so."""
        del self._waiting[kept.priority][kept.packet]
        if now > kept.since:
            self._rows.append((now, kept.packet, _STORED, self._number, now - kept.since, 0))
        if over is not None:
            heappush(self._leaving, (over, len(kept.data)))

    def free(self, size_bytes: int) -> None:
        """Have room again for what is across."""
        self._bytes -= size_bytes

    def drop(self, kept: Kept, fate: Fate, now: int) -> None:
        """Take *kept* out of the store for good."""
        del self._waiting[kept.priority][kept.packet]
        kept.gone = True
        if kept.outlet is not None:
            kept.outlet.edge.promised[kept.contact][kept.priority] -= kept.lasts
        self._bytes -= len(kept.data)
        self._end(kept.packet, fate, now - kept.since, now)

    def _end(self, packet: int, fate: Fate, waited: int, now: int) -> None:
        self._born.pop(packet, None)
        self._rows.append((now, packet, int(fate), self._number, waited, 0))

    def _make_room(self, new: Kept, place: int, now: int) -> bool:
        """Drop what must go for *new*; return whether it finds room."""
        leaving = self._leaving
        while leaving and leaving[0][0] <= now:
            self._bytes -= heappop(leaving)[1]
        size = len(new.data)
        if self._bytes + size <= self._limit:
            return True
        for line in self._waiting:
            for kept in [kept for kept in line.values() if kept.expires <= now]:
                self.drop(kept, Fate.EXPIRED, now)
        # No bundle goes for one that is too large for what is left when all that may go for it is gone.
        lower = self._waiting[new.priority + (self._policy == "newest") :]
        held = sum(len(kept.data) for line in lower for kept in line.values())
        if self._bytes - held + size > self._limit:
            return False
        while self._bytes + size > self._limit:
            victim = self._victim(new, place)
            if victim is None:
                return False
            self.drop(victim, Fate.STORE_FULL, now)
        return True

    def _victim(self, new: Kept, place: int) -> Kept | None:
        """Return what goes next; None where that is *new* itself, at *place* in its frame."""
        for priority in range(PRIORITIES - 1, new.priority - 1, -1):
            line = self._waiting[priority]
            if not line:
                continue
            if self._policy == "oldest":
                return next(iter(line.values()))
            if self._policy == "newest":
                return None if priority == new.priority else next(reversed(line.values()))
            heap = self._least[priority]
            while heap[0][2] not in line:
                heappop(heap)
            if priority == new.priority and -heap[0][0] <= place:
                return None
            return line[heap[0][2]]
        return None
