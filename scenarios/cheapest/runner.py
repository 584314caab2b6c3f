"""Carries out places: what this machine's cache has is taken from there, the rest is run by the sweep's workers.

Every cell is kept as soon as it is done, by all that it depends on: whoever asks again, after a kill or for another
share, finds it there.
"""

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from link.errors import UsageError
from scenarios.cheapest.question import Question
from scenarios.cheapest.search import BATCH, Place
from scenarios.cheapest.trial import Trial, measure, refused
from scenarios.cheapest.walk import Overrides, Walk
from scenarios.sweep import caches, outcomes, plan, schedule, stamps, work
from scenarios.sweep.caches import Store
from scenarios.sweep.cells import Outcome, fatal, job
from scenarios.sweep.plan import Cell, Request
from scenarios.sweep.schedule import Executor


@dataclass
class Spent:
    """How far a search is."""

    grid: int
    """Cells of the whole grid."""
    run: int = 0
    cached: int = 0
    failed: int = 0
    """Of those that were run; frames that cannot be made as small as asked are no failure."""
    cut: bool = False
    """Whether the budget of cells was spent before the search was over."""

    @property
    def looked_at(self) -> int:
        """Cells that the search needed."""
        return self.run + self.cached


Watch = Callable[[Spent, Trial | None], None]
"""Is told after each cell, and with each trial."""


class Runner:
    """Looks at places for `search`. Use as a context manager: workers end with it. Results do not depend on *workers*.

    *budget*: how many cells may be run, those in the cache not counted; None: all that are needed.
    """

    def __init__(
        self,
        question: Question,
        walk: Walk,
        *,
        workers: int | None,
        cache: bool,
        budget: int | None,
        watch: Watch,
    ) -> None:
        self._question, self._walk, self._watch = question, walk, watch
        self._options = work.Options(workers=workers, cache=cache)
        self._budget = budget
        self._request = Request(question.scenario, question.settings)
        self._seeds: tuple[int | None, ...] = question.seeds or (None,)
        self._folder = caches.home() if cache else None
        self._store = Store(self._folder, caches.limit_bytes())
        self._opened: set[str] = set()
        self._outcomes: dict[str, Outcome] = {}
        self._executor: Executor | None = None
        self._stack = contextlib.ExitStack()
        self.trials: dict[Place, Trial] = {}
        """All that was looked at."""
        self.spent = Spent(walk.places * len(self._seeds))

    def __enter__(self) -> "Runner":
        stamps.forget()
        self._store.trim()
        self._work = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="farlink-plan-")))
        return self

    def __exit__(self, *exc: object) -> None:
        if self._executor is not None:
            self._executor.close()
        self._stack.close()

    def check(self) -> None:
        """Raise UsageError, or ModelMissingError, for what is wrong with the scenario wherever it is looked at."""
        for seed in self._seeds:
            self._cell(self._walk.settings[0].overrides, {}, seed)

    def cells(self, place: Place) -> list[Cell]:
        """Return the cells of *place*, one a seed. Raise UsageError where it does not hold together."""
        setting, rung = place
        ladder, own = self._walk.ladder, self._walk.settings[setting]
        return [self._cell({**own.overrides, **ladder.rungs[rung]}, own.told, seed) for seed in self._seeds]

    def _cell(self, overrides: Overrides, told: Mapping[str, Any], seed: int | None) -> Cell:
        seeded = overrides if seed is None else {**overrides, "seed": seed}
        return plan.cell(self._request, seeded, told, self._opened)

    def look(self, places: Sequence[Place]) -> dict[Place, Trial]:
        """Return the trials of *places*; the first ones alone where the budget does not reach for all.

        Raise UsageError where the question cannot be answered, StorageError where the disk is full.
        """
        found: dict[Place, Trial] = {}
        planned: dict[Place, list[Cell]] = {}
        todo: dict[str, Cell] = {}
        for place in places:
            try:
                cells = self.cells(place)
            except (
                UsageError
            ) as error:  # a rate that this link or codec cannot have is one that is not enough
                found[place] = refused(self._walk, place, str(error))
                continue
            new = {cell.key: cell for cell in cells if not self._known(cell)}
            if self._budget is not None and self.spent.run + len(todo | new) > self._budget:
                self.spent.cut = True
                break
            planned[place] = cells
            todo |= new
        self._run(list(todo.values()))
        for place, cells in planned.items():
            seen = [self._outcomes[cell.key] for cell in cells]
            found[place] = measure(self._question, self._walk, place, cells, seen)
        self.trials |= found
        for place in found:
            self._watch(self.spent, found[place])
        return found

    def _known(self, cell: Cell) -> bool:
        """Return whether the outcome of *cell* is at hand, taken from the cache where it lies there."""
        if cell.key in self._outcomes:
            return True
        kept = None
        if self._options.cache:
            kept = outcomes.recall(cell, self._store) or outcomes.recall_unfit(cell, self._store)
        if kept is not None:
            self._outcomes[cell.key] = kept
            self.spent.cached += 1
        return kept is not None

    def _run(self, cells: Sequence[Cell]) -> None:
        if not cells:
            return
        if self._executor is None:
            most = [cells[0]] * (
                BATCH * len(self._seeds)
            )  # of a round, whatever is to be run of the first one
            self._executor = work.open_executor(self._options, most, self._work)
        limit = caches.limit_bytes()

        def told(cell: Cell, outcome: Outcome) -> bool:
            full = fatal(outcome)
            if full is not None:
                raise full
            self._outcomes[cell.key] = outcome
            if self._options.cache:
                outcomes.remember(cell, outcome, self._store)
            self.spent.run += 1
            self.spent.failed += "ok" not in outcome and not outcome.get("unfit")
            self._watch(self.spent, None)
            return True

        schedule.drive(
            cells, self._executor, lambda cell: job(cell, self._folder, limit, self._work, None), told
        )
