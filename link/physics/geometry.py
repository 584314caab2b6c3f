"""Fills into a link's hops what follows from where their ends are, before a run: delays as knots, contacts as outages.

Every process of a run is then given the same whole numbers, and imports no astronomy.
"""

from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from link.channel import NS, to_ns
from link.errors import UsageError
from link.fields import MAX_SECONDS
from link.hops import MAX_KNOTS, MAX_WINDOWS, HopConfig, Link, Outage, ReturnHop
from link.physics.contacts import LineOfSight, Pass, knots, spacing_s
from link.physics.ephemeris import C_KM_S, Floats
from link.physics.tracks import place_end
from link.places import Contacts, Delay, Place
from link.plans.files import read_plan
from link.terminal import escape

_DAY_S = 86_400.0
_LATEST_S, _CHUNK_S = 30 * _DAY_S, 3 * _DAY_S
"""How long after the run the next contact is looked for, which ends the last outage."""
_ALIKE_NS = 1000
"""What another version of the ephemeris may change."""

_MOST_S = {"delay": MAX_SECONDS, "contacts": 400 * _DAY_S}
"""For how long they are reckoned at most: an orbit's passes are looked for every half minute."""

AnyHop = TypeVar("AnyHop", HopConfig, ReturnHop)
Windows = list[tuple[float, float]]


def reckon_geometry(link: Link, span_s: float, folder: Path | None = None) -> Link:
    """Return *link* with `delay` and `contacts` of its hops reckoned for a run of *span_s* and a day.

    Files are looked for here and in *folder*. Raise UsageError, with the hop's name, where an end is none, nothing is
    ever seen, or the hop says something else beside it.
    """
    if not any(hop.delay or hop.contacts for hop in (*link.hops, *([link.return_] if link.return_ else []))):
        return link
    hops = tuple(_fill(hop, f"hop {hop.name}", span_s, folder) for hop in link.hops)
    back = link.return_
    if back is not None:
        derived = back.delay is None and back.delay_s is None and back.delay_knots_ns is None
        back = _fill(back, "the return", span_s, folder)
        if derived:
            back = _there_and_back(back, hops, span_s, folder)
    return link.model_copy(update={"hops": hops, "return_": back})


def _fill(hop: AnyHop, name: str, span_s: float, folder: Path | None) -> AnyHop:
    try:
        passes = None if hop.contacts is None else find_passes(hop.contacts, span_s, folder)
        full: dict[str, object] = {}
        if hop.contacts is not None and passes is not None:
            full["outage"] = _outage(passes, hop.outage)
        if hop.delay is not None:
            full |= _moving(hop, hop.delay, span_s, folder, passes)
    except UsageError as error:
        raise UsageError(
            f"{name}: {escape(str(error))}"
        ) from None  # names of files and nodes may be anything
    return hop.model_copy(update=full) if full else hop


def _sight(ends: tuple[Place, Place], at: datetime, folder: Path | None, sun_deg: float = 0.0) -> LineOfSight:
    sender, receiver = (place_end(place, at, folder) for place in ends)
    return LineOfSight(sender, receiver, at, sun_deg)


def find_passes(contacts: tuple[Contacts, ...], span_s: float, folder: Path | None = None) -> list[Pass]:
    """Return when a hop has contact: for a run of *span_s* and a day, and the first contact after that.

    Where one of *contacts* ends in another, both are one pass. Raise UsageError where one of them has none.
    """
    found: list[Pass] = []
    for about in contacts:
        if about.plan is not None and about.nodes is not None:
            found += _planned(about.plan, str(about.nodes[0]), str(about.nodes[1]), folder)
        else:
            found += _seen(
                about, about.for_s or span_s + _DAY_S, folder if _has_file(about.ephemeris) else None
            )
    return _united(found)


def _has_file(ends: tuple[Place, Place] | None) -> bool:
    return ends is not None and any(place.table is not None for place in ends)


def _united(passes: list[Pass]) -> list[Pass]:
    """Return *passes* in order, those that overlap or touch as one."""
    whole: list[Pass] = []
    for item in sorted(passes, key=lambda item: item.start_s):
        if whole and item.start_s <= whole[-1].end_s:
            last = whole[-1]
            heights = [high for high in (last.highest_deg, item.highest_deg) if high is not None]
            whole[-1] = Pass(
                last.start_s,
                max(last.end_s, item.end_s),
                max(heights, default=None),
                min(last.nearest_km, item.nearest_km),
            )
        else:
            whole.append(item)
    return whole


def _check_span(what: str, until_s: float) -> None:
    if until_s > _MOST_S[what]:
        raise UsageError(
            f"{what}: reckoned for {_MOST_S[what]:.3g} s at most, not for {until_s:.3g} s: "
            + ("give for_s, or fewer frames" if what == "contacts" else "ask for fewer frames")
        )


@lru_cache(maxsize=64)
def _seen(about: Contacts, until_s: float, folder: Path | None) -> tuple[Pass, ...]:
    """Return the passes by where the ends are. A sweep's cells ask for the same ones again and again."""
    assert about.ephemeris is not None and about.at is not None
    _check_span("contacts", until_s)
    sight = _sight(about.ephemeris, about.at, folder, about.sun_deg)
    passes = sight.passes(until_s)
    looked_s = until_s
    while (not passes or passes[-1].end_s < looked_s) and looked_s < until_s + _LATEST_S:
        # The last outage needs its end: the first contact after the run.
        before_s, looked_s = looked_s, looked_s + _CHUNK_S
        if later := sight.passes(looked_s, before_s):
            passes.append(later[0])
            break
    if not passes:
        raise UsageError(f"contacts: the ends see nothing of each other in {looked_s / _DAY_S:.3g} days")
    return tuple(passes)


@lru_cache(maxsize=64)
def _table(
    delay: Delay, until_s: float, windows: tuple[tuple[float, float], ...] | None, folder: Path | None
) -> tuple[tuple[int, int], ...]:
    _check_span("delay", until_s)
    return knots(
        _sight(delay.ephemeris, delay.at, folder),
        until_s,
        None if windows is None else list(windows),
        MAX_KNOTS,
    )


def _planned(name: str, near: str, far: str, folder: Path | None) -> list[Pass]:
    path = Path(name)
    if not path.is_file() and folder is not None:
        path = folder / path
    plan = read_plan(path).plan
    rows = plan.between(near, far)
    if not rows:
        raise UsageError(
            f"contacts: {name} has none from {near} to {far}; its nodes are {', '.join(plan.nodes)}"
        )
    return [Pass(row.start_s, row.end_s, None, row.delay_s * C_KM_S) for _, row in rows]


def _outage(passes: list[Pass], given: Outage | None) -> Outage | None:
    """Return the times between *passes*, which hold what waits. After the last pass the hop stays up."""
    windows: Windows = []
    at = 0.0
    for item in passes:
        start, end = (
            round(item.start_s, 6),
            round(item.end_s, 6),
        )  # to a microsecond: what is written is read again
        if start > at:
            windows.append((at, start))
        at = max(at, end)
    if len(windows) > MAX_WINDOWS:
        raise UsageError(f"contacts: {len(windows)} contacts; at most {MAX_WINDOWS}: give for_s")
    found = Outage(windows_s=tuple(windows), hold=True) if windows else None
    if given is not None and given != found:
        if not _alike_windows(given, found):
            raise UsageError("contacts say when it is down: leave outage out")
        return given
    return found


def _alike_windows(given: Outage, found: Outage | None) -> bool:
    if found is None or not given.hold or len(given.windows_s) != len(found.windows_s):
        return False
    return np.allclose(given.windows_s, found.windows_s, rtol=0.0, atol=0.01)


def _moving(
    hop: AnyHop, delay: Delay, span_s: float, folder: Path | None, passes: list[Pass] | None
) -> dict[str, object]:
    windows = None if passes is None else tuple((item.start_s, item.end_s) for item in passes)
    table = _table(delay, span_s + _DAY_S, windows, folder if _has_file(delay.ephemeris) else None)
    given = hop.delay_knots_ns
    if given is not None:
        ours, theirs = np.array(table), np.array(given)
        if ours.shape != theirs.shape or np.abs(ours - theirs).max() > _ALIKE_NS:
            raise UsageError("delay_knots_ns are not what delay comes to: leave them out")
        table = given
    longest_s = max(delay for _, delay in table) / NS
    if hop.delay_s and abs(hop.delay_s - longest_s) > _ALIKE_NS / NS:
        raise UsageError("delay says how far it is: leave delay_s out")
    return {"delay_knots_ns": table, "delay_s": longest_s}


def _there_and_back(
    back: ReturnHop, hops: tuple[HopConfig, ...], span_s: float, folder: Path | None
) -> ReturnHop:
    """Return the way back with the delays of the hops the other way round, one after the other."""
    ways = tuple(hop.delay_s if hop.delay is None else hop.delay for hop in reversed(hops))
    if not any(isinstance(way, Delay) for way in ways):
        return back
    has_file = any(_has_file(way.ephemeris) for way in ways if isinstance(way, Delay))
    table = _table_back(ways, span_s + _DAY_S, folder if has_file else None)
    return back.model_copy(update={"delay_knots_ns": table, "delay_s": max(late for _, late in table) / NS})


@lru_cache(maxsize=64)
def _table_back(
    ways: tuple[float | Delay, ...], until_s: float, folder: Path | None
) -> tuple[tuple[int, int], ...]:
    _check_span("delay", until_s)
    sights = [way if isinstance(way, float) else _sight(way.ephemeris[::-1], way.at, folder) for way in ways]
    step_s = min(spacing_s(sight) for sight in sights if isinstance(sight, LineOfSight))
    sent = np.linspace(0.0, until_s, min(MAX_KNOTS, max(2, int(until_s / step_s) + 1)))
    there: Floats = sent.copy()
    for sight in sights:
        there = there + (sight if isinstance(sight, float) else sight.delays_s(there))
    table = {to_ns(float(time)): to_ns(float(late)) for time, late in zip(sent, there - sent, strict=True)}
    return tuple(table.items())
