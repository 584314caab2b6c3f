"""Fills into a link's hops what follows from where their ends are, before a run: delays as knots, contacts as outages.

Every process of a run is then given the same whole numbers, and imports no astronomy.
"""

from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np

from link.channel import NS, to_ns
from link.errors import UsageError
from link.hops import MAX_KNOTS, MAX_WINDOWS, HopConfig, Link, Outage, ReturnHop
from link.physics.contacts import Pass, Sight, knots
from link.physics.ephemeris import Floats
from link.physics.tracks import place_end
from link.places import Contacts, Place
from link.plans.files import read_plan

_DAY_S = 86_400.0
_LATEST_S = 30 * _DAY_S
"""How long after the run the next contact is looked for, which ends the last outage."""
_ALIKE_NS = 1000
"""What another version of the ephemeris may change."""

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
        if back.delay is None and back.delay_s is None and back.delay_knots_ns is None:
            back = _there_and_back(back, hops, span_s, folder)
        else:
            back = _fill(back, "the return", span_s, folder)
    return link.model_copy(update={"hops": hops, "return_": back})


def _fill(hop: AnyHop, name: str, span_s: float, folder: Path | None) -> AnyHop:
    try:
        passes = None if hop.contacts is None else find_passes(hop.contacts, span_s, folder)
        full = {}
        if hop.contacts is not None and passes is not None:
            full["outage"] = _outage(passes, hop.outage)
        if hop.delay is not None:
            full |= _moving(hop, _sight(hop.delay.ephemeris, hop.delay.at, folder), span_s, passes)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    return hop.model_copy(update=full) if full else hop


def _sight(ends: tuple[Place, Place], at: datetime, folder: Path | None, sun_deg: float = 0.0) -> Sight:
    sender, receiver = (place_end(place, at, folder) for place in ends)
    return Sight(sender, receiver, at, sun_deg)


def find_passes(contacts: Contacts, span_s: float, folder: Path | None = None) -> list[Pass]:
    """Return when a hop has contact: for a run of *span_s* and a day, and the first contact after that.

    Raise UsageError where it has none.
    """
    until_s = contacts.for_s or span_s + _DAY_S
    if contacts.plan is not None and contacts.nodes is not None:
        return _planned(contacts.plan, str(contacts.nodes[0]), str(contacts.nodes[1]), folder)
    assert contacts.ephemeris is not None and contacts.at is not None
    sight = _sight(contacts.ephemeris, contacts.at, folder, contacts.sun_deg)
    passes = sight.passes(until_s)
    looked_s = until_s
    while (not passes or passes[-1].end_s < looked_s) and looked_s < until_s + _LATEST_S:
        # The last outage needs its end: the first contact after the run.
        before_s, looked_s = looked_s, looked_s + 10 * _DAY_S
        if later := sight.passes(looked_s, before_s):
            passes.append(later[0])
            break
    if not passes:
        raise UsageError(f"contacts: the ends see nothing of each other in {looked_s / _DAY_S:.3g} days")
    return passes


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
    passes: list[Pass] = []
    for _, row in rows:  # contacts in parallel are one: the hop has its own rate
        if passes and row.start_s <= passes[-1].end_s:
            end_s = max(passes[-1].end_s, row.end_s)
            passes[-1] = Pass(passes[-1].start_s, end_s, None, passes[-1].nearest_km)
        else:
            passes.append(Pass(row.start_s, row.end_s, None, row.delay_s * 299_792.458))
    return passes


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


def _moving(hop: AnyHop, sight: Sight, span_s: float, passes: list[Pass] | None) -> dict[str, object]:
    windows = None if passes is None else [(item.start_s, item.end_s) for item in passes]
    table = knots(sight, span_s + _DAY_S, windows, MAX_KNOTS)
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
    if not any(hop.delay for hop in hops):
        return back
    sights = [
        hop.delay_s if hop.delay is None else _sight(hop.delay.ephemeris[::-1], hop.delay.at, folder)
        for hop in reversed(hops)
    ]
    steps = [60.0 if sight.step_s >= 60.0 else 10.0 for sight in sights if isinstance(sight, Sight)]
    until_s = span_s + _DAY_S
    sent = np.linspace(0.0, until_s, min(MAX_KNOTS, max(2, int(until_s / min(steps)) + 1)))
    there: Floats = sent.copy()
    for sight in sights:
        there = there + (sight if isinstance(sight, float) else sight.delays_s(there))
    table = {to_ns(float(time)): to_ns(float(late)) for time, late in zip(sent, there - sent, strict=True)}
    return back.model_copy(
        update={"delay_knots_ns": tuple(table.items()), "delay_s": max(table.values()) / NS}
    )
