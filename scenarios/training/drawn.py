"""Latents as the receiver draws them, beside the pictures that they stand for: what a decoder is really given.

A picture's channels are kept in part, as `control` keeps them, and the flow draws latents from these and the true
caption. Half of them start from the noise that sessions use by default, the others from any. Chunk n of a seed is
always the same; each is kept in a file of its own, so that an interrupted making goes on where it was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from link.seeds import generator
from receiver.conditioning import Conditioning
from receiver.generator import Generator, Sampling
from scenarios.training.autoencoder import Draw
from scenarios.training.data import draw_mixed, to_tensor
from scenarios.training.examples import WORDS, caption, store

CHUNK = 16
COUNTS, COUNT_WEIGHTS = (1, 2, 4, 8, 16, 32), (0.12, 0.13, 0.2, 0.3, 0.13, 0.12)
"""How many of the first channels arrive. Without any the picture is another one, and there is nothing to learn."""
STEPS = (2, 4, 8)
LOST = 0.2
"""Share of the pictures that lose channels, each with a probability of up to this."""
CELL = 8
"""Pixels of one latent's side."""


@dataclass
class DrawnLatents:
    """Drawn latents (count, channels, h, w) and their pictures (count, 3, 8 h, 8 w) as bytes."""

    latents: Tensor
    pictures: Tensor
    window: tuple[int, int]
    """Width and height of what is learned from at a time, in latents."""

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.latents)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Return *count* random windows: latents, and pictures from 0 to 1."""
        wide, high = self.window
        latents, pictures = [], []
        for at in rng.integers(len(self), size=count).tolist():
            top = int(rng.integers(self.latents.shape[2] - high + 1))
            left = int(rng.integers(self.latents.shape[3] - wide + 1))
            latents.append(self.latents[at, :, top : top + high, left : left + wide].float())
            rows, columns = (slice(CELL * a, CELL * (a + b)) for a, b in ((top, high), (left, wide)))
            pictures.append(self.pictures[at, :, rows, columns].float() / 255.0)
        return torch.stack(latents), torch.stack(pictures)


def load_or_draw(
    path: Path,
    draws: list[Draw],
    count: int,
    seed: int,
    analysis: Any,
    receiver: Callable[[Sampling], Generator],
    window: tuple[int, int],
    say: Callable[[str], None],
) -> DrawnLatents:
    """Return *count* pictures of *draws* with what a *receiver* draws of them, read from *path* or kept there.

    *analysis* is the transform's g_a.
    """
    path.mkdir(parents=True, exist_ok=True)
    made = []
    for first in range(0, count, CHUNK):
        file = path / f"{first:06d}.safetensors"
        if not file.is_file():
            store(_chunk(generator(seed, f"drawn/{first}"), draws, analysis, receiver), file)
            say(f'{{"drawn": {min(count, first + CHUNK)}, "of": {count}}}')
        made.append(load_file(file))
    latents, pictures = (torch.cat([part[key] for part in made])[:count] for key in ("latents", "pictures"))
    return DrawnLatents(latents, pictures, window)


@torch.inference_mode()
def _chunk(
    rng: np.random.Generator, draws: list[Draw], analysis: Any, receiver: Callable[[Sampling], Generator]
) -> dict[str, Tensor]:
    cuts = draw_mixed(rng, draws, CHUNK)
    pictures = to_tensor(cuts)
    maps = analysis(pictures).float().round().to(torch.int32).numpy()
    shown = []
    for whole, cut in zip(maps, cuts, strict=True):
        arrived = np.arange(len(whole)) < rng.choice(COUNTS, p=COUNT_WEIGHTS)
        if rng.random() < LOST:
            arrived &= rng.random(len(whole)) >= rng.uniform(0, LOST)
        told = caption(cut, int(rng.integers(*WORDS)))
        shown.append(Conditioning(whole * arrived[:, None, None], arrived, told))
    noise = Sampling().seed if rng.random() < 0.5 else int(rng.integers(1 << 31))
    drawn = receiver(Sampling(steps=int(rng.choice(STEPS)), seed=noise)).latents(shown)
    return {
        "latents": drawn.half().cpu().contiguous(),
        "pictures": (pictures * 255).round().to(torch.uint8).contiguous(),
    }
