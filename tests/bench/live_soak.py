"""`farlink live` for a long time: what grows, and how old ticks are, with two browsers of which one reloads each minute.

After a warm-up, in which rings fill, memory of page, link and receiver, descriptors, threads and the JavaScript heap
(after garbage was collected) are to stay as they are. Then five browsers at once: ticks a second of each.
"""

import argparse
import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

COMMAND = [sys.executable, "-P", "-c", "from scenarios.cli import main; main()"]
SETTINGS = (
    "--codec", "webp", "--source", "testcard", "--set", "analysis=[]", "--set", "camera.width=64",
    "--set", "camera.height=48", "--set", "camera.period_s=0.5", "--set", "codec.frame_bytes=400",
    "--set", "link.hops.0.rate_bps=40000", "--set", "link.hops.1.rate_bps=40000", "--set", "link.hops.1.delay_s=1",
    "--factor", "1",
)  # fmt: skip
COUNTING = """
  window.ticks = 0;
  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...given) { super(...given); this.addEventListener("message", () => { window.ticks += 1; }); }
  };
"""


@dataclass
class Soak:
    """What a soak came to; growth is from the end of the warm-up to the end."""

    growth_mb: dict[str, float] = field(default_factory=dict)
    """Of resident memory, by process; `heap` is a browser's."""
    descriptors: dict[str, int] = field(default_factory=dict)
    """More, or fewer, than before."""
    threads: dict[str, int] = field(default_factory=dict)
    age_p99_s: float = 0.0
    """Of ticks when a viewer has them, over the quickest."""
    ticks: float = 0.0
    """In a second."""
    reloads: int = 0
    errors: list[str] = field(default_factory=list)
    """What consoles said."""
    page_mb: float = 0.0
    course_mb: list[int] = field(default_factory=list)
    """The page's memory, at each reload."""
    page_percent: float = 0.0
    """Of a core."""
    five: list[float] = field(default_factory=list)
    """Ticks a second of each of five browsers."""


class Gauge(threading.Thread):
    """A viewer without a browser, which notes how old ticks are."""

    def __init__(self, link: str) -> None:
        super().__init__(daemon=True)
        self._link = link
        self.ages: list[float] = []
        self.stopped = False

    def run(self) -> None:
        """Listen until stopped."""
        asyncio.run(self._listen())

    async def _listen(self) -> None:
        base = self._link.partition("/?")[0]
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
            async with client.get(self._link) as answer:
                answer.raise_for_status()
            async with client.ws_connect(f"{base}/live", headers={"Origin": base}) as channel:
                async for message in channel:
                    length = int.from_bytes(message.data[:4], "little")
                    told = json.loads(message.data[4 : 4 + length])
                    if told["type"] in ("state", "tick"):
                        self.ages.append(time.monotonic() - told["clock"]["wall_s"])
                        await channel.send_str(json.dumps({"do": "ack", "seq": told["seq"]}))
                    if self.stopped:
                        return


def find(page: psutil.Process) -> dict[str, psutil.Process]:
    """Return the processes of a session by name."""
    found = {"page": page}
    for child in page.children(recursive=True):
        for name in ("link", "receiver"):
            if child.cmdline()[2:4] == ["-m", name]:
                found[name] = child
    return found


def enter(browser: Browser, link: str, errors: list[str]) -> Page:
    """Open *link* in a window of its own."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script(COUNTING)
    page.goto(link)
    page.wait_for_function("() => document.querySelector('#facts').textContent !== ''")
    return page


def heap_mb(page: Page) -> float:
    """Return the page's JavaScript heap once its garbage is collected."""
    channel = page.context.new_cdp_session(page)
    channel.send("HeapProfiler.collectGarbage")
    used: float = channel.send("Runtime.getHeapUsage")["usedSize"]
    channel.detach()
    return used / 1e6


def sample(processes: dict[str, psutil.Process], page: Page) -> dict[str, dict[str, Any]]:
    """Return memory, descriptors and threads as they are."""
    return {
        "mb": {name: one.memory_info().rss / 1e6 for name, one in processes.items()}
        | {"heap": heap_mb(page)},
        "fds": {name: one.num_fds() for name, one in processes.items()},
        "threads": {name: one.num_threads() for name, one in processes.items()},
    }


def soak(seconds: float, warm_s: float, reload_s: float, five_s: float = 0.0) -> Soak:
    """Run a session for *warm_s* and then *seconds*; one of two browsers reloads every *reload_s*."""
    made = Soak()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        child = subprocess.Popen(
            [*COMMAND, "live", "mars-relay", *SETTINGS, "--no-open", "--json", "--bind", "127.0.0.1:0",
             "--out", str(Path(folder) / "run")],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            assert child.stdout is not None
            text = ""
            while not text.rstrip().endswith("}\n}") and (line := child.stdout.readline()):
                text += line
            link = json.loads(text)["links"]["steer"]
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            stays, comes = (enter(browser, link, made.errors) for _ in range(2))
            gauge = Gauge(link)
            gauge.start()
            for _ in range(3):  # the first reloads are part of the warm-up
                stays.wait_for_timeout(1000 * warm_s / 3)
                comes.reload()
            processes = find(psutil.Process(child.pid))
            before, skip = sample(processes, stays), len(gauge.ages)
            began, spent = time.monotonic(), sum(processes["page"].cpu_times()[:2])
            while (left := began + seconds - time.monotonic()) > 0:
                stays.wait_for_timeout(1000 * min(left, reload_s))
                comes.reload()
                made.reloads += 1
                made.course_mb.append(round(processes["page"].memory_info().rss / 1e6))
            comes.wait_for_function("() => document.querySelector('#facts').textContent !== ''")
            took = time.monotonic() - began
            made.page_percent = 100 * (sum(processes["page"].cpu_times()[:2]) - spent) / took
            after = sample(processes, stays)
            gauge.stopped = True
            made.growth_mb = {name: after["mb"][name] - before["mb"][name] for name in after["mb"]}
            made.descriptors = {name: after["fds"][name] - before["fds"][name] for name in after["fds"]}
            made.threads = {
                name: after["threads"][name] - before["threads"][name] for name in after["threads"]
            }
            made.page_mb = after["mb"]["page"]
            ages = sorted(gauge.ages[skip:])
            made.age_p99_s = ages[int(0.99 * len(ages))] - ages[0]
            made.ticks = len(ages) / took
            if five_s:
                pages = [stays, comes, *(enter(browser, link, made.errors) for _ in range(3))]
                counts = [page.evaluate("window.ticks") for page in pages]
                began = time.monotonic()
                stays.wait_for_timeout(1000 * five_s)
                took = time.monotonic() - began
                made.five = [
                    (page.evaluate("window.ticks") - count) / took
                    for page, count in zip(pages, counts, strict=True)
                ]
            browser.close()
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(60)
    return made


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, default=150.0, metavar="SECONDS")
    parser.add_argument("--five", type=float, default=20.0, metavar="SECONDS", help="with five browsers")
    options = parser.parse_args()
    made = soak(60.0 * options.minutes, options.warm_up, 60.0 if options.minutes > 5 else 15.0, options.five)
    for name, value in vars(made).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
