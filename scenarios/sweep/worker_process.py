"""A worker's process, started by `scenarios.sweep.workers`: jobs on standard input, outcomes on standard output."""

import json
import os
import queue
import threading
import time

from link.memory import keep_blocks
from link.stdin import take_stdin
from scenarios.sweep.cells import Job, Outcome, attempt


def clock() -> float:
    """Return seconds that only differences mean anything of."""
    return time.perf_counter()


def timed(job: Job) -> Outcome:
    """Run the cell of *job*, measured by this process's clock: what workers everywhere run."""
    return attempt(job, time.perf_counter)


def main() -> None:
    """Run one job after the other until standard input closes."""
    keep_blocks()
    # What libraries print must not come between the outcomes.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    orders = take_stdin()
    jobs: queue.Queue[bytes] = queue.Queue()

    def listen() -> None:
        for line in orders or ():
            jobs.put(line)
        os._exit(0)  # the sweep is over, or its process is gone: so is the cell at hand

    threading.Thread(target=listen, daemon=True).start()
    while True:
        outcome = timed(json.loads(jobs.get()))
        out.write(json.dumps(outcome).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
