"""The link budgets of a run's hops: a short table each, and the margin over the run where the distance changes."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from link.errors import UsageError
from link.physics.media import Budget
from link.physics.medium import Assessment, LinkBudget
from scenarios.drawing import Drawing
from scenarios.report import margins
from scenarios.words import duration, rate

_READ: TypeAdapter[LinkBudget] = TypeAdapter(Budget)
_POINTS = 240
"""Of the figure's curves."""
_SHORT = ("EIRP", "free space", "spreading", "absorption", "atmosphere", "G/T", "noise", "C/N0", "SNR", "detected",
          "photons a pulse", "Eb/N0", "required Eb/N0", "required SNR", "required photons", "margin", "bit error rate",
          "block error rate")  # fmt: skip
"""What a reader of a report is shown of the terms; `farlink scenarios budget` prints all."""


def tables(hops: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a table of each of *hops*, as journals have them, that has a budget; at the begin of the run."""
    made: list[dict[str, Any]] = []
    for hop in hops:
        about = read(hop)
        if about is None:
            continue
        moving = len(list(about.times_s())) > 1
        title = (
            f"Link budget of {hop['name']} ({about.medium}){', at the begin of the run' if moving else ''}"
        )
        try:
            found = about.at(0.0)
        except UsageError as error:
            made.append({"title": title, "lines": [], "summary": str(error)})
            continue
        lines = [
            (
                term.label,
                term.detail,
                f"{term.value:.2f}" if abs(term.value) >= 0.005 else f"{term.value:.2g}",
                term.unit,
            )
            for term in found.terms
            if term.label in _SHORT
        ]
        made.append({"title": title, "lines": lines, "summary": _summary(found, hop)})
    return made


def _summary(found: Assessment, hop: Mapping[str, Any]) -> str:
    words = f"{rate(found.rate_bps)} with a margin of {found.margin_db:.1f} dB"
    if steps := hop.get("budget_steps"):
        low, high = min(step[1] for step in steps), max(step[1] for step in steps)
        words += f"; from {rate(low)} to {rate(high)} over {duration(steps[-1][0])}"
    return words + "".join(f". {note.rstrip('.')}" for note in found.notes)


def figure(hops: list[Mapping[str, Any]]) -> Drawing | None:
    """Return the figure of the hops whose budget changes during the run, None where none does."""
    moving = [
        (str(hop["name"]), about) for hop in hops if (about := read(hop)) and len(list(about.times_s())) > 1
    ]
    if not moving:
        return None
    try:
        return margins.draw(moving, max(max(about.times_s()) for _, about in moving), _POINTS)
    except UsageError:
        return None  # the table says why


def read(hop: Mapping[str, Any]) -> LinkBudget | None:
    """Return the budget of *hop*, None where it has none, or one of another version."""
    try:
        return _READ.validate_python(hop["budget"]) if hop.get("budget") else None
    except ValidationError:
        return None
