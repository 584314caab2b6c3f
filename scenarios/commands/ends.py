"""`farlink send`, `link`, `receive`, `keys`: one process each, for two or three machines."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from scenarios.commands.options import (
    Codec,
    Frames,
    Json,
    Out,
    Overwrite,
    Realtime,
    Seed,
    Settings,
    Source,
    clean_errors,
    load_scenario,
)
from scenarios.commands.options import Scenario as ScenarioArgument

Address = Annotated[str, typer.Option("--connect", metavar="ADDRESS", help="The link's address.")]
Curve = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder with CURVE keys; needed for any address but loopback."),
]
Wait = Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How long to wait for the others.")]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="profile.KEY=VALUE",
        help="This machine's own models and how they run: profile.generator=PATH, profile.device=cuda:1. Repeatable.",
    ),
]
DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"


def _say(line: str) -> None:
    print(f"farlink: {line}", file=sys.stderr)


def send(
    connect: Address = DEFAULT_ADDRESS,
    source: Source = None,
    models: Models = None,
    curve: Curve = None,
    wait: Wait = 60.0,
) -> None:
    """Play the sender for a link: camera and encoder run here, the scenario comes from the link.

    Examples:

        farlink send --source webcam:0

        farlink send --connect tcp://192.0.2.7:5555 --curve keys/
    """
    from link.relay import serve
    from scenarios.schema import with_local_models
    from sender.__main__ import build

    def made(session: Any, times: Any) -> Any:
        session = with_local_models(session, models or [])
        if source is not None:
            camera = session.camera.model_copy(update={"source": source})
            session = session.model_copy(update={"camera": camera})
        return build(session, times)

    with clean_errors():
        serve("sender", connect, made, curve=curve, timeout_s=wait, source=source, tell=_say)


def receive(
    connect: Address = DEFAULT_ADDRESS, models: Models = None, curve: Curve = None, wait: Wait = 60.0
) -> None:
    """Play the receiver for a link: the decoder runs here.

    Examples:

        farlink receive

        farlink receive --connect tcp://192.0.2.7:5555 --curve keys/

        farlink receive --set profile.device=cuda:1 --set profile.controlnet=mine/controlnet
    """
    from link.relay import serve
    from receiver.__main__ import build
    from scenarios.schema import with_local_models

    def made(session: Any, times: Any) -> Any:
        return build(with_local_models(session, models or []), times)

    with clean_errors():
        serve("receiver", connect, made, curve=curve, timeout_s=wait, tell=_say)


def link(
    scenario: ScenarioArgument = "mars-relay",
    bind: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = DEFAULT_ADDRESS,
    curve: Curve = None,
    codec: Codec = None,
    frames: Frames = None,
    seed: Seed = None,
    settings: Settings = None,
    realtime: Realtime = None,
    out: Out = None,
    overwrite: Overwrite = False,
    wait: Wait = 60.0,
    as_json: Json = False,
) -> None:
    """Play the link: the modelled channel, the clock and the journal run here; a sender and a receiver connect.

    Examples (three terminals, or three machines with --bind, --connect and --curve):

        farlink link lunar-relay --realtime 1

        farlink receive

        farlink send --source webcam:0
    """
    from link.__main__ import serve
    from link.errors import FarlinkError
    from link.relay import check_address
    from scenarios import run as runs
    from scenarios.commands.options import print_metrics
    from scenarios.commands.progress import Bar

    with clean_errors():
        check_address(bind, curve)
        plan = load_scenario(scenario, settings, None, codec, frames, seed)
        failure: FarlinkError | None = None
        with runs.claim(out, plan, overwrite=overwrite) as folder:
            with Bar(plan.camera.frames) as bar:
                try:
                    timings = serve(
                        plan.session(), runs.head(plan), folder / "run.mcap", bind,
                        factor=realtime, curve=curve, wait_s=wait, tell=bar,
                    )  # fmt: skip
                    (folder / "timings.json").write_text(json.dumps(timings))
                except FarlinkError as error:
                    failure = error
            whole = (folder / "run.mcap").is_file()
            if not whole or (failure is not None and failure.exit_code not in (3, 130)):
                raise failure or FarlinkError("the run left no journal")
            runs.note_source(folder, plan)
            print_metrics(runs.measure(folder, None), as_json)
        if failure is not None:
            raise failure


def keys(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the keys to.")]) -> None:
    """Make CURVE keys for runs across machines.

    The link needs the whole folder; senders and receivers need peer.key_secret and link.key.

    Example: farlink keys keys/
    """
    from link.relay import make_keys

    with clean_errors():
        make_keys(folder)
        print(f"{folder}: link.key, link.key_secret, peer.key, peer.key_secret", file=sys.stderr)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    for command in (send, link, receive, keys):
        app.command()(command)
