"""Analysis models of the receiver, detection: boxes around the things of the rendered world.

FCOS (Tian et al. 2019) with torchvision's own losses: focal loss of the classes, GIoU of the boxes, centreness.
A detector that is dense learns from scratch in minutes; one of queries (DETR and its kin) takes days.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from link.analysis.detection import SETTING
from link.analysis.fcos import FcosDetector
from link.annotations import SHOWN
from link.errors import ModelMissingError, UsageError
from link.pretrained import BROKEN, first_line
from scenarios.scoring.boxes import Boxes
from scenarios.scoring.detection import DetectionPool
from scenarios.scoring.stats import Stats
from scenarios.scoring.tasks import TASKS
from scenarios.training.loop import Losses, storing
from scenarios.training.request import TrainingRequest
from scenarios.training.segmenter import vary_light
from scenarios.training.sources import open_held_out_worlds
from scenarios.training.world import LabelledView, Views, pictures
from sender.camera.world.view import THINGS

COLOURS = ("#ffd400", "#00e5ff", "#ff6ec7", "#7cff5a", "#ff7043")


def build(size: tuple[int, int]) -> FcosDetector:
    """Return an untrained detector of the world's things."""
    return FcosDetector(list(THINGS), list(size), sizes=[32, 64, 112, 160], depths=[1, 2, 2, 2], features=64)


class DetectionTraining:
    """Trains a detector on *views*, scored on *held_out*."""

    name = "detection"

    def __init__(
        self,
        views: Views,
        held_out: list[LabelledView],
        batch: int,
        size: tuple[int, int],
        start: Path | None = None,
    ) -> None:
        """Begin with the detector in *start*, whose input's size it keeps, else with an untrained one."""
        self._views, self._held_out, self._batch = views, held_out, batch
        model = build(size) if start is None else open_detector(start)
        self.modules = nn.ModuleDict({"model": model.requires_grad_(True)})

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
        """Write the detector in the layout that the receiver loads, with the score from which its boxes are shown."""
        model = self.modules["model"]
        assert isinstance(model, FcosDetector)
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        write_shown_score(
            folder, choose_shown_score(frames_of(find_boxes(model, self._held_out), self._held_out))
        )

    def sample(self, folder: Path, step: int) -> Losses:
        """Write held-out pictures with the boxes found; return the scores over all of them."""
        model = self.modules["model"]
        assert isinstance(model, FcosDetector)
        guesses = find_boxes(model, self._held_out)
        frames = frames_of(guesses, self._held_out)
        least = choose_shown_score(frames)
        shown = list(zip(self._held_out, guesses, strict=True))[:6]
        columns = [_drawn(view, guess, SHOWN if least is None else least) for view, guess in shown]
        Image.fromarray(np.concatenate(columns, 1)).save(folder / f"{step:06d}.png")
        scores = TASKS["detection"].scores(frames)
        told = {f"val_{key}": value for key, value in scores.items() if value is not None}
        return told if least is None else {**told, SETTING: least}


def open_detector(folder: Path) -> FcosDetector:
    """Return the detector in *folder*. Raise ModelMissingError where there is none."""
    try:
        model = FcosDetector.from_pretrained(folder, local_files_only=True, strict=True)
    except BROKEN as error:
        raise ModelMissingError(f"{folder}: no usable {FcosDetector.__name__}: {first_line(error)}") from None
    return model.float()


@torch.no_grad()
def find_boxes(model: FcosDetector, views: list[LabelledView]) -> list[Boxes]:
    """Return what *model*, in evaluation mode, finds in each of *views*."""
    device = next(model.parameters()).device
    guesses: list[Boxes] = []
    for at in range(0, len(views), 16):
        guesses += [_boxes(answer) for answer in model(pictures(views[at : at + 16]).to(device))]
    return guesses


def frames_of(guesses: list[Boxes], views: list[LabelledView]) -> list[Stats]:
    """Return what the task keeps of each of *views*, given what was found in it."""
    truth = [Boxes.of(view.boxes, view.kinds) for view in views]
    return [TASKS["detection"].frame(true, guess) for true, guess in zip(truth, guesses, strict=True)]


def choose_shown_score(frames: Sequence[Stats]) -> float | None:
    """Return the score from which on boxes are best shown: where F1 over all boxes of *frames* is highest.

    A box is right where it overlaps one that is there, of its class, by half (COCO's matching). Of equal F1 the highest
    score is taken, rounded down to 0.0001, to which scores are written. What is found of classes that are nowhere
    in *frames* is not counted. None where no box is right.
    """
    kinds = DetectionPool(frames).kinds.values()
    there = sum(float(kind.there.sum()) for kind in kinds)
    nothing = np.zeros(0)
    scores = np.concatenate([nothing, *(kind.score[~kind.ignored[0]] for kind in kinds)])
    right = np.concatenate([nothing, *(kind.right[0][~kind.ignored[0]] for kind in kinds)])
    if not right.any():
        return None
    order = np.argsort(-scores, kind="stable")
    hits, shown = np.cumsum(right[order]), np.arange(1, len(order) + 1)
    # Boxes of one score are shown together or not at all.
    last = np.append(scores[order][1:] < scores[order][:-1], True)
    f1 = np.where(last, 2 * hits / (shown + there), 0.0)
    return float(np.floor(scores[order][int(f1.argmax())] * 1e4) / 1e4)


def fit_threshold(request: TrainingRequest, say: Callable[[str], None]) -> Path:
    """Choose the score from which on boxes are shown, on the world's held-out views; write it beside the weights."""
    if request.init is None and request.earlier is None:
        raise UsageError("--init is needed: the folder of the detector whose config.json is to say it")
    folder = request.start("detection-world") or request.part("detection-world")
    held = Views(open_held_out_worlds(request).files[0].parent)
    views = [held.view(at) for at in range(len(held))]
    score = choose_shown_score(frames_of(find_boxes(open_detector(folder).eval(), views), views))
    say(json.dumps({"views": len(views), SETTING: score}))
    return write_shown_score(folder, score)


def write_shown_score(folder: Path, score: float | None) -> Path:
    """Write the least score of a box that is shown into config.json of the detector in *folder*; return that file.

    None takes it out. Raise StorageError where it cannot be written.
    """
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    settings.pop(SETTING, None)
    if score is not None:
        settings[SETTING] = score
    with storing(path):
        path.write_text(json.dumps(settings, indent=2, sort_keys=True))
    return path


def _boxes(answer: dict[str, Tensor]) -> Boxes:
    scores = answer["scores"].float().cpu().numpy().astype(np.float64)
    xyxy = answer["boxes"].float().cpu().numpy().astype(np.float64)
    return Boxes(xyxy, answer["labels"].cpu().numpy().astype(np.int64), scores, np.zeros(len(scores), bool))


def _drawn(view: LabelledView, boxes: Boxes, least: float) -> NDArray[np.uint8]:
    picture = Image.fromarray(view.pixels)
    draw = ImageDraw.Draw(picture)
    for box, kind, score in zip(boxes.xyxy, boxes.kinds, boxes.scores, strict=True):
        if score >= least:
            draw.rectangle(box.tolist(), outline=COLOURS[int(kind)])
    return np.asarray(picture)
