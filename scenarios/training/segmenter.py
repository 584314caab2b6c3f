"""The tiny segmenter: the class of each pixel, for captions: things in a street, a test card, another picture.

A convolutional network with a pyramid over it (Xiao et al. 2018, "Unified perceptual parsing"), at half the
resolution of the frames: it learns from scratch in minutes on few pictures. Street pictures teach the classes;
pictures of anything else, and test cards, teach it to say that they are no street.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import ResNetConfig, SegformerImageProcessor, UperNetConfig, UperNetForSemanticSegmentation

from link.bitstream.grammar import SCENES
from scenarios.training.cards import Cards
from scenarios.training.data import Cut, Pictures, draw_mixed, to_tensor
from scenarios.training.loop import Losses
from scenarios.training.request import load
from sender.captioner import CARD, CLASSES, PICTURE, PLANET, UNKNOWN
from sender.segmenter import full_name

SIZE = (128, 96)
MEAN, DEVIATION = 0.45, 0.25
"""Of the pixels, 0 to 1, as the model is given them."""
STREETS, WORLD, OTHERS, CARDS = 0.5, 0.3, 0.14, 0.06
"""The shares of streets, rendered worlds, other pictures and test cards in a batch."""

NAMES = [
    full_name(scene, noun)
    for scene, numbers in CLASSES.items()
    for noun, _ in zip(SCENES[scene].nouns, numbers, strict=False)
]
"""What each class is called."""


def network(
    names: Sequence[str], embedding: int, sizes: Sequence[int], features: int
) -> UperNetForSemanticSegmentation:
    """Return an untrained model of the classes *names*.

    Its stem has *embedding* channels, its stages *sizes*, the pyramid over them *features*.
    """
    backbone = ResNetConfig(
        embedding_size=embedding,
        hidden_sizes=list(sizes),
        depths=[1, 2, 2, 2],
        layer_type="basic",
    )
    backbone.out_features = ["stage1", "stage2", "stage3", "stage4"]
    return UperNetForSemanticSegmentation(
        UperNetConfig(
            backbone_config=backbone,
            hidden_size=features,
            use_auxiliary_head=False,
            id2label=dict(enumerate(names)),
            label2id={name: number for number, name in enumerate(names)},
        )
    )


def build() -> UperNetForSemanticSegmentation:
    """Return the untrained segmenter."""
    return network(NAMES, 24, (24, 48, 96, 128), 32)


class SegmenterTraining:
    """Trains the segmenter on random windows of streets, other pictures and test cards.

    *streets* and *held_out* have CamVid's labels: class numbers of the street, and one past them for what
    is not labelled.
    """

    name = "segmenter"

    def __init__(
        self,
        streets: Pictures,
        others: Pictures,
        cards: Cards,
        held_out: Pictures,
        batch: int,
        size: tuple[int, int] = SIZE,
        world: Pictures | None = None,
    ) -> None:
        self._size, self._batch = size, batch
        self._draws = [
            (STREETS, lambda rng: mask_unlabelled(streets.random_cut(rng, size, (1.0, 2.0)))),
            (OTHERS, lambda rng: label_picture(others.random_cut(rng, size, (1.0, 2.0)))),
            (CARDS, lambda rng: cards.random_cut(rng, size, (1.0, 1.6))),
        ]
        self._held_out = [mask_unlabelled(held_out.whole(index, size)) for index in range(len(held_out))]
        self._shown = [*self._held_out[:: max(1, len(held_out) // 4)][:4]]
        self._shown += [label_picture(others.whole(0, size)), cards.whole(0, size)]
        counted = [mask_unlabelled(streets.whole(index, size)) for index in range(len(streets))]
        worlds: list[Cut] = []
        if world is not None:
            self._draws.append((WORLD, lambda rng: relabel_world(world.random_cut(rng, size, (1.0, 1.3)))))
            worlds = [relabel_world(world.whole(index, size)) for index in range(0, len(world), 4)]
            self._shown += worlds[:2]
        self._weights = weights(counted, worlds)
        self.modules = nn.ModuleDict({"model": build()})

    def to(self, device: torch.device) -> None:
        """Move the weights of the classes."""
        self._weights = self._weights.to(device)

    def _logits(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.modules["model"]((pictures - MEAN) / DEVIATION).logits
        return functional.interpolate(logits.float(), self._size[::-1], mode="bilinear")

    def loss(self, rng: np.random.Generator, progress: float) -> tuple[Tensor, Losses]:
        """Return the cross entropy, rare classes weighted up."""
        cuts = draw_mixed(rng, self._draws, self._batch)
        device = self._weights.device
        labels = to_labels(cuts).to(device)
        logits = self._logits(vary_light(rng, to_tensor(cuts)).to(device))
        loss = functional.cross_entropy(logits, labels, self._weights, ignore_index=UNKNOWN)
        right = (logits.argmax(1) == labels)[labels != UNKNOWN]
        return loss, {"loss": loss.item(), "right": right.float().mean().item()}

    def save(self, folder: Path) -> None:
        """Write the model, its class names and how its input is scaled."""
        model = self.modules["model"]
        assert isinstance(model, UperNetForSemanticSegmentation)
        model.save_pretrained(folder)
        SegformerImageProcessor(
            size={"width": self._size[0], "height": self._size[1]},
            image_mean=[MEAN] * 3,
            image_std=[DEVIATION] * 3,
        ).save_pretrained(folder)

    @torch.no_grad()
    def _found(self, cuts: list[Cut]) -> NDArray[np.int64]:
        labels = []
        for at in range(0, len(cuts), 16):
            pictures = to_tensor(cuts[at : at + 16]).to(self._weights.device)
            labels.append(self._logits(pictures).argmax(1).cpu().numpy())
        return np.concatenate(labels)

    def sample(self, folder: Path, step: int) -> Losses:
        """Write pictures above the true classes above those found; return scores on the held-out streets."""
        shown = self._found(self._shown)
        columns = [
            np.concatenate([cut.pixels, paint_labels(cut.labels), paint_labels(guess)])
            for cut, guess in zip(self._shown, shown, strict=True)
            if cut.labels is not None
        ]
        Image.fromarray(np.concatenate(columns, 1)).save(folder / f"{step:06d}.png")
        truth = to_labels(self._held_out).numpy()
        ious = intersections(truth, self._found(self._held_out))
        scores = {f"val_{NAMES[number]}": iou for number, iou in ious.items()}
        return {"val_miou": float(np.mean(list(ious.values()))), **scores}


def mask_unlabelled(cut: Cut) -> Cut:
    """Return a street's cut with what is not labelled made unknown."""
    assert cut.labels is not None
    return Cut(
        cut.pixels, np.where(cut.labels < len(CLASSES["street"]), cut.labels, UNKNOWN).astype(np.uint8)
    )


def mask_uncaptioned(cut: Cut) -> Cut:
    """Return *cut* with one past a street's classes made unknown, as CamVid has what is not labelled.

    Other numbers of `sender.captioner.CLASSES` stay: captions know more scenes than streets.
    """
    assert cut.labels is not None
    known = cut.labels != len(CLASSES["street"])
    return Cut(cut.pixels, np.where(known, cut.labels, UNKNOWN).astype(np.uint8))


def relabel_world(cut: Cut) -> Cut:
    """Return a cut of the rendered world with the captions' class numbers."""
    assert cut.labels is not None
    there = cut.labels < len(CLASSES["planet"])
    return Cut(cut.pixels, np.where(there, cut.labels + PLANET, UNKNOWN).astype(np.uint8))


def label_picture(cut: Cut) -> Cut:
    """Return *cut* as a picture of anything else."""
    return Cut(cut.pixels, np.full(cut.pixels.shape[:2], PICTURE, np.uint8))


def to_labels(cuts: list[Cut]) -> Tensor:
    """Return the labels of *cuts* as (batch, height, width)."""
    return torch.from_numpy(np.stack([cut.labels for cut in cuts if cut.labels is not None])).long()


def measure_misjudgement(judge: nn.Module | None, pictures: Tensor, decoded: Tensor) -> Tensor:
    """Return how far *judge*'s classes of *decoded* are from those of *pictures*, (batch, 3, height, width) and 0 to 1.

    The mean Kullback-Leibler divergence in nats a pixel, shape (batch,); zeros without a judge. The judge sees whole
    frames, though it learned from smaller ones: what is in them is then as large as in its nearest views.
    """
    if judge is None:
        return torch.zeros(len(pictures), device=pictures.device)
    with torch.no_grad():
        wanted = judge((pictures - MEAN) / DEVIATION).logits.float().log_softmax(1)
    actual = judge((decoded - MEAN) / DEVIATION).logits.float().log_softmax(1)
    divergence: Tensor = (wanted.exp() * (wanted - actual)).sum(1).flatten(1).mean(1)
    return divergence


def load_grown(folder: Path) -> UperNetForSemanticSegmentation:
    """Return the segmenter in *folder*, with untrained rows for the classes that it does not know yet.

    Raise ModelMissingError where there is none.
    """
    stored: Any = load(UperNetForSemanticSegmentation, folder, dtype=torch.float32)
    known = [stored.config.id2label[number] for number in range(stored.config.num_labels)]
    model: Any = stored if known == NAMES else build()
    state = stored.state_dict()
    rows = [known.index(name) if name in known else None for name in NAMES]
    own = model.state_dict()
    for key, value in state.items():
        if value.shape == own[key].shape:
            own[key].copy_(value)
        else:
            for at, row in enumerate(rows):
                if row is not None:
                    own[key][at] = value[row]
    model.train()
    return model  # type: ignore[no-any-return]


def weights(streets: list[Cut], worlds: Sequence[Cut] = ()) -> Tensor:
    """Return the weight of each class: one over the root of its share of the pixels, 1 on average over them."""
    shares = torch.zeros(len(NAMES), dtype=torch.double)
    for share, cuts in ((STREETS, streets), (WORLD, worlds)):
        if cuts:
            counts = torch.bincount(to_labels(list(cuts)).flatten(), minlength=256)[: len(NAMES)].double()
            shares += share * counts / counts.sum()
    shares[PICTURE], shares[CARD] = OTHERS, CARDS
    weight = shares.clamp(min=1e-3).rsqrt()
    return (weight / (weight * shares).sum()).float()


def vary_light(rng: np.random.Generator, pictures: Tensor) -> Tensor:
    """Return *pictures*, (batch, 3, height, width) and 0 to 1, in other light, some of them blurred."""

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (len(pictures), *(shape or (1, 1, 1))))).float()

    lit = pictures.clamp(min=1e-3) ** draw(-0.5, 0.5).exp()
    mean = lit.mean((1, 2, 3), keepdim=True)
    lit = (lit - mean) * draw(0.6, 1.4) + mean * draw(0.6, 1.4)
    grey = lit.mean(1, keepdim=True)
    lit = (grey + (lit - grey) * draw(0.3, 1.7)) * draw(0.85, 1.15, 3, 1, 1)
    coarse = functional.interpolate(functional.avg_pool2d(lit, 2), lit.shape[2:], mode="bilinear")
    lit = torch.where(draw(0, 1) < 0.25, coarse, lit)
    return (lit + 0.02 * torch.randn_like(lit)).clamp(0, 1)


def intersections(truth: NDArray[np.int64], guesses: NDArray[np.int64]) -> dict[int, float]:
    """Return the intersection over union of each class that *truth* has."""
    ious = {}
    for number in np.unique(truth[truth != UNKNOWN]).tolist():
        true, guess = truth == number, (guesses == number) & (truth != UNKNOWN)
        ious[number] = float((true & guess).sum() / (true | guess).sum())
    return ious


def paint_labels(labels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return *labels* as a picture: a colour for each class, black for unknown."""
    numbers = np.arange(256)
    palette = np.stack([numbers * 67 % 200 + 55, numbers * 101 % 200 + 55, numbers * 151 % 200 + 55], 1)
    palette[UNKNOWN] = 0
    return np.asarray(palette[labels.astype(np.int64)], np.uint8)
