"""A hundred kills at random times: what was acknowledged is kept, what can go on goes on, and nobody is left behind."""

import os
import subprocess
import threading
import time
from collections import Counter

import numpy as np
import psutil
import pytest
from test_processes import long_run, ours, plan, start
from test_sweep import done_cells, tables
from test_sweep import start as start_sweep

from link import journal
from link.errors import FarlinkError

SEED = int(os.environ.get("FARLINK_SEED", "1"))
KILLS = int(os.environ.get("FARLINK_KILLS", "100"))
MAIN = "from scenarios.cli import main; main()"

pytestmark = pytest.mark.slow


def find(parent: int, module: str, wait_s: float = 60.0) -> psutil.Process:
    """Return the descendant of *parent* that runs *module*, when it is there."""
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        for child in psutil.Process(parent).children(recursive=True):
            try:
                if module in child.cmdline():
                    return child
            except psutil.Error:
                continue
        time.sleep(0.01)
    raise AssertionError(f"{module} never started")


def gone(children: list[psutil.Process]) -> None:
    _gone, alive = psutil.wait_procs(children, timeout=20)
    for child in alive:
        child.kill()
    assert not alive


def readable(path):
    """Return the journal at *path*, None where there is none: it can be read as it is, and once it is mended."""
    if not path.is_file():
        return None
    journal.read(path)  # as it is
    journal.recover(path)
    found = journal.read(path)
    assert not journal.recover(path)
    return found


def kill_one_of_three(victim: str, rng: np.random.Generator, place) -> str:
    """Kill link, sender, receiver or the receiver's child in a run of three processes."""
    told: list[dict] = []
    frames = 60 if victim == "receiver.child" else 2000
    processes = start(plan(frames=frames), place)
    target = find(os.getpid(), victim)
    timer = threading.Timer(float(rng.uniform(0.0, 3.0)), lambda: target.is_running() and target.kill())
    timer.start()
    failure = None
    try:
        processes.watch(told.append)
    except FarlinkError as error:
        failure = error
    finally:
        timer.join()
    assert not ours()
    assert failure is None or failure.exit_code == 3, failure
    assert failure is not None or victim == "receiver.child", "a run without one of its processes"
    found = readable(place / "run.mcap")
    acknowledged = {record["frame"] for record in told if record["kind"] == "acknowledged"}
    if found is None:
        assert not acknowledged
        assert victim != "receiver.child" or "the decoder's process cannot start" in str(failure), failure
        return "before the journal"
    shown = set(found.pictures["received"])
    if victim != "receiver.child":
        assert acknowledged <= shown and not found.complete
        return "exit code 3"
    lost = {event["frame"] for event in found.events if event["kind"] == "warned"}
    assert acknowledged <= shown | lost
    assert len(lost) <= 1
    if failure is None:
        assert found.complete and len(lost | shown) == len(found.pictures["sent"])
        return "one frame" if lost else "after its work"
    raise AssertionError(f"the run ended with its decoder: {failure}")


def kill_parent(rng: np.random.Generator, place) -> str:
    """Kill `farlink run` itself."""
    parent = subprocess.Popen(long_run(MAIN, place), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    find(parent.pid, "receiver.child")
    time.sleep(float(rng.uniform(0.0, 3.0)))
    children = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    gone(children)
    return "before the journal" if readable(place / "run.mcap") is None else "a journal"


def kill_sweep(victim: str, rng: np.random.Generator, place) -> str:
    """Kill a sweep, or one of its workers, of which as much may be done as is; return what it came to."""
    child = start_sweep(place)
    if victim == "sweep":
        time.sleep(float(rng.uniform(0.0, 4.0)))
        children = psutil.Process(child.pid).children(recursive=True) if child.poll() is None else []
        child.kill()
        child.communicate()
        gone(children)
        return f"{done_cells(place)} cells done"
    worker = find(child.pid, "scenarios.sweep.worker_process")
    time.sleep(float(rng.uniform(0.0, 4.0)))
    if worker.is_running():
        worker.kill()
    _out, err = child.communicate(timeout=280)
    assert child.returncode == 0, err
    return "went on"


VICTIMS = ("link", "sender", "receiver", "receiver.child", "parent", "sweep", "worker")


def kill(victim: str, number: int, folder) -> str:
    rng = np.random.default_rng([SEED, number])
    if victim == "parent":
        return kill_parent(rng, folder / f"parent{number}")
    return kill_one_of_three(victim, rng, folder / f"{victim}{number}")


def test_a_killed_decoder_costs_a_frame(tmp_path):
    for number in range(2):
        kill("receiver.child", number, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.timeout(6000)
def test_a_hundred_kills(tmp_path):
    print(f"FARLINK_SEED={SEED}")
    whole = start_sweep(tmp_path / "whole")
    _out, err = whole.communicate(timeout=280)
    assert whole.returncode == 0, err
    came_to: Counter[str] = Counter()
    sweeps, number = 0, 0
    while number < KILLS:
        victim = VICTIMS[number % len(VICTIMS)]
        if victim in ("sweep", "worker"):
            place = tmp_path / f"sweep{sweeps}"
            result = kill_sweep(victim, np.random.default_rng([SEED, number]), place)
            if victim == "worker":  # which lets the sweep come to its end: the next ones are another's
                assert tables(place) == tables(tmp_path / "whole")
                sweeps += 1
            result = result if victim == "worker" else "resumed"
        else:
            result = kill(victim, number, tmp_path)
        came_to[f"{victim}: {result}"] += 1
        number += 1
    assert not ours()
    for line, count in sorted(came_to.items()):
        print(f"{count:4}  {line}")
