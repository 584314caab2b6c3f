"""The cheapest link on cells that are made up: the grid's answer, killed and resumed, budgets, the command and its words."""

import json
import math

import numpy as np
import pytest
import sweeps
import yaml
from test_cheapest_search import frames, question
from typer.testing import CliRunner

from link.seeds import generator
from scenarios import schema
from scenarios.cheapest import answer, figure
from scenarios.cheapest.question import Question
from scenarios.cli import app
from scenarios.scoring.tasks import TASKS
from scenarios.sweep import plan, work

IDEAL, FRAMES = 0.9, 12
LADDER = [20, 50, 100, 200, 500, 1000]


pytestmark = pytest.mark.usefixtures("cache_folder")


# The whole, on cells that are made up: by the bytes that a frame may have, as codecs are


class Cells:
    """Stands in for the workers of a sweep."""

    slots = 2

    def __init__(self, run, dies_after=None):
        self._jobs, self._run, self._dies_after = {}, run, dies_after

    def start(self, slot, job):
        if self._dies_after is not None and len(self._run) >= self._dies_after:
            raise KeyboardInterrupt
        self._jobs[slot] = job

    def wait(self):
        slot, job = self._jobs.popitem()
        self._run.append(job["key"])
        return [(slot, come_to(job["scenario"]))]

    def close(self):
        pass


def come_to(tree):
    """A frame is as good as its bytes, up to what the channels hold; repair costs bytes and mends losses."""
    codec, repair, camera = tree["codec"], tree["link"]["repair"], tree["camera"]
    size = codec["frame_bytes"]
    if codec["name"] == "jpeg" and size < 60:
        line = "codec jpeg: frame_bytes is too small for frame 0: about 60 bytes are needed"
        return {"failed": line, "exit_code": 2, "unfit": True, "wall_s": 0.1}
    half = {"gsc": 40, "webp": 110, "jpeg": 200}[codec["name"]]
    if codec["name"] == "gsc":
        size = min(size, 20 + 9 * codec["channels"])
    unequal = repair.get("protection") == "unequal"
    loss = 0.12 * math.exp(-(9 if unequal else 7) * repair["fec"])
    rng = generator(tree["seed"], "made")
    noise = rng.normal(0, 0.01, FRAMES)
    accuracy = sweeps.rising(size, half, IDEAL) * (1 - loss)
    rows = frames(np.clip(accuracy + noise, 0, 1), [IDEAL] * FRAMES, seed=tree["seed"])
    on_air = size * (1.1 + repair["fec"])
    rate = tree["link"]["hops"][-1]["rate_bps"]
    cell = {
        "on_air_bps": on_air * 8 / camera["period_s"], "way_out_bps": size * 1.1 * 8 / camera["period_s"],
        "on_air_bytes_per_frame": on_air, "rate_bps": rate,
        "latency_p50_s": on_air * 8 / rate, "age_mean_s": on_air * 8 / rate + camera["period_s"] / 2,
    }  # fmt: skip
    return {"ok": {"cell": cell, "frames": rows}, "wall_s": 0.1}


@pytest.fixture
def made(monkeypatch):
    """The keys of the cells that were run, and how many may be before the search is killed."""
    run = []

    def let(dies_after=None):
        run.clear()
        monkeypatch.setattr(work, "open_executor", lambda *_: Cells(run, dies_after))
        return run

    let()
    return let


def wide(**more):
    vary = {"link.rate_bps": LADDER, "codec.channels": [2, 8, 32]}
    return question(keep=0.55, codecs=("gsc", "webp", "jpeg"), vary=vary, frames=FRAMES, **more)


def told(advice):
    """What does not depend on what was known before."""
    tree = answer.tree(advice)
    return {key: value for key, value in tree.items() if key != "cells"}, tree["cells"]["looked_at"]


@pytest.mark.parametrize(("keep", "by"), [(0.3, "on-air"), (0.55, "on-air"), (0.7, "on-air"), (0.55, "link")])
def test_the_answer_is_that_of_the_whole_grid_for_a_share_of_its_cells(made, keep, by):
    asked = Question(**{**vars(wide()), "keep": keep, "by": by})
    run = made()
    found = answer.find(asked)
    cells_run = len(run)
    whole = answer.find(asked, whole_grid=True)
    assert whole.spent.looked_at == 21 * len(LADDER), "15 settings of gsc, three of each other codec"
    assert [trial.cost for trial, _ in found.best] == [trial.cost for trial, _ in whole.best]
    assert found.best[0][0] == whole.best[0][0]
    assert len(found.best) == 4 and not found.breaks
    assert all(trial.kept.low >= keep and trial.on_air_bps <= trial.rate_bps for trial, _ in found.best)
    assert cells_run == found.spent.run == found.spent.looked_at == len(set(run[:cells_run]))
    assert cells_run < 0.55 * whole.spent.looked_at
    assert found.error is None


def test_given_again_nothing_is_run_and_another_share_takes_what_is_there(made):
    run = made()
    first = answer.find(wide())
    count = len(run)
    again = answer.find(wide(), workers=0)
    assert len(run) == count and told(again) == told(first)
    assert again.spent.run == 0 and again.spent.cached == count
    other = answer.find(Question(**{**vars(wide()), "keep": 0.6}))
    assert len(run) == count + other.spent.run and other.spent.cached > 0.3 * other.spent.looked_at
    assert len(set(run)) == len(run), "no cell is ever run twice"
    made()
    uncached = answer.find(wide(), cache=False)
    assert uncached.spent.run == count and told(uncached) == told(first)


def test_killed_and_given_again_it_comes_to_the_same(made, monkeypatch, tmp_path):
    made()
    uninterrupted = told(answer.find(wide()))
    for after in (1, 20):
        monkeypatch.setenv("FARLINK_CACHE", str(tmp_path / f"killed{after}"))
        run = made(dies_after=after)
        with pytest.raises(KeyboardInterrupt):
            answer.find(wide())
        before = list(run)
        run = made()
        assert told(answer.find(wide())) == uninterrupted
        assert not set(before) & set(run), "what was done before the kill is not run again"


def test_a_budget_bounds_the_cells_that_are_run(made):
    run = made()
    whole = answer.find(wide(), cache=False)
    run = made()
    spent = 0
    for _ in range(100):
        found = answer.find(wide(), budget=17)
        assert found.spent.run <= 17 and len(run) == spent + found.spent.run
        spent = len(run)
        if not found.spent.cut:
            break
        assert found.error.exit_code == 3
    assert told(found) == told(whole) and spent == whole.spent.run
    made()
    paired = answer.find(wide(seeds=(1, 2)), budget=7, cache=False)
    assert paired.spent.run == 6, "a place takes both of its seeds or none"


def test_what_cannot_be_reached_says_what_comes_nearest(made):
    found = answer.find(Question(**{**vars(wide()), "keep": 0.97}))
    assert found.best == () and found.scenario is None
    whole = answer.find(Question(**{**vars(wide()), "keep": 0.97}), whole_grid=True)
    assert found.closest.kept.low == max(trial.kept.low for trial in whole.trials.values() if trial.kept)
    assert found.error.exit_code == 1
    assert "keeps most" in str(found.error) and "97 % asked for" in str(found.error)


def test_an_age_is_kept_to_and_walks_the_period(made):
    asked = wide(age_s=20.0, settings=("codec.channels=8", "link.repair.fec=0"))
    found = answer.find(asked)
    assert found.best and all(trial.age_mean_s <= 20.0 for trial, _ in found.best)
    assert {trial.settings["camera.period_s"] for trial in found.trials.values()} == {15.0, 30.0}
    assert any("old in the mean" in (trial.why_not or "") for trial in found.trials.values())
    whole = answer.find(asked, whole_grid=True)
    assert [trial.cost for trial, _ in whole.best] == [trial.cost for trial, _ in found.best]


# The command


def invoke(*arguments):
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


ASKED = ("mars-relay", "--task", "segmentation", "--codec", "gsc", "--codec", "webp", "--frames", FRAMES,
         "--vary", "link.rate_bps=20,50,100,200,500,1000", "--vary", "codec.channels=2,8,32")  # fmt: skip


def test_the_command_prints_writes_and_draws(made, tmp_path):
    out, picture = tmp_path / "cheapest.yaml", tmp_path / "kept.svg"
    done = invoke(*ASKED, "--keep", 0.55, "--out", out, "--figure", picture)
    assert done.exit_code == 0, done.output
    assert "cheapest" in done.stdout and done.stdout.count("\nnext ") == 3
    assert "of a grid of 108" in done.stdout and "were as the search assumes" in done.stdout
    tree = json.loads(invoke(*ASKED, "--keep", 0.55, "--json", "--out", out).stdout)
    assert tree["cells"]["run"] == 0 and tree["cells"]["cached"] == tree["cells"]["looked_at"]
    assert tree["cells"]["grid"] == 108
    chosen = tree["chosen"]
    assert chosen["enough"] and chosen["kept"]["low"] >= 0.55 and len(tree["next"]) == 3
    assert [row["on_air_bps"] for row in tree["next"]] == sorted(row["on_air_bps"] for row in tree["next"])
    assert chosen["on_air_bps"] <= tree["next"][0]["on_air_bps"]
    assert set(tree) == {
        "scenario", "task", "score", "reference", "keep", "confident", "by", "age_s", "complete", "chosen", "next",
        "closest", "walked", "cells", "assumed", "trials", "out", "figure",
    }  # fmt: skip
    assert set(chosen) == {
        "rung", "settings", "on_air_bps", "way_out_bps", "rate_bps", "bytes_per_frame", "kept", "latency_p50_s", "age_mean_s",
        "enough", "why_not", "failed", "cells", "same",
    }  # fmt: skip
    assert len(tree["trials"]) == tree["cells"]["looked_at"]
    grid = json.loads(invoke(*ASKED, "--keep", 0.55, "--json", "--whole-grid").stdout)
    assert grid["cells"]["looked_at"] == 108 and grid["chosen"] == chosen and grid["next"] == tree["next"]
    written = schema.load(str(out))
    assert written.codec.channels == chosen["settings"]["codec.channels"]
    assert {hop.rate_bps for hop in written.link.hops} == {chosen["rung"]}
    assert written.analysis == ("segmentation",) and written.camera.frames == FRAMES
    assert yaml.safe_load(out.read_text())["link"]["repair"]["fec"] == chosen["settings"]["link.repair.fec"]
    (cell,) = plan.cells(plan.Request(str(out)))
    assert cell.id == chosen["cells"][0], "what is written is what was run"
    assert picture.read_bytes().startswith(b"<?xml")


def test_the_figure_shows_every_link_the_target_and_the_chosen_one(made):
    found = answer.find(wide())
    drawn = figure.draw(found)
    assert "keeps" in drawn.alt and drawn.png.startswith(b"\x89PNG")
    none = figure.draw(answer.find(Question(**{**vars(wide()), "keep": 0.97})))
    assert none.alt == "no link keeps 97 %" and none.wide != drawn.wide


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--keep", 0.97), 1, "no link that was walked keeps enough"),
        (("--keep", 0.5, "--budget", 2), 3, "--budget: 2 cells were run"),
        (("--keep", 5), 2, "--keep 5: a share"),
        (("--keep", 0.5, "--by", "price"), 2, "--by 'price': on-air or link"),
        (("--keep", 0.5, "--against", "me"), 2, "--against 'me': truth or original"),
        (("--keep", 0.5, "--figure", "kept.pdf"), 2, "--figure kept.pdf: a name that ends in .svg or .png"),
        (("--keep", 0.5, "--out", "no/where/a.yaml"), 2, "--out no/where/a.yaml: there is no folder"),
        (("--keep", 0.5, "--source", "world:pluto"), 2, "pluto"),
        (("--keep", 0.5, "--seeds", "x"), 2, "--seeds x"),
        (("--keep", 0.5, "--set", "codec.chanels=3"), 2, "did you mean 'channels'"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line_and_a_code(made, arguments, code, words):
    done = invoke(*ASKED, *arguments)
    assert done.exit_code == code, done.output
    *_, last = done.stderr.strip().splitlines()
    assert last.startswith("farlink: ") and words in last


def test_killed_by_hand_it_says_that_the_same_command_goes_on(made):
    made(dies_after=5)
    done = invoke(*ASKED, "--keep", 0.5)
    assert done.exit_code == 130 and "the same command goes on with it" in done.stderr


def test_a_dry_run_says_what_would_be_walked(made):
    run = made()
    done = invoke(*ASKED, "--keep", 0.5, "--dry-run")
    assert done.exit_code == 0 and not run
    assert "18 settings on 6 rungs: a grid of 108 cells" in done.stdout
    tree = json.loads(invoke(*ASKED, "--keep", 0.5, "--dry-run", "--json").stdout)
    assert tree["grid"] == 108 and tree["ladder"]["values"] == [20, 50, 100, 200, 500, 1000]


# For real


def test_real_runs_come_to_the_answer_of_the_whole_grid():
    asked = Question(
        "bandwidth", "depth", 0.8, codecs=("webp", "findings"), frames=4,
        settings=("camera.width=64", "camera.height=48"), vary={"link.rate_bps": [300, 600, 1200, 2400]},
    )  # fmt: skip
    found, whole = answer.find(asked, workers=0), answer.find(asked, whole_grid=True, workers=0)
    assert whole.spent.run + whole.spent.cached == 8 and whole.spent.run == 8 - found.spent.looked_at
    assert found.best and found.best[0][0] == whole.best[0][0]
    assert [trial.cost for trial, _ in found.best] == [trial.cost for trial, _ in whole.best]
    assert not found.spent.failed


@pytest.mark.exhaustive
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("codec", ["gsc", "jpeg", "findings"])
def test_every_task_is_answered_with_every_kind_of_codec(codec, task):
    asked = Question(
        "mars-relay", task, 0.1, codecs=(codec,), frames=4,
        settings=("camera.width=128", "camera.height=96", "codec.steps=1", "link.repair.protection=equal"),
        vary={"link.rate_bps": [10, 50, 400, 2000], "codec.channels": [1, 8], "link.repair.fec": [0, 0.2]},
    )  # fmt: skip
    found = answer.find(asked, workers=0)
    assert found.best and not found.spent.failed
    assert found.best[0][0].kept.low >= 0.1
    whole = answer.find(asked, whole_grid=True, workers=0)
    if not whole.breaks:
        assert found.best[0][0] == whole.best[0][0]
