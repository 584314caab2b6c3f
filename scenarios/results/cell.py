"""What a run, or a sweep's cell, comes to as one row of a table, and each of its frames as another.

`make` reads a journal once and hands everything on; `about` and `RunResult.cell` are the only places where a column
of a cell is computed, so that runs, sweeps, reports, curves and `compare` say the same of one journal.

Bytes and bit/s on the air count both directions, requests and receipts included: all that crossed the channel, over
the time that the camera ran. So bytes a frame times frames a second is bit/s. Rate and loss are those of the way out,
and `way_out_bps` is what it had to carry: all on the air but feedback.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from link.channel.path import path_loss, path_rate_bps
from link.channel.rate import Trace
from link.codecs import SYNTAXES
from link.config import TASKS as TASK_NAMES
from link.errors import UsageError
from link.hops import Link
from link.journal import Run
from scenarios.results import metrics
from scenarios.results.judge import REFERENCES, Analysis
from scenarios.results.metrics import NS, FrameRow
from scenarios.results.traffic import Traffic, scenario, traffic
from scenarios.scoring import pairs, pictures
from scenarios.scoring.pairs import Scores
from scenarios.scoring.tasks import TASKS

Traces = Callable[[Link], Mapping[str, Trace]]
"""Gives the trace of each hop that has one. Raises UsageError where a file is not at hand."""


def columns() -> dict[str, str]:
    """Return the columns of a cell and their kinds in SQL; then come the tasks' scores, `TASK_REFERENCE_KEY`."""
    return {
        "seed": "UBIGINT",
        "codec": "VARCHAR",
        "source": "VARCHAR",
        "rate_bps": "DOUBLE",
        "loss": "DOUBLE",
        "channels": "INTEGER",
        "frame_bytes": "BIGINT",
        "frames_sent": "INTEGER",
        "frames_shown": "INTEGER",
        "frames_unfit": "INTEGER",
        "payload_bytes_per_frame": "DOUBLE",
        "on_air_bytes_per_frame": "DOUBLE",
        "on_air_bps": "DOUBLE",
        "way_out_bps": "DOUBLE",
        "bpp_payload": "DOUBLE",
        "bpp_on_air": "DOUBLE",
        **dict.fromkeys(pictures.table(), "DOUBLE"),
        "latency_p50_s": "DOUBLE",
        "age_mean_s": "DOUBLE",
        "age_peak_s": "DOUBLE",
    }


def frame_columns() -> dict[str, str]:
    """Return the columns of a frame and their kinds in SQL.

    `captured_s`, `shown_s` and `refined_s` are times of the run: a picture's capture, its first showing, and when the
    repaired one took its place; `latency_s` is from capture to first showing.
    Of each task and reference there is the headline score of the frame alone, `TASK_REFERENCE_KEY`; and, as JSON in
    `TASK_REFERENCE_stats`, what the scores of many frames are pooled from, since they are no means over frames.
    """
    pairs_of = [(task, reference) for task in TASK_NAMES for reference in REFERENCES]
    return {
        "run": "VARCHAR",
        "codec": "VARCHAR",
        "source": "VARCHAR",
        "seed": "UBIGINT",
        "sequence": "VARCHAR",
        "width": "INTEGER",
        "height": "INTEGER",
        "frame": "INTEGER",
        "name": "VARCHAR",
        "sender": "VARCHAR",
        "captured_s": "DOUBLE",
        "shown_s": "DOUBLE",
        "refined_s": "DOUBLE",
        "latency_s": "DOUBLE",
        "status": "VARCHAR",
        "sections_sent": "INTEGER",
        "sections_received": "INTEGER",
        "payload_bytes": "BIGINT",
        "on_air_bytes": "BIGINT",
        "packets_sent": "INTEGER",
        "packets_lost": "INTEGER",
        "resent": "INTEGER",
        **dict.fromkeys(pictures.EACH, "DOUBLE"),
        **{f"{task}_{reference}_{TASKS[task].primary}": "DOUBLE" for task, reference in pairs_of},
        **{f"{task}_{reference}_stats": "VARCHAR" for task, reference in pairs_of},
    }


@dataclass(frozen=True)
class RunResult:
    """A run and everything that was computed of it, once."""

    run: Run
    traffic: Traffic
    rows: tuple[FrameRow, ...]
    scores: Scores
    judged: Analysis
    figures: dict[str, Any]
    """What `farlink run --json` prints."""
    cell: dict[str, Any]
    """Its row among cells: `columns`, and the tasks' scores."""


def make(
    run: Run,
    judge: Callable[[Run], Analysis],
    traces: Traces,
    score: Callable[[Run], Scores] = pairs.score,
) -> RunResult:
    """Return the result of *run*; *judge* gives the scores of its findings, *score* those of its pictures."""
    sent, scores, judged = traffic(run), score(run), judge(run)
    rows = metrics.frame_rows(run, sent, scores)
    figures = metrics.measure(run, sent, rows, scores, judged)
    cell = {
        **about(scenario(run), traces, figures["notes"]),
        **_came_to(run, figures, rows),
        **_tasks(figures),
    }
    return RunResult(run, sent, tuple(rows), scores, judged, figures, cell)


def about(tree: Mapping[str, Any], traces: Traces, notes: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the columns that follow from a resolved scenario alone, also of cells that failed.

    What cannot be had is None, and *notes* say why.
    """
    codec, camera = tree["codec"], tree["camera"]
    rate = loss = None
    try:
        link = Link.model_validate(tree["link"])
        loss = path_loss(link)
        rate = path_rate_bps(link, traces(link))
    except (ValueError, UsageError, OSError) as error:  # of another version; or a trace that is not at hand
        if notes is not None:
            notes["cell.loss" if loss is None else "cell.rate_bps"] = " ".join(str(error).split())
    return {
        "seed": tree["seed"],
        "codec": codec["name"],
        "source": camera["source"],
        "rate_bps": rate,
        "loss": loss,
        "channels": _channels(codec),
        "frame_bytes": codec.get("frame_bytes"),
    }


def _channels(codec: Mapping[str, Any]) -> int | None:
    syntax = SYNTAXES.get(codec["name"])  # None: a journal of another version
    return codec.get("channels") if syntax is not None and syntax.facts.reads("channels") else None


def why_failed(run: Run) -> str | None:
    """Return why *run* is no point of a curve: its codec could make no frame as small as asked. None: it is one."""
    reasons = metrics.unfit(run)
    sent = sum(event["kind"] == "encoded" for event in run.events)
    return reasons[0] if reasons and len(reasons) == sent else None


def _came_to(run: Run, figures: Mapping[str, Any], rows: list[FrameRow]) -> dict[str, Any]:
    count = len(rows)
    return {
        "frames_sent": count,
        "frames_shown": sum(row.shown_ns is not None for row in rows),
        "frames_unfit": len(metrics.unfit(run)),
        "payload_bytes_per_frame": sum(row.payload_bytes for row in rows) / count if count else None,
        "on_air_bytes_per_frame": figures["bytes"]["on_air"] / count if count else None,
        "on_air_bps": figures["on_air_bps"],
        "way_out_bps": _way_out_bps(figures),
        "bpp_payload": figures["bpp"]["payload"],
        "bpp_on_air": figures["bpp"]["on_air"],
        **figures["quality"],
        "latency_p50_s": figures["latency_s"]["p50"],
        "age_mean_s": figures["age_s"]["mean"],
        "age_peak_s": figures["age_s"]["peak"],
    }


def _way_out_bps(figures: Mapping[str, Any]) -> float | None:
    """Return what the way out has to carry: all on the air but what answers it."""
    on_air, size = figures["on_air_bps"], figures["bytes"]
    if on_air is None or not size["on_air"]:
        return None if on_air is None else 0.0
    return float(on_air * (size["on_air"] - size["feedback"]) / size["on_air"])


def _tasks(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores as `TASK_REFERENCE_KEY`, without their intervals."""
    row = {}
    for task in TASK_NAMES:
        scores = figures["tasks"].get(task) or {}
        for reference in REFERENCES:
            for key, value in (scores.get(reference) or {}).items():
                if not key.endswith(("_ci95_low", "_ci95_high")):
                    row[f"{task}_{reference}_{key}"] = value
    return row


def frames(result: RunResult) -> list[dict[str, Any]]:
    """Return a row for each frame of *result*: `frame_columns`; the numbers that tasks keep are JSON."""
    tree = scenario(result.run)
    camera = tree["camera"]
    head = {
        "run": tree["name"],
        "codec": tree["codec"]["name"],
        "source": camera["source"],
        "seed": tree["seed"],
        "width": camera["width"],
        "height": camera["height"],
    }
    return [{**head, **_frame(row, result.judged)} for row in result.rows]


def _frame(row: FrameRow, judged: Analysis) -> dict[str, Any]:
    same = ("frame", "name", "sender", "latency_s", "status", "sections_sent", "sections_received", "payload_bytes",
            "on_air_bytes", "packets_sent", "packets_lost", "resent")  # fmt: skip
    return {
        **{name: getattr(row, name) for name in same},
        "captured_s": row.captured_ns / NS,
        "shown_s": None if row.shown_ns is None else row.shown_ns / NS,
        "refined_s": None if row.refined_ns is None else row.refined_ns / NS,
        # A picture stands alone, a video's frames do not.
        "sequence": judged.sequences.get(row.frame, row.name.partition("#")[0]),
        **row.scores,
        **_of_tasks(judged.stats.get(row.frame, {})),
    }


def _of_tasks(stats: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, kept in stats.items():
        task = name.partition("_")[0]
        primary = TASKS[task].primary
        row[f"{name}_{primary}"] = TASKS[task].scores([dict(kept)])[primary]
        row[f"{name}_stats"] = kept
    return row
