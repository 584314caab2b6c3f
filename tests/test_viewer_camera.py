"""A viewer's own camera as the source of a session: in Chromium, and against who sends what is none."""

import asyncio
import contextlib
import io
import shutil
import threading
import time

import aiohttp
import numpy as np
import pytest
import toys
from PIL import Image
from test_sources import stream_of

from link.config import Camera
from scenarios.live import gate
from scenarios.live.listener import listen
from scenarios.live.news import News, Source
from scenarios.live.server import LiveServer, running
from scenarios.live.viewer_camera import MOST_BYTES, ViewerCamera
from sender.camera import Shot, open_source
from sender.camera.address import BROWSER_URL

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PLAN = toys.session({"hops": [{"name": "air", "rate_bps": 9000}]}, period_s=1.0)


class Quiet(Source):
    """A session in which nothing happens."""

    def __init__(self):
        tree = PLAN.model_dump(mode="json", by_alias=True)
        tree["camera"]["source"] = "browser"
        self.head = {"scenario": tree}
        self.over = asyncio.Event()

    async def news(self):
        yield News(0, 1.0, False, None)
        await self.over.wait()

    async def close(self):
        self.over.set()


@contextlib.asynccontextmanager
async def served(camera):
    listener = listen("127.0.0.1", 0)
    own = gate.Gate("127.0.0.1", listener.getsockname()[1], False)
    async with contextlib.AsyncExitStack() as stack:
        if camera is not None:
            await stack.enter_async_context(camera.served())
        server = LiveServer(Quiet(), own, local=True, camera=camera)
        await stack.enter_async_context(running(server, listener))
        yield server, own


def jpeg(level=0, size=(64, 48)):
    out = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), level, np.uint8)).save(out, "JPEG")
    return out.getvalue()


async def until(said, seconds=10.0):
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def joined(own, role):
    base = f"http://127.0.0.1:{own.port}"
    cookies = {own.cookie: own.tokens[role]}
    async with (
        aiohttp.ClientSession(cookies=cookies, cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
        http.ws_connect(f"{base}/live", headers={"Origin": base}) as channel,
    ):
        yield channel


def test_pictures_of_a_viewer_reach_the_sender_and_nothing_else_does(monkeypatch):
    async def play():
        camera = ViewerCamera()
        async with served(camera) as (_, own):
            async with aiohttp.ClientSession() as http:
                async with http.get(camera.url) as answer:
                    assert answer.status == 503  # nobody's camera is on
                async with http.get(camera.url[:-1]) as answer:
                    assert answer.status == 404  # who does not know the token
            monkeypatch.setenv(BROWSER_URL, camera.url)
            shots = open_source(Camera(source="browser", width=64, height=48, period_s=1.0), seed=1)
            try:
                async with joined(own, "steer") as steers:
                    for bad in (b"text", b"\xff\xd8 no picture", jpeg(size=(1300, 1300))):
                        before = camera.refused
                        await steers.send_bytes(bad)
                        await until(lambda before=before: camera.refused > before)
                    assert camera.taken == 0
                    stop = asyncio.Event()

                    async def film():
                        while not stop.is_set():
                            await steers.send_bytes(jpeg(200))
                            await asyncio.sleep(0.05)

                    filming = asyncio.create_task(film())
                    shot = await asyncio.to_thread(
                        lambda: next(one for one in shots if isinstance(one, Shot))
                    )
                    stop.set()
                    await filming
                    assert abs(shot.pixels.astype(int) - 200).max() < 3 and shot.name.startswith("browser#")
                taken = camera.taken
                async with joined(own, "watch") as watches:
                    await watches.send_bytes(jpeg(10))
                    await asyncio.sleep(0.3)
                    assert camera.taken == taken
                async with joined(own, "steer") as floods:
                    await floods.send_bytes(bytes(MOST_BYTES + 1))
                    async for _message in floods:
                        pass
                    assert floods.close_code == 1009
            finally:
                stream_of(shots).close()

    asyncio.run(play())


def test_camera_is_asked_for_only_where_the_session_shows_it():
    async def policy(camera):
        async with served(camera) as (_, own), aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{own.port}/") as answer:
                return answer.headers["Permissions-Policy"]

    assert "camera=()" in asyncio.run(policy(None))
    with_camera = asyncio.run(policy(ViewerCamera()))
    assert "camera=(self)" in with_camera and "microphone=()" in with_camera


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_camera_of_chromium_sends_ten_pictures_a_second():
    playwright = pytest.importorskip("playwright.sync_api")
    camera_box, ready, loop = [], threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve():
        camera = ViewerCamera()
        async with served(camera) as (_, own):
            camera_box.extend((camera, own))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(20)
    camera, own = camera_box
    try:
        with playwright.sync_playwright() as driver:
            fakes = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *fakes])
            page = browser.new_page()
            errors = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
            page.goto(own.link("steer"))
            page.wait_for_selector("#camera:visible", timeout=15000)
            page.click("#camera")
            page.wait_for_function("() => document.querySelector('#camera').textContent.startsWith('Stop')")
            end = time.monotonic() + 20
            while camera.taken < 3:
                assert time.monotonic() < end
                page.wait_for_timeout(50)
            rates = []
            while len(rates) < 5 and max(rates, default=0.0) < 8.0:  # a machine may be busy for seconds
                began, first = time.monotonic(), camera.taken
                page.wait_for_timeout(3000)
                rates.append((camera.taken - first) / (time.monotonic() - began))
            print(", ".join(f"{rate:.1f}" for rate in rates), "pictures a second")
            assert 8.0 <= max(rates) <= 12.0  # one in 100 ms at most
            page.click("#camera")
            page.wait_for_timeout(500)
            still = camera.taken
            page.wait_for_timeout(500)
            assert camera.taken == still and camera.refused == 0
            assert errors == []
            browser.close()
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
