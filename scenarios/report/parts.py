"""The parts of a run's page below its pictures, in order: one table, a row each.

A part takes what a run came to and gives drawings, pieces of HTML, or nothing where it does not apply.
"""

from collections.abc import Callable, Iterable
from typing import Any

from markupsafe import Markup

from link.channel import NS
from link.events import Fate
from scenarios.drawing import Drawing
from scenarios.pages import make_environment
from scenarios.report import budgets, figures, overlays, passes, stores, timeline
from scenarios.report.timeline import LOSSES
from scenarios.results.cell import RunResult
from scenarios.results.judge import INVENTS
from scenarios.results.traffic import scenario
from scenarios.scoring.segmentation import RARE
from scenarios.words import duration, percent, size

ENVIRONMENT = make_environment("scenarios.report")


Piece = Drawing | Markup
"""A figure with its heading, or HTML that is safe as it stands."""
Part = Callable[[RunResult], Iterable[Piece]]


def draw(result: RunResult) -> list[Piece]:
    """Return what all parts make of *result*, in the order of the page."""
    return [piece for part in PARTS for piece in part(result)]


def _tasks(result: RunResult) -> Iterable[Piece]:
    rows = overlays.table(result.figures.get("tasks") or {})
    told = (result.figures["tasks"].get(INVENTS) or {}).get("truth") or {}
    rare = percent(RARE) if told.get("invented") is not None else None
    return [_html("tasks.html.j2", tasks=rows, rare=rare)] if rows else []


def _senders(result: RunResult) -> Iterable[Piece]:
    """Give a table of what became of each sender's frames, where there are several."""
    lines = [
        (
            name,
            *(f"{about['frames'][status]:,}" for status in ("sent", "complete", "partial", "lost")),
            size(about["on_air_bytes"]),
            *("" if about[key] is None else duration(about[key]) for key in ("latency_s", "age_s")),
        )
        for name, about in result.figures.get("senders", {}).items()
    ]
    return [_html("senders.html.j2", senders=lines)] if lines else []


def _packets(result: RunResult) -> Iterable[Piece]:
    drawn = timeline.draw(result.run, result.rows, result.traffic.sent)
    return [] if drawn is None else [drawn]


def _contacts(result: RunResult) -> Iterable[Piece]:
    run = result.run
    until_s = float(run.rows[-1, 0]) / NS if len(run.rows) else 0.0
    rows = passes.hop_contacts(run.head["scenario"]["link"], until_s) if until_s else []
    return [passes.draw_contacts(rows, until_s)] if rows else []


def _drops(result: RunResult) -> Iterable[Piece]:
    """Give a table for each direction that carried packets: what became of them, counts and shares."""
    tables = []
    for key, title in (("packets", "on the way out"), ("feedback", "on the way back")):
        figure = result.figures[key]
        if not figure or not figure["sent"]:
            continue
        total = figure["sent"] + figure["duplicated"]
        lines = [("arrived", figure["delivered"])]
        lines += [(LOSSES[Fate[name.upper()]][0], count) for name, count in figure["dropped"].items()]
        copies = figure["duplicated"]
        summary = f"{figure['sent']:,} sent" + (f", {copies:,} copies made by the channel" if copies else "")
        tables.append(
            {
                "title": title,
                "lines": [(label, f"{count:,}", percent(count / total)) for label, count in lines],
                "summary": summary,
            }
        )
    return [_html("drops.html.j2", drops=tables)] if tables else []


def _budgets(result: RunResult) -> Iterable[Piece]:
    """Give a table of each hop's link budget, and the margin over the run where a distance changes."""
    link = scenario(result.run)["link"]
    hops = [*link["hops"], *([{**back, "name": "the return"}] if (back := link.get("return")) else [])]
    tables = budgets.tables(hops)
    if not tables:
        return []
    drawn = budgets.figure(hops)
    return [_html("budgets.html.j2", budgets=tables), *([] if drawn is None else [drawn])]


def _stores(result: RunResult) -> Iterable[Piece]:
    drawn = stores.draw(result.run)
    return [] if drawn is None else [drawn]


def _figures(result: RunResult) -> Iterable[Piece]:
    return figures.draw(result.run, result.rows, result.figures)


def _html(template: str, **context: Any) -> Markup:
    return Markup(ENVIRONMENT.get_template(template).render(**context))


PARTS: list[Part] = [_tasks, _senders, _packets, _contacts, _stores, _drops, _budgets, _figures]
