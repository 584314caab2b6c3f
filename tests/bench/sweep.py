"""A small sweep: from a cold cache, with payloads and pictures known, with whole cells known; on 1 worker and on 2.

Goal: a warm cache is at least 30 times faster than a cold one. Two workers are at most twice as fast as one; how much of
that remains on two cores depends on what else they do.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from scenarios.sweep import work
from scenarios.sweep.plan import Request


def request(frames: int, seeds: int, gsc: bool) -> Request:
    """Return codecs x rates x seeds on the test card."""
    names = ["webp", "jpeg2000", "avif", *(["gsc"] if gsc else [])]
    settings = (
        "camera.source=testcard",
        "codec.frame_bytes=null",
        "link.repair.arq=false",
        "link.repair.fec=0",
    )
    vary: dict[str, list[Any]] = {"codec.name": names, "link.rate_bps": [80, 160, 320, 640]}
    return Request("mars-relay", settings, vary, None, None, frames, tuple(range(1, seeds + 1)))


def timed(asked: Request, options: work.Options, out: Path) -> float:
    """Return the seconds of a sweep, all of whose cells must come to an end."""
    started = time.perf_counter()
    result = work.sweep(asked, options, out)
    assert result.error is None and not result.failures, result.failures
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--gsc", action="store_true", help="with the neural codec")
    options = parser.parse_args()
    asked = request(options.frames, options.seeds, options.gsc)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = []
        for workers in (1, 2):
            os.environ["FARLINK_CACHE"] = str(folder / f"cache{workers}")
            cold = timed(asked, work.Options(workers=workers), folder / f"cold{workers}")
            parts = timed(asked, work.Options(workers=workers, fresh=True), folder / f"parts{workers}")
            warm = timed(asked, work.Options(workers=workers), folder / f"warm{workers}")
            rows.append((workers, cold, parts, warm))
        print("workers   cold s   parts known s   cells known s   cold : cells known")
        for workers, cold, parts, warm in rows:
            print(f"{workers:7}{cold:9.1f}{parts:16.1f}{warm:16.2f}{cold / warm:21.0f}")
        print(f"1 worker : 2 workers, cold   {rows[0][1] / rows[1][1]:.2f}")


if __name__ == "__main__":
    main()
