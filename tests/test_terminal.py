"""Text from outside, wherever it is printed: it sets no title, forges no line, turns no reading order round."""

import json
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import toys
from test_metrics import BODIES, S, arrives, data, picture

from link import png
from link.errors import FarlinkError
from link.events import Event, Fate
from link.journal import Journal
from link.packet import wrap
from link.seeds import generator
from link.terminal import escape
from scenarios import cli, packet_file, schema
from scenarios.commands import progress
from scenarios.sweep.bar import SweepBar
from scenarios.sweep.work import Tally

SHARP = (
    "\x1b]0;owned\x07",  # sets the title of the terminal
    "\x1b[2J\x1b[31m",  # clears it, and turns it red
    "\nfarlink: forged\n",
    "\r\x85\u2028\u2029\x0b\x0c",  # other ends of lines
    "\u202egnp.exe\u2066\u200f",  # turns the reading order round
    "\u200b\u200d\u2060\ufeff\u3164\u034f",  # of no width
    "\udcff\ud800",  # no characters at all
    "\x00\x7f\x9b31m\U000e0041",
    "[red]no markup[/red] {braces} %s <b>&amp;",
)
FORGED = "farlink: forged"


def hostile(number: int) -> str:
    """Return a text with all of `SHARP` in an order of its own."""
    order = generator(number, "hostile").permutation(len(SHARP))
    return f"a{number}" + "x".join(SHARP[at] for at in order)


def assert_plain(text: str) -> None:
    unshown = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert [one for one in text if unicodedata.category(one) in unshown and one != "\n"] == []


def assert_harmless(text: str) -> None:
    assert_plain(text)
    assert not any(line.startswith(FORGED) for line in text.splitlines())


@dataclass
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def farlink(capsys, monkeypatch):
    """The command, in this process; what it printed must be harmless, whatever it was."""

    def call(*arguments: Any) -> Done:
        monkeypatch.setattr(sys, "argv", ["farlink", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        found = capsys.readouterr()
        assert_harmless(found.out)
        assert_harmless(found.err)
        return Done(int(end.value.code or 0), found.out, found.err)

    return call


def test_what_is_shown_as_it_is_and_what_is_spelled_out():
    ordinary = "Ä 火星 e\u0301 – ‘q’ δ1 × ✓\u00a0\u3000€"
    assert escape(ordinary) == ordinary
    assert escape("\x1b]0;t\x07\n\u202e\udcff\U000e0041") == r"\x1b]0;t\x07\n\u202e\udcff\U000e0041"
    assert escape("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"
    assert escape("C:\\new\\x1b") == "C:\\new\\x1b"


@pytest.mark.parametrize("number", range(20))
def test_escaping_is_harmless_and_needs_no_second_time(number):
    text = hostile(number) + "".join(
        chr(int(at)) for at in generator(number, "any").integers(0, 0x110000, 500)
    )
    once = escape(text)
    assert_harmless(once)
    assert escape(once) == once
    once.encode()


# A journal made by hand, with something hostile wherever a journal has text.


def head(number: int) -> dict[str, Any]:
    text = iter(range(number * 100, number * 100 + 100))
    plan = toys.session({"hops": [{"name": "up", "rate_bps": 100, "delay_s": 1}], "return": {"rate_bps": 10}})
    tree = plan.model_dump(mode="json", by_alias=True)
    tree |= {"name": hostile(next(text)), "title": hostile(next(text))}
    tree["camera"]["source"] = hostile(next(text))
    tree["link"]["hops"][0]["name"] = hostile(next(text))
    versions = {hostile(next(text)): hostile(next(text))}
    return {"scenario": tree, "seed": 1, "versions": versions, "fingerprint": hostile(next(text))}


def write_journal(folder: Path, number: int) -> Path:
    folder.mkdir()
    about = head(number)
    (folder / "scenario.yaml").write_text("name: x\n")
    with Journal(folder / "run.mcap", about) as book:
        shot = png.encode(picture(0, 64, 48))
        book.event(Event("skipped", 0, None, {"name": hostile(number), "reason": hostile(number + 1)}))
        book.event(Event("captured", 0, 0, {"name": hostile(number + 2)}, shot))
        book.event(Event("encoded", 0, 0, {"sections": [10, 30], "packets": 3}))
        for index, body in enumerate(BODIES):
            item = wrap(data(0, index, body, last=index == 2).pack(0), "compact", index, feedback=False)
            ends = [(time, index, int(fate), 0, 0, lasted) for time, fate, lasted in arrives((index + 2) * S)]
            book.packets([(0, index, int(Fate.SENT), 0, 0, 0), *ends], [item])
        lost = wrap(data(0, 1, BODIES[1]).pack(0), "compact", 3, feedback=False)
        book.packets([(0, 3, Fate.SENT, 0, 0, 0), (S, 3, Fate.CHANNEL_LOSS, 0, 0, S)], [lost])
        about_closed = {"complete": True, "sections": [True, True], "packets": 3}
        book.event(Event("closed", 4 * S, 0, about_closed))
        book.event(Event("decoded", 4 * S, 0, {"complete": True}, shot))
        book.event(Event("aborted", 5 * S, None, {"reason": hostile(number + 3)}))
    return folder


@pytest.mark.parametrize("number", range(3))
def test_no_command_prints_what_a_journal_says_as_it_is(farlink, tmp_path, number):
    folder = write_journal(tmp_path / "run", number)
    assert "1 channel loss" in farlink("inspect", folder).out
    assert farlink("inspect", folder, "--drops").code == 0
    assert farlink("inspect", folder, "--json").code == 0
    done = farlink("report", folder)
    assert done.code == 3
    assert r"\x1b]0;owned" in done.out  # the reason, which is told in the table, and again at the end
    assert r"\x1b]0;owned" in done.err
    page = (folder / "report.html").read_text("utf-8")
    assert_plain(page)
    assert r"\u202e" in page
    assert json.loads(farlink("report", folder, "--json").out)["cut_short"] == hostile(number + 3)
    other = write_journal(tmp_path / hostile(7).replace("\x00", "").replace("/", "").replace("\ud800", ""), 9)
    farlink("compare", folder, other, "--out", tmp_path / "both")
    farlink("report", other)


@pytest.mark.parametrize("number", range(3))
def test_no_error_prints_what_it_was_given_as_it_is(farlink, tmp_path, number, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = hostile(number).replace("\x00", "").replace("\ud800", "")
    for arguments in (
        ["run", text],
        ["run", f"{text}.yaml"],
        ["run", "--source", text],
        ["run", "--codec", text],
        ["run", "--set", text],
        ["run", "--set", f"{text}=1"],
        ["run", "--set", f"camera.fit={text}"],
        ["run", f"--{text}"],
        [text],
        ["inspect", text],
        ["report", text],
        ["compare", text, text],
        ["decode", text, "-o", text],
        ["encode", text, "-o", text],
        ["scenarios", "show", text],
        ["scenarios", "validate", text],
        ["sweep", "mars-relay", "--vary", text, "--out", "x"],
        ["link", "--bind", text],
        ["send", "--connect", text],
        ["models", "pull", text],
        ["train", text],
    ):
        done = farlink(*arguments)
        assert done.code in (2, 4), arguments
        assert done.out == ""
        assert len(done.err.strip().splitlines()) == 1, done.err


def test_a_file_of_packets_names_a_hostile_fingerprint(farlink, tmp_path):
    plan = schema.load("mars-relay", ["codec.name=webp"], {"camera.source": "testcard", "camera.frames": 1})
    packet_file.encode(plan.session(), tmp_path / "a.flnk")
    blob = (tmp_path / "a.flnk").read_bytes()
    size = int.from_bytes(blob[4:8], "big")
    about = json.loads(blob[8 : 8 + size]) | {"fingerprint": hostile(1)}
    told = json.dumps(about).encode()
    (tmp_path / "a.flnk").write_bytes(b"FLNK" + len(told).to_bytes(4, "big") + told + blob[8 + size :])
    done = farlink("decode", tmp_path / "a.flnk", "-o", tmp_path / "a.png")
    assert done.code == 5
    assert r"\x1b]0;owned" in done.err


def test_a_scenario_is_shown_and_checked_without_harm(farlink, tmp_path, monkeypatch):
    title = "\u202eblue\u200b"
    text = schema.source_text("mars-relay")[0].replace("title: A", f"title: {title} A")
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    done = farlink("scenarios", "validate", tmp_path / "mine.yaml")
    (tmp_path / "again.yaml").write_text(done.out, "utf-8")
    assert schema.load(str(tmp_path / "again.yaml")) == schema.load(str(tmp_path / "mine.yaml"))
    assert schema.load(str(tmp_path / "again.yaml")).title.startswith(title)


def test_what_a_run_a_link_and_a_sweep_say_is_harmless(farlink, capsys, monkeypatch):
    with progress.Bar(arrivals=True) as bar:
        bar.begin(hostile(1), hostile(2), 3)
        for kind in ("warned", "skipped", "listening", "captured", "closed", "decoded", "measuring"):
            record = {"kind": kind, "frame": 0, "time_ns": 0, "complete": True}
            bar({**record, "name": hostile(3), "reason": hostile(4), "address": hostile(5)})
    with SweepBar() as sweep_bar:
        monkeypatch.setattr(sweep_bar._console, "_force_terminal", True)
        sweep_bar(Tally(3, failed=1), hostile(6))
    found = capsys.readouterr().err
    assert r"a3" in found and r"a4" in found and r"a6" in found
    assert FORGED in found  # within a line
    assert not any(line.startswith(FORGED) for line in found.splitlines())
    assert "\x1b]0;" not in found and "\u202e" not in found and "\udcff" not in found

    def refuse(*_args: Any, **_options: Any) -> None:
        error = FarlinkError(hostile(8))
        error.exit_code = 3
        raise error

    import link.peer

    monkeypatch.setattr(link.peer, "serve", refuse)
    assert farlink("receive").code == 3


def test_a_sweep_says_its_failures_without_harm(farlink, tmp_path, monkeypatch):
    from types import SimpleNamespace

    from scenarios.sweep import work

    cell: Any = SimpleNamespace(id="0" * 16, label=hostile(2))
    result = work.Result(Tally(2, done=1, failed=1), [(cell, hostile(3))], [tmp_path / "x"], None)
    monkeypatch.setattr(work, "sweep", lambda *_arguments: result)
    done = farlink("sweep", "mars-relay", "--out", tmp_path / "out")
    assert done.code == 1
    assert r"\x1b]0;owned" in done.err
    assert len(done.err.splitlines()) == 2
