"""The analysis half of the transform: a picture in, integer channel maps out."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from link import transform
from link.frame import Pixels
from link.threads import one_thread
from link.transform import whole_cells

Maps = NDArray[np.int32]
"""Shape (channels, rows, columns): rounded latents, one for each cell of 16x16 pixels."""


class AnalysisTransform:
    """g_a of a transform folder; see `link.transform`."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        self._network = network
        self.channels = channels

    @classmethod
    def from_pretrained(cls, folder: Path) -> "AnalysisTransform":
        """Return the analysis transform in *folder*. Raise ModelMissingError where it is not whole."""
        return cls(transform.load(folder, "analysis"), transform.channels(folder))

    @one_thread()
    def __call__(self, pixels: Pixels) -> Maps:
        """Return the rounded latents of a picture, whose edges are repeated up to whole cells."""
        with torch.inference_mode():
            picture = torch.from_numpy(whole_cells(pixels)).permute(2, 0, 1)[None].float().div_(255.0)
            latent = self._network(picture)[0].round_()
        return np.asarray(latent.to(torch.int32).numpy())


@one_thread()
def similarity(maps: Maps, pixels: Pixels, window: int = 7) -> NDArray[np.float64]:
    """Return the SSIM of every channel with the grey picture at the latents' resolution, shape (channels,).

    Channels and picture are brought to 0..1 by their own least and largest values; SSIM (Wang et al. 2004)
    with a uniform window of *window* cells, shorter where the map is. All channels at once. A map without
    variation scores 0. This is GSC's choice of channels (Section 3.2); the paper does not say how a channel
    is normalised, nor at which resolution it is compared.
    """
    channels, rows, columns = maps.shape
    grey = torch.from_numpy(
        whole_cells(pixels).astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    )
    grey = torch.nn.functional.interpolate(grey[None, None], (rows, columns), mode="area")[0]
    with torch.inference_mode():
        first = _unit(torch.from_numpy(maps.astype(np.float32)))
        second = _unit(grey)
        size = (min(window, rows), min(window, columns))
        planes = torch.cat((first, second, first * first, second * second, first * second))
        means = torch.nn.functional.avg_pool2d(planes[:, None], size, stride=1)[:, 0]
        a, b, aa, bb, ab = torch.split(means, [channels, 1, channels, 1, channels])
        correction = size[0] * size[1] / max(1, size[0] * size[1] - 1)
        variances = correction * (aa - a * a + bb - b * b)
        covariance = correction * (ab - a * b)
        c1, c2 = 0.01**2, 0.03**2
        ssim = (2 * a * b + c1) * (2 * covariance + c2) / ((a * a + b * b + c1) * (variances + c2))
        flat = first.flatten(1).amax(1) == 0
        scores = ssim.flatten(1).mean(1).masked_fill(flat, 0.0)
    return np.asarray(scores.double().numpy())


def _unit(maps: torch.Tensor) -> torch.Tensor:
    """Bring each map to 0..1; a map without variation becomes 0."""
    low = maps.flatten(1).amin(1)[:, None, None]
    high = maps.flatten(1).amax(1)[:, None, None]
    return (maps - low) / (high - low).clamp_min(1e-12)
