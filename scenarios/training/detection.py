"""Analysis models of the receiver, detection: boxes around the things of the rendered world.

FCOS (Tian et al. 2019) with torchvision's own losses: focal loss of the classes, GIoU of the boxes, centreness.
A detector that is dense learns from scratch in minutes; one of queries (DETR and its kin) takes days.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from link.analysis.fcos import FcosDetector
from scenarios.scoring.boxes import Boxes
from scenarios.scoring.tasks import TASKS
from scenarios.training.loop import Losses
from scenarios.training.segmenter import vary_light
from scenarios.training.world import LabelledView, Views, pictures
from sender.camera.world.view import THINGS

SHOWN_SCORE = 0.4
COLOURS = ("#ffd400", "#00e5ff", "#ff6ec7", "#7cff5a", "#ff7043")


def build(size: tuple[int, int]) -> FcosDetector:
    """Return an untrained detector of the world's things."""
    return FcosDetector(list(THINGS), list(size), sizes=[32, 64, 112, 160], depths=[1, 2, 2, 2], features=64)


class DetectionTraining:
    """Trains a detector on *views*, scored on *held_out*."""

    name = "detection"

    def __init__(self, views: Views, held_out: list[LabelledView], batch: int, size: tuple[int, int]) -> None:
        self._views, self._held_out, self._batch = views, held_out, batch
        self.modules = nn.ModuleDict({"model": build(size)})

    def to(self, device: torch.device) -> None:
        """Nothing is only used."""

    def loss(self, rng: np.random.Generator, progress: float) -> tuple[Tensor, Losses]:
        """Return the sum of torchvision's losses."""
        views = [self._views.random(rng) for _ in range(self._batch)]
        device = next(self.modules.parameters()).device
        targets = [
            {
                "boxes": torch.from_numpy(view.boxes).to(device),
                "labels": torch.from_numpy(view.kinds).to(device),
            }
            for view in views
        ]
        losses = self.modules["model"](vary_light(rng, pictures(views)).to(device), targets)
        total: Tensor = sum(losses.values())
        return total, {"loss": total.item(), **{name: loss.item() for name, loss in losses.items()}}

    def save(self, folder: Path) -> None:
        """Write the detector in the layout that the receiver loads."""
        model = self.modules["model"]
        assert isinstance(model, FcosDetector)
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> Losses:
        """Write held-out pictures with the boxes found; return the scores over all of them."""
        device = next(self.modules.parameters()).device
        guesses: list[Boxes] = []
        for at in range(0, len(self._held_out), 16):
            answers = self.modules["model"](pictures(self._held_out[at : at + 16]).to(device))
            guesses += [_boxes(answer) for answer in answers]
        task = TASKS["detection"]
        truth = [
            Boxes(
                view.boxes.astype(np.float64),
                view.kinds,
                np.ones(len(view.kinds)),
                np.zeros(len(view.kinds), bool),
            )
            for view in self._held_out
        ]
        frames = [task.frame(true, guess) for true, guess in zip(truth, guesses, strict=True)]
        shown = list(zip(self._held_out, guesses, strict=True))[:6]
        columns = [_drawn(view, guess) for view, guess in shown]
        Image.fromarray(np.concatenate(columns, 1)).save(folder / f"{step:06d}.png")
        return {f"val_{key}": value for key, value in task.scores(frames).items() if value is not None}


def _boxes(answer: dict[str, Tensor]) -> Boxes:
    scores = answer["scores"].float().cpu().numpy().astype(np.float64)
    xyxy = answer["boxes"].float().cpu().numpy().astype(np.float64)
    return Boxes(xyxy, answer["labels"].cpu().numpy().astype(np.int64), scores, np.zeros(len(scores), bool))


def _drawn(view: LabelledView, boxes: Boxes) -> NDArray[np.uint8]:
    picture = Image.fromarray(view.pixels)
    draw = ImageDraw.Draw(picture)
    for box, kind, score in zip(boxes.xyxy, boxes.kinds, boxes.scores, strict=True):
        if score >= SHOWN_SCORE:
            draw.rectangle(box.tolist(), outline=COLOURS[int(kind)])
    return np.asarray(picture)
