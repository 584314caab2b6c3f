"""The command line as a user meets it: one clear line and the documented exit code for everything bad."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from launched import COMMAND
from PIL import Image
from ports import free_address

from link import journal
from link.config import ProfileConfig
from link.errors import UsageError
from link.events import Event, Output
from link.fingerprint import fingerprint
from link.weights import FOLDER
from scenarios import run as runs
from scenarios import schema
from scenarios.commands.ends import _Watched
from scenarios.commands.progress import Arrivals
from scenarios.results import traffic


def farlink(*arguments, cwd=None, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False, **options
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what bad input needs."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "empty").mkdir()
    (folder / "text.mp4").write_text("this is no video")
    (folder / "bad.yaml").write_text("a: [")
    (folder / "twice.yaml").write_text("link:\n  hops:\n    - {name: a, rate_bps: 5, rate_bps: 6}\n")
    (folder / "list.yaml").write_text("- a\n- b\n")
    (folder / "python.yaml").write_text("name: !!python/object/apply:os.system ['touch hacked']\n")
    (folder / "bombs.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\nname: *b\n")
    (folder / "file").write_text("")
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("dear diary")
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "mars-rely"], "did you mean 'mars-relay'"),
        (["run", "nowhere.yaml"], "no such scenario file"),
        (["run", "bad.yaml"], "line"),
        (["run", "list.yaml"], "a mapping"),
        (["run", "python.yaml"], "not valid YAML"),
        (["run", "bombs.yaml"], "bombs.yaml"),
        (["run", "--set", "link.mtu_byte=3"], "unknown key 'mtu_byte'; did you mean 'mtu_bytes'"),
        (["run", "--set", "link.hops.0.delay_ms=3"], "link.hops.0: unknown key 'delay_ms'; did you mean 'delay_s'"),
        (["run", "--set", "link.hops.0.rate_bps=-5"], "link.hops.0.rate_bps: input should be greater than or equal to 0.001, not -5"),
        (["run", "--set", "link.hops.0.rate_bps=2 kbit/s"], "number"),
        (["run", "--set", "link.hops.0.rate_bps=.nan"], "number"),
        (["run", "--set", "link.mtu_bytes=9"], "mtu_bytes 9 is smaller than a packet with its header"),
        (["run", "--set", "link.hops.0.queue.limit_bytes=20"], "smaller than the MTU"),
        (["run", "--set", "link.hops.9.delay_s=1"], "items 0 to 1"),
        (["run", "--set", "nonsense"], "key=value"),
        (["run", "--set", "link.return=null"], "needs a return channel"),
        (["run", "--set", "link.hops.0.trace=none.down", "--set", "link.hops.0.rate_bps=null"], "none.down"),
        (["run", "--source", "nowhere.png"], "no such file"),
        (["run", "--source", "empty"], "no pictures"),
        (["run", "--source", "text.mp4"], "neither a picture nor a video"),
        (["run", "--source", "sky:mars"], "unknown prefix 'sky'"),
        (["run", "--codec", "jpeg200"], "did you mean 'jpeg2000'"),
        (["run", "--codec", "nope"], "unknown codec 'nope'; there are avif, findings, gsc"),
        (["run", "--set", "link.rate_bps=-5"], "link.hops.0.rate_bps: input should be greater than or equal to 0.001"),
        (["receive", "--save", "file"], "--save file: that is a file"),
        (["run", "--frames", "0"], "--frames"),
        (["run", "--seed", str(1 << 64)], "seed"),
        (["run", "--set", "name=../../x"], "name"),
        (["run", "--set", "name=''"], "name"),
        (["run", "--source", "testcard", "--set", "analysis=[depth]"], "no depth model comes with farlink"),
        (["run", "twice.yaml"], "the key 'rate_bps' stands twice"),
        (["link", "--curve", "empty"], "no CURVE keys there"),
        (["run", "--out", "full"], "holds no earlier run"),
        (["run", "--out", "file"], "--out names a folder"),
        (["run", "--nonsense"], "No such option"),
        (["dance"], "No such command"),
        (["report", "empty"], "no run is there"),
        (["inspect", "text.mp4"], "not a farlink journal"),
        (["decode", "text.mp4", "-o", "x.png"], "not a file of"),
        (["encode", "nowhere.png", "-o", "x"], "no such file"),
        (["link", "--bind", "tcp://0.0.0.0:5555"], "--curve"),
        (["send", "--connect", "tcp://192.0.2.1:5555"], "--curve"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_input_ends_with_one_line_and_2(place, arguments, words):
    done = farlink(*arguments, cwd=place)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert words in done.stderr
    assert done.stderr.startswith("farlink: ")
    assert not (place / "hacked").exists()
    assert not (place / "runs").exists(), "nothing is left behind"


def test_an_impossible_budget_is_told_by_the_sender(tmp_path):
    settings = ("--set", "codec.frame_bytes=20", "--set", "analysis=[]")
    done = farlink("run", "--codec", "jpeg2000", *settings, "--out", tmp_path / "run")
    assert done.returncode == 2
    started, *_waiting, error = done.stderr.strip().splitlines()  # on a busy machine for the models to load
    assert started.startswith("farlink: mars-relay: 8 frames of world:mars")
    assert "frame_bytes 20 is too small" in error


@pytest.mark.slow
def test_the_main_job(tmp_path):
    for number in range(3):
        rng = np.random.default_rng(number)
        small = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC).save(tmp_path / f"{number}.png")
    (tmp_path / "1broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    done = farlink(
        "run", "mars-relay", "--source", tmp_path, "--codec", "jpeg2000", "--json", "--out", tmp_path / "run"
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (
        figures["frames"]["sent"]
        == 3
        == sum(figures["frames"][key] for key in ("complete", "partial", "lost"))
    )
    packets = figures["packets"]
    assert packets["sent"] == packets["delivered"] + sum(packets["dropped"].values())
    size = figures["bytes"]
    assert size["on_air"] == sum(size["payload"].values()) + sum(
        size[k] for k in ("header", "fec", "repair", "feedback")
    )
    assert "skipped 1broken.png" in done.stderr
    for name in ("report.html", "results.parquet", "scenario.yaml", "timings.json", "run.mcap"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    found = journal.read(tmp_path / "run" / "run.mcap")
    assert [event["name"] for event in found.events if event["kind"] == "skipped"] == ["1broken.png"]

    # The report is made from the journal alone, and again the same.
    before = (tmp_path / "run" / "report.html").read_bytes()
    (tmp_path / "run" / "report.html").unlink()
    again = farlink("report", tmp_path / "run", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["bytes"] == size
    assert (tmp_path / "run" / "report.html").read_bytes() == before

    # The resolved scenario runs to the same journal.
    same = farlink(
        "run", tmp_path / "run" / "scenario.yaml", "--transport", "inproc", "--out", tmp_path / "same"
    )
    assert same.returncode == 0, same.stderr
    assert journal.digest(tmp_path / "same" / "run.mcap") == journal.digest(tmp_path / "run" / "run.mcap")

    listing = farlink("inspect", tmp_path / "run", "--json")
    assert len(listing.stdout.splitlines()) >= packets["sent"]
    captured = farlink("inspect", tmp_path / "run", "--pcap", tmp_path / "run.pcap")
    assert sum(kind["bytes"] for hop in figures["hops"].values() for kind in hop.values()) > 0
    assert f"{size['on_air']} bytes" in captured.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", schema.preset_names())
def test_every_preset_runs_with_a_real_codec(name, tmp_path):
    settings = {"camera.frames": 3, "codec.name": "jpeg2000", "camera.source": "testcard", "analysis": []}
    scenario = schema.load(name, [], settings)  # those that name data sets have none here
    folder = runs.prepare(tmp_path / "run", scenario)
    assert runs.execute(scenario, folder, transport="inproc") is None
    found = journal.read(folder / "run.mcap")
    assert found.complete
    assert len(found.pictures["sent"]) == 3
    traffic.check_conservation(found)


@pytest.mark.parametrize("codec", ["jpeg2000", "webp", "avif", "jpeg"])
def test_encode_and_decode_a_file(tmp_path, codec):
    y, x = np.mgrid[0:192, 0:256]
    Image.fromarray(np.stack([x, y, (x + y) // 2], -1).astype(np.uint8)).save(tmp_path / "a.png")
    done = farlink(
        "encode", tmp_path / "a.png", "-o", tmp_path / "a.flnk", "--codec", codec, "--bytes", "900"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.flnk").stat().st_size < 900 + 2000
    done = farlink("decode", tmp_path / "a.flnk", "-o", tmp_path / "b.png")
    assert done.returncode == 0, done.stderr
    difference = np.asarray(Image.open(tmp_path / "a.png")).astype(int) - np.asarray(
        Image.open(tmp_path / "b.png")
    )
    assert 0 < np.mean(difference**2) < 65  # 30 dB and more, but not free
    blob = bytearray((tmp_path / "a.flnk").read_bytes())
    at = blob.index(b'"fingerprint": "') + 16
    blob[at : at + 16] = b"0123456789abcdef"
    (tmp_path / "other.flnk").write_bytes(blob)
    done = farlink("decode", tmp_path / "other.flnk", "-o", tmp_path / "c.png")
    assert done.returncode == 5
    assert "fingerprint" in done.stderr
    (tmp_path / "cut.flnk").write_bytes((tmp_path / "a.flnk").read_bytes()[:-60])
    done = farlink("decode", tmp_path / "cut.flnk", "-o", tmp_path / "d.png")
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("codec", "coded"), [("gsc", ", coded at 256x192, "), ("webp", "")])
def test_encode_keeps_the_pictures_own_size(tmp_path, codec, coded):
    y, x = np.mgrid[0:90, 0:301]
    Image.fromarray(np.stack([x % 256, y, (x + y) // 2], -1).astype(np.uint8)).save(tmp_path / "a.png")
    done = farlink("encode", tmp_path / "a.png", "-o", tmp_path / "a.flnk", "--codec", codec)
    assert done.returncode == 0, done.stderr
    assert f"a.flnk: 301x90{coded}" in done.stdout
    done = farlink("decode", tmp_path / "a.flnk", "-o", tmp_path / "b.png")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "b.png").size == (301, 90)
    given = ["--set", "camera.width=64", "--set", "camera.height=48"]
    done = farlink("encode", tmp_path / "a.png", "-o", tmp_path / "a.flnk", "--codec", codec, *given)
    assert "301x90 -> crop 120x90 -> 64x48" in done.stdout


def test_output_that_nobody_reads_or_that_does_not_fit():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "scenarios"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 74
    assert len(done.stderr.strip().splitlines()) == 1
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, "scenarios", "schema"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "mars-rely"],
        ["run", "--nonsense"],
        ["sweep", "mars-relay"],
        ["report", "empty"],
        ["compare", "empty", "empty"],
        ["inspect", "text.mp4"],
        ["scenarios", "show", "nope"],
        ["scenarios", "validate", "bad.yaml"],
        ["encode", "nowhere.png", "-o", "x"],
        ["decode", "text.mp4", "-o", "x.png"],
        ["keys", "file"],
        ["link", "--bind", "tcp://0.0.0.0:5555"],
        ["models", "pull", "nonsense"],
        ["train", "nonsense", "--out", "x"],
    ],
    ids=" ".join,
)
def test_an_error_is_one_object_where_json_is_asked_for(place, arguments):
    done = farlink(*arguments, "--json", cwd=place)
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)
    assert found == {"error": found["error"], "exit_code": 2}
    assert done.stderr.splitlines()[-1] == f"farlink: {found['error']}"


def test_every_command_that_reports_has_json(tmp_path):
    Image.new("RGB", (64, 48), (90, 40, 80)).save(tmp_path / "a.png")
    listed = json.loads(farlink("scenarios", "--json").stdout)
    assert [row["name"] for row in listed] == schema.preset_names()
    assert next(row["rate_bps"] for row in listed if row["name"] == "lora-sf12") == pytest.approx(
        1.463, abs=1e-3
    )
    assert (
        json.loads(farlink("scenarios", "validate", "mars-relay", "--json").stdout)["camera"]["width"] == 256
    )
    assert json.loads(farlink("scenarios", "show", "mars-relay", "--json").stdout)["yaml"].startswith("# ")
    health = json.loads(farlink("doctor", "--json").stdout)
    assert health["healthy"] is True
    assert {"ok", "what", "detail"} == set(health["checks"][0])
    assert json.loads(farlink("models", "verify", "--json").stdout)["wrong"] == []
    coded = ["encode", tmp_path / "a.png", "-o", tmp_path / "a.flnk", "--codec", "webp", "--json"]
    assert json.loads(farlink(*coded).stdout)["packets"] >= 1
    drawn = farlink("decode", tmp_path / "a.flnk", "-o", tmp_path / "b.png", "--json")
    assert json.loads(drawn.stdout)["sections"] == {"received": 1, "sent": 1}
    made = json.loads(farlink("keys", tmp_path / "keys", "--json").stdout)
    assert sorted(made["files"]) == sorted(os.listdir(tmp_path / "keys"))


def test_a_rate_set_once_is_the_rate_of_every_hop():
    plan = schema.load("mars-relay", ["link.rate_bps=77"])
    assert [hop.rate_bps for hop in plan.link.hops] == [77, 77]
    traced = schema.load("cellular-degraded", ["link.rate_bps=77"]).link.hops[0]
    assert (traced.rate_bps, traced.trace) == (77, None)


def test_how_many_frames_a_preset_takes_holds_for_its_own_source_alone(tmp_path):
    assert schema.load("mars-relay").camera.frames == 8
    assert schema.load("mars-relay", [], {"camera.source": "testcard"}).camera.frames is None
    assert schema.load("mars-relay", ["camera.source=testcard"]).camera.frames is None
    assert schema.load("mars-relay", ["camera.frames=3"], {"camera.source": "testcard"}).camera.frames == 3
    (tmp_path / "mine.yaml").write_text(schema.to_yaml(schema.load("mars-relay")))
    assert schema.load(str(tmp_path / "mine.yaml"), [], {"camera.source": "testcard"}).camera.frames == 8


def test_the_help_of_source_lists_every_prefix():
    from sender.camera import PREFIXES

    for command in ("run", "send", "sweep"):
        words = " ".join(farlink(command, "--help").stdout.replace("│", " ").split())
        assert all(row.usage in words for row in PREFIXES.values()), words


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("farlink run mars", {"mars-relay", "mars-direct"}),
        ("farlink run --codec w", {"webp"}),
        ("farlink run --source w", {"webcam:N", "world:THEME"}),
        ("farlink run --set link.re", {"link.return.rate_bps=", "link.repair.fec=", "link.repair.arq="}),
        ("farlink sweep mars-relay --vary codec.ch", {"codec.channels="}),
        ("farlink sweep mars-relay --codec a", {"avif"}),
    ],
)
def test_the_shell_completes_presets_codecs_fields_and_sources(words, completions):
    asked = {"_FARLINK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    code = "import sys; sys.argv = ['farlink']; from scenarios.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completions <= set(done.stdout.split()), done.stderr


def test_every_field_that_completes_can_be_set():
    fields = schema.field_paths()
    assert "link.hops.0.loss.mean_burst" in fields
    assert len(fields) == len(set(fields)) > 80
    for path in fields:
        with pytest.raises(UsageError) as error:
            schema.load("mars-relay", [f"{path}={{a: {{b: 1}}}}"])
        key = path.rpartition(".")[2]
        if f"unknown key {key!r}" in str(error.value):
            others = (".loss.", ".retransmit.")
            assert any(part in path for part in others), "only what another model or repair has is unknown"


def test_help_has_examples_and_starts_fast():
    for command in (
        "run",
        "link",
        "send",
        "receive",
        "inspect",
        "report",
        "encode",
        "decode",
        "keys",
        "sweep",
        "train",
    ):
        done = farlink(command, "--help")
        assert done.returncode == 0
        assert f"farlink {command}" in done.stdout.replace("\n", " ")
        assert "Example" in done.stdout
    heavy = [
        *COMMAND[:-1],
        "import sys, scenarios.cli; print([n for n in ('torch', 'numpy', 'matplotlib', 'av') if n in sys.modules])",
    ]
    assert subprocess.run(heavy, capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.slow
def test_the_first_run_says_what_to_open_and_what_to_try(tmp_path):
    done = farlink("run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert said[0] == "farlink: mars-relay: 8 frames of world:mars; loading models"
    assert said[-4].startswith("farlink: open runs/mars-relay/report.html")
    assert (tmp_path / "runs" / "mars-relay" / "report.html").is_file()
    tries = [line.removeprefix("farlink:   ").split("  ")[0].split()[1:] for line in said[-3:]]
    assert [words[0] for words in tries] == ["inspect", "run", "run"]
    assert farlink(*tries[0], cwd=tmp_path).returncode == 0
    for task in ("segmentation", "depth", "detection"):
        assert any(line.startswith(task) and "against the truth" in line for line in done.stdout.splitlines())
    assert "farlink: open" not in farlink("run", "--codec", "webp", "--frames", "1", cwd=tmp_path).stderr


def test_scenarios_can_be_listed_shown_and_checked(tmp_path):
    listed = farlink("scenarios", "list").stdout
    assert all(name in listed for name in schema.preset_names())
    shown = farlink("scenarios", "show", "lunar-relay").stdout
    (tmp_path / "mine.yaml").write_text(shown)
    resolved = farlink("scenarios", "validate", tmp_path / "mine.yaml")
    assert resolved.returncode == 0
    assert "frame_bytes" in resolved.stdout
    assert json.loads(farlink("scenarios", "schema").stdout)["properties"]["link"]


def test_doctor_says_what_is_there():
    done = farlink("doctor")
    assert done.returncode == 0, done.stdout
    assert "classical codecs" in done.stdout


def test_a_file_is_decoded_with_this_machines_models(tmp_path):
    """It says nothing of where they lie; whoever encoded with a transform of their own needs it here too."""
    own = tmp_path / "transform"
    shutil.copytree(FOLDER / "tiny", own)
    blob = bytearray((own / "synthesis.safetensors").read_bytes())
    blob[-4] ^= 1
    (own / "synthesis.safetensors").write_bytes(blob)
    picture = tmp_path / "a.png"
    Image.new("RGB", (64, 48), (90, 40, 80)).save(picture)
    mine = f"profile.transform={own}"
    done = farlink("encode", picture, "-o", tmp_path / "a.flnk", "--set", mine, "--set", "codec.steps=1")
    assert done.returncode == 0, done.stderr
    assert str(own).encode() not in (tmp_path / "a.flnk").read_bytes()
    assert farlink("decode", tmp_path / "a.flnk", "-o", tmp_path / "b.png").returncode == 5
    done = farlink("decode", tmp_path / "a.flnk", "-o", tmp_path / "b.png", "--set", mine)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "b.png").size == (64, 48)
    done = farlink(
        "decode",
        tmp_path / "a.flnk",
        "-o",
        tmp_path / "c.png",
        "--set",
        mine,
        "--set",
        "profile.generator=nowhere",
    )
    assert (done.returncode, "nowhere" in done.stderr) == (4, True), done.stderr
    done = farlink("decode", tmp_path / "a.flnk", "-o", tmp_path / "c.png", "--set", "codec.steps=9")
    assert (done.returncode, "profile.KEY=VALUE" in done.stderr) == (2, True), done.stderr


@pytest.mark.slow
def test_three_terminals(tmp_path):
    address = free_address()
    link = subprocess.Popen(
        [*COMMAND, "link", "lunar-relay", "--bind", address, "--frames", "3", "--out", str(tmp_path / "run"), "--json",
         "--set", "codec.steps=1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(0.3)
    source = tmp_path / "shots"
    source.mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48), (number * 90, 40, 80)).save(source / f"{number}.png")
    extra = {"receive": ["--save", str(tmp_path / "pictures")], "send": ["--source", str(source)]}
    ends = [
        subprocess.Popen(
            [*COMMAND, role, "--connect", address, *extra[role]], stderr=subprocess.PIPE, text=True
        )
        for role in ("receive", "send")
    ]
    out, err = link.communicate(timeout=100)
    assert link.returncode == 0, err
    assert [end.wait(20) for end in ends] == [0, 0]
    figures = json.loads(out)
    assert figures["frames"]["sent"] == 3
    said = [end.stderr.read() for end in ends]
    assert all("connected: scenario lunar-relay" in words for words in said)
    # What arrives is told and kept as it comes, under the numbers of the frames.
    shown = journal.read(tmp_path / "run" / "run.mcap").pictures["received"]
    assert sorted(os.listdir(tmp_path / "pictures")) == [f"{frame:06d}.png" for frame in shown]
    assert (tmp_path / "pictures" / "000000.png").read_bytes() == shown[0]
    assert [line.split(",")[0] for line in said[0].splitlines() if "frame" in line] == [
        f"farlink: frame {frame} is complete" for frame in shown
    ]
    refused = farlink("receive", "--save", tmp_path / "pictures")
    assert (refused.returncode, "holds pictures of an earlier run" in refused.stderr) == (2, True)
    # The sender's own camera is in the journal and in the scenario, which runs again to the same journal.
    again = farlink("run", tmp_path / "run" / "scenario.yaml", "--out", tmp_path / "again", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["digest"] == figures["digest"]


@pytest.mark.slow
def test_other_weights_on_one_end_stop_the_run_and_both_fingerprints_are_named(tmp_path):
    address = free_address()
    other = tmp_path / "transform"
    shutil.copytree(FOLDER / "tiny", other)
    blob = bytearray((other / "synthesis.safetensors").read_bytes())
    blob[-4] ^= 1
    (other / "synthesis.safetensors").write_bytes(blob)
    link = subprocess.Popen(
        [*COMMAND, "link", "--bind", address, "--frames", "2", "--out", str(tmp_path / "run")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(0.3)
    ends = [
        subprocess.Popen([*COMMAND, *role, "--connect", address], stderr=subprocess.PIPE, text=True)
        for role in (["send"], ["receive", "--set", f"profile.transform={other}"])
    ]
    _, err = link.communicate(timeout=150)
    assert link.returncode == 5, err
    plan = schema.load("mars-relay").session()
    strange = plan.model_copy(update={"profile": ProfileConfig(transform=str(other))})
    assert fingerprint(plan) in err
    assert fingerprint(strange) in err
    for end in ends:
        assert end.wait(60) in (3, 5)


def test_a_line_tells_of_each_frame_that_arrives(capsys):
    arrivals = Arrivals()
    for kind, frame, seconds, complete in (
        ("captured", 0, 0, False),
        ("closed", 0, 2, True),
        ("decoded", 0, 2, True),
        ("found", 0, 2, False),
        ("closed", 1, 3, False),
        ("decoded", 1, 3, False),
        ("closed", 2, 70, False),
        ("captured", 3, 80, False),
        ("closed", 3, 90, False),
    ):
        arrivals.take(kind, frame, seconds * 10**9, {"complete": complete})
    arrivals.flush()
    assert capsys.readouterr().err.splitlines() == [
        "farlink: frame 0 is complete, at 2 s",
        "farlink: frame 1 came in part, at 3 s",
        "farlink: frame 2 is lost, at 1 min 10 s: nothing could be shown",
        "farlink: frame 3 is lost, at 1 min 30 s: nothing could be shown",
    ]


def test_a_refined_picture_takes_the_place_of_the_first_in_the_folder(tmp_path, capsys):
    class Core:
        def step(self, now, arrivals):
            events = {
                1: [Event("decoded", 1, 7, {"complete": False, "sections": [True, False]}, b"first")],
                2: [
                    Event("closed", 2, 7, {"complete": True}),
                    Event("decoded", 2, 7, {"complete": True, "refines": True}, b"last"),
                ],
            }
            return Output(events=events[now])

    watched = _Watched(Core(), tmp_path)
    watched.step(1, [])
    assert (tmp_path / "000007.png").read_bytes() == b"first"
    watched.step(2, [])
    assert (tmp_path / "000007.png").read_bytes() == b"last"
    assert [path.name for path in tmp_path.iterdir()] == ["000007.png"]
    assert [line.partition(", at")[0] for line in capsys.readouterr().err.splitlines()] == [
        "farlink: frame 7 came in part, the rest is asked for",
        "farlink: frame 7 is complete, refined",
    ]


def test_lines_tell_of_a_picture_that_is_shown_early_and_of_what_becomes_of_it(capsys):
    arrivals = Arrivals()
    for kind, frame, seconds, fields in (
        ("decoded", 4, 5, {"complete": False, "sections": [True, False]}),
        ("decoded", 5, 6, {"complete": False, "sections": [True, False]}),
        ("decoded", 6, 7, {"complete": False, "sections": [True, False]}),
        ("closed", 4, 50, {"complete": True}),
        ("decoded", 4, 50, {"complete": True, "refines": True}),
        ("closed", 5, 60, {"complete": False}),
        ("decoded", 5, 60, {"complete": False, "refines": True}),
        ("closed", 6, 70, {"complete": False}),
    ):
        arrivals.take(kind, frame, seconds * 10**9, fields)
    arrivals.flush()
    assert capsys.readouterr().err.splitlines() == [
        "farlink: frame 4 came in part, the rest is asked for, at 5 s",
        "farlink: frame 5 came in part, the rest is asked for, at 6 s",
        "farlink: frame 6 came in part, the rest is asked for, at 7 s",
        "farlink: frame 4 is complete, refined, at 50 s",
        "farlink: frame 5 came in part, refined, at 1 min",
        "farlink: frame 6 stays as it was shown, at 1 min 10 s: no more came in time",
    ]
    assert not arrivals._early


def test_an_end_sets_its_own_models_only():
    plan = schema.load("mars-relay").session()
    found = schema.with_local_models(plan, ["profile.generator=mine", "profile.dtype=float32"])
    assert (found.profile.generator, found.profile.dtype) == ("mine", "float32")
    assert found.codec == plan.codec
    for setting, words in (
        ("codec.steps=3", "the link says all else"),
        ("profile.dtype=int3", "profile.dtype"),
        ("profile.x=1", "profile: unknown key 'x'"),
    ):
        with pytest.raises(UsageError, match=words):
            schema.with_local_models(plan, [setting])


@pytest.mark.slow
def test_ctrl_c_on_the_link_leaves_a_report_and_tells_the_ends(tmp_path):
    address = free_address()
    link = subprocess.Popen(
        [*COMMAND, "link", "--bind", address, "--codec", "jpeg2000", "--frames", "3000", "--out", str(tmp_path / "run"), "--json",
         "--set", "camera.source=testcard"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    ends = [
        subprocess.Popen([*COMMAND, role, "--connect", address], stderr=subprocess.PIPE, text=True)
        for role in ("receive", "send")
    ]
    path = tmp_path / "run" / "run.mcap"
    for _ in range(400):
        if path.is_file() and path.stat().st_size > 300_000:
            break
        time.sleep(0.05)
    link.send_signal(signal.SIGINT)
    out, err = link.communicate(timeout=100)
    assert link.returncode == 130, err
    assert json.loads(out)["cut_short"]
    assert (tmp_path / "run" / "report.html").is_file()
    assert [end.wait(20) for end in ends] == [3, 3]
    assert all("interrupted" in end.stderr.read() for end in ends)
    done = farlink("report", tmp_path / "run")
    assert done.returncode == 3
    assert "CUT SHORT" in done.stdout
