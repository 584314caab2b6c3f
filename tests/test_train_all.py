"""`farlink train all`: from pictures to a bundle, within the hours, resumable; and bundles as scenarios use them."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_train
import typer
from PIL import Image
from safetensors.numpy import load_file
from torch import nn
from typer.testing import CliRunner

from link import transform as transform_files
from link.config import ProfileConfig
from link.errors import ModelMissingError, StorageError, UsageError
from link.fingerprint import fingerprint
from link.models import MANIFEST, transform_folder
from link.weights import FOLDER
from receiver.folders import part_folders
from scenarios import run as runs
from scenarios import schema
from scenarios.commands import train as command
from scenarios.models.analysts import with_analysts
from scenarios.training import bundle, everything, footage, plan, ship
from scenarios.training.loop import Recipe, train
from scenarios.training.parts import PARTS
from scenarios.training.request import SHIPPED, Trained, TrainingRequest, seed_weights
from scenarios.training.stages import FULL_HOURS, STAGES, Stage, StageRequest, request_for, scale_examples
from sender.calibration import table_path
from sender.folders import of_gsc

app = typer.Typer(pretty_exceptions_enable=False)
command.register(app)


def farlink_train(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    base = tmp_path_factory.mktemp("data")
    toy_train.make_data(base)
    return base


@pytest.fixture(scope="module")
def anew(data, tmp_path_factory):
    """Everything trained from nothing, at toy size; and what was said meanwhile."""
    out, said = tmp_path_factory.mktemp("anew") / "out", []
    toy_train.train(toy_train.request(data, out), said.append)
    return out, said


@pytest.mark.slow
def test_everything_is_trained_within_its_hours(anew):
    out, said = anew
    known = plan.read(out / plan.FILE, json.loads((out / plan.FILE).read_text())["asked"])
    assert known is not None and [*known.parts] == [stage.part for stage in STAGES]
    skipped = {name: part.skipped for name, part in known.parts.items() if part.skipped}
    assert list(skipped) == ["rate"] and "--source" in str(skipped["rate"])
    trained = {name: part for name, part in known.parts.items() if not part.skipped}
    assert sum(part.budget_s for part in trained.values()) == pytest.approx(3600 * toy_train.HOURS)
    for name, part in trained.items():
        assert part.done and part.scores
        assert (part.steps is None) == (name == "tables")
        if part.steps is not None:
            assert 1 <= part.steps <= 4
            rows = [json.loads(line) for line in (out / name / "log.jsonl").read_text().splitlines()]
            assert rows[-1]["step"] == part.steps and (out / name / "checkpoint.pt").is_file()
    assert json.loads(said[-1]) == {"bundle": str(out / "bundle"), "summary": str(out / "summary.html")}


@pytest.mark.slow
def test_the_summary_shows_every_stage_and_loads_nothing(anew):
    out, _ = anew
    page = (out / "summary.html").read_text()
    assert "http://" not in page and "https://" not in page and "<script" not in page
    for stage in STAGES:
        assert f"<td>{stage.part}</td>" in page
    assert page.count("data:image/webp;base64,") == sum(
        len(list((out / stage.part / "samples").glob("*.png"))) for stage in STAGES
    )
    assert f"--set profile.bundle={out / 'bundle'}" in page
    assert "val_lpips" in page and "12 of 12 parts done" in page


@pytest.mark.slow
def test_the_bundle_runs_by_one_option(anew, tmp_path):
    out, _ = anew
    settings = (f"profile.bundle={out / 'bundle'}", "camera.width=64", "camera.height=64", "codec.steps=1")
    plain = schema.load("mars-relay", settings[1:], {"camera.source": "testcard", "camera.frames": 1})
    own = schema.load("mars-relay", settings, {"camera.source": "testcard", "camera.frames": 1})
    assert fingerprint(own.session()) != fingerprint(plain.session()), "its transform is another one"
    alone = {"profile.transform": str(out / "bundle" / "transform")}
    named = schema.load(
        "mars-relay", settings[1:], {"camera.source": "testcard", "camera.frames": 1, **alone}
    )
    assert fingerprint(own.session()) == fingerprint(named.session())
    outcome = runs.run(own, runs.prepare(tmp_path / "run", own), transport="inproc")
    assert outcome.error is None and outcome.metrics["frames"]["sent"] == 1
    assert outcome.metrics["frames"]["lost"] == 0
    made = load_file(out / "transform" / "model" / "analysis.safetensors")
    held = load_file(out / "bundle" / "transform" / "analysis.safetensors")
    assert all(np.array_equal(value, held[name]) for name, value in made.items()), (
        "both ends hash it: not halved"
    )
    halved = load_file(out / "bundle" / "generator" / "vae" / "diffusion_pytorch_model.safetensors")
    decoder = load_file(out / "decoder" / "model" / "diffusion_pytorch_model.safetensors")
    assert all(np.array_equal(value.astype(np.float16), halved[name]) for name, value in decoder.items())
    judges = with_analysts(
        schema.load("mars-relay", settings, {"camera.source": "world:mars", "analysis": ["depth"]}).session()
    )
    assert judges.depth == str(out / "bundle" / "analysis" / "depth-world")


@pytest.mark.slow
def test_the_same_command_does_nothing_twice_and_another_one_is_refused(anew, data):
    out, _ = anew
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/checkpoint.pt")}
    said: list[str] = []
    toy_train.train(toy_train.request(data, out), said.append)
    assert len(said) == 1 and before == {
        path: path.stat().st_mtime_ns for path in out.glob("*/checkpoint.pt")
    }
    with pytest.raises(UsageError, match=r"a run with hours 0\.05 is there, not 3"):
        toy_train.train(replace(toy_train.request(data, out), hours=3.0), said.append)
    with pytest.raises(UsageError, match="a run with seed 3 is there, not 4"):
        toy_train.train(replace(toy_train.request(data, out), seed=4), said.append)


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_weights(data, tmp_path):
    """Forked from a process that has imported everything, each child is killed without a chance to say goodbye."""
    seed = int(os.environ.get("FARLINK_SEED", random.SystemRandom().randrange(10**6)))
    print(f"FARLINK_SEED={seed}")
    draw = random.Random(seed)
    # The second child is killed by its second line: it may have few steps left to do.
    moments = [draw.randrange(1, 8), 1 + draw.randrange(2)]
    script = Path(toy_train.__file__)
    arguments = [sys.executable, str(script), str(data), str(tmp_path), *map(str, moments)]
    paths = os.pathsep.join([str(script.parent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=280, env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"run"')]
    assert [row["killed"] for row in said] == [False, True, True, False], "each was still at work"
    ends = {}
    for name in ("whole", "killed"):
        files = sorted(
            path for path in (tmp_path / name).rglob("*.safetensors") if "examples" not in path.parts
        )
        ends[name] = {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files}
    assert ends["whole"].keys() == ends["killed"].keys() and len(ends["whole"]) > 10
    assert [name for name, own in ends["whole"].items() if own != ends["killed"][name]] == []
    plans = [json.loads((tmp_path / name / plan.FILE).read_text())["parts"] for name in ("whole", "killed")]
    steps = [{part: own["steps"] for part, own in parts.items()} for parts in plans]
    assert steps[0] == steps[1]
    # Own pictures, adapted: what was not trained is the shipped part, and nobody judges by what it learned itself.
    manifest = json.loads((tmp_path / "whole" / "bundle" / MANIFEST).read_text())
    assert manifest["parts"]["transform"] == manifest["parts"]["generator/vae"] == "trained"
    assert manifest["parts"]["generator/transformer"] == "shipped"
    assert not [place for place in manifest["parts"] if place.startswith("analysis")]
    shipped = load_file(SHIPPED["vae"] / "diffusion_pytorch_model.safetensors")
    own = load_file(
        tmp_path / "whole" / "bundle" / "generator" / "vae" / "diffusion_pytorch_model.safetensors"
    )
    moved = {name for name in shipped if not np.array_equal(shipped[name], own[name])}
    assert moved and all(name.startswith(("decoder.", "post_quant_conv.")) for name in moved)


# Time


class Weight:
    """A part of one number, whose steps take a time that a clock of its own is told of."""

    name = "weight"

    def __init__(self, clock: "Clock", step_s: float) -> None:
        self._clock, self._step_s = clock, step_s
        self.modules = nn.ModuleDict({"line": nn.Linear(1, 1)})

    def to(self, device):
        """Nothing is only used."""

    def loss(self, rng, progress):
        self._clock.now += self._step_s
        line: Any = self.modules["line"]
        error = (line(torch.from_numpy(rng.normal(size=(4, 1)).astype(np.float32))) - 3.0).square().mean()
        return error, {"loss": error.item()}

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        line: Any = self.modules["line"]
        (folder / "weight.json").write_text(json.dumps([line.weight.item(), line.bias.item()]))

    def sample(self, folder, step):
        return {"val": 1.0}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def toy_entry(clock, step_s=2.0, build_s=7.0, most=10_000):
    def build(request, batch):
        clock.now += build_s
        return Weight(clock, step_s)

    return Trained(Recipe(most, 1e-2, warmup=5), batch=1, build=build, needs=("out", "streets"))


def planned(tmp_path, seconds):
    parts = {"weight": plan.PartPlan(seconds)}
    return plan.TrainingPlan(tmp_path / plan.FILE, {"hours": 1}, parts)


def test_a_part_takes_the_steps_that_its_share_has_room_for(tmp_path):
    clock, stage = Clock(), Stage("weight", 1.0, 1.0)
    whole = planned(tmp_path, 200.0)
    request = StageRequest(out=tmp_path / "weight", seed=5)
    everything._train(stage, toy_entry(clock), request, whole, clock, lambda line: None)
    own = whole.parts["weight"]
    assert own.pace_s == 2.0 and own.steps == int((200.0 * (1 - everything.RESERVED) - 7.0) / 2.0) == 81
    assert own.save_every == 60, "two minutes of work"
    assert own.done and own.scores == {"val": 1.0} and own.spent_s == 2.0 * 81
    assert clock.now - 100.0 <= 200.0
    read = plan.read(tmp_path / plan.FILE, {"hours": 1})
    assert read is not None and read.parts["weight"] == own
    # What was timed was forgotten: without it the same steps make the same weights.
    torch.manual_seed(0)
    seed_weights("weight", 5)
    again = Weight(clock, 0.0)
    recipe = Recipe(81, 1e-2, warmup=5, seed=5)
    train(again, recipe, tmp_path / "again", lambda: 0.0, lambda line: None)
    names = [tmp_path / folder / "model" / "weight.json" for folder in ("weight", "again")]
    assert names[0].read_text() == names[1].read_text()


def test_few_pictures_are_not_shown_longer_than_a_recipe_has_steps(tmp_path):
    clock, whole = Clock(), planned(tmp_path, 2000.0)
    request = StageRequest(out=tmp_path / "weight", adapts=True)
    everything._train(
        Stage("weight", 1, 1), toy_entry(clock, most=20), request, whole, clock, lambda line: None
    )
    assert whole.parts["weight"].steps == 20


def test_too_few_hours_are_told_with_how_many_would_do(tmp_path):
    clock, whole = Clock(), planned(tmp_path, 10.0)
    request = StageRequest(out=tmp_path / "weight")
    with pytest.raises(UsageError, match=r"too few for one step of weight.* 10 s .* 9 s .* 1\.1 times"):
        everything._train(Stage("weight", 1, 1), toy_entry(clock), request, whole, clock, lambda line: None)
    assert whole.parts["weight"].steps is None and not (tmp_path / "weight").exists()


def test_a_part_that_is_ended_before_its_samples_draws_them_when_it_goes_on(tmp_path):
    class Cut(Weight):
        def sample(self, folder, step):
            raise KeyboardInterrupt

    recipe = Recipe(4, 1e-2, save_every=2, sample_every=4, seed=1)
    torch.manual_seed(1)
    with pytest.raises(KeyboardInterrupt):
        train(Cut(Clock(), 0.0), recipe, tmp_path, lambda: 0.0, lambda line: None)
    said: list[str] = []
    assert train(Weight(Clock(), 0.0), recipe, tmp_path, lambda: 0.0, said.append) == 2
    assert json.loads(said[-1]) == {"step": 4, "val": 1.0}


def test_shares_and_examples():
    parts = PARTS["tiny"]
    assert all(stage.part in parts for stage in STAGES)
    untimed = {"world", "text", "grammar", "detection-threshold", "all"}
    untimed |= {"shown", "dyndiff"}  # nothing that ships was trained so yet
    assert untimed == set(parts) - {s.part for s in STAGES}
    assert sum(stage.anew for stage in STAGES) == pytest.approx(1.0)
    assert sum(stage.adapted for stage in STAGES) == pytest.approx(1.0)
    stage = Stage("flow", 1.0, 0.0, examples=(48, 8000))
    for hours, count in ((FULL_HOURS, 8000), (100.0, 8000), (FULL_HOURS / 2, 4000), (1e-3, 48)):
        assert scale_examples(stage, TrainingRequest(hours=hours)) == count
    assert scale_examples(stage, TrainingRequest(hours=8.0, examples=12)) == 12
    assert scale_examples(Stage("segmenter", 1.0, 1.0), TrainingRequest(hours=8.0)) is None


def test_the_readme_has_the_table_of_shares():
    text = (Path(everything.__file__).parent / "README.md").read_text()
    rows = re.findall(r"^\| ([a-z-]+) \| (\d+ %|–) \| (\d+ %|–) \|", text, re.MULTILINE)
    shares = [
        (stage.part, *(f"{100 * x:.0f} %" if x else "–" for x in (stage.anew, stage.adapted)))
        for stage in STAGES
    ]
    assert rows == shares


def test_each_stage_builds_on_what_was_made_before_it_last(tmp_path):
    asked = TrainingRequest(out=tmp_path, streets=tmp_path, hours=1.0, size=(64, 64), batch=3)
    stage = next(stage for stage in STAGES if stage.part == "decoder")
    entry = PARTS["tiny"]["decoder"]
    made = ("transform", "autoencoder", "flow", "control")
    request = request_for(stage, entry, asked, tmp_path, made, False)
    assert request.part("controlnet") == tmp_path / "control" / "model" / "controlnet"
    assert request.part("vae") == tmp_path / "autoencoder" / "model" and request.start("vae") is None
    assert request.part("segmenter") == SHIPPED["segmenter"], "none was trained"
    assert request.out == tmp_path / "decoder" and request.batch == 3 and request.hours is None
    later = request_for(stage, entry, asked, tmp_path, (*made, "joint"), False)
    assert later.part("controlnet") == tmp_path / "joint" / "model" / "controlnet"
    last = request_for(stage, entry, asked, tmp_path, (*made, "joint", "shown"), False)
    assert last.part("controlnet") == tmp_path / "shown" / "model" / "controlnet"
    assert last.part("vae") == tmp_path / "shown" / "model" / "vae"
    gently = request_for(stage, entry, asked, tmp_path, ("transform",), True)
    assert gently.part("vae") == gently.start("vae") == SHIPPED["vae"]


# One's own pictures


def test_own_pictures_are_made_ready_once(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    for number in range(21):
        Image.new("RGB", (640, 480) if number else (40, 30), (10 * number, 90, 60)).save(
            folder / f"{number:02d}.jpg"
        )
    (folder / "05.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not meant as one")
    said: list[str] = []
    assert footage.prepare(folder, tmp_path / "data", (64, 48), said.append) is False
    counts = {part: sorted((tmp_path / "data" / part).iterdir()) for part in ("train", "train_labels", "val")}
    assert [len(files) for files in counts.values()] == [18, 18, 2], (
        "the last tenth is held out, one is broken"
    )
    assert json.loads(said[0]) == {"left_out": "05.jpg"} and json.loads(said[1])["pictures"] == 20
    for picture, labels in zip(counts["train"], counts["train_labels"], strict=True):
        with Image.open(picture) as shown, Image.open(labels) as classes:
            assert shown.size == classes.size and picture.stem == labels.stem
            assert shown.size == ((128, 96) if shown.size != (40, 30) else (40, 30))
    shutil.rmtree(folder)
    folder.mkdir()
    assert footage.prepare(folder, tmp_path / "data", (64, 48), said.append) is False, "they are there"


def test_ones_own_labels_are_used_where_there_are_some(tmp_path):
    folder, labels = tmp_path / "drive", tmp_path / "drive_labels"
    for place in (folder, labels):
        place.mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48)).save(folder / f"{number}.png")
        Image.new("L", (64, 48), 4 + number).save(labels / f"{number}.png")
    assert footage.prepare(folder, tmp_path / "data", (64, 48), lambda line: None) is True
    found = [
        np.unique(np.asarray(Image.open(path))).tolist()
        for path in sorted((tmp_path / "data").glob("*_labels/*"))
    ]
    assert found == [[4], [5], [6]]
    (labels / "1.png").unlink()
    with pytest.raises(UsageError, match=r"1\.png: no such label file"):
        footage.prepare(folder, tmp_path / "other", (64, 48), lambda line: None)
    assert not (tmp_path / "other").exists()


# Bad input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pictures", "DATA/own"), "training all needs --hours"),
        (("--hours", 1), "training all needs --streets (with labels, everything anew) or --pictures"),
        (("--hours", 1, "--streets", "DATA/train", "--pictures", "DATA/own"), "--streets (with labels"),
        (("--hours", 1, "--streets", "DATA/own"), "DATA/own: no labels beside it; --pictures needs none"),
        (("--hours", 1, "--pictures", "DATA/nowhere"), "DATA/nowhere: no such folder"),
        (("--hours", 1, "--pictures", "DATA/world"), "DATA/world: no pictures there; at least 2 are needed"),
        (("--hours", 1, "--pictures", "DATA/own", "--size", "32x32"), "of 31 pixels at least, not 16"),
        (("--hours", 1, "--pictures", "DATA/own", "--natural", "DATA/no"), "--natural DATA/no: no such folder"),
        (("--hours", 1, "--pictures", "DATA/own", "--steps", 4), "training all has no use for --steps"),
        (("--hours", 1e-5, "--pictures", "DATA/own", "--size", "64x64"), "--hours: too few for one step of transform"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_told_in_one_line(data, tmp_path, arguments, words):
    given = [str(one).replace("DATA", str(data)) for one in arguments]
    done = farlink_train("all", "--out", tmp_path / "out", *given)
    told = [line for line in done.stderr.strip().splitlines() if not line.startswith("{")]
    assert done.exit_code == 2 and words.replace("DATA", str(data)) in told[0] and len(told) == 1


def test_hours_are_for_all_alone():
    done = farlink_train("transform", "--hours", 2, "--out", "x", "--streets", "y")
    assert done.exit_code == 2 and "training transform has no use for --hours" in done.stderr


def test_a_full_disk_is_told(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StorageError, match="No space left"):
        planned(tmp_path, 1.0).write()
    with pytest.raises(StorageError, match="No space left"):
        bundle.build(tmp_path, tmp_path / "bundle", {})
    assert not (tmp_path / "bundle").exists()


def test_a_plan_that_is_none_is_told(tmp_path):
    for text in (
        "[]",
        "{",
        json.dumps({"format": 2}),
        json.dumps({"format": 1, "asked": {}, "parts": {"a": {"b": 1}}}),
    ):
        (tmp_path / plan.FILE).write_text(text)
        with pytest.raises(UsageError, match="no plan of farlink train all"):
            plan.read(tmp_path / plan.FILE, {})


# Bundles


def test_every_shipped_part_has_its_own_place_in_a_bundle():
    places = [bundle.place_of(target) for target in ship.PARTS.values()]
    assert len(set(places)) == len(places)
    assert places[:3] == ["transform", "segmenter", "generator/vae"] and "analysis/depth-world" in places
    with pytest.raises(ValueError, match="no folder of weights"):
        bundle.place_of("elsewhere/weights")


@pytest.fixture
def partial(tmp_path):
    """A bundle that holds a transform, a VAE, a judge and a rate table."""
    whole = tmp_path / "bundle"
    for place in ("transform", "generator/vae", "analysis/segmentation"):
        (whole / place).mkdir(parents=True)
    (whole / "rate.json").write_text("{}")
    (whole / MANIFEST).write_text("{}")
    return whole


def session_of(**profile):
    plan_of = schema.load("mars-relay", (), {"camera.source": "testcard"})
    return plan_of.session().model_copy(update={"profile": ProfileConfig(**profile)})


def test_parts_of_a_bundle_stand_for_the_profiles_and_others_do_not(partial):
    session, plain = session_of(bundle=str(partial)), session_of()
    assert transform_folder(session) == partial / "transform" and transform_folder(plain) == FOLDER / "tiny"
    folders, usual = part_folders(session), part_folders(plain)
    assert folders.pop("vae") == partial / "generator" / "vae" != usual.pop("vae")
    assert folders == usual and of_gsc(session)["captioner"] == of_gsc(plain)["captioner"]
    assert table_path(session) == partial / "rate.json"
    asked = session.model_copy(update={"analysis": ("segmentation",)})
    assert with_analysts(asked).segmentation == str((partial / "analysis" / "segmentation").resolve())


def test_what_is_named_by_itself_wins_over_a_bundle(partial):
    session = session_of(bundle=str(partial), transform="t", vae="v", rate_table="r.json", segmentation="s")
    assert transform_folder(session) == Path("t") and part_folders(session)["vae"] == Path("v")
    assert table_path(session) == Path("r.json")
    asked = session.model_copy(update={"analysis": ("segmentation",)})
    assert with_analysts(asked).segmentation == "s"
    assert part_folders(session_of(bundle=str(partial), generator="g"))["vae"] == Path("g") / "vae"


def test_a_bundle_that_is_none_ends_the_run(partial, tmp_path):
    missing = "no such folder"
    for folder, why in ((tmp_path / "a\nb\x0bc", missing), (tmp_path, "no bundle.json in it")):
        with pytest.raises(ModelMissingError, match=f"^profile.bundle .*: {why}.*$"):
            fingerprint(session_of(bundle=str(folder)))


def test_a_scenario_without_a_bundle_is_written_as_before():
    assert "bundle" not in session_of().model_dump()["profile"]
    assert session_of(bundle="b").model_dump(mode="json")["profile"]["bundle"] == "b"


@pytest.mark.slow
def test_sizes_of_a_bundles_transform_are_what_its_pictures_are_coded_at(anew):
    folder = anew[0] / "bundle" / "transform"
    assert transform_files.sizes(folder) == (toy_train.SIZE,)
