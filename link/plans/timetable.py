"""The search for routes: Dijkstra's, on the arrival of the last bit, over contacts in the order of their start.

A bundle that is at a contact's near side at t leaves from st = max(t, start), is sent by st + air, which must not be
after the contact's end, and is at the far side *delay* later. Waiting helps no bundle to arrive earlier (first in,
first out), so the search is exact. (Contact graph routing: Araniti et al. 2015, "Contact graph routing in DTN space
networks"; CCSDS 734.3-B-1.)

What makes it quick: from a node that is reached, only those contacts are looked at that are open then; the others wait,
as one entry of the heap, under the earliest time at which the next of them could have anything across. So a search
looks at contacts that begin before it ends, at nodes that it reached, and not at every neighbour of every node. Which
are open at a time is found from lists, kept of some starts, in about as many steps as there are open ones.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from fractions import Fraction
from heapq import heappop, heappush

FOREVER_NS = 1 << 62
"""After all times; until when a contact without an end is there."""
_NEVER: tuple[int, int, int] = (FOREVER_NS, FOREVER_NS, 0)
_MOST_SIZES = 1000
"""Of bundles, for which times on the air are kept."""

Row = tuple[int, int, int, int, int, int]
"""(start, number, end, to, rate, delay) of a contact; *rate* is the place of one of the rates."""
Label = tuple[int, int, int, int, int, int, int]
"""(arrival, legs, contact, node, place of the label before, start, end): a node as it was reached. No contact: -1."""
Begin = Callable[[int, int, int], int]
"""Takes (contact, when the bundle could start on it by the plan, how long it takes); returns when it can start."""


class _Leaving:
    """The contacts that lead from a node, in the order of their start."""

    def __init__(self, rows: list[Row], rates: Sequence[tuple[int, int]]) -> None:
        self.rows = sorted(rows)
        self.starts = [row[0] for row in self.rows]
        self.least_delay = min((row[5] for row in rows), default=0)
        self.best_rate = min(
            {row[4] for row in rows}, key=lambda rate: Fraction(rates[rate][1], rates[rate][0]), default=0
        )
        self.open: list[tuple[int, list[Row]]] = [(0, [])]
        """By how many have begun: (how many had, which of these were open when the last of them began) before that."""
        begun, held = self.open[0]
        for place, start in enumerate(self.starts, 1):
            # As many begin in between as are kept: all lists together are no longer than the plan twice.
            if place - begun >= len(held):
                held = [row for row in (*held, *self.rows[begun:place]) if row[2] >= start]
                begun = place
            self.open.append((begun, held))


class _Airs(dict[int, int]):
    """How long a bundle is on the transmitter, in ns, by the place of the rate; reckoned where it is asked for."""

    def __init__(self, size: int, rates: Sequence[tuple[int, int]]) -> None:
        self._size, self._rates = size, rates

    def __missing__(self, rate: int) -> int:
        scale, per_byte = self._rates[rate]
        air = self[rate] = -(-self._size * per_byte // scale)
        return air


class _Heap:
    """What a search has ahead of it, and knows of nodes."""

    def __init__(
        self, nodes: int, far: int, airs: _Airs, avoid: Collection[int],
        touched: Container[int], begin: Begin | None,
    ) -> None:  # fmt: skip
        self.entries: list[Label | tuple[int, int, int, int]] = []
        """Labels, and (when something may be across, -1, place, label): what leaves a label's node from a place on."""
        self.fewest = [FOREVER_NS] * nodes
        """By node: the fewest legs of the labels that it had."""
        for node in avoid:
            self.fewest[node] = -1
        self.early = [_NEVER] * nodes
        """By node: (arrival, legs, contact) of the earliest label."""
        self._far, self._airs, self._touched, self._begin = far, airs, touched, begin

    def cross(self, rows: list[Row], time: int, legs: int, index: int) -> None:
        """Add what a bundle that is at label *index* at *time* reaches over *rows*, in *legs* legs."""
        entries, fewest, early, airs, touched = (
            self.entries,
            self.fewest,
            self.early,
            self._airs,
            self._touched,
        )
        bound = early[self._far]
        for start, number, closes, to, rate, delay in rows:
            if fewest[to] <= legs:
                continue
            if start < time:
                if closes < time:
                    continue
                start = time
            air = airs[rate]
            if number in touched and self._begin is not None:
                start = self._begin(number, start, air)
            end = start + air
            if end > closes:
                continue
            arrival = end + delay
            known = early[to]
            if arrival > bound[0] or (legs >= known[1] and (arrival, legs, number) >= known):
                continue
            if arrival <= known[0]:
                early[to] = arrival, legs, number
                bound = early[self._far]
            heappush(entries, (arrival, legs, number, to, index, start, end))


class Timetable:
    """Contacts between *nodes* nodes, all by their numbers.

    *contacts* are (from, to, start, end, rate, delay) in ns, *rate* the place of one of *rates*: (scale, per byte),
    where a byte takes per byte / scale ns.
    """

    def __init__(
        self,
        nodes: int,
        contacts: Iterable[tuple[int, int, int, int, int, int]],
        rates: Sequence[tuple[int, int]],
    ) -> None:
        self._rates = rates
        self._airs: dict[int, _Airs] = {}
        rows: list[list[Row]] = [[] for _ in range(nodes)]
        for number, (near, far, start, end, rate, delay) in enumerate(contacts):
            rows[near].append((start, number, end, far, rate, delay))
        self._leaving = [_Leaving(own, rates) for own in rows]

    def _airs_of(self, size_bytes: int) -> _Airs:
        airs = self._airs.get(size_bytes)
        if airs is None:
            if len(self._airs) >= _MOST_SIZES:
                self._airs.clear()
            airs = self._airs[size_bytes] = _Airs(size_bytes, self._rates)
        return airs

    def search(
        self, near: int, far: int, size_bytes: int, at: int, *,
        touched: Container[int] = (), begin: Begin | None = None, avoid: Collection[int] = (),
    ) -> list[Label] | None:  # fmt: skip
        """Return what was reached from *near*, where *size_bytes* are at *at*, with *far* last; None: it cannot be.

        Of several routes with the earliest arrival the one with the fewest legs; of those the one whose last contact
        has the lowest number, and so on backwards, each node reached as early as in so many legs it can be. *touched*:
        contacts that are not as the plan has them; of these *begin* says when they can take the bundle, FOREVER_NS:
        never. *avoid*: nodes that it may not use.
        """
        leaving, airs = self._leaving, self._airs_of(size_bytes)
        heap = _Heap(len(leaving), far, airs, avoid, touched, begin)
        entries, fewest, early = heap.entries, heap.fewest, heap.early
        latest = [at] * len(leaving)  # by node: when it had the last of its labels
        labels: list[Label] = []
        entries.append((at, 0, -1, near, -1, at, at))
        while entries:
            entry = heappop(entries)
            if len(entry) == 4:
                _, _, first, index = entry
                time, legs, _, node, _, _, _ = labels[index]
                own = leaving[node]
                if time < latest[node] <= own.starts[first]:
                    continue  # it was reached again, later and in fewer legs, and sends what begins from then on
                place = first + 1
                if entries:
                    soon = entries[0][0] - airs[own.best_rate] - own.least_delay
                    place = bisect_right(own.starts, soon, place)
                rows = own.rows[first:place]
            else:
                time, legs, _, node, _, _, _ = entry
                if fewest[node] <= legs:
                    continue
                fewest[node], latest[node] = legs, time
                index = len(labels)
                labels.append(entry)
                if node == far:
                    return labels
                own = leaving[node]
                place = bisect_right(own.starts, time)
                begun, rows = own.open[place]
                if begun < place:
                    rows = rows + own.rows[begun:place]
            if rows:
                heap.cross(rows, time, legs + 1, index)
            if place < len(own.rows):
                across = own.starts[place] + airs[own.best_rate] + own.least_delay
                if across <= early[far][0]:
                    heappush(entries, (across, -1, place, index))
        return None
