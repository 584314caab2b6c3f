"""Which pictures the parts of the tiny profile are shown: in which shares, cut how large, and which are held out.

Everything is shown streets, or whatever labelled pictures take their place, test cards, which a first run sends,
rendered worlds and other pictures where there are some, so that they are not taken for streets.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import UperNetForSemanticSegmentation

from link.errors import UsageError
from scenarios.scoring.perceptual import SHIPPED, Lpips
from scenarios.training.autoencoder import Draw
from scenarios.training.cards import Cards
from scenarios.training.data import Cut, Pictures
from scenarios.training.request import TrainingRequest, load
from scenarios.training.segmenter import label_picture, mask_uncaptioned, relabel_world
from sender.captioner import CARD

SIZE = (256, 192)
CARD_SEED = 7
"""Of the test cards; a run's own has others."""
WORLD = 0.6
"""Of rendered worlds, beside shares of all others that add up to 1."""


def frame_size(request: TrainingRequest) -> tuple[int, int]:
    """Return width and height of the frames that are asked for."""
    return request.size or SIZE


def half_size(request: TrainingRequest) -> tuple[int, int]:
    """Return half of the frames' width and height."""
    width, height = frame_size(request)
    return width // 2, height // 2


def open_streets(request: TrainingRequest) -> Pictures:
    """Return the pictures of --streets but those of --leave-out, which are kept for a test."""
    return Pictures.open(request.folder("streets"), leave_out=request.leave_out)


def open_held_out(request: TrainingRequest) -> Pictures:
    """Return the pictures of --held-out, else those of `val` beside the streets. Raise UsageError without either."""
    streets = request.folder("streets")
    beside = streets.parent / "val"
    if request.held_out is None and not beside.is_dir():
        raise UsageError(f"--held-out is needed: pictures to show and score, as there is no {beside}")
    return Pictures.open(beside if request.held_out is None else request.folder("held_out"))


def open_held_out_worlds(request: TrainingRequest) -> Pictures:
    """Return the pictures of `val` beside the rendered worlds, as `train world` leaves them.

    Raise UsageError where there are none.
    """
    folder = request.folder("world")
    beside = folder.parent / "val"
    if not beside.is_dir():
        raise UsageError(
            f"--world {folder}: no {beside} to show and score; `farlink train world` renders both"
        )
    return Pictures.open(beside)


def require_labels(pictures: Pictures, folder: Path) -> Pictures:
    """Return *pictures*, which are those of *folder*. Raise UsageError where one has no labels."""
    if None in pictures.labels:
        raise UsageError(f"{folder}: no labels beside it, in {folder.name}_labels")
    return pictures


Zooms = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


def draw_cuts(
    request: TrainingRequest, size: tuple[int, int], shares: tuple[float, float, float], zooms: Zooms
) -> list[Draw]:
    """Return how cuts are drawn, by *shares* and *zooms* of streets, other pictures, and test cards."""
    streets, cards = open_streets(request), Cards(CARD_SEED)
    draws: list[Draw] = [
        (shares[0], lambda rng: streets.random_cut(rng, size, zooms[0])),
        (shares[2], lambda rng: cards.random_cut(rng, size, zooms[2])),
    ]
    if request.natural is not None:
        others = Pictures.open(request.folder("natural"))
        draws.insert(1, (shares[1], lambda rng: others.random_cut(rng, size, zooms[1])))
    if request.world is not None:
        worlds = Pictures.open(request.folder("world"))
        draws.append((WORLD, lambda rng: worlds.random_cut(rng, size, (1.0, 1.25))))
    return draws


def open_captioned_draws(
    request: TrainingRequest, streets: Pictures, held: Pictures
) -> tuple[list[Draw], list[Draw]]:
    """Return how whole frames with classes for their captions are drawn, to learn from and to score."""
    size = frame_size(request)
    cards = Cards(CARD_SEED, label=CARD)
    draws: list[Draw] = [
        (0.7, lambda rng: mask_uncaptioned(streets.random_cut(rng, size, (1.0, 1.35)))),
        (0.18, lambda rng: cards.random_cut(rng, size, (1.0, 1.001))),
    ]
    if request.natural is not None:
        others = Pictures.open(request.folder("natural"))
        draws.insert(1, (0.12, lambda rng: label_picture(others.random_cut(rng, size, (1.0, 1.2)))))
    held_draws: list[Draw] = [
        (1.0, lambda rng: mask_uncaptioned(held.whole(int(rng.integers(len(held))), size)))
    ]
    if request.world is not None:
        worlds, others_held = Pictures.open(request.folder("world")), open_held_out_worlds(request)
        draws.append((WORLD, lambda rng: relabel_world(worlds.random_cut(rng, size, (1.0, 1.15)))))
        held_draws.append(
            (1.0, lambda rng: relabel_world(others_held.whole(int(rng.integers(len(others_held))), size)))
        )
    return draws, held_draws


def choose_shown(request: TrainingRequest) -> list[Cut]:
    """Return held-out pictures, one of the others and a card, whole."""
    size, held = frame_size(request), open_held_out(request)
    cuts = [held.whole(at, size) for at in range(0, len(held), max(1, len(held) // 3))][:3]
    if request.natural is not None:
        others = Pictures.open(request.folder("natural"))
        cuts.append(others.whole(min(5, len(others) - 1), size))
    if request.world is not None:
        worlds = open_held_out_worlds(request)
        cuts += [worlds.whole(at, size) for at in range(0, len(worlds), max(1, len(worlds) // 3))][:3]
    return [*cuts, Cards(CARD_SEED).whole(3, size)]


def load_judge(request: TrainingRequest) -> Any:
    """Return the sender's segmentation model, frozen: what it sees in a picture is what decoding is to keep."""
    model = load(UperNetForSemanticSegmentation, request.part("segmenter"), dtype=torch.float32)
    return model.eval().requires_grad_(False)


def load_eye(request: TrainingRequest) -> Lpips:
    """Return the perceptual distance, of the shipped weights or those of --perceptual."""
    return Lpips(SHIPPED if request.perceptual is None else request.folder("perceptual"))
