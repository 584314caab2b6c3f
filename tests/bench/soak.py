"""24 simulated hours at 10 packets a second over a lossy hop, journal on: seconds and peak memory."""

import resource
import tempfile
import time
from pathlib import Path

from link.channel.channel import Channel
from link.hops import Link
from link.journal import Journal

HOURS, RATE = 24, 10
S = 1_000_000_000


def main() -> None:
    """Print seconds and megabytes at each sixth of the run."""
    loss = {"model": "gilbert_elliott", "loss": 0.05, "mean_burst": 4}
    hop = {"name": "air", "rate_bps": 16_000, "delay_s": 635.0, "loss": loss}
    channel = Channel(Link.model_validate({"hops": [hop]}), seed=1)
    count = HOURS * 3600 * RATE
    data: list[bytes] = []
    arrived = 0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        with Journal(Path(folder) / "soak.mcap", {"scenario": {}}) as book:
            for number in range(count):
                now = number * S // RATE
                arrived += len(channel.advance(now))
                packet = number.to_bytes(8, "big") * 12
                data.append(packet)
                channel.send(packet, now)
                book.packets(channel.rows, data)
                if (number + 1) % (count // 6) == 0:
                    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                    print(
                        f"{now / S / 3600:5.1f} h   {time.perf_counter() - started:6.1f} s   {memory:6.1f} MB peak"
                    )
            while (when := channel.next_ns) is not None:
                arrived += len(channel.advance(when))
            book.packets(channel.rows, data)
        size = (Path(folder) / "soak.mcap").stat().st_size
    print(
        f"{count:,} packets, {arrived:,} arrived, journal {size / 1e6:.1f} MB, {time.perf_counter() - started:.1f} s in all"
    )


if __name__ == "__main__":
    main()
