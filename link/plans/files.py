"""Contact plans in files: ION's, HDTN's and farlink's own, told apart by what stands in them."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from link.errors import UsageError
from link.files import brief, read_within
from link.plans.hdtn import first_fault, read_hdtn, write_hdtn
from link.plans.ion import read_ion, write_ion
from link.plans.plan import MAX_CONTACTS, Contact, ContactPlan, PlanText

MOST_BYTES = 32 << 20
"""Of a file: `MAX_CONTACTS` rows of HDTN's."""
FORMATS = ("ion", "hdtn")
"""What a plan may be written as."""


def read_plan(path: Path) -> PlanText:
    """Return the plan in the file at *path*.

    JSON with `contacts` is HDTN's (`source`, `dest`) or farlink's own (`from`, `to`, decimals); all else is ION's.
    Raise UsageError, with the line or the row, where it is none.
    """
    name = brief(path)
    try:
        text = read_within(path, MOST_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{name}: no text") from None
    if not text.lstrip().startswith("{"):
        return read_ion(text, name)
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: no JSON: {error}") from None
    rows = tree.get("contacts")
    if not isinstance(rows, list):
        raise UsageError(f'{name}: {{"contacts": [...]}} was expected')
    if len(rows) > MAX_CONTACTS:
        raise UsageError(f"{name}: {len(rows)} contacts; at most {MAX_CONTACTS}")
    if any(isinstance(row, dict) and "from" in row for row in rows):
        return PlanText(
            ContactPlan(tuple(_own(row, f"{name}: contacts[{at}]") for at, row in enumerate(rows)))
        )
    return read_hdtn(rows, name)


def _own(row: Any, where: str) -> Contact:
    try:
        return Contact.model_validate(row)
    except ValidationError as error:
        raise UsageError(f"{where}: {first_fault(error)}") from None


def write_plan(
    plan: ContactPlan, form: str, *, merge: bool = False, zero: str | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return (*plan* as text in *form*, one of `FORMATS`, what was lost). *merge*, *zero*: see `write_ion`.

    Raise UsageError where the form cannot say the plan.
    """
    if form == "ion":
        return write_ion(plan, merge=merge, zero=zero)
    if form == "hdtn":
        return write_hdtn(plan)
    raise UsageError(f"contact plans are written as {' or '.join(FORMATS)}, not as {form}")
