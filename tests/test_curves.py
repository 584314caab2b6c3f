"""From a sweep's tables to points, curves, tables and the page, on sweeps whose curves are known."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image
from sweeps import CELLS, FRAMES, PIXELS, Made, depth, miou, rising, write_table

from link.errors import UsageError
from link.seeds import generator
from scenarios.curves import fit, load, metric, page, published, series, tables
from scenarios.curves.accuracy import accuracy as draw_accuracy

HOSTILE = '<script>alert("1")</script>\'$x^{$</title>'
MIOU = ("segmentation", "truth", "miou")
DELTA1 = ("depth", "truth", "delta1")
RATES = (32, 64, 128, 256, 512)


class Page(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def results_of(made: Made, folder: Path, resamples: int = 50) -> series.Results:
    return series.results([load.open_folder(made.write(folder))], resamples)


def two_codecs(**options) -> Made:
    """gsc, and webp that needs exactly 4 times the bytes for the same."""
    made = Made(frames=4, **options)
    for seed in (1, 2):
        for rate in RATES:
            made.cell("gsc", rate, rising(rate, 60), seed=seed, settings={"codec.frame_bytes": rate})
            made.cell("webp", 4 * rate, rising(rate, 60), seed=seed, settings={"codec.frame_bytes": 4 * rate})
    return made


# Points


def test_seeds_are_pooled_into_one_point(tmp_path):
    made = Made(frames=5)
    made.cell("gsc", 100, 0.4, seed=1, settings={"codec.channels": 4, "seed": 1})
    made.cell("gsc", 140, 0.8, seed=2, settings={"codec.channels": 4, "seed": 2})
    made.cell("gsc", 300, 0.8, seed=1, settings={"codec.channels": 8, "seed": 1})
    (line,) = results_of(made, tmp_path).series
    small, large = line.points
    assert small.scores[DELTA1].value == pytest.approx(0.6)
    assert small.scores[MIOU].value == pytest.approx(miou(0.6))  # pixels are pooled, not the seeds' scores
    assert small.scores[DELTA1].frames == 10
    assert small.scores[DELTA1].clusters == 10
    assert small.bytes_per_frame == 120
    assert small.payload_bytes_per_frame == 90
    assert small.bpp == pytest.approx(120 * 8 / 1e4)
    assert small.bpp_payload == pytest.approx(90 * 8 / 1e4)
    assert small.on_air_bps == pytest.approx(120 * 0.8)
    assert large.setting == "channels 8"


def test_intervals_hold_the_truth_and_shrink_with_frames(tmp_path):
    widths = []
    for frames in (12, 200):
        made = Made(frames=frames, sequences=frames, noise=0.1)
        made.cell("gsc", 100, 0.5, tasks=("depth",))
        (line,) = results_of(made, tmp_path / str(frames), 400).series
        score = line.points[0].scores[DELTA1]
        assert score.low < score.value < score.high
        widths.append(score.high - score.low)
        if frames == 200:
            assert score.low < 0.5 < score.high
    expected = 2 * 1.96 * 0.1 / math.sqrt(200)
    assert 0.8 * expected < widths[1] < 1.25 * expected
    assert widths[1] < widths[0]


def test_seeds_that_made_no_difference_do_not_narrow_the_interval(tmp_path):
    spans = []
    for seeds in ((1,), (1, 2, 3)):
        made = Made(frames=30, sequences=30)
        values = np.clip(generator(1, "values").normal(0.5, 0.1, 30), 0, 1)
        for seed in seeds:
            made.cell("webp", 100, 0.5, seed=seed, tasks=("depth",))
            for row, value in zip(made.rows[-30:], values, strict=True):
                row |= {
                    "depth_truth_stats": depth(float(value)),
                    "name": str(row["frame"]),
                    "sequence": str(row["frame"]),
                }
        point = results_of(made, tmp_path / str(len(seeds)), 200).series[0].points[0]
        assert point.scores[DELTA1].frames == 30 * len(seeds)
        spans.append((point.scores[DELTA1].low, point.scores[DELTA1].high))
    assert spans[0] == spans[1]


def test_one_line_a_codec_whatever_sets_the_size_and_others_apart(tmp_path):
    made = Made(frames=2)
    for rate in (80, 160):
        for order in ("ssim", "energy"):
            settings = {"link.hops.0.rate_bps": rate, "codec.order": order, "codec.profile": "tiny"}
            made.cell("gsc", rate, 0.5, tasks=("depth",), settings=settings)
        made.cell(
            "webp",
            rate,
            0.3,
            tasks=("depth",),
            settings={"link.hops.0.rate_bps": rate, "codec.order": "ssim"},
        )
    lines = results_of(made, tmp_path).series
    assert {(line.codec, line.variant, len(line.points)) for line in lines} == {
        ("gsc", "order ssim, profile tiny", 2),
        ("gsc", "order energy, profile tiny", 2),
        ("webp", "order ssim", 2),
    }


def test_drives_of_a_world_are_one_source_and_folders_are_shortened(tmp_path):
    made = Made(frames=2)
    for source in ("world:mars:1", "world:mars:2", "world:moon", "camvid:/d/one/test", "camvid:/d/two/val"):
        made.cell("gsc", 100, 0.5, source=source, tasks=("depth",))
    assert results_of(made, tmp_path / "a").sources == [
        "world:mars",
        "world:moon",
        "camvid:test",
        "camvid:val",
    ]
    made.cell("gsc", 100, 0.5, source="camvid:/d/three/test", tasks=("depth",))
    found = results_of(made, tmp_path / "b").sources
    assert "camvid:/d/one/test" in found and "camvid:/d/three/test" in found and "camvid:val" in found


def test_the_accuracy_on_originals_counts_each_frame_once(tmp_path):
    made = Made(frames=3)
    made.cell("gsc", 100, 0.5, seed=1, ideal=0.9)
    made.cell("gsc", 200, 0.6, seed=1, ideal=0.9, settings={"codec.channels": 8})
    made.cell("gsc", 100, 0.5, seed=2, ideal=0.7)
    ideal = results_of(made, tmp_path).ideal
    assert ideal[made_label(tmp_path), "world:mars", "depth", "delta1"] == pytest.approx(0.8)
    assert ideal[made_label(tmp_path), "world:mars", "segmentation", "miou"] == pytest.approx(miou(0.8))


def made_label(folder: Path) -> str:
    return folder.name


def test_lost_frames_pull_scores_down_and_pictures_are_means_of_the_shown(tmp_path):
    made = Made(frames=4)
    made.cell("gsc", 100, 0.8, tasks=("depth",), psnr=20.0)
    made.rows[0] |= {
        "psnr_db": None,
        "depth_truth_stats": '{"pixels": 100, "deltas": [0, 0, 0], "errors": null}',
    }
    (point,) = results_of(made, tmp_path).series[0].points
    assert point.scores[DELTA1].value == pytest.approx(0.6)
    assert point.scores["picture", "original", "psnr_db"].value == 20.0
    assert point.scores["picture", "original", "psnr_db"].frames == 3
    assert ("picture", "original", "lpips") not in point.scores


def test_several_knobs_make_the_curve_of_the_best(tmp_path):
    made = Made(frames=2)
    for size, accuracy, settings in (
        (50, 0.3, {"codec.channels": 1, "codec.caption_words": 8}),
        (60, 0.2, {"codec.channels": 1, "codec.caption_words": 24}),
        (90, 0.6, {"codec.channels": 8, "codec.caption_words": 8}),
        (30, 0.1, {"codec.channels": 0, "codec.caption_words": 24}),
    ):
        channels = settings["codec.channels"]
        made.cell("gsc", size, accuracy, tasks=("depth",), settings=settings, channels=channels)
    (line,) = results_of(made, tmp_path).series
    assert line.several_knobs
    assert [point.caption_only for point in line.points] == [True, False, False, False]
    curve = metric.curve_of(line, metric.metrics("truth")[1], "bytes")
    assert curve.rates.tolist() == [30, 50, 90]
    assert curve.step_back == 0


# Curves


def test_a_curve_is_made_monotonic_and_says_so():
    curve = fit.curve([40, 10, 20, 80], [0.3, 0.2, 0.4, 0.9])
    assert curve.rates.tolist() == [10, 20, 40, 80]
    assert curve.fitted == pytest.approx([0.2, 0.35, 0.35, 0.9])
    assert curve.step_back == pytest.approx(0.1)
    rates, levels = curve.levels
    assert rates == pytest.approx([10, math.sqrt(800), 80])
    assert levels == pytest.approx([0.2, 0.35, 0.9])
    assert fit.curve([1, 2, 3], [0.1, 0.2, 0.3]).step_back == 0


def test_the_fit_is_the_nearest_monotonic_one():
    values = generator(3, "fit").normal(0, 1, 9) + np.arange(9) * 0.3
    curve = fit.curve(range(1, 10), values.tolist())
    assert (np.diff(curve.fitted) >= -1e-12).all()
    best = ((curve.fitted - values) ** 2).sum()
    other = generator(4, "fit")
    for _ in range(500):
        trial = np.sort(curve.fitted + other.normal(0, 0.2, 9))
        assert ((trial - values) ** 2).sum() >= best - 1e-12


def test_reading_a_curve_backwards_and_forwards_over_log_rate():
    curve = fit.curve([100, 400], [0.2, 0.6])
    assert curve.reaches(0.4) == pytest.approx(200)
    assert curve.at(200) == pytest.approx(0.4)
    assert curve.reaches(0.6) == pytest.approx(400)
    assert curve.reaches(0.1) == 100
    assert curve.reaches(0.61) is None
    assert curve.at(99) is None
    assert curve.at(401) is None
    lower = fit.curve([100, 400], [0.5, 0.1], higher_is_better=False)
    assert lower.reaches(0.3) == pytest.approx(200)
    assert lower.best == pytest.approx(0.1)
    for rates, scores in (([0.0, 1.0], [0.1, 0.2]), ([1.0, 2.0], [0.1, math.nan])):
        with pytest.raises(ValueError):
            fit.curve(rates, scores)


@pytest.mark.parametrize("method", ["pchip", "akima"])
@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_bd_rate_of_a_shifted_curve_is_its_factor(method, factor):
    rates, scores = [40, 70, 130, 300, 800], [0.2, 0.35, 0.5, 0.62, 0.7]
    found = fit.bd_rate(
        fit.curve(rates, scores), fit.curve([rate * factor for rate in rates], scores), method
    )
    assert found.percent == pytest.approx((factor - 1) * 100, abs=1e-6)
    assert found.overlap == pytest.approx(1.0)
    assert found.span == pytest.approx((0.2, 0.7))
    assert found.reason is None


def test_bd_rate_turns_round_when_the_curves_are_exchanged_and_for_scores_where_lower_is_better():
    rates = [10, 20, 40, 80]
    one, two = (
        fit.curve(rates, [0.1, 0.3, 0.5, 0.6]),
        fit.curve([3 * rate for rate in rates], [0.1, 0.32, 0.5, 0.6]),
    )
    forth, back = fit.bd_rate(one, two).percent, fit.bd_rate(two, one).percent
    assert (1 + forth / 100) * (1 + back / 100) == pytest.approx(1)
    errors = [0.9, 0.7, 0.5, 0.4]
    down = [fit.curve([factor * rate for rate in rates], errors, higher_is_better=False) for factor in (1, 2)]
    found = fit.bd_rate(down[0], down[1])
    assert found.percent == pytest.approx(100)
    assert found.span == pytest.approx((0.4, 0.9))


def test_bd_rate_is_refused_under_three_quarters_of_overlap():
    rates = [10, 20, 40, 80]
    one = fit.curve(rates, [0.0, 0.2, 0.4, 0.6])
    for lift, percent in ((0.05, None), (0.2, 50), (0.7, 0)):
        found = fit.bd_rate(one, fit.curve(rates, [lift + y for y in (0.0, 0.2, 0.4, 0.6)]))
        if percent is None:
            assert found.percent is not None and found.overlap == pytest.approx(0.55 / 0.65)
        else:
            assert found.percent is None
            assert found.reason == f"the curves share {percent} % of their range, less than 75 %"
    few = fit.bd_rate(one, fit.curve([10, 20], [0.0, 0.6]), names=("gsc", "webp"))
    assert few.reason == "webp has 2 levels of accuracy; 3 are the least"
    flat = fit.bd_rate(fit.curve(rates, [0.5] * 4), one, names=("gsc", "webp"))
    assert flat.reason == "gsc has 1 level of accuracy; 3 are the least"


def test_bd_rate_flags_a_curve_that_was_not_monotonic():
    rates = [10, 20, 40, 80, 160]
    bumpy = fit.curve(rates, [0.1, 0.3, 0.28, 0.5, 0.6])
    found = fit.bd_rate(fit.curve(rates, [0.1, 0.3, 0.4, 0.5, 0.6]), bumpy, names=("webp", "gsc"))
    assert found.percent is not None and found.percent > 0
    assert found.notes == ("gsc was not monotonic (largest step back 0.02)",)


# Tables


def test_the_bandwidth_for_ninety_percent_is_interpolated_over_log_rate(tmp_path):
    made = Made(frames=2)
    for size, accuracy in ((100, 0.42), (400, 0.84)):
        made.cell("gsc", size, accuracy, ideal=0.7, tasks=("depth",), settings={"codec.frame_bytes": size})
    made.cell("webp", 50, 0.3, ideal=0.7, tasks=("depth",), settings={"codec.frame_bytes": 50})
    made.cell("avif", 90, 0.7, ideal=0.7, tasks=("depth",), settings={"codec.frame_bytes": 90})
    needs = {need.codec: need for need in tables.needs(results_of(made, tmp_path))}
    assert needs["gsc"].bytes_per_frame == pytest.approx(200)  # 0.63 is half way from 0.42 to 0.84
    assert needs["gsc"].on_air_bps == pytest.approx(160)
    assert needs["gsc"].best_share == pytest.approx(1.2)
    assert not needs["gsc"].at_smallest
    assert needs["webp"].bytes_per_frame is None
    assert needs["webp"].reason == "not reached"
    assert needs["webp"].best_share == pytest.approx(0.3 / 0.7)
    assert needs["avif"].at_smallest


def test_what_was_invented_stands_beside_the_score_of_a_point(tmp_path):
    made = Made(frames=4)
    for codec, pixels in (("gsc", 900), ("webp", None)):
        made.cell(codec, 100, 0.7, tasks=("segmentation",), settings={"codec.name": codec})
        for row in made.rows[-4:]:
            stats = json.loads(row["segmentation_truth_stats"])
            if pixels is not None:
                row["segmentation_truth_stats"] = json.dumps({**stats, "invented": [[0, pixels]]})
    found = results_of(made, tmp_path)
    points = {line.codec: line.points[0] for line in found.series}
    share = points["gsc"].scores["segmentation", "truth", "invented"]
    assert share.value == pytest.approx(900 / (2 * PIXELS)) and share.low == pytest.approx(share.value)
    assert points["gsc"].scores["segmentation", "truth", "invented_rare"].value == 0.0
    assert ("segmentation", "truth", "invented") not in points["webp"].scores, "not known is not 0"
    rows = {row["name"]: dict(row["scores"]) for row in page._point_rows(found)}
    assert rows["gsc"]["invented"].startswith("0.045") and "invented" not in rows["webp"]
    assert page._knows_invented(found)


def test_agreement_stands_in_where_there_is_no_truth(tmp_path):
    made = Made(frames=2)
    for size, accuracy in ((100, 0.8), (400, 1.0)):
        made.cell(
            "gsc",
            size,
            accuracy,
            tasks=("depth",),
            reference="original",
            settings={"codec.frame_bytes": size},
        )
    found = results_of(made, tmp_path)
    assert [panel.name for _, panel in metric.panels(found)] == [("depth", "original", "delta1")]
    (need,) = tables.needs(found)
    assert need.ideal == 1.0
    assert need.bytes_per_frame == pytest.approx(200)


def test_what_is_kept_is_told_inside_the_sizes_that_were_measured(tmp_path):
    made = Made(frames=2)
    for size, accuracy in ((100, 0.4), (400, 0.8)):
        made.cell("gsc", size, accuracy, ideal=0.8, tasks=("depth",), settings={"codec.frame_bytes": size})
    (row,) = tables.list_kept(results_of(made, tmp_path))
    assert dict(zip(tables.SIZES, row.shares, strict=True)) == pytest.approx(
        {64: None, 100: 0.5, 200: 0.75, 500: None, 1000: None}
    )


def test_the_least_loss_makes_one_line_a_codec(tmp_path):
    made = Made(frames=2)
    for codec in ("gsc", "webp"):
        for loss in (0.1, 0.0):
            for size in (100, 200):
                settings = {"link.hops.0.loss.loss": loss, "codec.frame_bytes": size}
                made.cell(codec, size, 0.5 - loss, tasks=("depth",), loss=loss, settings=settings)
    found = results_of(made, tmp_path)
    assert len(found.series) == 4
    calm = series.least_loss(found)
    assert {line.label for line in calm.series} == {"gsc, loss 0", "webp, loss 0"}
    from scenarios.curves.figures import loss_lines

    lines = loss_lines(found, "world:mars", metric.metrics("truth")[1])
    assert {name for name, _, _ in lines} == {"gsc, frame_bytes 200", "webp, frame_bytes 200"}
    for _, _, pairs in lines:
        assert [(loss, point.scores[DELTA1].value) for loss, point in pairs] == [
            (0.0, 0.5),
            (0.1, pytest.approx(0.4)),
        ]


def test_published_points_are_those_of_the_data_set():
    table = published.find_published("kitti:val", "depth", "delta1")
    assert table is not None
    assert dict(table.line("GSC, paper", "delta1"))[0.0069] == 0.796
    assert published.find_published("cityscapes:x", "segmentation", "miou").line("PerCo, paper", "miou")[
        -1
    ] == (
        0.033,
        0.383,
    )
    assert published.find_published("coco:x", "detection", "map50").original[3] == 0.835
    assert published.find_published("camvid:x", "segmentation", "miou") is None
    assert published.find_published("kitti:val", "segmentation", "miou") is None
    for table in published.PUBLISHED.values():
        assert len(table.original) == len(table.keys)
        assert set(table.methods) == set(published.METHODS)
        for rows in table.methods.values():
            assert all(len(row) == 1 + len(table.keys) for row in rows)
            assert [row[0] for row in rows] == sorted(row[0] for row in rows)


# The page


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The page of a sweep with two codecs, a caption alone, and a failed cell."""
    made = two_codecs()
    made.cell("gsc", 16, 0.1, settings={"codec.channels": 0}, channels=0)
    made.failed("avif", f"UsageError: {HOSTILE}")
    folder = made.write(
        tmp_path_factory.mktemp("page") / "codecs", {"scenario": "mars-relay", "vary": {"a": [HOSTILE]}}
    )
    page.write([load.open_folder(folder)], folder, resamples=20)
    return folder


def test_the_page_says_what_came_out(folder):
    found = Page((folder / page.PAGE).read_text("utf-8"))
    for words in (
        "1 of 22 cells have no results",
        "Bandwidth that each task needs",
        "world:mars · segmentation",
        "BD-rate",
        "+300 %",
        "-75 %",
        "overlap 100 %",
        HOSTILE,
    ):
        assert words in found.text, words
    assert not re.search(r"\b(None|null|nan|NaN)\b", found.text)
    assert "script" not in found.tags


def test_the_page_loads_nothing(folder):
    text = (folder / page.PAGE).read_text("utf-8")
    loads = [
        value for name, value in Page(text).attributes if name in ("src", "srcset", "href", "data", "poster")
    ]
    assert loads
    assert all(value.startswith("data:image/svg+xml;base64,") for value in loads)
    assert not re.search(r"https?://|url\(|@import", re.sub(r"data:image/[^\"]*", "", text))
    policy = [value for name, value in Page(text).attributes if name == "content" and "default-src" in value]
    assert policy[0].startswith("default-src 'none'; img-src data:;")


def test_figures_lie_beside_the_page(folder):
    names = {path.name for path in (folder / "figures").iterdir()}
    drawn = ("headline", "bps", "bpp", "age", "quality")
    assert names == {f"{name}.{form}" for name in drawn for form in ("svg", "png")}
    with Image.open(folder / "figures" / "headline.png") as picture:
        assert picture.width >= 900
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    for wanted in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):  # gsc, webp
        assert wanted in colours
    assert b"<path" in (folder / "figures" / "headline.svg").read_bytes()
    assert not [path for path in folder.rglob("*.tmp")]


def test_the_points_are_a_table(folder):
    query = f"SELECT * FROM read_parquet('{folder / 'points.parquet'}') WHERE task = 'depth' AND metric = 'delta1'"
    with duckdb.connect() as database:
        rows = database.execute(
            f"SELECT codec, bytes_per_frame, value, low, high, ideal, frames, seeds, caption_only FROM ({query}) ORDER BY 1, 2"
        ).fetchall()
    assert len(rows) == 11
    assert rows[0][:3] == ("gsc", 16.0, pytest.approx(0.1))
    assert rows[0][-1] is True
    codec, size, value, low, high, ideal, frames, seeds, alone = rows[1]
    assert (codec, size, frames, seeds, alone) == ("gsc", 32.0, 8, 2, False)
    assert (low, value, high) == pytest.approx([rising(32, 60)] * 3)
    assert ideal == pytest.approx(0.9)


def test_the_same_tables_give_the_same_figure(folder):
    found = series.results([load.open_folder(folder)], 20)
    again = draw_accuracy(found, "headline", "", "bytes", None, "")
    assert again is not None
    assert again.png == (folder / "figures" / "headline.png").read_bytes()
    assert again.wide == (folder / "figures" / "headline.svg").read_bytes()


def written(made: Made, folder: Path, resamples: int = 20):
    return page.write([load.open_folder(made.write(folder))], folder, resamples=resamples)


def test_hostile_names_are_text(tmp_path):
    made = Made(frames=1, source=f"folder:{HOSTILE}")
    made.cell(HOSTILE, 100, 0.5, settings={"codec.order": HOSTILE}, tasks=("depth",))
    made.cell(HOSTILE, 200, 0.6, settings={"codec.order": "x"}, tasks=("depth",))
    done = written(made, tmp_path)
    found = Page(done.page.read_text("utf-8"))
    assert "script" not in found.tags
    assert HOSTILE in found.text


@pytest.mark.parametrize("tasks", [("depth",), ()])
def test_one_point_and_missing_tasks(tmp_path, tasks):
    made = Made(frames=1)
    made.cell("gsc", 100, 0.5, tasks=tasks, on_air_bps=None, age_mean_s=None, age_peak_s=None)
    done = written(made, tmp_path)
    text = Page(done.page.read_text("utf-8")).text
    assert "no model looked for it (analysis: [segmentation] asks for it)" in text
    assert "bit/s: pictures have no pace" in text
    assert "age of information: not known" in text
    assert not re.search(r"\b(None|null|nan|NaN)\b", text)
    assert done.summary["bd_rates"] == []
    assert (tmp_path / "figures" / "headline.png").exists() == bool(tasks)


def test_all_failed(tmp_path):
    made = Made()
    made.failed("gsc", "the disk was full")
    made.failed("webp", "")
    done = written(made, tmp_path)
    text = Page(done.page.read_text("utf-8")).text
    assert "2 of 2 cells have no results" in text
    assert "the disk was full" in text
    assert "no error was kept" in text
    assert "nothing to draw" in text
    assert done.summary["failed"] == 2 and done.summary["needs"] == [] and done.summary["figures"] == []


# Bad input


def test_a_folder_that_holds_no_tables(tmp_path):
    with pytest.raises(UsageError, match=r"no sweep .* and no run"):
        load.open_folder(tmp_path)
    (tmp_path / "sweep.sqlite").write_bytes(b"")
    with pytest.raises(UsageError, match=r"cells\.parquet is missing"):
        load.open_folder(tmp_path)


def test_damaged_and_foreign_tables(tmp_path):
    made = Made(frames=1)
    made.cell("gsc", 100, 0.5, tasks=("depth",))
    folder = made.write(tmp_path)
    good = (folder / "cells.parquet").read_bytes()
    (folder / "cells.parquet").write_bytes(good[:-40])
    with pytest.raises(UsageError, match=r"cells\.parquet: not a table"):
        load.open_folder(folder)
    write_table(
        folder / "cells.parquet", {key: kind for key, kind in CELLS.items() if key != "loss"}, made.cells
    )
    with pytest.raises(UsageError, match="no column loss"):
        load.open_folder(folder)
    made.cells[0]["settings"] = "{"
    with pytest.raises(UsageError, match="settings of cell cell-0 are not JSON"):
        load.open_folder(made.write(tmp_path))


@pytest.mark.parametrize("stats", ["{", '{"classes": 2}', "[1]"])
def test_numbers_that_are_not_a_tasks(tmp_path, stats):
    made = Made(frames=1)
    made.cell("gsc", 100, 0.5, tasks=("depth",))
    made.rows[0]["depth_truth_stats"] = stats
    with pytest.raises(UsageError, match="column depth_truth_stats of gsc on world:mars"):
        results_of(made, tmp_path)


def test_a_table_without_the_columns_of_tasks(tmp_path):
    made = Made(frames=2)
    made.cell("gsc", 100, 0.5, tasks=())
    folder = made.write(tmp_path)
    bare = {key: kind for key, kind in FRAMES.items() if "_truth" not in key and "_original" not in key}
    write_table(folder / "frames.parquet", bare, made.rows)
    (line,) = series.results([load.open_folder(folder)], 10).series
    assert {key[0] for key in line.points[0].scores} == {"picture"}
