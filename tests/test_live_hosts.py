"""Three hosts, each in a network namespace of its own, with CURVE keys: sender, link with its page, receiver.

sender 10.77.1.2 ---- 10.77.1.1 link, page 10.77.2.1 ---- 10.77.2.2 receiver
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from launched import COMMAND, read_links

from link import journal

VIEWER = """
import asyncio, json, sys
import aiohttp

async def main(link):
    base = link.partition("/?")[0]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        async with client.get(link) as answer:
            answer.raise_for_status()
        channel = await client.ws_connect(f"{base}/live", headers={"Origin": base})
        drawn, asked, ends = set(), False, {}
        async for message in channel:
            length = int.from_bytes(message.data[:4], "little")
            told = json.loads(message.data[4 : 4 + length])
            if told["type"] == "echo":
                print(json.dumps({"refused": told["refused"], "drawn": sorted(drawn), "ends": ends}))
                return
            if told["type"] in ("state", "tick"):
                await channel.send_str(json.dumps({"do": "ack", "seq": told["seq"]}))
                ends = told.get("ends", ends)
                drawn |= {frame["frame"] for frame in told.get("frames", []) if frame["drawn_ns"]}
                if len(drawn) >= 3 and not asked:
                    asked = True
                    change = {"do": "change", "paths": {"link.hops.0.rate_bps": 9000.0}, "id": 1}
                    await channel.send_str(json.dumps(change))

asyncio.run(asyncio.wait_for(main(sys.argv[1]), 60))
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts():
    """Return the names of three namespaces: link, sender, receiver."""
    if shutil.which("ip") is None:
        pytest.skip("needs ip (iproute2)")
    names = {role: f"farlink-{role}-{os.getpid()}" for role in ("link", "sender", "receiver")}
    with contextlib.ExitStack() as stack:
        try:
            for name in names.values():
                ip("netns", "add", name)
                stack.callback(ip, "netns", "del", name)
                ip("-n", name, "link", "set", "lo", "up")
            for number, role in enumerate(("sender", "receiver"), 1):
                near, far = f"fl{os.getpid() % 100000}a{number}", f"fl{os.getpid() % 100000}b{number}"
                ip(
                    "link",
                    "add",
                    near,
                    "netns",
                    names["link"],
                    "type",
                    "veth",
                    "peer",
                    "name",
                    far,
                    "netns",
                    names[role],
                )
                for name, end, last in ((names["link"], near, 1), (names[role], far, 2)):
                    ip("-n", name, "addr", "add", f"10.77.{number}.{last}/24", "dev", end)
                    ip("-n", name, "link", "set", end, "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"namespaces may not be made here: {error.stderr.strip()}")
        yield names


def start(name: str, *words: str, **how) -> subprocess.Popen:
    return subprocess.Popen(["ip", "netns", "exec", name, *COMMAND, *words], text=True, **how)


@pytest.mark.exhaustive
def test_three_hosts_meet_by_their_keys_and_the_page_steers(hosts, tmp_path):
    keys, out = tmp_path / "keys", tmp_path / "run"
    subprocess.run([*COMMAND, "keys", str(keys)], check=True, capture_output=True)
    peer = tmp_path / "peer"
    peer.mkdir()
    for file in ("link.key", "peer.key", "peer.key_secret"):  # the link's secret stays with it
        shutil.copy(keys / file, peer / file)
    settings = [
        "--codec", "webp", "--set", "analysis=[]", "--set", "camera.width=64", "--set", "camera.height=48",
        "--set", "camera.period_s=0.5", "--set", "link.hops.1.delay_s=0.5", "--set", "codec.frame_bytes=400",
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with contextlib.ExitStack() as stack:
        link = start(
            hosts["link"], "link", "mars-relay", *settings, "--bind", "tcp://0.0.0.0:5555", "--curve", str(keys),
            "--realtime", "1", "--out", str(out), **quiet,
        )  # fmt: skip
        page = start(
            hosts["link"], "live", "--connect", "tcp://10.77.1.1:5555", "--curve", str(peer), "--no-open", "--json",
            "--bind", "127.0.0.1:0", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        ends = [
            start(
                hosts["sender"], "send", "--connect", "tcp://10.77.1.1:5555", "--curve", str(peer),
                "--source", "testcard", **quiet,
            ),
            start(
                hosts["receiver"], "receive", "--connect", "tcp://10.77.2.1:5555", "--curve", str(peer), **quiet
            ),
        ]  # fmt: skip
        for child in (link, page, *ends):
            stack.callback(child.wait)
            stack.callback(child.kill)
        steer = read_links(page)["steer"]
        viewer = subprocess.run(
            ["ip", "netns", "exec", hosts["link"], sys.executable, "-c", VIEWER, steer],
            capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        assert viewer.returncode == 0, viewer.stderr
        told = json.loads(viewer.stdout)
        assert told["refused"] is None and len(told["drawn"]) >= 3
        page.send_signal(signal.SIGINT)
        assert page.wait(30) == 0
        link.send_signal(signal.SIGINT)
        _, said = link.communicate(timeout=60)
        assert link.returncode == 130, said
    run = journal.read(out / "run.mcap")
    changed = [event for event in run.events if event["kind"] == "changed"]
    assert [event["paths"] for event in changed] == [{"link.hops.0.rate_bps": [2000.0, 9000.0]}]
    assert "viewer 127.0.0.1" in changed[0]["by"]
