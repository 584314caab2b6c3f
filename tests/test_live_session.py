"""`farlink live` from end to end: three processes, a page's server, a viewer that steers, and the same session again."""

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from launched import COMMAND, read_links

from link import journal
from link.events import Fate

SMALL = [
    "--codec", "webp", "--source", "testcard", "--set", "analysis=[]", "--set", "camera.width=64",
    "--set", "camera.height=48", "--set", "camera.period_s=0.5", "--set", "codec.frame_bytes=400",
    "--set", "link.hops.1.delay_s=1", "--factor", "2",
]  # fmt: skip


class Viewer:
    """A page without a browser."""

    def __init__(self, channel: aiohttp.ClientWebSocketResponse) -> None:
        self._channel = channel
        self.state: dict[str, Any] = {}
        self.ticks: list[dict[str, Any]] = []
        self.echoes: dict[int, str | None] = {}
        self.frames: dict[int, dict[str, Any]] = {}
        self.values: dict[str, Any] = {}

    async def hear(self) -> AsyncIterator[dict[str, Any]]:
        async for message in self._channel:
            length = int.from_bytes(message.data[:4], "little")
            told = json.loads(message.data[4 : 4 + length])
            if told["type"] == "echo":
                self.echoes[told["id"]] = told["refused"]
            elif told["type"] in ("state", "tick"):
                await self.say(do="ack", seq=told["seq"])
                self.frames |= {frame["frame"]: frame for frame in told.get("frames", [])}
                self.values |= told.get("values", {})
                if told["type"] == "state":
                    self.state = told
                else:
                    self.ticks.append(told)
            yield told

    async def until(self, what: Any, seconds: float = 60.0) -> None:
        """Listen until *what*() is true."""

        async def listen() -> None:
            async for _ in self.hear():
                if what():
                    return

        await asyncio.wait_for(listen(), seconds)

    async def say(self, **wish: Any) -> None:
        await self._channel.send_str(json.dumps(wish))


@pytest.fixture
def session(tmp_path):
    out = tmp_path / "run"
    child = subprocess.Popen(
        [*COMMAND, "live", "mars-relay", *SMALL, "--no-open", "--json", "--bind", "127.0.0.1:0", "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield read_links(child), child, out
    if child.poll() is None:
        child.kill()
    child.communicate(timeout=30)


async def enter(client: aiohttp.ClientSession, link: str) -> Viewer:
    """Open the page's link, as a browser does, and then its websocket."""
    base = link.partition("/?")[0]
    async with client.get(link) as answer:
        assert answer.status == 200
    return Viewer(await client.ws_connect(f"{base}/live", headers={"Origin": base}))


def sent_ns(run: journal.Run, since_ns: int) -> Any:
    rows = run.rows[(run.rows[:, 2] == Fate.CROSSED) & (run.rows[:, 3] == 0)]
    return rows[rows[:, 0] - rows[:, 5] > since_ns]


@pytest.mark.slow
def test_a_session_is_watched_steered_and_had_again(session, tmp_path):
    links, child, out = session
    asyncio.run(_steer(links))
    started = time.monotonic()
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
    assert time.monotonic() - started < 30
    run = journal.read(out / "run.mcap")
    assert run.complete and run.events[-1]["stopped"] is True
    changed = [event for event in run.events if event["kind"] == "changed"]
    assert [list(event["paths"]) for event in changed] == [["link.hops.0.rate_bps"]]
    old, new = changed[0]["paths"]["link.hops.0.rate_bps"]
    assert new == old / 2
    slow = sent_ns(run, changed[0]["time_ns"])
    sizes = {int(row[1]): len(run.data[int(row[1])]) for row in slow}
    assert len(slow) > 2
    for row in slow:
        assert row[5] == pytest.approx(sizes[int(row[1])] * 8e9 / new, abs=2)
    again = subprocess.run(
        [*COMMAND, "run", "--again", str(out), "--out", str(tmp_path / "again"), "--json"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["records"] > 50
    assert (tmp_path / "again" / "run.mcap").read_bytes() == (out / "run.mcap").read_bytes()


async def _steer(links: dict[str, str]) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as one:
        steering = await enter(one, links["steer"])
        await steering.until(lambda: any(frame["status"] == "complete" for frame in steering.frames.values()))
        assert steering.state["may_steer"] is True and steering.state["mode"] == "live"
        rate = {item["path"]: item for item in steering.state["controls"]}["link.hops.0.rate_bps"]
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as two:
            watching = await enter(two, links["watch"])
            await watching.until(lambda: watching.state)
            assert watching.state["may_steer"] is False
            await watching.say(do="change", paths={"link.hops.0.rate_bps": 1.0}, id=1)
            await watching.until(lambda: 1 in watching.echoes)
            assert watching.echoes[1]
            await steering.say(do="change", paths={"link.hops.0.rate_bps": rate["value"] / 2}, id=1)
            await steering.say(do="change", paths={"link.hops.0.rate_bps": -5.0, "codec.steps": 3}, id=2)
            await steering.until(lambda: {1, 2} <= set(steering.echoes))
            assert steering.echoes[1] is None
            assert "greater than or equal to 0.001" in str(steering.echoes[2])
            await watching.until(
                lambda: watching.values.get("link.hops.0.rate_bps") == rate["value"] / 2, 5.0
            )
        await steering.say(do="pace", turn="pause", id=3)
        await steering.until(lambda: 3 in steering.echoes)
        before = len(steering.ticks)
        await steering.until(lambda: len(steering.ticks) > before + 8 and "clock" in steering.ticks[-1])
        clocks = [tick["clock"]["run_ns"] for tick in steering.ticks[before + 2 :] if "clock" in tick]
        assert len(set(clocks)) <= 1
        await steering.say(do="pace", turn="resume", id=4)
        shown = len([frame for frame in steering.frames.values() if frame["status"] == "complete"])
        await steering.until(
            lambda: sum(frame["status"] == "complete" for frame in steering.frames.values()) > shown + 3
        )


def test_a_live_session_that_cannot_begin_says_why(tmp_path):
    for arguments, words in (
        (["nowhere"], "no preset is called"),
        (["mars-relay", "--source", str(Path("/no/such/film.mp4"))], "no such file or folder"),
        (["--connect", "tcp://192.0.2.1:5555"], "--curve"),
        (["mars-relay", "--bind", "0.0.0.0:0"], "ssh -L"),
    ):
        done = subprocess.run(
            [*COMMAND, "live", *arguments, "--no-open", "--out", str(tmp_path / "x")]
            if "--connect" not in arguments
            else [*COMMAND, "live", *arguments, "--no-open"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert words in done.stderr and "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
