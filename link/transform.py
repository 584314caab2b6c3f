"""A CompressAI transform on disk: each end loads its half of the same folder.

    config.json             {"_class_name": "FactorizedPrior", "N": 64, "M": 32, "_sizes": [[256, 192]]}
    analysis.safetensors    g_a, which the sender loads
    synthesis.safetensors   g_s, which the receiver loads

`_sizes` are the sizes (width, height) of the pictures that this transform and the generator behind it were trained on.
Where they are stated no other is fed to a model: see `coded_size`.

torch is imported by the ends that call this, never by the link itself.
"""

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from link.errors import ModelMissingError
from link.frame import Pixels
from link.models import pull_hint

if TYPE_CHECKING:
    from torch import nn

CELL = 16
"""One latent stands for this many pixels in width and height: four halvings."""

SIZES = "_sizes"
"""The key of config.json that holds the sizes."""

Half = Literal["analysis", "synthesis"]
Size = tuple[int, int]
"""Width and height in pixels."""


def grid(width: int, height: int) -> tuple[int, int]:
    """Return rows and columns of the latents of a picture; its edges are filled up to whole cells."""
    return -(-height // CELL), -(-width // CELL)


def whole_cells(pixels: Pixels) -> Pixels:
    """Return *pixels* with their right and lower edges repeated up to whole cells."""
    height, width = pixels.shape[:2]
    rows, columns = grid(width, height)
    return np.pad(pixels, ((0, rows * CELL - height), (0, columns * CELL - width), (0, 0)), mode="edge")


def load(folder: Path, half: Half) -> "nn.Module":
    """Return g_a or g_s of the transform in *folder*, for inference.

    Raise ModelMissingError where files are missing, or their weights are not those of the class they name.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        settings = json.loads((folder / "config.json").read_text())
        # Not on the meta device: the hyperprior models compute with tensors as they are built.
        network: nn.Module = getattr(_model(settings), "g_a" if half == "analysis" else "g_s")
        network.load_state_dict(load_file(folder / f"{half}.safetensors"), assign=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelMissingError(f"transform {folder}: no usable {half} half: {line}{_hint(folder)}") from None
    return network.float().eval().requires_grad_(False)


def save(folder: Path, model: Any, settings: dict[str, Any], trained_on: Sequence[Size] = ()) -> None:
    """Write both halves of a CompressAI *model* that was built with *settings* into *folder*.

    *settings* may name its class, `_class_name`, where *model* is only something with its g_a and g_s.

    *trained_on* are the sizes of the pictures that it is made for; none: any.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {"_class_name": type(model).__name__, **settings}
    config.pop(SIZES, None)
    if trained_on:
        config[SIZES] = [list(size) for size in trained_on]
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for half, network in (("analysis", model.g_a), ("synthesis", model.g_s)):
        weights = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
        save_file(weights, folder / f"{half}.safetensors")


def _model(settings: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it still uses torch.jit.script
        try:
            from compressai import models
        except ImportError as error:
            raise ValueError(f"it needs compressai (pip install compressai): {error}") from None

    arguments = {key: value for key, value in settings.items() if not key.startswith("_")}
    return getattr(models, settings["_class_name"])(**arguments)


def _hint(folder: Path) -> str:
    return "" if folder.is_dir() else pull_hint(folder)


def channels(folder: Path) -> int:
    """Return how many channels the transform in *folder* has. Raise ModelMissingError where it does not say."""
    try:
        settings = json.loads((folder / "config.json").read_text())
        return int(settings["M"] if "M" in settings else settings["N"])  # one width for all of cheng2020's
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelMissingError(
            f"transform {folder}: no usable config.json: {error}{_hint(folder)}"
        ) from None


def sizes(folder: Path) -> tuple[Size, ...]:
    """Return the sizes that the transform in *folder* says it is made for, none where it says nothing.

    A folder that is not there says nothing; what loads it tells that it is missing. Raise ModelMissingError where
    what is said is no list of sizes.
    """
    try:
        sizes_given = json.loads((folder / "config.json").read_text()).get(SIZES, [])
    except OSError:
        return ()
    except (ValueError, AttributeError) as error:
        raise ModelMissingError(f"transform {folder}: no usable config.json: {error}") from None
    if not isinstance(sizes_given, list) or not all(map(_is_size, sizes_given)):
        raise ModelMissingError(
            f"transform {folder}: {SIZES} in config.json: [[width, height], ...] was expected"
        )
    return tuple((width, height) for width, height in sizes_given)


def _is_size(item: Any) -> bool:
    return (
        isinstance(item, list)
        and len(item) == 2
        and all(type(side) is int and CELL <= side <= 8192 for side in item)
    )


def coded_size(folder: Path, frame: Size) -> Size:
    """Return the size at which a picture of the size *frame* is coded by the transform in *folder*.

    It is *frame* itself where the transform is made for that or states no sizes; else the stated one whose shape is
    most like it, and among those the nearest in area. The picture is stretched to that and back: on street and
    natural pictures 16:9, 1:1 and 16:5 this kept as much (within 0.4 dB, at the same bytes) as bars at the edges, or as
    a size of the same shape that the models had not seen.
    """
    known = sizes(folder)
    if not known or frame in known:
        return frame

    def unlike(size: Size) -> tuple[float, float]:
        shape = math.log(size[0] * frame[1] / (size[1] * frame[0]))
        return abs(shape), abs(math.log(size[0] * size[1] / (frame[0] * frame[1])))

    return min(known, key=unlike)
