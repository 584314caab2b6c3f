"""HDTN's contact plans (JSON), read and written. Rates are bits a second, all numbers whole.

What its reader does not find is 0 to it, and a rate of 0 is 1 Gbit/s to its search for routes; `rate` is in Mbit/s.
(nasa/HDTN, common/cgr/src/libcgr.cpp.)
"""

import json
import math
from typing import Any

from pydantic import ValidationError

from link.errors import UsageError
from link.plans.plan import Contact, ContactPlan, PlanText
from link.terminal import shorten

_DEFAULT_BPS = 1_000_000_000
_MOST = 10**15


def read_hdtn(contacts: list[Any], name: str) -> PlanText:
    """Return the plan of the rows under `contacts`; *name* stands in errors.

    Rows that end before they start carry nothing: they are left out and named. Overlapping rows of one pair are read
    as contacts in parallel. Raise UsageError, with the number of the row, for what HDTN would read as something else.
    """
    rows: list[Contact] = []
    notes: list[str] = []
    for number, row in enumerate(contacts):
        where = f"{name}: contacts[{number}]"
        if not isinstance(row, dict):
            raise UsageError(f"{where}: an object was expected")
        values = {}
        for key in ("contact", "source", "dest", "startTime", "endTime", "rateBitsPerSec", "rate", "owlt"):
            value = row.get(key, 0)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
                shown = shorten(repr(value), 40)
                raise UsageError(f"{where}: {key}: a whole number from 0 on was expected, not {shown}")
            values[key] = value
        if unknown := sorted(set(row) - set(values) - {"id", "finalDestinationId"}):
            notes.append(f"contacts[{number}]: {', '.join(shorten(key, 30) for key in unknown)} left out")
        missing = [key for key in ("source", "dest", "startTime", "endTime", "owlt") if key not in row]
        if missing:
            notes.append(f"contacts[{number}]: no {', '.join(missing)}: 0, as HDTN takes it")
        rate = values["rateBitsPerSec"] or 1_000_000 * values["rate"]
        if rate == 0:
            rate = _DEFAULT_BPS
            notes.append(f"contacts[{number}]: no rate: 1 Gbit/s, as HDTN takes it")
        if values["endTime"] <= values["startTime"]:
            notes.append(f"contacts[{number}]: ends before it starts, left out")
            continue
        try:
            rows.append(
                Contact(
                    from_=str(values["source"]), to=str(values["dest"]), start_s=values["startTime"],
                    end_s=values["endTime"], rate_bps=rate, delay_s=values["owlt"],
                )
            )  # fmt: skip
        except ValueError as error:
            raise UsageError(f"{where}: {first_fault(error)}") from None
    return PlanText(ContactPlan(tuple(rows)), tuple(notes))


def first_fault(error: ValueError) -> str:
    """Return what pydantic found first, in words."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors(include_url=False)
    place = ".".join(str(part) for part in found[0]["loc"])
    text = found[0]["msg"].removeprefix("Value error, ")
    return f"{place}: {text}" if place else text


def write_hdtn(plan: ContactPlan) -> tuple[str, tuple[str, ...]]:
    """Return (*plan* as HDTN reads it, what was lost on the way).

    Rates and ends are rounded down to whole numbers, starts and light times up. Raise UsageError where that leaves
    nothing of a contact.
    """
    notes: list[str] = []
    numbers = {name: int(name) for name in plan.nodes if name.isdecimal()}
    if len(numbers) < len(plan.nodes):
        numbers = {name: place + 1 for place, name in enumerate(plan.nodes)}
        notes.append(
            "nodes have numbers: " + ", ".join(f"{number} {name}" for name, number in numbers.items())
        )
    rows = []
    for number, row in enumerate(plan.contacts):
        whole = {
            "contact": number,
            "source": numbers[row.from_],
            "dest": numbers[row.to],
            "startTime": math.ceil(row.start_s),
            "endTime": math.floor(row.end_s),
            "rateBitsPerSec": math.floor(row.rate_bps),
            "owlt": math.ceil(row.delay_s),
        }
        if whole["rateBitsPerSec"] < 1 or whole["endTime"] <= whole["startTime"]:
            why = "under 1 bit/s" if whole["rateBitsPerSec"] < 1 else "over within a second"
            raise UsageError(f"contact {number}, {row.from_} to {row.to}: {why}, which HDTN cannot say")
        for key, was in (
            ("startTime", row.start_s),
            ("endTime", row.end_s),
            ("rateBitsPerSec", row.rate_bps),
            ("owlt", row.delay_s),
        ):
            if was != whole[key]:
                notes.append(f"contact {number}: {key} {was:.9g} became {whole[key]}")
        rows.append("  " + json.dumps(whole, separators=(",", ":")))
    return '{"contacts":[\n' + ",\n".join(rows) + "\n]}\n", tuple(notes)
