"""Three real processes: the same journal as one process, and what is left when one of them is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Literal

import numpy as np
import psutil
import pytest

from link import journal
from link.errors import FarlinkError, PartialError
from scenarios import run as runs
from scenarios import schema
from scenarios.processes import ROLES, Processes

KILLS = int(os.environ.get("FARLINK_KILLS", "2"))  # 20 before a release

pytestmark = pytest.mark.slow


def plan(*settings, frames=6):
    return schema.load(
        "mars-relay",
        settings,
        {
            "camera.source": "testcard",
            "camera.frames": frames,
            "camera.width": 64,
            "camera.height": 48,
            "codec.name": "jpeg2000",
            "codec.frame_bytes": 600,
        },
    )


def start(scenario, folder, factor=None):
    return Processes(runs.prepare(folder, scenario), scenario.session(), runs.head(scenario), factor)


def long_run(code, folder):
    """Return the command of a run that does not end by itself."""
    frames = ["--codec", "jpeg2000", "--source", "testcard", "--set", "analysis=[]", "--frames", "3000"]
    return [sys.executable, "-c", code, "run", *frames, "--out", str(folder)]


def ours():
    """Return the processes that this test process started and that still run."""
    return [
        child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE
    ]


def test_three_processes_write_the_journal_that_one_writes(tmp_path):
    digests = {}
    cases: tuple[tuple[str, Literal["inproc", "zmq"], int], ...] = (
        ("one", "inproc", 1),
        ("three", "zmq", 1),
        ("again", "zmq", 1),
        ("other", "zmq", 2),
    )
    for name, transport, seed in cases:
        # Bits flipped past the hop that repairs: some pictures are shown early, and refined.
        scenario = plan(f"seed={seed}", "link.hops.1.bit_error_rate=0.0003", "link.repair.fec=0")
        folder = runs.prepare(tmp_path / name, scenario)
        assert runs.execute(scenario, folder, transport=transport) is None
        digests[name] = journal.digest(folder / "run.mcap")
        events = journal.read(folder / "run.mcap").events
        assert any(event.get("refines") for event in events), "pictures shown early are among them"
    assert digests["one"] == digests["three"] == digests["again"] != digests["other"]
    assert not ours()


def left_in(folder):
    """Return the names in a run's folder that begin with a dot."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_nothing_but_the_run_is_left_in_its_folder(tmp_path):
    scenario = plan(frames=1)
    for number, role in enumerate((None, "receiver")):
        folder = tmp_path / str(number)
        processes = start(scenario, folder)
        assert not left_in(folder)
        if role is None:
            processes.watch(lambda _record: None)
        else:
            processes.children[role].kill()
            with pytest.raises(PartialError, match="receiver was killed"):
                processes.watch(lambda _record: None)
        assert not left_in(folder)


def test_the_error_shows_the_last_words_of_a_process_that_crashed(tmp_path, monkeypatch):
    """A module that cannot even be imported says so on standard error alone."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "receiver.py").write_text("raise RuntimeError('no driver for this GPU')\n")
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path / "broken"), before])))
    processes = start(plan(frames=1), tmp_path / "run")
    with pytest.raises(FarlinkError, match=r"(?s)receiver ended with exit code 1: .*no driver for this GPU"):
        processes.watch(lambda _record: None)
    assert not left_in(tmp_path / "run")


def test_an_end_that_is_slow_to_leave_spoils_no_run_that_the_link_ended_well(tmp_path):
    """It is killed here, after the link said goodbye: of who is killed by others, and of the link, that is told."""
    processes = start(plan(frames=1), tmp_path / "run")
    processes.watch(lambda _record: None)
    receiver = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    receiver.kill()
    receiver.wait()
    processes.children["receiver"] = receiver
    with pytest.raises(PartialError, match="the receiver was killed"):
        processes._raise_errors()
    processes._stopped.add("receiver")
    processes._raise_errors()


def test_load_on_the_machine_changes_nothing(tmp_path):
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        scenario = plan()
        for name in ("a", "b"):
            if name == "b":
                for burner in burners:
                    burner.kill()
            assert runs.execute(scenario, runs.prepare(tmp_path / name, scenario)) is None
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert journal.digest(tmp_path / "a" / "run.mcap") == journal.digest(tmp_path / "b" / "run.mcap")


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_process_ends_the_run_and_loses_nothing_acknowledged(role, tmp_path):
    rng = np.random.default_rng([ROLES.index(role), 7])
    for turn in range(KILLS):
        scenario = plan(frames=400)
        told = []
        processes = start(scenario, tmp_path / f"{role}{turn}")
        victim = processes.children[role]
        delay = float(rng.uniform(0.0, 2.5))
        timer = threading.Timer(delay, victim.send_signal, [signal.SIGKILL])
        timer.start()
        try:
            with pytest.raises(PartialError) as error:
                processes.watch(told.append)
            assert error.value.exit_code == 3
            assert role in str(error.value)
        finally:
            timer.join()
        assert not ours(), f"left behind after {delay:.3f} s"
        acknowledged = {record["frame"] for record in told if record["kind"] == "acknowledged"}
        path = tmp_path / f"{role}{turn}" / "run.mcap"
        if not path.is_file():
            assert not acknowledged
            continue
        found = journal.read(path)
        assert acknowledged <= set(found.pictures["received"])
        assert not found.complete
        assert not journal.recover(path), "the journal was mended already"


def test_a_killed_parent_takes_its_children_along(tmp_path):
    code = "import sys; from scenarios.cli import main; sys.argv[1:] = sys.argv[1:]; main()"
    command = long_run(code, tmp_path / "run")
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    children = []
    for _ in range(200):
        children = psutil.Process(parent.pid).children(recursive=True)
        if len(children) == 4 and (tmp_path / "run" / "run.mcap").is_file():
            break
        time.sleep(0.05)
    time.sleep(1.0)
    parent.kill()
    parent.wait()
    _gone, alive = psutil.wait_procs(children, timeout=15)
    for child in alive:
        child.kill()
    assert not alive
    assert journal.read(tmp_path / "run" / "run.mcap").events


def test_an_interrupt_ends_with_130_and_a_report_of_what_was_done(tmp_path):
    code = "from scenarios.cli import main; main()"
    command = long_run(code, tmp_path / "run")
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in range(200):
        path = tmp_path / "run" / "run.mcap"
        if path.is_file() and path.stat().st_size > 200_000:
            break
        time.sleep(0.05)
    parent.send_signal(signal.SIGINT)
    _out, err = parent.communicate(timeout=60)
    assert parent.returncode == 130, err.decode()
    assert (tmp_path / "run" / "report.html").is_file()
    assert journal.read(tmp_path / "run" / "run.mcap").events[-1]["kind"] == "aborted"


def test_a_full_disk_ends_with_74_and_a_whole_journal(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=False, capture_output=True
    ).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        wanted = {"camera.source": "testcard", "camera.frames": 60, "codec.name": "jpeg2000"}
        scenario = schema.load("mars-relay", [], wanted)
        error = runs.execute(scenario, runs.prepare(place / "run", scenario))
        assert error is not None
        assert error.exit_code == 74
        found = journal.read(place / "run" / "run.mcap")
        assert len(found.pictures["received"]) > 1
        assert not journal.recover(place / "run" / "run.mcap")
        assert not ours()
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_wall_clock_time_runs_at_its_factor(tmp_path):
    scenario = plan("camera.period_s=1", "link.hops.1.delay_s=2", frames=5)
    for transport in ("zmq", "inproc"):
        started = time.monotonic()
        folder = runs.prepare(tmp_path / transport, scenario)
        assert runs.execute(scenario, folder, transport=transport, factor=20.0) is None
        took = time.monotonic() - started
        found = journal.read(folder / "run.mcap")
        span = found.events[-1]["time_ns"] / 1e9
        assert took > span / 20.0
        assert found.complete
        taken = [event for event in found.events if event["kind"] in ("captured", "skipped")]
        assert len(taken) == 5
        assert all(event["time_ns"] >= number * 10**9 for number, event in enumerate(taken)), (
            "no timer fires early"
        )
