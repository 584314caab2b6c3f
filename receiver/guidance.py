"""Objects restored one by one in the latent: attention guidance and latent fusion, whatever the generator.

    for each object: noise -> [guide: z -= eta dE/dz] -> a step -> [fuse: M z + (1 - M) z of the pass before] -> ...
                                                                                 |
                     what it shows now steers the next one <- decode, encode <---'

Algorithm 1 of SEDIC (arXiv 2503.00399, Section 3.2). A generator gives it a `GuidedCourse` for each pass: steps that
can be taken one at a time, and the attention of the picture to chosen words, differentiable in the latent. The
algorithm does not say what the pass before the first object is. Here it is the reference picture at the same noise
(Avrahami et al. 2022, "Blended diffusion"), and where there is none, the first object's pass is not fused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class GuidedCourse(Protocol):
    """The way of one picture from noise to latents, shape (1, channels, height, width), float32."""

    steps: int

    def start(self) -> Tensor:
        """Return the noise that it starts from."""

    def noised(self, latents: Tensor, at: int) -> Tensor:
        """Return what clean *latents* are before step *at*; `steps`: as they are."""

    def step(self, latents: Tensor, at: int) -> Tensor:
        """Return *latents* after step *at*."""

    def attention(self, latents: Tensor, at: int, words: str) -> Tensor:
        """Return how much each place attends to *words* before step *at*: (tokens, rows, columns), 0 or more.

        Differentiable in *latents*; *words* are part of the text that steers.
        """


@dataclass(frozen=True)
class Guidance:
    """How objects are restored."""

    eta: float = 40.0
    """How far the latent is moved along the gradient (eq. 3); 0: not at all."""
    ratio: float = 0.5
    """The share of the steps, those nearest to noise, that are guided (T' of Algorithm 1)."""


@dataclass(frozen=True)
class ObjectWish:
    """One object to restore."""

    caption: str
    words: str
    """Whose attention is guided; part of `caption`."""
    mask: NDArray[np.float32]
    """Of each latent the share that is the object's, shape (height, width) of the latents, 0 to 1."""


def energy(maps: Tensor, mask: Tensor) -> Tensor:
    """Return how much of the attention lies outside of the mask: eq. 2, the mean over tokens, 0 to 1.

    *maps* is (tokens, rows, columns), *mask* (rows, columns) the share of each place that is the object's.
    """
    inside = (maps * mask).flatten(1).sum(1)
    share = inside / maps.flatten(1).sum(1).clamp_min(torch.finfo(maps.dtype).tiny)
    return ((1.0 - share) ** 2).mean()


def guide(
    latents: Tensor, attention: Callable[[Tensor], Tensor], mask: Tensor, eta: float
) -> tuple[Tensor, float]:
    """Return *latents* moved by *eta* against the gradient of `energy` (eq. 3), and the energy before.

    *mask* is (height, width), 0 to 1; it is brought to the attention's grid by areas. Latents whose gradient is not
    finite stay as they are.
    """
    with torch.enable_grad():
        held = latents.detach().clone().requires_grad_(True)
        maps = attention(held)
        before = energy(maps, on_grid(mask, (maps.shape[1], maps.shape[2])).to(maps))
        gradient = torch.autograd.grad(before, held)[0]
    moved = latents - eta * gradient if bool(gradient.isfinite().all()) else latents
    return moved, float(before.detach())


def fuse(latents: Tensor, before: Tensor, mask: Tensor) -> Tensor:
    """Return *latents* where *mask* is 1 and those of the pass *before* where it is 0 (eq. 4), mixed between."""
    return torch.where(
        mask == 0, before, torch.where(mask == 1, latents, mask * latents + (1 - mask) * before)
    )


def on_grid(mask: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the mean of *mask* (height, width) over each cell of a grid of *shape*."""
    made: Tensor = torch.nn.functional.adaptive_avg_pool2d(mask[None, None], shape)
    return made[0, 0]


def restore(
    course: GuidedCourse, wish: ObjectWish, before: Sequence[Tensor] | None, how: Guidance
) -> list[Tensor]:
    """Return the latents after each step of the pass that restores one object.

    *before* are those of the pass before, which has as many steps; None: nothing was drawn before.
    """
    latents = course.start()
    mask = torch.from_numpy(wish.mask).to(latents)
    guided = round(how.ratio * course.steps) if how.eta and 0 < float(mask.mean()) < 1 else 0
    passed: list[Tensor] = []
    for at in range(course.steps):
        if at < guided:
            latents, _ = guide(latents, partial(course.attention, at=at, words=wish.words), mask, how.eta)
        latents = course.step(latents, at)
        if before is not None:
            latents = fuse(latents, before[at], mask)
        passed.append(latents)
    return passed


def finish(course: GuidedCourse) -> Tensor:
    """Return the latents at the end of a pass that nothing is done to."""
    latents = course.start()
    for at in range(course.steps):
        latents = course.step(latents, at)
    return latents
