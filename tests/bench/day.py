"""A day of rover -> orbiter -> Earth with stores between passes: packets a second, in one process.

Twelve passes of ten minutes at 256 kbit/s, eight hours of station at 2 Mbit/s, 100-byte packets over the day, lifetime and
classes on; processor seconds, the best of three runs. The same number of packets through one plain hop is beside it.
"""

import argparse
import os
import time
from itertools import pairwise

from link.channel.channel import Channel
from link.events import Fate
from link.hops import Link
from link.packet import Kind, Packet

DAY_NS = 86_400 * 1_000_000_000


def day_link() -> Link:
    """Return the link: passes every two hours, a station for eight hours."""
    passes = [[at * 7200, at * 7200 + 600] for at in range(12)]
    return Link.model_validate(
        {
            "mtu_bytes": 128,
            "nodes": [{"name": "rover"}, {"name": "orbiter"}, {"name": "earth"}],
            "hops": [
                {"name": "up", "rate_bps": 256_000, "delay_s": 0.005, "contacts_s": passes},
                {
                    "name": "down",
                    "rate_bps": 2e6,
                    "delay_s": 635.24,
                    "contacts_s": [[0, 14_400], [72_000, 200_000]],
                },
            ],
            "lifetime_s": 172_800,
        }
    )


def plain_link() -> Link:
    """Return two plain hops."""
    hops = [
        {"name": "up", "rate_bps": 256_000, "delay_s": 0.005},
        {"name": "down", "rate_bps": 2e6, "delay_s": 635.24},
    ]
    return Link.model_validate({"mtu_bytes": 128, "hops": hops})


def run(link: Link, count: int) -> float:
    """Return processor seconds for *count* packets over a day."""
    channel = Channel(link, seed=1)
    packets = [Packet(Kind.DATA, 0, at, bytes(92), at % 4).pack(0) for at in range(1000)]
    arrived = 0
    gap = DAY_NS // count
    started = time.process_time()
    for number in range(count):
        now = number * gap
        arrived += len(channel.advance(now))
        channel.send(packets[number % 1000], now)
    while (when := channel.next_ns) is not None:
        arrived += len(channel.advance(when))
    seconds = time.process_time() - started
    ends = sum(row[2] >= Fate.QUEUE_FULL for row in channel.rows)
    assert arrived + ends == count and arrived > 0.8 * count, (arrived, ends)
    assert all(a <= b for a, b in pairwise(sorted(row[0] for row in channel.rows)))
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=100_000)
    count = parser.parse_args().packets
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    best = {"stores and passes": float("inf"), "two plain hops": float("inf")}
    for _ in range(3):
        best["stores and passes"] = min(best["stores and passes"], run(day_link(), count))
        best["two plain hops"] = min(best["two plain hops"], run(plain_link(), count))
    for name, seconds in best.items():
        print(f"{name:20}{seconds:8.2f} s for {count:,} packets, {seconds / count * 1e6:6.1f} us each")
    print(f"{best['stores and passes'] / best['two plain hops']:.1f} times as long")


if __name__ == "__main__":
    main()
