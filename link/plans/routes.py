"""Routes over a contact plan: contact graph routing by earliest arrival.

The search is that of `link.plans.timetable`; here are names, alternatives (Yen 1971), and what was promised of contacts
to other bundles: one is sent in the first gap between promises that is long enough. (Nodes of a run promise their own
contacts by class: `link.channel.promises`.)

    router = Router(plan)
    route = router.find("rover", "earth", 125_000, at_ns=0)
    if route is not None:
        router.promise(route)
"""

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass
from heapq import heapify, heappop

from link.channel.rate import ConstantRate
from link.plans.plan import ContactPlan
from link.plans.timetable import FOREVER_NS, Timetable


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


class Router:
    """Finds routes over *plan*, and keeps what was promised of its contacts and which of them failed."""

    def __init__(self, plan: ContactPlan) -> None:
        self.plan = plan
        self._names = plan.nodes
        self._places = {name: place for place, name in enumerate(plan.nodes)}
        paces = {row.rate_bps: ConstantRate(row.rate_bps) for row in plan.contacts}
        rates = {rate_bps: place for place, rate_bps in enumerate(paces)}
        self._table = Timetable(
            len(plan.nodes),
            (
                (
                    self._places[row.from_],
                    self._places[row.to],
                    *row.window_ns,
                    rates[row.rate_bps],
                    row.delay_ns,
                )
                for row in plan.contacts
            ),
            [(pace.scale, pace.per_byte) for pace in paces.values()],
        )
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
        skip = frozenset(without)

        def begin(contact: int, start: int, air: int) -> int:
            start = self._free(contact, start, air)
            failed = contact in skip or start + air > self._cut.get(contact, FOREVER_NS)
            return FOREVER_NS if failed else start

        labels = self._table.search(
            near, far, size_bytes, at_ns, begin=begin, touched=self._touched | skip if skip else self._touched,
            avoid=[self._place(node) for node in avoid],
        )  # fmt: skip
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
