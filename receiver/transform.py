"""The synthesis half of the transform: the channel maps that arrived in, the picture they make alone out."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from link import transform
from link.threads import one_thread


class Synthesis:
    """g_s of a transform folder; see `link.transform`."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    @classmethod
    def from_pretrained(cls, folder: Path) -> "Synthesis":
        """Return the synthesis transform in *folder*. Raise ModelMissingError where it is not whole."""
        return cls(transform.load(folder, "synthesis"))

    @one_thread()
    def __call__(self, maps: NDArray[np.int32]) -> Tensor:
        """Return the picture of *maps*, shape (channels, rows, columns), zeros for what did not arrive.

        The picture is (3, 16 x rows, 16 x columns), 0 to 1.
        """
        with torch.inference_mode():
            latent = torch.from_numpy(maps.astype(np.float32))[None]
            picture: Tensor = self._network(latent)[0]
        return picture.clamp(0.0, 1.0)
