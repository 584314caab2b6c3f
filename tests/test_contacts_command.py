"""`farlink scenarios contacts`: what is printed, drawn and exported."""

import json

import pytest
from typer.testing import CliRunner

from scenarios.cli import app

ROWS = [
    {"from": "rover", "to": "orbiter", "start_s": 0.5, "end_s": 10.0, "rate_bps": 8000.0, "delay_s": 0.25},
    {"from": "orbiter", "to": "earth", "start_s": 0.0, "end_s": 100.0, "rate_bps": 800.0, "delay_s": 3.0},
]


def ask(*words):
    return CliRunner().invoke(app, ["scenarios", "contacts", *map(str, words)])


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps({"contacts": ROWS}))
    return tmp_path / "plan.json"


def test_a_plan_is_printed_and_comes_back_as_it_was(plan):
    done = ask(plan)
    assert done.exit_code == 0
    assert "rover  orbiter         0.500        10.000      9.500         8,000     0.250000 " in done.stdout
    assert done.stdout.splitlines()[-1] == "2 contacts of 3 nodes, 0.019 Mbyte"
    assert json.loads(ask(plan, "--json").stdout)["contacts"] == ROWS


def test_a_plan_is_exported_and_what_was_lost_is_said(plan):
    done = ask(plan, "--to", "ion")
    assert "a contact +1 +10 3 2 1000\n" in done.stdout
    assert "contact 0: start 0.5 s became 1" in done.stderr
    rows = json.loads(ask(plan, "--to", "hdtn").stdout)["contacts"]
    assert [row["owlt"] for row in rows] == [1, 3]


TURNS = """
name: turns
camera: {{width: 64, height: 48, period_s: 10, frames: 10}}
codec: {{name: jpeg2000, frame_bytes: 300}}
link:
  hops: [{{name: down, rate_bps: 8000, outage: {{up_s: 20, down_s: 30, hold: true, random: {random}}}}}]
  return: {{rate_bps: 100, outage: {{up_s: 40, down_s: 60, hold: true}}}}
"""


@pytest.mark.parametrize("random", ["false", "true"])
def test_both_ways_have_their_full_rate_while_they_are_up(tmp_path, random):
    """Outages in turn are gaps between contacts, and take nothing from the rate of the time between them."""
    path = tmp_path / "turns.yaml"
    path.write_text(TURNS.format(random=random))
    rows = json.loads(ask(path, "--json").stdout)["contacts"]
    down, back = ([row for row in rows if row["from"] == near] for near in "12")
    assert {row["rate_bps"] for row in down} == {8000.0}
    assert {row["rate_bps"] for row in back} == {100.0}
    assert [back[0]["start_s"], back[0]["end_s"]] == [0.0, 40.0]
    whole = down[-1]["end_s"]
    if random == "false":
        assert down[0]["end_s"] == 20.0
        assert sum(row["end_s"] - row["start_s"] for row in down) <= 20.0 * (1 + whole // 50)
    else:
        assert len(down) == 1


def test_the_contacts_of_nodes_are_listed_as_they_stand(tmp_path):
    hops = [
        {"name": "up", "between": ["rover", "orbiter"], "rate_bps": 800, "contacts_s": [[5, 20], [50, 900]]},
        {"name": "by", "between": ["rover", "earth"], "rate_bps": 80, "outage": {"windows_s": [[10, 30]]}},
        {"name": "down", "between": ["orbiter", "earth"], "rate_bps": 400},
    ]
    link = {"nodes": [{"name": name} for name in ("rover", "orbiter", "earth")], "hops": hops}
    path = tmp_path / "nodes.yaml"
    path.write_text(json.dumps({
        "name": "nodes", "camera": {"frames": 2, "period_s": 10, "width": 64, "height": 48},
        "codec": {"name": "jpeg2000", "frame_bytes": 300}, "link": link,
    }))  # fmt: skip
    rows = json.loads(ask(path, "--json").stdout)["contacts"]
    told = [(row["from"], row["to"], row["start_s"], row["end_s"], row["rate_bps"]) for row in rows]
    assert told == [
        ("1", "2", 5.0, 20.0, 800.0),
        ("1", "2", 50.0, 900.0, 800.0),
        ("1", "3", 0.0, 10.0, 80.0),
        ("1", "3", 30.0, 900.0, 80.0),
        ("2", "3", 0.0, 900.0, 400.0),
    ]


def test_the_passes_of_a_scenario_are_drawn(tmp_path):
    done = ask("orbiter-pass", "--figure", tmp_path / "passes.svg")
    assert done.exit_code == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.split()[0].isdigit()]
    assert [line[1:5] for line in lines[:2]] == [
        ["1", "2", "0.000", "480.000"],
        ["1", "2", "6720.000", "7200.000"],
    ]
    assert (tmp_path / "passes.svg").read_text().startswith("<?xml")
    assert ask("orbiter-pass", "--figure", tmp_path / "passes.png").exit_code == 0
    assert (tmp_path / "passes.png").read_bytes()[:4] == b"\x89PNG"


def test_a_scenarios_passes_have_their_heights():
    pytest.importorskip("astropy")
    done = ask("lunar-south-pole", "--json")
    told = json.loads(done.stdout)
    assert told["zero"] == "2026-11-20T00:00:00Z"
    first = told["contacts"][0]
    assert (first["start_s"], first["end_s"]) == pytest.approx((5801.6, 33_925.5), abs=1)
    assert {(row["from"], row["to"]) for row in told["contacts"]} == {("1", "2"), ("2", "3"), ("3", "1")}
    lines = ask("lunar-south-pole").stdout.splitlines()
    assert any(line.split()[:3] == ["0", "1", "2"] and line.endswith("47.5") for line in lines)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--figure", "x.pdf"], ".svg or .png was expected"),
        (["--to", "csv"], "written as ion or hdtn"),
        (["--set", "seed=1"], "a contact plan has no settings"),
    ],
)
def test_bad_words_are_one_line(plan, words, says):
    done = ask(plan, *words)
    assert done.exit_code == 2
    assert says in done.stderr and len(done.stderr.splitlines()) == 1


def test_no_such_scenario():
    done = ask("nowhere")
    assert done.exit_code == 2 and "no preset is called 'nowhere'" in done.stderr


def test_presets_are_listed_where_astropy_is_missing(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "astropy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "astropy", None)
    from link.physics import geometry

    geometry._seen.cache_clear()
    geometry._table.cache_clear()
    listed = CliRunner().invoke(app, ["scenarios", "list"])
    assert listed.exit_code == 0 and "lunar-south-pole" in listed.stdout
    asked = CliRunner().invoke(app, ["scenarios", "validate", "mars-conjunction"])
    assert asked.exit_code == 2
    assert (
        "hop rover-earth: light times and passes need astropy: pip install 'farlink[physics]'" in asked.stderr
    )
