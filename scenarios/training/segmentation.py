"""Analysis models of the receiver, semantic segmentation: the class of each pixel, in a street or in the world.

The same kind of network as the sender's segmenter (a ResNet and a pyramid over it, Xiao et al. 2018), larger, trained
on other cuts, and given the whole frame enlarged: what is thin in a frame of 256x192 is then wider than its
grid. Classes that are rare are weighted up, and pasted from one example into another (Olsson et al. 2021, ClassMix);
the overlap of each class counts beside the cross entropy (Milletari et al. 2016), as its measure is an overlap.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import SegformerImageProcessor, UperNetForSemanticSegmentation

from scenarios.training.data import Cut, draw_mixed, to_tensor
from scenarios.training.loop import Losses
from scenarios.training.request import load
from scenarios.training.segmenter import (
    DEVIATION,
    MEAN,
    intersections,
    network,
    paint_labels,
    to_labels,
    vary_light,
)

Draw = tuple[float, Callable[[np.random.Generator], Cut]]

UNKNOWN = 255
PASTED = 0.5
"""Share of the examples that get some of another's classes."""
OVERLAP = 0.5
"""Weight of the overlap beside the cross entropy."""


LARGE, SMALL = (40, 80, 144, 208), (32, 64, 112, 160)
"""Channels of the network's stages: for streets as they are, for a world that a renderer drew."""


def build(names: Sequence[str], sizes: Sequence[int] = LARGE) -> UperNetForSemanticSegmentation:
    """Return an untrained model of the classes *names*, its stages of *sizes* channels."""
    return network(names, 32, sizes, 48)


class SegmentationTraining:
    """Trains a segmentation model on *draws*, whose labels are numbers of *names*, 255 where unknown.

    The model is given pictures of *work* (width, height) pixels, whatever the frames are. *counted* are cuts that
    tell how common each class is.
    """

    name = "segmentation"

    def __init__(
        self,
        names: Sequence[str],
        draws: list[Draw],
        counted: list[Cut],
        held_out: list[Cut],
        batch: int,
        work: tuple[int, int],
        sizes: Sequence[int] = LARGE,
        start: Path | None = None,
    ) -> None:
        self._names, self._draws, self._held_out = list(names), draws, held_out
        self._batch, self._work = batch, work
        self._weights = weights(counted, len(names))
        model: Any = build(names, sizes)
        if start is not None:
            take_weights(model, start)
        self.modules = nn.ModuleDict({"model": model.to(memory_format=torch.channels_last)})

    def to(self, device: torch.device) -> None:
        """Move the weights of the classes."""
        self._weights = self._weights.to(device)

    def _logits(self, pictures: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the logits of *pictures* at *size* (height, width)."""
        given = functional.interpolate(pictures, self._work[::-1], mode="bilinear")
        given = ((given - MEAN) / DEVIATION).contiguous(memory_format=torch.channels_last)
        model: Any = self.modules["model"]
        logits: Tensor = model(pixel_values=given).logits.float()
        return functional.interpolate(logits, size, mode="bilinear")

    def loss(self, rng: np.random.Generator, progress: float) -> tuple[Tensor, Losses]:
        """Return the weighted cross entropy and the overlap that is missing."""
        cuts = draw_mixed(rng, self._draws, self._batch)
        device = self._weights.device
        pictures, labels = paste_classes(
            rng, vary_light(rng, to_tensor(cuts)), to_labels(cuts), len(self._names)
        )
        pictures, labels = pictures.to(device), labels.to(device)
        logits = self._logits(pictures, (labels.shape[1], labels.shape[2]))
        entropy = functional.cross_entropy(logits, labels, self._weights, ignore_index=UNKNOWN)
        overlap = missing_overlap(logits, labels)
        right = (logits.argmax(1) == labels)[labels != UNKNOWN].float().mean()
        loss = entropy + OVERLAP * overlap
        return loss, {"loss": loss.item(), "overlap": overlap.item(), "right": right.item()}

    def save(self, folder: Path) -> None:
        """Write the model, its class names and how its input is scaled."""
        model = self.modules["model"]
        assert isinstance(model, UperNetForSemanticSegmentation)
        model.save_pretrained(folder)
        SegformerImageProcessor(
            size={"width": self._work[0], "height": self._work[1]},
            image_mean=[MEAN] * 3,
            image_std=[DEVIATION] * 3,
        ).save_pretrained(folder)

    @torch.no_grad()
    def _found(self, cuts: list[Cut]) -> NDArray[np.int64]:
        found = []
        for at in range(0, len(cuts), 8):
            pictures = to_tensor(cuts[at : at + 8]).to(self._weights.device)
            logits = self._logits(pictures, (pictures.shape[2], pictures.shape[3]))
            found.append(logits.argmax(1).cpu().numpy())
        return np.concatenate(found)

    def sample(self, folder: Path, step: int) -> Losses:
        """Write pictures above the true classes above those found; return scores on what is held out."""
        found = self._found(self._held_out)
        columns = [
            np.concatenate([cut.pixels, paint_labels(cut.labels), paint_labels(guess)])
            for cut, guess in list(zip(self._held_out, found, strict=True))[:: max(1, len(found) // 6)][:6]
            if cut.labels is not None
        ]
        Image.fromarray(np.concatenate(columns, 1)).save(folder / f"{step:06d}.png")
        ious = intersections(to_labels(self._held_out).numpy(), found)
        scores = {f"val_{self._names[number]}": iou for number, iou in ious.items()}
        return {"val_miou": float(np.mean(list(ious.values()))), **scores}


def take_weights(model: Any, folder: Path) -> None:
    """Give *model* the weights of the one in *folder* that have the same shape: all but the classes', or none.

    What was learned of edges and textures in one kind of picture saves most of the time in another.
    """
    found = load(UperNetForSemanticSegmentation, folder, dtype=torch.float32).state_dict()
    own = model.state_dict()
    model.load_state_dict(
        {name: value for name, value in found.items() if name in own and own[name].shape == value.shape},
        strict=False,
    )


def weights(cuts: list[Cut], classes: int) -> Tensor:
    """Return the weight of each class: one over the root of its share of the pixels, 1 on average over them."""
    counts = torch.bincount(to_labels(cuts).flatten(), minlength=256)[:classes].double()
    shares = counts / counts.sum()
    weight = shares.clamp(min=1e-3).rsqrt()
    return (weight / (weight * shares).sum()).float()


def paste_classes(
    rng: np.random.Generator, pictures: Tensor, labels: Tensor, classes: int
) -> tuple[Tensor, Tensor]:
    """Return *pictures* and *labels*, some with half of the next one's classes pasted over them."""
    over, beneath = pictures.roll(1, 0), labels.roll(1, 0)
    mixed_pictures, mixed_labels = pictures.clone(), labels.clone()
    for at in range(len(pictures)):
        if rng.random() < PASTED:
            there = np.intersect1d(beneath[at].numpy(), np.arange(classes))
            chosen = torch.from_numpy(rng.permutation(there)[: max(1, len(there) // 2)])
            mask = torch.isin(beneath[at], chosen)
            mixed_pictures[at] = torch.where(mask, over[at], pictures[at])
            mixed_labels[at] = torch.where(mask, beneath[at], labels[at])
    return mixed_pictures, mixed_labels


def missing_overlap(logits: Tensor, labels: Tensor) -> Tensor:
    """Return one minus the soft Dice overlap, averaged over the classes that *labels* (batch, height, width) has."""
    known = (labels != UNKNOWN).unsqueeze(1)
    found = logits.softmax(1) * known
    true = functional.one_hot(labels.where(labels != UNKNOWN, 0), logits.shape[1]).permute(0, 3, 1, 2) * known
    both = (found * true).sum((0, 2, 3))
    sizes = found.sum((0, 2, 3)) + true.sum((0, 2, 3))
    there = true.sum((0, 2, 3)) > 0
    return 1.0 - (2.0 * both / sizes.clamp_min(1.0))[there].mean()
