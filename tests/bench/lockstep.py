"""`mars-relay` in three processes over ZeroMQ beside one process: seconds, their ratio, and the same journal."""

import argparse
import tempfile
import time
from pathlib import Path

from link.journal import digest
from scenarios import run as runs
from scenarios import schema


def main() -> None:
    """Print the table: the best of three runs each, start of the processes included."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="testcard")
    source = parser.parse_args().source
    plan = schema.load("mars-relay", [], {"camera.source": source, "codec.name": "jpeg2000"})
    best: dict[str, float] = {}
    digests = set()
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(3):
            for transport in ("inproc", "zmq"):
                out = runs.prepare(Path(folder) / f"{transport}{turn}", plan)
                started = time.perf_counter()
                error = runs.execute(plan, out, transport=transport)  # type: ignore[arg-type]
                seconds = time.perf_counter() - started
                assert error is None, error
                best[transport] = min(best.get(transport, float("inf")), seconds)
                digests.add(digest(out / "run.mcap"))
    assert len(digests) == 1, "the journals differ"
    for transport, seconds in best.items():
        print(f"{transport:8}{seconds:8.2f} s   {seconds / best['inproc']:5.2f} times one process")


if __name__ == "__main__":
    main()
