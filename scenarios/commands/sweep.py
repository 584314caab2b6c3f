"""`farlink sweep`: many runs of one scenario with other settings."""

from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.options import (
    Cache,
    Codec,
    Frames,
    Json,
    Seeds,
    Settings,
    Source,
    Vary,
    Workers,
    clean_errors,
)
from scenarios.commands.options import Scenario as ScenarioArgument
from scenarios.commands.printing import say, show, show_json


def sweep(
    scenario: ScenarioArgument,
    vary: Vary = None,
    listed: Annotated[
        Path | None,
        typer.Option(
            "--list",
            metavar="FILE.yaml",
            help="A list of mappings from path to value, crossed with the grid.",
        ),
    ] = None,
    settings: Settings = None,
    source: Source = None,
    codec: Codec = None,
    frames: Frames = None,
    seeds: Seeds = None,
    workers: Workers = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="local|auto|ADDRESS", help="Run the cells on a Ray cluster; auto starts or joins one."
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float,
        typer.Option(min=0.0, help="Share of a GPU that each cell takes on the Ray cluster, as in 0.25."),
    ] = 0.0,
    out: Annotated[Path | None, typer.Option(help="Folder for state and tables.")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on in a folder whose sweep was asked for otherwise; the same sweep always goes on.",
        ),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what the folder has, and compute every cell anew.")
    ] = False,
    cache: Cache = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done; touches nothing.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed cells again.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Begin no cell after one failed.")] = False,
    keep_journals: Annotated[
        bool, typer.Option("--keep-journals", help="Keep each cell's journal as OUT/cells/ID/run.mcap.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a scenario with many settings: a grid of --vary, or a list, for each seed.

    Writes sweep.sqlite (state), cells.parquet and frames.parquet into a folder. A sweep that was killed goes on
    where it was; cells, payloads and pictures that this machine has computed before are taken from its cache
    ($FARLINK_CACHE, at most $FARLINK_CACHE_BYTES). Exit code 1: finished with failed cells.

    Examples:

        farlink sweep mars-relay --vary codec.name=gsc,webp --vary link.rate_bps=80,160,320 --set codec.frame_bytes=null
        --frames 10 --seeds 3 --out sweeps/rates

        farlink sweep mars-relay --vary 'source=world:mars,camvid:data/test' --vary codec.channels=1,2,4,8
        --out sweeps/channels

        farlink sweep lunar-relay --vary link.hops.0.loss.loss=0,0.1,0.3 --dry-run --out sweeps/loss

        farlink sweep mars-relay --list settings.yaml --seeds 3,5,9 --ray auto --gpus-per-worker 0.25 --out sweeps/list
    """
    from scenarios.sweep import plan, work

    with clean_errors(as_json):
        if out is None:
            raise _usage("--out DIR is needed: the folder for state and tables")
        if resume and fresh:
            raise _usage("--resume keeps what --fresh forgets; give one of them")
        if gpus_per_worker and ray is None:
            raise _usage("--gpus-per-worker goes with --ray")
        request = plan.Request(
            scenario,
            (*(settings or ()), *([] if codec is None else [f"codec.name={codec}"])),
            plan.parse_vary(vary or []),
            None if listed is None else plan.parse_list(listed),
            source,
            frames,
            None if seeds is None else plan.parse_seeds(seeds),
        )
        options = work.Options(
            workers, ray, gpus_per_worker, resume, fresh, cache, retry_failed, fail_fast, keep_journals
        )
        if dry_run:
            _tell_forecast(work.forecast(request, options, out), options, as_json)
        else:
            _sweep(request, options, out, as_json)


def _usage(line: str) -> Exception:
    from link.errors import UsageError

    return UsageError(line)


def _sweep(request: Any, options: Any, out: Path, as_json: bool) -> None:
    from link.errors import FarlinkError
    from scenarios.sweep import work
    from scenarios.sweep.bar import SweepBar
    from scenarios.sweep.worker_process import clock

    started = clock()
    with SweepBar() as bar:
        result = work.sweep(request, options, out, bar)
    tally = result.tally
    summary = {
        "cells": tally.cells,
        "done": tally.done,
        "failed": tally.failed,
        "before": tally.before,
        "cached": tally.cached,
        "seconds": clock() - started,
        "cache": {"hits": dict(tally.hits), "misses": dict(tally.misses)},
        "out": str(out),
        "tables": [str(path) for path in result.tables],
        "failures": [{"cell": cell.id, "error": line} for cell, line in result.failures],
    }
    if as_json:
        show_json(summary)
    else:
        show(_summary(summary))
    with clean_errors():
        if result.error is not None:
            raise result.error
        if tally.failed:
            for cell, line in result.failures:
                say(f"cell {cell.id} {cell.label}: {line}")
            raise FarlinkError(
                f"{tally.failed} of {tally.cells} cells failed; --retry-failed runs them again"
            )


def _summary(summary: dict[str, Any]) -> list[str]:
    from scenarios.words import duration

    cells = f"{summary['cells']}: {summary['done']} done"
    known = [(summary["before"], "from before"), (summary["cached"], "from this machine's cache")]
    told = ", ".join(f"{count} {where}" for count, where in known if count)
    rows = [
        ("cells", f"{cells}{f' ({told})' if told else ''}, {summary['failed']} failed"),
        ("time", duration(summary["seconds"])),
        *(("table", path) for path in summary["tables"]),
    ]
    return [f"{name:12}{text}" for name, text in rows]


def _tell_forecast(rows: list[Any], options: Any, as_json: bool) -> None:
    from scenarios.sweep.workers import gpus_used, how_many
    from scenarios.words import duration

    todo = [row for row in rows if row.status == "to run"]
    encodes = {row.cell.group: row.frames for row in todo}
    known = [row.wall_s for row in todo if row.wall_s is not None]
    workers = how_many(options.workers, len(todo), gpus_used(row.cell.scenario for row in todo))
    total = {
        "cells": len(rows),
        **{status.replace(" ", "_"): sum(row.status == status for row in rows) for status in
           ("done", "failed", "cached", "to run")},
        "encodes": None if None in encodes.values() else sum(encodes.values()),
        "on_air_bytes": None if any(row.frames is None for row in todo) else sum(row.on_air_bytes for row in todo),
        "virtual_s": None if any(row.virtual_s is None for row in todo) else sum(row.virtual_s for row in todo),
        "wall_s": sum(known) * len(todo) / len(known) / workers if known else None,
    }  # fmt: skip
    if as_json:
        cells = [
            {
                "cell": row.cell.id,
                "settings": dict(row.cell.settings),
                "seed": row.cell.scenario.seed,
                "status": row.status,
                "frames": row.frames,
                "on_air_bytes": row.on_air_bytes,
                "virtual_s": row.virtual_s,
                "wall_s": row.wall_s,
            }
            for row in rows
        ]
        show_json({**total, "each": cells})
        return
    lines = []
    for row in rows:
        frames = "all" if row.frames is None else row.frames
        per = " a frame" if row.frames is None else ""
        wall = "" if row.wall_s is None else f", about {duration(row.wall_s)}"
        lines.append(
            f"{row.cell.id}  {row.status:7} {row.cell.label}: {frames} frames, "
            f"about {row.on_air_bytes:,} bytes on the air{per}{wall}"
        )
    lines.append(
        f"{total['cells']} cells: {total['done']} done, {total['cached']} in this machine's cache, "
        f"{total['failed']} failed, {total['to_run']} to run"
    )
    if todo:
        unknown = "not known"
        on_air = unknown if total["on_air_bytes"] is None else f"about {total['on_air_bytes']:,} bytes"
        virtual = unknown if total["virtual_s"] is None else duration(total["virtual_s"])
        wall = (
            unknown if total["wall_s"] is None else f"about {duration(total['wall_s'])} on {workers} workers"
        )
        encodes_told = unknown if total["encodes"] is None else f"{total['encodes']} at most"
        lines.append(
            f"to run: {encodes_told} encodes, {on_air} on the air, {virtual} of run time, wall-clock time {wall}"
        )
    show(lines)


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command()(sweep)
