"""Metric depth as the mean of a distribution over logarithmic bins, by a model for semantic segmentation.

    logits (batch, bins, height, width) -> softmax -> mean of the bins' log depth -> exp -> metres

Ordinal depth (Fu et al. 2018, "Deep Ordinal Regression Network") with the soft mean of AdaBins (Bhat et al. 2021), so
that a plain convolutional network, which learns from scratch in minutes, can tell depth. The bins are `depth_bins_m`
of its `config.json`.
"""

import torch
from torch import Tensor

SETTING = "depth_bins_m"
"""The key of the model's settings that holds the bins; its presence says that the model tells depth."""


def metres(logits: Tensor, bins_m: list[float]) -> Tensor:
    """Return depth in metres, shape (batch, height, width), from *logits* (batch, bins, height, width)."""
    logs = torch.tensor(bins_m, device=logits.device).log()
    return torch.einsum("bkhw,k->bhw", logits.float().softmax(1), logs).exp()
