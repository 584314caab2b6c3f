"""Several sweeps or runs beside each other: what changed, curves of other programs, and the command."""

import json
from pathlib import Path

import duckdb
import pytest
import yaml
from sweeps import FRAMES, Made, rising, write_table
from typer.testing import CliRunner

from link.errors import UsageError
from scenarios.cli import app
from scenarios.commands import compare as command
from scenarios.curves import differences, external, load, metric, page, series, tables

RATES = (50, 100, 200, 400)
DELTA1 = ("depth", "truth", "delta1")


@pytest.fixture(scope="module", autouse=True)
def _registered():
    if "compare" not in {item.callback.__name__ for item in app.registered_commands}:
        command.register(app)


def sweep(
    folder: Path, lift: float = 0.0, factor: float = 1.0, noise: float = 0.1, rates=RATES, codec="gsc"
) -> Path:
    made = Made(frames=24, sequences=12, noise=0.0)
    wobble = Made(noise=noise)
    for rate in rates:
        made.cell(codec, rate * factor, 0.5, tasks=("depth",), settings={"codec.frame_bytes": rate})
        from link.seeds import generator

        values = generator(1, "wobble").normal(0, wobble.noise, 24)
        for row, extra in zip(made.rows[-24:], values, strict=True):
            value = min(max(rising(rate, 100, 0.7) + lift + float(extra), 0.0), 1.0)
            row["depth_truth_stats"] = json.dumps(
                {"pixels": 9, "deltas": [value, 1, 1], "errors": [0.1, 1, 0.1]}
            )
    return made.write(folder)


def opened(*folders: Path) -> list[load.Sweep]:
    return [load.open_folder(folder) for folder in folders]


def test_a_change_is_resampled_on_the_same_frames(tmp_path):
    sweeps = opened(sweep(tmp_path / "a"), sweep(tmp_path / "b", lift=0.03))
    found = series.results(sweeps, 200)
    rows, missing = differences.differences(found, sweeps, 200)
    depth = [row for row in rows if row.metric.key == "delta1"]
    assert not missing
    assert len(depth) == len(RATES)
    for row in depth:
        assert row.change == pytest.approx(0.03, abs=2e-3)
        assert row.clear
        # The same noise on both sides: the change is known far better than either score.
        assert row.high - row.low < 0.1 * (row.scores[0].high - row.scores[0].low)
    same, _ = differences.differences(
        series.results([sweeps[0], *opened(sweep(tmp_path / "c"))], 50),
        [sweeps[0], *opened(tmp_path / "c")],
        50,
    )
    assert all(row.change == row.low == row.high == 0 and not row.clear for row in same)


def test_other_frames_and_settings_are_said(tmp_path):
    one, two = opened(sweep(tmp_path / "a"), sweep(tmp_path / "b", rates=(50, 100, 300)))
    with duckdb.connect() as database:
        path = tmp_path / "b" / "frames.parquet"
        database.execute(
            f"CREATE TABLE t AS SELECT * REPLACE (name || 'x' AS name) FROM read_parquet('{path}')"
        )
        database.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    rows, missing = differences.differences(series.results([one, two], 20), [one, two], 20)
    assert {row.note for row in rows} == {"not the same frames"}
    assert all(row.low is None for row in rows)
    assert missing == ["3 settings of a and b are in one of the two alone; the curves show them"]


def test_bd_rates_between_sweeps(tmp_path):
    sweeps = opened(sweep(tmp_path / "a"), sweep(tmp_path / "b", factor=2.0))
    found = series.results(sweeps, 20)
    table = next(table for table in tables.bd_tables(found) if table.metric.key == "delta1")
    assert table.names == ("a: gsc", "b: gsc")
    assert table.cells[1][0].percent == pytest.approx(100)
    assert table.cells[0][1].percent == pytest.approx(-50)
    assert table.cells[0][0] is None


def compressai(folder: Path, **results) -> Path:
    given = {
        "bpp": [0.1, 0.05, 0.4, 0.2],
        "psnr-rgb": [22.0, 20.0, 30.0, 26.0],
        "ms-ssim-rgb": [0.8, 0.7, 0.95, 0.9],
    }
    path = folder / "hyperprior.json"
    path.write_text(json.dumps({"name": "hyperprior", "description": "on Kodak", "results": given | results}))
    return path


def test_compressai_curves_are_read_and_compared(tmp_path):
    line = external.read(compressai(tmp_path))
    assert line.points("psnr_db") == [(0.05, 20.0), (0.1, 22.0), (0.2, 26.0), (0.4, 30.0)]
    assert line.points("lpips") == []
    made = Made(frames=2)
    for bpp, psnr in line.points("psnr_db"):
        size = bpp * 1e4 / 8 * 4 / 3 * 3  # three times the payload
        made.cell("gsc", size, 0.5, tasks=(), psnr=psnr, settings={"codec.frame_bytes": size})
    found = series.results(opened(made.write(tmp_path / "s")), 10)
    table = next(table for table in tables.bd_tables(found, [line]) if table.metric.key == "psnr_db")
    assert table.rate == "bpp"
    assert table.names == ("gsc", "hyperprior")
    assert table.cells[0][1].percent == pytest.approx(200, rel=0.02)  # sizes are whole bytes


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ({"bpp": [0.1]}, "has 4 numbers, results.bpp 1"),
        ({"bpp": [0.1, 0.2, 0.0, 0.3]}, "not above 0"),
        ({"psnr-rgb": "x"}, "psnr-rgb is not a list of finite numbers"),
        ({"psnr-rgb": [1.0, float("nan"), 2.0, 3.0]}, "psnr-rgb is not a list of finite numbers"),
        ({"ms-ssim-rgb": [10.0, 11.0, 12.0, 13.0]}, "goes over 1"),
    ],
)
def test_bad_compressai_files(tmp_path, results, words):
    with pytest.raises(UsageError, match=words):
        external.read(compressai(tmp_path, **results))


@pytest.mark.parametrize(
    "text", ["", "[]", '{"results": []}', '{"results": {"psnr-rgb": []}}', '{"results": {"bpp": [1]}}']
)
def test_files_that_are_no_results(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match=r"x\.json"):
        external.read(tmp_path / "x.json")


def run_folder(folder: Path, codec: str, accuracy: float) -> Path:
    """Write the tables of a run as `farlink run` leaves them."""
    made = Made(frames=4)
    made.cell(codec, 100, accuracy, tasks=("depth",))
    folder.mkdir()
    columns = {key: kind for key, kind in FRAMES.items() if key != "cell"}
    write_table(folder / "results.parquet", columns, made.rows)
    (folder / "scenario.yaml").write_text(yaml.safe_dump({"name": "mars-relay"}))
    own = {key: value for key, value in made.cells[0].items() if key not in ("cell", "settings")}
    summary = {"cell": {"error": None, "channels": 8, **own, "loss": 0.1, "age_peak_s": None}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_runs_are_compared_whatever_their_codecs(tmp_path):
    sweeps = opened(run_folder(tmp_path / "one", "gsc", 0.6), run_folder(tmp_path / "two", "webp", 0.5))
    assert sweeps[0].cells[0].on_air_bps == pytest.approx(80)
    assert sweeps[0].cells[0].loss == 0.1
    found = series.results(sweeps, 50)
    assert found.series[0].points[0].bpp == pytest.approx(0.08)
    assert found.series[0].points[0].scores[DELTA1].clusters == 4  # those that the table names
    rows, missing = differences.differences(found, sweeps, 50)
    (row,) = [row for row in rows if row.metric.key == "delta1"]
    assert (row.first.codec, row.other.codec) == ("gsc", "webp")
    assert row.change == pytest.approx(-0.1)
    assert not missing
    assert metric.ideal(found, "one", "world:mars", row.metric) == pytest.approx(0.9)


def test_a_run_without_a_table_and_a_damaged_summary(tmp_path):
    (tmp_path / "run.mcap").write_bytes(b"")
    with pytest.raises(UsageError, match="make it with `farlink report"):
        load.open_folder(tmp_path)
    folder = run_folder(tmp_path / "one", "gsc", 0.6)
    (folder / "summary.json").write_text("{}")
    with pytest.raises(UsageError, match=r"summary\.json: not that of a run of this version.*farlink report"):
        load.open_folder(folder)


# The commands


def farlink(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_compare_writes_one_page(tmp_path):
    one, two = sweep(tmp_path / "x" / "codecs"), sweep(tmp_path / "y" / "codecs", lift=0.03)
    out = tmp_path / "out"
    done = farlink("compare", one, two, compressai(tmp_path), "--out", out, "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["sweeps"] == ["x/codecs", "y/codecs"]
    assert {row["other"] for row in summary["differences"]} == {"y/codecs"}
    assert {row["anchor"] for row in summary["bd_rates"]} >= {"x/codecs: gsc", "hyperprior"}
    text = (out / page.PAGE).read_text("utf-8")
    for words in ("What changed", "x/codecs: gsc", "hyperprior", "on Kodak", "+0.030"):
        assert words in text, words
    assert (out / "figures" / "quality-bpp.png").stat().st_size > 10_000
    assert (
        len(duckdb.sql(f"SELECT DISTINCT sweep FROM read_parquet('{out / 'points.parquet'}')").fetchall())
        == 2
    )


def test_report_on_a_sweep_makes_its_page(tmp_path):
    folder = sweep(tmp_path / "codecs")
    done = farlink("report", folder)
    assert done.exit_code == 0, done.output
    assert "world:mars, depth, gsc: 90 %" in done.stdout
    assert str(folder / page.PAGE) in done.stdout
    assert (folder / "figures" / "headline.png").is_file()


def test_report_on_a_sweep_of_failures_says_so_and_exits_3(tmp_path):
    made = Made()
    made.failed("gsc", "the disk was full")
    done = farlink("report", made.write(tmp_path))
    assert done.exit_code == 3
    assert "no cell of the sweep has results" in done.stderr
    assert (tmp_path / page.PAGE).is_file()


def test_compare_refuses_what_makes_no_sense(tmp_path):
    one = sweep(tmp_path / "a", rates=(50,))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    for arguments, words in (
        ([one], "two places or more"),
        ([compressai(tmp_path), compressai(tmp_path)], "at least one of them"),
        ([one, one], "the same folder is given twice"),
        ([one, tmp_path / "none"], "no sweep"),
        ([one, tmp_path / "none", "--out", tmp_path / "full"], "holds no earlier comparison"),
        ([one, tmp_path / "none", "--out", one], "holds no earlier comparison"),
    ):
        done = farlink("compare", *arguments, *([] if "--out" in arguments else ["--out", tmp_path / "out"]))
        assert done.exit_code == 2, arguments
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_folders_get_the_shortest_names_that_differ():
    assert command.labels([Path("/a/x"), Path("/a/y")]) == ["x", "y"]
    assert command.labels([Path("/a/x"), Path("/b/x"), Path("/b/y")]) == ["a/x", "b/x", "b/y"]
