"""The segmenter's training: its data, its loss, and a run of two steps that the sender can load."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from link.errors import UsageError
from link.seeds import generator
from scenarios.training.cards import Cards
from scenarios.training.data import Cut, Pictures
from scenarios.training.loop import Recipe, train
from scenarios.training.segmenter import (
    NAMES,
    SegmenterTraining,
    intersections,
    label_picture,
    mask_unlabelled,
    vary_light,
    weights,
)
from sender.captioner import CARD, PICTURE, UNKNOWN, describe
from sender.segmenter import Segmenter as Finder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Streets of sky over road with a strip that is not labelled, and noise as other pictures."""
    base = tmp_path_factory.mktemp("pictures")
    for name in ("street", "street_labels", "other"):
        (base / name).mkdir()
    rng = generator(1, "pictures")
    for number in range(3):
        labels = np.zeros((96, 128), np.uint8)
        labels[40 + 8 * number :] = 3
        labels[:, :10] = 11
        pixels = np.array([[90, 140, 230], [0, 0, 0], [0, 0, 0], [90, 90, 90]] + [[0, 0, 0]] * 8, np.uint8)[
            labels
        ]
        Image.fromarray(pixels).save(base / "street" / f"{number}.png")
        Image.fromarray(labels).save(base / "street_labels" / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)).save(
            base / "other" / f"{number}.png"
        )
    return base


@pytest.fixture
def part(folders):
    streets, others = Pictures.open(folders / "street"), Pictures.open(folders / "other")
    return SegmenterTraining(streets, others, Cards(seed=3, label=CARD, size=(64, 48)), streets, 4, (64, 64))


def test_two_steps_give_a_model_that_the_sender_loads(part, tmp_path, folders):
    recipe = Recipe(steps=2, learning_rate=1e-3, warmup=1, log_every=1, save_every=2, sample_every=2)
    said = []
    assert train(part, recipe, tmp_path, iter(range(99)).__next__, said.append) == 2
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 2] and len(said) == 3
    assert all(0 < row["loss"] < 10 and 0 <= row["right"] <= 1 for row in rows[:2])
    assert {"val_miou", "val_sky", "val_road"} <= set(rows[2])
    with Image.open(tmp_path / "samples" / "000002.png") as picture:
        assert picture.size == (64 * 5, 64 * 3)
    finder = Finder(tmp_path / "model")
    pixels = Pictures.open(folders / "street").whole(0, (128, 96)).pixels
    labels = finder.segment(pixels)
    assert labels.shape == (96, 128) and labels.max() < len(NAMES)
    assert describe(labels, pixels, 20).words() <= 20


def test_the_loss_falls(part):
    part.modules.train()
    optimizer = torch.optim.AdamW(part.modules.parameters(), lr=2e-3)
    torch.manual_seed(0)
    losses = []
    for step in range(10):
        loss, _ = part.loss(generator(1, f"step/{step % 2}"), 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-2:]) < 0.8 * sum(losses[:2])


def test_a_checkpoint_of_another_part_is_refused(part, tmp_path):
    torch.save({"part": "flow"}, tmp_path / "checkpoint.pt")
    with pytest.raises(UsageError, match="not of segmenter"):
        train(part, Recipe(steps=1, learning_rate=1e-3), tmp_path, float, print)


def test_what_is_not_labelled_teaches_nothing():
    pixels = np.zeros((2, 3, 3), np.uint8)
    labels = np.array([[0, 10, 11], [3, 12, 255]], np.uint8)
    assert mask_unlabelled(Cut(pixels, labels)).labels.tolist() == [[0, 10, UNKNOWN], [3, UNKNOWN, UNKNOWN]]
    assert (label_picture(Cut(pixels, None)).labels == PICTURE).all()


def test_rare_classes_weigh_more_by_the_root():
    labels = np.full((10, 100), 3, np.uint8)
    labels[0] = 0
    labels[1:3, :50] = UNKNOWN
    weight = weights([Cut(np.zeros((10, 100, 3), np.uint8), labels)])
    assert weight.shape == (len(NAMES),) and bool((weight > 0).all())
    assert weight[0] / weight[3] == pytest.approx(np.sqrt(800 / 100), rel=1e-4)
    assert weight[3] < weight[PICTURE] < weight[CARD]


def test_varied_pictures_stay_pictures():
    pictures = torch.rand(8, 3, 16, 16)
    pictures[0] = 0.0
    pictures[1] = 1.0
    torch.manual_seed(1)
    first = vary_light(generator(1, "light"), pictures)
    torch.manual_seed(1)
    assert torch.equal(first, vary_light(generator(1, "light"), pictures))
    assert first.shape == pictures.shape and 0 <= float(first.min()) and float(first.max()) <= 1
    assert bool(first.isfinite().all()) and float((first - pictures).abs().mean()) > 0.02


def test_intersections():
    truth = np.array([[0, 0, 3, UNKNOWN]])
    found = np.array([[0, 3, 3, 3]])
    assert intersections(truth, found) == {0: 0.5, 3: 0.5}
