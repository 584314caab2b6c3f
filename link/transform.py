"""A CompressAI transform on disk: each end loads its half of the same folder.

    config.json             {"_class_name": "FactorizedPrior", "N": 64, "M": 32}
    analysis.safetensors    g_a, which the sender loads
    synthesis.safetensors   g_s, which the receiver loads

torch is imported by the ends that call this, never by the link itself.
"""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from link.errors import ModelMissingError

if TYPE_CHECKING:
    from torch import nn

CELL = 16
"""One latent stands for this many pixels in width and height: four halvings."""

Half = Literal["analysis", "synthesis"]


def grid(width: int, height: int) -> tuple[int, int]:
    """Return rows and columns of the latents of a picture; its edges are filled up to whole cells."""
    return -(-height // CELL), -(-width // CELL)


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
        raise ModelMissingError(f"transform {folder}: no usable {half} half: {line}") from None
    return network.float().eval().requires_grad_(False)


def save(folder: Path, model: Any, settings: dict[str, int]) -> None:
    """Write both halves of a CompressAI *model* that was built with *settings* into *folder*."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"_class_name": type(model).__name__, **settings}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for half, network in (("analysis", model.g_a), ("synthesis", model.g_s)):
        weights = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
        save_file(weights, folder / f"{half}.safetensors")


def _model(settings: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it still uses torch.jit.script
        from compressai import models

    arguments = {key: value for key, value in settings.items() if not key.startswith("_")}
    return getattr(models, settings["_class_name"])(**arguments)


def channels(folder: Path) -> int:
    """Return how many channels the transform in *folder* has. Raise ModelMissingError where it does not say."""
    try:
        return int(json.loads((folder / "config.json").read_text())["M"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelMissingError(f"transform {folder}: no usable config.json: {error}") from None
