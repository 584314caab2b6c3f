"""The steps of a rectified flow from noise to latents, one at a time, so that what lies between can be changed."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Course:
    """The steps of some pictures from noise to packed latents, shape (batch, rows x columns, features)."""

    def __init__(
        self,
        flow: Callable[..., Tensor],
        control: Tensor | None,
        texts: Sequence[tuple[Tensor, Tensor]],
        told: Tensor | None,
        guidance: float,
        timesteps: Tensor,
        sigmas: Tensor,
        noise: Tensor,
    ) -> None:
        self.flow, self._control, self._texts, self._told = flow, control, texts, told
        self._guidance, self._timesteps, self._sigmas = guidance, timesteps, sigmas
        self.noise = noise
        """What it starts from."""
        self.steps = len(timesteps)

    def noised(self, latents: Tensor, at: int) -> Tensor:
        """Return what clean *latents* are on this way before step *at*; `steps`: as they are."""
        return (1.0 - self._sigmas[at]) * latents + self._sigmas[at] * self.noise

    def step(self, latents: Tensor, at: int) -> Tensor:
        """Return *latents* after step *at*."""
        velocity = self.velocity(latents, at)
        if len(self._texts) > 1:
            plain = self.velocity(latents, at, 1)
            velocity = plain + self._guidance * (velocity - plain)
        return latents + (self._sigmas[at + 1] - self._sigmas[at]) * velocity

    def velocity(self, latents: Tensor, at: int, text: int = 0) -> Tensor:
        """Return the flow's velocity, float32, before step *at*; *text* 1: that of no caption."""
        kept = self._texts[0][0]
        time = (self._timesteps[at] / 1000.0).expand(len(latents)).to(kept)
        told, branch = (None, "plain") if text else (self._told, "steered")
        return self.flow(
            latents.to(kept.dtype), time, *self._texts[text], self._control, told, branch
        ).float()


def usable(tensor: Tensor) -> Tensor:
    """Return *tensor* so that gradients can flow past it: what inference mode made is copied outside of it."""
    return tensor.clone() if tensor.is_inference() and not torch.is_inference_mode_enabled() else tensor
