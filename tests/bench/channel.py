"""Packets a second through generator -> rate -> delay -> sink: farlink's channel core beside ns.py and SimPy.

100-byte packets, 1 Mbit/s, 0.25 s, 80 % load, virtual time, one core; processor seconds, the best of three runs each.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import simpy
from ns.packet.dist_generator import DistPacketGenerator
from ns.packet.sink import PacketSink
from ns.port.port import Port
from ns.port.wire import Wire

from link.channel.channel import Channel
from link.hops import Link
from link.journal import Journal

GAP_NS = 1_000_000
SIZE = 100


def ns_py(count: int) -> float:
    """Return seconds for *count* packets through ns.py's own elements."""
    env = simpy.Environment()
    source = DistPacketGenerator(env, "flow", lambda: GAP_NS / 1e9, lambda: SIZE, finish=count * GAP_NS / 1e9)
    port, wire, sink = Port(env, 1e6), Wire(env, lambda: 0.25), PacketSink(env)
    source.out, port.out, wire.out = port, wire, sink
    started = time.process_time()
    env.run()
    seconds = time.process_time() - started
    assert sum(sink.packets_received.values()) >= count - 1
    return seconds


def bare_simpy(count: int) -> float:
    """Return seconds for *count* timeouts of one process."""
    env = simpy.Environment()

    def ticks():
        for _ in range(count):
            yield env.timeout(1)

    env.process(ticks())
    started = time.process_time()
    env.run()
    return time.process_time() - started


def farlink(count: int, loss: bool = False, journal: Path | None = None) -> float:
    """Return seconds for *count* packets through farlink's channel; its generator is a SimPy process too."""
    hop = {"name": "air", "rate_bps": 1e6, "delay_s": 0.25}
    if loss:
        hop["loss"] = {"model": "gilbert_elliott", "loss": 0.01, "mean_burst": 3}
    channel = Channel(Link.model_validate({"hops": [hop], "mtu_bytes": 1500}), seed=1)
    env: Any = channel._env
    packet = bytes(SIZE)
    book = Journal(journal, {"scenario": {}}) if journal is not None else None
    data: list[bytes] = []

    def source():
        for number in range(count):
            yield env.timeout(GAP_NS)
            channel.send(packet, env.now)
            if book is not None:
                data.append(packet)
            if number % 1024 == 0:
                drain()

    def drain():
        if book is not None:
            book.packets(channel.rows, data)
        else:
            channel.rows.clear()

    env.process(source())
    arrived = 0
    started = time.process_time()
    while (when := channel.next_ns) is not None:
        arrived += len(channel.advance(when + 100 * GAP_NS))
    drain()
    if book is not None:
        book.close()
    seconds = time.process_time() - started
    assert 0.97 * count < arrived <= count
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=200_000)
    count = parser.parse_args().packets
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.mcap"
        rows: dict[str, Callable[[], float]] = {
            "bare SimPy, one timeout each": lambda: bare_simpy(count),
            "ns.py": lambda: ns_py(count),
            "farlink, loss and journal off": lambda: farlink(count),
            "farlink, loss on": lambda: farlink(count, loss=True),
            "farlink, loss and journal on": lambda: farlink(count, loss=True, journal=path),
        }
        best = {name: float("inf") for name in rows}
        for _ in range(3):
            for name, run in rows.items():
                best[name] = min(best[name], run())
    for name, seconds in best.items():
        print(f"{name:32}{count / seconds:>12,.0f} a second   {best['ns.py'] / seconds:6.2f} times ns.py")


if __name__ == "__main__":
    main()
