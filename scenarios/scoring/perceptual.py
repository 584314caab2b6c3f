"""What AlexNet sees in pictures: LPIPS, and features by which sets of pictures are compared.

    picture -> five convolutions (ImageNet) -> normalised over channels -> squared differences, weighed by
    LPIPS's linear heads -> mean over the places, sum over the layers

Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric", version 0.1. The
convolutions come with farlink in half precision (`weights/README.md`), the heads with the package `lpips`. All of it
can be differentiated: the same distance is a loss in training.
"""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from link.errors import ModelMissingError

SHIPPED = Path(__file__).parent / "weights"
FILE = "alexnet_features_fp16.safetensors"
LAYERS = (0, 3, 6, 8, 10)
"""The numbers of the convolutions in torchvision's `features`."""
STRIDES, PADDINGS = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)
POOLED = (3, 6)
"""Before these a maximum is taken over 3x3, every second place."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""LPIPS's normalisation of pictures from -1 to 1."""
SMALLEST = 31
"""Pixels of a side that leave the last convolution a place."""
_TINY = 1e-10


class AlexNet(nn.Module):
    """AlexNet's convolutions (Krizhevsky 2014) without what classifies; its weights are not trained."""

    shift: Tensor
    scale: Tensor

    def __init__(self, folder: Path = SHIPPED) -> None:
        """Read the weights from *folder*. Raise ModelMissingError where they are not there or not AlexNet's."""
        super().__init__()
        path = folder / FILE
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None])
        try:
            weights = load_file(path)
            for layer in LAYERS:
                for part in ("weight", "bias"):
                    self.register_buffer(f"{part}{layer}", weights[f"features.{layer}.{part}"].float())
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelMissingError(f"{path}: not the convolutions of AlexNet: {error}") from None

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return what each convolution answers to *pictures*, (batch, 3, height, width) and 0 to 1.

        Five tensors (batch, features, rows, columns) of 64, 192, 384, 256 and 256 features.
        """
        x = (pictures * 2.0 - 1.0 - self.shift) / self.scale
        layers = []
        for layer, stride, padding in zip(LAYERS, STRIDES, PADDINGS, strict=True):
            if layer in POOLED:
                x = functional.max_pool2d(x, 3, 2)
            weight, bias = self.get_buffer(f"weight{layer}"), self.get_buffer(f"bias{layer}")
            x = functional.relu(functional.conv2d(x, weight, bias, stride, padding))
            layers.append(x)
        return layers


class Lpips(nn.Module):
    """The LPIPS distance on AlexNet; nothing in it is trained."""

    def __init__(self, folder: Path = SHIPPED) -> None:
        """Read AlexNet from *folder* and the heads from the package. Raise ModelMissingError where one is missing."""
        super().__init__()
        self.network = AlexNet(folder)
        for number, head in enumerate(_heads()):
            self.register_buffer(f"head{number}", head)

    def forward(self, ones: Tensor, others: Tensor) -> Tensor:
        """Return the distance of each of *ones* to its like in *others*, (batch, 3, height, width) and 0 to 1.

        Shape (batch,); 0 for identical pictures. Raise ValueError where a side is below `SMALLEST`.
        """
        if min(ones.shape[-2:]) < SMALLEST:
            size = f"{ones.shape[-1]}x{ones.shape[-2]}"
            raise ValueError(f"LPIPS needs sides of {SMALLEST} pixels or more, not {size}")
        whole = torch.zeros(len(ones), device=ones.device)
        for number, maps in enumerate(self.network(torch.cat((ones, others)))):
            length = maps.square().sum(1, keepdim=True).sqrt()
            one, other = (maps / (length + _TINY)).chunk(2)
            weighed = functional.conv2d((one - other).square(), self.get_buffer(f"head{number}"))
            whole = whole + weighed.flatten(1).mean(1)
        return whole


def _heads() -> list[Tensor]:
    """Return the linear heads of LPIPS on AlexNet, each (1, features, 1, 1), from the package `lpips`."""
    spec = find_spec("lpips")
    if spec is None or not spec.submodule_search_locations:
        raise ModelMissingError("LPIPS needs the package lpips: pip install lpips")
    path = Path(spec.submodule_search_locations[0]) / "weights" / "v0.1" / "alex.pth"
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        return [weights[f"lin{number}.model.1.weight"].float() for number in range(len(LAYERS))]
    except Exception as error:  # a damaged file makes torch raise many kinds
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelMissingError(f"{path}: not the heads of LPIPS: {line}") from None


@cache
def lpips_model(folder: Path = SHIPPED) -> Lpips:
    """Return the distance with AlexNet from *folder*, read once."""
    with torch.inference_mode(False):  # what is made in that mode could never be trained with
        return Lpips(folder)


@cache
def weights_missing() -> str | None:
    """Return what is wrong with the AlexNet that comes with farlink, or None."""
    try:
        digest = hashlib.sha256((SHIPPED / FILE).read_bytes()).hexdigest()
        listed = dict(line.split()[::-1] for line in (SHIPPED / "SHA256SUMS").read_text().splitlines())
    except OSError:
        return "the AlexNet weights of this farlink are missing: install it again"
    whole = listed.get(FILE) == digest
    return None if whole else "the AlexNet weights of this farlink are damaged: install it again"


def alexnet_features(pictures: Tensor, folder: Path = SHIPPED) -> Tensor:
    """Return the last convolution's answers, averaged over all places, (batch, 256).

    *pictures* are (batch, 3, height, width) and 0 to 1. By these sets of pictures are compared where no Inception is.
    """
    with torch.inference_mode():
        last: Tensor = lpips_model(folder).network(pictures)[-1]
        return last.mean((2, 3))
