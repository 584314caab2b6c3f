"""Flow and ControlNet trained on what is shown: few Euler steps unrolled, decoded, and looked at.

A flow's own loss asks for the right mean velocity at every time; a picture that is drawn in two steps needs the right
end of two. So the steps are taken as the receiver takes them, from noise, with gradients through all of them and
through the VAE's decoder, and the picture is compared with the original as `autoencoder.compare` does: by what AlexNet
and the sender's segmentation model see in it. A window of it is decoded, for the time's sake. Pictures of which no
channel arrived have no original to be compared with: they keep the flow's own loss, and so does a share of the others,
so that more steps stay as good as they were (compare Luo et al. 2023, "Latent Consistency Models", and Frans et al.
2024, "One Step Diffusion via Shortcut Models", which distil a teacher instead).

With *decoded* the VAE's decoder learns with them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from link.seeds import generator
from receiver.generator import Flow, decode, encode, pack, unpack
from receiver.parts import Parts
from receiver.text_encoder import TextEncoder
from scenarios.scoring.perceptual import Lpips
from scenarios.training.autoencoder import Draw, compare, grid, score
from scenarios.training.control import NO_CAPTION, mask_first
from scenarios.training.data import Cut, draw_mixed, to_tensor
from scenarios.training.examples import WORDS, ExampleSource, caption
from scenarios.training.joint import Joint
from scenarios.training.loop import Losses

STEPS, STEP_WEIGHTS = (1, 2, 4), (0.2, 0.6, 0.2)
"""How many Euler steps are unrolled."""
FLOW = 0.25
"""Share of the batches that learn the flow's own loss."""
VELOCITY = 0.1
"""The weight of that loss beside that of pictures."""
MOST_WORDS = 24
"""Of the captions of scored pictures: what a session sends at most."""
CELL = 8
"""Pixels of one latent's side."""
DEFAULT_NOISE = 0.5
"""Share of the pictures that start from the noise that a session uses by default."""


class Shown(Joint):
    """Trains transformer, text encoders and ControlNet by the pictures of few steps, and the decoder if *decoded*.

    *analysis* is the transform's g_a; *draws* give cuts whose labels captions are made of, *scored* are held out.
    """

    name = "shown"

    def __init__(
        self,
        examples: ExampleSource,
        held_out: ExampleSource,
        parts: Parts,
        text: TextEncoder,
        synthesis: nn.Module,
        batch: int,
        start: Path | None,
        draws: list[Draw],
        scored: list[Cut],
        analysis: nn.Module,
        eye: Lpips,
        judge: nn.Module | None,
        noise: Tensor,
        decoded: bool = True,
    ) -> None:
        super().__init__(examples, held_out, parts, text, synthesis, batch, start)
        self._draws, self._analysis, self._eye, self._judge = draws, analysis, eye, judge
        self._scored, self._told_of_scored = to_tensor(scored), [caption(cut, MOST_WORDS) for cut in scored]
        self._default_noise = noise
        self._decoded = decoded
        if decoded:
            self.modules["decoder"] = parts.vae.decoder
            if parts.vae.post_quant_conv is not None:
                self.modules["post_quant_conv"] = parts.vae.post_quant_conv
            self.modules.requires_grad_(True)

    def to(self, device: torch.device) -> None:
        """Move what is used but not trained."""
        super().to(device)
        self._default_noise = self._default_noise.to(device)
        for used in (self._analysis, self._eye, self._judge):
            if used is not None:
                used.to(device)

    def loss(self, rng: np.random.Generator, progress: float) -> tuple[Tensor, Losses]:
        """Return the loss of pictures drawn in few steps, or now and then that of the flow."""
        if rng.random() < FLOW:
            velocity, told = super().loss(rng, progress)
            return VELOCITY * velocity, {"velocity": told["loss"]}
        cuts = draw_mixed(rng, self._draws, self._batch)
        device = self._parts.transformer.device
        pictures = to_tensor(cuts).to(device)
        with torch.no_grad():
            maps = self._analysis(pictures).float().round()
        order = torch.arange(maps.shape[1]).expand(len(maps), -1)
        arrived = self._arrived(rng, order)
        nothing = ~arrived.any(1)
        arrived[nothing, 0] = True
        captions = [caption(cut, int(rng.integers(*WORDS))) for cut in cuts]
        captions = ["" if rng.random() < NO_CAPTION else words for words in captions]
        steps = int(rng.choice(STEPS, p=STEP_WEIGHTS))
        drawn = self._draw(maps, arrived.to(device), captions, steps, rng)
        high, wide = drawn.shape[2] // 2, drawn.shape[3] // 2
        top, left = int(rng.integers(high + 1)), int(rng.integers(wide + 1))
        window = drawn[:, :, top : top + high, left : left + wide]
        wanted = pictures[:, :, CELL * top : CELL * (top + high), CELL * left : CELL * (left + wide)]
        return compare(decode(self._parts.vae, window), wanted, self._eye, self._judge)

    def _draw(
        self, maps: Tensor, arrived: Tensor, captions: list[str], steps: int, rng: np.random.Generator
    ) -> Tensor:
        """Return latents (batch, channels, 2 rows, 2 columns) after *steps* Euler steps from noise."""
        parts, (rows, columns) = self._parts, maps.shape[2:]
        with torch.no_grad():
            maps = maps * arrived[:, :, None, None]
            picture = pack(encode(parts.vae, self._synthesis(maps).clamp(0, 1))).float()
        tokens, pooled = self._told(captions)
        shape = (len(maps), rows * columns, picture.shape[2])
        latents = torch.from_numpy(rng.standard_normal(shape, np.float32)).to(picture.device)
        usual = torch.from_numpy(rng.random(len(maps)) < DEFAULT_NOISE).to(picture.device)
        latents = torch.where(usual[:, None, None], self._default_noise, latents)
        control = parts.controlnet.control(maps, arrived, picture)
        flow = Flow(parts, 1.0, rows, columns)
        for at in range(steps, 0, -1):
            time = torch.full((len(maps),), at / steps, device=picture.device)
            latents = latents - flow(latents, time, tokens, pooled, control, None).float() / steps
        return unpack(latents, rows, columns)

    def save(self, folder: Path) -> None:
        """Write the parts in the layout that the receiver loads."""
        super().save(folder)
        vae: Any = self._parts.vae
        vae.save_pretrained(folder / "vae")

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> Losses:
        """As a control does; besides, scores of held-out pictures drawn in 2 steps from 8 channels."""
        scores = super().sample(folder, step)
        truth = self._scored.to(self._parts.transformer.device)
        maps = self._analysis(truth).float().round()
        order = torch.arange(maps.shape[1], device=maps.device).expand(len(maps), -1)
        drawn = self._draw(maps, mask_first(order, 8), self._told_of_scored, 2, generator(0, "scored"))
        pictures = decode(self._parts.vae, drawn).clamp(0, 1)
        grid(torch.cat((truth, pictures)), len(truth)).save(folder / f"{step:06d}-shown.png")
        return {**scores, **score(pictures, truth, self._eye, self._judge)}
