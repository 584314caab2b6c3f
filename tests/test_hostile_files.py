"""Files that somebody else made, through farlink's own commands: one line and a documented exit code, within bounds.

CI runs a share of each campaign with a fixed seed. The marker `exhaustive` runs them at length with a seed of the day,
which is printed, or with FARLINK_SEED.
"""

import json
import os
import resource
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import toys
import yaml
from hostile import (
    NASTY,
    attempt,
    call,
    mutate_bytes,
    mutate_journal,
    mutate_tree,
    named,
    records,
    write_bomb,
    write_records,
)
from PIL import Image
from shots import noisy_video, video

from link import journal, png
from link.config import Camera
from link.errors import UsageError
from link.events import Event, Fate
from link.journal import Journal
from link.packet_rows import PacketRows
from scenarios import packet_file, schema
from scenarios.curves import load
from scenarios.results.stored import open_run
from sender.camera import open_source

LINK: dict[str, Any] = {
    "mtu_bytes": 64,
    "hops": [
        {
            "name": "a",
            "rate_bps": 1000,
            "delay_s": 0.5,
            "duplicate_ratio": 0.2,
            "loss": {"model": "pattern", "pattern": ".x....."},
        },
        {
            "name": "b",
            "rate_bps": 500,
            "delay_s": 1,
            "retransmit": {},
            "loss": {"model": "bernoulli", "loss": 0.1},
            "outage": {"up_s": 5, "down_s": 2},
        },
    ],
    "return": {"rate_bps": 100},
    "repair": {"arq": True, "fec": 0.5},
}
SPACE: dict[str, Any] = {
    "framing": "ccsds",
    "mtu_bytes": 80,
    "hops": [{"name": "a", "rate_bps": 1000, "delay_s": 1, "jitter": {"scale_s": 0.1}}],
}
OFTEN = [pytest.param(True, marks=pytest.mark.exhaustive), False]
"""The two lengths of a campaign: at length, and as CI runs it."""


def seed_of(at_length: bool) -> int:
    return int(os.environ.get("FARLINK_SEED", secrets.randbelow(1 << 31))) if at_length else 1


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def refused(do: Callable[[], Any]) -> bool:
    """Do it; return whether that ended in the one line of a UsageError."""
    try:
        do()
    except UsageError as error:
        told = str(error)
    else:
        return False
    assert "\n" not in told
    return True


@pytest.fixture
def bounded():
    """Whatever a test does, the process does not grow by a gigabyte."""
    before = peak_mb()
    yield
    assert peak_mb() - before < 1000


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two small journals with all that a journal of packets has."""
    place = tmp_path_factory.mktemp("runs")
    for name, link in (("a.mcap", LINK), ("b.mcap", SPACE)):
        toys.run(toys.session(link, period_s=10), place / name, 3, toys.ToyEncoder(2, 70))
    return [place / "a.mcap", place / "b.mcap"]


@pytest.mark.parametrize("at_length", OFTEN)
def test_inspect_of_any_journal(at_length, runs, tmp_path, bounded):
    seed, codes = seed_of(at_length), Counter()
    whole = [records(path) for path in runs]
    file = tmp_path / "x.mcap"
    options = ([], ["--json"], ["--drops"], ["--frame", "0"], ["--pcap", str(tmp_path / "x.pcap")])
    with named("journals", seed) as at:
        for number in range(3000 if at_length else 100):
            at(number)
            rng = np.random.default_rng((seed, number))
            which = int(rng.integers(len(runs)))
            if rng.integers(6) == 0:
                file.write_bytes(mutate_bytes(runs[which].read_bytes(), rng))
            else:
                write_records(file, mutate_journal(whole[which], rng))
            codes[attempt("inspect", file, *options[int(rng.integers(len(options)))])] += 1
    assert set(codes) == {0, 2}, codes
    print(seed, codes)


@pytest.mark.parametrize("at_length", OFTEN)
def test_report_of_any_journal(at_length, runs, tmp_path, bounded):
    """Drawing a page takes seconds whatever the journal holds, so the bound is another and the numbers are small."""
    seed, codes = seed_of(at_length), Counter()
    whole = [records(path) for path in runs]
    with named("reports", seed) as at:
        for number in range(40 if at_length else 2):
            at(number)
            rng = np.random.default_rng((seed, number, 1))
            write_records(tmp_path / "run.mcap", mutate_journal(whole[int(rng.integers(2))], rng))
            code = attempt("report", tmp_path, most_s=60.0)
            codes[code] += 1
    print(seed, codes)


@pytest.mark.parametrize("at_length", OFTEN)
def test_compare_of_any_summary(at_length, runs, tmp_path, bounded):
    seed, codes = seed_of(at_length), Counter()
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.mcap").write_bytes(runs[0].read_bytes())
    assert call("report", folder)[0] == 0
    summary = json.loads((folder / "summary.json").read_text())
    about = yaml.safe_load(schema.source_text("mars-relay")[0])
    with named("summaries", seed) as at:
        for number in range(1500 if at_length else 40):
            at(number)
            rng = np.random.default_rng((seed, number, 2))
            (folder / "summary.json").write_text(json.dumps({"cell": mutate_tree(summary["cell"], rng)}))
            if rng.integers(2):
                (folder / "scenario.yaml").write_text(json.dumps(mutate_tree(about, rng)))
            codes[refused(partial(load.open_folder, folder))] += 1
    assert len(codes) == 2, codes
    print(seed, codes)


def pictures(place: Path) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(np.kron(rng.integers(0, 255, (8, 10, 3)), np.ones((8, 8, 1))).astype(np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    made = {}
    kinds: dict[str, dict[str, Any]] = {
        "png": {"exif": turned},
        "jpg": {"progressive": True, "exif": turned},
        "webp": {"exif": turned},
        "avif": {"exif": turned},
        "bmp": {},
        "tif": {"compression": "tiff_lzw"},
        "tiff": {"compression": "jpeg"},
        "gif": {},
        "jp2": {},
        "ppm": {},
    }
    for name, options in kinds.items():
        picture.save(place / f"x.{name}", **options)
        made[name] = (place / f"x.{name}").read_bytes()
    return made


def videos(place: Path) -> dict[str, bytes]:
    for name, codec in (("mp4", "libx264"), ("mkv", "mpeg4"), ("webm", "libvpx"), ("h264", "libx264")):
        video(place / f"x.{name}", [0, 40, 80, 120, 160], codec)
    noisy_video(place / "x.ts", "mpeg2video", 6)
    noisy_video(place / "x.avi", "mjpeg", 4)
    return {path.suffix[1:]: path.read_bytes() for path in place.iterdir()}


def count_shots(camera: Camera) -> None:
    assert sum(1 for _ in open_source(camera, seed=1)) < 20_000


@pytest.mark.parametrize("at_length", OFTEN)
@pytest.mark.parametrize(("make", "short", "long"), [(pictures, 200, 20_000), (videos, 80, 8_000)])
def test_any_picture_and_any_video(make, short, long, at_length, tmp_path, bounded):
    av.logging.set_level(None)
    seed, found = seed_of(at_length), Counter()
    files = make(tmp_path)
    names = sorted(files)
    with named(make.__name__, seed) as at:
        for number in range(long if at_length else short):
            at(number)
            rng = np.random.default_rng((seed, number, 3))
            name = names[int(rng.integers(len(names)))]
            path = tmp_path / f"x.{name}"
            path.write_bytes(mutate_bytes(files[name], rng))
            pace = 0.05 if rng.integers(2) else None
            started = time.process_time()
            source = Camera(source=str(path), width=32, height=24, period_s=pace)
            found[refused(partial(count_shots, source))] += 1
            assert time.process_time() - started < 2.0
            if make is pictures:
                refused(partial(packet_file.own_size, str(path)))
    assert len(found) == 2, found
    print(seed, found)


@pytest.mark.parametrize("at_length", OFTEN)
def test_any_file_of_packets(at_length, tmp_path, bounded):
    seed, codes = seed_of(at_length), Counter()
    files = []
    for codec in ("webp", "jpeg2000", "avif", "jpeg"):
        size = ["camera.width=128", "camera.height=96"]
        plan = schema.load("mars-relay", [f"codec.name={codec}", *size], {"camera.source": "testcard"})
        packet_file.encode(plan.session(), tmp_path / "whole")
        files.append((tmp_path / "whole").read_bytes())
    with named("files of packets", seed) as at:
        for number in range(4000 if at_length else 120):
            at(number)
            rng = np.random.default_rng((seed, number, 4))
            blob = files[int(rng.integers(len(files)))]
            head = 8 + int.from_bytes(blob[4:8], "big")
            if rng.integers(3):
                about = json.dumps(mutate_tree(json.loads(blob[8:head]), rng)).encode()
                blob = blob[:4] + len(about).to_bytes(4, "big") + about + blob[head:]
            else:
                blob = mutate_bytes(blob, rng)
            (tmp_path / "x").write_bytes(blob)
            codes[attempt("decode", tmp_path / "x", "-o", tmp_path / "x.png")] += 1
    assert {2, 3} <= set(codes) <= {0, 2, 3, 5}, codes
    print(seed, codes)


@pytest.mark.parametrize("at_length", OFTEN)
def test_any_trace(at_length, tmp_path, bounded):
    seed, codes = seed_of(at_length), Counter()
    tree = yaml.safe_load(schema.source_text("mars-relay")[0])
    tree["codec"] = {"name": "webp", "frame_bytes": 300}
    tree["link"]["hops"][0].pop("rate_bps")
    tree["link"]["hops"][0]["trace"] = "x.down"
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(tree))
    whole = b"# quantum_bytes: 100\n" + b"".join(b"%d\n" % (17 * at) for at in range(60))
    with named("traces", seed) as at:
        for number in range(1500 if at_length else 40):
            at(number)
            rng = np.random.default_rng((seed, number, 5))
            (tmp_path / "x.down").write_bytes(mutate_bytes(whole, rng))
            codes[attempt("scenarios", "validate", tmp_path / "x.yaml")] += 1
    assert set(codes) == {0, 2}, codes
    print(seed, codes)


# Bombs


BOMBS = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from hostile import attempt, call
call("inspect", "absent")  # what is imported once is no part of it
for command in sys.argv[1:]:
    assert attempt(*command.split()) == 2, command
status = Path("/proc/self/status").read_text()  # of this program: ru_maxrss is that of its parent as well
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


def test_bombs_cost_neither_time_nor_memory(tmp_path):
    write_bomb(tmp_path / "declared.mcap", 400_000_000)
    write_bomb(tmp_path / "lying.mcap", 400_000_000, declared=1000)
    messages = [("/scenario", "json", b"", b"{}")] * 200_000
    write_records(tmp_path / "tiny.mcap", messages, indexed=False)
    assert (tmp_path / "declared.mcap").stat().st_size < 400_000
    assert (tmp_path / "tiny.mcap").stat().st_size < 100_000
    commands = [f"inspect {tmp_path / name}" for name in ("declared.mcap", "lying.mcap", "tiny.mcap")]
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, *commands],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 350


def test_a_few_bytes_do_not_make_a_picture_of_any_size(tmp_path):
    plan = schema.load("mars-relay", ["codec.name=webp", "camera.width=128", "camera.height=96"])
    packet_file.encode(plan.session(), tmp_path / "a")
    blob = (tmp_path / "a").read_bytes()
    head = 8 + int.from_bytes(blob[4:8], "big")
    about = json.loads(blob[8:head])
    about["session"]["camera"] |= {"width": 8000, "height": 8000}
    told = json.dumps(about).encode()
    (tmp_path / "bomb").write_bytes(blob[:4] + len(told).to_bytes(4, "big") + told + blob[head:])
    code, _, err = call("decode", tmp_path / "bomb", "-o", tmp_path / "x.png")
    assert code == 2 and "8000x8000" in err and "--most-pixels 64000000" in err
    # Allowed, it is another fingerprint's, since the size is part of that.
    assert call("decode", tmp_path / "bomb", "-o", tmp_path / "x.png", "--most-pixels", "64000000")[0] == 5


@pytest.mark.parametrize("sections", ["Infinity", "NaN", "1e999", "-1", "9" * 5000, "null", '"8"', "[]"])
def test_the_number_of_sections_of_a_file_of_packets_is_one(tmp_path, sections):
    plan = schema.load("mars-relay", ["codec.name=webp", "camera.width=128", "camera.height=96"])
    packet_file.encode(plan.session(), tmp_path / "a")
    blob = (tmp_path / "a").read_bytes()
    head = 8 + int.from_bytes(blob[4:8], "big")
    about = (
        json.dumps({**json.loads(blob[8:head]), "sections": 7654321}).replace("7654321", sections).encode()
    )
    (tmp_path / "a").write_bytes(blob[:4] + len(about).to_bytes(4, "big") + about + blob[head:])
    assert "its head is damaged" in call("decode", tmp_path / "a", "-o", tmp_path / "x.png")[2]


# What a journal's records must be


def test_a_long_journal_is_within_its_bounds(tmp_path):
    """50,000 packets over three hops, 3,600 frames of a flat picture: neither is more than its file allows."""
    path = tmp_path / "x.mcap"
    picture = png.encode(next(toys.shots(1)).pixels)
    rows, data = [], []
    with Journal(path, {"scenario": {}}) as book:
        for number in range(50_000):
            now = number * 10**8
            rows.append((now, number, int(Fate.SENT), 0, 0, 0))
            rows += [(now + hop, number, int(Fate.CROSSED), hop, 0, 5) for hop in range(3)]
            rows.append((now + 4, number, int(Fate.DELIVERED), 0, 0, 0))
            data.append(number.to_bytes(8, "big"))
            book.packets(rows, data)
            if number % 14 == 0:
                book.event(Event("captured", now, number // 14, {"name": "x"}, picture))
    found = journal.read(path)
    assert len(found.rows) == 250_000
    assert len(found.events) == 3572


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": "encoded", "frame": 0}, "encoded.*sections"),
        ({"kind": "encoded", "frame": 0, "sections": "x"}, "sections"),
        ({"kind": "encoded", "frame": 0, "sections": [None]}, "sections.0"),
        ({"kind": "captured", "frame": None}, "frame"),
        ({"kind": "captured", "frame": 2**40}, "frame"),
        ({"kind": "captured", "frame": True}, "frame"),
        ({"kind": "captured", "frame": 0, "name": 5}, "name"),
        ({"kind": "captured", "frame": 0, "time_ns": -1}, "time_ns"),
        ({"kind": "captured", "frame": 0, "time_ns": 10**30}, "time_ns"),
        ({"kind": "decoded", "frame": 0}, "complete"),
        ({"kind": "closed", "frame": 0, "sections": [1]}, "sections"),
        ({"kind": "found", "frame": 0, "task": []}, "task"),
        ({"kind": "aborted", "reason": {}}, "reason"),
        ({"kind": ["x"]}, "kind"),
        (
            {"kind": "later", "deep": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]},
            "deep",
        ),
        ({"kind": "later", "x": float("nan")}, "NaN"),
        ({"kind": "later", "x": float("-inf")}, "-Infinity"),
    ],
)
def test_an_event_of_other_types_is_refused_where_it_is_read(fields, why, runs, tmp_path):
    event = json.dumps({"time_ns": 0, "frame": None, **fields}).encode()
    write_records(tmp_path / "x.mcap", [*records(runs[0]), ("/events", "json", b"", event)])
    with pytest.raises(UsageError, match=why) as error:
        journal.read(tmp_path / "x.mcap")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", ["1e999", "9" * 5000])
def test_a_number_beyond_all_numbers_is_refused(number, runs, tmp_path):
    event = b'{"kind": "later", "frame": null, "time_ns": 0, "x": ' + number.encode() + b"}"
    write_records(tmp_path / "x.mcap", [*records(runs[0]), ("/events", "json", b"", event)])
    with pytest.raises(UsageError):
        journal.read(tmp_path / "x.mcap")


def test_events_and_keys_of_a_later_version_are_read(runs, tmp_path):
    event = b'{"kind": "later", "frame": null, "time_ns": 0, "x": ["\\ud800"]}'
    write_records(
        tmp_path / "x.mcap", [*records(runs[0]), ("/events", "json", b"", event), ("/new", "x", b"", b"x")]
    )
    assert open_run(tmp_path / "x.mcap").events[-1]["x"] == ["\ud800"]


def test_a_malformed_packet_in_a_journal_is_named(runs, tmp_path):
    whole = records(runs[0])
    at = next(at for at, record in enumerate(whole) if record[0] == "/packets")
    batch = PacketRows.FromString(whole[at][3])
    batch.data[0] = b"\xff" * 9
    write_records(
        tmp_path / "x.mcap", [*whole[:at], (*whole[at][:3], batch.SerializeToString()), *whole[at + 1 :]]
    )
    code, out, err = call("inspect", tmp_path / "x.mcap")
    assert (code, out) == (2, "")
    assert "packet 0: format version 7" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "value", [value for value in NASTY if not (isinstance(value, str) and len(value) > 4000)], ids=repr
)
@pytest.mark.parametrize("key", ["camera", "codec", "link", "seed", "name"])
def test_a_scenario_of_other_types_is_refused_in_one_line(key, value, runs, tmp_path):
    whole = records(runs[0])
    head = json.loads(whole[0][3])
    head["scenario"][key] = value
    write_records(tmp_path / "x.mcap", [(*whole[0][:3], json.dumps(head).encode()), *whole[1:]])
    attempt("inspect", tmp_path / "x.mcap")
