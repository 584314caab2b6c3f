"""Routes by earliest arrival over a contact plan: contact graph routing.

Dijkstra's algorithm over nodes, labelled by when the last bit is there: a bundle on a contact starts when it is at the
node, the contact is open and what of no lower class was promised before is sent, and must end before the contact
does. A later start never arrives earlier, so the first route found is the best. Ties go to fewer hops, then to the
lower number. The node that asks knows what it promised its own contacts; those beyond it count as empty, as in ION, and
each node on the way reckons anew.
"""

from bisect import bisect_right
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from link.packet import PRIORITIES

FOREVER_NS = 1 << 62
"""Until when a hop without a plan is there."""


@dataclass
class Edge:
    """A hop between nodes, and its contacts: windows from *starts* to before *ends*, in ns, in order."""

    number: int
    start: int
    """The node that sends, by number."""
    end: int
    starts: list[int]
    ends: list[int]
    per_byte: int
    scale: int
    """A byte takes per_byte / scale ns, as in `link.channel.rate.ConstantRate`."""
    delay: int
    busy_until: int = 0
    """When what is on the transmitter is sent."""
    promised: list[list[int]] = field(default_factory=list)
    """Of each contact: how long what waits for it will be on the transmitter, by class."""
    down: int | None = None
    """The contact that its node found down, for as long as it is."""

    def __post_init__(self) -> None:
        self.promised = [[0] * PRIORITIES for _ in self.starts]

    def lasts(self, size_bytes: int) -> int:
        """Return how long *size_bytes* are on the transmitter, in ns."""
        return -(-size_bytes * self.per_byte // self.scale)

    def begins(self, contact: int, now: int, priority: int) -> int:
        """Return when a bundle of class *priority* that comes at *now* would be sent: after all that goes before it."""
        before = sum(self.promised[contact][: priority + 1])
        return max(now, self.starts[contact], self.busy_until) + before

    def is_overbooked(self, contact: int, now: int) -> bool:
        """Return whether more was promised to *contact* than fits into what is left of it at *now*."""
        return self.begins(contact, now, PRIORITIES - 1) > self.ends[contact]


Found = tuple[Edge, int, int]
"""(edge, contact of it, arrival in ns): the first contact of a route, and when it ends."""


class RouteTable:
    """Routes to the node *destination* over *edges*."""

    def __init__(self, edges: Sequence[Edge], destination: int) -> None:
        self._destination = destination
        self._leaving: dict[int, list[Edge]] = {}
        for edge in edges:
            self._leaving.setdefault(edge.start, []).append(edge)

    def find(
        self, node: int, now: int, size_bytes: int, priority: int = 0, *,
        skip: Container[tuple[int, int]] = (), down: bool = False,
    ) -> Found | None:  # fmt: skip
        """Return the first contact of the route on which *size_bytes* of class *priority* at *node* arrive first.

        None where no route is left. *skip*: contacts, by edge and number, that are out of the question; *down*: whether
        those are in it that
        were found down.
        """
        heap: list[tuple[int, int, int, int, Edge | None, int]] = [(now, 0, 0, node, None, 0)]
        done = set()
        order = 0
        while heap:
            at, hops, _, place, first, contact = heappop(heap)
            if place == self._destination:
                assert first is not None
                return first, contact, at
            if place in done:
                continue
            done.add(place)
            for edge in self._leaving.get(place, ()):
                if edge.end in done:
                    continue
                lasts = edge.lasts(size_bytes)
                ends, own = edge.ends, place == node
                number = bisect_right(ends, at)
                while number < len(ends):
                    begin = edge.begins(number, at, priority) if own else max(at, edge.starts[number])
                    over = begin + lasts
                    if over <= ends[number] and not (
                        own and ((edge.down == number and not down) or (edge.number, number) in skip)
                    ):
                        order += 1
                        entry = (first, contact) if first is not None else (edge, number)
                        heappush(heap, (over + edge.delay, hops + 1, order, edge.end, *entry))
                        break
                    number += 1
        return None
