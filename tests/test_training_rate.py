"""The measuring of rate control's table, with a toy codec and a toy scorer whose answers can be reckoned by hand."""

import json

import numpy as np
import pytest
import sights
import typer
from PIL import Image
from typer.testing import CliRunner

from link import fragment, journal
from link.analysis.segmentation import SegmentationModel
from link.errors import UsageError
from link.frame import Payload
from scenarios import run as runs
from scenarios import schema
from scenarios.training.rate import Plan, drop_packets, grid_of, measure
from sender import calibration
from sender.camera.picture import Shot
from sender.rate_control import LinkState, choose

SIZE = (6, 8)
CODEC = {"profile": "tiny", "order": "nested", "caption": "grammar"} | {
    "steps": 8,
    "guidance": 1.0,
    "control_scale": 1.0,
}


def shots(count=12, drive="a"):
    """Frame n is filled with n: what is found in it is its brightness."""
    return [Shot(f"{drive}#{n}", np.full((*SIZE, 3), n, np.uint8), None, "as is") for n in range(count)]


class ToyCoder:
    """Sends a caption of *words* bytes and *channels* sections of ten; shows how many arrived of them."""

    def __init__(self):
        self.encoded = 0

    def encode_at(self, frame, quality):
        self.encoded += 1
        number = frame.pixels[0, 0, 0]
        caption = bytes([number]) * quality.words
        return Payload((caption, *(bytes([number, at]) * 5 for at in range(quality.channels))))

    def decode(self, payload):
        sections = [section for section in payload.sections if section is not None]
        if not sections:
            return None
        shown = np.zeros((*SIZE, 3), np.uint8)
        shown[..., 0], shown[..., 1] = sections[0][0], sum(len(section) == 10 for section in sections)
        return shown


class ToyScorer:
    """Originals (no channel says green) are worth 0.8; a received one more with each channel, older ones less."""

    def __init__(self, **stamps):
        self.stamps = stamps or {"toy": "0123", "blind": "4567"}

    def find(self, pixels):
        return {
            "toy": (
                int(pixels[0, 0, 0]),
                int(pixels[0, 0, 1]),
                bool((pixels[..., 2] == pixels[..., 0]).all()),
            )
        }

    def score(self, task, names, found):
        if task == "blind":
            return 0.0
        if not names:
            return None
        values = []
        for name, seen in zip(names, found, strict=True):
            if seen is None:
                values.append(0.0)
                continue
            number, channels, original = seen
            age = int(name.partition("#")[2]) - number
            values.append((0.8 if original else 0.08 * min(channels, 10)) * 0.9**age)
        return float(np.mean(values))

    def sequence(self, name):
        return name.partition("#")[0]


def plan(**fields):
    return Plan(**{"channels": (0, 2, 5, 8), "words": (4, 8), "body_bytes": 24, "codec": CODEC, **fields})


def measured(frames=None, **fields):
    said = []
    table = measure(
        shots() if frames is None else frames, ToyCoder(), ToyScorer(), plan(**fields), said.append
    )
    return table, [json.loads(line) for line in said]


def test_what_is_measured_is_what_the_toys_are_worth():
    table, said = measured(frames=shots(12)[1:])  # a first frame of zeros would look like an original
    assert np.allclose(table.payload_bytes, np.array([4, 8]) + 10.0 * np.array([0, 2, 5, 8])[:, None])
    assert set(table.shares) == {"toy"}, "a task without accuracy on originals cannot be kept"
    assert np.allclose(table.shares["toy"][:, :, 0], (np.array([0, 2, 5, 8]) / 10)[:, None])
    assert table.ages == (0, 1, 2, 4, 8)
    assert np.allclose(table.decay["toy"], 0.9 ** np.array([0, 1, 2, 4, 8]))
    assert table.models == {"toy": "0123", "blind": "4567"}
    assert said[0]["originals"] == {"toy": pytest.approx(0.8)}
    assert [(row["channels"], row["words"]) for row in said[1:-1]] == [
        (c, w) for w in (4, 8) for c in (0, 2, 5, 8)
    ]


def test_losses_cost_by_degrees_and_are_those_of_a_link():
    table, _ = measured(frames=shots(200)[1:], losses=(0.0, 0.1, 0.3, 1.0))
    share = table.shares["toy"]
    assert (share[..., 3] == 0).all()
    # Sections of ten bytes, two a packet at most: each channel arrives with the chance of its packet.
    assert share[3, 0, 1] == pytest.approx(0.9 * share[3, 0, 0], abs=0.05)
    assert share[3, 0, 2] == pytest.approx(0.7 * share[3, 0, 0], abs=0.07)
    assert (np.diff(share[1:], axis=2) <= 1e-9).all(), "what is lost at 10 % is lost at 30 % too"


def test_the_same_seed_loses_the_same_packets():
    one, two, other = (measured(losses=(0.0, 0.5), seed=seed)[0].to_json() for seed in (1, 1, 2))
    assert one == two != other


def test_what_arrives_is_what_the_link_would_put_together():
    sections = tuple(bytes([at]) * 15 for at in range(5))
    payload, bodies = Payload(sections), fragment.fragment(sections, 40, 0)
    assert drop_packets(payload, 40, [False] * 9) == payload
    assert len(bodies) == 3
    found = drop_packets(payload, 40, [True, False, False])
    assert found.sections[:2] == (None, None) and found.sections[2:] == payload.sections[2:]
    assert drop_packets(payload, 40, [True] * 9).sections == (None,)


def test_ages_end_where_the_frames_do():
    short, _ = measured(frames=shots(4)[1:])
    assert short.ages == (0, 1, 2)
    two_drives = [*shots(3, "a")[1:], *shots(3, "b")[1:]]
    assert measured(frames=two_drives)[0].ages == (0, 1), "frames of two drives do not follow each other"
    alone, _ = measured(frames=[shots(3, str(at))[2] for at in range(6)])
    assert alone.ages == (0,)
    link = LinkState(period_bytes=28, loss=0, body_bytes=120, overhead_bytes=8)
    assert choose(alone, link, 1.0, 0.0, "toy").every == 1, (
        "nothing is known of skipping, so nothing is skipped"
    )


def test_the_table_is_read_by_the_sender(tmp_path):
    table, _ = measured()
    (tmp_path / "rate.json").write_text(table.to_json())
    assert calibration.read(tmp_path / "rate.json").to_json() == table.to_json()


def test_models_that_find_nothing_are_refused():
    with pytest.raises(UsageError, match="none of blind finds anything in 12 originals"):
        measure(shots(), ToyCoder(), ToyScorer(blind="4567"), plan(), lambda line: None)
    with pytest.raises(UsageError, match="no picture"):
        measure([], ToyCoder(), ToyScorer(), plan(), lambda line: None)


def test_the_grid_of_a_codec():
    from link.config import Codec

    channels, words = grid_of(Codec(caption_words=10), 32)
    assert channels == (0, 1, 2, 4, 8, 16, 32) and words == (8, 10)
    channels, words = grid_of(Codec(caption="none"), 5)
    assert channels == (1, 2, 4, 5) and words == (0,)


# By the command line, with the shipped codec and a toy model


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Frames of a drive past a building, a toy model, and as their truth what it finds in them."""
    base = tmp_path_factory.mktemp("labelled")
    for name in ("pictures", "pictures_labels"):
        (base / name).mkdir()
    model = SegmentationModel(sights.upernet(base / "model"))
    y, x = np.mgrid[0:48, 0:64]
    for number in range(3):
        pixels = np.stack([120 + 2 * y, 90 + 2 * x, np.where((x + 6 * number) % 40 < 16, 220, 40)], -1)
        pixels = pixels.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(base / "pictures" / f"{number}.png")
        labels = model.find(pixels).labels
        assert len(np.unique(labels)) > 1
        Image.fromarray(labels).save(base / "pictures_labels" / f"{number}.png")
    (base / "pictures_labels" / "classes.txt").write_text("\n".join(sights.NAMES))
    (base / "scenario.yaml").write_text(
        "name: toy\n"
        f"camera: {{source: 'folder:{base / 'pictures'}', width: 64, height: 48, period_s: 60}}\n"
        "codec: {caption: none, steps: 1}\n"
        "link: {mtu_bytes: 64, hops: [{name: air, rate_bps: 20, loss: {model: bernoulli, loss: 0.1}}]}\n"
        f"profile: {{segmentation: {base / 'model'}}}\n"
    )
    return base


def farlink(*arguments):
    from scenarios.commands import train

    app = typer.Typer(pretty_exceptions_enable=False)
    train.register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_the_command_line_measures_a_table_that_a_run_uses(labelled, tmp_path):
    file = tmp_path / "deep" / "rate.json"
    done = farlink("rate", "--scenario", labelled / "scenario.yaml", "--examples", 3, "--out", file, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["file"] == str(file)
    table = calibration.read(file)
    assert table.words == (0,) and table.channels[0] == 1 and table.channels[-1] == 32
    assert table.measured["originals"] == {"segmentation": pytest.approx(1.0)}
    assert table.measured["mtu_bytes"] == 64 and table.measured["frames"] == 3
    assert set(table.models) == {"transform", "generator", "segmentation"}
    assert (np.diff(table.payload_bytes[:, 0]) >= 0).all() and table.payload_bytes[0, 0] > 0
    shares = table.shares["segmentation"][:, 0]
    assert (shares >= 0).all() and (shares <= 1.0001).all() and shares[:, 0].max() > shares[:, 2].min()
    plan = schema.load(
        str(labelled / "scenario.yaml"),
        [f"profile.rate_table={file}", "codec.rate_control=task", "codec.channels=32", "camera.frames=3"],
    )
    out = runs.prepare(tmp_path / "run", plan)
    assert runs.execute(plan, out, transport="inproc") is None
    events = journal.read(out / "run.mcap").events
    assert not [event for event in events if event["kind"] == "warned"]
    sent = [event["quality"] for event in events if event["kind"] == "encoded"]
    assert sent and all(quality["air_bytes"] <= 0.8 * 20 * 60 / 8 for quality in sent)


def test_a_source_without_truth_is_refused(labelled, tmp_path):
    done = farlink(
        "rate", "--scenario", labelled / "scenario.yaml", "--source", "testcard", "--out", tmp_path
    )
    assert done.exit_code == 2 and "testcard: nothing is known to be true" in done.stderr
    done = farlink("rate", "--scenario", "no-such", "--out", tmp_path)
    assert done.exit_code == 2 and "no preset is called" in done.stderr
    assert farlink("rate").exit_code == 2
    assert not (tmp_path / "rate.json").exists()
