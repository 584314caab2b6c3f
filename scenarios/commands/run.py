"""`farlink run` and `farlink report`: a scenario from end to end, and its results anew from its journal."""

import contextlib
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from link.errors import PartialError, UsageError
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
    say_unanalysed,
)
from scenarios.commands.printing import say, show, show_json


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
    again: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Run the journal RUN (a file, or a run's folder) again with its own pictures, and see whether it "
            "comes to the same.",
        ),
    ] = None,
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

        farlink run mars-relay --set link.hops.0.retransmit=ltp --set link.repair.red=0.5

        farlink run --source world:mars --set 'analysis=[segmentation, depth, detection]'

        farlink run rover-day --set 'senders=[{name: spirit}, {name: opportunity}]'

        farlink run underwater-acoustic --source dive.mp4 --realtime 10 --json

        farlink run --again runs/underwater-acoustic
    """
    from scenarios import run as runs
    from scenarios.commands.progress import Bar, print_metrics

    if again is not None:
        with clean_errors(as_json):
            if scenario != "mars-relay" or any((source, codec, frames, seed, settings, realtime)):
                raise UsageError(
                    "--again runs what the journal says: no scenario and no setting goes with it"
                )
            _run_again(again, out, overwrite, as_json)
        return
    bare = scenario == "mars-relay" and not any((source, codec, frames, seed, settings, realtime, out))
    with clean_errors(as_json):
        with contextlib.ExitStack() as stack:
            bar = stack.enter_context(Bar(arrivals=realtime is not None))
            plan = load_scenario(scenario, settings, source, codec, frames, seed, live=realtime is not None)
            runs.check_source(plan)
            say_unanalysed(scenario, settings, plan)
            folder = stack.enter_context(runs.claim(out, plan, overwrite=overwrite))
            bar.begin(plan.name, plan.camera.source, plan.all_frames)
            outcome = runs.run(plan, folder, transport=transport.value, factor=realtime, progress=bar)
        print_metrics(outcome.metrics, as_json)
    with clean_errors():
        if outcome.error is not None:
            raise outcome.error
        if bare:
            _say_next(folder)


def _run_again(journal_of: Path, out: Path | None, overwrite: bool, as_json: bool) -> None:
    """Run a journal again into a folder of its own, and say whether it came to the same."""
    from link import journal, segments
    from scenarios import run as runs
    from scenarios.commands.progress import Bar
    from scenarios.live import again

    path = journal_of
    stored = journal.read(path, pictures=False)
    segments.check_whole(stored.head, path)
    plan = again.read_scenario(stored, path)
    frames = sum(event["kind"] == "captured" for event in stored.events)
    with runs.claim(out, plan, overwrite=overwrite) as folder:
        with Bar() as bar:
            bar.begin(f"{plan.name}, again", str(path), frames)
            count = again.run_again(path, folder, bar)
        digest = journal.digests(journal.read(folder / "run.mcap"))
    if as_json:
        show_json(
            {"again": str(path), "journal": str(folder / "run.mcap"), "records": count, "digest": digest}
        )
    else:
        show([f"the same {count} records as in {path}: {folder / 'run.mcap'}"])


def _say_next(folder: Path) -> None:
    """Say on stderr what to look at after the first run, and what to try."""
    name = shlex.quote(str(folder))
    say(f"open {folder / 'report.html'} in a browser: one file, no network. Then try:")
    for command, what in (
        (f"farlink inspect {name} --frame 0", "the first picture, packet by packet"),
        ("farlink run --codec webp", "the same link with a classical codec"),
        ("farlink run --source PICTURES --frames 5", "a folder, a picture or a video of your own"),
    ):
        say(f"  {command:44}{what}")


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
    from scenarios.commands.progress import print_metrics, working

    if compare.holds_sweep(folder):
        compare.report_sweep(folder, as_json)
        return
    with clean_errors(as_json):
        with working("measuring pictures, writing the report"):
            metrics = runs.measure(folder.parent if folder.name == "run.mcap" else folder, None)
        print_metrics(metrics, as_json)
    with clean_errors():
        if metrics["cut_short"] is not None:
            raise PartialError(f"the run was cut short: {metrics['cut_short']}")


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    for command in (run, report):
        app.command()(command)
