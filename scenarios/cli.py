"""The command `farlink`. Starts in well under a second: what a command needs is imported by that command."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from link.errors import FarlinkError, PartialError, StorageError, UsageError

app = typer.Typer(
    name="farlink",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Pictures over links too narrow for pictures: encode, carry through a modelled channel, see what survives.

Start with **farlink run** and open the report it names. Results go to stdout (JSON with --json), progress to stderr.

Exit codes: 0 ok, 1 finished with failed cells, 2 usage or configuration, 3 the run was cut short, 4 model missing,
5 the ends disagree (fingerprint), 74 disk, 130 interrupted.""",
)

Scenario = Annotated[str, typer.Argument(help="A preset's name (see `farlink scenarios`) or a YAML file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set any field of the scenario; the value is YAML. Repeatable."
    ),
]
Source = Annotated[
    str | None,
    typer.Option(help="Where frames come from: testcard, a picture, a folder, a video file, webcam:N."),
]
Codec = Annotated[str | None, typer.Option(help="Codec: gsc (the default), jpeg2000, webp, avif or jpeg.")]
Frames = Annotated[int | None, typer.Option(min=1, help="How many frames at most.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of everything random in the channel.")]
Realtime = Annotated[
    float | None,
    typer.Option(
        min=1e-6,
        metavar="[FACTOR]",
        help="Run against the wall clock, FACTOR (default 1) run seconds a second; else in virtual time.",
    ),
]
Out = Annotated[Path | None, typer.Option(help="Folder for the results; default runs/NAME, NAME-2, ...")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]


class Transport(StrEnum):
    """How sender, link and receiver meet."""

    ZMQ = "zmq"
    INPROC = "inproc"


@contextlib.contextmanager
def clean_errors() -> Iterator[None]:
    """Turn farlink's errors into one line on stderr and an exit code."""
    try:
        yield
    except FarlinkError as error:
        print(f"farlink: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:
        # Whoever read our output has enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        print(f"farlink: cannot write: {error.strerror or error}", file=sys.stderr)
        raise typer.Exit(StorageError.exit_code) from None
    except KeyboardInterrupt:
        print("farlink: interrupted", file=sys.stderr)
        raise typer.Exit(130) from None


def load_scenario(
    scenario: str,
    settings: list[str] | None,
    source: str | None,
    codec: str | None,
    frames: int | None,
    seed: int | None,
) -> Any:
    """Return the resolved scenario with the command's options laid over it."""
    from scenarios import schema

    overrides = {"camera.source": source, "codec.name": codec, "camera.frames": frames, "seed": seed}
    given = {key: value for key, value in overrides.items() if value is not None}
    return schema.load(scenario, settings or [], given)


@app.command()
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
    from scenarios.progress import Bar

    with clean_errors():
        plan = load_scenario(scenario, settings, source, codec, frames, seed)
        runs.check_source(plan)
        folder = runs.prepare(out, plan)
        with Bar(plan.camera.frames) as bar:
            outcome = runs.run(plan, folder, transport=transport.value, factor=realtime, progress=bar)
        _tell(outcome.metrics, as_json)
        if outcome.error is not None:
            raise outcome.error


def _tell(metrics: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(metrics, indent=1))
        return
    from scenarios.progress import table

    print(table(metrics))


@app.command()
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
    from scenarios.progress import working

    with clean_errors():
        if compare.holds_sweep(folder):
            compare.report_sweep(folder, as_json)
            return
        with working("measuring pictures, writing the report"):
            metrics = runs.measure(folder.parent if folder.name == "run.mcap" else folder, None)
        _tell(metrics, as_json)
        if metrics["cut_short"] is not None:
            raise PartialError(f"the run was cut short: {metrics['cut_short']}")


@app.command()
def inspect(
    journal: Annotated[Path, typer.Argument(metavar="RUN.mcap", help="A run's journal, or its folder.")],
    frame: Annotated[int | None, typer.Option(min=0, help="Only the packets of this frame.")] = None,
    drops: Annotated[
        bool, typer.Option("--drops", help="Only packets that were lost, with the reason.")
    ] = False,
    pcap: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the packets that went on the air as a pcap file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a packet.")] = False,
) -> None:
    """Print a run packet by packet, or export it for Wireshark.

    Examples:

        farlink inspect runs/mars-relay --frame 3

        farlink inspect runs/ccsds-downlink --pcap run.pcap

        tshark -r run.pcap -o 'uat:user_dlts:"User 0 (DLT=147)","ccsds","0","","0",""'
    """
    from link import journal as journals
    from scenarios import inspect as inspection
    from scenarios import pcap as captures

    with clean_errors():
        path = journal / "run.mcap" if journal.is_dir() else journal
        found = journals.read(path, pictures=False)
        if pcap is not None:
            if frame is not None or drops or as_json:
                raise UsageError(
                    "--pcap writes the whole run; it does not go with --frame, --drops or --json"
                )
            packets, size = captures.export(found, pcap)
            print(f"{pcap}: {packets} packets, {size} bytes on the air", file=sys.stderr)
            return
        if as_json:
            for record in inspection.records(found, frame=frame, drops=drops):
                print(json.dumps(record))
            return
        for line in inspection.lines(found, frame=frame, drops=drops):
            print(line)


scenarios_app = typer.Typer(no_args_is_help=False, help="List, show, check scenarios, or print their schema.")
app.add_typer(scenarios_app, name="scenarios")


@scenarios_app.callback(invoke_without_command=True)
def scenarios(context: typer.Context) -> None:
    """List the scenarios that come with farlink, or show and check one."""
    if context.invoked_subcommand is None:
        list_scenarios()


@scenarios_app.command("list")
def list_scenarios() -> None:
    """List the presets."""
    from link.channel.path import path_rate_bps
    from scenarios import schema

    with clean_errors():
        for name in schema.preset_names():
            plan = schema.load(name)
            rate = path_rate_bps(plan.link, schema.traces(plan))
            print(f"{name:22}{rate:>10,.0f} bit/s   {plan.title}")


@scenarios_app.command("show")
def show_scenario(name: Scenario) -> None:
    """Print a preset or file, with its comments.

    Example: farlink scenarios show lunar-relay > mine.yaml
    """
    from scenarios import schema

    with clean_errors():
        print(schema.source_text(name)[0], end="")


@scenarios_app.command("validate")
def validate_scenario(
    name: Annotated[str, typer.Argument(metavar="FILE", help="A YAML file or a preset's name.")],
    settings: Settings = None,
) -> None:
    """Check a scenario and print it resolved, with everything that is derived.

    Example: farlink scenarios validate mine.yaml
    """
    from scenarios import schema

    with clean_errors():
        print(schema.to_yaml(schema.load(name, settings or [])), end="")


@scenarios_app.command("schema")
def scenario_schema() -> None:
    """Print the JSON Schema of scenarios, for editors."""
    from scenarios import schema

    with clean_errors():
        print(json.dumps(schema.Scenario.model_json_schema(by_alias=True), indent=1), flush=True)


@app.command()
def doctor() -> None:
    """Say what is installed, and what is missing for which profile.

    Example: farlink doctor
    """
    from scenarios import doctor as checks

    lines, healthy = checks.report()
    with clean_errors():
        print("\n".join(lines), flush=True)
    if not healthy:
        raise typer.Exit(1)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"farlink {version('farlink')}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _with_factor(arguments: list[str]) -> list[str]:
    """Give `--realtime` its default factor where no number follows it: Typer has no options with optional values."""
    found = []
    for at, argument in enumerate(arguments):
        found.append(argument)
        following = arguments[at + 1] if at + 1 < len(arguments) else ""
        if argument == "--realtime" and not following[:1].isdigit() and following[:1] != ".":
            found.append("1")
    return found


def main() -> None:
    """Run the command line; the entry point of the `farlink` command."""
    from scenarios.commands import compare, ends, files, models, sweep, train

    compare.register(app)
    ends.register(app)
    files.register(app)
    models.register(app)
    sweep.register(app)
    train.register(app)
    try:
        code = app(_with_factor(sys.argv[1:]) or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"farlink: cannot write: {error.strerror or error}", file=sys.stderr)
        code = StorageError.exit_code
    except Exception as error:
        # Typer's errors of usage: one line like any other, not a box.
        if not hasattr(error, "format_message"):
            raise
        print(f"farlink: {' '.join(error.format_message().split())} (see --help)", file=sys.stderr)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
