"""The way out where hops have nodes at their ends: each hop's core between two stores (`link.channel.node`)."""

from collections.abc import Callable, Sequence
from functools import partial

from link import packet
from link.channel import to_ns
from link.channel.hop import Hop, Sink
from link.channel.node import Outlet, StoreNode
from link.channel.outage import windows_up
from link.channel.promises import Edge, Promises, tabulate
from link.channel.rate import ConstantRate
from link.events import Row
from link.hops import HopConfig, Link
from link.plans.timetable import FOREVER_NS


class Network:
    """The nodes of *link*. *sink* takes what is at the last of them; *rows* what becomes of bundles in stores.

    *origins*: at which nodes, by number, packets come in: those of one sender, or of several (`link.team`).
    """

    def __init__(self, link: Link, rows: list[Row], sink: Sink, origins: Sequence[int] = (0,)) -> None:
        self._origins, self._framing = origins, link.framing
        self._low_bits = (1 << (len(origins) - 1).bit_length()) - 1
        self._ends = link.ends
        self._edges = [
            make_edge(number, hop, ends)
            for number, (hop, ends) in enumerate(zip(link.hops, self._ends, strict=True))
        ]
        last = len(link.nodes) - 1
        table = tabulate(self._edges, len(link.nodes))
        self._promises = [Promises(table, self._edges, number, last) for number in range(len(link.nodes))]
        born: dict[int, int] = {}
        lifetime = None if link.lifetime_s is None else to_ns(link.lifetime_s)
        self._nodes = [
            StoreNode(
                number, node.store.limit_bytes, node.store.drop, promises=self._promises[number], rows=rows,
                rank=partial(packet.rank, framing=link.framing), born=born, lifetime=lifetime,
                sink=sink if number == last else None,
            )
            for number, node in enumerate(link.nodes)
        ]  # fmt: skip

    def sink(self, hop: int) -> Sink:
        """Return what takes the packets that come out of hop number *hop*."""
        return self._nodes[self._ends[hop][1]].put

    def join(self, hops: Sequence[Hop]) -> None:
        """Let the nodes send by *hops*, in the order of the link's."""
        for edge, hop in zip(self._edges, hops, strict=True):
            node = self._nodes[edge.start]
            node.outlets[edge.number] = Outlet(node, hop, edge)

    @property
    def entry(self) -> Callable[[int, bytes, int], None]:
        """What takes the packets that the sender sends, or the senders do."""
        if len(set(self._origins)) == 1:
            return self._nodes[self._origins[0]].put
        return self._enter

    def _enter(self, number: int, data: bytes, now: int) -> None:
        """Give a packet to the node of whose it is; what is none, or nobody's, to the first sender's."""
        try:
            whose = packet.peek(packet.unwrap(data, self._framing)).frame & self._low_bits
        except ValueError:
            whose = 0
        self._nodes[self._origins[whose if whose < len(self._origins) else 0]].put(number, data, now)

    def adjust(self, link: Link) -> None:
        """Reckon with the rates and delays of *link* from now on."""
        for edge, hop, ends in zip(self._edges, link.hops, self._ends, strict=True):
            new = make_edge(edge.number, hop, ends)
            edge.per_byte, edge.scale, edge.delay = new.per_byte, new.scale, new.delay
        table = tabulate(self._edges, len(self._nodes))
        for promises in self._promises:
            promises.table = table


def make_edge(number: int, hop: HopConfig, ends: tuple[int, int]) -> Edge:
    """Return *hop* as routes are reckoned by it."""
    assert hop.rate_bps is not None
    rate = ConstantRate(hop.rate_bps)
    windows = [(0, FOREVER_NS)]
    if hop.contacts_s is not None:
        windows = [(to_ns(start), to_ns(end)) for start, end in hop.contacts_s]
    elif hop.contacts and hop.outage is not None:
        # Reckoned from where the ends are: what is between passes is known beforehand, and is no failure.
        windows = windows_up(hop.outage)
    starts, stops = [start for start, _ in windows], [end for _, end in windows]
    return Edge(number, *ends, starts, stops, rate.per_byte, rate.scale, to_ns(hop.delay_s))
