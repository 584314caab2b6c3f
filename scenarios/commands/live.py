"""`farlink live`: a page to watch a session on, and to steer it; of a journal, a replay."""

import asyncio
import contextlib
import re
import webbrowser
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from link.errors import FarlinkError, UsageError
from scenarios.commands.options import (
    Codec,
    Frames,
    Json,
    Out,
    Overwrite,
    Seed,
    Settings,
    Source,
    clean_errors,
    complete_presets,
    load_scenario,
)
from scenarios.commands.printing import say, show_json

if TYPE_CHECKING:
    from scenarios.live.news import Source as NewsSource
    from scenarios.live.sinks import Sink

DEFAULT_BIND = "127.0.0.1:8765"
DEFAULT_KEEP = "2GB"
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def live(
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="[SCENARIO|RUN]",
            help="A preset or a YAML file to run; or a journal (RUN.mcap, or a run's folder) to replay.",
            autocompletion=complete_presets,
        ),
    ] = None,
    story: Annotated[
        str | None,
        typer.Option(
            help="Tell a story: a session of under three minutes with cards and changes of its own."
        ),
    ] = None,
    connect: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Look on at a link that runs elsewhere.")
    ] = None,
    curve: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with CURVE keys, for --connect.")
    ] = None,
    bind: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the page is served; port 0 is any free one.")
    ] = DEFAULT_BIND,
    tls: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="CERT KEY", help="Serve over TLS; needed for any address but loopback."),
    ] = None,
    watch_only: Annotated[bool, typer.Option("--watch-only", help="Nobody may steer.")] = False,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Open no browser; print the links alone.")
    ] = False,
    factor: Annotated[
        float | None,
        typer.Option(
            min=1e-3,
            max=1e6,
            help="Run seconds in a second; default a picture a second, of a replay such that it takes three minutes.",
        ),
    ] = None,
    source: Source = None,
    codec: Codec = None,
    frames: Frames = None,
    seed: Seed = None,
    settings: Settings = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Keep so much of the session's journal, 2GB by default: it goes on in a new file now and then, and "
            "the oldest are deleted.",
        ),
    ] = None,
    foxglove: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            metavar="[PORT]",
            help="Serve the session to Foxglove too, to look at; on this machine alone, at port 8766 by default.",
        ),
    ] = None,
    rerun: Annotated[
        str | None,
        typer.Option(
            metavar="[FILE.rrd]", help="Show the session in Rerun's viewer too, or write it to a file."
        ),
    ] = None,
    out: Out = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Show a session on a page: what is sent and received, what crossed the link, and controls to steer it.

    Two links are printed: one to steer by, one to watch. The page loads nothing from elsewhere. A journal of any run
    is replayed on the same page, forwards and back: who pauses, winds or speeds it up does so alone.

    Examples:

        farlink live --story mars

        farlink live mars-relay --factor 60

        farlink live runs/mars-relay

        farlink live cellular-degraded --source drive.mp4 --set codec.steps=4

        farlink live sweeps/codecs/cells/0001/run.mcap --factor 10 --watch-only

        farlink live lunar-relay --source browser --set camera.period_s=0.5

        farlink live mars-relay --keep 500MB --foxglove --rerun mars.rrd

        farlink live --connect tcp://192.0.2.7:5555 --curve keys/

    From another machine: ssh -L 8765:127.0.0.1:8765 HOST, then open the printed link there.
    """
    from scenarios.live.gate import check_bind, is_loopback, parse_address
    from scenarios.results.folder import is_journal
    from sender.camera.address import BROWSER_URL

    of_run = (source, codec, frames, seed, settings, keep, out, overwrite or None)
    shows_camera = False
    with clean_errors(as_json):
        host, port = parse_address(bind)
        check_bind(host, port, tls=tls is not None)
        if (session is not None) + (story is not None) + (connect is not None) > 1:
            raise UsageError("one of SCENARIO or RUN, --story and --connect says what is shown")
        path = None if session is None else Path(session)
        if path is not None and is_journal(path):
            if any(part is not None for part in of_run):
                raise UsageError(f"{session} is replayed as it is: no setting goes with it")

            async def make(camera_url: str | None) -> "NewsSource":
                from scenarios.live.replay import Replay

                return Replay(path, asyncio.get_running_loop().time, factor)
        elif connect is not None:
            if any(part is not None for part in of_run):
                raise UsageError("the link at --connect says what is run; no setting goes with it")
            address = connect

            async def make(camera_url: str | None) -> "NewsSource":
                from scenarios.live.start import join

                return await join(address, curve)
        else:
            from scenarios import run as runs
            from scenarios.live.start import prepare
            from scenarios.live.stories import plan_of, read_story

            asked = [*([] if frames else ["camera.frames=null"]), *(settings or [])]
            told = None if story is None else read_story(story)
            if told is None:
                plan = load_scenario(session or "mars-relay", asked, source, codec, frames, seed, live=True)
            else:
                given = {"camera.source": source, "codec.name": codec, "camera.frames": frames, "seed": seed}
                plan = plan_of(told, asked, {key: value for key, value in given.items() if value is not None})
            plan = prepare(plan)
            runs.check_source(plan)
            keep_bytes = parse_size(keep or DEFAULT_KEEP)
            shows_camera = plan.camera.source == "browser"

            async def make(camera_url: str | None) -> "NewsSource":
                from scenarios.live.own import Own
                from scenarios.live.start import Means

                means = Means(keep_bytes, {} if camera_url is None else {BROWSER_URL: camera_url})
                return await Own.begin(plan, told, factor, out, overwrite=overwrite, means=means)

        opens = not no_open and is_loopback(host)
        with contextlib.suppress(KeyboardInterrupt):
            with _sinks(foxglove, rerun) as sinks:
                asyncio.run(_serve(make, host, port, tls, watch_only, opens, as_json, shows_camera, sinks))


def parse_size(text: str) -> int:
    """Return the bytes that a size like 500MB or 2GB means. Raise UsageError, also for one that is too small."""
    from link.segments import LEAST_BYTES

    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*([kMGT]?)B?", text.strip(), re.ASCII)
    if found is None:
        raise UsageError(f"--keep {text!r:.40}: a size was expected, as 500MB or 2GB")
    size = int(float(found[1]) * _UNITS[found[2]])
    if size < LEAST_BYTES:
        raise UsageError(f"--keep {text}: at least {LEAST_BYTES / 1e6:.1f}MB are kept")
    return size


@contextlib.contextmanager
def _sinks(foxglove: int | None, rerun: str | None) -> Iterator["tuple[Sink, ...]"]:
    """Give the sinks that are asked for, which publish until the end."""
    made: list[Sink] = []
    with contextlib.ExitStack() as held:
        if foxglove is not None:
            from scenarios.live.foxglove import FoxgloveSink

            made.append(FoxgloveSink(foxglove))
        if rerun is not None:
            from scenarios.live.rerun import RerunSink

            made.append(RerunSink(Path(rerun) if rerun else None))
        for sink in made:
            held.callback(sink.close)
            say(sink.start())
        yield tuple(made)


async def _serve(
    make: Callable[[str | None], Awaitable["NewsSource"]],
    host: str,
    port: int,
    tls: tuple[Path, Path] | None,
    watch_only: bool,
    opens: bool,
    as_json: bool,
    shows_camera: bool,
    sinks: "tuple[Sink, ...]",
) -> None:
    """Serve the source that *make* gives until interrupted, or until its news fail.

    *make* is told where a viewer's camera is served where *shows_camera*.
    """
    from link.memory import share_heap
    from scenarios import schema
    from scenarios.live.gate import Gate, is_loopback
    from scenarios.live.listener import listen, tls_context
    from scenarios.live.server import LiveServer, running
    from scenarios.live.stories import read_story, story_names
    from scenarios.live.viewer_camera import ViewerCamera

    share_heap()  # the page runs for hours, and threads come and go
    context = None if tls is None else tls_context(str(tls[0]), str(tls[1]))
    listener = listen(host, port)
    gate = Gate(host, listener.getsockname()[1], context is not None, watch_only)
    async with contextlib.AsyncExitStack() as stack:
        camera = ViewerCamera() if shows_camera else None
        if camera is not None:
            await stack.enter_async_context(camera.served())
        source = await make(None if camera is None else camera.url)
        stories = tuple({"name": name, "title": read_story(name).title} for name in story_names())
        server = LiveServer(
            source, gate, local=is_loopback(host), presets=tuple(schema.preset_names()), stories=stories,
            camera=camera, sinks=sinks,
        )  # fmt: skip
        await stack.enter_async_context(running(server, listener, context))
        links = (
            {"watch": gate.link("watch")}
            if watch_only
            else {role: gate.link(role) for role in ("steer", "watch")}
        )
        for role, link in links.items():
            say(f"to {role}: {link}")
        if as_json:
            show_json({"links": links})
        if opens:
            await asyncio.to_thread(webbrowser.open, next(iter(links.values())))
        await server.ended.wait()
        if isinstance(server.failure, FarlinkError):
            raise server.failure
        if server.failure is not None:
            raise UsageError(f"the session cannot be shown: {server.failure}") from server.failure
        say("the session is over; the page stays until Ctrl-C")
        await asyncio.Event().wait()


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command()(live)
