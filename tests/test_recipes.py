"""The recipes of the READMEs: whatever is added by its own file and its rows is used everywhere, at once."""

import json
import re
from collections import Counter
from pathlib import Path

import duckdb
import pytest
from toy_codec.decoder import BandsDecoder
from toy_codec.encoder import BandsEncoder
from toy_codec.syntax import BandsSyntax
from typer.testing import CliRunner

from link import journal
from link.codecs import SYNTAXES
from link.codecs.syntax import EVERY_CODEC
from link.config import Codec
from link.errors import UsageError
from receiver.codecs import DECODERS, DecoderRow
from scenarios import run as runs
from scenarios import schema
from scenarios.cli import app
from scenarios.commands import options
from scenarios.sweep import cells, work
from scenarios.sweep.plan import Request
from sender.codecs import ENCODERS, EncoderRow

ROOT = Path(__file__).parents[1]
SMALL = {"camera.width": 64, "camera.height": 48, "camera.source": "testcard", "camera.frames": 3}


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FARLINK_CACHE", str(tmp_path_factory.mktemp("cache")))
    cells.workbench.cache_clear()
    yield
    cells.workbench.cache_clear()


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
    vary = {"codec.name": ["bands", "webp"], "codec.channels": [2, 4], "codec.steps": [1, 2]}
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
    assert options._CODEC == "Codec: gsc (the default), jpeg2000, webp, avif or jpeg."
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
    for package in ("link", "sender", "receiver", "scenarios"):
        for path in (ROOT / package).rglob("*.py"):
            place = str(path.relative_to(ROOT))
            if '"gsc"' in path.read_text() and place not in tables:
                found.add(place)
    assert found == {"link/config.py", "scenarios/curves/canvas.py"}
