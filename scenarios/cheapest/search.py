"""Finds the cheapest of many settings without looking at every rung of every one.

A *setting* is all that is walked but the ladder; a *rung* of the ladder is a rate, or a power, rising. Assumed is, for
each setting by itself:

    enough  a rung above one that is enough is enough as well
    cost    a higher rung does not cost less

So the least rung that is enough is the setting's cheapest; it is found by bisection, and a setting is given up as soon
as a rung that is not enough costs more than all that are wanted. Nothing is assumed between settings: each is looked
at once at the least. What was looked at is held against both assumptions by `broken`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

Place = tuple[int, int]
"""(setting, rung), both by number."""
Cost = tuple[float, ...]
"""What is compared first, and what where that is equal. Its first figure is what is assumed never to fall."""
BATCH = 4
"""How many settings are searched side by side. What is looked at does not depend on how many workers there are."""
DEAREST: Cost = (float("inf"),)
CHEAPEST: Cost = (float("-inf"),)


class Looked(Protocol):
    """What is known of a place."""

    @property
    def cost(self) -> Cost | None:
        """None: it could not be run, so nothing is known of its cost."""

    @property
    def enough(self) -> bool:
        """Whether it does what is wanted."""


Look = Callable[[Sequence[Place]], Mapping[Place, Looked]]
"""Looks at places, and returns those that it could: fewer than asked for where its means are spent."""


@dataclass
class _Climb:
    """How far a setting is known."""

    setting: int
    rungs: int
    low: int = -1
    """The highest rung that is known not to be enough."""
    high: int | None = None
    """The lowest that is known to be."""

    @property
    def open(self) -> bool:
        """Whether its least rung is not known yet."""
        return self.low + 1 < (self.rungs if self.high is None else self.high)

    def next(self, guess: int) -> int:
        """Return the rung to look at: *guess* at first, then the top, then halfway."""
        if self.high is not None:
            return (self.low + self.high) // 2
        return min(guess, self.rungs - 1) if self.low < 0 else self.rungs - 1


def search(settings: int, rungs: int, own: int, wanted: int, look: Look) -> dict[Place, Looked]:
    """Return all that was looked at to find the *wanted* cheapest of *settings* on a ladder of *rungs*.

    Settings that are thought to be good should come first; *own* is the rung to begin at. The rung above the cheapest
    is looked at last, to see whether it is enough as well. It ends early where *look* returns less than was asked for.
    """
    known: dict[Place, Looked] = {}
    climbs = [_Climb(at, rungs) for at in range(settings)]

    def learn(places: Sequence[Place]) -> bool:
        seen = look(places)
        known.update(seen)
        for setting, rung in seen:
            climb = climbs[setting]
            if seen[setting, rung].enough:
                climb.high = rung if climb.high is None else min(rung, climb.high)
            else:
                climb.low = max(rung, climb.low)
        return len(seen) == len(set(places))

    for start in range(0, settings, BATCH):
        batch = climbs[start : start + BATCH]
        while True:
            most = _limit(known, wanted)
            first = ranked(known)
            guess = first[0][1] if first else own
            places = [
                (climb.setting, climb.next(guess))
                for climb in batch
                if climb.open and _least_cost(climb, known) <= most
            ]
            if not places:
                break
            if not learn(places):
                return known
    if best := ranked(known):
        setting, rung = best[0]
        above = (setting, rung + 1)
        if rung + 1 < rungs and above not in known:
            learn([above])
    return known


def ranked(known: Mapping[Place, Looked]) -> list[Place]:
    """Return the cheapest place of each setting that is enough, the cheapest first; of equal costs the lower rung."""
    best: dict[int, tuple[Cost, Place]] = {}
    for place, seen in known.items():
        if seen.enough and seen.cost is not None:
            entry = (seen.cost, place)
            best[place[0]] = min(best.get(place[0], entry), entry, key=_order)
    return [place for _, place in sorted(best.values(), key=_order)]


def _order(entry: tuple[Cost, Place]) -> tuple[Cost, int, int]:
    cost, (setting, rung) = entry
    return cost, rung, setting


def _limit(known: Mapping[Place, Looked], wanted: int) -> Cost:
    """Return what none of those wanted costs more than, equal ones counted once; `DEAREST` while there are too few."""
    costs = sorted({cost for place in ranked(known) if (cost := known[place].cost) is not None})
    return costs[wanted - 1] if len(costs) >= wanted else DEAREST


def _least_cost(climb: _Climb, known: Mapping[Place, Looked]) -> Cost:
    """Return what the rungs of *climb* that may still be enough cost at least."""
    costs = [
        cost
        for (setting, rung), seen in known.items()
        if setting == climb.setting and rung <= climb.low and (cost := seen.cost) is not None
    ]
    return max(costs, default=CHEAPEST)


@dataclass(frozen=True)
class Break:
    """Two rungs of one setting that are not as assumed."""

    lower: Place
    higher: Place
    what: str
    """`enough` or `cost`."""


def broken(known: Mapping[Place, Looked]) -> tuple[int, list[Break]]:
    """Return how many pairs of rungs were held against the assumptions, and those that break one."""
    pairs, breaks = 0, []
    for setting in sorted({setting for setting, _ in known}):
        rungs = sorted(rung for one, rung in known if one == setting)
        for low, high in combinations(rungs, 2):
            pairs += 1
            lower, higher = (setting, low), (setting, high)
            one, two = known[lower], known[higher]
            if one.enough and not two.enough:
                breaks.append(Break(lower, higher, "enough"))
            if one.cost is not None and two.cost is not None and two.cost[0] < one.cost[0]:
                breaks.append(Break(lower, higher, "cost"))
    return pairs, breaks


def distinct(places: Iterable[Place], alike: Callable[[Place], object]) -> list[tuple[Place, list[Place]]]:
    """Return *places*, those that are *alike* as one: the first, and the others behind it."""
    groups: dict[object, list[Place]] = {}
    for place in places:
        groups.setdefault(alike(place), []).append(place)
    return [(group[0], group[1:]) for group in groups.values()]
