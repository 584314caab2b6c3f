"""The page of a run, for ordinary and for odd runs, and the table beside it."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from matplotlib.figure import Figure
from test_metrics import (
    BODIES,
    NO_SCORES,
    Book,
    S,
    arrives,
    data,
    picture,
    refined_story,
    result_of,
    scenario,
    story,
)

from link import png
from link.errors import StorageError
from link.journal import Run
from scenarios import drawing
from scenarios.commands import progress
from scenarios.report import overlays, timeline
from scenarios.report import page as report
from scenarios.report.hop_words import hop_words
from scenarios.results import cell, traffic
from scenarios.results import table as results
from scenarios.scoring.pairs import Scores
from scenarios.words import duration, rate

HOSTILE = '<script>alert("1")</script>\'$x^{$</title>'


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


def with_pictures(run: Run, received: tuple[int, ...] = (0, 1), side: int = 16) -> Run:
    frames = [event["frame"] for event in run.events if event["kind"] == "captured"]
    pictures = {
        "sent": {frame: png.encode(picture(frame, side, side)) for frame in frames},
        "received": {frame: png.encode(picture(frame + 99, side, side)) for frame in received},
    }
    return replace(run, pictures=pictures)


def written(run: Run, folder: Path, scores: Scores = NO_SCORES) -> Page:
    path = report.write(result_of(run, scores), folder)
    return Page(path.read_text("utf-8"))


def render(run: Run, scores: Scores = NO_SCORES) -> Page:
    """Render the page without its figures, which take most of the time."""
    return Page(report.render(result_of(run, scores), []))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the story, with quality and pictures."""
    folder = tmp_path_factory.mktemp("report")
    scores = Scores(
        {0: {"psnr_db": 30.0, "ms_ssim": 0.9}, 1: {"psnr_db": 20.0, "ms_ssim": 0.7}}, {"lpips": "no weights"}
    )
    written(with_pictures(story().run()), folder, scores)
    return folder


def test_page_says_what_happened(folder: Path) -> None:
    page = Page((folder / "report.html").read_text("utf-8"))
    for words in (
        "2 of 3",
        "1 complete, 1 partial, 1 lost",
        "25.0 dB",
        "link was down",
        "100 bit/s, 1 s one way",
    ):
        assert words in page.text
    assert "cut short" not in page.text
    assert "LPIPS: no weights." in page.text
    assert page.text.count("None") == page.text.count("null") == page.text.count("nan") == 0
    assert page.tags.count("source") == 5  # the figures, each with a narrow form


def test_page_loads_nothing(folder: Path) -> None:
    page = Page((folder / "report.html").read_text("utf-8"))
    loads = [
        value
        for name, value in page.attributes
        if name in ("src", "srcset", "href", "data", "poster", "action")
    ]
    assert loads
    assert all(value.startswith("data:image/") for value in loads)
    text = (folder / "report.html").read_text("utf-8")
    assert not re.search(r"https?://|url\(|@import", re.sub(r"data:image/[^\"]*", "", text))
    policy = [value for name, value in page.attributes if name == "content" and "default-src" in value]
    assert policy[0].startswith("default-src 'none'; img-src data:;")


def test_figures_lie_beside_it(folder: Path) -> None:
    names = {path.name for path in (folder / "figures").iterdir()}
    drawn = ("timeline", "bytes", "latency", "age", "quality")
    assert names == {f"{name}.{form}" for name in drawn for form in ("svg", "png")}
    assert not [path for path in folder.rglob("*.tmp")]


def test_a_refined_picture_has_both_times_on_the_page_and_in_the_figure() -> None:
    whole = result_of(with_pictures(refined_story().run()))
    facts = [report._facts(row) for row in whole.rows]
    assert "shown after 3 s, refined after 5 s" in facts[0]
    assert "shown after 4 s · " in facts[1] and "refined" not in facts[1]
    drawn = timeline.draw(whole.run, whole.rows, whole.traffic.sent)
    plain = timeline.draw(story().run(), result_of(story().run()).rows, whole.traffic.sent)
    assert drawn is not None and plain is not None
    assert "the repaired one took its place" in drawn.caption and drawn.wide != plain.wide
    assert "repaired" not in plain.caption
    notes = {card["label"]: card["note"] for card in report._cards(whole)}
    assert (
        "1 was shown in part first, and refined 5 s after capture" in notes["from capture to first display"]
    )
    lines = progress.table(whole.figures)
    assert any(line.startswith("latency") and line.endswith("to the first picture shown") for line in lines)
    assert "refined       1 of them, a median of 5 s after capture" in lines


def test_figures_are_the_same_every_time(folder: Path) -> None:
    whole = result_of(story().run())
    again = timeline.draw(whole.run, whole.rows, whole.traffic.sent)
    assert again is not None
    assert again.wide == (folder / "figures" / "timeline.svg").read_bytes()
    assert again.png == (folder / "figures" / "timeline.png").read_bytes()


def hostile() -> Run:
    about = scenario()
    about["title"] = HOSTILE
    about["camera"]["source"] = HOSTILE
    book = Book(about)
    book.event("captured", 0, 0, name=HOSTILE)
    book.event("encoded", 0, 0, sections=[10, 30], packets=3)
    for index, body in enumerate(BODIES):
        book.packet(0, data(0, index, body), arrives((index + 1) * S))
    book.event("closed", 3 * S, 0, complete=True, sections=[True, True], packets=3)
    book.event("decoded", 3 * S, 0, complete=True)
    book.event("aborted", 4 * S, reason=HOSTILE)
    return with_pictures(book.run(complete=False), (0,))


def test_names_are_escaped() -> None:
    tame, page = render(with_pictures(story().run())), render(hostile())
    assert page.tags.count("script") == tame.tags.count("script") == 1
    assert 'alert("1")' in page.text  # shown, not run
    assert ("data-name", f"Frame 0: {HOSTILE}") in page.attributes
    assert "The run was cut short" in page.text


def test_frames_are_counted_as_in_the_journal(folder: Path) -> None:
    page = Page((folder / "report.html").read_text("utf-8"))
    assert [value for name, value in page.attributes if name == "data-name"] == [
        "Frame 0: f0",
        "Frame 1: f1",
        "Frame 2: f2",
    ]
    groups = timeline._lanes(traffic.packets(story().run()))[1]
    figure = Figure()
    axes = figure.subplots()
    timeline._frame_ticks(axes, groups, 5.0)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1", "2"]


def test_axes_have_no_offsets() -> None:
    with drawing.sheet(False, 3.0) as (figure, (axes,)):
        axes.plot([23.5601, 23.5602], [0.91051, 0.91052])
        figure.draw_without_rendering()
        for axis in (axes.xaxis, axes.yaxis):
            assert axis.get_offset_text().get_text() == ""
            assert any(label.get_text()[:3] in ("23.", "0.9") for label in axis.get_ticklabels())


def test_names_of_boxes_do_not_lie_over_each_other() -> None:
    taken: list[tuple[float, float, float, float]] = []
    crowd = [(40.0 + at, 50.0 + at, 70.0 + at) for at in range(12)]
    places = [overlays.label_place("rock 0.42", beside, (256, 192), taken) for beside in crowd]
    assert places[0] == (40.0, 38.0)  # above its box
    assert 3 <= len(taken) < len(crowd)
    assert sum(place is None for place in places) == len(crowd) - len(taken)
    for at, one in enumerate(taken):
        for other in taken[at + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    corner = overlays.label_place("detector", (250.0, 2.0, 190.0), (256, 192), [])
    assert corner is not None and corner[1] >= 0  # within the picture


def test_words_of_a_table_stay_whole(folder: Path) -> None:
    style = (folder / "report.html").read_text("utf-8").split("</style>")[0]
    assert re.search(r"\ntable \{[^}]*overflow-wrap: normal", style)


def test_nothing_sent(tmp_path: Path) -> None:
    book = Book(scenario(**{"return": None, "repair": {"fec": 0, "arq": False, "priorities": False}}))
    book.event("finished", 0)
    page = written(book.run(), tmp_path)
    assert "No picture was sent" in page.text
    assert "the link is one-way" in page.text
    assert "script" not in page.tags
    assert "figures" not in [path.name for path in tmp_path.iterdir()]


def test_nothing_shown_and_one_frame(tmp_path: Path) -> None:
    lost, shown = Book(), Book()
    for book in (lost, shown):
        book.event("captured", 0, 0, name="only")
        book.event("encoded", 0, 0, sections=[10, 30], packets=3)
    shown.packet(0, data(0, 0, BODIES[0]), arrives(S))
    shown.event("closed", S, 0, complete=False, sections=[True, False], packets=1)
    shown.event("decoded", S, 0, complete=False)
    for book in (lost, shown):
        book.event("finished", S)
    page = written(with_pictures(lost.run(), ()), tmp_path / "lost")
    assert "No picture could be shown" in page.text
    assert "✕ lost" in page.text
    page = written(with_pictures(shown.run(), (0,)), tmp_path / "shown")
    assert "1 of 1" in page.text
    assert "1 of 2 sections arrived" in dict(page.attributes)["data-facts"]


def many(frames: int, packets: int) -> Run:
    """A run of *frames*, each of *packets* that arrive a second later."""
    book = Book()
    for frame in range(frames):
        book.event("captured", frame * S, frame, name=f"f{frame}")
        book.event("encoded", frame * S, frame, sections=[10], packets=packets)
        for index in range(packets):
            book.packet(frame * S, data(frame, index, b"\x80abcde"), arrives((frame + 1) * S))
        book.event("closed", (frame + 1) * S, frame, complete=True, sections=[True], packets=packets)
        book.event("decoded", (frame + 1) * S, frame, complete=True)
    book.event("finished", (frames + 1) * S)
    return book.run()


def test_many_packets_are_counted_in_bins() -> None:
    whole = result_of(many(4, 500))
    found = timeline.draw(whole.run, whole.rows, whole.traffic.sent)
    assert found is not None
    assert "Bars of packets" in found.alt
    assert len(found.wide) < 300_000


def test_many_pictures_are_taken_evenly() -> None:
    run = many(200, 1)
    run = with_pictures(run, tuple(range(200)), 4)
    page = render(run)
    assert "The page holds 60 of 200 pictures" in page.text
    names = [value for name, value in page.attributes if name == "data-name"]
    assert len(names) == 60
    assert names[0] == "Frame 0: f0"
    assert names[-1] == "Frame 199: f199"


def test_large_pictures_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = with_pictures(many(3, 1), (0, 1, 2), 64)
    whole, words = report.pictures(result_of(run))
    assert words == ""
    assert whole[0].sent.startswith("data:image/png")
    monkeypatch.setattr(report, "_PAGE_BYTES", 40_000)
    packed, words = report.pictures(result_of(run))
    assert "WebP at quality 90" in words
    assert sum(len(item.sent) + len(item.received or "") for item in packed) < 41_000
    assert packed[0].sent.startswith("data:image/webp")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (635.24, "10 min 35 s"), (0.005, "5 ms"), (0.9996, "1 s"), (3.2, "3.2 s"), (59.96, "1 min"),
        (3600, "1 h"), (3661, "1 h 1 min"), (90_000, "1 d 1 h"), (0, "0 s"), (2e-7, "0.0002 ms"),
    ],
)  # fmt: skip
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_rates_in_words() -> None:
    assert [rate(bps) for bps in (16, 500, 2000, 1.5e6)] == [
        "16 bit/s",
        "500 bit/s",
        "2 kbit/s",
        "1.5 Mbit/s",
    ]


def test_links_in_words() -> None:
    hop: dict[str, Any] = {
        "name": "x", "rate_bps": None, "trace": "/a/b.down", "delay_s": 0.0,
        "loss": {"model": "gilbert_elliott", "loss": 0.05, "mean_burst": 4.0},
        "outage": {"windows_s": [(60, 120)], "up_s": None, "down_s": None, "random": False, "hold": True},
        "bit_error_rate": 1e-5, "duplicate_ratio": 0.01, "jitter": {"model": "uniform", "scale_s": 0.5},
    }  # fmt: skip
    (found,) = hop_words({"hops": [hop]})
    assert found["rate"] == "the rate of a trace (b.down)"
    assert found["words"] == (
        "no delay, jitter of 500 ms (uniform), loses 5 % of packets, in bursts of about 4, flips 1e-05 of "
        "all bits, copies 1 % of packets, down from 1 min to 2 min (packets wait meanwhile)"
    )


def test_parquet_has_a_row_for_each_frame(tmp_path: Path) -> None:
    run = story().run()
    path = tmp_path / "it's.parquet"
    whole = result_of(run, Scores({1: {"psnr_db": 20.0}}))
    results.write_rows(cell.frames(whole), cell.frame_columns(), path)
    table = duckdb.read_parquet(str(path))
    assert table.columns == list(cell.frame_columns())
    got = [dict(zip(table.columns, row)) for row in table.fetchall()]
    names = ("run", "codec", "source", "seed", "width", "height", "frame", "name")
    assert [tuple(row[name] for name in names) for row in got] == [
        ("by-hand", "jpeg2000", "testcard", 7, 20, 16, frame, f"f{frame}") for frame in range(3)
    ]
    assert [row["latency_s"] for row in got] == [5.0, 4.0, None]
    assert [row["on_air_bytes"] for row in got] == [row.on_air_bytes for row in whole.rows]
    assert [row["psnr_db"] for row in got] == [None, 20.0, None]
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_parquet_of_no_frame_and_of_no_place(tmp_path: Path) -> None:
    book = Book()
    book.event("finished", 0)
    results.write_rows(cell.frames(result_of(book.run())), cell.frame_columns(), tmp_path / "none.parquet")
    assert duckdb.read_parquet(str(tmp_path / "none.parquet")).fetchall() == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        results.write_rows([], cell.frame_columns(), tmp_path / "file" / "x.parquet")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "page"
    path.write_text("old")

    def fail() -> None:
        with results.replacing(path) as fresh:
            fresh.write_text("new")
            raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_time_units() -> None:
    spans = [0.5, 10.0, 600.0, 50_000.0, 1e6]
    assert [drawing.time_unit(span)[1] for span in spans] == [
        "milliseconds",
        "seconds",
        "minutes",
        "hours",
        "days",
    ]
    assert np.allclose([drawing.time_unit(span)[0] for span in spans], [1e-3, 1, 60, 3600, 86_400])
