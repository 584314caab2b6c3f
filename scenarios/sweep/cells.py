"""One cell: a run in this process in virtual time, measured from its journal. The same function for every worker.

What a cell comes to depends on its job alone: not on the worker, the cells before it, or what caches hold. So torch
keeps to one thread, since sums over two come out differently in bfloat16, and pictures are compared pair by pair.
"""

import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from link import journal
from link.conductor import Conductor
from link.errors import BudgetError, FarlinkError, StorageError
from link.timing import times
from scenarios import run as runs
from scenarios import schema
from scenarios.results.cell import why_failed
from scenarios.schema import Scenario
from scenarios.sweep import cached as parts
from scenarios.sweep import measure, stamps
from scenarios.sweep.cached import Workbench
from scenarios.sweep.caches import Store
from scenarios.sweep.plan import Cell

Job = dict[str, Any]
"""`key`, `scenario`, `cache` (folder or None), `cache_bytes`, `work` (folder for journals or None), `keep` (a folder
or None): JSON, so that it travels to any worker."""
Outcome = dict[str, Any]
"""`ok` (`cell`: figures, `frames`: rows) or `failed` (one line) with `exit_code`, and `unfit` where the codec could
make no frame as small as asked; `wall_s`; `hits`, `misses`."""


def job(cell: Cell, store: Path | None, cache_bytes: int, work: Path | None, keep: Path | None) -> Job:
    """Return what a worker is told of *cell*."""
    return {
        "key": cell.key,
        "scenario": cell.scenario.model_dump(mode="json", by_alias=True),
        "cache": None if store is None else str(store),
        "cache_bytes": cache_bytes,
        "work": None if work is None else str(work),
        "keep": None if keep is None else str(keep),
    }


@cache
def workbench(folder: str | None, cache_bytes: int) -> Workbench:
    """Return what this process keeps from cell to cell with the caches in *folder*."""
    import torch

    torch.set_num_threads(1)
    return Workbench(Store(None if folder is None else Path(folder), cache_bytes))


def attempt(job: Job, clock: Callable[[], float]) -> Outcome:
    """Run the cell of *job*; return what it came to, also where it failed. *clock* measures seconds."""
    started = clock()
    bench = workbench(job["cache"], job["cache_bytes"])
    bench.store.hits.clear()
    bench.store.misses.clear()
    outcome: Outcome
    try:
        outcome = {"ok": run(job, bench)}
    except Exception as error:  # whatever breaks in a cell is told of that cell, and the others go on
        line = " ".join(str(error).split()) or type(error).__name__
        code = error.exit_code if isinstance(error, FarlinkError) else 1
        if isinstance(error, OSError):
            code = StorageError.exit_code
        if not isinstance(error, FarlinkError):
            line = f"{type(error).__name__}: {line}"
        outcome = {"failed": line[:500], "exit_code": code}
        if isinstance(error, BudgetError):
            outcome["unfit"] = True
    counts = {"hits": dict(bench.store.hits), "misses": dict(bench.store.misses)}
    return {**outcome, **counts, "wall_s": clock() - started}


def run(job: Job, bench: Workbench) -> dict[str, Any]:
    """Run the cell of *job* and return its figures and its frames' rows. Raise what breaks in it."""
    scenario = Scenario.model_validate(job["scenario"])
    kept = None if job["keep"] is None else Path(job["keep"])
    work = None if job["work"] is None or not Path(job["work"]).is_dir() else job["work"]
    with tempfile.TemporaryDirectory(prefix="cell-", dir=work, ignore_cleanup_errors=True) as place:
        folder = Path(place) / "run"
        folder.mkdir()
        ends = parts.ends(scenario.session(), bench)
        rehearse(scenario, bench, ends)
        failure = runs.execute(scenario, folder, transport="inproc", ends=ends)
        if failure is not None:
            if failure.exit_code == 130:
                raise KeyboardInterrupt
            raise failure
        read = journal.read(folder / "run.mcap")
        if (why := why_failed(read)) is not None:
            raise BudgetError(why)
        figures = measure.measure(read, scenario, bench)
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / "run.mcap", kept / "run.mcap")
    return figures


class NoJournal:
    """Stands in for a journal where nothing is to be written."""

    def packets(self, rows: list[Any], data: list[bytes]) -> None:
        """Empty both lists, as the journal does."""
        rows.clear()
        data.clear()

    def event(self, _event: Any) -> None:
        """Forget it."""

    def flush(self) -> None:
        """Do nothing."""


def rehearse(scenario: Scenario, bench: Workbench, ends: runs.Ends) -> None:
    """Where pictures are drawn in batches: find out what will arrive, and draw what is not yet known of it.

    What the receiver asks for and when it closes a frame does not depend on pictures, so both passes are alike.
    """
    decoder = ends.decoder
    if not isinstance(decoder, parts.CachedDecoder) or not decoder.batched:
        return
    missing = decoder.missing(arriving(scenario, bench, ends.encoder))
    if missing:
        decoder.decode_all(missing)


def arriving(scenario: Scenario, bench: Workbench, encoder: Any) -> list[Any]:
    """Return the payloads that will be decoded, in order."""
    from receiver.__main__ import build as build_receiver
    from sender.__main__ import build as build_sender

    session = scenario.session()
    traces = schema.traces(session)
    waits = times(session, traces)
    shots = parts.CachedShots(session, bench.shelf("shots", stamps.shots(session)))
    recorder = parts.Recorder()
    sender, _ = build_sender(session, waits, shots=shots, encoder=encoder)
    receiver, _ = build_receiver(session, waits, decoder=recorder, analyst=parts.Blind())
    Conductor(session, traces, sender, receiver, NoJournal()).run()  # type: ignore[arg-type]
    return recorder.payloads


def fatal(outcome: Outcome) -> FarlinkError | None:
    """Return what ends the whole sweep, if *outcome* does: a full disk is not this cell's fault."""
    if outcome.get("exit_code") == StorageError.exit_code:
        return StorageError(outcome["failed"])
    return None
