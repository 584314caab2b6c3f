"""Analysis models of the receiver, depth: metres for every pixel of the rendered world.

The network of the segmentation models, with logarithmic bins of depth for classes (`link.analysis.bins`). The
loss is the cross entropy with the two bins about the true depth, each by its nearness, and the absolute error of the
log depth, which the measure delta1 counts. Sky counts as the last bin.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import SegformerImageProcessor, UperNetForSemanticSegmentation

from link.analysis.bins import SETTING, metres
from scenarios.training.loop import Losses
from scenarios.training.segmentation import SMALL, build
from scenarios.training.segmenter import DEVIATION, MEAN, vary_light
from scenarios.training.world import LabelledView, Views, pictures

LEAST_M, MOST_M = 0.5, 100.0
BINS = 40
BINS_M = [round(float(depth), 4) for depth in np.geomspace(LEAST_M, MOST_M, BINS)]


class DepthTraining:
    """Trains a depth model on *views*, scored on *held_out*.

    The model works at *size* (width, height): half a frame's is enough, as depth is smooth and told by the lie of
    the land.
    """

    name = "depth"

    def __init__(self, views: Views, held_out: list[LabelledView], batch: int, size: tuple[int, int]) -> None:
        self._views, self._held_out, self._batch, self._size = views, held_out, batch, size
        model: Any = build([f"{depth:g} m" for depth in BINS_M], SMALL)
        setattr(model.config, SETTING, BINS_M)
        self.modules = nn.ModuleDict({"model": model.to(memory_format=torch.channels_last)})

    def to(self, device: torch.device) -> None:
        """Nothing is only used."""

    def _logits(self, given: Tensor) -> Tensor:
        """Return the logits at the size that the model works at."""
        device = next(self.modules.parameters()).device
        small = functional.interpolate(given.to(device), self._size[::-1], mode="area")
        scaled = ((small - MEAN) / DEVIATION).contiguous(memory_format=torch.channels_last)
        model: Any = self.modules["model"]
        logits: Tensor = model(pixel_values=scaled).logits.float()
        return logits

    def loss(self, rng: np.random.Generator, progress: float) -> tuple[Tensor, Losses]:
        """Return the cross entropy and twice the absolute error of the log depth."""
        views = [self._views.random(rng) for _ in range(self._batch)]
        logits = self._logits(vary_light(rng, pictures(views)))
        true = functional.interpolate(stack_depths(views)[:, None], logits.shape[2:], mode="nearest")[
            :, 0
        ].to(logits.device)
        place = (true / LEAST_M).log() / np.log(MOST_M / LEAST_M) * (BINS - 1)
        below = place.floor().long().clamp(0, BINS - 2)
        share = (place - below)[:, None]
        told = logits.log_softmax(1)
        entropy = -(
            told.gather(1, below[:, None]) * (1 - share) + told.gather(1, below[:, None] + 1) * share
        ).mean()
        wrong = (metres(logits, BINS_M) / true).log().abs()
        loss = entropy + 2.0 * wrong.mean()
        near = (wrong < np.log(1.25)).float().mean()
        return loss, {"loss": loss.item(), "log_error": wrong.mean().item(), "delta1": near.item()}

    def save(self, folder: Path) -> None:
        """Write the model and how its input is scaled."""
        model = self.modules["model"]
        assert isinstance(model, UperNetForSemanticSegmentation)
        model.save_pretrained(folder)
        SegformerImageProcessor(
            size={"width": self._size[0], "height": self._size[1]},
            image_mean=[MEAN] * 3,
            image_std=[DEVIATION] * 3,
        ).save_pretrained(folder)

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> Losses:
        """Write held-out pictures above true and found depth; return the scores where there is ground."""
        shares, relative = [], []
        shown: list[NDArray[np.uint8]] = []
        for at in range(0, len(self._held_out), 16):
            views = self._held_out[at : at + 16]
            logits = functional.interpolate(
                self._logits(pictures(views)), views[0].depth_m.shape, mode="bilinear"
            )
            for view, estimate in zip(views, metres(logits, BINS_M).cpu().numpy(), strict=True):
                there = np.isfinite(view.depth_m) & (view.depth_m < MOST_M)
                ratio = estimate[there] / view.depth_m[there]
                shares.append(float((np.maximum(ratio, 1 / ratio) < 1.25).mean()))
                relative.append(float(np.abs(ratio - 1).mean()))
                if len(shown) < 6:
                    shown.append(
                        np.concatenate([view.pixels, paint_depth(view.depth_m), paint_depth(estimate)])
                    )
        Image.fromarray(np.concatenate(shown, 1)).save(folder / f"{step:06d}.png")
        return {"val_delta1": float(np.mean(shares)), "val_abs_rel": float(np.mean(relative))}


def stack_depths(views: list[LabelledView]) -> Tensor:
    """Return the true depth of *views*, shape (batch, height, width), the largest where there is sky."""
    far = torch.from_numpy(np.stack([view.depth_m for view in views])).float()
    return far.nan_to_num(posinf=MOST_M).clamp(LEAST_M, MOST_M)


def paint_depth(depth_m: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return depth as a picture: near things bright."""
    share = np.log(MOST_M / np.clip(depth_m, LEAST_M, MOST_M)) / np.log(MOST_M / LEAST_M)
    return np.asarray(colormaps["magma"](share)[..., :3] * 255, np.uint8)
