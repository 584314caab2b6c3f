"""A sweep from request to tables: what is known is taken over, the rest is run, each cell is kept when it is done."""

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from link.errors import FarlinkError, StorageError, UsageError
from link.timing import air_bytes, likely_bytes
from scenarios import document
from scenarios.results.folder import locked
from scenarios.sweep import caches, outcomes, plan, schedule, state, tables
from scenarios.sweep.caches import Store
from scenarios.sweep.cells import Outcome, fatal, job
from scenarios.sweep.plan import Cell, Request
from scenarios.sweep.schedule import Executor
from scenarios.sweep.state import State
from scenarios.sweep.workers import Here, Local, gpus_used, how_many

_WORK = ".work"


@dataclass(frozen=True)
class Options:
    """How a sweep is carried out. Results do not depend on any of it."""

    workers: int | None = None
    """Processes; None: one a GPU where models run there, else one a core. 0: none, all in this process."""
    ray: str | None = None
    """`local`, `auto` or a cluster's address."""
    gpus_per_worker: float = 0.0
    """Share of a GPU that each of Ray's tasks takes."""
    resume: bool = False
    """Whether what is in the folder may be of another request."""
    fresh: bool = False
    """Whether all is computed anew, whatever the folder and the cache have of it."""
    cache: bool = True
    """Whether this machine's cache is read and written."""
    retry_failed: bool = False
    fail_fast: bool = False
    keep_journals: bool = False


@dataclass
class Tally:
    """How far a sweep is."""

    cells: int
    done: int = 0
    """All that have results, those from before and from the cache included."""
    failed: int = 0
    before: int = 0
    """Cells that the folder had results of."""
    cached: int = 0
    """Cells that came from this machine's cache, of other sweeps."""
    hits: Counter[str] = field(default_factory=Counter)
    """What the cells that were run found in the cache, by kind."""
    misses: Counter[str] = field(default_factory=Counter)

    @property
    def left(self) -> int:
        """Cells that still have to be run."""
        return self.cells - self.done - self.failed


Progress = Callable[[Tally, str | None], None]
"""Is told after each cell, with the line of a failure."""


@dataclass(frozen=True)
class Result:
    """What a sweep came to."""

    tally: Tally
    failures: list[tuple[Cell, str]]
    tables: list[Path]
    error: FarlinkError | None
    """What cut it short: a full disk, Ctrl-C; None: it came to its end."""


def sweep(
    request: Request, options: Options, out: Path, progress: Progress = lambda _tally, _line: None
) -> Result:
    """Carry out *request* into *out*.

    Raise UsageError, ModelMissingError or StorageError before anything runs; what goes wrong later is in the result,
    and what was done is kept.
    """
    cells = plan.cells(request)
    _check_out(out)
    with locked(out):
        return _locked_sweep(request, cells, options, out, progress)


def _check_out(out: Path) -> None:
    """Raise UsageError where *out* holds something that is no sweep."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; --out names a folder")
    if out.is_dir():
        held = {path.name for path in out.iterdir()}
        if held and not held & {"sweep.yaml", state.FILE, ".lock"}:
            raise UsageError(f"{out} is not empty and holds no sweep; give another --out")


def _locked_sweep(
    request: Request, cells: Sequence[Cell], options: Options, out: Path, progress: Progress
) -> Result:
    tally = Tally(len(cells))
    error: FarlinkError | None = None
    try:
        _begin(request, options, out)
        with State(out / state.FILE) as kept:
            try:
                _run(cells, kept, options, out, tally, progress)
            except StorageError as full:
                error = full
            except KeyboardInterrupt:
                error = FarlinkError(
                    "interrupted; what was done is kept, and the same command goes on with it"
                )
                error.exit_code = 130
            failures = _failures(cells, kept)
            written: list[Path] = []
            try:
                written = tables.write(cells, kept, out)
            except StorageError as full:
                error = error or full
    except OSError as failure:
        raise StorageError(f"cannot write to {out}: {failure.strerror}") from failure
    finally:
        shutil.rmtree(out / _WORK, ignore_errors=True)
    return Result(tally, failures, written, error)


def _begin(request: Request, options: Options, out: Path) -> None:
    """Make *out* ready. Raise UsageError where it holds another sweep and nobody said what to do about that."""
    asked = json.loads(json.dumps(request.tree(), default=str))
    path = out / "sweep.yaml"
    text = yaml.safe_dump(asked, sort_keys=False, allow_unicode=True)
    document.parse(text, "what this sweep was asked for")  # or it could not be gone on with
    if options.fresh:
        state.clear(out)
    elif path.is_file() and not options.resume:
        try:
            known = document.read(path)
        except UsageError:
            known = None
        if known != asked:
            raise UsageError(
                f"{out} holds a sweep that was asked for otherwise (see sweep.yaml there); "
                "--resume keeps its cells and goes on with these, --fresh forgets them"
            )
    fresh = path.with_name(".sweep.yaml.tmp")
    fresh.write_text(text, "utf-8")
    fresh.replace(path)
    shutil.rmtree(out / _WORK, ignore_errors=True)
    (out / _WORK).mkdir()


def _run(
    cells: Sequence[Cell], kept: State, options: Options, out: Path, tally: Tally, progress: Progress
) -> None:
    folder = caches.home() if options.cache else None
    store = Store(folder, caches.limit_bytes())
    store.trim()
    todo = _known(cells, kept, options, store, tally, out)
    progress(tally, None)
    if not todo or (options.fail_fast and tally.failed):
        return

    def told(cell: Cell, outcome: Outcome) -> bool:
        full = fatal(outcome)
        if full is not None:
            raise full
        kept.add(cell.key, outcome)
        if "ok" in outcome:
            tally.done += 1
            if options.cache:
                outcomes.remember(cell, outcome, store)
        else:
            tally.failed += 1
        tally.hits.update(outcome.get("hits", {}))
        tally.misses.update(outcome.get("misses", {}))
        progress(tally, None if "ok" in outcome else f"{cell.id} {cell.label}: {outcome['failed']}")
        return "ok" in outcome or not options.fail_fast

    work, limit = (out / _WORK).resolve(), caches.limit_bytes()

    def told_of(cell: Cell) -> dict[str, Any]:
        keep = (out / "cells" / cell.id).resolve() if options.keep_journals else None
        return job(cell, folder, limit, work, keep)

    with contextlib.closing(open_executor(options, todo, work)) as executor:
        schedule.drive(todo, executor, told_of, told)


def open_executor(options: Options, cells: Sequence[Cell], work: Path) -> Executor:
    """Return the workers that *options* ask for, for such *cells*; what they say goes into the folder *work*.

    Raise UsageError for a device that is not there.
    """
    if options.ray is not None:
        from scenarios.sweep.cluster import Cluster

        return Cluster(options.ray, options.workers or None, options.gpus_per_worker)
    if options.workers == 0:
        return Here()
    gpus = gpus_used(cell.scenario for cell in cells)
    return Local(how_many(options.workers, len(cells), gpus), work, gpus.visible)


def _known(
    cells: Sequence[Cell], kept: State, options: Options, store: Store, tally: Tally, out: Path
) -> list[Cell]:
    """Count what is known of *cells* and take over what the cache has; return those that must be run."""
    status = kept.status()
    todo = []
    for cell in cells:
        here = status.get(cell.key)
        if here == "done" and not _lacks_journal(cell, options, out):
            tally.before += 1
            tally.done += 1
        elif here == "failed" and not options.retry_failed:
            tally.failed += 1
        elif (outcome := _from_cache(cell, options, store)) is not None:
            kept.add(cell.key, outcome, cached=True)
            tally.cached += 1
            tally.done += 1
        else:
            todo.append(cell)
    return todo


def _lacks_journal(cell: Cell, options: Options, out: Path) -> bool:
    return options.keep_journals and not (out / "cells" / cell.id / "run.mcap").is_file()


def _from_cache(cell: Cell, options: Options, store: Store) -> Outcome | None:
    if not options.cache or options.fresh or options.keep_journals:
        return None
    return outcomes.recall(cell, store)


def _failures(cells: Sequence[Cell], kept: State) -> list[tuple[Cell, str]]:
    status = kept.status()
    failed = [cell for cell in cells if status.get(cell.key) == "failed"]
    return [(cell, (kept.cell(cell.key) or {}).get("error") or "") for cell in failed]


@dataclass(frozen=True)
class Forecast:
    """One cell as `--dry-run` tells of it."""

    cell: Cell
    status: str
    """done, failed, cached or to run."""
    frames: int | None
    """None: as many as the source has."""
    on_air_bytes: int | None
    """Of the cell, predicted from the codec's budget; of one frame where `frames` is None."""
    virtual_s: float | None
    wall_s: float | None
    """From cells of the same codec that were run before; None: there are none."""


def forecast(request: Request, options: Options, out: Path) -> list[Forecast]:
    """Return what would be done, without touching anything."""
    cells = plan.cells(request)
    _check_out(out)
    store = Store(caches.home() if options.cache else None, caches.limit_bytes())
    with state.looked_at(out) as kept:
        status = {} if kept is None or options.fresh else kept.status()
        rows = {} if kept is None else {cell.key: kept.cell(cell.key) for cell in cells}
    spent: dict[str, list[float]] = {}
    known: dict[str, str] = {}
    for cell in cells:
        outcome = _from_cache(cell, options, store)
        known[cell.key] = status.get(cell.key) or ("cached" if outcome is not None else "to run")
        if known[cell.key] == "failed" and options.retry_failed:
            known[cell.key] = "to run"
        wall_s = (outcome or rows.get(cell.key) or {}).get("wall_s")
        if wall_s is not None:
            spent.setdefault(cell.scenario.codec.name, []).append(wall_s)
    return [_forecast(cell, known[cell.key], spent.get(cell.scenario.codec.name)) for cell in cells]


def _forecast(cell: Cell, status: str, spent: list[float] | None) -> Forecast:
    camera, link = cell.scenario.camera, cell.scenario.link
    frame = air_bytes(link, likely_bytes(cell.scenario))
    count = camera.frames
    virtual_s = None if count is None else count * (camera.period_s or 1.0)
    wall_s = None if not spent else sum(spent) / len(spent)
    return Forecast(cell, status, count, frame * (count or 1), virtual_s, wall_s)
