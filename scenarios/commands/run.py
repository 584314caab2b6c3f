"""`farlink run` and `farlink report`: a scenario from end to end, and its results anew from its journal."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from link.errors import PartialError
from scenarios.commands.options import (
    Codec,
    Frames,
    Json,
    Out,
    Overwrite,
    Realtime,
    Scenario,
    Seed,
    Settings,
    Source,
    clean_errors,
    load_scenario,
    print_metrics,
)


class Transport(StrEnum):
    """How sender, link and receiver meet."""

    ZMQ = "zmq"
    INPROC = "inproc"


def run(
    scenario: Scenario = "mars-relay",
    source: Source = None,
    codec: Codec = None,
    frames: Frames = None,
    seed: Seed = None,
    settings: Settings = None,
    transport: Annotated[
        Transport,
        typer.Option(help="Three processes over ZeroMQ, or all in one process; the journal is the same."),
    ] = Transport.ZMQ,
    realtime: Realtime = None,
    out: Out = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Run a scenario: frames are encoded, cross the modelled link as packets, and are put together again.

    Writes journal (run.mcap), table (results.parquet), figures and report.html into a folder.

    Examples:

        farlink run

        farlink run --source photos/ --set codec.channels=4 --set codec.order=ssim

        farlink run mars-relay --source photos/ --codec webp

        farlink run lunar-relay --set link.hops.0.rate_bps=8000 --set link.repair.fec=0.5 --seed 7

        farlink run --source world:mars --set 'analysis=[segmentation, depth, detection]'

        farlink run underwater-acoustic --source dive.mp4 --realtime 10 --json
    """
    from scenarios import run as runs
    from scenarios.commands.progress import Bar

    with clean_errors():
        plan = load_scenario(scenario, settings, source, codec, frames, seed)
        runs.check_source(plan)
        with runs.claim(out, plan, overwrite=overwrite) as folder, Bar(plan.camera.frames) as bar:
            outcome = runs.run(plan, folder, transport=transport.value, factor=realtime, progress=bar)
        print_metrics(outcome.metrics, as_json)
        if outcome.error is not None:
            raise outcome.error


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder, or a sweep's.")],
    as_json: Json = False,
) -> None:
    """Write figures, table and report of a run anew, from its journal alone; or the curves of a sweep.

    Of a sweep: accuracy against bytes, bit/s and bits per pixel, the bandwidth that each task needs, BD-rates, as
    one page (curves.html), figures/*.png and *.svg, and points.parquet.

    Examples:

        farlink report runs/mars-relay

        farlink report sweeps/codecs --json
    """
    from scenarios import run as runs
    from scenarios.commands import compare
    from scenarios.commands.progress import working

    with clean_errors():
        if compare.holds_sweep(folder):
            compare.report_sweep(folder, as_json)
            return
        with working("measuring pictures, writing the report"):
            metrics = runs.measure(folder.parent if folder.name == "run.mcap" else folder, None)
        print_metrics(metrics, as_json)
        if metrics["cut_short"] is not None:
            raise PartialError(f"the run was cut short: {metrics['cut_short']}")


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    for command in (run, report):
        app.command()(command)
