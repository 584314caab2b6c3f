"""The recipes of the READMEs: whatever is added by its own file and its rows is used everywhere, at once."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image
from safetensors.numpy import save_file
from toy_codec.decoder import BandsDecoder
from toy_codec.encoder import BandsEncoder
from toy_codec.syntax import BandsSyntax
from typer.testing import CliRunner

from link import journal
from link.analysis import analyst
from link.analysis.analyst import ModelKind
from link.analysis.findings import Segments
from link.codecs import SYNTAXES
from link.codecs.syntax import EVERY_CODEC
from link.config import Camera, Codec
from link.errors import UsageError
from receiver.codecs import DECODERS, DecoderRow
from scenarios import run as runs
from scenarios import schema
from scenarios.cli import app
from scenarios.commands import options
from scenarios.drawing import Drawing
from scenarios.report import parts
from scenarios.sweep import work
from scenarios.sweep.plan import Request
from scenarios.truth import sets, truth
from scenarios.truth.files import read_labels
from scenarios.truth.known import Alone, Found
from scenarios.truth.labels import plain_table
from scenarios.truth.sets import DataSet
from sender import camera
from sender.camera import layouts
from sender.camera.layouts import Layout
from sender.codecs import ENCODERS, EncoderRow

ROOT = Path(__file__).parents[1]
PACKAGES = ("link", "sender", "receiver", "scenarios")
SMALL = {"camera.width": 64, "camera.height": 48, "camera.source": "testcard", "camera.frames": 3}


pytestmark = pytest.mark.usefixtures("cache_folder")


def run(out: Path, settings=(), **overrides):
    """Run mars-relay, small, in this process; return what it came to."""
    scenario = schema.load("mars-relay", settings, {**SMALL, **overrides})
    runs.prepare(out, scenario)
    outcome = runs.run(scenario, out, transport="inproc")
    assert outcome.error is None
    return outcome.metrics


# A codec


@pytest.fixture
def bands(monkeypatch):
    """Add the codec `bands`: a row in each of the three tables."""
    monkeypatch.setitem(SYNTAXES, "bands", BandsSyntax())
    monkeypatch.setitem(ENCODERS, "bands", EncoderRow(BandsEncoder.from_session))
    monkeypatch.setitem(DECODERS, "bands", DecoderRow(BandsDecoder.from_session))


def test_a_codec_that_is_added_runs_and_is_reported(bands, tmp_path):
    found = run(tmp_path / "run", **{"codec.name": "bands", "codec.channels": 6})
    assert found["codec"] == "bands" and found["profile"] is None
    assert found["bytes"]["payload"] == {"band": 3 * 6 * 8}
    assert found["frames"]["sent"] == 3 and found["quality"]["psnr_db"] > 5
    page = (tmp_path / "run" / "report.html").read_text()
    assert "encoded with bands and sent over 2 hops" in page
    assert "bands of grey" in page, "the words of its sections"
    tiles = journal.read(tmp_path / "run" / "run.mcap")
    assert len(tiles.pictures["received"]) == found["frames"]["complete"] + found["frames"]["partial"] > 0
    assert page.count('class="chan"') == 3, "what its sections hold is shown"


def test_a_codec_that_is_added_is_inspected(bands, tmp_path):
    run(tmp_path / "run", **{"codec.name": "bands", "codec.channels": 6})
    done = CliRunner().invoke(app, ["inspect", str(tmp_path / "run"), "--json"])
    assert done.exit_code == 0, done.output
    packets = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = Counter(section["kind"] for packet in packets for section in packet.get("sections") or ())
    assert set(kinds) == {"band"}


def test_a_codec_that_is_added_is_swept_by_what_it_reads(bands, tmp_path):
    vary: dict[str, list[Any]] = {
        "codec.name": ["bands", "webp"],
        "codec.channels": [2, 4],
        "codec.steps": [1, 2],
    }
    settings = tuple(f"{key}={value}" for key, value in SMALL.items())
    result = work.sweep(Request("mars-relay", settings, vary), work.Options(workers=0), tmp_path / "sweep")
    assert result.tally.done == 3, "its channels tell its cells apart, its steps do not; webp reads neither"
    table = tmp_path / "sweep" / "cells.parquet"
    rows = duckdb.sql(
        f"SELECT codec, channels, payload_bytes_per_frame FROM '{table}' ORDER BY 1, 2"
    ).fetchall()
    assert rows[:2] == [("bands", 2, 16.0), ("bands", 4, 32.0)]
    assert rows[2][:2] == ("webp", None)
    done = CliRunner().invoke(app, ["report", str(tmp_path / "sweep")])
    assert done.exit_code == 0, done.output
    pages = list((tmp_path / "sweep").glob("*.html"))
    assert pages and "bands" in pages[0].read_text()


def test_a_codec_says_what_does_not_hold_together(bands):
    with pytest.raises(UsageError, match="no band would be sent"):
        schema.load("mars-relay", (), {"codec.name": "bands", "codec.channels": 0})


def test_every_setting_is_read_by_some_codec():
    read = EVERY_CODEC.union(*(syntax.facts.settings for syntax in SYNTAXES.values()))
    assert read == set(Codec.model_fields)


def test_the_help_and_the_readme_name_the_codecs_of_the_table():
    assert options._CODEC == "Codec: gsc (the default), jpeg2000, webp, avif, jpeg, findings, sedic or sggic."
    assert Codec().name == next(iter(SYNTAXES))
    table = re.search(
        r"\| codec \| how it travels \|\n\| --- \| --- \|\n((?:\|.*\n)+)", (ROOT / "README.md").read_text()
    )
    assert table is not None
    rows = [tuple(part.strip() for part in line.strip("|").split(" | ")) for line in table[1].splitlines()]
    assert rows == [(f"`{name}`", syntax.facts.title) for name, syntax in SYNTAXES.items()]


def test_a_codec_is_named_by_its_own_files_and_the_tables_alone():
    """No module asks for a codec by its name; the default and the figures' colours are no such question."""
    tables = {"link/codecs/__init__.py", "sender/codecs/__init__.py", "receiver/codecs/__init__.py"}
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            place = str(path.relative_to(ROOT))
            if '"gsc"' in path.read_text() and place not in tables:
                found.add(place)
    assert found == {"link/config.py", "scenarios/curves/canvas.py"}


# An analysis model, a data set


class Brightness:
    """A model that calls each pixel dark or bright."""

    names = ("dark", "bright")

    def __init__(self, folder: Path, device: object) -> None:
        self._limit = int(json.loads((folder / "config.json").read_text())["limit"])

    def find(self, pixels):
        return Segments((pixels.mean(axis=2) > self._limit).astype(np.uint8), self.names)


@pytest.fixture
def brightness(monkeypatch, tmp_path):
    """Add the model class `brightness`: a row; and a model of it that comes with farlink: a folder and a row."""
    kind = ModelKind("segmentation", Brightness, "dark or bright", model_type="brightness")
    monkeypatch.setattr(analyst, "KINDS", [*analyst.KINDS, kind])
    folder = tmp_path / "models" / "segmentation-steps"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "brightness", "limit": 127}))
    save_file({"none": np.zeros(1, np.float32)}, folder / "model.safetensors")
    return folder


def test_an_analysis_model_that_is_added_looks_at_what_arrives(brightness, tmp_path):
    settings = (f"profile.segmentation={brightness}", "analysis=[segmentation]", "codec.frame_bytes=900")
    found = run(tmp_path / "run", settings, **{"codec.name": "webp"})
    scores = found["tasks"]["segmentation"]
    assert scores["model"] == "segmentation-steps"
    assert 0.5 < scores["original"]["miou"] <= 1.0 and scores["truth"] is None
    page = (tmp_path / "run" / "report.html").read_text()
    assert "segmentation (segmentation-steps)" in page
    book = journal.read(tmp_path / "run" / "run.mcap")
    names = {tuple(event["names"]) for event in book.events if event["kind"] == "found"}
    assert names == {Brightness.names}


class Steps(Alone):
    """Steps of grey, with the side of each pixel in a picture beside."""

    label_names = Brightness.names

    def __init__(self, folder: Path, pictures) -> None:
        self._table = plain_table(2)

    def needed(self, picture: Path) -> list[Path]:
        return [picture.parent.with_name("sides") / picture.name]

    def read(self, picture: Path, size) -> Found:
        return Found(labels=read_labels(self.needed(picture)[0], size, self._table))

    def sequence(self, name: str) -> str:
        return "one"


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """Add the data set `steps`: a row for its pictures, a row for its truth; return its folder."""
    layout = Layout("Steps", "shots/*.png", (lambda folder: folder.glob("shots/*"),))
    monkeypatch.setattr(layouts, "LAYOUTS", {**layouts.LAYOUTS, "steps": layout})
    monkeypatch.setattr(camera, "LAYOUTS", layouts.LAYOUTS)
    monkeypatch.setattr(truth, "SETS", {**sets.SETS, "steps": DataSet(cast(Any, Steps), "steps")})
    folder = tmp_path / "steps"
    for part in ("shots", "sides"):
        (folder / part).mkdir(parents=True)
    for number in range(3):
        pixels = np.full((48, 64, 3), 40, np.uint8)
        pixels[:, 16 * (number + 1) :] = 210
        Image.fromarray(pixels).save(folder / "shots" / f"{number}.png")
        Image.fromarray((pixels[..., 0] > 127).astype(np.uint8)).save(folder / "sides" / f"{number}.png")
    return folder


def test_a_data_set_that_is_added_is_a_source_with_truth(steps, brightness, monkeypatch, tmp_path):
    monkeypatch.setattr(analyst, "SHIPPED", brightness.parent)
    monkeypatch.setitem(analyst.NAMES, "segmentation-steps", ("steps", "segmentation"))
    changes = {"codec.name": "webp", "camera.source": f"steps:{steps}"}
    found = run(tmp_path / "run", ("analysis=all", "codec.frame_bytes=900", "camera.frames=3"), **changes)
    scores = found["tasks"]["segmentation"]
    assert scores["model"] == "segmentation-steps", "the model for pictures of this kind"
    assert scores["ideal"]["miou"] == 1.0, "the truth was read"
    assert 0.9 < scores["truth"]["miou"] <= 1.0
    (shots,) = {
        event["name"]
        for event in journal.read(tmp_path / "run" / "run.mcap").events
        if event["kind"] == "captured" and event["frame"] == 0
    }
    assert shots == "shots/0.png"


def test_a_data_set_that_is_added_is_named_where_sources_are_listed(steps):
    with pytest.raises(UsageError, match="steps:DIR"):
        camera.open_source(Camera(source="nowhere"), seed=1)


# A part of the report


def test_a_part_that_is_added_stands_in_the_report(monkeypatch, tmp_path):
    def part(material):
        first = material.rows[0]
        words = Markup("<h2>Names</h2><p>{}</p>").format(f"<{first.name}>")
        return [words, Drawing("names", "Names drawn", "A caption.", "alt", b"<svg/>", b"<svg/>", b"PNG")]

    monkeypatch.setattr(parts, "PARTS", [*parts.PARTS, part])
    run(tmp_path / "run", **{"codec.name": "webp"})
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<h2>Names</h2><p>&lt;testcard#0&gt;</p>" in page
    assert "<h2>Names drawn</h2>" in page and page.index("What happened to each packet") < page.index(
        "Names drawn"
    )
    assert (tmp_path / "run" / "figures" / "names.png").read_bytes() == b"PNG"


# The READMEs


READMES = [ROOT / name for name in ("README.md", *(f"{package}/README.md" for package in PACKAGES))]


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_readme_names_files_that_are_there(path):
    """Every file and folder in the tables of what lives where, and in the recipes."""
    named = set()
    for line in path.read_text().splitlines():
        if line.startswith(("|", "1.", "2.", "3.", "4.", "**")):
            named |= set(re.findall(r"`([a-z_/.{},]+(?:\.py|\.j2|/))`", line))
    there = {name for name in named if "NAME" not in name and not name.startswith(".")}
    assert len(there) > 5
    lost = [
        name
        for whole in there
        for name in spelled(whole)
        if not any((base / name).exists() for base in (ROOT, path.parent, *path.parent.rglob("*/")))
        and name.removesuffix(".py").rpartition("/")[2] != "bands"
    ]
    assert lost == []


def spelled(name: str) -> list[str]:
    """Return the names that `a/{b,c}.py` stands for."""
    found = re.fullmatch(r"(.*)\{(.*)\}(.*)", name)
    return [found[1] + part + found[3] for part in found[2].split(",")] if found else [name]


def test_every_room_and_module_of_a_package_is_in_its_readme():
    for package in PACKAGES:
        text = (ROOT / package / "README.md").read_text()
        words = set(re.findall(r"[a-z_]+", text))
        for path in (ROOT / package).iterdir():
            if path.name in ("__init__.py", "__pycache__") or path.suffix not in ("", ".py"):
                continue
            assert path.stem in words, f"{package}/README.md says nothing of {path.name}"
