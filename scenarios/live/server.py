"""The page's server: files of a fixed table, one websocket a viewer, and nothing that a viewer says is ever a path.

    source --News--> room --ticks--> feed --> viewers        viewers --wishes--> source

All runs on one event loop; what takes longer than a moment (pictures, a journal that is wound) runs in a thread while
the room is held.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from scenarios.live import wishes
from scenarios.live.beside import Beside
from scenarios.live.controls import wished
from scenarios.live.feed import BEAT_S, Viewer
from scenarios.live.gate import HEADERS, WITH_CAMERA, Gate
from scenarios.live.keep_up import PATH as KEEPS_UP
from scenarios.live.keep_up import KeepUp
from scenarios.live.narrator import Narrator
from scenarios.live.news import News, Source
from scenarios.live.room import Room
from scenarios.live.showing import MOST_OWN, Showing
from scenarios.live.static_files import read_static
from scenarios.live.viewer_camera import MOST_BYTES, ViewerCamera

if TYPE_CHECKING:
    from scenarios.live.sinks import Sink

MOST_VIEWERS = 50
OWN = (wishes.SetPace, wishes.Seek)
"""What concerns the viewer alone in a replay, so that who only watches may wish it too."""
_MOST_PENDING = 64
_COOKIE_S = 7 * 24 * 3600


class LiveServer:
    """Serves one source to viewers, as *gate* lets them in. Use `running`."""

    def __init__(
        self,
        source: Source,
        gate: Gate,
        *,
        local: bool,
        presets: tuple[str, ...] = (),
        stories: tuple[Any, ...] = (),
        camera: ViewerCamera | None = None,
        sinks: "tuple[Sink, ...]" = (),
    ) -> None:
        self.gate, self.source = gate, source
        self._camera, self._sinks = camera, sinks
        self._headers = HEADERS if camera is None else WITH_CAMERA
        self._local, self._static = local, read_static()
        self._described = {
            "stories": list(stories), "presets": list(presets), "camera": camera is not None
        }  # fmt: skip
        self._hand = ThreadPoolExecutor(1, "room")  # what takes longer than a moment, one thing at a time
        self.shared = self._show(source)
        """For all who have no showing of their own."""
        self._shown: dict[Viewer, Showing] = {}
        self._pending: dict[tuple[str, ...], tuple[Mapping[str, Any], Viewer, int | None]] = {}
        self._changes = asyncio.Event()
        self._beside = Beside(self.showings, self._now)
        self._keeper = KeepUp(source, self._note)
        self._keeper.begin(self.room.first, on=bool(self.room.keeps_up))
        self._narrator = Narrator(source, lambda: self.room.news.now_ns, self._show_card, self._note)
        self._narrator.begin(source.story)
        self.ended = asyncio.Event()
        """Set when the source tells no more."""

    @property
    def room(self) -> Room:
        """Of the showing for all."""
        return self.shared.room

    @property
    def failure(self) -> BaseException | None:
        """Why the source tells no more, where that was not its end."""
        return self.shared.failure

    @property
    def viewers(self) -> Collection[Viewer]:
        """All who look on."""
        return self._shown.keys()

    def showings(self) -> list[Showing]:
        """Return the one for all, and those of single viewers."""
        return list(dict.fromkeys([self.shared, *self._shown.values()]))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _show(self, source: Source) -> Showing:
        return Showing(source, self._hand, self._now, self._described, self._heard, local=self._local)

    def application(self) -> web.Application:
        """Return the application that serves it."""
        app = web.Application(middlewares=[self._guard], client_max_size=4096)
        app.router.add_get("/", self._page)
        app.router.add_get("/static/{name}", self._file)
        app.router.add_get("/live", self._live)
        app.cleanup_ctx.append(self._work)
        return app

    async def _work(self, _app: web.Application) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(work)
            for work in (
                self._follow(),
                self.shared.run(),
                self._apply(),
                self._narrator.run(),
                self._keeper.run(),
                *self._beside.work(),
            )
        ]
        yield
        for viewer in self.viewers:
            viewer.answer({"type": "bye", "reason": "farlink live has ended"})
        for showing in reversed(self.showings()):
            await showing.close()
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._hand.shutdown(wait=False)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Let a request through to its handler where it is for us and has a token; each answer gets our headers."""
        response: web.StreamResponse
        try:
            response = self._refuse(request) or await handler(request)
        except web.HTTPException as error:
            response = _plain(error.status, error.reason)
        if not response.prepared:
            response.headers.update(self._headers)
        return response

    def _refuse(self, request: web.Request) -> web.Response | None:
        if not self.gate.knows_host(request.headers.get("Host")):
            return _plain(421, "this server goes by another name")
        if request.path == "/live" and not self.gate.knows_origin(
            request.headers.get("Origin"), request.headers.get("Host")
        ):
            return _plain(403, "only this server's own page may connect")
        if request.path == "/favicon.ico":  # which a browser looks for beside the answer that sets the cookie
            return web.Response(status=204)
        if request.path == "/" and "token" in request.query:
            return None
        if self.gate.role(request.cookies.get(self.gate.cookie)) is None:
            return _plain(401, "open the link that farlink live has printed: it has a token")
        return None

    async def _page(self, request: web.Request) -> web.Response:
        """The page; a token in the address becomes a cookie first."""
        token = request.query.get("token")
        if token is None:
            kind, data = self._static["index.html"]
            return web.Response(body=data, content_type=kind, charset="utf-8")
        if self.gate.role(token) is None:
            return _plain(401, "this token is not, or no longer, one of this server")
        # Not a redirect: a cookie that is for this site alone does not come along where another site's link led here.
        response = _plain(200, "one moment")
        response.headers["Refresh"] = "0; url=/"
        response.set_cookie(
            self.gate.cookie,
            token,
            max_age=_COOKIE_S,
            httponly=True,
            samesite="Strict",
            secure=self.gate.tls,
            path="/",
        )
        return response

    async def _file(self, request: web.Request) -> web.Response:
        found = self._static.get(request.match_info["name"])
        if found is None:
            return _plain(404, "no such file")
        kind, data = found
        return web.Response(
            body=data, content_type=kind, charset="utf-8" if kind.startswith("text/") else None
        )

    async def _live(self, request: web.Request) -> web.StreamResponse:
        if len(self.viewers) >= MOST_VIEWERS:
            return _plain(503, f"{MOST_VIEWERS} viewers look on already")
        role = self.gate.role(request.cookies.get(self.gate.cookie))
        transport = request.transport
        assert transport is not None
        viewer = Viewer(
            may_steer=role == "steer", by=f"viewer {request.remote}", now_s=self._now(), abort=transport.abort
        )
        self._shown[viewer] = self.shared  # before anything is waited for: the limit is exact
        await self._join(viewer)
        most = MOST_BYTES if self._camera is not None and viewer.may_steer else wishes.MOST_BYTES
        channel = web.WebSocketResponse(
            max_msg_size=most, compress=False, heartbeat=20.0, timeout=2.0, writer_limit=1 << 16
        )
        writer: asyncio.Task[None] | None = None
        try:
            channel.headers.update(self._headers)
            await channel.prepare(request)
            writer = asyncio.create_task(self._write(channel, viewer))
            await self._read(channel, viewer)
        finally:
            await self._leave(viewer)
            if writer is not None:
                writer.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                    await writer
        return channel

    async def _write(self, channel: web.WebSocketResponse, viewer: Viewer) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):  # it went away
            while not channel.closed:
                await viewer.wake.wait()
                for data in viewer.take():
                    await channel.send_bytes(data)

    async def _read(self, channel: web.WebSocketResponse, viewer: Viewer) -> None:
        rate = wishes.CommandRate(self._now())
        heard = 0
        async for message in channel:
            heard += 1
            if heard % (5 * wishes.COMMANDS_S) == 0:
                await asyncio.sleep(BEAT_S)  # a flood waits in its own socket
            if message.type is WSMsgType.TEXT:
                try:
                    wish = wishes.read(message.data)
                except ValueError as error:
                    _echo(viewer, None, str(error))
                    continue
                await self._hear(viewer, wish, rate)
            elif message.type is WSMsgType.BINARY and self._camera is not None and viewer.may_steer:
                if not self._camera.give(message.data):
                    _echo(
                        viewer,
                        None,
                        f"no picture: a JPEG file of at most {MOST_BYTES >> 10} KiB was expected",
                    )
            elif message.type is WSMsgType.BINARY:
                _echo(viewer, None, "no command of this page: text was expected")

    async def _hear(self, viewer: Viewer, wish: wishes.Wish, rate: wishes.CommandRate) -> None:
        if isinstance(wish, wishes.Ack):
            viewer.acknowledge(wish.seq, self._now())
        elif isinstance(wish, wishes.Fetch):
            if not (rate.take(self._now()) and viewer.fetch(wish.id)):
                _echo(viewer, None, "too many pictures were asked for at once")
        elif not viewer.may_steer and not (self.source.mode == "replay" and isinstance(wish, OWN)):
            _echo(viewer, wish.id, "this link is for watching; steering takes the other one")
        elif isinstance(wish, wishes.SetFields):
            self._want(viewer, wish)
        elif not rate.take(self._now()):
            _echo(viewer, wish.id, f"more than {wishes.COMMANDS_S} commands a second")
        else:
            _echo(viewer, wish.id, await self._obey(viewer, wish))

    def _want(self, viewer: Viewer, wish: wishes.SetFields) -> None:
        """Put a change among those that wait; it takes the place of one of the same fields."""
        key = tuple(sorted(wish.paths))
        before = self._pending.pop(key, None)
        if before is not None:
            _echo(before[1], before[2], None)  # a newer value took its place
        elif len(self._pending) >= _MOST_PENDING:
            _echo(viewer, wish.id, "too many changes wait already")
            return
        self._pending[key] = wish.paths, viewer, wish.id
        self._changes.set()

    async def _apply(self) -> None:
        """Hand changes on, twenty a second."""
        while True:
            await self._changes.wait()
            while self._pending:
                key = next(iter(self._pending))
                paths, viewer, number = self._pending.pop(key)
                _echo(viewer, number, await self._change(dict(paths), viewer.by))
                await asyncio.sleep(1.0 / wishes.COMMANDS_S)
            self._changes.clear()

    async def _change(self, paths: dict[str, Any], by: str) -> str | None:
        """Do what controls are set to; return why not."""
        if KEEPS_UP in paths:
            if self.room.keeps_up is None or not isinstance(paths[KEEPS_UP], bool):
                return f"{KEEPS_UP}: there is nothing that could be kept up, or it is neither on nor off"
            self._keeper.on = paths.pop(KEEPS_UP)
            async with self.shared.hold:
                self.room.set_keeps_up(self._keeper.on)
        return (
            await self.source.change(wished(self.room.session, self.room.first, paths), by) if paths else None
        )

    async def _show_card(self, told: dict[str, Any]) -> None:
        async with self.shared.hold:
            self.room.tell_story(told)

    async def _note(self, line: str) -> None:
        async with self.shared.hold:
            self.room.note(line[:80], "story")

    async def _obey(self, viewer: Viewer, wish: wishes.Wish) -> str | None:
        if isinstance(wish, OWN):
            return await self._wind(viewer, wish)
        if isinstance(wish, wishes.Open):
            return await self.source.open(wish.what, wish.name)
        assert isinstance(wish, wishes.Mark)
        return await self.source.mark(wish.text, viewer.by)

    async def _wind(self, viewer: Viewer, wish: wishes.SetPace | wishes.Seek) -> str | None:
        """Do as *viewer* wants with the time of the session: its own in a replay, else everybody's."""
        before = self._shown[viewer]
        own = before.source.fork() if before is self.shared else None
        if own is not None and len(self.showings()) > MOST_OWN:
            return f"{MOST_OWN} viewers wind this replay already, each for itself; you can go on looking"
        source = own or before.source
        if isinstance(wish, wishes.Seek):
            refused = await source.seek(wish.ns)
        else:
            refused = await source.pace(wish.turn, wish.factor)
        if refused is not None:
            return refused
        if own is not None:
            showing = self._show(own)
            before.leave(viewer)
            showing.coming.add(viewer)
            self._shown[viewer] = showing
            showing.start()
        elif isinstance(wish, wishes.Seek):
            before.sought = True
        return None

    async def _join(self, viewer: Viewer) -> None:
        """Let *viewer* look on; a replay that nobody has looked on at begins with it."""
        shared = self.shared
        if self.source.mode == "live" or shared.is_watched or self._sinks:
            shared.viewers.add(viewer)
        elif await self.source.seek(0) is None:
            shared.coming.add(viewer)

    async def _leave(self, viewer: Viewer) -> None:
        showing = self._shown.pop(viewer)
        showing.leave(viewer)
        if showing is not self.shared:
            await showing.close()

    async def _follow(self) -> None:
        await self.shared.follow()
        self.ended.set()

    def _heard(self, showing: Showing, news: News, changed: bool) -> None:
        """Hand *news* on, which *showing* has just taken; *changed*: they are of another session than before."""
        if showing is self.shared:
            if changed:
                self._narrator.begin(self.source.story)
                self._keeper.begin(self.room.first, on=bool(self.room.keeps_up))
            for sink in self._sinks:
                sink.take(news, self.source.head)
            self._keeper.hear(news, self.room.session)
        if showing.is_watched or news.fresh:
            self._beside.offer(showing, news, changed=changed)


def _echo(viewer: Viewer, number: int | None, refused: str | None) -> None:
    viewer.answer({"type": "echo", "id": number, "refused": refused})


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")


@contextlib.asynccontextmanager
async def running(
    server: LiveServer, listener: socket.socket, tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Serve *server* on *listener*, whose address its gate knows."""
    runner = web.AppRunner(server.application(), access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, ssl_context=tls).start()
        yield
    finally:
        await runner.cleanup()
