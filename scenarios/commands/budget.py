"""`farlink scenarios budget`: a hop's link budget term by term, as a table, as JSON, or as a figure over the run."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from link.errors import UsageError
from scenarios.commands.options import Json, Scenario, Settings, clean_errors
from scenarios.commands.printing import say, show, show_json
from scenarios.words import duration, rate

if TYPE_CHECKING:
    from link.physics.medium import Assessment, LinkBudget, Term

_POINTS = 600
"""Of a figure's curve."""


def budget(
    name: Scenario,
    settings: Settings = None,
    hop: Annotated[
        str | None, typer.Option(help="One hop by its name, or `return`; all that have a budget without it.")
    ] = None,
    at: Annotated[
        float | None,
        typer.Option(
            "--at", metavar="SECONDS", min=0.0, help="When, where the distance changes; the begin without it."
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="Write margin, rate and error rate over the run to an SVG or PNG file."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the link budget of a scenario's hops, a term a line.

    Examples:

        farlink scenarios budget mars-direct

        farlink scenarios budget mars-direct --set link.hops.0.budget.receive_gain_dbi=68.2 --json

        farlink scenarios budget orbiter-uhf --at 400 --figure margin.svg
    """
    from scenarios import schema

    with clean_errors(as_json):
        plan = schema.load(name, settings or [])
        ways = [(one.name, one.budget) for one in plan.link.hops]
        if plan.link.return_ is not None:
            ways.append(("return", plan.link.return_.budget))
        every = ", ".join(label for label, _ in ways)
        if hop is not None:
            ways = [way for way in ways if way[0] == hop]
        if not ways:
            raise UsageError(f"--hop: no hop is called {hop!r}; there are {every}")
        found = [(label, about) for label, about in ways if about is not None]
        if not found:
            raise UsageError(
                f"{name}: none of its hops has a budget: {', '.join(label for label, _ in ways)} say rates and losses "
                "themselves"
            )
        time_s = at or 0.0
        assessed = [(label, about, about.at(time_s)) for label, about in found]
        if figure is not None:
            from scenarios.report import margins

            span = max(max(about.times_s()) for _, about in found)
            drawn = margins.draw(found, span, _POINTS)
            margins.write(drawn, figure)
            say(f"{figure}: {drawn.alt}")
        if as_json:
            show_json([_tree(label, about, result, time_s) for label, about, result in assessed])
            return
        show(line for label, about, result in assessed for line in lines(label, about, result, time_s))


def lines(name: str, about: "LinkBudget", found: "Assessment", time_s: float) -> Iterator[str]:
    """Yield the lines of a budget: each term with its sign, and the sum so far."""
    moving = f" at {duration(time_s)} of the run" if len(list(about.times_s())) > 1 else ""
    yield f"hop {name}: {about.medium}{moving}"
    width = max(len(term.label) for term in found.terms)
    told = max(len(term.detail) for term in found.terms)
    for term in found.terms:
        yield "  " + _line(term, width, told)
    yield f"  {rate(found.rate_bps)}, margin {found.margin_db:.2f} dB"
    for note in found.notes:
        yield f"  note: {note}"
    yield ""


def _line(term: "Term", width: int, told: int) -> str:
    figure = f"{term.value:+.2f}" if term.running is not None and not term.is_sum else _number(term.value)
    running = "" if term.running is None or term.is_sum else f"{term.running:10.2f}"
    return f"{term.label:{width}}  {term.detail:{told}}  {figure:>12} {term.unit:20}{running}".rstrip()


def _number(value: float) -> str:
    """Return a figure that is no term of the sum: two places where it is of the size of decibels."""
    return f"{value:.2f}" if 0.1 <= abs(value) < 1e4 else f"{value:.4g}"


def _tree(name: str, about: "LinkBudget", found: "Assessment", time_s: float) -> dict[str, Any]:
    return {
        "hop": name,
        "medium": about.medium,
        "time_s": time_s,
        "terms": [
            {"label": term.label, "detail": term.detail, "value": term.value, "unit": term.unit,
             "running": term.running, "is_sum": term.is_sum}
            for term in found.terms
        ],
        "c_n0_dbhz": found.c_n0_dbhz,
        "rate_bps": found.rate_bps,
        "eb_n0_db": found.eb_n0_db,
        "required_db": found.required_db,
        "margin_db": found.margin_db,
        "error_rate": found.error_rate,
        "block_bits": found.block_bits,
        "notes": list(found.notes),
    }  # fmt: skip
