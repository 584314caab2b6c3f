"""What a place came to: its cost, and the share of the task that it keeps, with an interval by paired resamples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from link.errors import UsageError
from scenarios.cheapest.question import Question
from scenarios.cheapest.search import Cost, Place
from scenarios.cheapest.walk import Walk
from scenarios.scoring import bootstrap
from scenarios.scoring.stats import Stats
from scenarios.sweep.cells import Outcome
from scenarios.sweep.plan import Cell

SEED = 1  # of the resamples: the same frames give the same interval


@dataclass(frozen=True)
class ShareKept:
    """What is left of a task."""

    score: float
    """The headline score of what arrived."""
    ideal: float
    """The same of the originals."""
    share: float
    """Of the second in the first; of a score that is better lower, of the first in the second."""
    low: float
    high: float


@dataclass(frozen=True)
class Trial:
    """One setting on one rung of the ladder, all seeds together."""

    place: Place
    settings: Mapping[str, Any]
    rung: float
    """The ladder's value."""
    cells: tuple[str, ...]
    cost: Cost | None
    kept: ShareKept | None
    on_air_bps: float | None
    """Of both ways, all bytes that crossed the channel over the time that the camera ran."""
    way_out_bps: float | None
    """Of the way out alone, which its rate has to carry."""
    bytes_per_frame: float | None
    """On the air."""
    rate_bps: float | None
    """Of the narrowest hop of the way out."""
    latency_p50_s: float | None
    age_mean_s: float | None
    why_not: str | None
    """Why it does not do what is wanted; None: it does."""
    failed: bool = False
    """Whether it could not be run."""

    @property
    def enough(self) -> bool:
        """Whether it does what is wanted."""
        return self.why_not is None


def refused(walk: Walk, place: Place, why: str, cells: Sequence[Cell] = (), *, failed: bool = False) -> Trial:
    """Return the trial of a place that has no figures."""
    setting, rung = place
    ids = tuple(cell.id for cell in cells)
    return Trial(
        place, walk.settings[setting].told, walk.ladder.values[rung], ids,
        None, None, None, None, None, None, None, None, why, failed,
    )  # fmt: skip


def measure(
    question: Question, walk: Walk, place: Place, cells: Sequence[Cell], outcomes: Sequence[Outcome]
) -> Trial:
    """Return what the *cells* of a place, one a seed, came to.

    Raise UsageError where the question cannot be answered at all: no truth, too few frames, pictures without a pace.
    """
    for outcome in outcomes:
        if "ok" not in outcome:
            return refused(walk, place, outcome["failed"], cells, failed=not outcome.get("unfit"))
    rows = [outcome["ok"]["cell"] for outcome in outcomes]
    kept = share_kept(question, [outcome["ok"]["frames"] for outcome in outcomes])
    figures = {
        name: _mean([row[name] for row in rows])
        for name in (
            "on_air_bps", "way_out_bps", "on_air_bytes_per_frame", "rate_bps", "latency_p50_s", "age_mean_s",
        )
    }  # fmt: skip
    on_air = figures["on_air_bps"]
    if on_air is None:
        raise UsageError("camera.period_s: the pictures have no pace, so no bit/s follow: give it by --set")
    setting, rung = place
    value = walk.ladder.values[rung]
    cost = (on_air, value, -kept.low) if question.by == "on-air" else (value, on_air, -kept.low)
    return Trial(
        place, walk.settings[setting].told, value, tuple(cell.id for cell in cells), cost, kept, on_air,
        figures["way_out_bps"], figures["on_air_bytes_per_frame"], figures["rate_bps"], figures["latency_p50_s"],
        figures["age_mean_s"], _why_not(question, kept, figures),
    )  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _why_not(question: Question, kept: ShareKept, figures: Mapping[str, float | None]) -> str | None:
    sent, rate_bps, age_s = figures["way_out_bps"], figures["rate_bps"], figures["age_mean_s"]
    if kept.low < question.keep:
        return f"it keeps {100 * kept.share:.1f} %, {100 * kept.low:.1f} % at the interval's lower end"
    if sent is not None and rate_bps is not None and sent > rate_bps:
        return f"the link does not keep up: {sent:.4g} bit/s are sent over {rate_bps:.4g} bit/s"
    if question.age_s is not None and (age_s is None or age_s > question.age_s):
        return (
            "too few pictures are shown"
            if age_s is None
            else f"what is shown is {age_s:.4g} s old in the mean"
        )
    return None


def share_kept(question: Question, seeds: Sequence[Sequence[Mapping[str, Any]]]) -> ShareKept:
    """Return the share of the task that the frames of *seeds* keep, rows as `scenarios.results.cell.frames` has them.

    What arrived and the originals are resampled alike, so the interval is that of the share.
    Raise UsageError where there is no truth, nothing is right in the originals, or frames are too few.
    """
    task, key = question.measure, question.measure.primary
    one, other = (
        f"{question.task}_{name}_stats"
        for name in (("truth", "ideal") if question.reference == "truth" else ("original", "original"))
    )
    ordered = sorted(
        (row["frame"], seed, at) for seed, rows in enumerate(seeds) for at, row in enumerate(rows)
    )
    rows = [seeds[seed][at] for _, seed, at in ordered]
    rows = [row for row in rows if row.get(one) is not None and row.get(other) is not None]
    if not rows:
        told = (
            "no truth of it"
            if question.reference == "truth"
            else "nothing that the model finds in its originals"
        )
        hint = (
            ": --against original takes what the model finds there" if question.reference == "truth" else ""
        )
        raise UsageError(f"--task {question.task}: the source has {told}{hint}")
    received: list[Stats] = [dict(row[one]) for row in rows]
    originals: list[Stats] = [dict(row[other]) for row in rows]
    clusters, moments = [row["sequence"] for row in rows], [row["name"] for row in rows]
    score = task.scores(received)[key] or 0.0
    drawn = bootstrap.resampled(task, [received, originals], clusters, SEED, moments=moments)
    if drawn is None:
        raise UsageError(
            f"--frames: an interval takes three frames at least, and {len(set(moments))} are scored"
        )
    if question.reference == "original":  # the model agrees with itself
        ideal, best = 1.0, np.ones_like(drawn[1][key])
    else:
        ideal, best = task.scores(originals)[key] or 0.0, drawn[1][key]
    if ideal == 0.0:
        raise UsageError(
            f"--task {question.task}: {question.score} of the originals is 0: nothing can be kept of it"
        )
    above, below = drawn[0][key], best
    if not task.higher_is_better[key]:
        above, below = below, above
    with np.errstate(divide="ignore", invalid="ignore"):
        found = bootstrap.span(above / below, question.confident)
    share = score / ideal if task.higher_is_better[key] else ideal / score
    if found is None:
        raise UsageError(f"--task {question.task}: {question.score} of the originals is 0 in every resample")
    return ShareKept(score, ideal, share, *found)
