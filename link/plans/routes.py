"""Routes over a contact plan: contact graph routing by earliest arrival.

A bundle of B bytes at a contact's near side at t leaves from st = max(t, start) and is sent by st + 8 B/rate, which
must not be after the contact's end, and is at the far side *delay* later. What was promised to other bundles is taken
from the contact: a bundle is sent in the first gap between promises that is long enough. Waiting helps no bundle to
arrive earlier (first in, first out), so that Dijkstra's search on the arrival of the last bit is exact. (Contact graph
routing: Araniti et al. 2015, "Contact graph routing in DTN space networks"; CCSDS 734.3-B-1. Alternatives: Yen 1971.)

    router = Router(plan)
    route = router.find("rover", "earth", 125_000, at_ns=0)
    if route is not None:
        router.promise(route)
"""

from bisect import bisect_left
from collections.abc import Collection, Set
from dataclasses import dataclass
from fractions import Fraction
from heapq import heapify, heappop, heappush

from link.plans.plan import ContactPlan

_NEVER = 1 << 62


@dataclass(frozen=True)
class Leg:
    """One contact of a route: *contact* is its number in the plan. Times in nanoseconds of run time."""

    contact: int
    from_: str
    to: str
    start_ns: int
    """When its first bit is sent."""
    end_ns: int
    """When its last bit is sent."""
    arrival_ns: int
    """When its last bit is at the far side."""


@dataclass(frozen=True)
class Route:
    """The legs of a bundle of *size_bytes*; none where it is where it should be."""

    legs: tuple[Leg, ...]
    size_bytes: int
    arrival_ns: int
    """When the last bit is at the destination."""

    @property
    def contacts(self) -> tuple[int, ...]:
        """The numbers of its contacts."""
        return tuple(leg.contact for leg in self.legs)

    @property
    def _order(self) -> tuple[int, int, tuple[int, ...]]:
        return self.arrival_ns, len(self.legs), self.contacts


class _Pair:
    """The contacts of one pair of nodes, in the order of their start, in columns."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.rows: list[tuple[int, int, int, int, int]] = []
        """(start, number, end, rate, delay)."""
        self.latest_end: list[int] = []
        """Of each and of all before it: what is not after the present may be passed over."""
        self.least_delay = _NEVER
        self.best_rate = 0

    def close(self, rates: list[tuple[int, int]]) -> None:
        """Put the rows in order, once all are there."""
        self.rows.sort()
        latest = 0
        for _, _, end, _, delay in self.rows:
            latest = max(latest, end)
            self.latest_end.append(latest)
            self.least_delay = min(self.least_delay, delay)
        used = {row[3] for row in self.rows}
        self.best_rate = min(used, key=lambda rate: Fraction(rates[rate][1], rates[rate][0]))


class _Airs(dict[int, int]):
    """How long a bundle is on the transmitter, in ns, by the number of the rate; reckoned where it is asked for."""

    def __init__(self, size: int, rates: list[tuple[int, int]]) -> None:
        self._size, self._rates = size, rates

    def __missing__(self, rate: int) -> int:
        scale, per_byte = self._rates[rate]
        air = self[rate] = -(-self._size * per_byte // scale)
        return air


_Label = tuple[int, int, int, int, int, int, int]
"""(arrival, hops, contact, node, label before, start, end)."""


class Router:
    """Finds routes over *plan*, and keeps what was promised of its contacts and which of them failed."""

    def __init__(self, plan: ContactPlan) -> None:
        self.plan = plan
        self._places = {name: place for place, name in enumerate(plan.nodes)}
        self._names = plan.nodes
        self._rates: list[
            tuple[int, int]
        ] = []  # (scale, per byte): a byte takes per byte / scale ns, exactly
        self._pairs: list[list[_Pair]] = [[] for _ in self._names]
        pairs: dict[tuple[int, int], _Pair] = {}
        known: dict[float, int] = {}
        for number, row in enumerate(plan.contacts):
            if row.rate_bps not in known:
                known[row.rate_bps] = len(known)
                rate = Fraction(row.rate_bps).limit_denominator(1_000_000)
                self._rates.append((rate.numerator, 8_000_000_000 * rate.denominator))
            near, far = self._places[row.from_], self._places[row.to]
            if (near, far) not in pairs:
                pairs[near, far] = _Pair(far)
                self._pairs[near].append(pairs[near, far])
            start, end = row.window_ns
            pairs[near, far].rows.append((start, number, end, known[row.rate_bps], row.delay_ns))
        for pair in pairs.values():
            pair.close(self._rates)
        self._taken: dict[
            int, list[tuple[int, int]]
        ] = {}  # by contact: (start, end) promised, apart, in order
        self._cut: dict[int, int] = {}  # by contact: when it failed
        self._touched: set[int] = set()  # of both

    def find(
        self,
        source: str,
        destination: str,
        size_bytes: int,
        at_ns: int,
        without: Collection[int] = (),
        avoid: Collection[str] = (),
    ) -> Route | None:
        """Return the route on which *size_bytes* that are at *source* at *at_ns* are earliest at *destination*.

        Of several the one with the fewest legs; of those the one whose last contact has the lowest number, and so on
        backwards, each node reached as early as in so many legs it can be. *without*: contacts by their numbers, and
        *avoid*: nodes by their names, that it may not use. None: there is no route. Raise ValueError where a node is
        not in the plan.
        """
        near, far = self._place(source), self._place(destination)
        if near == far:
            return Route((), size_bytes, at_ns)
        labels = self._search(
            near, far, size_bytes, at_ns, frozenset(without), [self._place(n) for n in avoid]
        )
        if labels is None:
            return None
        legs: list[Leg] = []
        label = labels[-1]
        while label[1]:
            before = labels[label[4]]
            names = self._names[before[3]], self._names[label[3]]
            legs.append(Leg(label[2], *names, label[5], label[6], label[0]))
            label = before
        return Route(tuple(reversed(legs)), size_bytes, legs[0].arrival_ns)

    def _place(self, node: str) -> int:
        try:
            return self._places[node]
        except KeyError:
            raise ValueError(f"the contact plan has no node {node}") from None

    def _search(
        self, near: int, far: int, size: int, at: int, without: frozenset[int], avoid: list[int]
    ) -> list[_Label] | None:
        """Return what was reached, *far* last; None where it cannot be.

        A node counts again where it is reached later but in fewer legs: with a wait behind it that may come to the same
        arrival.
        """
        airs = _Airs(size, self._rates)
        settled = [_NEVER] * len(self._names)  # by node: the fewest legs of its labels
        for node in avoid:
            settled[node] = -1
        early: list[tuple[int, int, int]] = [(_NEVER, _NEVER, 0)] * len(self._names)
        heap: list[_Label] = [(at, 0, -1, near, -1, at, at)]
        labels: list[_Label] = []
        touched = without | self._touched if without else self._touched
        bound = _NEVER
        while heap:
            label = heappop(heap)
            time, hops, _, node, _, _, _ = label
            if settled[node] <= hops:
                continue
            settled[node] = hops
            labels.append(label)
            if node == far:
                return labels
            hops += 1
            for pair in self._pairs[node]:
                to = pair.to
                if settled[to] <= hops:
                    continue
                best, number, start, end = self._first(pair, time, bound, airs, touched, without)
                if number < 0 or ((best, hops, number) >= (known := early[to]) and hops >= known[1]):
                    continue
                if best <= known[0]:
                    early[to] = (best, hops, number)
                if to == far:
                    bound = best
                heappush(heap, (best, hops, number, to, len(labels) - 1, start, end))
        return None

    def _first(
        self,
        pair: _Pair,
        time: int,
        bound: int,
        airs: "_Airs",
        touched: Set[int],
        without: Set[int],
    ) -> tuple[int, int, int, int]:
        """Return (arrival, contact, start, end) of the earliest arrival over a pair, from *time* to *bound*."""
        best, found, first, last = bound, -1, 0, 0
        least = airs[pair.best_rate] + pair.least_delay
        rows = pair.rows
        for place in range(bisect_left(pair.latest_end, time), len(rows)):
            start, number, closes, rate, delay = rows[place]
            if start < time:
                start = time
            if start + least > best:
                break
            air = airs[rate]
            if number in touched:
                if number in without:
                    continue
                start = self._free(number, start, air)
                closes = min(closes, self._cut.get(number, closes))
            end = start + air
            if end > closes:
                continue
            arrival = end + delay
            if arrival < best or (arrival == best and (found < 0 or number < found)):
                best, found, first, last = arrival, number, start, end
        return best, found, first, last

    def _free(self, number: int, start: int, air: int) -> int:
        """Return from when on a contact has *air* ns free, *start* at the earliest; its end is not looked at."""
        taken = self._taken.get(number, ())
        place = bisect_left(taken, (start + 1,))
        if place and taken[place - 1][1] > start:
            start = taken[place - 1][1]
        while place < len(taken) and taken[place][0] - start < air:
            start = taken[place][1]
            place += 1
        return start

    def alternatives(
        self, source: str, destination: str, size_bytes: int, at_ns: int, count: int
    ) -> list[Route]:
        """Return the *count* best routes that visit no node twice, or as many as there are, the best first (Yen).

        In the order of arrival; of those that arrive together fewer legs, then lower numbers, come first.
        """
        best = self.find(source, destination, size_bytes, at_ns)
        if best is None:
            return []
        chosen: list[Route] = []
        waiting = [(best._order, best)]
        seen = {best.contacts}
        while waiting and len(chosen) < count:
            _, route = heappop(waiting)
            chosen.append(route)
            for place, leg in enumerate(route.legs):
                root = route.legs[:place]
                used = {
                    other.contacts[place]
                    for other in chosen
                    if len(other.legs) > place and other.contacts[:place] == route.contacts[:place]
                }
                passed = [item.from_ for item in root]
                since = root[-1].arrival_ns if root else at_ns
                spur = self.find(leg.from_, destination, size_bytes, since, used, passed)
                if spur is None or (contacts := route.contacts[:place] + spur.contacts) in seen:
                    continue
                seen.add(contacts)
                found = Route(root + spur.legs, size_bytes, spur.arrival_ns)
                waiting.append((found._order, found))
            heapify(waiting)
        return chosen

    def promise(self, route: Route) -> None:
        """Take what *route* needs from its contacts: routes found from now on do without it.

        Raise ValueError where a part of that was promised already.
        """
        for leg in route.legs:
            if self._free(leg.contact, leg.start_ns, leg.end_ns - leg.start_ns) != leg.start_ns:
                raise ValueError(f"contact {leg.contact} was promised to others at {leg.start_ns} ns")
        for leg in route.legs:
            if leg.end_ns == leg.start_ns:
                continue
            taken = self._taken.setdefault(leg.contact, [])
            self._touched.add(leg.contact)
            start, end = leg.start_ns, leg.end_ns
            place = bisect_left(taken, (start,))
            if (
                place < len(taken) and taken[place][0] == end
            ):  # what touches becomes one: few gaps to look through
                end = taken.pop(place)[1]
            if place and taken[place - 1][1] == start:
                place -= 1
                start = taken.pop(place)[0]
            taken.insert(place, (start, end))

    def release(self, route: Route, since_ns: int = 0) -> None:
        """Give back what was promised to *route*, that is what of it lies after *since_ns*.

        Raise ValueError where it was not promised.
        """
        for leg in route.legs:
            start, end = max(leg.start_ns, since_ns), leg.end_ns
            if end <= start:
                continue
            taken = self._taken.get(leg.contact, [])
            place = bisect_left(taken, (start + 1,)) - 1
            if place < 0 or taken[place][1] < end:
                raise ValueError(f"contact {leg.contact} was not promised to it at {start} ns")
            first, last = taken.pop(place)
            taken[place:place] = [gap for gap in ((first, start), (end, last)) if gap[0] < gap[1]]
            if not taken:
                del self._taken[leg.contact]

    def promised_bytes(self, contact: int) -> float:
        """Return how much of a contact is promised."""
        taken = self._taken.get(contact, ())
        return sum(end - start for start, end in taken) * self.plan.contacts[contact].rate_bps / 8e9

    def fail(self, contact: int, since_ns: int = 0) -> None:
        """Use *contact* no more after *since_ns*: it failed then. What was promised of it is no longer."""
        self._cut[contact] = min(since_ns, self._cut.get(contact, since_ns))
        self._touched.add(contact)


def find_route(
    plan: ContactPlan,
    source: str,
    destination: str,
    size_bytes: int,
    at_ns: int,
    without: Collection[int] = (),
) -> Route | None:
    """Return the route of earliest arrival: see `Router.find`. For many bundles over a plan keep a `Router`."""
    return Router(plan).find(source, destination, size_bytes, at_ns, without)
