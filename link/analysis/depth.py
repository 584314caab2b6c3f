"""The depth of each pixel, by any monocular depth model in `save_pretrained` layout.

    pixels (H, W, 3) -> the model's own processor -> predicted_depth (h, w) -> bilinear -> (H, W)

A model gives metres, or inverse depth up to a scale and a shift (MiDaS, Depth Anything). Its configuration says
which: `depth_estimation_type`, and where that is not there its type. A segmentation model whose classes are bins of
depth (`link.analysis.bins`) gives metres too.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import (
    MODEL_FOR_DEPTH_ESTIMATION_MAPPING,
    MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING,
    AutoModelForDepthEstimation,
    AutoModelForSemanticSegmentation,
)

from link.analysis import bins, loading
from link.analysis.findings import DepthMap
from link.errors import UsageError
from link.frame import Pixels
from link.threads import one_thread

_AUTO: Any = AutoModelForDepthEstimation
_KNOWN: Any = MODEL_FOR_DEPTH_ESTIMATION_MAPPING
_BINNED: Any = AutoModelForSemanticSegmentation
_BINNED_KNOWN: Any = MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING
RELATIVE = ("dpt", "depth_anything")
"""Model types that give inverse depth unless their configuration says `metric`."""
_PADDED = ("zoedepth",)
"""Model types whose processor pads, and has to cut that off again."""


class DepthModel:
    """Runs the model in *folder* on *device*. Raise ModelMissingError or UsageError where it cannot be loaded."""

    def __init__(self, folder: Path, device: str | torch.device = "cpu") -> None:
        said = loading.settings(folder, "depth")
        self._bins_m = _bins(folder, said)
        auto, known = (_AUTO, _KNOWN) if self._bins_m is None else (_BINNED, _BINNED_KNOWN)
        model, self._processor = loading.load(folder, auto, "depth", known.keys())
        self._model = model.to(device)
        self._device = device
        self.metric = said.get("depth_estimation_type", "metric") == "metric"
        if "depth_estimation_type" not in said:
            self.metric = said["model_type"] not in RELATIVE
        self._padded = said["model_type"] in _PADDED

    @one_thread()
    @torch.inference_mode()
    def find(self, pixels: Pixels) -> DepthMap:
        """Return the depth of each pixel of *pixels*, shape (height, width, 3), at their size.

        Below 0 there is no depth, metric or inverse: what a model's last layer gives there counts as 0. What is
        not finite stays so, and `findings.write` refuses it.
        """
        # a copy: torch warns of pictures that it may not write to
        given = self._processor(images=pixels.copy(), return_tensors="pt", input_data_format="channels_last")
        out = self._model(pixel_values=given["pixel_values"].to(self._device))
        depth = self._at_size(out, (pixels.shape[0], pixels.shape[1]))
        return DepthMap(depth.clamp(min=0.0).cpu().numpy().astype(np.float32), self.metric)

    def _at_size(self, out: Any, size: tuple[int, int]) -> Tensor:
        if self._padded:
            outputs = self._processor.post_process_depth_estimation(out, source_sizes=[size])
            depth: Tensor = outputs[0]["predicted_depth"]
            return depth
        if self._bins_m is not None:
            logits = functional.interpolate(out.logits.float(), size, mode="bilinear")
            return bins.metres(logits, self._bins_m)[0]
        depth = out.predicted_depth[0].float()
        if depth.shape == size:
            return depth
        return functional.interpolate(depth[None, None], size, mode="bilinear")[0, 0]


def _bins(folder: Path, said: dict[str, Any]) -> list[float] | None:
    """Return the depths that the classes of a model stand for, where they do."""
    centres = said.get(bins.SETTING)
    if centres is None:
        return None
    if not isinstance(centres, list) or not all(
        isinstance(depth, int | float) and depth > 0 for depth in centres
    ):
        raise UsageError(f"{folder}: {bins.SETTING} in config.json: a list of depths over 0 was expected")
    if len(centres) != len(said.get("id2label", {})):
        raise UsageError(
            f"{folder}: {len(centres)} {bins.SETTING} for {len(said.get('id2label', {}))} classes"
        )
    return [float(depth) for depth in centres]
