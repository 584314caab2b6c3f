"""Things in boxes: by a DETR-like model or farlink's own in its folder, or by YOLO11 where the user installed it.

    pixels (H, W, 3) -> the model's own processor -> queries -> boxes, kinds, scores

RT-DETRv2 (Lv et al. 2024), DETR, D-FINE, YOLOS, ... are of transformers. YOLO11 is of ultralytics, which is under
the AGPL and reads weights by pickle: farlink neither depends on it nor imports it, unless a .pt file is asked for.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import MODEL_FOR_OBJECT_DETECTION_MAPPING, AutoModelForObjectDetection

from link.analysis import loading
from link.analysis.fcos import MODEL_TYPE, FcosDetector
from link.analysis.findings import Detections
from link.errors import ModelMissingError, UsageError
from link.frame import Pixels
from link.pretrained import BROKEN
from link.threads import one_thread

__all__ = ["MODEL_TYPE", "DetectionModel", "FcosModel", "YoloModel"]

_AUTO: Any = AutoModelForObjectDetection
_KNOWN: Any = MODEL_FOR_OBJECT_DETECTION_MAPPING
LEAST_SCORE = 0.01
"""What is less sure is left out: it adds bytes to the journal and next to nothing to a precision."""
SETTING = "shown_score"
"""What config.json calls the least score of a box that is drawn for people; `link.annotations.SHOWN` without it."""
MOST = 100
"""Boxes a picture, as COCO counts them."""


class DetectionModel:
    """Runs the model in *folder* on *device*. Raise ModelMissingError or UsageError where it cannot be loaded."""

    def __init__(self, folder: Path, device: str | torch.device = "cpu") -> None:
        model, self._processor = loading.load(folder, _AUTO, "detection", _KNOWN.keys())
        self._model = model.to(device)
        self._device = device
        self.names = loading.names(model.config)
        self._shown_from = read_shown_score(folder, getattr(model.config, SETTING, None))

    @one_thread()
    @torch.inference_mode()
    def find(self, pixels: Pixels) -> Detections:
        """Return the things in *pixels*, shape (height, width, 3): at most `MOST`, none under `LEAST_SCORE`."""
        given = self._processor(images=pixels.copy(), return_tensors="pt", input_data_format="channels_last")
        out = self._model(pixel_values=given["pixel_values"].to(self._device))
        size = [(pixels.shape[0], pixels.shape[1])]
        answer = self._processor.post_process_object_detection(out, threshold=LEAST_SCORE, target_sizes=size)[
            0
        ]
        boxes, kinds, scores = (answer[key].cpu().numpy() for key in ("boxes", "labels", "scores"))
        return tidy_boxes(boxes, kinds, scores, self.names, size[0], self._shown_from)


class FcosModel:
    """Runs the `link.analysis.fcos` detector in *folder* on *device*; errors as of `DetectionModel`."""

    def __init__(self, folder: Path, device: str | torch.device = "cpu") -> None:
        loading.settings(folder, "detection")
        try:
            model = FcosDetector.from_pretrained(folder, local_files_only=True, strict=True)
        except BROKEN as error:
            raise loading.make_unreadable_error(folder, "detection", error) from None
        self._model = model.eval().requires_grad_(False).to(device)
        self._device = device
        self.names = tuple(model.names)
        self._shown_from = read_shown_score(folder, model.shown_score)

    @one_thread()
    @torch.inference_mode()
    def find(self, pixels: Pixels) -> Detections:
        """Return the things in *pixels*, as `DetectionModel.find`."""
        given = torch.from_numpy(pixels.copy()).to(self._device).permute(2, 0, 1).float() / 255
        answer = self._model(given[None])[0]
        boxes, kinds, scores = (answer[key].cpu().numpy() for key in ("boxes", "labels", "scores"))
        size = pixels.shape[0], pixels.shape[1]
        return tidy_boxes(boxes, kinds, scores, self.names, size, self._shown_from)


class YoloModel:
    """Runs the ultralytics model in *file* on *device*.

    Raise ModelMissingError where the file or ultralytics is missing, UsageError where it is no detection model.
    """

    def __init__(self, file: Path, device: str | torch.device = "cpu") -> None:
        if not file.is_file():  # ultralytics would download it
            raise ModelMissingError(f"{file}: no such file")
        try:
            ultralytics: Any = importlib.import_module("ultralytics")
        except ImportError:
            raise ModelMissingError(
                f"{file}: needs ultralytics, which is under the AGPL-3.0: pip install ultralytics"
            ) from None
        try:
            self._model = ultralytics.YOLO(str(file), task="detect")
            given = self._model.names
        except Exception as error:  # its own, torch's and pickle's views of what a bad file is
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(f"{file}: cannot be read as a YOLO model: {reason[:200]}") from None
        self._device = str(device)
        self.names = tuple(str(given[number]) for number in sorted(given))

    @one_thread()
    def find(self, pixels: Pixels) -> Detections:
        """Return the things in *pixels*, as `DetectionModel.find`."""
        # ultralytics takes arrays as OpenCV has them: blue first
        blue_first = np.ascontiguousarray(pixels[..., ::-1])
        answer = self._model.predict(
            blue_first, conf=LEAST_SCORE, max_det=MOST, device=self._device, verbose=False
        )[0].boxes
        boxes, kinds, scores = (np.asarray(part.cpu()) for part in (answer.xyxy, answer.cls, answer.conf))
        return tidy_boxes(boxes, kinds, scores, self.names, (pixels.shape[0], pixels.shape[1]))


def read_shown_score(folder: Path, told: Any) -> float | None:
    """Return *told*, what config.json in *folder* has as `shown_score`. Raise UsageError where it is no share."""
    if told is None:
        return None
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0.0 <= told <= 1.0:
        raise UsageError(f"{folder}: {SETTING} in config.json is {told!r}; 0 to 1 expected")
    return float(told)


def tidy_boxes(
    boxes: NDArray[Any],
    kinds: NDArray[Any],
    scores: NDArray[Any],
    names: tuple[str, ...],
    size: tuple[int, int],
    shown_from: float | None = None,
) -> Detections:
    """Return the boxes cut to a picture of *size* (height, width), the surest first, those without area left out.

    What is not finite stays as it is, and `findings.write` refuses it.
    """
    height, width = size
    xyxy = np.clip(boxes.astype(np.float64).reshape(-1, 4), 0.0, [width, height, width, height])
    keep = ~((xyxy[:, 2] <= xyxy[:, 0]) | (xyxy[:, 3] <= xyxy[:, 1]))
    order = np.flatnonzero(keep)[np.argsort(-scores[keep], kind="stable")][:MOST]
    return Detections(
        xyxy[order], kinds[order].astype(np.int64), scores[order].astype(np.float64), names,
        shown_from=shown_from,
    )  # fmt: skip
