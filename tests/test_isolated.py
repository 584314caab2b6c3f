"""The receiver's models in a process of their own: what ends there costs a picture, and nothing else."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from toys import kinds, session
from toys import run as run_toy

from link import journal
from link.errors import FarlinkError, ModelMissingError, PartialError
from link.frame import Payload
from receiver.decoder import PictureLostError
from receiver.isolated import Isolated, picture_limit_s
from receiver.pipe import MAX_HEAD, Reader, pack
from scenarios import run as runs
from scenarios import schema

TOY = (sys.executable, "-P", str(Path(__file__).parent / "toy_child.py"))
LINK = {"mtu_bytes": 128, "hops": [{"name": "air", "rate_bps": 20000, "delay_s": 1}]}


def plan(name="toy", analysis=(), strength=1.0, **profile):
    made = session(LINK)
    codec = made.codec.model_copy(update={"strength": strength})
    ran = made.profile.model_copy(update=profile)
    return made.model_copy(update={"name": name, "analysis": analysis, "codec": codec, "profile": ran})


@pytest.fixture
def models(monkeypatch, tmp_path):
    monkeypatch.setenv("TOY_COUNT", str(tmp_path / "count"))
    with Isolated(time.monotonic, TOY) as made:
        yield made


def payload(*sections):
    return Payload(sections)


def process_of(models):
    return psutil.Process(models._child._process.pid)


def test_pictures_and_findings_come_through(models):
    models.load(plan(analysis=("depth",)))
    picture = models.decode(payload(b"\x07", None, b"x"))
    assert picture.shape == (48, 64, 3) and picture.dtype == np.uint8
    assert (picture == 7).all()
    assert models.decode(payload(None, b"x")) is None
    about = {"task": "depth", "model": "toy", "stamp": "0"}
    assert models.look(picture) == [("found", {**about, "mean": 7.0}, b"map")]


WAYS = {
    "segfault": r"was killed \(SIGSEGV\)",
    "abort": r"was killed \(SIGABRT\)",
    "kill": r"was killed \(SIGKILL\)",
    "exit": "ended with exit code 7",
    "raise": "ended with exit code 1: RuntimeError: CUDA error: an illegal memory access",
    "nonsense": r"answered what is no answer \(.*\) and was ended",
}


@pytest.mark.parametrize("how", WAYS)
def test_what_ends_the_process_costs_one_picture(models, how):
    models.load(plan())
    before = process_of(models)
    with pytest.raises(
        PictureLostError,
        match=f"the decoder's process {WAYS[how]}(: what a library prints)?; it is started again$",
    ):
        models.decode(payload(how.encode()))
    assert not before.is_running()
    assert (models.decode(payload(b"\x05")) == 5).all()


@pytest.mark.parametrize("how", ["hang", "grip", "stop", "trickle"])
def test_what_never_ends_is_ended(models, how):
    models.load(plan(picture_s=0.5))
    before = process_of(models)
    with pytest.raises(PictureLostError, match=r"took longer than 0\.5 s and was ended"):
        models.decode(payload(how.encode()))
    assert not before.is_running()


def test_what_eats_memory_is_ended_at_its_limit(models):
    models.load(plan(memory_bytes=600 << 20, picture_s=60.0))
    with pytest.raises(PictureLostError, match="MemoryError"):
        models.decode(payload(b"memory"))
    assert (models.decode(payload(b"\x05")) == 5).all()


def test_where_memory_runs_out_it_is_the_first_to_go(models):
    models.load(plan())
    place = Path(f"/proc/{process_of(models).pid}/oom_score_adj")
    if not place.is_file():
        pytest.skip("Linux alone")
    assert place.read_text().strip() == "1000"


def test_two_pictures_in_a_row_may_end_it(models):
    models.load(plan())
    for how in ("segfault", "abort", "raise"):
        with pytest.raises(PictureLostError):
            models.decode(payload(how.encode()))
    assert (models.decode(payload(b"\x05")) == 5).all()


def test_a_picture_that_cannot_be_looked_at_is_told_by_every_model(models):
    models.load(plan(analysis=("depth",)))
    seen = models.look(np.full((48, 64, 3), 250, np.uint8))
    assert [kind for kind, _, _ in seen] == ["warned", "not_found"]
    assert "was killed (SIGSEGV)" in seen[0][1]["reason"]
    assert seen[1][1]["task"] == "depth" and "SIGSEGV" in seen[1][1]["reason"]
    assert models.look(np.full((48, 64, 3), 9, np.uint8))[0][0] == "found"


def test_a_decoder_that_starts_from_its_last_picture_says_that_it_is_lost(models):
    models.load(plan(strength=0.5))
    with pytest.raises(PictureLostError, match="started again and has no picture before to start from"):
        models.decode(payload(b"segfault"))


def test_what_cannot_be_loaded_is_said_as_it_is(models):
    with pytest.raises(FarlinkError, match=r"^no such model$") as error:
        models.load(plan("missing"))
    assert error.value.exit_code == ModelMissingError.exit_code


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("segfault", r"cannot start: it was killed \(SIGSEGV\)"),
        ("raise", "cannot start: it ended with exit code 1: RuntimeError: CUDA error: an illegal"),
        ("hang", r"took longer than 1 s and was ended; profile\.load_s gives it longer"),
    ],
)
def test_what_ends_while_it_loads_ends_the_run(models, name, words):
    with pytest.raises(PartialError, match=words):
        models.load(plan(name, load_s=1.0 if name == "hang" else 60.0))


@pytest.mark.parametrize(("how", "code"), [("", 3), ("none", 4)])
def test_what_cannot_start_again_ends_the_run(models, tmp_path, how, code):
    models.load(plan("once"))
    (tmp_path / "count").write_text(how)
    with pytest.raises(PictureLostError):
        models.decode(payload(b"abort"))
    with pytest.raises(FarlinkError) as error:
        models.decode(payload(b"\x05"))
    assert error.value.exit_code == code


def test_a_process_that_the_system_does_not_start_ends_the_run():
    with pytest.raises(PartialError, match="cannot be started: No such file"):
        Isolated(time.monotonic, ("/nowhere/python",))


def test_an_error_of_the_decoders_own_is_no_crash(models):
    models.load(plan())
    with pytest.raises(FarlinkError, match="this session is over") as error:
        models.decode(payload(b"refuse"))
    assert error.value.exit_code == 5


def test_pictures_have_longer_where_they_take_longer():
    tiny = plan()
    flux = tiny.model_copy(update={"codec": tiny.codec.model_copy(update={"profile": "flux"})})
    assert picture_limit_s(tiny) < picture_limit_s(plan(compile=True)) == picture_limit_s(flux)
    assert picture_limit_s(plan(picture_s=7.0)) == 7.0


def test_it_ends_with_its_owner_however_that_ends(tmp_path):
    """Killed, while the child hangs so that none of its own threads could notice."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_isolated import *\n"
        "models = Isolated(time.monotonic, TOY); models.load(plan()); print(process_of(models).pid, flush=True)\n"
        "models.decode(payload(b'grip'))\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child = psutil.Process(int(owner.stdout.readline()))
    time.sleep(0.3)
    assert child.is_running()
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    _gone, alive = psutil.wait_procs([child], timeout=10)
    assert not alive


def test_a_lost_picture_is_an_event_and_a_frame_that_is_not_shown(tmp_path):
    """The receiver's core goes on, in whatever way the decoder is not there."""
    sizes = itertools.count()

    class Ending:
        def decode(self, given):
            if next(sizes) in (1, 2):
                raise PictureLostError("the decoder's process was killed (SIGSEGV); it is started again")
            return np.zeros((48, 64, 3), np.uint8)

    made = run_toy(session(LINK), tmp_path / "run.mcap", frames=5, decoder=Ending())
    warned = kinds(made, "warned")
    assert [(event["frame"], event["by"]) for event in warned] == [(1, "decoder"), (2, "decoder")]
    assert warned[0]["reason"].startswith("frame 1 is not shown: the decoder's process was killed")
    assert sorted(made.pictures["received"]) == [0, 3, 4]
    assert made.complete


def test_a_run_survives_its_decoder(tmp_path, monkeypatch):
    """Three processes: each end of the decoder's costs its frame; all else is as it would have been."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'receiver.child' in sys.orig_argv:\n    import toy_child\n    toy_child.install()\n"
    )
    before = os.environ.get("PYTHONPATH", "")
    mine = [str(tmp_path), str(Path(__file__).parent), before]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, mine)))
    monkeypatch.setenv("TOY_COUNT", str(tmp_path / "count"))
    monkeypatch.setenv("TOY_ENDS", "1:segfault,2:abort,4:hang,5:memory")
    scenario = schema.load(
        "mars-relay",
        ["profile.picture_s=4", f"profile.memory_bytes={700 << 20}", "link.repair.show_early=false"],
        {
            "camera.source": "testcard", "camera.frames": 8, "camera.width": 64, "camera.height": 48,
            "codec.name": "jpeg2000", "codec.frame_bytes": 300,
        },
    )  # fmt: skip
    told = []
    folder = runs.prepare(tmp_path / "run", scenario)
    assert runs.execute(scenario, folder, progress=told.append) is None
    found = journal.read(folder / "run.mcap")
    assert found.complete
    warned = [event for event in found.events if event["kind"] == "warned"]
    assert [event["frame"] for event in warned] == [1, 2, 4, 5]
    assert sorted(found.pictures["received"]) == [0, 3, 6, 7]
    said = [record["reason"] for record in told if record["kind"] == "warned"]
    words = ["SIGSEGV", "SIGABRT", "took longer than 4 s", "MemoryError"]
    assert len(said) == 4 and all(word in line for word, line in zip(words, said, strict=True))
    assert {event["frame"] for event in found.events if event["kind"] == "closed"} == set(range(8))


def test_the_receivers_own_process_loads_nothing_that_its_models_need():
    code = "import sys, receiver.__main__, scenarios.commands.ends; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- the pipe ------------------------------------------------------------------------------------------------------


def test_messages_come_whole_however_they_are_cut():
    whole = b"".join(pack({"do": "x"}, [b"abc", b"", bytes(1000)]) + pack({"do": "y"}))
    for size in (1, 3, 7, 500, len(whole)):
        reader = Reader()
        found = [
            message for at in range(0, len(whole), size) for message in reader.take(whole[at : at + size])
        ]
        assert found == [({"do": "x"}, [b"abc", b"", bytes(1000)]), ({"do": "y"}, [])]


@pytest.mark.parametrize(
    "head",
    [
        b"[]", b"{}", b'{"blobs": 3}', b'{"blobs": [-1]}', b'{"blobs": [true]}', b'{"blobs": [1e3]}', b"\xff",
        b'{"blobs": [999999999999]}', b"[" * 100_000, b'{"blobs": ["1"]}', b'{"blobs": [' + b"9" * 5000 + b"]}",
    ],
)  # fmt: skip
def test_what_is_no_message_of_the_pipe_is_a_value_error(head):
    with pytest.raises(ValueError):
        list(Reader().take(len(head).to_bytes(4, "big") + head))


def test_no_giant_is_waited_for():
    with pytest.raises(ValueError):
        list(Reader().take((MAX_HEAD + 1).to_bytes(4, "big")))
