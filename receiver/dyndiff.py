"""DynDiff: how many steps and how much guidance a picture needs, foretold from what arrived of it (SGGIC, Section 3.2).

    decoded picture, texts, bits -> features, each brought to 0..1 -> two small networks -> steps, guidance

FOLDER/config.json           which features, between which bounds, which range of steps and of guidance
FOLDER/model.safetensors     both networks: 3 hidden layers of 16, a sigmoid (the paper's; its code has 2)

The paper's code reads eleven features. Four are here as they are there: `edges`, `blur`, `bpp` and `agreement`, CLIP's
where CLIPSeg is and else the segmentation models' (`receiver.masking`). Of BRISQUE, which is a trained regression, two
of the statistics that it is fed stand here, `peak` and `spread`. NIQE, ClipIQA+, MUSIQ, DBCNN, HyperIQA and LIQE need
weights that are not at hand.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy import ndimage
from torch import Tensor, nn

from link.errors import ModelMissingError
from link.frame import Pixels
from link.models import pull_hint
from link.pretrained import first_line
from link.threads import one_thread

WIDTH, LAYERS = 16, 3
"""Of the hidden layers (Section 3.2)."""
CANNY = (100.0, 200.0)
"""Below the first no edge goes on, from the second on one begins."""
_WINDOW = 7.0 / 6.0
"""Deviation of the window that brightness is normalised in (Mittal et al. 2012)."""

Grey = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """What is known of a picture before it is drawn."""

    pixels: Pixels
    """The decoded reference, at the drawn picture's size."""
    agreement: float
    """Of picture and overall text."""
    bpp: float
    """Bits that arrived, by pixel of the drawn picture."""

    @property
    def grey(self) -> Grey:
        """Brightness, 0 to 255."""
        return np.asarray(self.pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))


def detect_edges(grey: Grey) -> NDArray[np.bool_]:
    """Return Canny's edges (Canny 1986): slopes of Sobel, thinned across, followed from strong to weak."""
    down, across = ndimage.sobel(grey, 0, mode="nearest"), ndimage.sobel(grey, 1, mode="nearest")
    slope = np.abs(down) + np.abs(across)
    way = np.round(np.arctan2(down, across) / (np.pi / 4)).astype(int) % 4
    padded = np.pad(slope, 1)
    height, width = grey.shape
    ridge = np.zeros(grey.shape, np.bool_)
    for number, (row, column) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        first = padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]
        second = padded[1 - row : 1 - row + height, 1 - column : 1 - column + width]
        ridge |= (way == number) & (slope > first) & (slope >= second)
    weak = ridge & (slope > CANNY[0])
    numbers, _ = ndimage.label(weak, np.ones((3, 3)))
    strong = np.unique(numbers[weak & (slope > CANNY[1])])
    return np.isin(numbers, strong[strong > 0])


def normalise(grey: Grey) -> Grey:
    """Return brightness less its surroundings' mean, over their deviation and one (Mittal et al. 2012, eq. 1)."""
    mean = ndimage.gaussian_filter(grey, _WINDOW, mode="nearest")
    square = ndimage.gaussian_filter(grey * grey, _WINDOW, mode="nearest")
    return np.asarray((grey - mean) / (np.sqrt(np.maximum(square - mean * mean, 0.0)) + 1.0))


def _peak(look: Look) -> float:
    """Return the squared mean over the mean square: what BRISQUE finds the shape of its distribution by."""
    values = normalise(look.grey)
    square = float((values * values).mean())
    return float(np.abs(values).mean()) ** 2 / square if square else 0.0


FEATURES: Mapping[str, Callable[[Look], float]] = {
    "agreement": lambda look: look.agreement,
    "edges": lambda look: float(detect_edges(look.grey).mean()),
    "blur": lambda look: float(ndimage.laplace(look.grey, mode="mirror").var()),
    "peak": _peak,
    "spread": lambda look: float((normalise(look.grey) ** 2).mean()),
    "bpp": lambda look: look.bpp,
}
"""What can be asked of a look, by name."""


@dataclass(frozen=True)
class Ranges:
    """Between what a DynDiff chooses, and between what its features lie."""

    features: tuple[str, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    steps: tuple[int, int]
    guidance: tuple[float, float]

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot be."""
        count = len(self.features)
        if not count or not set(self.features) <= set(FEATURES):
            raise ValueError(f"features {list(self.features)}: some of {', '.join(FEATURES)} were expected")
        if len(self.lows) != count or len(self.highs) != count:
            raise ValueError(f"{count} features, {len(self.lows)} lows and {len(self.highs)} highs")
        if not 1 <= self.steps[0] <= self.steps[1] <= 1000:
            raise ValueError(f"steps {self.steps}: 1 to 1000 were expected")
        if not 0.0 <= self.guidance[0] <= self.guidance[1] <= 100.0:
            raise ValueError(f"guidance {self.guidance}: 0 to 100 were expected")

    def scale(self, values: Mapping[str, float]) -> Tensor:
        """Return the features brought to 0..1, shape (features,); what is beyond the bounds counts as at them."""
        made = [
            (values[name] - low) / (high - low) if high > low else 0.0
            for name, low, high in zip(self.features, self.lows, self.highs, strict=True)
        ]
        return torch.tensor(made, dtype=torch.float32).nan_to_num(0.0).clamp(0.0, 1.0)


class DynDiff(nn.Module):
    """Both networks, between *ranges*."""

    def __init__(self, ranges: Ranges) -> None:
        super().__init__()
        self.ranges = ranges
        self.steps, self.guidance = (_network(len(ranges.features)) for _ in range(2))

    @classmethod
    def from_pretrained(cls, folder: Path) -> "DynDiff":
        """Return what *folder* holds. Raise ModelMissingError where it is not there or not whole."""
        try:
            held = json.loads((folder / "config.json").read_text())
            pairs = {key: tuple(held[key]) for key in ("features", "lows", "highs", "steps", "guidance")}
            made = cls(Ranges(**pairs))  # type: ignore[arg-type]
            made.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ModelMissingError(
                f"{folder}: no usable DynDiff: {first_line(error)}{pull_hint(folder)}"
            ) from None
        return made.eval().requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Write it to *folder*."""
        folder.mkdir(parents=True, exist_ok=True)
        ranges = self.ranges
        config = {
            "_class_name": "DynDiff", "features": ranges.features, "lows": ranges.lows, "highs": ranges.highs,
            "steps": ranges.steps, "guidance": ranges.guidance,
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        save_file(
            {key: value.contiguous() for key, value in self.state_dict().items()},
            folder / "model.safetensors",
        )

    @one_thread()
    @torch.inference_mode()
    def choose(self, look: Look) -> tuple[int, float]:
        """Return the steps and the guidance for the picture of *look*."""
        return self.foretell({name: FEATURES[name](look) for name in self.ranges.features})

    @one_thread()
    @torch.inference_mode()
    def foretell(self, features: Mapping[str, float]) -> tuple[int, float]:
        """Return the steps and the guidance for a picture of which these *features* were measured."""
        given = self.ranges.scale(features)
        return self.unscale(float(self.steps(given)), float(self.guidance(given)))

    def unscale(self, steps: float, guidance: float) -> tuple[int, float]:
        """Return steps and guidance of two answers, 0 to 1."""
        fewest, most = self.ranges.steps
        least, greatest = self.ranges.guidance
        return round(fewest + steps * (most - fewest)), least + guidance * (greatest - least)


def _network(features: int) -> nn.Sequential:
    widths = [features, *[WIDTH] * LAYERS]
    layers: list[nn.Module] = []
    for one, next_one in pairwise(widths):
        layers += [nn.Linear(one, next_one), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 1), nn.Sigmoid())
