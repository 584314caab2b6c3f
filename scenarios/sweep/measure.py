"""From a cell's journal to its row and its frames' rows, with the scores of known pairs of pictures at hand."""

from typing import Any

from link.journal import Run
from scenarios import schema
from scenarios.results import cell
from scenarios.results.judge import Analysis, analyse
from scenarios.schema import Scenario
from scenarios.scoring import pairs
from scenarios.scoring.pairs import Scores
from scenarios.sweep import stamps
from scenarios.sweep.cached import Workbench


def measure(run: Run, scenario: Scenario, bench: Workbench) -> dict[str, Any]:
    """Return `cell`, the row of *run*, and `frames`, a row for each of its frames; all of it JSON."""
    result = cell.make(
        run,
        judge=lambda run: _analyse(run, scenario, bench),
        traces=lambda _link: schema.traces(scenario),
        score=lambda run: score(run, bench),
    )
    return {"cell": result.cell, "frames": cell.frames(result)}


def score(run: Run, bench: Workbench) -> Scores:
    """Return what `scenarios.scoring.pairs.score` does, each pair of pictures compared at most once on a machine."""
    return pairs.score(run, bench.shelf("scores", stamps.scoring()))


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
