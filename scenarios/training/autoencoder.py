"""The tiny VAE: eight smooth channels at an eighth of the resolution, each of unit variance.

A flow learns a latent space best where it is small, smooth and normalised. So the latent is brought to mean 0
and variance 1 per channel over the batch, and the decoder sees it under noise of a random deviation: nearby
latents must decode to nearby pictures. A mean absolute error is least where the decoder draws the median of all that a
latent may stand for: a blur. LPIPS (`scenarios.scoring.perceptual`) counts what AlexNet sees instead, and where a
*judge* is given (the sender's segmentation model), what it makes of the decoded picture counts too. What is normalised
in training is folded into the weights of the last convolution when saved, so that the saved model is a plain
`AutoencoderKL` with scaling factor 1.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from pytorch_msssim import ssim
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from scenarios.scoring.perceptual import Lpips
from scenarios.training.data import Cut, draw_mixed, to_tensor
from scenarios.training.loop import Losses
from scenarios.training.request import load
from scenarios.training.segmenter import measure_misjudgement

CHANNELS = 8
NOISE = 0.2
"""Largest deviation of the noise on the latents, in units of their own."""
PERCEIVED, JUDGED, COLOUR, SQUARED = 1.0, 1.0, 20.0, 4.0
"""The weights of LPIPS, of a nat between the judge's classes, of the squared error of colours averaged over 8x8 pixels,
and of the squared error, beside a mean absolute error of colours from 0 to 1."""

Draw = tuple[float, Callable[[np.random.Generator], Cut]]


def build() -> Any:
    """Return the untrained VAE."""
    kind: Any = AutoencoderKL
    return kind(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 48, 96, 128),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        shift_factor=0.0,
        use_quant_conv=True,
        use_post_quant_conv=True,
    )


@torch.no_grad()
def widen(small: Any) -> Any:
    """Return a VAE of `CHANNELS` latent channels that begins as *small*, which has fewer or as many.

    Its first channels are those of *small*; the decoder is not yet told of the others.
    """
    wide, had = build(), small.config.latent_channels
    own = wide.state_dict()
    # Means come first, then logarithms of variances.
    halves = [*range(had), *range(CHANNELS, CHANNELS + had)]
    for name, value in small.state_dict().items():
        if value.shape == own[name].shape:
            own[name].copy_(value)
        elif name.startswith("encoder.conv_out") or name == "quant_conv.bias":
            own[name][halves] = value
        elif name == "quant_conv.weight":
            own[name][halves] = 0.0
            own[name][np.ix_(halves, halves)] = value
        else:
            own[name].zero_()
            own[name][tuple(slice(side) for side in value.shape)] = value
    for channel in range(had, CHANNELS):
        own["post_quant_conv.weight"][channel, channel] = 1.0
    return wide


class Autoencoder:
    """Trains encoder and decoder together on random windows; *eye* is the perceptual distance."""

    name = "autoencoder"

    def __init__(
        self,
        draws: list[Draw],
        held_out: list[Cut],
        batch: int,
        eye: Lpips,
        start: Path | None = None,
        judge: nn.Module | None = None,
    ) -> None:
        self._draws, self._batch, self._eye, self._judge = draws, batch, eye, judge
        self._held_out = to_tensor(held_out)
        vae = build() if start is None else widen(load(AutoencoderKL, start, torch_dtype=torch.float32))
        self.modules = nn.ModuleDict({"vae": vae, "scale": Scale(CHANNELS)})

    @property
    def vae(self) -> Any:
        """The `AutoencoderKL` that is trained."""
        return self.modules["vae"]

    def to(self, device: torch.device) -> None:
        """Move the held-out pictures."""
        self._held_out = self._held_out.to(device)
        for used in (self._eye, self._judge):
            if used is not None:
                used.to(device)

    def _mean(self, pictures: Tensor) -> Tensor:
        mean: Tensor = self.vae.encode(pictures * 2 - 1).latent_dist.mean
        return mean

    def loss(self, rng: np.random.Generator, progress: float) -> tuple[Tensor, Losses]:
        """Return what `compare` makes of the decoded windows, their latents under noise."""
        pictures = to_tensor(draw_mixed(rng, self._draws, self._batch)).to(self._held_out.device)
        latents = self.modules["scale"](self._mean(pictures).float())
        deviation = torch.rand(len(latents), 1, 1, 1, device=latents.device) * NOISE
        decoded = self.vae.decode(latents + deviation * torch.randn_like(latents)).sample.float() / 2 + 0.5
        return compare(decoded, pictures, self._eye, self._judge)

    def save(self, folder: Path) -> None:
        """Write a plain `AutoencoderKL` whose latents have mean 0 and variance 1."""
        folded = build()
        folded.load_state_dict(self.vae.state_dict())
        assert folded.quant_conv is not None
        with torch.no_grad():
            scale: Scale = self.modules["scale"]  # type: ignore[assignment]
            weight, bias = folded.quant_conv.weight, folded.quant_conv.bias
            factor = scale.variance.rsqrt().cpu()
            assert bias is not None
            weight[:CHANNELS] *= factor[:, None, None, None]
            bias[:CHANNELS] = (bias[:CHANNELS] - scale.mean.cpu()) * factor
            weight[CHANNELS:] = 0.0
            bias[CHANNELS:] = -8.0  # log variance: the posterior is a point
        folded.save_pretrained(folder)

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> Losses:
        """Write held-out pictures above what becomes of them; return their mean PSNR."""
        scale: Scale = self.modules["scale"]  # type: ignore[assignment]
        latents = scale(self._mean(self._held_out))
        decoded = (self.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
        grid(torch.cat([self._held_out, decoded]), len(decoded)).save(folder / f"{step:06d}.png")
        return score(decoded, self._held_out, self._eye, self._judge)


def compare(decoded: Tensor, pictures: Tensor, eye: Lpips, judge: nn.Module | None) -> tuple[Tensor, Losses]:
    """Return a loss of *decoded* against *pictures*, both (batch, 3, height, width), and its parts.

    L1 + LPIPS + a judge's divergence + squared errors of colours averaged over 8x8 pixels and of pixels, weighed as
    above. Without the colours pictures stay grey for long: the median of a street's colours is grey.
    """
    absolute = (decoded - pictures).abs().mean()
    squared = (decoded - pictures).square().mean()
    perceived = eye(decoded, pictures).float().mean()
    colour = avg_pool2d(chroma(decoded) - chroma(pictures), 8).square().mean()
    wrong = measure_misjudgement(judge, pictures, decoded).mean()
    whole = absolute + PERCEIVED * perceived + JUDGED * wrong + COLOUR * colour + SQUARED * squared
    return whole, {
        "lpips": perceived.item(),
        "misjudged": wrong.item(),
        "colour": colour.item(),
        "l1": absolute.item(),
        "psnr_db": float(-10 * squared.detach().log10()),
    }


def score(decoded: Tensor, pictures: Tensor, eye: Lpips, judge: nn.Module | None) -> Losses:
    """Return mean scores of held-out *decoded* pictures, shapes as in `compare`, 0 to 1."""
    error = (decoded - pictures).square().flatten(1).mean(1)
    return {
        "val_lpips": float(eye(decoded, pictures).mean()),
        "val_psnr_db": float((-10 * error.log10()).mean()),
        "val_ssim": float(ssim(decoded, pictures, data_range=1.0)),
        "val_misjudged": float(measure_misjudgement(judge, pictures, decoded).mean()),
    }


def chroma(pictures: Tensor) -> Tensor:
    """Red and blue less luminance (BT.601), shape (batch, 2, height, width)."""
    red, green, blue = pictures.unbind(1)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack((red - luminance, blue - luminance), 1)


class Scale(nn.Module):
    """Brings each channel to mean 0 and variance 1 over the batch; remembers both for later."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, latents: Tensor) -> Tensor:
        """Return *latents*, shape (batch, channels, height, width), normalised."""
        if not self.training:
            return (latents - self.mean[:, None, None]) * self.variance.rsqrt()[:, None, None]
        variance, mean = torch.var_mean(latents, dim=(0, 2, 3))
        with torch.no_grad():
            self.mean.lerp_(mean, 0.02)
            self.variance.lerp_(variance, 0.02)
        return (latents - mean[:, None, None]) * (variance + 1e-6).rsqrt()[:, None, None]


def grid(pictures: Tensor, columns: int) -> Image.Image:
    """Return *pictures*, shape (count, 3, height, width) and 0 to 1, in rows of *columns*."""
    pictures = (pictures.clamp(0, 1) * 255).round().byte().cpu()
    rows = [torch.cat(list(pictures[at : at + columns]), 2) for at in range(0, len(pictures), columns)]
    return Image.fromarray(torch.cat(rows, 1).permute(1, 2, 0).numpy())
