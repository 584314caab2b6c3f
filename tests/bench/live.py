"""`farlink live` with its decoder at full load and several viewers: ticks, the way from slider to echo, and what the page costs.

The page's process stands beside the decoder's and the rival's: shares of a core in the same minute, and memory. The
page is to take under 3 % of a core and 100 MB with five viewers.
"""

import argparse
import asyncio
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import psutil

COMMAND = [sys.executable, "-P", "-c", "from scenarios.cli import main; main()"]
SETTINGS = (
    "camera.period_s=1",
    "link.hops.1.delay_s=2",
    "link.hops.0.rate_bps=20000",
    "link.hops.1.rate_bps=20000",
)


class Gauge:
    """One viewer: when ticks came, how old they were, and when an echo did."""

    def __init__(self) -> None:
        self.ticks: list[float] = []
        self.echoes: dict[int, float] = {}
        self.drawn: set[int] = set()

    async def watch(self, channel: aiohttp.ClientWebSocketResponse) -> None:
        async for message in channel:
            length = int.from_bytes(message.data[:4], "little")
            told = json.loads(message.data[4 : 4 + length])
            if told["type"] == "echo":
                self.echoes[told["id"]] = time.perf_counter()
            elif told["type"] in ("state", "tick"):
                self.ticks.append(time.perf_counter())
                await channel.send_str(json.dumps({"do": "ack", "seq": told["seq"]}))
                self.drawn |= {frame["frame"] for frame in told.get("frames", []) if frame["drawn_ns"]}


def share(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def find(page: psutil.Process, word: str) -> psutil.Process | None:
    """Return the page's child whose module has *word* in its name."""
    named = (
        child for child in page.children(recursive=True) if any(word in part for part in child.cmdline()[2:5])
    )
    return next(named, None)


async def measure(
    links: dict[str, str], page: psutil.Process, viewers: int, seconds: float
) -> dict[str, Any]:
    base = links["steer"].partition("/?")[0]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        async with client.get(links["steer"]) as answer:
            answer.raise_for_status()
        gauges = [Gauge() for _ in range(viewers)]
        channels = [await client.ws_connect(f"{base}/live", headers={"Origin": base}) for _ in gauges]
        tasks = [
            asyncio.create_task(gauge.watch(channel)) for gauge, channel in zip(gauges, channels, strict=True)
        ]
        while not gauges[0].drawn:
            await asyncio.sleep(0.2)
        first = [len(gauge.ticks) for gauge in gauges]
        drawn = len(gauges[0].drawn)
        others = {
            name: find(page, word) for name, word in (("decoder", "receiver.child"), ("rival", "rival"))
        }
        watched = {"page": page, **{name: one for name, one in others.items() if one is not None}}
        started = time.perf_counter()
        spent = {name: sum(one.cpu_times()[:2]) for name, one in watched.items()}
        asked: dict[int, float] = {}
        while (now := time.perf_counter()) < started + seconds:
            number = len(asked) + 1
            asked[number] = now
            change = {"do": "change", "paths": {"link.hops.0.rate_bps": 20000.0 + number}, "id": number}
            await channels[0].send_str(json.dumps(change))
            await asyncio.sleep(0.5)
        took = time.perf_counter() - started
        used = {name: sum(one.cpu_times()[:2]) - spent[name] for name, one in watched.items()}
        for task in tasks:
            task.cancel()
    echoes = [gauges[0].echoes[number] - at for number, at in asked.items() if number in gauges[0].echoes]
    gaps = [
        after - before
        for gauge, skip in zip(gauges, first, strict=True)
        for before, after in zip(gauge.ticks[skip:], gauge.ticks[skip + 1 :], strict=False)
    ]
    ticks = statistics.mean(
        (len(gauge.ticks) - skip) / took for gauge, skip in zip(gauges, first, strict=True)
    )
    return {
        "echo p50 ms": 1e3 * share(echoes, 0.5), "echo p95 ms": 1e3 * share(echoes, 0.95),
        "ticks/s": ticks, "gap p99 ms": 1e3 * share(gaps, 0.99), "gap max ms": 1e3 * max(gaps),
        **{f"{name} % of a core": 100 * seconds / took for name, seconds in used.items()},
        **{f"{name} MB": one.memory_info().rss / 1e6 for name, one in watched.items()},
        "pictures/s": (len(gauges[0].drawn) - drawn) / took,
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    for codec in ("gsc", "webp"):
        with tempfile.TemporaryDirectory() as folder:
            arguments = [item for setting in SETTINGS for item in ("--set", setting)]
            child = subprocess.Popen(
                [*COMMAND, "live", "mars-relay", "--codec", codec, *arguments, "--no-open", "--json",
                 "--bind", "127.0.0.1:0", "--factor", "1", "--out", str(Path(folder) / "run")],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            assert child.stdout is not None
            text = ""
            while not text.rstrip().endswith("}\n}") and (line := child.stdout.readline()):
                text += line
            try:
                page = psutil.Process(child.pid)
                found = asyncio.run(
                    measure(json.loads(text)["links"], page, options.viewers, options.seconds)
                )
            finally:
                child.send_signal(signal.SIGINT)
                child.wait(60)
        print(
            f"{codec}, {options.viewers} viewers: "
            + ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        )


if __name__ == "__main__":
    main()
