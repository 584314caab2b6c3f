"""One truth for each figure: a run and a cell of one journal, scores by one table, folders held while written."""

import html
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas
import pytest
from test_metrics import BODIES, Book, S, arrives, data, result_of, story
from test_report import render, with_pictures
from typer.testing import CliRunner

from link import png
from link.channel.path import path_loss
from link.errors import UsageError
from link.hops import Link
from scenarios import run as runs
from scenarios import schema
from scenarios.curves import load, metric, page, series
from scenarios.results import cell, metrics, traffic, verdict
from scenarios.results.folder import locked, make_new
from scenarios.scoring import bootstrap, pictures
from scenarios.scoring.pictures import PictureScore
from scenarios.scoring.tasks import TASKS
from scenarios.sweep import cells, plan, work
from scenarios.sweep.plan import Request

SMALL = (
    "camera.width=64",
    "camera.height=48",
    "camera.source=testcard",
    "codec.name=jpeg2000",
    "codec.frame_bytes=300",
    "analysis=[]",
)
TOY = """
- name: up
  rate_bps: 2000
  loss: {model: bernoulli, loss: 0.1}
  outage: {up_s: 20, down_s: 20, hold: true}
- name: down
  rate_bps: 4000
  delay_s: 1
  loss: {model: bernoulli, loss: 0.1}
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FARLINK_CACHE", str(tmp_path_factory.mktemp("cache")))
    cells.workbench.cache_clear()


def toy(hops: str = TOY, frames: int = 3, more=()) -> Request:
    return Request("mars-relay", (*SMALL, f"link.hops={hops}", *more), frames=frames)


def both(request: Request, folder: Path) -> tuple[load.Sweep, load.Sweep, Path]:
    """One journal by both ways: as the cell of a sweep, and as a run."""
    out, alone = folder / "sweep", folder / "run"
    done = work.sweep(request, work.Options(workers=0, keep_journals=True), out)
    assert done.tally.done == 1, done.failures
    (item,) = plan.cells(request)
    alone.mkdir()
    shutil.copy(out / "cells" / item.id / "run.mcap", alone / "run.mcap")
    runs.measure(alone, None)
    return load.open_folder(out), load.open_folder(alone), alone


def rows_of(path: Path) -> list[dict]:
    table = duckdb.read_parquet(str(path))
    return [dict(zip(table.columns, row)) for row in table.fetchall()]


def test_a_run_and_a_cell_of_one_journal_have_equal_columns(tmp_path):
    sweep, run, alone = both(toy(), tmp_path)
    (of_sweep,) = rows_of(tmp_path / "sweep" / "cells.parquet")
    whole = json.loads((alone / "summary.json").read_text())
    of_run = whole["cell"]
    assert set(cell.columns()) <= set(of_run)
    for name in of_run:
        assert of_run[name] == of_sweep[name], name
    assert replace(sweep.cells[0], cell="") == replace(run.cells[0], cell="")
    frames = rows_of(tmp_path / "sweep" / "frames.parquet")
    assert [{**row, "cell": None} for row in frames] == [
        {**row, "cell": None} for row in rows_of(alone / "results.parquet")
    ]
    points = [
        replace(series.results([one], 20).series[0].points[0], sweep="", cells=()) for one in (sweep, run)
    ]
    assert points[0] == points[1]
    assert of_run["loss"] == pytest.approx(0.19)
    assert of_run["rate_bps"] == 1000  # 2,000 bit/s for half of the time
    assert of_run["on_air_bps"] == pytest.approx(of_run["on_air_bytes_per_frame"] * 8 / 60)
    feedback_bps = whole["bytes"]["feedback"] / of_run["frames_sent"] * 8 / 60
    assert of_run["way_out_bps"] == pytest.approx(of_run["on_air_bps"] - feedback_bps)


@pytest.mark.parametrize(
    ("losses", "share"),
    [
        ([{"model": "pattern", "pattern": "..x."}], 0.25),
        ([{"model": "pattern", "pattern": "..x."}] * 2, 0.4375),
        (
            [{"model": "bernoulli", "loss": 0.1}, {"model": "gilbert_elliott", "loss": 0.1, "mean_burst": 3}],
            0.19,
        ),
        ([None], 0.0),
    ],
)
def test_the_loss_of_a_path(losses, share):
    hops = [{"name": f"h{at}", "rate_bps": 100, "loss": loss} for at, loss in enumerate(losses)]
    assert path_loss(Link.model_validate({"hops": hops})) == pytest.approx(share)


def test_a_trace_is_known_again_by_what_is_in_it(tmp_path):
    own = tmp_path / "mine.down"
    own.write_text("# quantum_bytes: 100\n100\n200\n")
    plan_ = schema.load("mars-relay", (*SMALL, f"link.hops=[{{name: a, trace: {own}}}]"))
    head = runs.head(plan_)
    link = Link.model_validate(head["scenario"]["link"])
    with pytest.raises(UsageError, match=r"mine\.down of hop a is not at hand"):
        runs.known_traces(head, link, tmp_path)
    (tmp_path / "scenario.yaml").write_text(schema.to_yaml(plan_))
    assert runs.known_traces(head, link, tmp_path)["a"].mean_bps == pytest.approx(8000)
    own.write_text("# quantum_bytes: 100\n1\n")
    notes: dict[str, str] = {}
    found = cell.about(head["scenario"], lambda one: runs.known_traces(head, one, tmp_path), notes)
    assert found["rate_bps"] is None and found["loss"] == 0.0 and "not at hand" in notes["cell.rate_bps"]


def test_bytes_a_picture_and_bits_a_second_are_the_same_bytes():
    whole = result_of(with_pictures(story().run()))
    assert whole.cell["on_air_bps"] == pytest.approx(whole.cell["on_air_bytes_per_frame"] * 8 / 10)
    assert whole.figures["bytes"]["feedback"] > 0
    text = render(with_pictures(story().run())).text
    assert f"{whole.cell['on_air_bytes_per_frame']:,.0f} bytes" in text
    assert f"{whole.cell['on_air_bps']:.3g} bit/s" in text


def test_ninety_five_percent_lie_within_what_is_said():
    rng = np.random.default_rng(4)
    for count in range(1, 45):
        values = rng.exponential(9, count).tolist()
        for share in (0.5, 0.95):
            found = metrics.nearest_rank(values, share)
            assert found in values
            assert sum(value <= found for value in values) >= share * count
            assert sum(value < found for value in values) < share * count


def test_repair_is_what_was_spent_on_it():
    whole = result_of(story().run())
    fec, payload = whole.traffic.fec_bytes, sum(whole.traffic.cost.payload.values())
    assert fec == 17 + 8  # one repair packet in all, where fec 0.5 says half as many as data packets
    text = render(with_pictures(story().run())).text
    assert f"to make up for lost ones ({fec} bytes, {fec / payload * 100:.0f} % of the payload)" in text
    assert "50 %" not in text.partition("repair")[2][:200]


def test_packets_are_read_once_and_no_result_holds_a_model(tmp_path, monkeypatch):
    _, _, alone = both(toy(), tmp_path)
    calls: list[str] = []
    real = traffic.packets
    monkeypatch.setattr(traffic, "packets", lambda run: calls.append("packets") or real(run))
    real_score = pictures.measure
    monkeypatch.setattr(pictures, "measure", lambda *given: calls.append(given[2][0]) or real_score(*given))
    monkeypatch.setattr(verdict, "reach", lambda *_given: {"text": ""})
    runs.measure(alone, None)
    assert calls.count("packets") == 1
    assert calls.count("psnr_db") == 3  # a pair each
    whole = result_of(story().run())
    assert not [value for value in vars(whole.judged).values() if callable(value)]


# Scores of pictures


def test_a_new_score_is_a_row_of_the_table(tmp_path, monkeypatch):
    toy_score = PictureScore(
        lambda sent, received: [float(abs(a.mean() - b.mean())) for a, b in zip(sent, received)],
        lambda: None, lambda _h, _w: None, False, "Toy score", "toys", 2, reading="measures nothing",
    )  # fmt: skip
    monkeypatch.setitem(pictures.EACH, "toy", toy_score)
    sweep, run, alone = both(toy(), tmp_path)
    summary = json.loads((alone / "summary.json").read_text())
    assert summary["quality"]["toy"] == pytest.approx(
        np.mean([row["toy"] for row in rows_of(alone / "results.parquet") if row["toy"] is not None])
    )
    assert "Toy score" in (alone / "report.html").read_text()
    from scenarios.commands.progress import table

    assert f"Toy score {summary['quality']['toy']:.2f} toys" in "\n".join(table(summary))
    for one in (sweep, run):
        found = series.results([one], 20)
        assert found.has("testcard", "picture", "original", "toy")
        assert "toy" in {item.key for _, item in metric.picture_panels(found)}
    written = page.write([sweep, replace(run, label="other")], tmp_path / "both")
    assert any(row["key"] == "toy" for row in written.summary["differences"])
    assert "Toy score in toys (lower is better)" in written.page.read_text()


def test_scores_of_a_set_are_those_of_a_run_and_of_its_point(tmp_path, monkeypatch):
    def features(given):
        return np.array([[item[..., at].mean() for at in range(3)] for item in given])

    own = replace(pictures.TOGETHER["kid"], features=features, missing=lambda: None)
    monkeypatch.setitem(pictures.TOGETHER, "kid", own)
    sweep, run, alone = both(toy(), tmp_path)
    value = json.loads((alone / "summary.json").read_text())["quality"]["kid"]
    from link import journal

    read = journal.read(alone / "run.mcap")
    sides = [
        [png.decode(read.pictures[side][at]) for at in sorted(read.pictures["received"])]
        for side in ("sent", "received")
    ]
    assert value == pytest.approx(own.compute(features(sides[0]), features(sides[1]), 1))
    for one in (sweep, run):
        (line,) = series.results([one], 20).series
        assert line.points[0].scores["picture", "original", "kid"].value == pytest.approx(value)


def test_the_size_of_a_picture_stands_in_its_file():
    assert png.size(png.encode(np.zeros((48, 300, 3), np.uint8))) == (48, 300)


def test_a_set_of_pictures_too_small_for_its_score_has_none():
    tiny = [np.full((20, 16, 3), at, np.uint8) for at in range(3)]
    found = pictures.measure(tiny, tiny, ["kid_alexnet"], 1)
    assert found.of_set == {"kid_alexnet": None} and "sides over 30 pixels" in found.notes["kid_alexnet"]


def test_the_headline_score_of_a_task_is_one_constant():
    assert {item.task: item.key for item in metric.metrics("truth")} == {
        name: task.primary for name, task in TASKS.items()
    }
    for task in TASKS.values():
        assert set(task.labels) == set(task.higher_is_better)


# Codecs that do not fit, intervals that are none


def test_a_codec_that_cannot_fit_is_no_point(tmp_path):
    request = toy(more=("codec.name=jpeg", "codec.frame_bytes=20", "codec.unfit=skip"))
    done = work.sweep(request, work.Options(workers=0, keep_journals=True), tmp_path / "sweep")
    assert done.tally.done == 0
    sweep = load.open_folder(tmp_path / "sweep")
    assert [item.status for item in sweep.cells] == ["failed"] and "20 is too small" in (
        sweep.cells[0].error or ""
    )
    folder = runs.prepare(tmp_path / "run", plan.cells(request)[0].scenario)
    assert runs.execute(plan.cells(request)[0].scenario, folder, transport="inproc") is None
    figures = runs.measure(folder, None)
    assert figures["notes"]["unfit"].startswith("3 of 3 frames were not sent: codec jpeg")
    assert "20 is too small" in (folder / "report.html").read_text()
    run = load.open_folder(folder)
    assert not run.done and run.failed[0].error == sweep.cells[0].error
    assert series.results([sweep], 20).series == series.results([run], 20).series == ()


@pytest.mark.parametrize("frames", [1, 2])
def test_what_cannot_be_resampled_has_no_interval(frames):
    assert bootstrap.weights(["drive"] * frames, 1) is None
    assert bootstrap.weights(["drive"] * 5, 1) is not None


# The verdict


def test_the_verdict_says_what_a_classical_codec_would_show(tmp_path):
    _, _, alone = both(toy(more=("codec.frame_bytes=150",)), tmp_path)
    found = json.loads((alone / "summary.json").read_text())["verdict"]
    assert found["own"]["codec"] == "jpeg2000" and found["frames"] == sorted(found["frames"])
    assert 0 < found["link_share"] < 1
    same, full = found["same_bytes"], found["full_rate"]
    assert same["bytes"] <= 150 < full["bytes"] <= 1000 * 60 / 8
    assert full["quality"]["psnr_db"] > same["quality"]["psnr_db"] >= found["own"]["quality"]["psnr_db"] - 0.3
    assert found["text"] in html.unescape((alone / "report.html").read_text())
    assert (
        f"{found['link_share'] * 100:.0f} %" in found["text"]
        and f"{full['codec']} would show" in found["text"]
    )


def test_the_verdict_of_a_run_that_showed_nothing_or_has_no_budget():
    book = Book()
    book.event("captured", 0, 0, name="x")
    book.event("encoded", 0, 0, sections=[10, 30], packets=3)
    book.packet(0, data(0, 0, BODIES[0]), arrives(S))
    book.event("finished", S)
    found = verdict.reach(result_of(book.run()))
    assert found["own"] is None and "nothing to compare" in found["text"]
    found = verdict.reach(result_of(with_pictures(story().run())))  # 16 pixels a side, some 40 bytes
    assert found["same_bytes"]["codec"] is None and "no classical codec can send one" in found["text"]


# Tables


def test_tables_are_read_by_pandas(tmp_path):
    _, _, alone = both(toy(), tmp_path)
    for path in (
        alone / "results.parquet",
        tmp_path / "sweep" / "cells.parquet",
        tmp_path / "sweep" / "frames.parquet",
    ):
        frame = pandas.read_parquet(path)
        assert len(frame) == len(rows_of(path)) and list(frame.columns) == list(rows_of(path)[0])
    frame = pandas.read_parquet(alone / "results.parquet")
    numbers = [f"{task}_truth_{TASKS[task].primary}" for task in TASKS]
    assert all(str(frame[name].dtype) == "float64" for name in ("psnr_db", "latency_s", *numbers))
    assert duckdb.read_parquet(str(alone / "results.parquet")).df()["frame"].tolist() == [0, 1, 2]


# Folders


def test_two_runs_in_one_folder_do_not_destroy_each_other(tmp_path):
    plan_ = schema.load("mars-relay", (*SMALL, "camera.frames=1"))
    with runs.claim(tmp_path / "out", plan_) as folder:
        with (
            pytest.raises(UsageError, match="another farlink run or sweep is at work"),
            runs.claim(folder, plan_),
        ):
            pass
        with pytest.raises(UsageError, match="is at work"), runs.claim(folder, plan_, overwrite=True):
            pass
        (folder / "run.mcap").write_bytes(b"what the first one wrote")
    assert [path.name for path in sorted(folder.iterdir())] == ["run.mcap", "scenario.yaml"]
    with (
        pytest.raises(UsageError, match=r"holds an earlier run; give another --out, or --overwrite"),
        runs.claim(folder, plan_),
    ):
        pass
    assert (folder / "run.mcap").read_bytes() == b"what the first one wrote"
    with runs.claim(folder, plan_, overwrite=True):
        assert not (folder / "run.mcap").exists()


def test_folders_of_their_own_for_all_that_begin_at_once(tmp_path):
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(make_new(tmp_path / "runs" / "x"))) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 12 and all(path.is_dir() for path in found)


def test_a_lock_that_was_put_away_is_no_lock(tmp_path):
    with locked(tmp_path):
        pass
    assert not (tmp_path / ".lock").exists()
    with locked(tmp_path), pytest.raises(UsageError, match="at work"), locked(tmp_path):
        pass
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    from link.errors import StorageError

    with pytest.raises(StorageError), locked(tmp_path):
        pass


def test_the_command_refuses_an_earlier_run_in_one_line(tmp_path):
    from scenarios.cli import app

    arguments = ["run", "--transport", "inproc", "--frames", "1", "--out", str(tmp_path / "out")]
    arguments += [part for text in SMALL for part in ("--set", text)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2 and again.stderr.count("\n") == 1 and "--overwrite" in again.stderr
    assert CliRunner().invoke(app, [*arguments, "--overwrite"]).exit_code == 0


def test_what_all_leaves_out_is_said(tmp_path):
    from scenarios.cli import app

    arguments = ["run", "--transport", "inproc", "--frames", "1", "--out", str(tmp_path / "out"), "--json"]
    settings = [text for text in SMALL if not text.startswith("analysis")] + ["analysis=all"]
    arguments += [part for text in settings for part in ("--set", text)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert f"analysis: all leaves out {', '.join(TASKS)}: " in done.stderr
    for task in TASKS:
        assert "no model that comes with farlink" in json.loads(done.stdout)["notes"][f"tasks.{task}"]
