"""The shipped models on this machine: milliseconds to encode and to draw a frame, and peak memory of each end.

Goals on two CPU cores: encode at most 60 ms, draw (8 steps) at most 400 ms, entropy coding under 2 ms, 1.5 GB.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from link.config import Session
from link.frame import Frame, Pixels
from link.memory import keep_blocks
from sender.camera.testcard import TestCard

WIDTH, HEIGHT = 256, 192
TURNS = 12


def session(steps: int) -> Session:
    """Return the default codec on one lossless hop."""
    return Session.model_validate(
        {
            "name": "bench",
            "camera": {"width": WIDTH, "height": HEIGHT},
            "codec": {"name": "gsc", "frame_bytes": 100_000, "steps": steps},
            "link": {"hops": [{"name": "hop", "rate_bps": 1e6}]},
        }
    )


def median_ms(work: Callable[[], object]) -> float:
    """Return the median time of some turns, after one that is not counted."""
    work()
    times = []
    for _ in range(TURNS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


def pictures(source: str | None) -> Pixels:
    """Return the picture *source* at the frame's size, else a test card."""
    if source is None:
        return TestCard(WIDTH, HEIGHT, 1).frame(0)
    with Image.open(source) as file:
        return np.asarray(file.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def play(role: str, source: str | None, steps: int) -> None:
    """Measure one end in this process; print its lines."""
    keep_blocks()
    plan, frame = session(steps), Frame(0, 0, pictures(source), "bench")
    started = time.perf_counter()
    if role == "sender":
        from sender.codecs import ENCODERS

        encoder = ENCODERS["gsc"](plan)
        loaded = time.perf_counter() - started
        work: Callable[[], object] = lambda: encoder.encode(frame)  # noqa: E731
        goal = 60.0
    else:
        from receiver.codecs import DECODERS

        decoder = DECODERS["gsc"](plan)
        loaded = time.perf_counter() - started
        from link.frame import Payload

        payload = Payload(tuple(bytes.fromhex(part) for part in sys.stdin.read().split(",")))
        work = lambda: decoder.decode(payload)  # noqa: E731
        goal = 400.0
    spent = median_ms(work)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{role:10}{spent:8.1f} ms a frame ({spent / goal:.2f} of the goal), {loaded:5.1f} s to load, "
        f"{peak_gb:.2f} GB at most",
        file=sys.stderr,
    )
    if role == "sender":
        sections = encoder.encode(frame).sections
        print(",".join(section.hex() for section in sections if section is not None))


def main() -> None:
    """Run both ends, each in a process of its own, and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", help="a picture; default: a test card")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--role", choices=("sender", "receiver"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role is not None:
        play(given.role, given.source, given.steps)
        return
    print(f"{os.cpu_count()} cores, {given.steps} steps", file=sys.stderr)
    command = [sys.executable, str(Path(__file__)), *sys.argv[1:]]
    sent = subprocess.run([*command, "--role", "sender"], stdout=subprocess.PIPE, text=True, check=True)
    subprocess.run([*command, "--role", "receiver"], input=sent.stdout.strip(), text=True, check=True)


if __name__ == "__main__":
    main()
