"""What a node of a run promised its own contacts, and the routes it finds by that (`link.plans.timetable`).

A bundle on one of these starts when it is at the node, the contact is open and what of no lower class was promised
before is sent. Contacts of other nodes count as empty, as in ION, and each node on the way reckons anew.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from link.packet import PRIORITIES
from link.plans.timetable import FOREVER_NS, Timetable


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


def tabulate(edges: Sequence[Edge], nodes: int) -> Timetable:
    """Return the contacts of *edges*, numbered edge by edge in their order, between *nodes* nodes."""
    return Timetable(
        nodes,
        (
            (edge.start, edge.end, start, end, place, edge.delay)
            for place, edge in enumerate(edges)
            for start, end in zip(edge.starts, edge.ends, strict=True)
        ),
        [(edge.scale, edge.per_byte) for edge in edges],
    )


Found = tuple[Edge, int, int]
"""(edge, contact of it, arrival in ns): the first contact of a route, and when it ends."""


class Promises:
    """Routes from *node* to *destination*, by number, over *edges*, those of the whole network, as in *table*."""

    def __init__(self, table: Timetable, edges: Sequence[Edge], node: int, destination: int) -> None:
        self.table = table
        self._node, self._destination = node, destination
        self._own: dict[int, tuple[Edge, int]] = {}
        """(edge, contact of it) by the contact's number in the table."""
        count = 0
        for edge in edges:
            if edge.start == node:
                self._own |= {count + contact: (edge, contact) for contact in range(len(edge.starts))}
            count += len(edge.starts)

    def find(
        self, now: int, size_bytes: int, priority: int = 0, *,
        skip: Container[tuple[int, int]] = (), down: bool = False,
    ) -> Found | None:  # fmt: skip
        """Return the first contact of the route on which *size_bytes* of class *priority* arrive first.

        None where no route is left. *skip*: contacts, by edge and number, that are out of the question; *down*: whether
        those are in it that were found down.
        """
        own = self._own

        def begin(number: int, start: int, air: int) -> int:
            edge, contact = own[number]
            if (edge.down == contact and not down) or (skip and (edge.number, contact) in skip):
                return FOREVER_NS
            return edge.begins(contact, start, priority)

        labels = self.table.search(self._node, self._destination, size_bytes, now, touched=own, begin=begin)
        if labels is None:
            return None
        label = labels[-1]
        arrival = label[0]
        while label[1] > 1:
            label = labels[label[4]]
        return *own[label[2]], arrival
