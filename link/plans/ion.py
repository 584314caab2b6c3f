"""ION's contact plans (ionadmin's `a contact`, `a range`), read and written. Rates there are bytes a second.

ION reads whole numbers by C's `strtol` in any base, and silently: 0100 is 64 to it, 1.9 is 1. What it would misread is
refused here, by the number of the line. (nasa-jpl/ION-DTN, ici/utils/ionadmin.c and ici/library/ion.c.)
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from link.errors import UsageError
from link.plans.plan import MAX_CONTACTS, Contact, ContactPlan, PlanText
from link.terminal import shorten

_END_OF_TIME = datetime(2038, 1, 19, tzinfo=UTC)
"""ION's clock has 31 bits."""
_DATE = re.compile(r"\d{4}/\d{2}/\d{2}-\d{2}:\d{2}:\d{2}")
_SKIPPED = ("1", "e", "v", "w", "m", "l", "i", "s", "q", "h", "?", "^")
"""Commands of ionadmin that say nothing of contacts."""


@dataclass
class _Interval:
    line: int
    start: int
    end: int
    near: str
    far: str
    value: int  # bytes a second of a contact, seconds of a range


@dataclass
class _Reader:
    name: str
    line: int = 0
    zero: datetime | None = None
    """What second 0 of the plan is; None: when ION reads the file."""
    reference: int | None = None
    """Of `+` times: the last `@`."""
    contacts: list[_Interval] = field(default_factory=list)
    ranges: list[_Interval] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fail(self, why: str) -> NoReturn:
        raise UsageError(f"{self.name}, line {self.line}: {why}")

    def number(self, text: str, what: str) -> int:
        """Return a whole number that ION reads as it is written."""
        if not re.fullmatch(r"\d{1,15}", text):
            self.fail(
                f"{what}: a whole number was expected, not {shorten(repr(text), 40)}; ION reads its head alone"
            )
        if len(text) > 1 and text[0] == "0":
            self.fail(f"{what}: ION takes {shorten(text, 40)} for a number in base 8, as it begins with 0")
        return int(text)

    def time(self, text: str) -> int:
        """Return a time of the file in seconds of the plan."""
        if text.startswith("+"):
            return (self.reference or 0) + self.number(text[1:], "time")
        if _DATE.fullmatch(text):
            try:
                when = datetime.strptime(text, "%Y/%m/%d-%H:%M:%S").replace(tzinfo=UTC)
            except ValueError:
                self.fail(f"time: there is no {text}")
            if when >= _END_OF_TIME:
                self.fail(f"time: {text} is after 2038-01-19, where ION's clock ends")
            if self.zero is None:
                if self.contacts or self.ranges:
                    self.fail("time: a date after times that count from when ION reads the file")
                self.zero = when
            return int((when - self.zero).total_seconds())
        kind = {"0": "a hypothetical contact", "-1": "a registration"}.get(text)
        if kind:
            self.fail(f"time: {text} makes it {kind} to ION; +0 is now")
        self.fail(f"time: +SECONDS or yyyy/mm/dd-hh:mm:ss was expected, not {shorten(repr(text), 40)}")

    def add(self, words: Sequence[str]) -> None:
        """Take the words of `a contact` or `a range`."""
        what = words[1]
        least, most = (7, 8) if what == "contact" else (7, 7)
        if not least <= len(words) <= most:
            form = "START STOP FROM TO BYTES_PER_S" if what == "contact" else "START STOP A B SECONDS"
            self.fail(f"`a {what} {form}` was expected")
        start, end = self.time(words[2]), self.time(words[3])
        near, far = (str(self.number(word, "node")) for word in words[4:6])
        value = self.number(words[6], "bytes a second" if what == "contact" else "light time")
        if start < 0:
            self.fail("it begins before the first time of the file")
        if end <= start:
            self.fail("it ends before it starts")
        if near == far:
            self.fail(f"from node {near} to itself")
        if what == "contact" and value == 0:
            self.fail("a contact of 0 bytes a second")
        kept = self.contacts if what == "contact" else self.ranges
        for other in kept:
            if (other.near, other.far) == (near, far) and start < other.end and other.start < end:
                self.fail(
                    f"it overlaps line {other.line} of the same pair, {near} to {far}, which ION does not take"
                )
        if len(kept) >= MAX_CONTACTS:
            self.fail(f"over {MAX_CONTACTS} contacts")
        if len(words) == 8:
            self.notes.append(f"line {self.line}: confidence {shorten(words[7], 20)} is left out")
        kept.append(_Interval(self.line, start, end, near, far, value))

    def change(self, words: Sequence[str]) -> None:
        """Take `d contact START FROM TO`, `c contact START FROM TO BYTES_PER_S` and `d range START A B`."""
        kept = self.contacts if words[1] == "contact" else self.ranges
        if len(words) < (5 if words[0] == "d" else 6):
            self.fail(f"`{words[0]} {words[1]} START FROM TO ...` was expected")
        every = words[0] == "d" and words[2] == "*"
        start = None if every else self.time(words[2])
        pair = words[3], words[4]
        found = [item for item in kept if (item.near, item.far) == pair and (every or item.start == start)]
        if not found:
            self.fail(f"there is no such {words[1]} before it")
        for item in found:
            if words[0] == "d":
                kept.remove(item)
            else:
                item.value = self.number(words[5], "bytes a second")

    def take(self, line: str) -> None:
        """Take one line."""
        self.line += 1
        words = line.split()
        if not words or words[0].startswith("#") or words[0] in _SKIPPED:
            return
        if words[0] == "@" and len(words) == 2:
            self.reference = self.time(words[1])
        elif words[0] == "a" and len(words) > 1 and words[1] in ("contact", "range"):
            self.add(words)
        elif words[0] in ("c", "d") and len(words) > 1 and words[1] in ("contact", "range"):
            self.change(words)
        else:
            self.fail(f"not a command of a contact plan: {shorten(repr(line.strip()), 60)}")


def read_ion(text: str, name: str) -> PlanText:
    """Return the plan that *text* is; *name* stands in errors.

    A contact is cut where the range between its nodes changes. Raise UsageError, with the number of the line, for what
    ION would refuse or read as something else.
    """
    reader = _Reader(name)
    for line in text.splitlines():
        reader.take(line)
    explicit = {(item.near, item.far) for item in reader.ranges if int(item.near) > int(item.far)}
    by_pair: dict[tuple[str, str], list[_Interval]] = {}
    for item in reader.ranges:
        by_pair.setdefault((item.near, item.far), []).append(item)
        # The lower number first speaks for both ways, where nothing else is said of the other one.
        if int(item.near) < int(item.far) and (item.far, item.near) not in explicit:
            by_pair.setdefault((item.far, item.near), []).append(item)
    rows: list[Contact] = []
    for contact in reader.contacts:
        reader.line = contact.line
        at = contact.start
        for item in sorted(by_pair.get((contact.near, contact.far), ()), key=lambda item: item.start):
            if item.end <= at or item.start >= contact.end:
                continue
            if item.start > at:
                break
            end = min(item.end, contact.end)
            rows.append(
                Contact(
                    from_=contact.near, to=contact.far, start_s=at, end_s=end, rate_bps=8 * contact.value,
                    delay_s=item.value,
                )
            )  # fmt: skip
            at = end
        if at < contact.end:
            reader.fail(f"no range says how far {contact.near} and {contact.far} are apart from +{at} on")
    zero = reader.zero.strftime("%Y-%m-%dT%H:%M:%SZ") if reader.zero else None
    return PlanText(ContactPlan(tuple(rows)), tuple(reader.notes), zero)


def write_ion(
    plan: ContactPlan, *, merge: bool = False, zero: str | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return (*plan* as ionadmin reads it, what was lost on the way).

    Rates become whole bytes a second, rounded down; light times and starts whole seconds, rounded up; ends are rounded
    down: what the file promises, the plan has. *merge* unites overlapping contacts of the same pair, rate and delay.
    *zero*: what second 0 is, as in 2026-11-20T00:00:00Z; None: when ION reads the file. Raise UsageError where a
    contact is under 8 bit/s or a second, where contacts of a pair overlap, or the plan has over 2^31 nodes.
    """
    notes: list[str] = []
    numbers = {name: name for name in plan.nodes}
    lines = ["# Contact plan for ION, written by farlink: seconds, bytes a second, light seconds."]
    if not all(name.isdecimal() for name in plan.nodes):
        numbers = {name: str(place + 1) for place, name in enumerate(plan.nodes)}
        lines += [f"# node {number}: {name}" for name, number in numbers.items()]
        notes.append("nodes have numbers, their names are a comment")
    if zero is not None:
        lines.append(f"@ {datetime.fromisoformat(zero).astimezone(UTC):%Y/%m/%d-%H:%M:%S}")
    contacts: list[_Interval] = []
    delays: list[_Interval] = []
    for number, row in enumerate(_united(plan, notes) if merge else plan.contacts):
        start, end = math.ceil(row.start_s), math.floor(row.end_s)
        rate, delay = math.floor(row.rate_bps / 8), math.ceil(row.delay_s)
        if rate < 1 or end <= start:
            why = "under 8 bit/s" if rate < 1 else "over within a second"
            raise UsageError(f"contact {number}, {row.from_} to {row.to}: {why}, which ION cannot say")
        for what, was, became, unit in (
            ("start", row.start_s, start, "s"),
            ("end", row.end_s, end, "s"),
            ("rate", row.rate_bps, 8 * rate, "bit/s"),
            ("delay", row.delay_s, delay, "s"),
        ):
            if was != became:
                notes.append(f"contact {number}: {what} {was:.9g} {unit} became {became}")
        near, far = numbers[row.from_], numbers[row.to]
        contacts.append(_Interval(number, start, end, near, far, rate))
        delays.append(_Interval(number, start, end, near, far, delay))
    _refuse_overlaps(contacts)
    lines += [f"a contact +{c.start} +{c.end} {c.near} {c.far} {c.value}" for c in contacts]
    lines += [f"a range +{r.start} +{r.end} {r.near} {r.far} {r.value}" for r in _ranges(delays)]
    return "\n".join(lines) + "\n", tuple(notes)


def overlaps(plan: ContactPlan) -> list[tuple[int, int]]:
    """Return (number, number of one before it) of the contacts that overlap one of the same pair before them.

    Counted as ION does it, which takes the rows in turn and leaves out those that overlap one that it took.
    """
    taken: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    found = []
    for number, row in enumerate(plan.contacts):
        kept = taken.setdefault((row.from_, row.to), [])
        other = next((item for item in kept if row.start_s < item[1] and item[0] < row.end_s), None)
        if other is None:
            kept.append((row.start_s, row.end_s, number))
        else:
            found.append((number, other[2]))
    return found


def _refuse_overlaps(contacts: Sequence[_Interval]) -> None:
    plan = ContactPlan.of((c.near, c.far, c.start, c.end, 8 * c.value, 0.0) for c in contacts)
    if found := overlaps(plan):
        late, early = found[0]
        row = plan.contacts[late]
        raise UsageError(
            f"{len(found)} contacts overlap others of the same pair, which ION does not take: "
            f"contact {late} overlaps {early}, both {row.from_} to {row.to}; --merge unites those of one rate and delay"
        )


def _united(plan: ContactPlan, notes: list[str]) -> list[Contact]:
    """Return the contacts of *plan* with those united that overlap and have pair, rate and delay in common."""
    rows: list[Contact] = []
    last: dict[tuple[object, ...], int] = {}
    order = sorted(range(len(plan.contacts)), key=lambda place: plan.contacts[place].start_s)
    for place in order:
        row = plan.contacts[place]
        key = row.from_, row.to, row.rate_bps, row.delay_s
        at = last.get(key)
        if at is not None and row.start_s < rows[at].end_s:
            notes.append(f"contact {place}: united with another, {row.from_} to {row.to}")
            rows[at] = rows[at].model_copy(update={"end_s": max(rows[at].end_s, row.end_s)})
        else:
            last[key] = len(rows)
            rows.append(row)
    return rows


def _ranges(delays: Sequence[_Interval]) -> list[_Interval]:
    """Return ranges that cover *delays*: the lower number first for both ways where both have the same."""
    ways: dict[tuple[str, str], list[_Interval]] = {}
    for item in sorted(delays, key=lambda item: item.start):
        kept = ways.setdefault((item.near, item.far), [])
        if kept and item.start <= kept[-1].end and item.value == kept[-1].value:
            kept[-1].end = max(kept[-1].end, item.end)
        else:
            kept.append(_Interval(item.line, item.start, item.end, item.near, item.far, item.value))
    out: list[_Interval] = []
    for (near, far), kept in sorted(ways.items(), key=lambda way: (int(way[0][0]), int(way[0][1]))):
        other = ways.get((far, near), [])
        same = [(i.start, i.end, i.value) for i in kept] == [(i.start, i.end, i.value) for i in other]
        if not (same and int(near) > int(far)):
            out += kept
    return out
