"""The decoder of a VAE alone, learned anew with a perceptual eye, its latent space as it is.

A mean absolute error is least where the decoder draws the median of all that a latent may stand for: a blur. LPIPS
(`scenarios.scoring.perceptual`) counts what AlexNet sees instead. The encoder is not touched, so that everything that
was trained on its latents stays valid. The decoder sees latents as the encoder makes them, under noise of a random
deviation, and, where a *drawn* set is given, as the flow draws them from received channels: these are what it is
for, and they err in other ways than noise does.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from receiver.generator import decode, encode
from scenarios.scoring.perceptual import Lpips
from scenarios.training.autoencoder import NOISE, Draw, compare, grid, score
from scenarios.training.data import Cut, draw_mixed, to_tensor
from scenarios.training.drawn import DrawnLatents
from scenarios.training.loop import Losses
from scenarios.training.request import load
from scenarios.training.segmenter import measure_misjudgement

CLEAN = 0.25
"""Share of the latents that are decoded without noise, as the encoder makes them."""
DRAWN = 0.4
"""Share of the latents that the flow has drawn, where a set of them is given."""


class DecoderTraining:
    """Trains the decoder of the VAE in *start* on random windows; *eye* is the perceptual distance.

    *drawn* are latents that the flow has drawn of pictures to learn from, and of others to score.
    """

    name = "decoder"

    def __init__(
        self,
        draws: list[Draw],
        held_out: list[Cut],
        batch: int,
        start: Path,
        eye: Lpips,
        judge: nn.Module | None = None,
        drawn: tuple[DrawnLatents, DrawnLatents] | None = None,
    ) -> None:
        self._draws, self._batch, self._eye, self._judge = draws, batch, eye, judge
        self._drawn: DrawnLatents | None = None if drawn is None else drawn[0]
        self._held_drawn: DrawnLatents | None = None if drawn is None else drawn[1]
        self._held_out = to_tensor(held_out)
        self.vae: Any = load(AutoencoderKL, start, torch_dtype=torch.float32)
        self.vae.encoder.requires_grad_(False)
        if self.vae.quant_conv is not None:
            self.vae.quant_conv.requires_grad_(False)
        own = {"decoder": self.vae.decoder}
        if self.vae.post_quant_conv is not None:
            own["post_quant_conv"] = self.vae.post_quant_conv
        self.modules = nn.ModuleDict(own)

    def to(self, device: torch.device) -> None:
        """Move what is used and not trained."""
        self._held_out = self._held_out.to(device)
        for used in (self.vae, self._eye, self._judge):
            if used is not None:
                used.to(device)

    def _examples(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return latents and the pictures that they are to become."""
        device = self._held_out.device
        count = int(rng.binomial(self._batch, DRAWN)) if self._drawn is not None else 0
        latents, pictures = [], []
        if count < self._batch:
            seen = to_tensor(draw_mixed(rng, self._draws, self._batch - count)).to(device)
            with torch.no_grad():
                encoded = encode(self.vae, seen).float()
            noisy = torch.from_numpy((rng.random(len(seen)) >= CLEAN) * rng.random(len(seen)) * NOISE)
            deviation = noisy.float().to(device)[:, None, None, None]
            latents.append(encoded + deviation * torch.randn_like(encoded))
            pictures.append(seen)
        if count and self._drawn is not None:
            encoded, seen = self._drawn.draw(rng, count)
            latents.append(encoded.to(device))
            pictures.append(seen.to(device))
        return torch.cat(latents), torch.cat(pictures)

    def loss(self, rng: np.random.Generator, progress: float) -> tuple[Tensor, Losses]:
        """Return L1 + LPIPS + what the judge sees otherwise + errors of colours, as weighed above."""
        latents, pictures = self._examples(rng)
        return compare(decode(self.vae, latents), pictures, self._eye, self._judge)

    def save(self, folder: Path) -> None:
        """Write the VAE: the encoder as it was, the decoder as it is now."""
        self.vae.save_pretrained(folder)

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> Losses:
        """Write held-out pictures above what becomes of them; return their mean scores."""
        decoded = decode(self.vae, encode(self.vae, self._held_out)).clamp(0, 1)
        rows = [self._held_out, decoded]
        grid(torch.cat(rows), len(decoded)).save(folder / f"{step:06d}.png")
        scores = {}
        if self._held_drawn is not None:
            shown, wanted = (
                item.to(decoded.device)
                for item in (self._held_drawn.latents.float(), self._held_drawn.pictures / 255.0)
            )
            drawn = decode(self.vae, shown).clamp(0, 1)
            grid(torch.cat([wanted[:8], drawn[:8]]), 8).save(folder / f"{step:06d}-drawn.png")
            scores["drawn_lpips"] = float(self._eye(drawn, wanted).mean())
            scores["drawn_misjudged"] = float(measure_misjudgement(self._judge, wanted, drawn).mean())
            scores["drawn_psnr_db"] = float(
                (-10 * (drawn - wanted).square().flatten(1).mean(1).log10()).mean()
            )
        return {**scores, **score(decoded, self._held_out, self._eye, self._judge)}
