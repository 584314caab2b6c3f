"""The parts of a run's page below its pictures, in order: one table, a row each.

A part takes what a run came to and gives drawings, pieces of HTML, or nothing where it does not apply.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import jinja2
from markupsafe import Markup

from link.events import Fate
from link.journal import Run
from scenarios.drawing import Drawing
from scenarios.report import figures, overlays, timeline
from scenarios.report.timeline import LOSSES
from scenarios.results.metrics import FrameRow
from scenarios.words import percent, plain

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("scenarios.report", "."),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
    finalize=plain,
)
"""Escapes whatever a source or a scenario names."""


class Material(Protocol):
    """What a run came to."""

    @property
    def run(self) -> Run:
        """Its journal."""

    @property
    def rows(self) -> Sequence[FrameRow]:
        """A row for each frame."""

    @property
    def figures(self) -> Mapping[str, Any]:
        """What `farlink run --json` prints."""


Piece = Drawing | Markup
"""A figure with its heading, or HTML that is safe as it stands."""
Part = Callable[[Material], Iterable[Piece]]


def draw(material: Material) -> list[Piece]:
    """Return what all parts make of *material*, in the order of the page."""
    return [piece for part in PARTS for piece in part(material)]


def _tasks(material: Material) -> Iterable[Piece]:
    rows = overlays.table(material.figures.get("tasks") or {})
    return [_html("tasks.html.j2", tasks=rows)] if rows else []


def _packets(material: Material) -> Iterable[Piece]:
    drawn = timeline.draw(material.run, material.rows)
    return [] if drawn is None else [drawn]


def _drops(material: Material) -> Iterable[Piece]:
    """Give a table for each direction that carried packets: what became of them, counts and shares."""
    tables = []
    for key, title in (("packets", "on the way out"), ("feedback", "on the way back")):
        figure = material.figures[key]
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


def _figures(material: Material) -> Iterable[Piece]:
    return figures.draw(material.run, material.rows, material.figures)


def _html(template: str, **context: Any) -> Markup:
    return Markup(ENVIRONMENT.get_template(template).render(**context))


PARTS: list[Part] = [_tasks, _packets, _drops, _figures]
