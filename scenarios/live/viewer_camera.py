"""A viewer's own camera: JPEG files that a steering viewer sends become the pictures of the source `browser`.

    viewer --JPEG, 10/s--> one slot --decoded in a thread, bounded--> newest picture --loopback, token--> sender

What comes from a viewer is decoded here and written anew: the sender's libraries see nothing that a viewer made.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

from aiohttp import web

from sender.camera.picture import PictureError, read_rgb

MOST_BYTES = 256 << 10
"""Of a picture that a viewer sends: 640x480 as JPEG has some 50 KiB."""
MOST_PIXELS = 1280 * 960
_OFF_S = 3.0  # without a picture for so long a camera counts as switched off
_LEAST_S = 1 / 15  # between two pictures that are decoded
_BOUNDARY = "picture"


class ViewerCamera:
    """The newest picture of any viewer, served to the sender. Use as an asynchronous context manager."""

    def __init__(self) -> None:
        self.url = ""
        """Where the sender finds it; who does not know its token finds nothing."""
        self.taken = 0
        """Pictures that came and could be used."""
        self.refused = 0
        """Those that were none, or too large."""
        self._token = secrets.token_urlsafe(24)
        self._slot: bytes | None = None
        self._came = asyncio.Event()
        self._shown: bytes | None = None
        self._news = asyncio.Condition()
        self._hand = ThreadPoolExecutor(1, "viewer camera")

    def give(self, data: bytes) -> bool:
        """Take a picture in the place of one that waits; return False where it can be none."""
        if len(data) > MOST_BYTES or data[:2] != b"\xff\xd8":
            self.refused += 1
            return False
        self._slot = data
        self._came.set()
        return True

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Serve it on a port of the loopback address."""
        app = web.Application()
        app.router.add_get(f"/{self._token}", self._answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        work = asyncio.create_task(self._work())
        try:
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/{self._token}"
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await runner.cleanup()
            self._hand.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await asyncio.wait_for(self._came.wait(), _OFF_S)
            except TimeoutError:
                await self._show(None)
                await self._came.wait()
            self._came.clear()
            data, self._slot = self._slot, None
            if data is None:
                continue
            try:
                picture = await loop.run_in_executor(self._hand, _made_anew, data)
            except PictureError:
                self.refused += 1
                continue
            self.taken += 1
            await self._show(picture)
            await asyncio.sleep(_LEAST_S)

    async def _show(self, picture: bytes | None) -> None:
        async with self._news:
            self._shown = picture
            self._news.notify_all()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """Send pictures as they come until the camera is switched off."""
        if self._shown is None:
            return web.Response(status=503, text="no camera is on\n")
        response = web.StreamResponse(
            headers={"Content-Type": f"multipart/x-mixed-replace; boundary={_BOUNDARY}"}
        )
        await response.prepare(request)
        while True:
            async with self._news:
                picture = self._shown
            if picture is None:
                return response
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            with contextlib.suppress(ConnectionError):
                await response.write(head.encode() + picture + b"\r\n")  # waits for a slow sender
            async with self._news:
                while self._shown is picture:
                    await self._news.wait()


def _made_anew(data: bytes) -> bytes:
    """Return the JPEG file *data*, decoded and written again. Raise PictureError where it is none, or too large."""
    image, _ = read_rgb(data, ("JPEG",), MOST_PIXELS)
    out = BytesIO()
    image.save(out, "JPEG", quality=95, subsampling=0)
    return out.getvalue()
