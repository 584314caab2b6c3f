"""How like a sent picture a received one is: PSNR, MS-SSIM, LPIPS. Nothing is ever downloaded.

`scenarios.scoring.pictures` has the table of all scores. torch is imported by the scores that need it.
"""

from functools import cache
from typing import Any

import numpy as np

from link.frame import Pixels

MS_SSIM_MIN_SIDE = 161  # four halvings must leave the 11-pixel window inside the picture
LPIPS_MIN_SIDE = 31  # AlexNet's last convolution must have a place left


def psnr_db(a: Pixels, b: Pixels) -> float | None:
    """Return the peak signal-to-noise ratio; None for identical pictures, where it is infinite."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return float(10.0 * np.log10(255.0**2 / error)) if error else None


Pair = tuple[int, Pixels, Pixels]


def ms_ssim_too_small(height: int, width: int) -> str | None:
    """Return why pictures of this size have no MS-SSIM, or None."""
    if min(height, width) >= MS_SSIM_MIN_SIDE:
        return None
    return f"MS-SSIM needs sides over 160 pixels; these pictures have {width}x{height}"


def lpips_too_small(height: int, width: int) -> str | None:
    """Return why pictures of this size have no LPIPS, or None."""
    if min(height, width) >= LPIPS_MIN_SIDE:
        return None
    return f"AlexNet needs sides over 30 pixels; these pictures have {width}x{height}"


def _tensors(batch: list[Pair]) -> tuple[Any, Any]:
    """Return the sent and the received pictures of *batch*, each (pictures, 3, height, width), 0 to 255."""
    import torch

    def stack(column: int) -> Any:
        pictures = np.stack([pair[column] for pair in batch])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().float()

    return stack(1), stack(2)


def ms_ssim(batch: list[Pair]) -> list[float]:
    """Return the multi-scale SSIM of each pair (Wang, Simoncelli, Bovik 2003), with pytorch-msssim."""
    import torch
    from pytorch_msssim import ms_ssim as compare

    with torch.inference_mode():
        sent, received = _tensors(batch)
        values: list[float] = compare(sent, received, data_range=255, size_average=False).tolist()
    return values


def lpips_alex(batch: list[Pair]) -> list[float]:
    """Return the LPIPS distance of each pair (Zhang et al. 2018, AlexNet, version 0.1)."""
    import torch

    from scenarios.scoring.perceptual import lpips_model

    with torch.inference_mode():
        sent, received = _tensors(batch)
        values: list[float] = lpips_model()(sent / 255.0, received / 255.0).tolist()
    return values


@cache
def alexnet_missing() -> str | None:
    """Return what is wrong with the AlexNet that comes with farlink, or None."""
    from scenarios.scoring.perceptual import weights_missing

    return weights_missing()
