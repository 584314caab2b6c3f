"""`farlink train all`: every part in order, from pictures to a bundle that runs, within a number of hours.

    OUT/plan.json        what was asked, each part's share, its steps: the same command goes on from here
    OUT/PART/            as `farlink train PART` leaves it
    OUT/summary.html     shares, scores and samples, written anew after each part
    OUT/bundle/          for --set profile.bundle=OUT/bundle

With --streets everything is trained from nothing, with --pictures the shipped models are adapted. A part is trained for
as many steps as its share of the hours has room for (`stages.STAGES`); what is left over when it is done is nobody's.
"""

import json
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from link.errors import UsageError
from scenarios.scoring.perceptual import SMALLEST
from scenarios.training import bundle as bundles
from scenarios.training import footage, plan, summary
from scenarios.training.loop import TrainedPart, measure_pace, storing, train
from scenarios.training.plan import PartPlan, TrainingPlan
from scenarios.training.request import Entry, Fitted, Trained, TrainingRequest, seed_weights
from scenarios.training.sources import frame_size, half_size
from scenarios.training.stages import GENTLY, STAGES, Stage, request_for, why_skipped

RESERVED = 0.15
"""Of a part's time for what is no step: averages saved, samples drawn."""
SAVE_S = 120.0
"""About so much work is lost where a run is ended."""
SAMPLE_SAVES = 4
"""Samples are drawn at one in so many saves."""

Say = Callable[[str], None]
Clock = Callable[[], float]


def train_all(
    entries: dict[str, Entry],
    asked: TrainingRequest,
    clock: Clock,
    say: Say,
    stages: tuple[Stage, ...] = STAGES,
) -> Path:
    """Train what *asked* names by *entries*, the parts of the tiny profile, and return the bundle.

    *asked* has `out`, `hours` and either `streets` or `pictures`. Where OUT has a plan it goes on with that.
    Raise UsageError for options that do not go together, or too few hours; StorageError where the disk is full.
    """
    assert asked.out is not None and asked.hours is not None
    _check(asked)
    out, adapts = asked.out, asked.pictures is not None
    described = plan.describe_asked(asked)
    known = plan.read(out / plan.FILE, described)
    if adapts:
        labelled = footage.prepare(asked.folder("pictures"), out / "data", frame_size(asked), say)
        asked = replace(asked, streets=out / "data" / "train", pictures=None)
    else:
        folder = asked.folder("streets")
        labelled = folder.with_name(folder.name + "_labels").is_dir()
        if not labelled:
            raise UsageError(f"--streets {folder}: no labels beside it; --pictures needs none")
    whole = known or _plan(entries, asked, stages, described, adapts, labelled)
    whole.write()
    made: tuple[str, ...] = ()
    bundle = out / "bundle"
    with _repeatable():
        for stage in stages:
            part = whole.parts[stage.part]
            if part.skipped is not None:
                continue
            if not part.done:
                if stage.part == "rate":
                    bundles.build(out, bundle, _about(described))
                request = request_for(stage, entries[stage.part], asked, out, made, adapts)
                if stage.part == "rate":
                    request = replace(request, bundle=bundle)
                say(json.dumps({"part": stage.part, "budget_s": round(part.budget_s, 1)}))
                _train(stage, entries[stage.part], request, whole, clock, say)
                summary.write(whole, out, None)
            made = (*made, stage.part)
    bundles.build(out, bundle, _about(described))
    page = summary.write(whole, out, bundle)
    say(json.dumps({"bundle": str(bundle), "summary": str(page)}))
    return bundle


def _check(asked: TrainingRequest) -> None:
    if (asked.streets is None) == (asked.pictures is None):
        raise UsageError(
            "training all needs --streets (with labels, everything anew) or --pictures (the shipped models adapted)"
        )
    if min(half_size(asked)) < SMALLEST:
        raise UsageError(
            f"--size: LPIPS looks at half frames, of {SMALLEST} pixels at least, not {min(half_size(asked))}"
        )
    for name in ("natural", "world", "held_out", "perceptual"):
        if getattr(asked, name) is not None:
            asked.folder(name)


def _about(described: dict[str, Any]) -> dict[str, Any]:
    return {"profile": "tiny", "farlink": version("farlink"), "asked": described}


def _plan(
    entries: dict[str, Entry],
    asked: TrainingRequest,
    stages: tuple[Stage, ...],
    described: dict[str, Any],
    adapts: bool,
    labelled: bool,
) -> TrainingPlan:
    """Return a new plan: which parts are trained, and how long each of them has."""
    assert asked.out is not None and asked.hours is not None
    skipped = {
        stage.part: why_skipped(stage, entries[stage.part], asked, adapts, labelled) for stage in stages
    }
    shares = {
        stage.part: stage.adapted if adapts else stage.anew for stage in stages if skipped[stage.part] is None
    }
    second = asked.hours * 3600.0 / sum(shares.values())
    parts = {
        stage.part: PartPlan(round(shares.get(stage.part, 0.0) * second, 3), skipped[stage.part])
        for stage in stages
    }
    return TrainingPlan(asked.out / plan.FILE, described, parts)


def _train(
    stage: Stage, entry: Entry, request: TrainingRequest, whole: TrainingPlan, clock: Clock, say: Say
) -> None:
    """Train or fit one part, and note in the plan that it is done."""
    own, started = whole.parts[stage.part], clock()
    if isinstance(entry, Trained):
        assert request.out is not None
        seed_weights(stage.part, request.seed)
        part = entry.build(request, request.batch or entry.batch)
        recipe = replace(entry.recipe, seed=request.seed)
        if getattr(request, "adapts", False):
            recipe = replace(recipe, learning_rate=recipe.learning_rate * GENTLY)
        if own.steps is None:
            _choose_steps(stage, part, entry, request, own, clock, started)
            whole.write()
        assert own.steps is not None and own.save_every is not None
        recipe = replace(
            recipe,
            steps=own.steps,
            warmup=min(recipe.warmup, own.steps // 10),
            save_every=own.save_every,
            sample_every=own.save_every * SAMPLE_SAVES,
        )
        train(part, recipe, request.out, clock, say)
        own.scores, own.spent_s = _last_rows(request.out / "log.jsonl")
    else:
        assert isinstance(entry, Fitted)
        path = entry.fit(request, say)
        own.scores, own.spent_s = {"bytes": path.stat().st_size}, clock() - started
    own.done = True
    whole.write()


def _choose_steps(
    stage: Stage,
    part: TrainedPart,
    entry: Trained,
    request: TrainingRequest,
    own: PartPlan,
    clock: Clock,
    started: float,
) -> None:
    """Write into *own* how many steps there is time for; *started* is when the part began to be built.

    Raise UsageError where that is none.
    """
    built_s = clock() - started
    pace_s = measure_pace(part, replace(entry.recipe, seed=request.seed), clock)
    left_s = own.budget_s * (1.0 - RESERVED) - built_s
    steps = int(left_s / pace_s)
    if steps < 1:
        times, least_s = _times_as_many(own, built_s, pace_s), built_s + pace_s
        raise UsageError(
            f"--hours: too few for one step of {stage.part}, which has {own.budget_s:.0f} s of them and needs "
            f"{least_s:.0f} s to begin: {times:.2g} times as many would do"
        )
    own.pace_s, own.steps = pace_s, steps
    if getattr(request, "adapts", False):
        own.steps = min(steps, entry.recipe.steps)  # the same few pictures again and again teach nothing new
    own.save_every = max(1, min(entry.recipe.save_every, int(SAVE_S / pace_s)))


def _times_as_many(own: PartPlan, built_s: float, pace_s: float) -> float:
    """Return how many times as many hours would do for one step."""
    return (built_s + pace_s) / (own.budget_s * (1.0 - RESERVED)) * 1.05


def _last_rows(log: Path) -> tuple[dict[str, Any], float | None]:
    """Return the last row of *log*, the scores, and the seconds that its last step was done after."""
    with storing(log):
        rows = [json.loads(line) for line in log.read_text().splitlines()]
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    scores = {name: value for name, value in rows[-1].items() if name != "step"} if rows else {}
    return scores, seconds[-1] if seconds else None


@contextmanager
def _repeatable() -> Any:
    """Have torch add in the same order on every run where it can; on a GPU it cannot everywhere."""
    before = torch.are_deterministic_algorithms_enabled()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*deterministic.*")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
