"""Whole runs with analysis models: findings in the journal, scores in the figures, the table and the report."""

import json
from typing import Any

import duckdb
import numpy as np
import pytest
import sights
import toys
from PIL import Image

from link import journal, png
from link.analysis import findings
from link.analysis.analyst import SHIPPED, Analyst, Chosen
from link.analysis.findings import DepthMap, Record
from link.errors import ModelMissingError, UsageError
from link.fingerprint import fingerprint
from scenarios import run as runs
from scenarios import schema
from scenarios.commands import progress
from scenarios.results import cell
from scenarios.results import judge as analyses
from scenarios.results.judge import REFERENCES, analyse
from scenarios.scoring.tasks import TASKS
from scenarios.truth import senders
from scenarios.truth.truth import Truth

SIZE = (64, 48)
FRAMES = 4


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a folder with a toy model for each task."""
    root = tmp_path_factory.mktemp("models")
    sights.upernet(root / "segmentation")
    sights.upernet(root / "depth", ("1 m", "4 m", "16 m"), seed=1, depth_bins_m=[1.0, 4.0, 16.0])
    sights.rtdetr(root / "detection")
    return root


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return a folder of pictures with labels, depth and boxes."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(3)
    for name in ("toy", "toy_labels", "toy_depth", "toy_boxes"):
        (root / name).mkdir()
    (root / "toy_labels" / "classes.txt").write_text("car\nsky\nroad\n")
    (root / "toy_boxes" / "classes.txt").write_text("lander\nrock\n")
    for at in range(FRAMES):
        shade = np.linspace(20, 220, SIZE[0])[None, :, None] + rng.normal(0, 25, (SIZE[1], SIZE[0], 3))
        Image.fromarray(shade.clip(0, 255).astype(np.uint8)).save(root / "toy" / f"{at}.png")
        labels = rng.integers(0, 3, (SIZE[1], SIZE[0]), np.uint8)
        labels[:4] = 255
        Image.fromarray(labels).save(root / "toy_labels" / f"{at}.png")
        np.save(root / "toy_depth" / f"{at}.npy", rng.uniform(1, 20, (SIZE[1], SIZE[0])).astype(np.float32))
        boxes = [{"kind": "rock", "box": [4, 4, 30, 30]}, {"kind": "lander", "box": [30, 10, 60, 40]}]
        (root / "toy_boxes" / f"{at}.json").write_text(json.dumps(boxes))
    return f"folder:{root / 'toy'}"


LOSSY = {"model": "pattern", "pattern": "...x"}


def plan(source, models, tasks=("segmentation", "depth", "detection"), **more):
    given = {
        "camera.source": source, "camera.width": SIZE[0], "camera.height": SIZE[1], "camera.frames": FRAMES,
        "codec.name": "webp", "codec.frame_bytes": 300, "analysis": list(tasks), "link.repair.arq": False,
        "link.mtu_bytes": 512, "link.repair.fec": 0.0,
        **{f"profile.{task}": str(models / task) for task in tasks}, **more,
    }  # fmt: skip
    # one packet a frame: the pattern loses whole frames
    hops = [{"name": "hop", "rate_bps": 2000, "loss": LOSSY}]
    return schema.load("mars-relay", (), {"link.hops": hops, **given})


@pytest.fixture(scope="module")
def done(source, models, tmp_path_factory):
    """Return the folder and the figures of a run in which one of four frames is lost."""
    folder = tmp_path_factory.mktemp("run") / "out"
    scenario = plan(source, models)
    outcome = runs.run(scenario, runs.prepare(folder, scenario), transport="inproc")
    assert outcome.error is None
    return folder, outcome.metrics


@pytest.fixture(scope="module")
def read(done):
    return journal.read(done[0] / "run.mcap")


def test_the_journal_holds_what_was_found_in_what_was_received(done, read, models):
    shown = [event["frame"] for event in toys.kinds(read, "decoded")]
    assert len(shown) == 3, "one of four is lost"
    found = toys.kinds(read, "found")
    assert [(event["frame"], event["task"]) for event in found] == [
        (frame, task) for frame in shown for task in ("segmentation", "depth", "detection")
    ]
    assert sorted(read.findings) == ["depth", "segmentation"], "boxes are in their events"
    looked = Analyst.from_session(plan("testcard", models).session())
    for frame in shown:
        pixels = png.decode(read.pictures["received"][frame])
        for kind, fields, picture in looked.look(pixels):
            event = next(item for item in found if (item["frame"], item["task"]) == (frame, fields["task"]))
            assert kind == "found" and event.items() >= fields.items()
            assert read.findings.get(fields["task"], {}).get(frame) == picture


def test_topics_of_findings_are_what_foxglove_shows(done):
    from mcap.reader import make_reader

    with (done[0] / "run.mcap").open("rb") as file:
        summary = make_reader(file).get_summary()
    topics = {channel.topic: summary.schemas[channel.schema_id].name for channel in summary.channels.values()}
    assert topics["/findings/segmentation"] == topics["/findings/depth"] == "foxglove.CompressedImage"
    assert topics["/findings/detection"] == "foxglove.ImageAnnotations"


def test_a_journal_without_analysis_has_no_topics_of_findings(tmp_path, source, models):
    scenario = plan(source, models, tasks=())
    folder = runs.prepare(tmp_path / "out", scenario)
    assert runs.execute(scenario, folder, transport="inproc") is None
    data = (folder / "run.mcap").read_bytes()
    assert b"/findings" not in data
    found = journal.read(folder / "run.mcap")
    assert found.findings == {} and not toys.kinds(found, "found")
    figures = cell.make(found, analyse, lambda _link: {}).figures
    assert figures["tasks"] == {"segmentation": None, "depth": None, "detection": None}
    assert "no model that comes with farlink" in figures["notes"]["tasks.depth"]


def test_analysis_changes_neither_wire_nor_fingerprint(done, read, source, models):
    without, own = plan(source, models, tasks=()), plan(source, models)
    assert fingerprint(without) == fingerprint(own) == read.head["fingerprint"]
    assert own.session().analysis == ("segmentation", "depth", "detection")


def by_hand(read, models, source):
    """Return the mean IoU against the truth, counted pixel by pixel, a lost frame as no answer."""
    names = {event["frame"]: event["name"] for event in toys.kinds(read, "captured")}
    order = {"sky": 1, "road": 2, "car": 0}
    right, union = [0] * 3, [0] * 3
    for frame in range(FRAMES):
        path = source.removeprefix("folder:") + f"_labels/{names[frame]}"
        truth = np.asarray(Image.open(path))
        picture = read.findings["segmentation"].get(frame)
        found = np.full(truth.shape, 255)
        if picture is not None:
            labels = findings.read(Record({"names": list(sights.NAMES)}, picture)).labels
            for at, name in enumerate(sights.NAMES):
                found[labels == at] = order[name]
        for true, guess in zip(truth.ravel().tolist(), found.ravel().tolist()):
            if true == 255:
                continue
            right[true] += true == guess
            union[true] += 1
            if guess not in (true, 255):
                union[guess] += 1
    return sum(a / b for a, b in zip(right, union)) / 3


def test_scores_against_the_truth_are_those_counted_by_hand(done, read, source, models):
    scores = done[1]["tasks"]["segmentation"]["truth"]
    assert scores["miou"] == pytest.approx(by_hand(read, models, source), abs=1e-12)
    assert (
        scores["miou_ci95_low"] <= scores["miou"] + 0.05 and scores["miou_ci95_high"] >= scores["miou"] - 0.05
    )
    assert scores["frames"] == 4 and scores["shown"] == 3


def invented_by_hand(read, source, looked):
    """Return the share of labelled pixels of shown pictures with a class that is neither true nor in the original."""
    names = {event["frame"]: event["name"] for event in toys.kinds(read, "captured")}
    meant = np.array([{"sky": 1, "road": 2, "car": 0}[name] for name in sights.NAMES])
    wrong = labelled = 0
    for frame, picture in read.findings["segmentation"].items():
        truth = np.asarray(Image.open(source.removeprefix("folder:") + f"_labels/{names[frame]}"))
        found = meant[findings.read(Record({"names": list(sights.NAMES)}, picture)).labels]
        original = meant[looked.find(png.decode(read.pictures["sent"][frame])).labels]
        for true, guess, before in zip(truth.ravel(), found.ravel(), original.ravel(), strict=True):
            if true != 255:
                labelled += 1
                wrong += guess not in (true, before)
    return wrong / labelled


def test_what_was_invented_is_that_counted_by_hand(done, read, source, models):
    (looked,) = Analyst.from_session(plan("testcard", models, ("segmentation",)).session())._models
    scores = done[1]["tasks"]["segmentation"]
    value = scores["truth"]["invented"]
    assert value == pytest.approx(invented_by_hand(read, source, looked[1]), abs=1e-12) and value > 0.01
    assert scores["truth"]["invented_rare"] == 0.0, "all three classes are common"
    assert scores["original"]["invented"] is None and scores["ideal"]["invented"] is None
    assert not [note for note in done[1]["notes"] if "invented" in note]
    page, told = (done[0] / "report.html").read_text(), "\n".join(progress.table(done[1]))
    assert "<td>invented (rare classes)</td>" in page and "less than 2 % of the labelled pixels" in page
    assert f"invented {value:.3f}, invented (rare classes) 0.000" in told
    row = cell.make(read, analyse, lambda _link: {}).cell
    assert row["segmentation_truth_invented"] == value and row["segmentation_original_invented"] is None


def test_where_it_is_not_known_what_was_invented_the_reason_is_told(done, read):
    def without(**changed):
        head = {**read.head, "scenario": {**read.head["scenario"], **changed}}
        return analyse(journal.Run(**{**read.__dict__, "head": head}), intervals=False)

    about = read.head["scenario"]
    no_model = without(profile={**about["profile"], "segmentation": "/nowhere"})
    assert no_model.tasks["segmentation"]["truth"]["miou"] is not None
    assert no_model.tasks["segmentation"]["truth"]["invented"] is None
    assert "sent pictures" in no_model.notes["tasks.segmentation.invented"]
    no_truth = without(camera={**about["camera"], "source": "testcard"})
    assert no_truth.tasks["segmentation"]["truth"] is None
    assert no_truth.tasks["segmentation"]["original"]["invented"] is None
    assert "to be true" in no_truth.notes["tasks.segmentation.invented"]
    events = [event for event in read.events if event["kind"] not in ("found", "decoded")]
    unseen = analyse(journal.Run(**{**read.__dict__, "events": events}), intervals=False)
    assert unseen.tasks["segmentation"]["truth"]["miou"] == 0.0
    assert unseen.tasks["segmentation"]["truth"]["invented"] is None
    assert unseen.notes["tasks.segmentation.invented"] == "no picture was shown in which the model looked"


def test_every_form_of_every_task_is_scored(done):
    tasks = done[1]["tasks"]
    assert list(tasks) == ["segmentation", "depth", "detection"]
    for task, figures in tasks.items():
        assert list(figures) == ["model", "truth", "original", "ideal"] and figures["model"] == task
        primary = TASKS[task].primary
        for reference in ("truth", "original", "ideal"):
            assert 0.0 <= figures[reference][primary] <= 1.0
        assert figures["original"][primary] <= 0.75 + 1 / 101, "a quarter of the frames never came"
        assert figures["ideal"]["shown"] == 4


def test_what_a_perfect_link_gives_is_the_score_of_the_sent_pictures(done, read, models, source):
    """The same model on the sent pictures, without journal and cache."""
    (model,) = Analyst.from_session(plan("testcard", models, ("depth",)).session())._models
    names = {event["frame"]: event["name"] for event in toys.kinds(read, "captured")}
    shares = []
    for frame in range(FRAMES):
        found = model[1].find(png.decode(read.pictures["sent"][frame])).values
        path = source.removeprefix("folder:") + f"_depth/{names[frame]}"
        truth = np.load(path.replace(".png", ".npy"))
        shares.append((np.maximum(found / truth, truth / found) < 1.25).mean())
    assert done[1]["tasks"]["depth"]["ideal"]["delta1"] == pytest.approx(np.mean(shares), abs=2e-3)


def test_the_table_holds_what_the_scores_are_pooled_from(done):
    path = done[0] / "results.parquet"
    for task in TASKS:
        for reference in REFERENCES:
            name, primary = f"{task}_{reference}", TASKS[task].primary
            rows = duckdb.sql(
                f"SELECT {name}_stats, {name}_{primary} FROM '{path}' ORDER BY frame"
            ).fetchall()
            kept = [json.loads(stats) for stats, _ in rows if stats is not None]
            assert len(kept) == FRAMES
            assert [own for _, own in rows] == [TASKS[task].scores([stats])[primary] for stats in kept]
            scores = done[1]["tasks"][task][reference]
            for key, value in TASKS[task].scores(kept).items():
                assert scores[key] == value


def test_the_report_shows_findings_and_scores(done):
    page = (done[0] / "report.html").read_text()
    assert "What models see in it" in page and 'class="seen"' in page
    scores = done[1]["tasks"]["segmentation"]["truth"]
    assert f"{scores['miou']:.3f} ({scores['miou_ci95_low']:.3f} to {scores['miou_ci95_high']:.3f})" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_verdict_says_what_a_task_gains(done):
    found = done[1]["verdict"]
    for which in ("own", "same_bytes", "full_rate"):
        tasks = found[which]["tasks"]
        assert list(tasks) == list(TASKS)
        for name, scores in tasks.items():
            assert scores["reference"] == "truth" and 0 <= scores[TASKS[name].primary] <= 1
            assert f"{scores[TASKS[name].primary]:.3f}" in found["text"]


def test_measuring_again_gives_the_same(done):
    first = json.loads((done[0] / "summary.json").read_text())
    again = runs.measure(done[0], None)
    assert again["tasks"] == first["tasks"]
    assert first["speed"]["analyse_s"] > 0.0


class Memory(dict):
    """A cache."""

    def put(self, key, data):
        self[key] = data


def test_a_cache_of_findings_in_sent_pictures_is_used_and_changes_nothing(done, read, monkeypatch):
    cache = Memory()
    first = analyse(read, cache=cache, intervals=False)
    assert len(cache) == 3 * FRAMES
    monkeypatch.setattr("link.analysis.analyst.load", None)  # a model that is loaded now is a mistake
    again = analyse(read, cache=cache, intervals=False)
    assert again.stats == first.stats and again.tasks == first.tasks
    assert "miou_ci95_low" not in again.tasks["segmentation"]["truth"]


def test_findings_of_another_model_are_not_compared_with_this_ones(done, read, models):
    events = [
        {**event, "stamp": "f" * 16} if event.get("task") == "segmentation" else event
        for event in read.events
    ]
    found = analyse(journal.Run(**{**read.__dict__, "events": events}), intervals=False)
    assert found.tasks["segmentation"]["original"] is None and found.tasks["segmentation"]["ideal"] is None
    assert found.tasks["segmentation"]["truth"] is not None and found.tasks["depth"]["original"] is not None
    assert "ffffffffffffffff" in found.notes["tasks.segmentation.original"]


def test_without_the_models_the_truth_is_still_scored(done, read):
    profile = {**read.head["scenario"]["profile"], "depth": "/nowhere"}
    head = {**read.head, "scenario": {**read.head["scenario"], "profile": profile}}
    found = analyse(journal.Run(**{**read.__dict__, "head": head}), intervals=False)
    assert found.tasks["depth"]["truth"] is not None
    assert found.tasks["depth"]["original"] is None and found.tasks["depth"]["ideal"] is None
    assert "/nowhere" in found.notes["tasks.depth.original"]


def test_without_the_truth_the_originals_are_still_compared(done, read):
    camera = {**read.head["scenario"]["camera"], "source": "testcard"}
    head = {**read.head, "scenario": {**read.head["scenario"], "camera": camera}}
    found = analyse(journal.Run(**{**read.__dict__, "head": head}), intervals=False)
    assert found.tasks["depth"]["truth"] is None and found.tasks["depth"]["ideal"] is None
    assert found.tasks["depth"]["original"] is not None
    assert found.notes["tasks.truth"] == "camera.source 'testcard' has no truth"


def scored(read, monkeypatch, task, **changed):
    """Return the analysis of *read* with another truth."""
    given = senders.open_truths

    def other(about, seed):
        truths = given(about, seed)
        for name, value in changed.items():
            monkeypatch.setattr(truths, name, value)
        return truths

    monkeypatch.setattr(analyses, "open_truths", other)
    return analyse(read, intervals=False)


def test_a_truth_of_another_size_is_told_with_both_sizes(done, read, monkeypatch):
    small = Truth(None, np.zeros((5, 7), np.uint8), None)
    found = scored(read, monkeypatch, "segmentation", of=lambda name: small)
    note = found.notes["tasks.segmentation.truth"]
    assert "7x5" in note and "64x48" in note and note.startswith("frame 0 (0.png)") and "\n" not in note
    assert (
        found.tasks["segmentation"]["truth"] is None and found.tasks["segmentation"]["original"] is not None
    )


def test_a_model_without_any_of_the_truths_classes_is_told(done, read, monkeypatch):
    found = scored(read, monkeypatch, "segmentation", label_names=("fish", "coral", "wreck"))
    assert (
        "names none of the truth's classes: it has sky, road, car" in found.notes["tasks.segmentation.truth"]
    )
    assert found.tasks["segmentation"]["truth"] is None


def test_a_class_that_the_model_does_not_know_counts_as_missed(done, read, monkeypatch):
    found = scored(read, monkeypatch, "segmentation", label_names=("car", "sky", "wreck"))
    task: Any = TASKS["segmentation"]
    per_class = task.per_class([row["segmentation_truth"] for row in found.stats.values()])
    assert per_class["accuracy"][2] == 0.0 and per_class["accuracy"][0] > 0.0


# Events and journals


def test_a_model_that_fails_on_a_picture_leaves_an_event_and_a_note(tmp_path):
    class Broken:
        def find(self, pixels):
            raise RuntimeError("no <b>luck</b>")

    analyst = Analyst([(Chosen("depth", "toy", SHIPPED, "0" * 16), Broken())])
    session = toys.session({"hops": [{"name": "a", "rate_bps": 8000}]})
    tree = {**session.model_dump(by_alias=True), "analysis": ["depth"]}
    session = type(session).model_validate(tree)
    sender, receiver = toys.cores(session, 3)
    receiver._drawer._analyst = analyst
    from link.conductor import Conductor

    head = {"scenario": session.model_dump(mode="json", by_alias=True), "seed": 1}
    with journal.Journal(tmp_path / "run.mcap", head) as book:
        Conductor(session, {}, sender, receiver, book).run()
    read = journal.read(tmp_path / "run.mcap")
    assert [event["reason"] for event in toys.kinds(read, "not_found")] == ["no <b>luck</b>"] * 3
    assert len(toys.kinds(read, "decoded")) == 3 and read.complete
    found = analyse(read)
    assert "no finding of 3 of 3 pictures" in found.notes["tasks.depth"]


def test_what_counts_is_what_was_found_in_the_refined_picture(tmp_path):
    """Each picture is looked at when it is shown; the last look at a frame is the one that is scored."""

    class Toy:
        def __init__(self, fails):
            self.fails, self.count = fails, 0

        def find(self, pixels):
            self.count += 1
            if self.count in self.fails:
                raise RuntimeError("blurred")
            return DepthMap(np.full(pixels.shape[:2], float(self.count), np.float32), True)

    from link.conductor import Conductor

    hop = {
        "name": "a",
        "rate_bps": 8000,
        "delay_s": 60,
        "loss": {"model": "pattern", "pattern": "..x" + "." * 99},
    }
    link = {"hops": [hop], "return": {"rate_bps": 1000}, "repair": {"arq": True}}
    for name, fails, depth, failed in (
        ("both", (), 2.0, 0),
        ("first", (1,), 2.0, 0),
        ("second", (2,), None, 1),
    ):
        session = toys.session(link)
        session = type(session).model_validate({**session.model_dump(by_alias=True), "analysis": ["depth"]})
        sender, receiver = toys.cores(session, 1)
        receiver._drawer._analyst = Analyst([(Chosen("depth", "toy", SHIPPED, "0" * 16), Toy(fails))])
        head = {"scenario": session.model_dump(mode="json", by_alias=True), "seed": 1}
        with journal.Journal(tmp_path / name, head) as book:
            Conductor(session, {}, sender, receiver, book).run()
        read = journal.read(tmp_path / name)
        assert len(toys.kinds(read, "decoded")) == 2
        assert len(toys.kinds(read, "found")) + len(toys.kinds(read, "not_found")) == 2
        judge = analyses.Judge(read)
        seen = judge._received.get("depth", {}).get(0)
        assert (None if seen is None else float(seen.values.max())) == (
            None if depth is None else pytest.approx(depth, rel=0.01)
        ), name
        assert ("no finding of 1 of 1" in judge.judged().notes.get("tasks.depth", "")) == bool(failed), name


def test_findings_survive_a_journal_that_is_cut_at_any_place(done, tmp_path):
    data = (done[0] / "run.mcap").read_bytes()
    whole = journal.read(done[0] / "run.mcap")
    for share in (0.3, 0.6, 0.9, 0.99):
        path = tmp_path / "cut.mcap"
        path.write_bytes(data[: int(len(data) * share)])
        try:
            cut = journal.read(path)
        except UsageError:
            continue  # not even its first record
        for task, pictures in cut.findings.items():
            assert pictures.items() <= whole.findings[task].items()
        analyse(cut, intervals=False)


# Which model


def test_a_task_stands_once_and_a_folder_is_made_absolute(models, monkeypatch):
    with pytest.raises(UsageError, match="each task stands once"):
        schema.load("mars-relay", (), {"camera.source": "world:mars", "analysis": ["depth", "depth"]})
    with pytest.raises(UsageError, match="analysis"):
        schema.load("mars-relay", (), {"analysis": ["smell"]})
    monkeypatch.chdir(models)
    found = schema.load(
        "mars-relay",
        (),
        {
            "analysis": ["depth", "segmentation"],
            "profile.depth": "depth",
            "profile.segmentation": "segmentation",
        },
    )
    assert found.profile.depth == str(models / "depth") and found.analysis == ("segmentation", "depth")


def test_a_model_that_is_not_here_ends_the_run_before_its_first_frame(source, models, tmp_path):
    scenario = plan(source, models, ("depth",), **{"profile.depth": "flux/depth"})
    folder = runs.prepare(tmp_path / "out", scenario)
    with pytest.raises(ModelMissingError, match="farlink models pull flux/depth") as caught:
        runs.run(scenario, folder, transport="inproc")
    assert caught.value.exit_code == 4


def test_a_truth_that_is_missing_is_told_before_the_first_frame(tmp_path, models):
    (tmp_path / "set").mkdir()
    (tmp_path / "set_labels").mkdir()
    (tmp_path / "set_labels" / "classes.txt").write_text("sky\n")
    Image.new("RGB", SIZE).save(tmp_path / "set" / "a.png")
    with pytest.raises(UsageError, match=r"set_labels/a\.png"):
        runs.check_source(plan(f"folder:{tmp_path / 'set'}", models, ("segmentation",)))


@pytest.mark.slow
def test_three_processes_write_the_journal_that_one_writes(source, models, tmp_path):
    digests = []
    for transport in ("inproc", "zmq"):
        scenario = plan(source, models)
        folder = runs.prepare(tmp_path / transport, scenario)
        assert runs.execute(scenario, folder, transport=transport) is None
        digests.append(journal.digest(folder / "run.mcap"))
    assert digests[0] == digests[1]
    assert json.loads((tmp_path / "zmq" / "timings.json").read_text())["analyse_s"] > 0.0


def test_a_truth_that_cannot_be_used_is_told(models, source, tmp_path):
    found = tmp_path / "toy"
    found.mkdir()
    (tmp_path / "toy_labels").mkdir()
    old = source.partition(":")[2]
    (tmp_path / "toy_labels" / "classes.txt").write_text("car\nsky\nroad\n")
    Image.open(f"{old}/0.png").save(found / "0.png")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(tmp_path / "toy_labels" / "0.png")
    settings = {
        "camera.source": f"folder:{found}",
        "camera.width": SIZE[0],
        "camera.height": SIZE[1],
        "codec.name": "webp",
        "profile.segmentation": str(models / "segmentation"),
        "analysis": ["segmentation"],
    }
    plan = schema.load("bandwidth", [], settings)
    figures = runs.run(plan, runs.prepare(tmp_path / "run", plan), transport="inproc").metrics
    assert figures["tasks"]["segmentation"]["truth"] is None
    told = "\n".join(progress.table(figures))
    assert "against the original" in told
    assert "not scored against the truth: frame 0" in told and "is 10x10, but its picture 64x48" in told
