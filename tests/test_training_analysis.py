"""Training of the receiver's analysis models, of flow and control together, and the views they learn from."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
import typer
from diffusers import AutoencoderKL
from PIL import Image
from typer.testing import CliRunner

from link.analysis.bins import SETTING, metres
from link.analysis.fcos import FcosDetector
from link.bitstream.grammar import vocabulary
from link.errors import UsageError
from link.seeds import generator
from receiver.parts import ChannelControlNet
from receiver.text_encoder import TextEncoder
from scenarios.commands import train as command
from scenarios.scoring.boxes import Boxes
from scenarios.scoring.tasks import TASKS
from scenarios.training import depth, flow, segmenter
from scenarios.training.detection import choose_shown_score, find_boxes, frames_of, open_detector
from scenarios.training.request import SHIPPED
from scenarios.training.segmentation import missing_overlap, paste_classes
from scenarios.training.ship import ship
from scenarios.training.world import Views
from sender.camera.world.view import CLASSES, THINGS

SIZE = (64, 48)
SMALL = ("--size", "64x48", "--seed", "3", "--steps", 2, "--batch", 2)

app = typer.Typer(pretty_exceptions_enable=False)
command.register(app)


def trained(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def view(number):
    """A sky over sand with one rock, its truth, and the rock's box."""
    labels = np.full(SIZE[::-1], CLASSES.index("sand"), np.uint8)
    labels[: 12 + number] = CLASSES.index("sky")
    left = 6 + 8 * number
    labels[30:42, left : left + 14] = CLASSES.index("rock")
    rows = np.arange(SIZE[1])[:, None] - 12 - number
    metres_m = np.broadcast_to(np.where(rows >= 0, 60.0 / (rows.clip(0) + 1), np.inf), labels.shape)
    colours = np.array([[180, 140, 90], [190, 110, 60], [0] * 3, [90, 60, 50]] + [[0] * 3] * 5, np.uint8)
    noise = generator(number, "view").integers(0, 20, (*labels.shape, 3), dtype=np.uint8)
    return colours[labels] + noise, labels, metres_m, [left, 30, left + 14, 42]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Rendered views as `train world` writes them."""
    base = tmp_path_factory.mktemp("world")
    for name, numbers in (("train", range(4)), ("val", range(4, 6))):
        folders = [base / f"{name}{what}" for what in ("", "_labels", "_depth", "_boxes")]
        for folder in folders:
            folder.mkdir()
        for number in numbers:
            pixels, labels, metres_m, box = view(number)
            Image.fromarray(pixels).save(folders[0] / f"{number}.png")
            Image.fromarray(labels).save(folders[1] / f"{number}.png")
            np.save(folders[2] / f"{number}.npy", metres_m.astype(np.float16))
            boxes = [{"kind": "rock", "box": box, "visible_px": 168}]
            (folders[3] / f"{number}.json").write_text(json.dumps(boxes))
    return base


@pytest.mark.parametrize("part", ["segmentation-world", "depth-world", "detection-world"])
def test_two_steps_of_each_model(part, world, tmp_path):
    done = trained(part, "--out", tmp_path, "--world", world / "train", *SMALL)
    assert done["step"] == 2
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[0]["gradient"] > 0 and math.isfinite(rows[0]["loss"])
    measure = {"segmentation": "val_miou", "depth": "val_delta1", "detection": "val_map50"}[
        part.partition("-")[0]
    ]
    assert 0 <= rows[-1][measure] <= 1
    with Image.open(tmp_path / "samples" / "000002.png") as picture:
        assert picture.width % SIZE[0] == 0 and picture.height % SIZE[1] == 0
    assert {"config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "model").iterdir()}


def test_a_detector_is_what_its_folder_says(world, tmp_path):
    trained("detection-world", "--out", tmp_path, "--world", world / "train", *SMALL)
    found = FcosDetector.from_pretrained(tmp_path / "model").eval()
    assert found.names == list(THINGS) and found.size == [80, 60]
    with torch.inference_mode():
        answer = found(torch.rand(2, 3, 48, 64))
    assert len(answer) == 2 and set(answer[0]) == {"boxes", "scores", "labels"}
    again = FcosDetector.from_pretrained(tmp_path / "model").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in found.state_dict().items())
    settings = tmp_path / "model" / "config.json"
    settings.write_text(settings.read_text().replace('"fcos"', '"detr"'))
    with pytest.raises(ValueError, match="expected the settings of a fcos"):
        FcosDetector.from_pretrained(tmp_path / "model")


def boxes_of(scores, right):
    """Boxes of one kind in a frame with one rock each; those that are *right* lie on it."""
    truth = Boxes.of([[0, 0, 10, 10]], [0])
    places = [[0, 0, 10, 10] if hit else [30, 30, 40, 40] for hit in right]
    return TASKS["detection"].frame(truth, Boxes.of(places, [0] * len(places), scores))


def test_boxes_are_shown_from_the_score_of_the_best_f1():
    # F1 after each box, surest first: 2/5, 2/6, 4/7 (the best), 4/8; one of four rocks is never found.
    frames = [boxes_of([0.9], [1]), boxes_of([0.8], [0]), boxes_of([0.70004], [1]), boxes_of([0.6], [0])]
    assert choose_shown_score(frames) == 0.7
    # Boxes of one score come together: 2/5 with the first, then 4/7 only with the wrong one that is as sure.
    tied = [boxes_of([0.9], [1]), boxes_of([0.5], [1]), boxes_of([0.5], [0]), boxes_of([], [])]
    assert choose_shown_score(tied) == 0.5
    assert choose_shown_score([boxes_of([0.9], [0])]) is None and choose_shown_score([]) is None


def test_the_threshold_of_a_detector_is_chosen_again_by_a_command(world, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(SHIPPED["detection-world"], folder)
    arguments = ("detection-threshold", "--world", world / "train")
    done = trained(*arguments, "--init", folder)
    assert done["file"] == str(folder / "config.json")
    known = json.loads((folder / "config.json").read_text())
    own = json.loads((SHIPPED["detection-world"] / "config.json").read_text())
    assert {key: value for key, value in known.items() if key != "shown_score"} == own
    found = find_boxes(open_detector(folder).eval(), [Views(world / "val").view(at) for at in range(2)])
    frames = frames_of(found, [Views(world / "val").view(at) for at in range(2)])
    assert known.get("shown_score") == choose_shown_score(frames)
    refused = CliRunner().invoke(app, [*map(str, arguments)])
    assert refused.exit_code == 2 and "--init is needed" in refused.stderr


def test_the_settings_of_a_depth_model_hold_its_bins(world, tmp_path):
    trained("depth-world", "--out", tmp_path, "--world", world / "train", *SMALL)
    settings = json.loads((tmp_path / "model" / "config.json").read_text())
    assert settings[SETTING] == depth.BINS_M and depth.BINS_M[0] == depth.LEAST_M
    assert depth.BINS_M[-1] == depth.MOST_M and np.all(np.diff(np.log(depth.BINS_M)) > 0)


def test_depth_is_the_mean_of_the_bins_logarithms():
    bins = [1.0, 2.0, 4.0]
    sure = torch.tensor([50.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    assert float(metres(sure, bins)) == pytest.approx(1.0, rel=1e-5)
    between = torch.tensor([-50.0, 3.0, 3.0]).reshape(1, 3, 1, 1)
    assert float(metres(between, bins)) == pytest.approx(math.sqrt(8.0), rel=1e-5)


def test_views_come_with_their_truth(world):
    views = Views(world / "train")
    assert len(views) == 4
    found, (pixels, labels, metres_m, box) = views.view(1), view(1)
    assert np.array_equal(found.pixels, pixels) and np.array_equal(found.labels, labels)
    assert np.isinf(found.depth_m[0]).all() and found.depth_m[-1, 0] == pytest.approx(
        metres_m[-1, 0], rel=1e-3
    )
    assert found.boxes.tolist() == [box] and found.kinds.tolist() == [THINGS.index("rock")]
    mirror = found.flipped()
    left, top, right, bottom = mirror.boxes[0].astype(int)
    assert (mirror.labels[top:bottom, left:right] == CLASSES.index("rock")).all()
    assert (mirror.labels == CLASSES.index("rock")).sum() == (right - left) * (bottom - top)
    assert np.array_equal(mirror.flipped().pixels, pixels)


def test_views_without_their_truth_are_refused(world, tmp_path):
    (tmp_path / "train").mkdir()
    Image.fromarray(view(0)[0]).save(tmp_path / "train" / "0.png")
    with pytest.raises(UsageError, match=r"0\.png: missing; render with train world"):
        Views(tmp_path / "train")


def test_pasted_classes_bring_their_pixels():
    labels = torch.zeros(2, 4, 6, dtype=torch.long)
    labels[0, :, :3], labels[1, :, 3:] = 1, 2
    pictures = torch.stack([torch.full((3, 4, 6), 0.25), torch.full((3, 4, 6), 0.75)])
    changed = 0
    for seed in range(20):
        mixed, classes = paste_classes(generator(seed, "paste"), pictures, labels, 3)
        for at in range(2):
            other = mixed[at, 0] != pictures[at, 0]
            assert torch.equal(classes[at][other], labels[1 - at][other])
            assert torch.equal(classes[at][~other], labels[at][~other])
            changed += bool(other.any())
    assert 8 <= changed <= 32  # half of 40


def test_missing_overlap_ends():
    labels = torch.tensor([[[0, 0, 1, 255]]])
    right = torch.tensor([[9.0, 9.0, -9.0, 0.0], [-9.0, -9.0, 9.0, 0.0], [-20.0] * 4]).reshape(1, 3, 1, 4)
    assert float(missing_overlap(right, labels)) == pytest.approx(0.0, abs=1e-3)
    assert float(missing_overlap(-right, labels)) > 0.9


def test_a_segmenter_grows_by_new_classes(tmp_path):
    names = segmenter.NAMES[:13]
    small = segmenter.build()
    head = small.decode_head.classifier
    small.decode_head.classifier = torch.nn.Conv2d(head.in_channels, 13, 1)
    small.config.id2label, small.config.label2id = (
        dict(enumerate(names)),
        {name: at for at, name in enumerate(names)},
    )
    small.save_pretrained(tmp_path)
    large = segmenter.load_grown(tmp_path)
    assert [large.config.id2label[at] for at in range(len(segmenter.NAMES))] == segmenter.NAMES
    old, new = small.decode_head.classifier, large.decode_head.classifier
    assert old.bias is not None and new.bias is not None
    assert torch.equal(new.weight[:13], old.weight) and torch.equal(new.bias[:13], old.bias)
    assert all(
        torch.equal(value, large.state_dict()[key])
        for key, value in small.state_dict().items()
        if "classifier" not in key
    )


def test_text_encoders_keep_the_words_they_know(tmp_path, monkeypatch):
    monkeypatch.setattr(flow, "vocabulary", lambda: tuple(word for word in vocabulary() if word != "lander"))
    old = flow.build_text()
    monkeypatch.undo()
    new = flow.extend_vocabulary(old)
    (_, old_t5), (_, new_t5) = old.modules(), new.modules()
    before, after = old.tokenizers()[0].get_vocab(), new.tokenizers()[0].get_vocab()
    assert "lander" in after and "lander" not in before
    for word in ("road", "red", "<pad>"):
        kept = old_t5.shared.weight[before[word]]
        assert torch.equal(new_t5.shared.weight[after[word]], kept)
    assert flow.extend_vocabulary(new) is new


@pytest.mark.slow
def test_flow_and_control_train_together(world, tmp_path):
    base = tmp_path / "streets"
    for name in ("train", "val"):
        for what in ("", "_labels"):
            (base / f"{name}{what}").mkdir(parents=True)
        pixels, labels, _, _ = view(1)
        Image.fromarray(pixels).save(base / name / "0.png")
        Image.fromarray(labels).save(base / f"{name}_labels" / "0.png")
    out = tmp_path / "joint"
    common = ("--streets", base / "train", "--world", world / "train", "--examples", 8, *SMALL)
    assert trained("joint", "--out", out, *common)["step"] == 2
    control = ChannelControlNet.from_pretrained(out / "model" / "controlnet").state_dict()
    shipped = ChannelControlNet.from_pretrained(SHIPPED["controlnet"]).state_dict()
    assert any(not torch.equal(value, control[name].to(value.dtype)) for name, value in shipped.items())
    texts = {
        name: out / "model" / name for name in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    }
    assert "lander" in TextEncoder.from_pretrained(texts, torch.float32).tokenizers()[0].get_vocab()
    places = ship(tmp_path, tmp_path / "packages")
    assert "receiver/weights/tiny/transformer" in places and "receiver/weights/tiny/controlnet" in places


@pytest.mark.slow
def test_what_is_drawn_is_trained_by_how_it_looks(world, tmp_path):
    streets = tmp_path / "streets"
    for name in ("train", "val"):
        for what in ("", "_labels"):
            (streets / f"{name}{what}").mkdir(parents=True)
        pixels, labels, _, _ = view(1)
        Image.fromarray(pixels).save(streets / name / "0.png")
        Image.fromarray(labels).save(streets / f"{name}_labels" / "0.png")
    out = tmp_path / "shown"
    options = ("--streets", streets / "train", "--world", world / "train", "--examples", 4, "--size", "64x64")
    assert trained("shown", "--out", out, *options, "--seed", 3, "--steps", 2, "--batch", 2)["step"] == 2
    last = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()][-1]
    assert 0.0 < last["val_lpips"] < 2.0
    packages = tmp_path / "packages"
    places = ship(tmp_path, packages)
    assert {f"receiver/weights/tiny/{name}" for name in ("transformer", "controlnet", "vae")} <= set(places)
    old = AutoencoderKL.from_pretrained(SHIPPED["vae"]).state_dict()
    new = AutoencoderKL.from_pretrained(packages / "receiver/weights/tiny/vae").state_dict()
    changed = {name for name, value in old.items() if not torch.equal(value, new[name].to(value.dtype))}
    assert changed and not any(name.startswith("encoder") for name in changed), "latents stay as they are"


@pytest.mark.slow
def test_the_world_is_rendered_for_training(tmp_path):
    done = trained("world", "--out", tmp_path, "--size", "32x32", "--examples", 8)
    assert done["part"] == "world"
    views = Views(tmp_path / "train")
    assert len(views) == 12 and len(Views(tmp_path / "val")) == 24
    assert views.view(0).pixels.shape == (32, 32, 3)
    assert not {path.name for path in (tmp_path / "train").iterdir()} & {
        path.name for path in (tmp_path / "val").iterdir()
    }


def test_loading_a_detector_leaves_stdout_to_results(tmp_path, capsys):
    detector = FcosDetector(["rock"], [32, 32], [8, 8], [1, 1], features=32)
    detector.save_pretrained(tmp_path)
    capsys.readouterr()
    FcosDetector.from_pretrained(tmp_path)
    assert capsys.readouterr().out == ""
