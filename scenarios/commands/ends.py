"""`farlink send`, `link`, `receive`, `keys`: one process each, for two or three machines."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from link.errors import StorageError, UsageError
from scenarios.commands.options import (
    Codec,
    Frames,
    Json,
    Models,
    Out,
    Overwrite,
    Realtime,
    Seed,
    Settings,
    Source,
    clean_errors,
    load_scenario,
    say_unanalysed,
)
from scenarios.commands.options import Scenario as ScenarioArgument
from scenarios.commands.printing import say, show_json

Address = Annotated[str, typer.Option("--connect", metavar="ADDRESS", help="The link's address.")]
Curve = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder with CURVE keys; needed for any address but loopback."),
]
Wait = Annotated[
    float,
    typer.Option(
        min=0.1,
        metavar="SECONDS",
        help="How long to wait for the others to connect; profile.load_s is for loading.",
    ),
]
Allowed = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-source",
        metavar="PATTERN",
        help="Let the link choose a source like this: pictures/*, webcam:0, camvid:*. "
        "By itself it may have testcard and world:THEME alone. Repeatable.",
    ),
]
DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"


class _Watched:
    """A receiver's core that says on stderr which frames came, and keeps their pictures in *folder*, if given.

    A picture that is refined takes the place of the first.
    They are named after the number of their frame alone: what else the journal or the link says names no file.
    """

    def __init__(self, core: Any, folder: Path | None) -> None:
        from scenarios.commands.progress import Arrivals

        self._core, self._folder, self._arrivals = core, folder, Arrivals()

    def step(self, now: int, arrivals: list[tuple[int, bytes]]) -> Any:
        """Return what the core answers. Raise StorageError where a picture cannot be written."""
        from scenarios.results.table import replacing

        out = self._core.step(now, arrivals)
        for event in out.events:
            if event.kind == "decoded" and event.picture is not None and self._folder is not None:
                with replacing(self._folder / f"{int(event.frame):06d}.png") as fresh:
                    fresh.write_bytes(event.picture)
            elif event.kind == "warned":
                say(event.fields["reason"])
            self._arrivals.take(event.kind, event.frame, event.time_ns, event.fields)
        self._arrivals.flush()
        return out

    def adjust(self, session: Any, times: Any) -> None:
        """See `link.end.End.adjust`."""
        self._core.adjust(session, times)


def _picture_folder(folder: Path) -> None:
    """Make *folder*. Raise UsageError where it is a file, or holds an earlier run's pictures."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError(f"--save {folder}: that is a file; a folder is needed") from None
    except OSError as error:
        raise StorageError(f"--save {folder}: cannot be made: {error.strerror}") from None
    if any(path.suffix == ".png" and path.stem.isdigit() for path in folder.iterdir()):
        raise UsageError(f"--save {folder}: holds pictures of an earlier run; give another folder")


def send(
    connect: Address = DEFAULT_ADDRESS,
    source: Source = None,
    allow_source: Allowed = None,
    models: Models = None,
    curve: Curve = None,
    wait: Wait = 60.0,
) -> None:
    """Play the sender for a link: camera and encoder run here, the scenario comes from the link.

    Without --source the link chooses one: a source that is drawn (testcard, world:THEME), or one of --allow-source.

    Examples:

        farlink send --source webcam:0

        farlink send --connect tcp://192.0.2.7:5555 --curve keys/

        farlink send --allow-source 'survey/*' --allow-source webcam:0
    """
    from link.peer import serve
    from scenarios.commands.trust import with_own_models
    from sender.__main__ import build
    from sender.camera import is_allowed

    def made(session: Any, times: Any) -> Any:
        session = with_own_models(session, "sender", models or [])
        if source is not None:
            camera = session.camera.model_copy(update={"source": source})
            session = session.model_copy(update={"camera": camera})
        for place in range(len(session.origins)):
            chosen = session.camera_of(place)[0].source
            if chosen != source and not is_allowed(chosen, allow_source or []):
                raise UsageError(
                    f"the link chooses the source {chosen!r}, which this sender does not allow; "
                    "give --source, or --allow-source PATTERN"
                )
        return build(session, times)

    with clean_errors():
        serve("sender", connect, made, curve=curve, timeout_s=wait, source=source, tell=say)


def receive(
    connect: Address = DEFAULT_ADDRESS,
    models: Models = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write pictures there as they come: DIR/000007.png is frame 7."),
    ] = None,
    curve: Curve = None,
    wait: Wait = 60.0,
) -> None:
    """Play the receiver for a link: the decoder runs here. A line on stderr tells of each frame that comes.

    Examples:

        farlink receive

        farlink receive --connect tcp://192.0.2.7:5555 --curve keys/ --save pictures/

        farlink receive --set profile.device=cuda:1 --set profile.controlnet=mine/controlnet
    """
    from link.peer import serve
    from receiver.__main__ import isolating
    from scenarios.commands.trust import with_own_models

    with clean_errors():
        if save is not None:
            _picture_folder(save)
        with isolating() as build:

            def made(session: Any, times: Any) -> Any:
                core, fingerprint = build(with_own_models(session, "receiver", models or []), times)
                return _Watched(core, save), fingerprint

            serve("receiver", connect, made, curve=curve, timeout_s=wait, tell=say)


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
    from link.keys import check_address
    from scenarios import run as runs
    from scenarios.commands.progress import Bar, print_metrics
    from scenarios.schema import source_text

    with clean_errors(as_json):
        check_address(bind, curve)
        # The sender may bring its own source, and how many frames a preset takes of its own does not hold for that.
        limit = [] if frames or source_text(scenario)[1] else ["camera.frames=null"]
        plan = load_scenario(
            scenario, [*limit, *(settings or [])], None, codec, frames, seed, live=realtime is not None
        )
        say_unanalysed(scenario, settings, plan)
        failure: FarlinkError | None = None
        with runs.claim(out, plan, overwrite=overwrite) as folder:
            with Bar(arrivals=realtime is not None) as bar:
                bar.begin(plan.name, "the sender's source", plan.all_frames)
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
    with clean_errors():
        if failure is not None:
            raise failure


def keys(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the keys to.")],
    as_json: Json = False,
) -> None:
    """Make CURVE keys for runs across machines.

    The link needs the whole folder; senders and receivers need peer.key_secret and link.key.

    Example: farlink keys keys/
    """
    from link.keys import make_keys

    with clean_errors(as_json):
        make_keys(folder)
        names = ["link.key", "link.key_secret", "peer.key", "peer.key_secret"]
        say(f"{folder}: {', '.join(names)}")
        if as_json:
            show_json({"folder": str(folder), "files": names})


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    for command in (send, link, receive, keys):
        app.command()(command)
