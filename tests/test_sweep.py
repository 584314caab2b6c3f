"""Sweeps: planned whole, run by any number of workers to the same tables, killed and resumed, cached, told clearly."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import psutil
import pytest
import yaml
from PIL import Image

from link import journal
from link.errors import StorageError, UsageError
from link.frame import Frame, Payload
from receiver.codecs import DECODERS, DecoderRow
from scenarios import run as runs
from scenarios import schema
from scenarios.results import cell as results
from scenarios.results.folder import locked
from scenarios.sweep import cached as parts
from scenarios.sweep import caches, cells, plan, schedule, stamps, state, work
from scenarios.sweep.caches import Store
from scenarios.sweep.plan import Request
from scenarios.sweep.workers import Local, gpus_used, how_many
from sender.codecs.classical import ClassicalEncoder

COMMAND = [sys.executable, "-P", "-c", "from scenarios.cli import main; main()", "sweep"]
SMALL = (
    "camera.width=64",
    "camera.height=48",
    "codec.caption=none",
    "codec.steps=1",
    "camera.source=testcard",
)
HERE = work.Options(workers=0)
WALL = {"wall_s"}


pytestmark = pytest.mark.usefixtures("cache_folder")


def asked(vary=None, settings=(), frames=2, seeds=None, listed=None):
    vary = {"codec.name": ["webp", "jpeg2000"], "codec.frame_bytes": [200, 300]} if vary is None else vary
    return Request("mars-relay", (*SMALL, *settings), vary, listed, None, frames, seeds)


def table(out, name, but=()):
    found = duckdb.sql(f"SELECT * FROM '{out}/{name}.parquet'")
    columns = [column for column in found.columns if column not in {*WALL, *but}]
    return columns, found.select(*(f'"{column}"' for column in columns)).fetchall()


def tables(out, but=()):
    return table(out, "cells", but), table(out, "frames", but)


def test_values_are_yaml_and_commas_in_brackets_part_nothing():
    found = plan.parse_vary(
        [
            "codec.channels=1,2",
            "link.hops.0.loss=null,{model: bernoulli, loss: 0.1}",
            "source='a,b',world:mars",
        ]
    )
    assert found == {
        "codec.channels": [1, 2],
        "link.hops.0.loss": [None, {"model": "bernoulli", "loss": 0.1}],
        "camera.source": ["a,b", "world:mars"],
    }
    assert plan.parse_seeds("3") == (1, 2, 3)
    assert plan.parse_seeds("3,5,9,5") == (3, 5, 9)
    assert plan.parse_seeds("7,") == (7,)


@pytest.mark.parametrize(
    ("text", "words"),
    [("codec.channels", "PATH=VALUE"), ("=3", "PATH=VALUE"), ("codec.channels=", "PATH=VALUE"), ("seed=1,2", "--seeds"), ("a.b=[", "YAML")],
)  # fmt: skip
def test_what_is_no_grid_is_refused(text, words):
    with pytest.raises(UsageError, match=words):
        plan.parse_vary([text])
    with pytest.raises(UsageError, match="twice"):
        plan.parse_vary(["codec.channels=1", "codec.channels=2"])


@pytest.mark.parametrize("text", ["", "0", "-3", "x", "1,x", "1.5"])
def test_what_is_no_seed_is_refused(text):
    with pytest.raises(UsageError, match="--seeds"):
        plan.parse_seeds(text)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("codec.chanels", 3, "unknown key 'chanels'; did you mean 'channels'"),
        ("link.hops.0.rate_bp", 3, "unknown key 'rate_bp'; did you mean 'rate_bps'"),
        ("codek.name", "gsc", "unknown key 'codek'; did you mean 'codec'"),
        ("link.hops.7.rate_bps", 3, "items 0 to 1"),
        ("codec.name", "wepb", "did you mean 'webp'"),
        ("link.rate_bps", -1, "rate_bps"),
        ("camera.source", "nowhere", "no such file"),
        ("camera.source", "webcam:0", "the same frames again"),
    ],
)
def test_an_unknown_field_or_value_is_named_before_anything_runs(tmp_path, path, value, words):
    with pytest.raises(UsageError) as error:
        work.sweep(asked({"codec.frame_bytes": [200, 300], path: [value]}), HERE, tmp_path / "out")
    assert words in str(error.value)
    assert path in str(error.value), "the settings of the cell are named"
    assert "--set" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_invalid_combination_is_named():
    with pytest.raises(UsageError, match=r"link.repair.arq=True, link.return=None: .*needs a return channel"):
        plan.cells(asked({"codec.name": ["webp"], "link.repair.arq": [False, True], "link.return": [None]}))


def test_the_grid_is_a_product_and_equal_cells_are_one():
    found = plan.cells(asked({"codec.name": ["webp", "gsc"], "codec.channels": [1, 2]}, seeds=(1, 2)))
    assert sorted((cell.scenario.codec.name, cell.settings.get("codec.channels"), cell.scenario.seed) for cell in found) == [
        ("gsc", 1, 1), ("gsc", 1, 2), ("gsc", 2, 1), ("gsc", 2, 2), ("webp", None, 1), ("webp", None, 2),
    ]  # fmt: skip
    assert len({cell.key for cell in found}) == 6
    twice = plan.cells(
        asked({}, listed=[{"codec.name": "webp"}, {"codec.name": "webp"}, {"codec.name": "avif"}])
    )
    assert [cell.scenario.codec.name for cell in twice] == ["webp", "avif"]
    crossed = plan.cells(
        asked({"codec.frame_bytes": [200, 300]}, listed=[{"codec.name": "webp"}, {"codec.name": "avif"}])
    )
    assert len(crossed) == 4


def test_a_classical_codec_keeps_what_it_reads():
    (cell,) = plan.cells(asked({"codec.name": ["webp"], "codec.unfit": ["skip"], "codec.channels": [3]}))
    assert cell.scenario.codec.unfit == "skip" and dict(cell.settings) == {
        "codec.name": "webp",
        "codec.unfit": "skip",
    }


def test_a_rate_for_all_hops():
    found = plan.cells(asked({"link.rate_bps": [80, 160], "codec.name": ["webp"]}))
    assert [[hop.rate_bps for hop in cell.scenario.link.hops] for cell in found] == [[80, 80], [160, 160]]
    traced = Request(
        "cellular-degraded", SMALL, {"link.rate_bps": [5000], "codec.name": ["webp"]}, None, None, 1
    )
    assert all(hop.trace is None and hop.rate_bps == 5000 for hop in plan.cells(traced)[0].scenario.link.hops)


def test_cells_that_encode_the_same_stand_together():
    found = plan.cells(asked({"link.hops.1.delay_s": [1, 2], "codec.name": ["webp", "avif"]}))
    assert [cell.scenario.codec.name for cell in found] == ["webp", "webp", "avif", "avif"]
    assert len({cell.group for cell in found}) == 2
    later = plan.cells(asked({"codec.frame_bytes": [200, 300], "codec.name": ["webp"]}))
    assert len({cell.group for cell in later}) == 2


def test_a_key_changes_with_the_files_of_the_source(tmp_path):
    place = tmp_path / "pictures"
    place.mkdir()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(place / "a.png")
    request = dataclasses.replace(asked({"codec.name": ["webp"]}), source=str(place))
    first = plan.cells(request)[0].key
    assert plan.cells(request)[0].key == first
    Image.new("RGB", (64, 48), (20, 30, 230)).save(place / "b.png")
    assert plan.cells(request)[0].key != first


@pytest.mark.parametrize("whole_bytes", [stamps._SOURCE_BYTES, 100])
def test_another_picture_of_the_same_size_and_time_is_another_source(tmp_path, monkeypatch, whole_bytes):
    monkeypatch.setattr(stamps, "_SOURCE_BYTES", whole_bytes)  # of what is beyond, the status is looked at
    place = tmp_path / "pictures"
    place.mkdir()
    request = dataclasses.replace(asked({"codec.name": ["webp"]}), source=str(place))
    keys = []
    for colour in ((200, 30, 30), (20, 30, 230), (200, 30, 30)):
        Image.new("RGB", (64, 48), colour).save(place / "a.bmp")
        os.utime(place / "a.bmp", ns=(10**18, 10**18))
        keys.append((plan.cells(request)[0].key, (place / "a.bmp").stat().st_size))
    assert keys[0][1] == keys[1][1]
    assert keys[0][0] != keys[1][0]
    if whole_bytes > 100:
        assert keys[2] == keys[0]


def test_a_sweep_writes_what_was_asked_and_both_tables(tmp_path):
    out = tmp_path / "out"
    result = work.sweep(asked(seeds=(1, 2)), HERE, out)
    assert result.error is None and not result.failures
    assert (result.tally.done, result.tally.cells, result.tally.cached) == (8, 8, 0)
    columns, rows = table(out, "cells")
    assert len(rows) == 8
    assert columns == ["cell", "status", "error", "settings", *results.columns()]
    first = dict(zip(columns, rows[0]))
    assert first["status"] == "done" and first["error"] is None
    assert json.loads(first["settings"]) == {"codec.name": "webp", "codec.frame_bytes": 200}
    assert first["frames_sent"] == 2 and first["frame_bytes"] == 200 and first["channels"] is None
    assert 0 < first["payload_bytes_per_frame"] <= 200 < first["on_air_bytes_per_frame"]
    assert first["on_air_bps"] == pytest.approx(first["on_air_bytes_per_frame"] * 8 / 60)
    assert first["rate_bps"] == 500
    assert 0 < first["loss"] < 0.001, "of the 5 % that its lossy hop loses it sends again what it can"
    frame_columns, frames = table(out, "frames")
    assert frame_columns == ["cell", *results.frame_columns()]
    assert len(frames) == 16
    assert {row[frame_columns.index("cell")] for row in frames} == {row[0] for row in rows}
    assert {row[frame_columns.index("sequence")] for row in frames} == {"testcard"}
    assert {(row[frame_columns.index("width")], row[frame_columns.index("height")]) for row in frames} == {
        (64, 48)
    }
    assert json.loads(json.dumps(yaml.safe_load((out / "sweep.yaml").read_text())))["seeds"] == [1, 2]
    assert not (out / ".work").exists()


def test_a_cell_is_the_run_of_its_scenario_from_cold_and_from_warm_caches(tmp_path):
    request = asked({"codec.name": ["webp", "gsc"], "codec.frame_bytes": [300]}, frames=3)
    options = dataclasses.replace(HERE, keep_journals=True)
    work.sweep(request, options, tmp_path / "cold")
    again = work.sweep(request, dataclasses.replace(options, fresh=True), tmp_path / "warm")
    assert not again.tally.misses and again.tally.hits["payloads"] == 6
    for item in plan.cells(request):
        alone = tmp_path / item.id
        alone.mkdir()
        assert runs.execute(item.scenario, alone, transport="inproc") is None
        for out in ("cold", "warm"):
            kept = tmp_path / out / "cells" / item.id / "run.mcap"
            assert journal.digest(kept) == journal.digest(alone / "run.mcap")
    assert tables(tmp_path / "cold") == tables(tmp_path / "warm")


def repaired(lost):
    """Return settings of a way of ten minutes on which the packets of the pattern *lost* are lost and asked for."""
    hop = (
        f"{{name: air, rate_bps: 500, delay_s: 600, loss: {{model: pattern, pattern: '{lost + '.' * 99}'}}}}"
    )
    return (f"link.hops=[{hop}]", "link.mtu_bytes=64", "link.repair.fec=0", "link.repair.arq=true")


@pytest.mark.parametrize(("codec", "lost"), [("gsc", ".x"), ("jpeg2000", "......x")])
def test_a_picture_and_its_refinement_are_both_found_in_the_cache(tmp_path, codec, lost):
    """Each is known by the sections that it was drawn of, so a warm cache draws neither."""
    request = asked({"codec.name": [codec], "codec.frame_bytes": [400]}, repaired(lost))
    options = dataclasses.replace(HERE, keep_journals=True)
    cold = work.sweep(request, options, tmp_path / "cold")
    warm = work.sweep(request, dataclasses.replace(options, fresh=True), tmp_path / "warm")
    assert cold.tally.misses["pictures"] == 3 == warm.tally.hits["pictures"] and not warm.tally.misses
    (item,) = plan.cells(request)
    (tmp_path / "alone").mkdir()
    assert runs.execute(item.scenario, tmp_path / "alone", transport="inproc") is None
    events = journal.read(tmp_path / "alone" / "run.mcap").events
    shown = [(event["frame"], "refines" in event) for event in events if event["kind"] == "decoded"]
    assert shown == [(0, False), (1, False), (0, True)]
    for out in ("cold", "warm"):
        kept = tmp_path / out / "cells" / item.id / "run.mcap"
        assert journal.digest(kept) == journal.digest(tmp_path / "alone" / "run.mcap")


def test_a_warm_cache_computes_nothing(tmp_path, monkeypatch):
    work.sweep(asked(), HERE, tmp_path / "first")

    def never(*_):
        raise AssertionError("a cell was run")

    monkeypatch.setattr(cells, "run", never)
    result = work.sweep(asked(), HERE, tmp_path / "second")
    assert (result.tally.done, result.tally.cached, result.tally.failed) == (4, 4, 0)
    assert tables(tmp_path / "first") == tables(tmp_path / "second")
    same = work.sweep(asked(), HERE, tmp_path / "second")
    assert (same.tally.before, same.tally.cached) == (4, 0)
    for options in (dataclasses.replace(HERE, fresh=True), dataclasses.replace(HERE, cache=False)):
        computed = work.sweep(asked(), options, tmp_path / str(options.fresh))
        assert computed.tally.failed == 4, "nothing was taken from the cache"


def test_equal_frames_are_encoded_once_whatever_the_link(tmp_path, monkeypatch):
    encoded = []
    encode = ClassicalEncoder.encode
    monkeypatch.setattr(
        ClassicalEncoder, "encode", lambda self, frame: encoded.append(frame.number) or encode(self, frame)
    )
    request = asked({"codec.name": ["webp"], "link.hops.1.delay_s": [1, 2, 3], "link.hops.0.loss": [None]})
    result = work.sweep(request, HERE, tmp_path / "out")
    assert result.tally.done == 3
    assert encoded == [0, 1]
    assert result.tally.misses["pictures"] == 2 == result.tally.misses["shots"]
    assert result.tally.misses["scores"] == 6, "two pairs, and the features of each picture sent and received"


def test_a_cell_that_fails_is_kept_with_its_error_and_retried_on_demand(tmp_path):
    request = asked({"codec.name": ["jpeg2000"], "codec.frame_bytes": [20, 300]})
    out = tmp_path / "out"
    result = work.sweep(request, HERE, out)
    assert (result.tally.done, result.tally.failed) == (1, 1)
    assert "frame_bytes 20 is too small" in result.failures[0][1]
    columns, rows = table(out, "cells")
    assert [row[columns.index("status")] for row in rows] == ["failed", "done"]
    assert "too small" in rows[0][columns.index("error")]
    ran = []
    run = cells.run

    def counted(job, bench):
        ran.append(job["key"])
        return run(job, bench)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "run", counted)
        assert work.sweep(request, HERE, out).tally.failed == 1
        assert ran == []
        assert work.sweep(request, dataclasses.replace(HERE, retry_failed=True), out).tally.failed == 1
        assert len(ran) == 1

        def mended(job, bench):
            tree = json.loads(json.dumps(job))
            tree["scenario"]["codec"]["frame_bytes"] = 300
            return run(tree, bench)

        patch.setattr(cells, "run", mended)
        done = work.sweep(request, dataclasses.replace(HERE, retry_failed=True), out)
    assert (done.tally.done, done.tally.failed) == (2, 0)
    assert table(out, "frames")[1].__len__() == 4


def test_fail_fast_begins_nothing_after_a_failure(tmp_path):
    request = asked({"codec.name": ["jpeg2000"], "codec.frame_bytes": [20, 300, 400]})
    result = work.sweep(request, dataclasses.replace(HERE, fail_fast=True), tmp_path / "out")
    assert (result.tally.done, result.tally.failed, result.tally.left) == (0, 1, 2)


def test_another_request_needs_a_word_and_a_foreign_folder_is_left_alone(tmp_path):
    out = tmp_path / "out"
    work.sweep(asked(), HERE, out)
    more = asked({"codec.name": ["webp", "jpeg2000"], "codec.frame_bytes": [200, 300, 400]})
    with pytest.raises(UsageError, match="asked for otherwise"):
        work.sweep(more, HERE, out)
    result = work.sweep(more, dataclasses.replace(HERE, resume=True), out)
    assert (result.tally.before, result.tally.cells) == (4, 6)
    assert len(table(out, "cells")[1]) == 6
    fewer = work.sweep(asked(), dataclasses.replace(HERE, resume=True), out)
    assert fewer.tally.before == 4
    assert len(table(out, "cells")[1]) == 4, "the tables hold what was asked for"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    for place in (tmp_path / "mine", tmp_path / "mine" / "diary.txt"):
        with pytest.raises(UsageError):
            work.sweep(asked(), dataclasses.replace(HERE, fresh=True), place)
    assert (tmp_path / "mine" / "diary.txt").read_text() == "dear diary"


def test_two_sweeps_in_one_folder_and_a_damaged_state_are_refused(tmp_path):
    with locked(tmp_path / "out"), pytest.raises(UsageError, match="another farlink run or sweep"):
        work.sweep(asked(), HERE, tmp_path / "out")
    (tmp_path / "out" / state.FILE).write_bytes(b"this is no database" * 100)
    with pytest.raises(UsageError, match="--fresh"):
        work.sweep(asked(), HERE, tmp_path / "out")
    assert work.sweep(asked(), dataclasses.replace(HERE, fresh=True), tmp_path / "out").tally.done == 4


def snapshot(folder):
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


def test_a_dry_run_counts_and_touches_nothing(tmp_path):
    out = tmp_path / "out"
    rows = work.forecast(asked(seeds=(1, 2)), HERE, out)
    assert not out.exists()
    assert [row.status for row in rows] == ["to run"] * 8
    assert all(row.frames == 2 and row.wall_s is None and row.virtual_s == 120 for row in rows)
    result = work.sweep(asked(seeds=(1, 2)), HERE, out)
    predicted = {row.cell.id: row.on_air_bytes for row in rows}
    columns, found = table(out, "cells")
    for row in found:
        true = row[columns.index("on_air_bytes_per_frame")] * 2
        assert 0.5 * true < predicted[row[0]] < 2.0 * true
    before = snapshot(out)
    more = asked({"codec.name": ["webp", "jpeg2000"], "codec.frame_bytes": [200, 300, 400]}, seeds=(1, 2))
    told = work.forecast(more, HERE, out)
    assert sorted(row.status for row in told) == ["done"] * 8 + ["to run"] * 4
    assert all(row.wall_s is not None and row.wall_s > 0 for row in told)
    assert snapshot(out) == before
    assert result.tally.done == 8
    elsewhere = work.forecast(asked(seeds=(1, 2)), HERE, tmp_path / "other")
    assert {row.status for row in elsewhere} == {"cached"}


def test_the_cache_gives_back_what_it_was_given_and_drops_what_is_damaged(tmp_path):
    store = Store(tmp_path)
    store.put("payloads", "ab" * 32, b"hello")
    assert Store(tmp_path).get("payloads", "ab" * 32) == b"hello"
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    for damaged in (b"", b"x" * 10, path.read_bytes()[:-1], path.read_bytes()[:-1] + b"!"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(damaged)
        fresh = Store(tmp_path)
        assert fresh.get("payloads", "ab" * 32) is None
        assert not path.exists()
        assert fresh.misses["payloads"] == 1


def test_an_entry_at_the_place_of_another_is_damaged(tmp_path):
    store = Store(tmp_path)
    store.put("payloads", "ab" * 32, b"hello")
    entry = (tmp_path / "payloads" / "ab" / ("ab" * 31)).read_bytes()
    for kind, key in (("payloads", "ab" * 31 + "cd"), ("pictures", "ab" * 32)):
        place = tmp_path / kind / key[:2] / key[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(entry)
        assert Store(tmp_path).get(kind, key) is None
        assert not place.exists()
    assert Store(tmp_path).get("payloads", "ab" * 32) == b"hello"


def test_the_cache_keeps_to_its_limit_and_forgets_what_was_used_longest_ago(tmp_path):
    store = Store(tmp_path, 100_000)
    keys = [f"{number:064x}" for number in range(300)]
    for at, key in enumerate(keys):
        store.put("pictures", key, bytes(1000))
        for path in (tmp_path / "pictures").rglob(key[2:]):
            os.utime(path, (at, at))
        if at == 80:
            (first,) = (tmp_path / "pictures").rglob(keys[0][2:])
            os.utime(first, (10_000, 10_000))
    (tmp_path / "notes.txt").write_text("not the cache's")
    size = sum(path.stat().st_size for path in (tmp_path / "pictures").rglob("*") if path.is_file())
    assert 50_000 < size <= 100_000 * (1 + 1 / 64) + 1032
    fresh = Store(tmp_path)
    assert fresh.get("pictures", keys[0]) is not None, "used lately"
    assert fresh.get("pictures", keys[1]) is None
    assert fresh.get("pictures", keys[-1]) is not None
    assert (tmp_path / "notes.txt").exists()


def test_a_cache_that_cannot_be_written_is_told_once_and_done_without(tmp_path):
    told = []
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file", warn=told.append)
    for number in range(3):
        store.put("pictures", f"{number:064x}", b"x")
    assert len(told) == 1 and "cannot be written" in told[0]
    assert store.get("pictures", f"{1:064x}") == b"x", "memory still has it"


def test_many_processes_share_one_cache(tmp_path):
    code = (
        "import sys; from pathlib import Path; from scenarios.sweep.caches import Store\n"
        "store = Store(Path(sys.argv[1]), 60_000)\n"
        "for number in range(200):\n"
        "    key = f'{number % 40:064x}'\n"
        "    found = store.get('scores', key)\n"
        "    assert found in (None, key.encode() * 20), found\n"
        "    store._recent.clear(); store._recent_bytes = 0\n"
        "    store.put('scores', key, key.encode() * 20)\n"
    )
    children = [subprocess.Popen([sys.executable, "-P", "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("text", ["x", "-5", "1e9"])
def test_a_cache_size_that_is_no_number_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setenv("FARLINK_CACHE_BYTES", text)
    with pytest.raises(UsageError, match="FARLINK_CACHE_BYTES"):
        work.sweep(asked(), HERE, tmp_path / "out")


def test_damaged_entries_are_made_again(tmp_path, cache_folder):
    work.sweep(asked(), HERE, tmp_path / "first")
    for path in cache_folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"damaged" * 9)
    cells.workbench.cache_clear()
    result = work.sweep(asked(), HERE, tmp_path / "second")
    assert (result.tally.done, result.tally.cached) == (4, 0)
    assert tables(tmp_path / "first") == tables(tmp_path / "second")


@pytest.mark.parametrize("sections", [(b"ab", None, b"", b"cde"), (), (None,)])
def test_payloads_keep_their_holes(sections):
    assert parts.unpack_payload(parts.pack_payload(Payload(sections))) == Payload(sections)


class Batches:
    """Draws four at a time, grey by the length of the first section."""

    def __init__(self):
        self.calls = []

    def decode_many(self, payloads):
        self.calls.append(len(payloads))
        return [np.full((48, 64, 3), len(payload.sections[0] or b"") % 256, np.uint8) for payload in payloads]


def draw_in_batches(monkeypatch, codec):
    """Let *codec* be decoded in batches; return the decoder, which counts them."""
    made: Any = Batches()
    monkeypatch.setitem(DECODERS, codec, DecoderRow(lambda _session: made))
    ends_of = parts.ends

    def batched(session, bench):
        ends = ends_of(session, bench)
        ends.decoder.batched = True
        return ends

    monkeypatch.setattr(parts, "ends", batched)
    return made


def test_pictures_that_are_drawn_in_batches_are_all_known_before_the_run(tmp_path, monkeypatch):
    made = draw_in_batches(monkeypatch, "webp")
    request = asked({"codec.name": ["webp"], "link.hops.1.delay_s": [1, 2]}, frames=5)
    result = work.sweep(request, HERE, tmp_path / "out")
    assert result.tally.done == 2, result.failures
    assert made.calls[0] > 1
    assert sum(made.calls) == result.tally.misses["pictures"] > 0, "drawn once, and found by the run"


def test_a_rehearsal_knows_what_will_be_drawn_early_and_refined(tmp_path, monkeypatch):
    made = draw_in_batches(monkeypatch, "jpeg2000")
    request = asked({"codec.name": ["jpeg2000"], "codec.frame_bytes": [400]}, repaired("......x"))
    result = work.sweep(request, HERE, tmp_path / "out")
    assert result.tally.done == 1, result.failures
    assert made.calls == [3] == [result.tally.misses["pictures"]], (
        "two pictures and a refinement, in one batch"
    )


def test_a_batched_picture_does_not_depend_on_its_neighbours(monkeypatch):
    from receiver.codecs import gsc
    from sender.codecs.gsc import GscEncoder

    monkeypatch.setattr(gsc, "BATCH", 3)
    (cell,) = plan.cells(asked({"codec.name": ["gsc"], "codec.frame_bytes": [900]}))
    session = cell.scenario.session()
    encoder, decoder = GscEncoder.from_session(session), gsc.GscDecoder.from_session(session)
    rng = np.random.Generator(np.random.PCG64(5))
    made = [encoder.encode(Frame(n, 0, rng.integers(0, 255, (48, 64, 3), np.uint8), "")) for n in range(5)]
    whole: Any = decoder.decode_many([*made, Payload((None,))])
    assert whole[5] is None
    for number, payload in enumerate(made):
        (alone,) = decoder.decode_many([payload])
        assert alone is not None
        assert np.array_equal(alone, whole[number])
        single = decoder.decode(payload)
        assert np.abs(single.astype(int) - alone).max() <= 4


class Fake:
    """An executor that says what it is told to."""

    def __init__(self, slots, answers):
        self.slots, self.answers, self.ran = slots, answers, []

    def start(self, slot, job):
        self.ran.append((slot, job["key"]))
        self.waiting = [*getattr(self, "waiting", []), (slot, job["key"])]

    def wait(self):
        slot, key = self.waiting.pop(0)
        answers = self.answers.get(key, [{"ok": {}}])
        return [(slot, answers.pop(0) if len(answers) > 1 else answers[0])]

    def close(self):
        pass


def drive(grid, executor):
    told = {}
    schedule.drive(
        grid,
        executor,
        lambda cell: {"key": cell.key},
        lambda cell, outcome: told.setdefault(cell.key, outcome) is not None,
    )
    return told


def test_a_cell_whose_worker_dies_is_tried_once_more():
    grid = plan.cells(asked())
    once, twice = grid[0].key, grid[1].key
    died = {"died": "the worker was killed (SIGKILL)"}
    told = drive(grid, Fake(2, {once: [died, {"ok": {}}], twice: [died]}))
    assert told[once] == {"ok": {}}
    assert told[twice] == {"failed": "the worker was killed (SIGKILL), 2 times", "exit_code": 1}
    assert len(told) == 4


def test_groups_stay_with_their_worker_until_others_are_idle():
    grid = plan.cells(
        asked({"codec.name": ["webp"], "codec.frame_bytes": [200, 300], "link.hops.1.delay_s": [1, 2, 3]})
    )
    fake = Fake(2, {})
    drive(grid, fake)
    groups = {cell.key: cell.group for cell in grid}
    first = {slot: groups[next(key for own, key in fake.ran if own == slot)] for slot in (0, 1)}
    assert first[0] != first[1]
    assert all(groups[key] == first[slot] for slot, key in fake.ran)
    alone = plan.cells(
        asked({"codec.name": ["webp"], "codec.frame_bytes": [200], "link.hops.1.delay_s": [1, 2, 3, 4]})
    )
    shared = Fake(2, {})
    drive(alone, shared)
    assert {slot for slot, _key in shared.ran} == {0, 1}, "an idle worker takes from the other"


def test_a_worker_that_is_killed_is_replaced(tmp_path):
    cell = plan.cells(asked({"codec.name": ["webp"]}))[0]
    local = Local(1, tmp_path)
    try:
        job = cells.job(cell, None, 0, tmp_path, None)
        local.start(0, job)
        local._children[0].kill()
        ((slot, outcome),) = local.wait()
        assert slot == 0 and "SIGKILL" in outcome["died"]
        local.start(0, job)
        ((slot, outcome),) = local.wait()
        assert outcome["ok"]["cell"]["frames_sent"] == 2
    finally:
        local.close()
    assert not [
        child
        for child in psutil.Process().children()
        if "scenarios.sweep.worker_process" in " ".join(child.cmdline())
    ]


@pytest.mark.slow
def test_one_worker_four_workers_and_none_come_to_the_same(tmp_path):
    request = asked(
        {"codec.name": ["webp", "gsc", "jpeg2000", "avif"], "codec.frame_bytes": [400, 600]}, seeds=(1, 2)
    )
    found = []
    for number, workers in enumerate((0, 1, 4)):
        options = work.Options(workers=workers, cache=number != 2)  # with and without a cache
        result = work.sweep(request, dataclasses.replace(options, fresh=True), tmp_path / str(workers))
        assert result.tally.done == 16, result.failures
        found.append(tables(tmp_path / str(workers)))
    assert found[0] == found[1] == found[2]


def start(out, *more):
    arguments = [
        "mars-relay", *(part for setting in SMALL for part in ("--set", setting)), "--vary", "codec.name=webp,jpeg2000",
        "--vary", "codec.frame_bytes=200,300,400,500,600,700", "--frames", "4", "--seeds", "3", "--workers", "2",
        "--no-cache", "--out", str(out), *more,
    ]  # fmt: skip
    return subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done_cells(out):
    with state.looked_at(out) as kept:
        return 0 if kept is None else len(kept.status())


def wait_for(out, count, child):
    for _ in range(1200):
        if child.poll() is not None or done_cells(out) >= count:
            return
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_five_times_on_the_way_it_comes_to_the_same(tmp_path):
    whole = start(tmp_path / "whole", "--json")
    out, err = whole.communicate(timeout=280)
    assert whole.returncode == 0, err
    assert json.loads(out)["done"] == 36
    place = tmp_path / "killed"
    for _ in range(5):
        child = start(place)
        before = done_cells(place)
        wait_for(place, before + 1, child)
        workers = psutil.Process(child.pid).children(recursive=True)
        child.kill()
        child.communicate()
        _gone, alive = psutil.wait_procs(workers, timeout=15)
        assert not alive, "workers end with their parent"
    assert 0 < done_cells(place) < 36
    last = start(place, "--json")
    out, err = last.communicate(timeout=280)
    assert last.returncode == 0, err
    assert json.loads(out)["before"] > 0
    assert tables(place) == tables(tmp_path / "whole")
    assert not (place / ".work").exists()


@pytest.mark.slow
def test_an_interrupt_ends_with_130_and_keeps_what_was_done(tmp_path):
    child = start(tmp_path / "out")
    wait_for(tmp_path / "out", 3, child)
    child.send_signal(signal.SIGINT)
    _out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "kept" in err and len(err.strip().splitlines()) == 1
    assert 3 <= done_cells(tmp_path / "out") < 36
    assert len(table(tmp_path / "out", "cells")[1]) == done_cells(tmp_path / "out")


def test_a_full_disk_ends_with_74_and_what_was_done_is_kept(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        out = place / "out"
        out.mkdir()
        (out / ".lock").touch()
        request = asked(frames=2, seeds=(1, 2))
        run, ran = cells.run, []

        def filling(job, bench):
            ran.append(job["key"])
            if len(ran) == 4:
                (place / "ballast").write_bytes(bytes(shutil.disk_usage(place).free))
            return run(job, bench)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cells, "run", filling)
            result = work.sweep(request, HERE, out)
        assert isinstance(result.error, StorageError) and result.error.exit_code == 74
        assert result.tally.done == 3 and result.tally.failed == 0
        (place / "ballast").unlink()
        again = work.sweep(request, HERE, out)
        assert again.error is None
        assert again.tally.before == 3 and again.tally.done == 8
    finally:
        subprocess.run(["umount", str(place)], check=True)
    work.sweep(request, HERE, tmp_path / "same")
    assert len(table(tmp_path / "same", "cells")[1]) == 8


def test_a_full_disk_under_the_state_ends_with_74(tmp_path, monkeypatch):
    kept = state.State(tmp_path / state.FILE)
    kept.add("a", {"ok": {"cell": {}, "frames": [{"frame": 0}]}})
    pages = kept._base.execute("PRAGMA page_count").fetchone()[0]
    kept._base.execute(f"PRAGMA max_page_count={pages + 1}")
    with pytest.raises(StorageError, match="full"):
        kept.add("b", {"ok": {"cell": {}, "frames": [{"frame": n, "name": "x" * 900} for n in range(30)]}})
    assert kept.status() == {"a": "done"}
    assert list(kept.frames(["a", "b"])) == [("a", {"frame": 0})]
    kept.close()


def farlink(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


def test_the_command_line_ends_as_documented(tmp_path):
    (tmp_path / "list.yaml").write_text(
        "- {codec.name: webp}\n- {codec.name: jpeg2000, codec.frame_bytes: 20}\n"
    )
    (tmp_path / "bad.yaml").write_text("codec.name: webp\n")
    small = [part for setting in SMALL for part in ("--set", setting)]
    done = farlink(
        "mars-relay",
        *small,
        "--list",
        tmp_path / "list.yaml",
        "--frames",
        1,
        "--workers",
        0,
        "--json",
        "--out",
        tmp_path / "out",
    )
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert (told["cells"], told["done"], told["failed"]) == (2, 1, 1)
    assert all(Path(path).is_file() for path in told["tables"])
    assert "too small" in done.stderr and "--retry-failed" in done.stderr
    for arguments, words in (
        (["mars-relay", "--list", tmp_path / "bad.yaml", "--out", tmp_path / "x"], "a list of mappings"),
        (["mars-relay", "--vary", "codec.chanels=1", "--out", tmp_path / "x"], "did you mean 'channels'"),
        (["mars-relay"], "--out DIR is needed"),
        (["mars-relay", "--codec", "webq", "--dry-run", "--out", tmp_path / "x"], "did you mean 'webp'"),
        (["mars-relay", "--resume", "--fresh", "--out", tmp_path / "x"], "--fresh"),
        (["mars-relay", "--gpus-per-worker", "1", "--out", tmp_path / "x"], "--ray"),
    ):
        bad = farlink(*arguments)
        assert bad.returncode == 2, bad.stderr
        assert words in bad.stderr and len(bad.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "x").exists()
    dry = farlink(
        "mars-relay", *small, "--vary", "codec.name=webp", "--frames", 1, "--dry-run", "--out", tmp_path / "y"
    )
    assert dry.returncode == 0 and "1 cells" in dry.stdout and "bytes on the air" in dry.stdout
    assert not (tmp_path / "y").exists()


def test_the_place_and_the_size_of_the_cache_can_be_set(tmp_path, monkeypatch):
    monkeypatch.setenv("FARLINK_CACHE", str(tmp_path / "here"))
    assert caches.home() == tmp_path / "here" / "sweeps"
    monkeypatch.delenv("FARLINK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert caches.home() == tmp_path / "xdg" / "farlink" / "sweeps"
    assert caches.limit_bytes() == caches.DEFAULT_BYTES
    assert stamps.code() == stamps.code()


def test_a_cell_with_analysis_scores_as_its_run_does(tmp_path):
    import sights

    root = tmp_path / "models"
    sights.upernet(root / "segmentation")
    for place in ("toy", "toy_labels"):
        (tmp_path / place).mkdir()
    rng = np.random.Generator(np.random.PCG64(3))
    (tmp_path / "toy_labels" / "classes.txt").write_text("car\nsky\nroad\n")
    for at in range(3):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(tmp_path / "toy" / f"{at}.png")
        Image.fromarray(rng.integers(0, 3, (48, 64), np.uint8)).save(tmp_path / "toy_labels" / f"{at}.png")
    settings = ("analysis=[segmentation]", f"profile.segmentation={root / 'segmentation'}")
    request = dataclasses.replace(
        asked({"codec.name": ["webp"], "codec.frame_bytes": [400, 800]}, settings, frames=3),
        source=f"folder:{tmp_path / 'toy'}",
    )
    result = work.sweep(request, HERE, tmp_path / "out")
    assert result.tally.done == 2, result.failures
    columns, rows = table(tmp_path / "out", "cells")
    frame_columns, frames = table(tmp_path / "out", "frames")
    for item, row in zip(plan.cells(request), rows):
        alone = tmp_path / item.id
        alone.mkdir()
        assert runs.execute(item.scenario, alone, transport="inproc") is None
        figures = runs.measure(alone, None)
        for reference in ("truth", "original", "ideal"):
            told = figures["tasks"]["segmentation"][reference]["miou"]
            assert row[columns.index(f"segmentation_{reference}_miou")] == pytest.approx(told)
        kept = [dict(zip(frame_columns, found)) for found in frames if found[0] == item.id]
        own = duckdb.sql(
            f"SELECT segmentation_truth_stats, segmentation_truth_miou FROM '{alone}/results.parquet' ORDER BY frame"
        ).fetchall()
        names = ("segmentation_truth_stats", "segmentation_truth_miou")
        assert [tuple(frame[name] for name in names) for frame in kept] == own
        assert all(0 <= frame["segmentation_truth_miou"] <= 1 for frame in kept)
        assert all(frame["depth_truth_stats"] is None for frame in kept)
    again = work.sweep(request, dataclasses.replace(HERE, fresh=True), tmp_path / "out")
    assert not again.tally.misses and again.tally.hits["findings"] > 0


def with_gpus(monkeypatch, count, visible=None):
    """Let torch see *count* GPUs, numbered as *visible* says."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr("receiver.device.torch.empty", lambda *_size, device: None)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


@pytest.mark.parametrize(
    ("settings", "gpus", "visible", "workers", "seen"),
    [
        ({"codec.name": ["gsc"]}, 2, None, 2, ["0", "1", "0"]),
        ({"codec.name": ["gsc"]}, 2, "3, 5", 2, ["3", "5", "3"]),
        ({"codec.name": ["gsc"]}, 1, "GPU-a1", 1, ["GPU-a1"] * 3),
        ({"codec.name": ["gsc"]}, 0, None, None, [None] * 3),
        ({"codec.name": ["gsc"], "profile.device": ["cpu"]}, 2, None, None, [None] * 3),
        ({"codec.name": ["gsc"], "profile.device": ["cuda:0", "cuda:1"]}, 4, None, 2, [None] * 3),
        ({"codec.name": ["webp"], "analysis": ["[]"]}, 2, None, None, [None] * 3),
    ],
)
def test_one_worker_a_gpu(monkeypatch, tmp_path, settings, gpus, visible, workers, seen):
    with_gpus(monkeypatch, gpus, visible)
    wanted = [
        schema.load("mars-relay", [f"{key}={value}" for key, value in zip(settings, values)])
        for values in itertools.product(*settings.values())
    ]
    found = gpus_used(wanted)
    cores = len(os.sched_getaffinity(0))
    assert how_many(None, 100, found) == (workers or cores)
    assert how_many(7, 100, found) == 7, "as many as asked for"
    assert how_many(None, 1, found) == 1, "no more than there are cells"
    local = Local(3, tmp_path, found.visible)
    assert [local._sees(slot).get("CUDA_VISIBLE_DEVICES") for slot in range(3)] == seen
