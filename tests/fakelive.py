"""A small server of the live page for its tests: it follows the protocol and plays a synthetic session."""

import asyncio
import contextlib
import json
import struct
import threading
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from fakesession import SECOND, Session

import scenarios.live

STATIC = Path(scenarios.live.__file__).parent / "static"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "frame-ancestors 'none'"
)
_TICK_S = 0.1


def message(body: dict[str, Any], blobs: list[bytes] | None = None) -> bytes:
    """Return a message of the protocol: a length, JSON, blobs."""
    blobs = blobs or []
    text = json.dumps({**body, "blobs": [len(blob) for blob in blobs]}).encode()
    return struct.pack("<I", len(text)) + text + b"".join(blobs)


class Viewer:
    def __init__(self, socket: web.WebSocketResponse, may_steer: bool) -> None:
        self.socket, self.may_steer = socket, may_steer
        self.seq = 0
        self.acked = 0
        self.waiting: list[tuple[dict[str, Any], list[bytes]]] = []

    async def send(self, body: dict[str, Any], blobs: list[bytes]) -> None:
        self.seq += 1
        await self.socket.send_bytes(message({**body, "seq": self.seq}, blobs))


class FakeServer:
    """The server in a thread of its own. Its methods may be called from any other thread."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.session = Session()
        self.commands: list[dict[str, Any]] = []
        self.viewers: list[Viewer] = []
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._clock: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def play(self, session: Session, before_s: float = 10.0) -> None:
        """Show *session*, as it is after *before_s* seconds of wall time, in a new state."""
        for _ in range(int(before_s / _TICK_S)):
            session.tick(_TICK_S)
        self._call(self._play(session))

    async def _play(self, session: Session) -> None:
        self.session = session
        self.commands.clear()
        for viewer in list(self.viewers):
            viewer.waiting.clear()
            await self._state(viewer)

    def start(self) -> None:
        self._call(self._start())

    def kill(self) -> None:
        """End at once, connections and all; `start()` begins again on the same port."""
        self._call(self._kill())

    def close(self) -> None:
        if self._runner:
            self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def push(self, body: dict[str, Any]) -> None:
        """Send a tick with *body* to all."""
        self._call(self._broadcast({"type": "tick", **body}, []))

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/live", self._live)
        app.router.add_get("/static/{name}", self._file)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self._clock = asyncio.ensure_future(self._run())

    async def _kill(self) -> None:
        assert self._runner and self._clock
        self._clock.cancel()
        for viewer in list(self.viewers):
            if viewer.socket._writer and viewer.socket._writer.transport:
                viewer.socket._writer.transport.abort()
        await self._runner.cleanup()
        self._runner = None
        self.viewers.clear()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            news, blobs = self.session.tick(_TICK_S)
            await self._broadcast({"type": "tick", **news}, blobs)

    async def _broadcast(self, body: dict[str, Any], blobs: list[bytes]) -> None:
        for viewer in list(self.viewers):
            viewer.waiting.append((body, blobs))
            with contextlib.suppress(ConnectionError):  # it has just left
                await self._flush(viewer)

    async def _flush(self, viewer: Viewer) -> None:
        while viewer.waiting and viewer.seq - viewer.acked < 2:
            await viewer.send(*viewer.waiting.pop(0))

    async def _page(self, request: web.Request) -> web.StreamResponse:
        if "token" in request.query:
            found = web.HTTPFound("/")
            found.set_cookie("farlink", request.query["token"], httponly=True, samesite="Strict")
            raise found
        return self._served(web.FileResponse(STATIC / "index.html"))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = STATIC / request.match_info["name"]
        if path.parent != STATIC or not path.is_file():
            raise web.HTTPNotFound
        return self._served(web.FileResponse(path))

    def _served(self, response: web.FileResponse) -> web.FileResponse:
        response.headers.update(
            {"Content-Security-Policy": CSP, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        )
        return response

    async def _state(self, viewer: Viewer) -> None:
        body, blobs = self.session.state(viewer.may_steer)
        with contextlib.suppress(ConnectionError):  # it has just left
            await viewer.send(body, blobs)

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=4096, compress=False)
        await socket.prepare(request)
        viewer = Viewer(socket, request.cookies.get("farlink") != "watch")
        await self._state(viewer)
        self.viewers.append(viewer)
        try:
            async for one in socket:
                if one.type == WSMsgType.TEXT:
                    await self._take(viewer, json.loads(one.data))
        finally:
            if viewer in self.viewers:
                self.viewers.remove(viewer)
        return socket

    async def _take(self, viewer: Viewer, command: dict[str, Any]) -> None:
        if command["do"] == "ack":
            viewer.acked = command["seq"]
            await self._flush(viewer)
            return
        self.commands.append(command)
        if command["do"] == "fetch":
            kind, frame = command["id"].split("-")
            blobs: list[bytes] = []
            pictures = [self.session.describe(kind, int(frame), blobs, lossless=True)]
            viewer.waiting.append(({"type": "tick", "pictures": pictures}, blobs))
            await self._flush(viewer)
            return
        refused, news = self._obey(viewer, command)
        await viewer.socket.send_bytes(message({"type": "echo", "id": command["id"], "refused": refused}))
        if news:
            await self._broadcast({"type": "tick", **news}, [])
        if command["do"] == "seek" and not refused:
            await self._state(viewer)

    def _obey(self, viewer: Viewer, command: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        session = self.session
        if command["do"] == "seek":
            session.now = command["ns"]
            return None, {}
        if not viewer.may_steer:
            return "you are watching: only the steering link may do this", {}
        if command["do"] == "change":
            return session.change(command["paths"], "viewer 1")
        if command["do"] == "pace":
            if command["factor"]:
                session.factor = command["factor"]
            if command["turn"] in ("pause", "resume"):
                session.paused = command["turn"] == "pause"
            if command["turn"] in ("event", "picture"):
                session.paused, session.jump = True, command["turn"]
            return None, {"clock": session.summary()["clock"]}
        if command["do"] == "mark":
            mark = {"t_s": session.now / SECOND, "text": command["text"], "by": "viewer 1"}
            session.kept["marks"].append(mark)
            return None, {"marks": [mark]}
        return None, {}
