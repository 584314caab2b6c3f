"""Workers on this machine: processes of their own, one cell at a time, told and telling in lines of JSON.

A worker ends when its standard input closes, in the middle of a cell too, so a parent that is killed leaves none
behind. One that dies is replaced; the cell that it had is told of.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from link.codecs import SYNTAXES
from link.config import Session
from scenarios.sweep.cells import Job, Outcome
from scenarios.sweep.worker_process import timed

_GRACE_S = 2.0


@dataclass(frozen=True)
class Gpus:
    """The GPUs of this machine that a sweep's models run on."""

    count: int = 0
    visible: tuple[str, ...] = ()
    """What one worker after the other is to see of them, as CUDA_VISIBLE_DEVICES; empty where scenarios number them."""


def gpus_used(sessions: Iterable[Session]) -> Gpus:
    """Return the GPUs on which the models of *sessions* run here. Raise UsageError for a device that is not there."""
    named = {
        item.profile.device
        for item in sessions
        if item.analysis or SYNTAXES[item.codec.name].facts.neural  # these alone run models
    } - {"cpu"}
    if not named:
        return Gpus()
    import torch

    from link.device import pick_device

    picked = {device for device in map(pick_device, sorted(named)) if device.type == "cuda"}
    numbered = {device.index for device in picked if device.index is not None}
    if numbered:
        return Gpus(len({*numbered, *(0 for device in picked if device.index is None)}))
    if not picked:
        return Gpus()
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(torch.cuda.device_count())) if told is None else map(str.strip, told.split(","))
    visible = tuple(names)[: torch.cuda.device_count()]
    return Gpus(len(visible), visible)


def how_many(asked: int | None, cells: int, gpus: Gpus) -> int:
    """Return how many workers carry out *cells*: as many as *asked* for, else one a GPU, else one a core.

    A worker on a GPU keeps the models of its cells there: 40 GB at full size.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(asked or gpus.count or cores, cells))


class Local:
    """*slots* processes on this machine; what they say on stderr goes into *work*/worker-N.log.

    Each process sees one of *visible* GPUs alone, in turn; without them what this one sees.
    """

    def __init__(self, slots: int, work: Path, visible: Sequence[str] = ()) -> None:
        self.slots, self._work, self._visible = slots, work, visible
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._rest: dict[int, bytes] = {}
        self._busy: set[int] = set()

    def _log(self, slot: int) -> Path:
        return self._work / f"worker-{slot}.log"

    def _begin(self, slot: int) -> "subprocess.Popen[bytes]":
        with self._log(slot).open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "scenarios.sweep.worker_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is the parent's to handle
                env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **self._sees(slot)},
            )
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        self._children[slot], self._rest[slot] = child, b""
        return child

    def _sees(self, slot: int) -> dict[str, str]:
        seen = self._visible
        return {"CUDA_VISIBLE_DEVICES": seen[slot % len(seen)]} if seen else {}

    def start(self, slot: int, job: Job) -> None:
        """Have worker *slot* run *job*."""
        child = self._children.get(slot)
        if child is not None and child.poll() is not None:  # it died while it had nothing to do
            self._end(child)
            child = None
        if child is None:
            child = self._begin(slot)
        self._busy.add(slot)
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `wait` will find that it is dead
            child.stdin.write(json.dumps(job).encode() + b"\n")
            child.stdin.flush()

    def wait(self) -> list[tuple[int, Outcome]]:
        """Return what became of the jobs that ended, when at least one has."""
        outcomes: list[tuple[int, Outcome]] = []
        with selectors.DefaultSelector() as selector:
            for slot in self._busy:
                stdout = self._children[slot].stdout
                assert stdout is not None
                selector.register(stdout, selectors.EVENT_READ, slot)
            while not outcomes:
                for key, _events in selector.select():
                    slot = key.data
                    block = self._children[slot].stdout.read()  # type: ignore[union-attr]
                    if block == b"":
                        selector.unregister(key.fileobj)
                        outcomes.append((slot, {"died": self._autopsy(slot)}))
                        continue
                    *lines, self._rest[slot] = (self._rest[slot] + (block or b"")).split(b"\n")
                    outcomes += [(slot, json.loads(line)) for line in lines]
        self._busy -= {slot for slot, _outcome in outcomes}
        return outcomes

    def _autopsy(self, slot: int) -> str:
        """Return why worker *slot* died, in one line."""
        child = self._children.pop(slot)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE_S)
        self._end(child)
        code = child.returncode
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
        said = self._log(slot).read_text("utf-8", "replace").strip().splitlines()
        return f"the worker {how}" + (f": {said[-1][:200]}" if said else "")

    @staticmethod
    def _end(child: "subprocess.Popen[bytes]") -> None:
        if child.poll() is None:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def close(self) -> None:
        """Stop all workers at once."""
        while self._children:
            self._end(self._children.popitem()[1])


class Here:
    """This very process: for tests, debuggers, and sweeps of a few small cells."""

    slots = 1

    def __init__(self) -> None:
        self._job: Job | None = None

    def start(self, _slot: int, job: Job) -> None:
        """Keep *job* for `wait`."""
        self._job = job

    def wait(self) -> list[tuple[int, Outcome]]:
        """Run the job; return what it came to."""
        assert self._job is not None
        return [(0, timed(self._job))]

    def close(self) -> None:
        """Do nothing."""
