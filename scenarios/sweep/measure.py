"""From a cell's journal to its figures and its frames' rows, with the scores of known pairs of pictures at hand."""

import json
from dataclasses import asdict
from typing import Any

from link.channel.path import path_loss, path_rate_bps
from link.codecs import SYNTAXES
from link.config import TASKS as TASK_NAMES
from link.journal import Run
from scenarios import schema
from scenarios.results import metrics
from scenarios.results.judge import Analysis, analyse
from scenarios.results.metrics import NS, FrameRow
from scenarios.schema import Scenario
from scenarios.scoring import quality
from scenarios.scoring.quality import Score, Scores
from scenarios.sweep import stamps
from scenarios.sweep.cached import Workbench

_ABOUT_PICTURES = ("psnr_db", "ms_ssim", "lpips")


def measure(run: Run, scenario: Scenario, bench: Workbench) -> dict[str, Any]:
    """Return `cell`, the figures of *run*, and `frames`, a row for each of its frames; all of it JSON."""
    scores = score(run, bench)
    judged = _analyse(run, scenario, bench)
    figures = metrics.measure(run, scores, judged)
    rows = metrics.frame_rows(run, scores)
    return {
        "cell": {**_cell(figures, rows, scenario), **_tasks(figures)},
        "frames": [_frame(row, scenario, judged) for row in rows],
    }


def score(run: Run, bench: Workbench) -> Scores:
    """Return what `scenarios.scoring.quality.score` does, pair by pair, each pair of pictures compared at most once."""
    shelf = bench.shelf("scores", stamps.digest(stamps.code(), stamps.versions(), quality.alexnet_missing()))
    found: dict[int, Score] = {}
    sent, received = run.pictures["sent"], run.pictures["received"]
    for frame in sorted(set(sent) & set(received)):
        key = stamps.digest(sent[frame], received[frame])
        kept = shelf.get(key)
        if kept is None:
            alone = Run(
                run.head, [], run.rows[:0], {}, {"sent": {0: sent[frame]}, "received": {0: received[frame]}}, True
            )  # fmt: skip
            own = quality.score(alone).by_frame.get(0, Score())
            kept = json.dumps(asdict(own)).encode()
            shelf.put(key, kept)
        found[frame] = Score(**json.loads(kept))
    return Scores(found, {})


def _analyse(run: Run, scenario: Scenario, bench: Workbench) -> Analysis:
    if not scenario.analysis:
        return analyse(run)
    from scenarios.truth.truth import open_truth

    camera, seed = scenario.camera, scenario.seed
    truths = bench.load(
        "truth", stamps.shots(scenario), lambda: open_truth(camera, seed)
    )  # rendering a world's truth takes as long as its picture
    shelf = bench.shelf("findings", stamps.analysing(scenario))
    return analyse(run, cache=shelf, intervals=False, truths=truths)


def _cell(figures: dict[str, Any], rows: list[FrameRow], scenario: Scenario) -> dict[str, Any]:
    count = len(rows)
    payload = sum(row.payload_bytes for row in rows)
    on_air = figures["bytes"]["on_air"]
    shown = sum(row.shown_ns is not None for row in rows)
    return {
        "frames_sent": count,
        "frames_shown": shown,
        "payload_bytes_per_frame": payload / count if count else None,
        "on_air_bytes_per_frame": on_air / count if count else None,
        "on_air_bps": _on_air_bps(on_air, rows, scenario),
        "bpp_payload": figures["bpp"]["payload"],
        "bpp_on_air": figures["bpp"]["on_air"],
        **{name: figures["quality"][name] for name in _ABOUT_PICTURES},
        "latency_p50_s": figures["latency_s"]["p50"],
        "age_mean_s": figures["age_s"]["mean"],
        "age_peak_s": figures["age_s"]["peak"],
    }


def _on_air_bps(on_air: int, rows: list[FrameRow], scenario: Scenario) -> float | None:
    """Return the bits on the air a second of camera time: each frame stands for the time until the next."""
    first, last = (
        min((row.captured_ns for row in rows), default=0),
        max((row.captured_ns for row in rows), default=0),
    )
    if len(rows) > 1 and last > first:
        seconds = (last - first) / NS * len(rows) / (len(rows) - 1)
    elif rows and scenario.camera.period_s is not None:
        seconds = scenario.camera.period_s * len(rows)
    else:
        return None
    return on_air * 8 / seconds


def _tasks(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the scores as `TASK_REFERENCE_KEY`."""
    found = {}
    for task in TASK_NAMES:
        about = figures["tasks"].get(task) or {}
        for reference in ("truth", "original", "ideal"):
            for key, value in (about.get(reference) or {}).items():
                found[f"{task}_{reference}_{key}"] = value
    return found


def _frame(row: FrameRow, scenario: Scenario, judged: Analysis) -> dict[str, Any]:
    shown_s = None if row.shown_ns is None else row.shown_ns / NS
    return {
        "run": scenario.name,
        "codec": scenario.codec.name,
        "seed": scenario.seed,
        "frame": row.frame,
        "name": row.name,
        "captured_s": row.captured_ns / NS,
        "shown_s": shown_s,
        "latency_s": row.latency_s,
        **{
            name: getattr(row, name)
            for name in (
                "status", "sections_sent", "sections_received", "payload_bytes", "on_air_bytes", "packets_sent",
                "packets_lost", "resent", *_ABOUT_PICTURES,
            )
        },
        "sequence": judged.sequences.get(row.frame, row.name.partition("#")[0]),
        **judged.columns(row.frame),
    }  # fmt: skip


def about(scenario: Scenario) -> dict[str, Any]:
    """Return what tables say of a cell's scenario."""
    return {
        "seed": scenario.seed,
        "codec": scenario.codec.name,
        "source": scenario.camera.source,
        "rate_bps": path_rate_bps(scenario.link, schema.traces(scenario)),
        "loss": path_loss(scenario.link),
        "channels": scenario.codec.channels
        if SYNTAXES[scenario.codec.name].facts.reads("channels")
        else None,
        "frame_bytes": scenario.codec.frame_bytes,
        "width": scenario.camera.width,
        "height": scenario.camera.height,
    }
